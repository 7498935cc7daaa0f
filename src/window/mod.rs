//! WindowCounts over a sliding window: how many of the latest calls failed, how many were slow.
//!
//! Two windows, one interface. A *count window* looks at the last N calls, whenever they were; a *time
//! window* at the calls of the last so-many seconds, however many they are. Recording is lock-free,
//! allocates nothing, and for a fast success costs a few loads and at most one atomic addition.
//!
//! ```
//! use mainstay::time::Clock;
//! use mainstay::window::{WindowGeneration, Sample, Window};
//!
//! let clock = Clock::system();
//! let window = Window::count(3)?;
//! let generation = WindowGeneration::FIRST;
//! for sample in [Sample::FAILED, Sample::OK, Sample::OK, Sample::OK] {
//!     window.record(generation, clock.now(), sample);
//! }
//! let counts = window.counts(clock.now());
//! assert_eq!((counts.total, counts.failed), (3, 0)); // the failure has slid out
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! # Generations
//!
//! A window is emptied in constant time by moving it to another [`WindowGeneration`]. Each sample names the
//! generation that it belongs to, and one that comes late is refused and changes nothing. A breaker
//! passes on the generation in which it admitted the call.
//!
//! # How exact
//!
//! When nobody is recording, the counts are exact. While calls are being recorded at the same time,
//! a reader may see some of them in and some not.
//!
//! * *Count window*: a recorder that is suspended while all others go once around the window may, when
//!   it resumes, put its own older sample in the place of a newer one. The counts always agree with
//!   what is in the window. (A late sample that races a change of generation uses up a place: the
//!   sample there before it, if any, stays for one more round.)
//! * *Time window*: time goes in steps of one bucket, so the window reaches back between
//!   `span − span / buckets` and `span`. A sample counts at the latest instant that anyone has
//!   recorded since the last reset, so a clock that goes back goes nowhere. A bucket that holds more than 8 million calls
//!   of one kind halves its counts: rates stay right, totals become approximate.
//!
//! # Memory
//!
//! | window | bytes |
//! |---|---|
//! | count, N calls | 384 + 4 N |
//! | time, B buckets | 256 + 16 B |
//! | with a latency histogram | 8.2 KiB more |
//!
//! on x86-64, in two allocations that share no cache line with anything else. (The windows of a
//! [`breaker::KeyedCircuitBreaker`](crate::breaker::KeyedCircuitBreaker) take 40 bytes until the first failed or slow call.)

mod count;
mod histogram;
mod latency;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod modulus;
mod sparse;
mod timed;

use crate::error::ConfigError;
use crate::time::Instant;
use count::CountWindow;
pub(crate) use histogram::Buckets as LatencyBuckets;
use latency::Latencies;
pub use latency::{LatencyHistogram, LatencyQuantiles, LatencySummary};
use sparse::SparseWindow;
use std::fmt;
use std::time::Duration;
use timed::TimeWindow;

/// The latest calls, counted.
#[derive(Debug)]
pub struct Window {
    kind: Kind,
    /// How long calls took, if that is kept.
    latencies: Option<Box<Latencies>>,
}

#[derive(Debug)]
enum Kind {
    Count(Box<CountWindow>),
    /// As `Count`, for many that are mostly calm.
    Sparse(SparseWindow),
    Time(Box<TimeWindow>),
}

/// What a window is to know of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The call failed.
    pub failed: bool,
    /// The call took too long, whether or not it failed.
    pub slow: bool,
}

impl Sample {
    /// A fast success.
    pub const OK: Self = Self { failed: false, slow: false };
    /// A fast failure.
    pub const FAILED: Self = Self { failed: true, slow: false };
    /// A slow success.
    pub const SLOW: Self = Self { failed: false, slow: true };
    /// A slow failure.
    pub const SLOW_AND_FAILED: Self = Self { failed: true, slow: true };
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// Calls in all.
    pub total: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that were slow, failed or not.
    pub slow: u64,
}

impl WindowCounts {
    /// The share of calls that failed, from 0 to 1; 0 of an empty window.
    #[must_use]
    pub fn failure_rate(&self) -> f64 {
        share(self.failed, self.total)
    }

    /// The share of calls that were slow, from 0 to 1; 0 of an empty window.
    #[must_use]
    pub fn slow_rate(&self) -> f64 {
        share(self.slow, self.total)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Which life of a window a sample belongs to.
///
/// Generations are told apart over 16 million successors.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowGeneration(u32);

impl WindowGeneration {
    /// A generation fits into this many bits of somebody's state word.
    pub(crate) const BITS: u32 = 24;
    const MASK: u32 = (1 << Self::BITS) - 1;

    /// A new window's generation.
    pub const FIRST: Self = Self(1);

    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        // Zero is no generation: it marks slots that were never written.
        match (self.0 + 1) & Self::MASK {
            0 => Self::FIRST,
            next => Self(next),
        }
    }

    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }
}

impl fmt::Debug for WindowGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowGeneration({})", self.0)
    }
}

impl Window {
    /// The most calls that a count window holds.
    pub const MAX_CALLS: u32 = 1 << 15;
    /// The most buckets of a time window.
    pub const MAX_BUCKETS: u32 = 1 << 10;
    /// The shortest bucket of a time window.
    pub const MIN_BUCKET: Duration = Duration::from_millis(1);

    /// A window over the last `calls` calls.
    ///
    /// # Errors
    /// `calls` must be from 1 to [`MAX_CALLS`](Self::MAX_CALLS).
    pub fn count(calls: u32) -> Result<Self, ConfigError> {
        Self::check_calls(calls)?;
        Ok(Self { kind: Kind::Count(Box::new(CountWindow::new(calls))), latencies: None })
    }

    fn check_calls(calls: u32) -> Result<(), ConfigError> {
        match (1..=Self::MAX_CALLS).contains(&calls) {
            true => Ok(()),
            false => Err(ConfigError::new("window.calls", calls, "1 to 32768 calls")),
        }
    }

    /// As [`count`](Self::count), in a few words until the first sample that is not a fast success.
    pub(crate) fn sparse(calls: u32) -> Result<Self, ConfigError> {
        Self::check_calls(calls)?;
        Ok(Self { kind: Kind::Sparse(SparseWindow::new(calls)), latencies: None })
    }

    /// A window over the last `span`, in `buckets` steps.
    ///
    /// # Errors
    /// `buckets` must be from 1 to [`MAX_BUCKETS`](Self::MAX_BUCKETS), and `span` at least
    /// [`MIN_BUCKET`](Self::MIN_BUCKET) for each of them and at most a year.
    pub fn time(span: Duration, buckets: u32) -> Result<Self, ConfigError> {
        if !(1..=Self::MAX_BUCKETS).contains(&buckets) {
            return Err(ConfigError::new("window.buckets", buckets, "1 to 1024 buckets"));
        }
        if !(Self::MIN_BUCKET * buckets..=Duration::from_secs(366 * 86_400)).contains(&span) {
            return Err(ConfigError::new("window.span", span, "1 ms for each bucket to one year"));
        }
        Ok(Self { kind: Kind::Time(Box::new(TimeWindow::new(span, buckets))), latencies: None })
    }

    /// Keeps a histogram of latencies too, over as many calls or as long a time.
    #[must_use]
    pub fn with_latency(mut self) -> Self {
        self.latencies = Some(Box::new(match &self.kind {
            Kind::Count(window) => Latencies::over_calls(window.size()),
            Kind::Sparse(window) => Latencies::over_calls(window.size()),
            Kind::Time(window) => Latencies::over_time(window.span()),
        }));
        self
    }

    /// WindowCounts a call that ended at `now`. False, and nothing is changed, if the window has left
    /// `generation` behind.
    #[inline]
    pub fn record(&self, generation: WindowGeneration, now: Instant, sample: Sample) -> bool {
        match &self.kind {
            Kind::Count(window) => window.record(generation, sample),
            Kind::Sparse(window) => window.record(generation, sample),
            Kind::Time(window) => window.record(generation, now, sample),
        }
    }

    /// WindowCounts a fast success if that needs no clock and changes no count; false if it is still to be
    /// [recorded](Self::record).
    #[inline]
    pub(crate) fn record_at_once(&self, generation: WindowGeneration) -> bool {
        match &self.kind {
            Kind::Count(window) => window.record(generation, Sample::OK),
            Kind::Sparse(window) => window.record(generation, Sample::OK),
            Kind::Time(_) => false,
        }
    }

    #[inline]
    pub(crate) const fn keeps_latency(&self) -> bool {
        self.latencies.is_some()
    }

    /// Notes how long a call took that ended at `now`, if a histogram is kept.
    #[inline]
    pub fn record_latency(&self, now: Instant, took: Duration) {
        if let Some(latencies) = &self.latencies {
            latencies.record(now, took);
        }
    }

    /// How long the calls took that ended until `now`; `None` if no histogram is kept.
    #[must_use]
    pub fn latency(&self, now: Instant) -> Option<LatencyHistogram> {
        self.latencies.as_ref().map(|latencies| latencies.at(now))
    }

    /// What the window holds at `now`.
    #[must_use]
    pub fn counts(&self, now: Instant) -> WindowCounts {
        match &self.kind {
            Kind::Count(window) => window.counts(),
            Kind::Sparse(window) => window.counts(),
            Kind::Time(window) => window.counts(now),
        }
    }

    /// Empties the window at `now`: from here on it takes samples of `generation` alone, which must be
    /// new to it. Constant time. One caller at a time; recorders and readers need not be kept out.
    pub fn reset(&self, generation: WindowGeneration, now: Instant) {
        match &self.kind {
            Kind::Count(window) => window.reset(generation),
            Kind::Sparse(window) => window.reset(generation),
            Kind::Time(window) => window.reset(generation, now),
        }
        if let Some(latencies) = &self.latencies {
            latencies.reset();
        }
    }

    /// Whether [`record`](Self::record) and [`counts`](Self::counts) look at the time.
    #[inline]
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        matches!(self.kind, Kind::Time(_))
    }

    /// How many calls it looks at, if that is a matter of their number.
    #[must_use]
    pub fn calls(&self) -> Option<u32> {
        match &self.kind {
            Kind::Count(window) => Some(window.size()),
            Kind::Sparse(window) => Some(window.size()),
            Kind::Time(_) => None,
        }
    }

    /// How far back it looks, if that is a matter of time.
    #[must_use]
    pub fn span(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Count(_) | Kind::Sparse(_) => None,
            Kind::Time(window) => Some(window.span()),
        }
    }
}
