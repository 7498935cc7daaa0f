//! Fairness among users of one priority: the usage of each user, and the order in which their calls
//! are rejected.

use crate::keyed::{KeyState, KeyedConfig, Map, Retention};
use crate::policy::{Priority, PriorityClass};
use crate::sync::PlainMutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crate::time::{Instant, nanos};
use std::hash::RandomState;
use std::num::NonZeroU32;
use std::time::Duration;

/// The recent usage of each user, and the distribution of the offered calls by usage.
///
/// The usage of a user is the number of its admitted calls, halved every `half_life`. Users are compared by their share of the total usage. The shares are divided into
/// *levels*, each of which is a factor of 2^(1/4), so users whose shares differ by less than a
/// fifth may count as equal.
///
/// The calls of each class are counted by the usage of their users. This gives each call a
/// *position* from 0 to 1: the share of the calls of its class that are made by users with higher
/// usage. Calls of users with the same level have random positions in the range of that level.
/// Positions are distributed uniformly: if all calls with a position below 0.3 are rejected, these
/// are 30 % of the calls, and they are the calls of the users with the highest usage.
pub(super) struct Fairness {
    /// In nanoseconds.
    half_life: AtomicU64,
    users: Map<NonZeroU32, Usage, RandomState>,
    /// The calls with a user that were admitted since the last update.
    admitted: AtomicU32,
    /// The usage of all users as of the last update, as the bits of an `f64`.
    total: AtomicU64,
    updated: PlainMutex<Instant>,
    /// For each class and each level of usage, the number of calls since the positions of the class
    /// were computed.
    offered: Box<[AtomicU32]>,
    /// For each class and each level of usage, the [`Position`] of its calls.
    positions: Box<[AtomicU64]>,
}

/// The number of levels of usage: four for each factor of two, from 2^-16 of the total to all of
/// it.
const LEVELS: usize = 64;
const CLASSES: usize = Priority::COUNT / Priority::LEVELS as usize;
const _: () = assert!(CLASSES == PriorityClass::VeryHigh as usize + 1);
/// The total usage below which all users count as equal.
const MIN_TOTAL: f64 = 20.0;
/// The number of calls of a class that is required to compute its positions.
const MIN_CALLS: u64 = 50;

/// The usage of one user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    calls: f32,
    at: Instant,
}

impl Usage {
    const fn new(at: Instant) -> Self {
        Self { calls: 0.0, at }
    }

    fn at(self, time: Time) -> f64 {
        f64::from(self.calls) * time.decay_since(self.at)
    }

    fn update(&mut self, time: Time) -> f64 {
        let calls = self.at(time);
        *self = Self { calls: calls as f32, at: time.now };
        calls
    }
}

/// The current time, and the time in which usage is halved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    now: Instant,
    half_life: Duration,
}

impl Time {
    /// Returns the share of the usage at `then` that is left.
    fn decay_since(self, then: Instant) -> f64 {
        (-self.now.since(then).as_secs_f64() / self.half_life.as_secs_f64()).exp2()
    }
}

impl KeyState for Usage {
    type Now = Time;

    fn retention(&self, time: Time) -> Retention {
        match self.at(time) < 0.5 {
            true => Retention::Disposable,
            false => Retention::Evictable,
        }
    }
}

/// Returns the level of a user whose usage is `calls`, where `total` is the usage of all users.
fn level(calls: f64, total: f64) -> usize {
    if total < MIN_TOTAL {
        return 0;
    }
    let steps = 4.0 * ((calls / total).log2() + 16.0);
    // The logarithm of 0 is negative infinity, which is converted to 0.
    (steps as usize).min(LEVELS - 1)
}

/// The range of the positions of calls at one level of usage.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Position {
    first: f32,
    width: f32,
}

impl Position {
    /// The range before positions are computed for the first time: all positions.
    const ANY: Self = Self { first: 0.0, width: 1.0 };

    /// Computes the range of each level from the number of calls at each level.
    fn of_levels(calls: &[u32; LEVELS]) -> [Self; LEVELS] {
        let total: f64 = calls.iter().map(|calls| f64::from(*calls)).sum();
        let mut above = 0.0;
        let mut positions = [Self::ANY; LEVELS];
        for (position, calls) in positions.iter_mut().zip(calls).rev() {
            let calls = f64::from(*calls);
            *position = Self { first: (above / total) as f32, width: (calls / total) as f32 };
            above += calls;
        }
        positions
    }

    const fn to_bits(self) -> u64 {
        (self.first.to_bits() as u64) << 32 | self.width.to_bits() as u64
    }

    const fn from_bits(bits: u64) -> Self {
        Self { first: f32::from_bits((bits >> 32) as u32), width: f32::from_bits(bits as u32) }
    }

    /// Returns a position in this range. `draw` is a random number from 0 to 1.
    fn at(self, draw: f64) -> f64 {
        f64::from(self.first) + f64::from(self.width) * draw
    }
}

impl Fairness {
    pub(super) fn new(max_users: usize, half_life: Duration, now: Instant) -> Self {
        let any = Position::ANY.to_bits();
        Self {
            half_life: AtomicU64::new(nanos(half_life)),
            users: Map::new(KeyedConfig { max_keys: max_users, ..KeyedConfig::default() }),
            admitted: AtomicU32::new(0),
            total: AtomicU64::new(0),
            updated: PlainMutex::new(now),
            offered: (0..CLASSES * LEVELS).map(|_| AtomicU32::new(0)).collect(),
            positions: (0..CLASSES * LEVELS).map(|_| AtomicU64::new(any)).collect(),
        }
    }

    pub(super) fn set_half_life(&self, half_life: Duration) {
        self.half_life.store(nanos(half_life), Relaxed);
    }

    fn time(&self, now: Instant) -> Time {
        Time { now, half_life: Duration::from_nanos(self.half_life.load(Relaxed)) }
    }

    /// Counts a call, and returns whether it is admitted. `admits` decides by the position of the
    /// call; `draw` is a random number from 0 to 1.
    pub(super) fn admit(
        &self,
        user: NonZeroU32,
        class: PriorityClass,
        now: Instant,
        draw: f64,
        admits: impl Fn(f64) -> bool,
    ) -> bool {
        // Ordering: relaxed, here and below. The figures protect no other data.
        let total = f64::from_bits(self.total.load(Relaxed));
        let time = self.time(now);
        let decide = |usage: &mut Usage| {
            let calls = usage.update(time);
            let index = class as usize * LEVELS + level(calls, total);
            self.offered[index].fetch_add(1, Relaxed);
            let admitted =
                admits(Position::from_bits(self.positions[index].load(Relaxed)).at(draw));
            if admitted {
                usage.calls += 1.0;
                self.admitted.fetch_add(1, Relaxed);
            }
            admitted
        };
        let make = || (user, Usage::new(now));
        // A full map evicts a user, so it is never full for a new one.
        self.users.get_or_insert(&user, || time, make, decide).unwrap_or_else(|_| admits(draw))
    }

    /// Computes the total usage and the positions.
    pub(super) fn update(&self, now: Instant) {
        let mut updated = self.updated.lock();
        let before = std::mem::replace(&mut *updated, now);
        let decay = self.time(now).decay_since(before);
        let total = f64::from_bits(self.total.load(Relaxed)) * decay;
        let total = total + f64::from(self.admitted.swap(0, Relaxed));
        self.total.store(total.to_bits(), Relaxed);
        for class in 0..CLASSES {
            let offered = &self.offered[class * LEVELS..][..LEVELS];
            let mut calls = [0; LEVELS];
            for (calls, offered) in calls.iter_mut().zip(offered) {
                *calls = offered.load(Relaxed);
            }
            if calls.iter().map(|calls| u64::from(*calls)).sum::<u64>() < MIN_CALLS {
                continue;
            }
            let positions = &self.positions[class * LEVELS..];
            for (level, position) in Position::of_levels(&calls).into_iter().enumerate() {
                positions[level].store(position.to_bits(), Relaxed);
                offered[level].fetch_sub(calls[level], Relaxed);
            }
        }
    }

    /// Returns the number of users whose usage is stored.
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use std::cell::Cell;

    const HALF_LIFE: Duration = Duration::from_secs(10);

    #[test]
    fn four_levels_of_usage_are_a_factor_of_two() {
        for (calls, total, expected) in [
            (0.0, 65_536.0, 0),
            (1e-5, 65_536.0, 0),
            (1.0, 65_536.0, 0),
            (1.19, 65_536.0, 1),
            (2.0, 65_536.0, 4),
            (25.0, 100.0, 56),
            (50.0, 100.0, 60),
            (70.0, 100.0, 61),
            (99.9, 100.0, 63),
            (100.0, 100.0, 63),
            (500.0, 100.0, 63), // the total is that of the last update
            (20.0, 20.0, 63),
            (19.9, 19.9, 0), // too few calls
            (1.0, 0.0, 0),
        ] {
            assert_eq!(level(calls, total), expected, "{calls} of {total}");
        }
    }

    #[test]
    fn positions_begin_with_the_highest_usage() {
        let mut calls = [0; LEVELS];
        (calls[0], calls[10], calls[60]) = (20, 30, 50);
        let positions = Position::of_levels(&calls);
        for (level, first, width) in
            [(63, 0.0, 0.0), (60, 0.0, 0.5), (59, 0.5, 0.0), (10, 0.5, 0.3), (0, 0.8, 0.2)]
        {
            assert_eq!(positions[level], Position { first, width }, "{level}");
        }
        let position = positions[10];
        assert_eq!(Position::from_bits(position.to_bits()), position);
        assert!((position.at(0.5) - 0.65).abs() < 1e-6);
        assert_eq!(Position::ANY.at(0.4), 0.4);
    }

    #[test]
    fn usage_is_halved_in_the_half_life() {
        let at = |seconds| Time {
            now: Instant::ORIGIN + Duration::from_secs(seconds),
            half_life: HALF_LIFE,
        };
        let mut usage = Usage::new(Instant::ORIGIN);
        assert_eq!(usage.retention(at(0)), Retention::Disposable);
        usage.calls = 8.0;
        for (seconds, calls) in [(0, 8.0), (10, 4.0), (10, 4.0), (30, 1.0), (5, 1.0)] {
            assert!((usage.update(at(seconds)) - calls).abs() < 1e-6, "at {seconds} s");
        }
        assert_eq!(usage.retention(at(5)), Retention::Evictable);
        assert_eq!(usage.retention(at(15)), Retention::Evictable, "half a call");
        assert_eq!(usage.retention(at(20)), Retention::Disposable);
    }

    #[test]
    fn each_class_has_its_own_positions() {
        let now = Instant::ORIGIN;
        let fairness = Fairness::new(10, HALF_LIFE, now);
        let [heavy, light] = [1, 2].map(|user| NonZeroU32::new(user).unwrap());
        let offer = |user, class, calls: u32, admitted: bool| {
            (0..calls).for_each(|_| {
                fairness.admit(user, class, now, 0.5, |_| admitted);
            });
        };
        let position = |user, class| {
            let seen = Cell::new(0.0);
            fairness.admit(user, class, now, 0.5, |position| {
                seen.set(position);
                false
            });
            seen.get()
        };
        offer(heavy, PriorityClass::Low, 100, true);
        fairness.update(now);
        // Calls that are not admitted leave the usage as it is.
        offer(heavy, PriorityClass::Low, 30, false);
        offer(light, PriorityClass::Low, 10, false);
        offer(light, PriorityClass::High, 49, false);
        fairness.update(now);
        assert_eq!(position(heavy, PriorityClass::High), 0.5, "no positions after 49 calls");
        fairness.update(now);
        // This was the fiftieth call.
        assert_eq!((100.0 * position(heavy, PriorityClass::High)).round(), 1.0);
        assert_eq!((100.0 * position(light, PriorityClass::High)).round(), 51.0);
        offer(light, PriorityClass::Low, 10, false);
        fairness.update(now);
        let positions = [heavy, light].map(|user| position(user, PriorityClass::Low));
        assert_eq!(positions.map(|position| (100.0 * position).round()), [30.0, 80.0]);
    }

    /// Returns the state after `calls` admitted calls of one user and an update, and a function
    /// that makes another such call.
    fn after(calls: u64) -> (Fairness, impl Fn(&Fairness)) {
        let call = |fairness: &Fairness| {
            let user = NonZeroU32::new(7).unwrap();
            let class = PriorityClass::Medium;
            assert!(fairness.admit(user, class, Instant::ORIGIN, 0.5, |_| true));
        };
        let fairness = Fairness::new(10, HALF_LIFE, Instant::ORIGIN);
        (0..calls).for_each(|_| call(&fairness));
        fairness.update(Instant::ORIGIN);
        (fairness, call)
    }

    #[test]
    fn users_are_compared_once_the_total_usage_reaches_twenty_calls() {
        let first = PriorityClass::Medium as usize * LEVELS;
        for (calls, level) in [(19, 0), (20, LEVELS - 1), (21, LEVELS - 1)] {
            let (fairness, call) = after(calls);
            let offered = || fairness.offered[first + level].load(Relaxed);
            let before = offered();
            call(&fairness);
            assert_eq!(offered(), before + 1, "{calls}");
        }
    }

    #[test]
    fn positions_are_computed_once_there_are_fifty_calls() {
        let last = PriorityClass::Medium as usize * LEVELS + LEVELS - 1;
        let none = Position { first: 0.0, width: 0.0 };
        for (calls, position) in [(49, Position::ANY), (50, none), (51, none)] {
            let (fairness, _) = after(calls);
            let computed = Position::from_bits(fairness.positions[last].load(Relaxed));
            assert_eq!(computed, position, "{calls}");
        }
    }
}
