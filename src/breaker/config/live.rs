//! The validated settings that can be replaced while calls are in flight, and their encoding.

use crate::backoff::Formula;
use crate::sync::Words;
use crate::time::nanos;
use std::time::Duration;

/// The validated settings that can be replaced while calls are in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) failure_rate: Option<f64>,
    pub(crate) min_calls: u32,
    pub(crate) slow_calls: Option<SlowCalls>,
    pub(crate) slow_min_calls: u32,
    pub(crate) consecutive_failures: Option<u32>,
    pub(crate) half_open_concurrency: u32,
    pub(crate) half_open_calls: u32,
    pub(crate) probe_timeout: Duration,
    pub(crate) open_duration: Formula,
    pub(crate) max_retry_after: Duration,
    /// Zero means no ramp.
    pub(crate) ramp_up_duration: Duration,
    pub(crate) has_trip_rule: bool,
    pub(crate) tracks_in_flight: bool,
    pub(crate) records_latency: bool,
}

/// The thresholds of the slow-call rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SlowCalls {
    /// The duration from which on a call is slow.
    pub(crate) after: Duration,
    /// The share of slow calls that trips the breaker.
    pub(crate) rate: f64,
}

impl Config {
    pub(crate) const WORDS: usize = 12;

    /// The index of the word that holds [`slow_after`](Self::slow_after).
    pub(crate) const SLOW_AFTER: usize = 2;

    /// Returns the duration from which on a call is slow; `Duration::MAX` without a slow-call rule.
    pub(crate) fn slow_after(&self) -> Duration {
        self.slow_calls.map_or(Duration::MAX, |slow| slow.after)
    }

    /// Returns whether calls must be timed.
    pub(crate) const fn is_timed(&self) -> bool {
        self.slow_calls.is_some() || self.records_latency
    }
}

// `None` is encoded as an infinite rate, or as `u32::MAX` consecutive failures.
impl Words<{ Config::WORDS }> for Config {
    fn to_words(self) -> [u64; Self::WORDS] {
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let rate = |rate: Option<f64>| rate.unwrap_or(f64::INFINITY).to_bits();
        let [a, b, c, d] = self.open_duration.to_words();
        let flags = [self.has_trip_rule, self.tracks_in_flight, self.records_latency];
        let flags = flags.iter().fold(0, |flags, flag| flags << 1 | u32::from(*flag));
        let trial = flags << 16 | self.half_open_concurrency << 8 | self.half_open_calls;
        [
            rate(self.failure_rate),
            rate(self.slow_calls.map(|slow| slow.rate)),
            nanos(self.slow_after()),
            pair(self.min_calls, self.slow_min_calls),
            pair(self.consecutive_failures.unwrap_or(u32::MAX), trial),
            nanos(self.probe_timeout),
            nanos(self.ramp_up_duration),
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
            min_calls,
            limits,
            probe_timeout,
            ramp_up_duration,
            max_retry_after,
            a,
            b,
            c,
            d,
        ] = words;
        let (high, low) = (|word: u64| (word >> 32) as u32, |word: u64| word as u32);
        let rate = |bits: u64| Some(f64::from_bits(bits)).filter(|rate| rate.is_finite());
        let after = Duration::from_nanos(slow_after);
        Self {
            failure_rate: rate(failure_rate),
            min_calls: high(min_calls),
            slow_calls: rate(slow_rate).map(|rate| SlowCalls { after, rate }),
            slow_min_calls: low(min_calls),
            consecutive_failures: Some(high(limits)).filter(|failures| *failures != u32::MAX),
            half_open_concurrency: low(limits) >> 8 & 0xff,
            half_open_calls: low(limits) & 0xff,
            probe_timeout: Duration::from_nanos(probe_timeout),
            open_duration: Formula::from_words([a, b, c, d]),
            max_retry_after: Duration::from_nanos(max_retry_after),
            ramp_up_duration: Duration::from_nanos(ramp_up_duration),
            has_trip_rule: low(limits) >> 18 & 1 != 0,
            tracks_in_flight: low(limits) >> 17 & 1 != 0,
            records_latency: low(limits) >> 16 & 1 != 0,
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use crate::breaker::CircuitBreakerBuilder;

    fn round_trip(builder: &CircuitBreakerBuilder) {
        let config = builder.validated().unwrap();
        assert_eq!(Config::from_words(config.to_words()), config);
        assert_eq!(config.to_words()[Config::SLOW_AFTER], nanos(config.slow_after()));
    }

    #[test]
    fn a_configuration_survives_its_encoding() {
        let builder = CircuitBreakerBuilder::default();
        round_trip(&builder);
        let all = builder
            .slow_calls(Duration::from_millis(7), 0.25)
            .slow_min_calls(3)
            .consecutive_failures(9)
            .open_duration(Backoff::fibonacci(Duration::from_secs(1)))
            .max_retry_after(Duration::from_secs(4))
            .ramp_up_duration(Duration::from_secs(3))
            .half_open_concurrency(127)
            .half_open_calls(126)
            .trip_when(|_| false)
            .record_latency()
            .track_in_flight();
        round_trip(&all);
        round_trip(&all.failure_rate(None));
    }
}
