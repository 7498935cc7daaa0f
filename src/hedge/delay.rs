//! The delay before the next attempt: fixed, or a quantile of the measured latencies.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::time::{Instant, Periodic, nanos};
use crate::window::LatencyWindow;
use std::time::Duration;

/// The delay of a hedge.
#[derive(Debug)]
pub(super) enum Delay {
    Fixed(Duration),
    Measured(Box<Measured>),
}

/// A delay that follows the latencies of the attempts.
#[derive(Debug)]
pub(super) struct Measured {
    quantile: f64,
    min: Duration,
    /// The latencies of the attempts that succeeded.
    completed: LatencyWindow,
    /// Lower bounds of the latencies of the attempts that were dropped (right-censored values).
    censored: LatencyWindow,
    /// The current delay in nanoseconds. Ordering: relaxed. No other memory depends on it.
    delay: AtomicU64,
    update_at: Periodic,
}

/// The end of an attempt whose latency is recorded. Failed attempts are not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptEnd {
    /// It succeeded after this time.
    Success(Duration),
    /// It was dropped after this time, and would have taken at least as long.
    Dropped(Duration),
}

/// How long a latency stays in the window.
const WINDOW: Duration = Duration::from_secs(30);
const UPDATE_INTERVAL: Duration = Duration::from_secs(3);
/// With fewer attempts in the window, the delay is not computed.
const MIN_SAMPLES: u64 = 20;

impl Delay {
    pub(super) fn measured(quantile: f64, initial: Duration, min: Duration) -> Self {
        Self::Measured(Box::new(Measured {
            quantile,
            min,
            completed: LatencyWindow::over_time(WINDOW),
            censored: LatencyWindow::over_time(WINDOW),
            delay: AtomicU64::new(nanos(initial.max(min))),
            update_at: Periodic::new(Instant::ORIGIN),
        }))
    }

    /// Returns the delay in force.
    pub(super) fn get(&self) -> Duration {
        match self {
            Self::Fixed(delay) => *delay,
            Self::Measured(measured) => Duration::from_nanos(measured.delay.load(Relaxed)),
        }
    }

    /// Records the end of an attempt, and updates the delay if it is due.
    pub(super) fn record(&self, now: Instant, end: AttemptEnd) {
        let Self::Measured(measured) = self else { return };
        match end {
            AttemptEnd::Success(elapsed) => measured.completed.record(now, elapsed),
            AttemptEnd::Dropped(elapsed) => measured.censored.record(now, elapsed),
        }
        if measured.update_at.take(now, UPDATE_INTERVAL) {
            measured.update(now);
        }
    }
}

impl Measured {
    /// Computes the delay. Keeps the previous one if there are too few attempts, or if too many of
    /// them were dropped.
    fn update(&self, now: Instant) {
        let (completed, censored) = (self.completed.histogram(now), self.censored.histogram(now));
        if completed.count() + censored.count() < MIN_SAMPLES {
            return;
        }
        if let Some(delay) = completed.quantile_with_censored(&censored, self.quantile) {
            self.delay.store(nanos(delay.max(self.min)), Relaxed);
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn delay() -> Delay {
        Delay::measured(0.95, 100 * MS, MS)
    }

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn close(actual: Duration, expected: Duration) -> bool {
        actual.abs_diff(expected) <= expected / 16
    }

    #[test]
    fn the_initial_delay_is_used_until_there_are_enough_attempts() {
        let delay = delay();
        let success = AttemptEnd::Success(10 * MS);
        (0..18).for_each(|_| delay.record(at(100), success));
        delay.record(at(103), success); // an update is due: 19 attempts
        assert_eq!(delay.get(), 100 * MS);
        delay.record(at(106), success);
        assert!(close(delay.get(), 10 * MS), "{delay:?}");
    }

    #[test]
    fn attempts_that_were_dropped_count_as_attempts() {
        let delay = delay();
        (0..19).for_each(|_| delay.record(at(100), AttemptEnd::Success(10 * MS)));
        delay.record(at(103), AttemptEnd::Dropped(MS));
        assert!(close(delay.get(), 10 * MS), "{delay:?}");
    }

    #[test]
    fn the_delay_is_updated_every_three_seconds() {
        let delay = delay();
        (0..99).for_each(|_| delay.record(at(100), AttemptEnd::Success(10 * MS)));
        assert_eq!(delay.get(), 100 * MS);
        delay.record(at(103), AttemptEnd::Success(10 * MS));
        assert!(close(delay.get(), 10 * MS));
        (0..999).for_each(|_| delay.record(at(105), AttemptEnd::Success(20 * MS)));
        assert!(close(delay.get(), 10 * MS));
        delay.record(at(106), AttemptEnd::Success(20 * MS));
        assert!(close(delay.get(), 20 * MS));
    }

    /// tower and rhedge discard the latencies of attempts that were dropped. The quantile is then
    /// that of the winners, and the delay decreases until every call is hedged.
    #[test]
    fn attempts_that_were_dropped_do_not_shorten_the_delay() {
        let delay = delay();
        for second in 100..160 {
            // One call in ten takes long: its first attempt is dropped when the hedge wins.
            (0..45).for_each(|_| delay.record(at(second), AttemptEnd::Success(10 * MS)));
            for _ in 0..5 {
                let waited = delay.get();
                delay.record(at(second), AttemptEnd::Success(10 * MS));
                delay.record(at(second), AttemptEnd::Dropped(waited + 10 * MS));
            }
        }
        // 1 attempt in 11 was dropped and has no known latency, so the 95th percentile is unknown.
        assert_eq!(delay.get(), 100 * MS);
    }

    #[test]
    fn the_delay_is_at_least_the_minimum() {
        let delay = Delay::measured(0.95, Duration::ZERO, 5 * MS);
        assert_eq!(delay.get(), 5 * MS);
        (0..99).for_each(|_| delay.record(at(100), AttemptEnd::Success(MS / 10)));
        delay.record(at(103), AttemptEnd::Success(MS / 10));
        assert_eq!(delay.get(), 5 * MS);
    }

    #[test]
    fn attempts_leave_the_window_after_thirty_seconds() {
        let delay = delay();
        (0..100).for_each(|_| delay.record(at(100), AttemptEnd::Success(500 * MS)));
        (0..100).for_each(|_| delay.record(at(140), AttemptEnd::Success(10 * MS)));
        delay.record(at(143), AttemptEnd::Success(10 * MS));
        assert!(close(delay.get(), 10 * MS));
    }
}
