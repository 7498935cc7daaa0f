//! Permits of an adaptive limiter.

use super::AdaptiveLimiter;
use super::shared::{CallEnd, Shared};
use crate::time::Instant;
use crate::wait::{OwnedSemaphorePermit, SemaphorePermit};
use std::fmt;

/// A permit for one call, which also records its outcome.
///
/// The controller learns from [`success`](Self::success) and [`overload`](Self::overload). Dropping
/// the permit releases it without an outcome. Drop it for a cancelled call, and for a failure that
/// is unrelated to load: a call that fails validation, for example, ends before the server does the
/// work, so its latency does not measure the load.
///
/// ```
/// use mainstay::concurrency::AdaptiveLimiter;
///
/// let limiter = AdaptiveLimiter::builder().build()?;
/// let permit = limiter.try_acquire().expect("no other call is in flight");
/// # fn send() -> Result<(), std::io::Error> { Ok(()) }
/// match send() {
///     Ok(()) => permit.success(),
///     Err(error) if error.kind() == std::io::ErrorKind::TimedOut => permit.overload(),
///     Err(_) => permit.ignore(),
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[must_use = "a permit is released when dropped"]
pub struct AdaptiveLimiterPermit<'a> {
    shared: &'a Shared,
    permit: SemaphorePermit<'a>,
    started: Instant,
}

/// An [`AdaptiveLimiterPermit`] that keeps its limiter alive.
#[must_use = "a permit is released when dropped"]
pub struct OwnedAdaptiveLimiterPermit {
    limiter: AdaptiveLimiter,
    permit: OwnedSemaphorePermit,
    started: Instant,
}

impl<'a> AdaptiveLimiterPermit<'a> {
    #[inline]
    pub(super) fn new(shared: &'a Shared, permit: SemaphorePermit<'a>, started: Instant) -> Self {
        Self { shared, permit, started }
    }

    /// Releases the permit, and records that the call succeeded.
    #[inline]
    pub fn success(self) {
        self.end(CallEnd::Success);
    }

    /// Releases the permit, and records an overload: the call timed out, or the server rejected it.
    pub fn overload(self) {
        self.end(CallEnd::Overload);
    }

    /// Releases the permit without an outcome, as dropping it does.
    pub fn ignore(self) {}

    #[inline]
    pub(super) fn end(self, end: CallEnd) {
        let Self { shared, permit, started } = self;
        let now = shared.settings.clock.now();
        shared.count(started, now, end);
        drop(permit);
        shared.after(now);
    }
}

impl OwnedAdaptiveLimiterPermit {
    pub(super) fn new(
        limiter: AdaptiveLimiter,
        permit: OwnedSemaphorePermit,
        started: Instant,
    ) -> Self {
        Self { limiter, permit, started }
    }

    /// Releases the permit, and records that the call succeeded.
    pub fn success(self) {
        self.end(CallEnd::Success);
    }

    /// Releases the permit, and records an overload: the call timed out, or the server rejected it.
    pub fn overload(self) {
        self.end(CallEnd::Overload);
    }

    /// Releases the permit without an outcome, as dropping it does.
    pub fn ignore(self) {}

    pub(super) fn end(self, end: CallEnd) {
        let Self { limiter, permit, started } = self;
        let shared = limiter.shared();
        let now = shared.settings.clock.now();
        shared.count(started, now, end);
        drop(permit);
        shared.after(now);
    }
}

impl fmt::Debug for AdaptiveLimiterPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiterPermit")
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedAdaptiveLimiterPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedAdaptiveLimiterPermit")
            .field("started", &self.started)
            .finish_non_exhaustive()
    }
}
