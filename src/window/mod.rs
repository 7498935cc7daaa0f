//! Sliding windows over the latest calls: how many failed, how many were slow, how long they took.
//!
//! A *count window* covers the last N calls. A *time window* covers the calls of the last N
//! seconds. [`Window`] implements both. Recording is lock-free and allocates nothing; a fast
//! success costs a few loads and at most one atomic addition.
//!
//! # Examples
//!
//! ```
//! use mainstay::time::Clock;
//! use mainstay::window::{Sample, Window, WindowGeneration};
//!
//! let clock = Clock::system();
//! let window = Window::count_window(3)?;
//! let generation = WindowGeneration::FIRST;
//! for sample in [Sample::FAILED, Sample::SUCCESS, Sample::SUCCESS, Sample::SUCCESS] {
//!     window.record(generation, clock.now(), sample);
//! }
//! let counts = window.counts(clock.now());
//! assert_eq!((counts.total, counts.failed), (3, 0)); // the failure has left the window
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! # How it works
//!
//! A window is emptied in constant time by moving it to another [generation](WindowGeneration).
//! Each sample carries the generation that it belongs to, and a sample of another generation is
//! ignored. A breaker passes the generation in which it admitted the call.
//!
//! While no thread is recording, the counts are exact. While threads are recording, a reader may
//! see some of their calls and miss others.
//!
//! - *Count window*: a thread that is suspended while recording, and resumes after other threads
//!   have recorded a whole window, may replace a newer sample with its own. The counts always agree
//!   with the samples in the window. A sample that races with a reset can leave an older sample in
//!   the window for one more round.
//! - *Time window*: time advances in steps of one bucket, so the window covers `span`, or up to one
//!   bucket less. A sample that is earlier than the latest one is counted at the time of the latest
//!   one. If it is more than a minute and more than the whole window earlier, the clock was set
//!   back: the window is emptied and restarts at the time of the sample. A bucket with more than 8
//!   million calls of one kind halves its counts: rates remain accurate, totals become approximate.
//!
//! # Performance
//!
//! Memory on x86-64, in two allocations that share no cache line with other data:
//!
//! | window | bytes |
//! |---|---|
//! | count, N calls | 384 + 4 N |
//! | time, B buckets | 256 + 16 B |
//! | with a latency histogram | 8.2 KiB more |
//!
//! The windows of a [`KeyedCircuitBreaker`](crate::breaker::KeyedCircuitBreaker) take 40 bytes
//! until the first failed or slow call.

mod count_window;
mod histogram;
mod latency;
mod latency_window;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod modulus;
mod sample;
mod sparse_window;
mod time_window;

pub(crate) use histogram::Buckets as LatencyBuckets;
pub use latency::{LatencyHistogram, LatencyQuantiles, LatencySummary};
pub use sample::{Sample, WindowCounts, WindowGeneration};

use crate::error::ConfigError;
use crate::time::Instant;
use count_window::CountWindow;
pub(crate) use latency_window::LatencyWindow;
use sparse_window::SparseWindow;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;
use time_window::TimeWindow;

/// A sliding window over the latest calls, limited by number or by time.
///
/// The [module documentation](self#how-it-works) describes the accuracy of the counts.
#[derive(Debug)]
pub struct Window {
    kind: Kind,
    latencies: Option<Box<LatencyWindow>>,
}

#[derive(Debug)]
enum Kind {
    Count(Box<CountWindow>),
    Sparse(SparseWindow),
    Time(Box<TimeWindow>),
}

// A window runs no user code, so a panic cannot leave it inconsistent.
impl UnwindSafe for Window {}
impl RefUnwindSafe for Window {}

impl Window {
    /// The largest number of calls that a count window covers.
    pub const MAX_CALLS: u32 = 1 << 15;
    /// The largest number of buckets of a time window.
    pub const MAX_BUCKETS: u32 = 1 << 10;
    /// The shortest bucket of a time window.
    pub const MIN_BUCKET: Duration = Duration::from_millis(1);

    /// Creates a window over the last `calls` calls.
    ///
    /// ```
    /// # use mainstay::Window;
    /// let window = Window::count_window(100)?;
    /// assert_eq!(window.calls(), Some(100));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `calls` is not from 1 to [`MAX_CALLS`](Self::MAX_CALLS).
    pub fn count_window(calls: u32) -> Result<Self, ConfigError> {
        Self::check_calls(calls)?;
        Ok(Self { kind: Kind::Count(Box::new(CountWindow::new(calls))), latencies: None })
    }

    /// Creates a window over the last `calls` calls that occupies a few words until the first
    /// sample that is not a fast success.
    pub(crate) fn sparse_count_window(calls: u32) -> Result<Self, ConfigError> {
        Self::check_calls(calls)?;
        Ok(Self { kind: Kind::Sparse(SparseWindow::new(calls)), latencies: None })
    }

    fn check_calls(calls: u32) -> Result<(), ConfigError> {
        match (1..=Self::MAX_CALLS).contains(&calls) {
            true => Ok(()),
            false => Err(ConfigError::new("count_window", calls, "1 to 32768 calls")),
        }
    }

    /// Creates a window over the last `span`, which advances in `buckets` steps.
    ///
    /// ```
    /// use mainstay::window::Window;
    /// use std::time::Duration;
    ///
    /// let window = Window::time_window(Duration::from_secs(60), 10)?;
    /// assert!(window.is_timed());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `buckets` is not from 1 to [`MAX_BUCKETS`](Self::MAX_BUCKETS), or if
    /// `span` is shorter than [`MIN_BUCKET`](Self::MIN_BUCKET) for each bucket or longer than a
    /// year.
    pub fn time_window(span: Duration, buckets: u32) -> Result<Self, ConfigError> {
        if !(1..=Self::MAX_BUCKETS).contains(&buckets) {
            return Err(ConfigError::new("time_window", buckets, "1 to 1024 buckets"));
        }
        if !(Self::MIN_BUCKET * buckets..=Duration::from_secs(366 * 86_400)).contains(&span) {
            return Err(ConfigError::new("time_window", span, "1 ms for each bucket to one year"));
        }
        Ok(Self { kind: Kind::Time(Box::new(TimeWindow::new(span, buckets))), latencies: None })
    }

    /// Adds a histogram of call durations, which covers the same number of calls or the same time.
    #[must_use]
    pub fn with_latency(mut self) -> Self {
        self.latencies = Some(Box::new(match &self.kind {
            Kind::Count(window) => LatencyWindow::over_calls(window.size()),
            Kind::Sparse(window) => LatencyWindow::over_calls(window.size()),
            Kind::Time(window) => LatencyWindow::over_time(window.span()),
        }));
        self
    }

    /// Records a call that ended at `now`. Returns `false`, and changes no count, if the window is
    /// in another generation.
    ///
    /// ```
    /// # use mainstay::{Clock, Sample, Window, WindowGeneration};
    /// # let now = Clock::system().now();
    /// let window = Window::count_window(100)?;
    /// window.record(WindowGeneration::FIRST, now, Sample::FAILED);
    /// assert_eq!(window.counts(now).failed, 1);
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[inline]
    pub fn record(&self, generation: WindowGeneration, now: Instant, sample: Sample) -> bool {
        match &self.kind {
            Kind::Count(window) => window.record(generation, sample),
            Kind::Sparse(window) => window.record(generation, sample),
            Kind::Time(window) => window.record(generation, now, sample),
        }
    }

    /// Records a fast success if the window is a count window, which needs no clock. Returns
    /// `false` if nothing was recorded; the caller then calls [`record`](Self::record).
    #[inline]
    pub(crate) fn try_record_success(&self, generation: WindowGeneration) -> bool {
        match &self.kind {
            Kind::Count(window) => window.record(generation, Sample::SUCCESS),
            Kind::Sparse(window) => window.record(generation, Sample::SUCCESS),
            Kind::Time(_) => false,
        }
    }

    /// Records that a call that ended at `now` took `elapsed`. Does nothing if the window has no
    /// histogram.
    ///
    /// ```
    /// use mainstay::time::Clock;
    /// use mainstay::window::Window;
    /// use std::time::Duration;
    ///
    /// let clock = Clock::system();
    /// let window = Window::count_window(100)?.with_latency();
    /// window.record_latency(clock.now(), Duration::from_millis(20));
    /// assert_eq!(window.latency(clock.now()).unwrap().count(), 1);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[inline]
    pub fn record_latency(&self, now: Instant, elapsed: Duration) {
        if let Some(latencies) = &self.latencies {
            latencies.record(now, elapsed);
        }
    }

    /// Returns whether call durations are recorded.
    #[inline]
    pub(crate) const fn has_latency(&self) -> bool {
        self.latencies.is_some()
    }

    /// Returns the histogram of call durations at `now`; `None` if the window has none.
    ///
    /// ```
    /// # use mainstay::{Clock, Sample, Window, WindowGeneration};
    /// # let now = Clock::system().now();
    /// # use std::time::Duration;
    /// let window = Window::count_window(100)?.with_latency();
    /// window.record_latency(now, Duration::from_millis(20));
    /// assert_eq!(window.latency(now).map(|latencies| latencies.count()), Some(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn latency(&self, now: Instant) -> Option<LatencyHistogram> {
        self.latencies.as_ref().map(|latencies| latencies.histogram(now))
    }

    /// Returns the counts at `now`.
    ///
    /// ```
    /// # use mainstay::{Clock, Sample, Window, WindowGeneration};
    /// # let now = Clock::system().now();
    /// let window = Window::count_window(100)?;
    /// window.record(WindowGeneration::FIRST, now, Sample::SLOW);
    /// assert_eq!((window.counts(now).total, window.counts(now).slow), (1, 1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn counts(&self, now: Instant) -> WindowCounts {
        match &self.kind {
            Kind::Count(window) => window.counts(),
            Kind::Sparse(window) => window.counts(),
            Kind::Time(window) => window.counts(now),
        }
    }

    /// Empties the window at `now` and moves it to `generation`, which must not have been used
    /// before.
    ///
    /// Takes constant time. Only one thread may reset at a time; others may record and read.
    ///
    /// ```
    /// use mainstay::time::Clock;
    /// use mainstay::window::{Sample, Window, WindowGeneration};
    ///
    /// let clock = Clock::system();
    /// let window = Window::count_window(10)?;
    /// let (old, new) = (WindowGeneration::FIRST, WindowGeneration::FIRST.next());
    /// window.reset(new, clock.now());
    /// assert!(!window.record(old, clock.now(), Sample::FAILED)); // too late
    /// assert!(window.record(new, clock.now(), Sample::SUCCESS));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
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

    /// Returns whether this is a time window, for which [`record`](Self::record) and
    /// [`counts`](Self::counts) use `now`.
    #[inline]
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        matches!(self.kind, Kind::Time(_))
    }

    /// Returns how many calls a count window covers; `None` for a time window.
    #[must_use]
    pub fn calls(&self) -> Option<u32> {
        match &self.kind {
            Kind::Count(window) => Some(window.size()),
            Kind::Sparse(window) => Some(window.size()),
            Kind::Time(_) => None,
        }
    }

    /// Returns how much time a time window covers; `None` for a count window.
    #[must_use]
    pub fn span(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Count(_) | Kind::Sparse(_) => None,
            Kind::Time(window) => Some(window.span()),
        }
    }
}
