//! The decision whether a call uses, refreshes or ignores a stored result: [`Times`],
//! [`Freshness`].

use crate::time::{Instant, nanos};
use std::time::Duration;

/// The settings that determine how long results are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) ttl: Duration,
    /// How long errors are stored; zero disables this.
    pub(super) negative_ttl: Duration,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_on_error: Duration,
    /// The largest deviation of a time to live, as a share of it.
    pub(super) jitter: f64,
    /// The factor β of XFetch. Zero disables early refresh.
    pub(super) early_refresh: f64,
}

/// The times of one stored result. The instants are in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) written: Instant,
    pub(super) fresh_until: Instant,
    /// The end of the time in which one call refreshes the result while others use it.
    pub(super) stale_until: Instant,
    /// The end of the time in which the result may replace an error.
    pub(super) usable_until: Instant,
    /// How long the operation took.
    pub(super) cost: Duration,
}

/// What a call does with a stored result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It uses the result.
    Fresh,
    /// It refreshes the result, which has not expired. Other calls use it meanwhile.
    RefreshEarly,
    /// It refreshes the result, which has expired. Other calls use it meanwhile.
    Stale,
    /// It uses the result, which has expired, because a refresh failed a short time ago.
    Held,
    /// It waits for a new result.
    Expired,
}

impl Times {
    /// Returns the times of a value that the operation returned at `now`, after `cost`. `unit` is a
    /// random number from 0 up to 1.
    pub(super) fn of_value(lifetimes: &Lifetimes, now: Instant, cost: Duration, unit: f64) -> Self {
        let fresh_until = now + jittered(lifetimes.ttl, lifetimes.jitter, unit);
        let stale_until = fresh_until + lifetimes.stale_while_revalidate;
        let usable_until = stale_until.max(fresh_until + lifetimes.stale_on_error);
        Self { written: now, fresh_until, stale_until, usable_until, cost }
    }

    /// Returns the times of an error. After its expiry, an error is neither used nor refreshed.
    pub(super) fn of_error(lifetimes: &Lifetimes, now: Instant, unit: f64) -> Self {
        let until = now + jittered(lifetimes.negative_ttl, lifetimes.jitter, unit);
        Self {
            written: now,
            fresh_until: until,
            stale_until: until,
            usable_until: until,
            cost: Duration::ZERO,
        }
    }

    /// Decides what a call at `now` does with the result. `held_until` is the instant until which a
    /// failed refresh is not repeated, or the origin if none failed. `unit` returns a random number
    /// from 0 up to 1.
    #[inline]
    pub(super) fn freshness(
        &self,
        now: Instant,
        held_until: Instant,
        early_refresh: f64,
        unit: impl FnOnce() -> f64,
    ) -> Freshness {
        let is_held = now < held_until;
        if now < self.fresh_until {
            match !is_held && self.refreshes_early(now, early_refresh, unit) {
                true => Freshness::RefreshEarly,
                false => Freshness::Fresh,
            }
        } else if is_held && now < self.usable_until {
            Freshness::Held
        } else if now < self.stale_until {
            Freshness::Stale
        } else {
            Freshness::Expired
        }
    }

    /// Returns whether a call refreshes the result before its expiry. As in XFetch, it does if
    /// `now - cost * β * ln(random)` is not before the expiry.
    fn refreshes_early(&self, now: Instant, beta: f64, unit: impl FnOnce() -> f64) -> bool {
        // `-ln` of the smallest random number, 2^-53, is below 37. While more than 37 costs are
        // left, no number is drawn.
        const MAX: f64 = 37.0;
        let left = nanos(self.fresh_until - now) as f64;
        let scale = nanos(self.cost) as f64 * beta;
        left < scale * MAX && left <= -scale * (1.0 - unit()).ln()
    }
}

/// Returns `ttl`, lengthened or shortened at random by at most the share `jitter`. `unit` is a
/// random number from 0 up to 1.
fn jittered(ttl: Duration, jitter: f64, unit: f64) -> Duration {
    if jitter == 0.0 || ttl.is_zero() {
        return ttl; // exact, also beyond 2^53 nanoseconds
    }
    let factor = 1.0 + jitter * (2.0 * unit - 1.0);
    // The cast saturates.
    Duration::from_nanos((nanos(ttl) as f64 * factor) as u64)
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn lifetimes() -> Lifetimes {
        Lifetimes {
            ttl: 10 * S,
            negative_ttl: 2 * S,
            stale_while_revalidate: 5 * S,
            stale_on_error: 20 * S,
            jitter: 0.0,
            early_refresh: 1.0,
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn a_value_is_fresh_then_stale_or_held_then_expired() {
        use Freshness::*;
        let times = Times::of_value(&lifetimes(), at(100), Duration::ZERO, 0.5);
        let ns = Duration::from_nanos(1);
        let held = at(113);
        for (now, held_until, expected) in [
            (at(100), Instant::ORIGIN, Fresh),
            (at(110) - ns, Instant::ORIGIN, Fresh),
            (at(110), Instant::ORIGIN, Stale),
            (at(115) - ns, Instant::ORIGIN, Stale),
            (at(115), Instant::ORIGIN, Expired),
            (at(200), Instant::ORIGIN, Expired),
            (at(105), held, Fresh),
            (at(110), held, Held),
            (at(113) - ns, held, Held),
            (at(113), held, Stale),
            (at(116), at(120), Held),
            (at(130) - ns, at(200), Held),
            (at(130), at(200), Expired),
        ] {
            let decided = times.freshness(now, held_until, 1.0, || 0.5);
            assert_eq!(decided, expected, "at {now:?}, held until {held_until:?}");
        }
    }

    #[test]
    fn the_longer_of_both_stale_times_bounds_the_replacement_of_errors() {
        let until = |revalidate, on_error| {
            let stale_while_revalidate = Duration::from_secs(revalidate);
            let stale_on_error = Duration::from_secs(on_error);
            let lifetimes = Lifetimes { stale_while_revalidate, stale_on_error, ..lifetimes() };
            let times = Times::of_value(&lifetimes, at(0), S, 0.5);
            (times.stale_until, times.usable_until)
        };
        assert_eq!(until(5, 20), (at(15), at(30)));
        assert_eq!(until(20, 5), (at(30), at(30)));
        assert_eq!(until(0, 0), (at(10), at(10)));
    }

    #[test]
    fn an_error_expires_without_a_stale_time() {
        let times = Times::of_error(&lifetimes(), at(0), 0.5);
        let ns = Duration::from_nanos(1);
        for (now, expected) in
            [(at(0), Freshness::Fresh), (at(2) - ns, Freshness::Fresh), (at(2), Freshness::Expired)]
        {
            assert_eq!(times.freshness(now, Instant::ORIGIN, 1.0, || 0.0), expected);
        }
    }

    #[test]
    fn the_probability_of_an_early_refresh_grows_towards_the_expiry() {
        // With a cost of 1 s and β = 1, the value is refreshed if `-ln(1 - unit)` is at least the
        // number of seconds left. `1 - e^-1` is 0.632, `1 - e^-2` is 0.865.
        let times = Times::of_value(&lifetimes(), at(0), S, 0.5);
        for (now, beta, unit, expected) in [
            (9, 1.0, 0.631, Freshness::Fresh),
            (9, 1.0, 0.633, Freshness::RefreshEarly),
            (8, 1.0, 0.864, Freshness::Fresh),
            (8, 1.0, 0.865, Freshness::RefreshEarly),
            (8, 2.0, 0.633, Freshness::RefreshEarly),
            (9, 0.5, 0.864, Freshness::Fresh),
            (9, 0.5, 0.865, Freshness::RefreshEarly),
            (9, 0.0, 0.999, Freshness::Fresh),
            (9, 1.0, 0.0, Freshness::Fresh),
        ] {
            let decided = times.freshness(at(now), Instant::ORIGIN, beta, || unit);
            assert_eq!(decided, expected, "at {now} s, β {beta}, {unit}");
        }
        let held = times.freshness(at(9), at(10), 1.0, || 0.9);
        assert_eq!(held, Freshness::Fresh, "no early refresh while the result is held");
    }

    #[test]
    fn no_random_number_is_drawn_long_before_the_expiry() {
        let times = Times::of_value(&lifetimes(), at(0), S / 10, 0.5);
        let draw = || panic!("a random number was drawn");
        assert_eq!(times.freshness(at(6), Instant::ORIGIN, 1.0, draw), Freshness::Fresh);
        let last = 1.0 - f64::EPSILON / 2.0;
        let early = times.freshness(at(7), Instant::ORIGIN, 1.0, || last);
        assert_eq!(early, Freshness::RefreshEarly, "36.7 costs are left");
    }

    #[test]
    fn a_time_to_live_deviates_by_at_most_the_jitter() {
        for (jitter, unit, expected) in [
            (0.0, 0.9, 10_000),
            (0.1, 0.0, 9_000),
            (0.1, 0.5, 10_000),
            (0.1, 0.75, 10_500),
            (1.0, 0.0, 0),
        ] {
            let ttl = jittered(10 * S, jitter, unit);
            assert_eq!(ttl.as_millis(), expected, "{jitter} {unit}");
        }
        assert_eq!(jittered(Duration::MAX, 0.0, 0.5), Duration::MAX);
        assert_eq!(jittered(Duration::MAX, 0.1, 0.9), Duration::from_nanos(u64::MAX));
        assert_eq!(jittered(Duration::ZERO, 0.1, 0.9), Duration::ZERO);
    }
}
