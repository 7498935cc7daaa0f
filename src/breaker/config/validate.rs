//! Validation of a builder's settings, when a breaker is built and when it is reconfigured.

use super::builder::{CircuitBreakerBuilder, WindowKind};
use super::live::{Config, SlowCalls};
use crate::breaker::engine::{Trial, Word};
use crate::error::ConfigError;
use std::time::Duration;

impl CircuitBreakerBuilder {
    /// Returns the configuration if every setting is in range. [`new_window`](Self::new_window)
    /// validates the window.
    pub(crate) fn validated(&self) -> Result<Config, ConfigError> {
        let min_calls = self.min_calls.unwrap_or(match self.window {
            WindowKind::Count(size) => Self::MIN_CALLS.min(size),
            WindowKind::Time(..) => Self::MIN_CALLS,
        });
        let slow_min_calls = self.slow_min_calls.unwrap_or(min_calls);
        if let Some(share) = self.failure_rate {
            rate("failure_rate", share)?;
        }
        if let Some(slow @ (threshold, share)) = self.slow_calls {
            if threshold.is_zero() {
                return Err(ConfigError::new("slow_calls", slow, "a threshold longer than zero"));
            }
            rate("slow_calls", share)
                .map_err(|error| ConfigError::new("slow_calls", slow, error.accepted()))?;
        }
        // The defaults fit every window.
        if let Some(calls) = self.min_calls {
            self.fits_the_window("min_calls", calls)?;
        }
        if let Some(calls) = self.slow_min_calls {
            self.fits_the_window("slow_min_calls", calls)?;
        }
        if let Some(calls) = self.consecutive_failures {
            let accepted = "1 to 268435455 calls";
            in_range("consecutive_failures", calls, Word::MAX_CONSECUTIVE_FAILURES, accepted)?;
        }
        let has_rate = self.failure_rate.is_some() || self.slow_calls.is_some();
        if !has_rate && self.consecutive_failures.is_none() && self.trip_rule.is_none() {
            let accepted =
                "at least one of failure_rate, slow_calls, consecutive_failures, trip_when";
            return Err(ConfigError::new("failure_rate", self.failure_rate, accepted));
        }
        if self.track_in_flight && self.slow_calls.is_none() {
            let accepted = "only with slow_calls, whose threshold it needs";
            return Err(ConfigError::new("track_in_flight", true, accepted));
        }
        self.open_duration.validate("open_duration")?;
        longer_than_zero("max_retry_after", self.max_retry_after)?;
        let (probes, calls) = (self.half_open_concurrency, self.half_open_calls);
        in_range("half_open_concurrency", probes, Trial::MAX, "1 to 127 probes")?;
        in_range("half_open_calls", calls, Trial::MAX, "1 to 127 calls")?;
        longer_than_zero("probe_timeout", self.probe_timeout)?;
        Ok(Config {
            failure_rate: self.failure_rate,
            min_calls,
            slow_calls: self.slow_calls.map(|(after, rate)| SlowCalls { after, rate }),
            slow_min_calls,
            consecutive_failures: self.consecutive_failures,
            half_open_concurrency: self.half_open_concurrency,
            half_open_calls: self.half_open_calls,
            probe_timeout: self.probe_timeout,
            open_duration: self.open_duration.clone().into_parts().0,
            max_retry_after: self.max_retry_after,
            ramp_up_duration: self.ramp_up_duration,
            has_trip_rule: self.trip_rule.is_some(),
            tracks_in_flight: self.track_in_flight,
            records_latency: self.record_latency,
        })
    }

    /// Returns the configuration of `new` for a breaker that was built from `self`. Settings that
    /// are fixed when a breaker is built must be equal.
    pub(crate) fn reconfigured(&self, new: &Self) -> Result<Config, ConfigError> {
        if self.window != new.window {
            let accepted = "the window that the breaker was built with";
            return Err(match new.window {
                WindowKind::Count(calls) => ConfigError::new("count_window", calls, accepted),
                WindowKind::Time(span, buckets) => {
                    ConfigError::new("time_window", (span, buckets), accepted)
                }
            });
        }
        if self.name != new.name {
            return Err(ConfigError::new(
                "name",
                &new.name,
                "the name that the breaker was built with",
            ));
        }
        let fixed = "the setting that the breaker was built with";
        if self.track_in_flight != new.track_in_flight {
            return Err(ConfigError::new("track_in_flight", new.track_in_flight, fixed));
        }
        if self.record_latency != new.record_latency {
            return Err(ConfigError::new("record_latency", new.record_latency, fixed));
        }
        if self.clock.id() != new.clock.id() {
            return Err(ConfigError::new(
                "clock",
                &new.clock,
                "the clock that the breaker was built with",
            ));
        }
        new.validated()
    }

    pub(crate) fn window_span(&self) -> Option<Duration> {
        match self.window {
            WindowKind::Count(_) => None,
            WindowKind::Time(span, _) => Some(span),
        }
    }

    pub(crate) const fn tracks_in_flight(&self) -> bool {
        self.track_in_flight
    }

    /// Returns the smallest number of consecutive failures of weight one at which `failure_rate` or
    /// `consecutive_failures` opens the breaker, or `None` if neither is set or a setting is out of
    /// range.
    pub(crate) fn min_failures_to_open(&self) -> Option<u32> {
        let config = self.validated().ok()?;
        let by_rate = config.failure_rate.map(|_| config.min_calls);
        by_rate.into_iter().chain(config.consecutive_failures).min()
    }

    fn fits_the_window(&self, field: &'static str, calls: u32) -> Result<(), ConfigError> {
        match self.window {
            WindowKind::Count(size) if calls > size => {
                Err(ConfigError::new(field, calls, "at most as many calls as the window holds"))
            }
            _ => in_range(field, calls, u32::MAX, "at least 1 call"),
        }
    }
}

fn rate(field: &'static str, rate: f64) -> Result<(), ConfigError> {
    match rate > 0.0 && rate <= 1.0 {
        true => Ok(()),
        false => Err(ConfigError::new(field, rate, "a share above 0 and at most 1")),
    }
}

fn in_range(
    field: &'static str,
    value: u32,
    max: u32,
    accepted: &'static str,
) -> Result<(), ConfigError> {
    match (1..=max).contains(&value) {
        true => Ok(()),
        false => Err(ConfigError::new(field, value, accepted)),
    }
}

fn longer_than_zero(field: &'static str, duration: Duration) -> Result<(), ConfigError> {
    match duration.is_zero() {
        true => Err(ConfigError::new(field, duration, "longer than zero")),
        false => Ok(()),
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::backoff::{Backoff, Jitter};

    #[test]
    fn a_builder_returns_its_window_span_in_flight_tracking_and_failures_to_open() {
        let b = CircuitBreakerBuilder::default;
        let span = Duration::from_secs(10);
        assert_eq!(b().count_window(100).window_span(), None);
        assert_eq!(b().time_window(span, 10).window_span(), Some(span));
        assert!(b().slow_calls(span, 0.5).track_in_flight().tracks_in_flight());
        assert!(!b().tracks_in_flight());
        let base = b().failure_rate(0.5).min_calls(20);
        assert_eq!(base.clone().min_failures_to_open(), Some(20));
        assert_eq!(base.clone().consecutive_failures(5).min_failures_to_open(), Some(5));
        assert_eq!(base.consecutive_failures(30).min_failures_to_open(), Some(20));
    }

    #[test]
    fn slow_calls_can_be_removed_without_a_change_of_other_settings() {
        let b = CircuitBreakerBuilder::default().name("search");
        let b = b.slow_calls(Duration::from_secs(1), 0.5).without_slow_calls();
        let b = b.random(crate::random::Random::seeded(1));
        assert!(b.validated().unwrap().slow_calls.is_none());
        assert_eq!(b.name, "search");
        assert!(format!("{b:?}").contains("search"), "{b:?}");
    }

    #[test]
    fn the_slow_threshold_of_a_class_exceeds_zero_and_requires_a_timed_breaker() {
        let class = |threshold| crate::breaker::CallClass::new().slow_after(threshold);
        for timed in [false, true] {
            let error = class(Duration::ZERO).validate(timed).unwrap_err();
            assert_eq!(error.field(), "slow_after");
            let accepted = class(Duration::from_nanos(1)).validate(timed).is_ok();
            assert_eq!(accepted, timed);
        }
    }

    /// Compares the table in the module documentation with `CircuitBreakerBuilder::default`, which
    /// alone defines the defaults.
    #[test]
    fn the_documented_defaults_match_the_builder() {
        let b = CircuitBreakerBuilder::default();
        let config = b.validated().unwrap();
        let WindowKind::Count(calls) = b.window else { panic!("{:?}", b.window) };
        let expected =
            Backoff::exponential(Duration::from_secs(5)).max_delay(Duration::from_secs(60));
        assert_eq!(config.open_duration, expected.jitter(Jitter::Equal).into_parts().0);
        let off = |on: bool| if on { "on" } else { "off" }.to_owned();
        let none = |some: bool| if some { "some" } else { "none" }.to_owned();
        let rows = [
            ("count_window", format!("{calls} calls")),
            ("failure_rate", config.failure_rate.unwrap().to_string()),
            ("min_calls", config.min_calls.to_string()),
            ("slow_calls", none(config.slow_calls.is_some())),
            ("consecutive_failures", none(config.consecutive_failures.is_some())),
            ("open_duration", "5 s, doubling up to 60 s, equal jitter".into()),
            ("max_retry_after", format!("{} s", config.max_retry_after.as_secs())),
            ("half_open_concurrency", config.half_open_concurrency.to_string()),
            ("half_open_calls", config.half_open_calls.to_string()),
            ("probe_timeout", format!("{} s", config.probe_timeout.as_secs())),
            ("ramp_up_duration", none(!config.ramp_up_duration.is_zero())),
            ("trip_when", none(config.has_trip_rule)),
            ("track_in_flight", off(config.tracks_in_flight)),
            ("record_latency", off(config.records_latency)),
        ];
        for (setting, default) in rows {
            let row =
                format!("//! | [`{setting}`](CircuitBreakerBuilder::{setting}) | {default} |");
            assert!(include_str!("../mod.rs").contains(&row), "{row}");
        }
    }
}
