//! The rules of the queue as pure functions of the time: order, deadlines, shedding.

use crate::codel::{CoDel, Verdict};
use crate::error::{ConfigError, Reason};
use crate::time::{Instant, nanos};
use crate::wait::QueueOrder;
use std::time::Duration;

/// The settings for the order of a queue and for the shedding of its callers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::concurrency) struct QueueConfig {
    pub(in crate::concurrency) lifo_after: Duration,
    /// The target and the interval of CoDel, if it is enabled.
    pub(in crate::concurrency) codel: Option<(Duration, Duration)>,
}

impl QueueConfig {
    pub(in crate::concurrency) const DEFAULT: Self =
        Self { lifo_after: CoDel::INTERVAL, codel: None };

    pub(in crate::concurrency) fn validate(&self) -> Result<(), ConfigError> {
        match self.codel {
            Some((target, interval))
                if target.is_zero() || interval < target || interval > CoDel::MAX_INTERVAL =>
            {
                let accepted = "a target above zero, and an interval from the target to one hour";
                Err(ConfigError::new("codel", (target, interval), accepted))
            }
            _ => Ok(()),
        }
    }
}

/// The times of one waiting caller.
#[derive(Clone, Copy, Debug)]
pub(in crate::concurrency) struct WaitTimes {
    /// When the caller entered the queue.
    pub(in crate::concurrency) since: Instant,
    /// When the caller stops waiting; not later than `deadline`.
    pub(in crate::concurrency) give_up: Instant,
    /// When the whole call must be complete.
    pub(in crate::concurrency) deadline: Instant,
}

impl WaitTimes {
    /// Returns the reason to reject a caller at `now` even if a permit is free, or `None`. `median`
    /// is the median service time, if it is known.
    pub(super) fn rejection(&self, now: Instant, median: Option<Duration>) -> Option<Reason> {
        if now >= self.give_up {
            return Some(Reason::QueueTimeout);
        }
        let ends = now + median?;
        (ends > self.deadline).then_some(Reason::Shed)
    }
}

/// Returns the order in which callers are served at `now`, if the oldest has waited since `oldest`.
///
/// The criterion is the age of the oldest caller, not the length of the queue. In a long queue that
/// is served quickly, FIFO order completes all calls in time; in a short queue that is served
/// slowly, the oldest callers are the first to give up.
pub(super) fn order(now: Instant, oldest: Instant, lifo_after: Duration) -> QueueOrder {
    match now.since(oldest) > lifo_after {
        true => QueueOrder::Lifo,
        false => QueueOrder::Fifo,
    }
}

/// The shedding of callers from a standing queue. The first caller of each interval is never shed.
#[derive(Debug)]
pub(super) struct Shedder {
    codel: CoDel,
    interval: Duration,
    /// The first caller that CoDel would shed at or after this instant is not shed.
    spare_from: Instant,
}

impl Shedder {
    pub(super) const fn new((target, interval): (Duration, Duration)) -> Self {
        let codel = CoDel::new(target, interval);
        Self { codel, interval, spare_from: Instant::ORIGIN }
    }

    /// Decides whether to shed the next caller, which has waited for `waited`. `is_last` is `true`
    /// if no other caller waits.
    ///
    /// As in folly's `Codel`, the first caller of an interval is never shed. Even under overload,
    /// some calls therefore run, and their success shows that the overload has ended.
    pub(super) fn sheds(&mut self, now: Instant, waited: Duration, is_last: bool) -> bool {
        let shed = self.codel.dequeue(now, waited, is_last) == Verdict::Shed;
        let spared = shed && now >= self.spare_from;
        if spared {
            self.spare_from = now + self.interval;
        }
        shed && !spared
    }
}

/// The durations of the latest calls that waited for their permits.
///
/// Calls that did not wait are not measured, so that they do not read the clock. While callers
/// wait, nearly every call that is granted a permit has waited, so there are enough measurements.
#[derive(Debug)]
pub(super) struct ServiceTimes {
    latest: [u64; Self::KEPT],
    recorded: usize,
}

impl ServiceTimes {
    /// The number of calls that are kept.
    const KEPT: usize = 31;
    /// With fewer recorded calls, the median is unknown.
    const MIN: usize = 5;

    pub(super) const fn new() -> Self {
        Self { latest: [0; Self::KEPT], recorded: 0 }
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.latest[self.recorded % Self::KEPT] = nanos(time);
        self.recorded += 1;
    }

    pub(super) fn median(&self) -> Option<Duration> {
        let mut latest = self.latest;
        let known = &mut latest[..self.recorded.min(Self::KEPT)];
        if known.len() < Self::MIN {
            return None;
        }
        let middle = known.len() / 2;
        let (_, median, _) = known.select_nth_unstable(middle);
        Some(Duration::from_nanos(*median))
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN + ms(millis)
    }

    #[test]
    fn a_caller_that_cannot_end_in_time_is_rejected() {
        const NEVER: u64 = u64::MAX;
        for (give_up, deadline, now, median, expected) in [
            (100, NEVER, 99, None, None),
            (100, NEVER, 100, None, Some(Reason::QueueTimeout)),
            (100, NEVER, 101, Some(1), Some(Reason::QueueTimeout)),
            (100, NEVER, 99, Some(1000), None), // the wait has a limit, the call has no deadline
            (100, 200, 99, None, None),
            (100, 200, 99, Some(101), None),
            (100, 200, 99, Some(102), Some(Reason::Shed)),
            (200, 200, 200, Some(0), Some(Reason::QueueTimeout)),
            (NEVER, NEVER, 1 << 40, Some(1), None),
        ] {
            let instant = |millis| if millis == NEVER { Instant::FAR_FUTURE } else { at(millis) };
            let (give_up, deadline) = (instant(give_up), instant(deadline));
            let times = WaitTimes { since: at(0), give_up, deadline };
            assert_eq!(times.rejection(at(now), median.map(ms)), expected, "{times:?} at {now}");
        }
    }

    #[test]
    fn the_order_follows_the_age_of_the_oldest_caller() {
        for (now, oldest, after, expected) in [
            (100, 0, ms(100), QueueOrder::Fifo),
            (101, 0, ms(100), QueueOrder::Lifo),
            (101, 50, ms(100), QueueOrder::Fifo),
            (1, 0, Duration::ZERO, QueueOrder::Lifo),
            (1 << 40, 0, Duration::MAX, QueueOrder::Fifo),
            (0, 50, ms(100), QueueOrder::Fifo), // the clock was set back
        ] {
            assert_eq!(order(at(now), at(oldest), after), expected, "{now} {oldest} {after:?}");
        }
    }

    /// Rows of (time, waited, is last, is shed), in milliseconds.
    fn check(rows: &[(u64, u64, bool, bool)]) {
        let mut shedder = Shedder::new((ms(5), ms(100)));
        for &(now, waited, is_last, expected) in rows {
            assert_eq!(shedder.sheds(at(now), ms(waited), is_last), expected, "at {now}");
        }
    }

    #[test]
    fn a_standing_queue_sheds_all_but_the_first_of_each_interval() {
        check(&[
            (1000, 50, false, false),
            (1099, 50, false, false),
            (1100, 50, false, false), // standing: the first of the interval
            (1101, 50, false, true),
            (1199, 50, false, true),
            (1200, 10, false, false), // within twice the target
            (1201, 50, false, false), // the first of the next interval
            (1202, 50, false, true),
            (1203, 4, false, false), // ends the standing queue
            (1204, 50, false, false),
        ]);
    }

    #[test]
    fn the_last_caller_in_the_queue_is_not_shed() {
        check(&[(0, 50, false, false), (100, 50, false, false), (101, 50, true, false)]);
    }

    #[test]
    fn the_median_is_that_of_the_latest_calls() {
        let mut times = ServiceTimes::new();
        for millis in [1, 2, 3, 4] {
            times.record(ms(millis));
            assert_eq!(times.median(), None);
        }
        times.record(ms(5));
        assert_eq!(times.median(), Some(ms(3)));
        for _ in 0..ServiceTimes::KEPT {
            times.record(ms(70));
        }
        assert_eq!(times.median(), Some(ms(70)));
    }
}
