//! The delay before the next attempt: fixed, or a quantile of the measured latencies.

use super::words::{Config, DelayConfig};
use crate::sync::{Decision, LiveState, STATE_BITS};
use crate::time::{Instant, Periodic, nanos};
use crate::window::{LatencyHistogram, LatencyWindow};
use std::time::Duration;

/// The settings of a hedge that can be replaced, and its delay.
#[derive(Debug)]
pub(super) struct Delay {
    /// The state is the last computed delay in nanoseconds, or 0 if none has been computed.
    settings: LiveState<4>,
    /// `None` if the delay is fixed.
    latencies: Option<Box<Latencies>>,
}

/// The latencies of the attempts, from which the delay is computed.
#[derive(Debug)]
struct Latencies {
    /// The latencies of the attempts that succeeded.
    completed: LatencyWindow,
    /// Lower bounds of the latencies of the attempts that were dropped (right-censored values).
    censored: LatencyWindow,
    update_at: Periodic,
}

/// How an attempt ended, with its latency. Failed attempts are not recorded.
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
/// The number of attempts in the window below which the delay is not computed.
const MIN_SAMPLES: u64 = 20;
/// The longest delay that the state can hold, in nanoseconds: 36 years.
const MAX_DELAY: u64 = (1 << STATE_BITS) - 1;

impl Delay {
    pub(super) fn new(config: Config) -> Self {
        let latencies = match config.delay {
            DelayConfig::Fixed(_) => None,
            DelayConfig::Quantile { .. } => Some(Box::new(Latencies {
                completed: LatencyWindow::over_time(WINDOW),
                censored: LatencyWindow::over_time(WINDOW),
                update_at: Periodic::new(Instant::ORIGIN),
            })),
        };
        Self { settings: LiveState::new(config, 0), latencies }
    }

    /// Returns the settings in force.
    pub(super) fn config(&self) -> Config {
        self.settings.config()
    }

    /// Returns the delay in force.
    pub(super) fn get(&self) -> Duration {
        self.settings.decide(|computed, config: Config| {
            Decision::Keep(match config.delay {
                DelayConfig::Fixed(delay) => delay,
                DelayConfig::Quantile { initial, min, .. } => match computed {
                    0 => initial.max(min),
                    nanos => Duration::from_nanos(nanos).max(min),
                },
            })
        })
    }

    pub(super) const fn is_measured(&self) -> bool {
        self.latencies.is_some()
    }

    /// Replaces the settings with `config`, whose delay is of the same kind, and computes the
    /// delay. The latencies are kept.
    pub(super) fn reconfigure(&self, now: Instant, config: Config) {
        self.settings.replace(config, |_, computed| computed);
        if let Some(latencies) = &self.latencies {
            self.update(now, latencies);
        }
    }

    /// Records the end of an attempt, and updates the delay if an update is due.
    pub(super) fn record(&self, now: Instant, end: AttemptEnd) {
        let Some(latencies) = &self.latencies else { return };
        match end {
            AttemptEnd::Success(elapsed) => latencies.completed.record(now, elapsed),
            AttemptEnd::Dropped(elapsed) => latencies.censored.record(now, elapsed),
        }
        if latencies.update_at.take(now, UPDATE_INTERVAL) {
            self.update(now, latencies);
        }
    }

    /// Computes the delay. Keeps the previous delay if there are too few attempts, or if too many
    /// of the attempts were dropped.
    fn update(&self, now: Instant, latencies: &Latencies) {
        let completed = latencies.completed.histogram(now);
        let censored = latencies.censored.histogram(now);
        if completed.count() + censored.count() >= MIN_SAMPLES {
            self.settings.decide(|_, config| compute(config, &completed, &censored));
        }
    }
}

/// Computes the quantile of the settings `config`, or keeps the delay if the quantile is unknown.
fn compute(
    config: Config,
    completed: &LatencyHistogram,
    censored: &LatencyHistogram,
) -> Decision<u64, ()> {
    let DelayConfig::Quantile { quantile, .. } = config.delay else { return Decision::Keep(()) };
    match completed.quantile_with_censored(censored, quantile) {
        Some(delay) => Decision::Replace(nanos(delay).clamp(1, MAX_DELAY), ()),
        None => Decision::Keep(()),
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn config(quantile: f64, initial: Duration, min: Duration) -> Config {
        let delay = DelayConfig::Quantile { quantile, initial, min };
        Config {
            delay,
            max_attempts: 2,
            hedges_failures: false,
            is_idempotent: false,
            is_shadow: false,
        }
    }

    fn delay() -> Delay {
        Delay::new(config(0.95, 100 * MS, MS))
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
    /// that of the fastest attempt of each call, and the delay decreases until every call is
    /// hedged.
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
        let delay = Delay::new(config(0.95, Duration::ZERO, 5 * MS));
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

    #[test]
    fn new_settings_use_the_latencies_that_were_measured() {
        let delay = delay();
        (0..90).for_each(|_| delay.record(at(100), AttemptEnd::Success(10 * MS)));
        (0..10).for_each(|_| delay.record(at(100), AttemptEnd::Success(40 * MS)));
        assert_eq!(delay.get(), 100 * MS, "no update is due");
        delay.reconfigure(at(101), config(0.5, 100 * MS, MS));
        assert!(close(delay.get(), 10 * MS), "{delay:?}");
        delay.reconfigure(at(101), config(0.95, 100 * MS, MS));
        assert!(close(delay.get(), 40 * MS), "{delay:?}");
        delay.reconfigure(at(101), config(0.5, 100 * MS, 20 * MS));
        assert_eq!(delay.get(), 20 * MS, "the new minimum");
        delay.reconfigure(at(200), config(0.5, 100 * MS, MS));
        assert!(close(delay.get(), 10 * MS), "without attempts, the delay is kept");
    }

    #[test]
    fn a_new_initial_delay_is_used_until_there_are_enough_attempts() {
        let delay = delay();
        delay.reconfigure(at(100), config(0.95, 50 * MS, MS));
        assert_eq!(delay.get(), 50 * MS);
        (0..19).for_each(|_| delay.record(at(100), AttemptEnd::Success(10 * MS)));
        delay.reconfigure(at(101), config(0.95, 60 * MS, MS));
        assert_eq!(delay.get(), 60 * MS);
    }
}
