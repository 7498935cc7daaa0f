//! The permits of a throttle: [`ThrottlePermit`], [`OwnedThrottlePermit`].

use super::Throttle;
use super::shared::Shared;
use std::fmt;

/// A permit for one call, which records the outcome of the call.
///
/// Dropping the permit records nothing, as is correct for a cancelled call.
///
/// ```
/// use mainstay::concurrency::Throttle;
///
/// let throttle = Throttle::builder().build()?;
/// let permit = throttle.try_acquire().expect("no call has failed yet");
/// # fn send() -> Result<(), ()> { Ok(()) }
/// match send() {
///     Ok(()) => permit.success(),
///     Err(()) => permit.failure(),
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[must_use = "a permit records nothing when it is dropped"]
pub struct ThrottlePermit<'a>(&'a Shared);

/// A [`ThrottlePermit`] that keeps its throttle alive.
#[must_use = "a permit records nothing when it is dropped"]
pub struct OwnedThrottlePermit(Throttle);

impl<'a> ThrottlePermit<'a> {
    #[inline]
    pub(super) const fn new(shared: &'a Shared) -> Self {
        Self(shared)
    }

    /// Records that the dependency accepted the call.
    pub fn success(self) {
        self.record(true);
    }

    /// Records that the dependency did not accept the call.
    pub fn failure(self) {
        self.record(false);
    }

    /// Records nothing, as dropping the permit does.
    pub fn ignore(self) {}

    pub(super) fn record(self, accepted: bool) {
        self.0.record(accepted);
    }
}

impl OwnedThrottlePermit {
    pub(super) const fn new(throttle: Throttle) -> Self {
        Self(throttle)
    }

    /// Records that the dependency accepted the call.
    pub fn success(self) {
        self.record(true);
    }

    /// Records that the dependency did not accept the call.
    pub fn failure(self) {
        self.record(false);
    }

    /// Records nothing, as dropping the permit does.
    pub fn ignore(self) {}

    pub(super) fn record(self, accepted: bool) {
        self.0.shared().record(accepted);
    }
}

impl fmt::Debug for ThrottlePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottlePermit").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedThrottlePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedThrottlePermit").finish_non_exhaustive()
    }
}
