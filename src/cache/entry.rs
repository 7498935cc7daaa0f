//! A stored result: [`CacheEntry`], and the mark of removed keys: [`Revocation`].

use super::state::Times;
use crate::error::Error;
use crate::sync::PlainArc;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::time::Instant;
use std::fmt;
use std::time::Duration;

/// A result of an operation with its expiry times, which a [`CacheStore`](super::CacheStore)
/// stores. Cloning is cheap: all clones share the result.
pub struct CacheEntry<T, E>(PlainArc<Inner<T, E>>);

struct Inner<T, E> {
    result: Result<T, E>,
    times: Times,
    /// The instant until which a failed refresh is not repeated, in nanoseconds; 0 if no refresh
    /// failed.
    held_until: AtomicU64,
    revocation: Revocation,
}

/// A flag that is set if the key is removed from the cache while the operation runs. A flight and
/// the entry that it stores share the flag.
#[derive(Clone, Default)]
pub(super) struct Revocation(PlainArc<AtomicBool>);

// Ordering: relaxed here and for `held_until`. Neither atomic publishes other memory. A call that
// starts after `Cached::remove` has returned reads `true`, because a load cannot return a value
// older than a store that happens before it.
impl Revocation {
    pub(super) fn revoke(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T, E> CacheEntry<T, E> {
    pub(super) fn new(result: Result<T, E>, times: Times, revocation: Revocation) -> Self {
        let held_until = AtomicU64::new(0);
        Self(PlainArc::new(Inner { result, times, held_until, revocation }))
    }

    /// Returns the value, or `None` if the operation failed.
    ///
    /// ```
    /// use mainstay::cache::CacheEntry;
    ///
    /// /// The weight of an entry, for a store that is bounded by weight.
    /// fn weight(entry: &CacheEntry<String, std::io::Error>) -> u64 {
    ///     64 + entry.value().map_or(0, String::len) as u64
    /// }
    /// # let _ = weight;
    /// ```
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        self.0.result.as_ref().ok()
    }

    #[inline]
    pub(super) fn times(&self) -> &Times {
        &self.0.times
    }

    #[inline]
    pub(super) fn is_revoked(&self) -> bool {
        self.0.revocation.is_revoked()
    }

    #[inline]
    pub(super) fn held_until(&self) -> Instant {
        Instant::from_nanos(self.0.held_until.load(Ordering::Relaxed))
    }

    /// Suppresses further refreshes until `until`, after one has failed.
    pub(super) fn hold(&self, until: Instant) {
        self.0.held_until.store(until.as_nanos(), Ordering::Relaxed);
    }

    /// Returns whether both entries are clones of one entry.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        PlainArc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the age of the value if the value may replace an error at `now`, and `None`
    /// otherwise.
    pub(super) fn replaces_errors(&self, now: Instant) -> Option<Duration> {
        let usable = self.0.result.is_ok() && now < self.0.times.usable_until;
        (usable && !self.is_revoked()).then(|| now - self.0.times.written)
    }
}

impl<T: Clone, E: Clone> CacheEntry<T, E> {
    #[inline]
    pub(super) fn result(&self) -> Result<T, Error<E>> {
        match &self.0.result {
            Ok(value) => Ok(value.clone()),
            Err(error) => Err(Error::Operation(error.clone())),
        }
    }
}

impl<T, E> Clone for CacheEntry<T, E> {
    fn clone(&self) -> Self {
        Self(PlainArc::clone(&self.0))
    }
}

impl<T, E> fmt::Debug for CacheEntry<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEntry")
            .field("is_value", &self.0.result.is_ok())
            .field("times", &self.0.times)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn debug_of_an_entry_shows_whether_it_is_a_value() {
        let until = Instant::FAR_FUTURE;
        let times = Times {
            written: Instant::ORIGIN,
            fresh_until: until,
            stale_until: until,
            usable_until: until,
            cost: Duration::ZERO,
        };
        let entry = CacheEntry::<u32, ()>::new(Ok(1), times, Revocation::default());
        let shown = format!("{entry:?}");
        assert!(shown.starts_with("CacheEntry { is_value: true, times: Times {"), "{shown}");
    }
}
