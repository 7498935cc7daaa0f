//! Computes the figures of the load from two readings of the kernel's counters.

use super::cgroup::{Cgroup, QuotaUsage};
use super::proc::{AllowedProcessors, ProcessorTime, waiting_time};
use crate::time::Instant;
use std::time::Duration;

/// A function that returns the text of a file, or `None` if it cannot be read.
pub(super) type ReadFile = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The files to read, and the counters of the last reading.
pub(super) struct Sampler {
    read: ReadFile,
    levels: Vec<Cgroup>,
    pressure: Option<String>,
    last: Counters,
}

/// The averages between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) usage: Option<f64>,
    pub(super) pressure: Option<f64>,
}

struct Counters {
    at: Instant,
    /// One for each level of the cgroup hierarchy; `None` if the level has no quota.
    levels: Vec<Option<QuotaUsage>>,
    processors: Option<ProcessorTime>,
    /// The time in which a thread waited for a processor.
    waiting: Option<Duration>,
}

impl Sampler {
    /// Finds the files, and reads the counters for the first time.
    pub(super) fn new(now: Instant, read: ReadFile) -> Self {
        let cgroups = read("/proc/self/cgroup").unwrap_or_default();
        let mounts = read("/proc/self/mountinfo").unwrap_or_default();
        let levels = Cgroup::levels(&cgroups, &mounts);
        let own = match levels.first() {
            Some(Cgroup::V2 { pressure, .. }) => Some(pressure.as_str()),
            _ => None,
        };
        let candidates = own.into_iter().chain(["/proc/pressure/cpu"]);
        let known = |path: &&str| read(path).as_deref().and_then(waiting_time).is_some();
        let pressure = candidates.into_iter().find(known).map(str::to_owned);
        let last = Counters::read(now, &read, &levels, pressure.as_deref());
        Self { read, levels, pressure, last }
    }

    /// Reads the counters, and returns the averages since the last reading. Returns `None` if the
    /// clock has not advanced.
    pub(super) fn read(&mut self, now: Instant) -> Option<Reading> {
        let counters = Counters::read(now, &self.read, &self.levels, self.pressure.as_deref());
        let last = std::mem::replace(&mut self.last, counters);
        self.last.since(&last)
    }
}

impl Counters {
    fn read(now: Instant, read: &ReadFile, levels: &[Cgroup], pressure: Option<&str>) -> Self {
        let allowed = read("/proc/self/status").as_deref().and_then(AllowedProcessors::of);
        let is_allowed = |number| allowed.as_ref().is_none_or(|allowed| allowed.contains(number));
        let stat = read("/proc/stat");
        Self {
            at: now,
            levels: levels.iter().map(|level| level.quota_usage(read)).collect(),
            processors: stat.and_then(|stat| ProcessorTime::of(&stat, is_allowed)),
            waiting: pressure.and_then(read).as_deref().and_then(waiting_time),
        }
    }

    /// Returns the averages since `earlier`, or `None` if no time has passed.
    fn since(&self, earlier: &Self) -> Option<Reading> {
        let elapsed = self.at.since(earlier.at).as_secs_f64();
        if elapsed == 0.0 {
            return None;
        }
        let pressure = self
            .waiting
            .zip(earlier.waiting)
            .map(|(later, earlier)| later.saturating_sub(earlier).as_secs_f64() / elapsed);
        Some(Reading { usage: self.usage(earlier, elapsed), pressure })
    }

    /// Returns the highest usage of a quota, or the busy share of the processors if no quota is
    /// lower than their number.
    fn usage(&self, earlier: &Self, elapsed: f64) -> Option<f64> {
        let number = self.processors.map_or(f64::INFINITY, |time| f64::from(time.processors));
        let usages = self.levels.iter().zip(&earlier.levels).filter_map(|(later, earlier)| {
            let (later, earlier) = ((*later)?, (*earlier)?);
            let used = later.used.saturating_sub(earlier.used).as_secs_f64();
            (later.quota < number).then(|| used / (elapsed * later.quota))
        });
        usages.max_by(f64::total_cmp).or_else(|| self.processors?.busy_share(earlier.processors?))
    }
}
