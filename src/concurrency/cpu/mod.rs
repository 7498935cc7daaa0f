//! A signal of processor load, for controllers that require one: [`CpuLoad`].

mod cgroup;
mod config;
mod proc;
mod sampler;
#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests;

pub use config::CpuLoadBuilder;

use crate::sync::{PlainArc, PlainMutex};
use crate::time::{Clock, Periodic};
use sampler::{Reading, Sampler};
use std::fmt;
use std::time::Duration;

/// The load of the processors that this process may use, as a signal for
/// [`overload_signal`](super::AdaptiveLimiterBuilder::overload_signal).
///
/// The load has two figures:
///
/// - The *usage* is the share of the available processor time that is used. If a cgroup of the
///   process has a quota below the number of these processors, it is the usage of that cgroup as a
///   share of its quota, or the highest such share of several cgroups. Otherwise it is the busy
///   share of the processors that the process may run on, whichever process uses them.
/// - The *pressure* is the share of time in which at least one thread that was ready to run waited
///   for a processor. It is measured in the cgroup of the process if that reports it, and otherwise
///   on the whole machine.
///
/// Both are averages since the previous reading. No thread is started: the figures are read by a
/// call of [`snapshot`](Self::snapshot) or [`is_overloaded`](Self::is_overloaded), at most once per
/// [interval](CpuLoadBuilder::interval).
///
/// The figures come from cgroups (version 1 or 2) and `/proc`. On systems other than Linux, and
/// where these files cannot be read, both are `None`, and `is_overloaded` always returns false.
///
/// Cloning is cheap, and all clones share the figures.
///
/// # Examples
///
/// ```
/// use mainstay::concurrency::{AdaptiveLimiter, BbrController, CpuLoad};
///
/// let cpu = CpuLoad::builder().max_usage(0.8).build()?;
/// let limiter = AdaptiveLimiter::builder()
///     .controller(BbrController::new())
///     .overload_signal(move || cpu.is_overloaded())
///     .build()?;
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # Performance
///
/// A reading opens up to three files of `/proc` or of the cgroup, and up to three for each level of
/// the cgroup hierarchy. For six files, this takes tens of microseconds. Other calls read the clock
/// and lock a mutex.
#[derive(Clone)]
pub struct CpuLoad(PlainArc<Shared>);

struct Shared {
    clock: Clock,
    interval: Duration,
    max_usage: f64,
    max_pressure: Option<f64>,
    read_at: Periodic,
    sampler: PlainMutex<Sampler>,
    latest: PlainMutex<CpuLoadSnapshot>,
}

/// The figures of a [`CpuLoad`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CpuLoadSnapshot {
    /// The share of the available processor time that is used, from 0 to about 1; `None` if it is
    /// unknown.
    pub usage: Option<f64>,
    /// The share of time in which a thread waited for a processor, from 0 to about 1; `None` if it
    /// is unknown.
    pub pressure: Option<f64>,
    /// Whether one of the figures exceeds its maximum.
    pub overloaded: bool,
}

impl CpuLoad {
    /// Creates a builder.
    pub fn builder() -> CpuLoadBuilder {
        CpuLoadBuilder::new()
    }

    /// Returns whether a figure exceeds its maximum, by the latest reading. Reads the figures if
    /// the interval has passed.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.snapshot().overloaded
    }

    /// Returns the latest figures. Reads them if the interval has passed.
    #[must_use]
    pub fn snapshot(&self) -> CpuLoadSnapshot {
        let shared = &*self.0;
        let now = shared.clock.now();
        if shared.read_at.take(now, shared.interval)
            && let Some(reading) = shared.sampler.lock().read(now)
        {
            *shared.latest.lock() = shared.judge(reading);
        }
        *shared.latest.lock()
    }
}

impl Shared {
    fn judge(&self, Reading { usage, pressure }: Reading) -> CpuLoadSnapshot {
        let busy = usage.is_some_and(|usage| usage > self.max_usage);
        let delayed = pressure
            .zip(self.max_pressure)
            .is_some_and(|(pressure, max_pressure)| pressure > max_pressure);
        CpuLoadSnapshot { usage, pressure, overloaded: busy || delayed }
    }
}

impl fmt::Debug for CpuLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuLoad")
            .field("max_usage", &self.0.max_usage)
            .field("max_pressure", &self.0.max_pressure)
            .field("latest", &*self.0.latest.lock())
            .finish_non_exhaustive()
    }
}
