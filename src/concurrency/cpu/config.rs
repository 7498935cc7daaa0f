//! The builder of a load signal: [`CpuLoadBuilder`].

use super::sampler::{ReadFile, Sampler};
use super::{CpuLoad, CpuLoadSnapshot, Shared};
use crate::error::ConfigError;
use crate::sync::{PlainArc, PlainMutex};
use crate::time::{Clock, Periodic};
use std::fs;
use std::time::Duration;

/// A builder of a [`CpuLoad`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct CpuLoadBuilder {
    max_usage: f64,
    max_pressure: Option<f64>,
    interval: Duration,
    clock: Clock,
}

impl CpuLoadBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_usage: 0.8,
            max_pressure: None,
            interval: Duration::from_millis(500),
            clock: Clock::system(),
        }
    }

    /// Sets the usage above which the signal reports an overload, above 0 and at most 1. Default:
    /// 0.8, beyond which latencies grow quickly under irregular load.
    ///
    /// ```
    /// # use mainstay::concurrency::CpuLoad;
    /// let built = CpuLoad::builder().max_usage(0.9).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_usage(mut self, share: f64) -> Self {
        self.max_usage = share;
        self
    }

    /// Sets the pressure above which the signal reports an overload, above 0 and at most 1. Off by
    /// default, because a suitable value depends on the number of threads: the more there are, the
    /// more often one of them waits.
    ///
    /// ```
    /// # use mainstay::concurrency::CpuLoad;
    /// let built = CpuLoad::builder().max_pressure(0.5).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_pressure(mut self, share: f64) -> Self {
        self.max_pressure = Some(share);
        self
    }

    /// Sets the shortest time between two readings, from 100 ms to one minute. Default: 500 ms.
    /// The kernel counts busy time in steps of up to 10 ms and enforces quotas in periods of 100
    /// ms, so an average over a shorter time is mostly noise.
    ///
    /// ```
    /// # use mainstay::concurrency::CpuLoad;
    /// # use std::time::Duration;
    /// let built = CpuLoad::builder().interval(Duration::from_secs(1)).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the clock that measures the time between two readings. It must run in real time, except
    /// in tests. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{Clock, concurrency::CpuLoad};
    /// let built = CpuLoad::builder().clock(Clock::system()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the signal, and reads the figures for the first time.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting that is out of range.
    pub fn build(self) -> Result<CpuLoad, ConfigError> {
        self.build_with(Box::new(|path| match cfg!(target_os = "linux") {
            true => fs::read_to_string(path).ok(),
            false => None,
        }))
    }

    /// Builds a signal that reads files with `read`.
    pub(super) fn build_with(self, read: ReadFile) -> Result<CpuLoad, ConfigError> {
        let Self { max_usage, max_pressure, interval, clock } = self;
        let accepted = "a share above 0 and at most 1";
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        if !is_share(max_usage) {
            return Err(ConfigError::new("max_usage", max_usage, accepted));
        }
        if let Some(max_pressure) = max_pressure
            && !is_share(max_pressure)
        {
            return Err(ConfigError::new("max_pressure", max_pressure, accepted));
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&interval) {
            return Err(ConfigError::new("interval", interval, "100 ms to one minute"));
        }
        let now = clock.now();
        Ok(CpuLoad(PlainArc::new(Shared {
            clock,
            interval,
            max_usage,
            max_pressure,
            read_at: Periodic::new(now + interval),
            sampler: PlainMutex::new(Sampler::new(now, read)),
            latest: PlainMutex::new(CpuLoadSnapshot::default()),
        })))
    }
}
