use crate::backoff::Formula;
use crate::sync::Words;
use crate::time::nanos;
use std::time::Duration;

/// The settings that decisions read, and that may change while they do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    /// Infinite: never trips.
    pub(super) failure_rate: f64,
    pub(super) min_calls: u32,
    /// Infinite: never trips.
    pub(super) slow_rate: f64,
    pub(super) slow_min_calls: u32,
    pub(super) slow_after: Duration,
    /// `u32::MAX`: never trips.
    pub(super) failures_in_a_row: u32,
    pub(super) probes: u32,
    pub(super) half_open_calls: u32,
    pub(super) probe_timeout: Duration,
    pub(super) wait: Formula,
    pub(super) max_retry_after: Duration,
    /// Zero: everything at once.
    pub(super) ramp_up: Duration,
    pub(super) has_rule: bool,
    pub(super) in_flight: bool,
    pub(super) latency: bool,
}

impl Settings {
    pub(super) const WORDS: usize = 12;

    /// Which of the words says from when on a call is slow.
    pub(super) const SLOW_AFTER: usize = 2;

    /// Whether somebody wants to know how long calls take.
    pub(super) const fn is_timed(&self) -> bool {
        self.slow_rate.is_finite() || self.latency
    }

    pub(super) const fn counts_streaks(&self) -> bool {
        self.failures_in_a_row != u32::MAX
    }
}

impl Words<{ Settings::WORDS }> for Settings {
    fn to_words(self) -> [u64; Self::WORDS] {
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let [a, b, c, d] = self.wait.to_words();
        let flags = [self.has_rule, self.in_flight, self.latency];
        let flags = flags.iter().fold(0, |flags, flag| flags << 1 | u32::from(*flag));
        [
            self.failure_rate.to_bits(),
            self.slow_rate.to_bits(),
            nanos(self.slow_after),
            pair(self.min_calls, self.slow_min_calls),
            pair(self.failures_in_a_row, flags << 16 | self.probes << 8 | self.half_open_calls),
            nanos(self.probe_timeout),
            nanos(self.ramp_up),
            nanos(self.max_retry_after),
            a,
            b,
            c,
            d,
        ]
    }

    fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [
            failure_rate,
            slow_rate,
            slow_after,
            minima,
            limits,
            lease,
            ramp_up,
            pause,
            a,
            b,
            c,
            d,
        ] = words;
        let (high, low) = (|word: u64| (word >> 32) as u32, |word: u64| word as u32);
        Self {
            failure_rate: f64::from_bits(failure_rate),
            min_calls: high(minima),
            slow_rate: f64::from_bits(slow_rate),
            slow_min_calls: low(minima),
            slow_after: Duration::from_nanos(slow_after),
            failures_in_a_row: high(limits),
            probes: low(limits) >> 8 & 0xff,
            half_open_calls: low(limits) & 0xff,
            probe_timeout: Duration::from_nanos(lease),
            wait: Formula::from_words([a, b, c, d]),
            max_retry_after: Duration::from_nanos(pause),
            ramp_up: Duration::from_nanos(ramp_up),
            has_rule: low(limits) >> 18 & 1 != 0,
            in_flight: low(limits) >> 17 & 1 != 0,
            latency: low(limits) >> 16 & 1 != 0,
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::backoff::Backoff;

    #[test]
    fn settings_survive_their_words() {
        let settings = super::super::CircuitBreakerBuilder::default()
            .slow_calls(Duration::from_millis(7), 0.25)
            .slow_min_calls(3)
            .consecutive_failures(9)
            .open_duration(Backoff::fibonacci(Duration::from_secs(1)))
            .max_retry_after(Duration::from_secs(4))
            .ramp_up_duration(Duration::from_secs(3))
            .half_open_concurrency(127)
            .half_open_calls(126)
            .track_in_flight()
            .settings()
            .unwrap();
        assert_eq!(Settings::from_words(settings.to_words()), settings);
        assert_eq!(settings.to_words()[Settings::SLOW_AFTER], nanos(settings.slow_after));
    }
}
