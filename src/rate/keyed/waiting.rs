//! Waiting for tokens of one key.

use super::{KeyedRateLimiter, Shared};
use crate::rate::engine::Gcra;
use crate::rate::grant::{Denied, Grant, RateLimitStatus};
use crate::rate::turn::RetryAfter;
use crate::time::Instant;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// A denial during a wait.
enum Denial {
    /// Too few tokens are available. Reported to the observer only if the wait ends with it.
    Status(RateLimitStatus),
    /// The key cannot be stored. Already reported to the observer.
    Reported(Denied),
}

impl RetryAfter for Denial {
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) => status.retry_after(),
            Self::Reported(_) => None,
        }
    }
}

impl<K: Hash + Eq, S: BuildHasher> Shared<K, S> {
    /// Waits for `n` tokens of `key` until `deadline`.
    pub(super) async fn acquire<Q>(
        &self,
        key: &Q,
        n: u32,
        deadline: Option<Instant>,
    ) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(decided) = self.decide_fast(key, n) {
            return decided;
        }
        let clock = self.timeline.clock();
        let caller = self.turns.enter(key, clock);
        let (attempt, deny) = (|_| self.wait_attempt(key, n), || self.denial(key, n));
        let waited = caller.turn().wait(clock, deadline, attempt, deny).await;
        waited.map_err(|denial| self.report(&denial))
    }

    /// Waits for `n` tokens of `key` until `deadline`, blocking the thread.
    pub(super) fn acquire_blocking<Q>(
        &self,
        key: &Q,
        n: u32,
        deadline: Option<Instant>,
    ) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(decided) = self.decide_fast(key, n) {
            return decided;
        }
        let clock = self.timeline.clock();
        let caller = self.turns.enter(key, clock);
        let (attempt, deny) = (|_| self.wait_attempt(key, n), || self.denial(key, n));
        let waited = caller.turn().wait_blocking(clock, deadline, attempt, deny);
        waited.map_err(|denial| self.report(&denial))
    }

    /// Takes the tokens without entering the queue, if no other caller waits for the key. Returns
    /// `None` if the caller must wait.
    fn decide_fast<Q>(&self, key: &Q, n: u32) -> Option<Result<Grant, Denied>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if n > 0 && self.turns.may_be_taken() && self.turns.is_taken(key) {
            return None;
        }
        match self.wait_attempt(key, n) {
            Ok(granted) => Some(Ok(granted)),
            Err(Denial::Reported(denied)) => Some(Err(denied)),
            Err(Denial::Status(_)) => None,
        }
    }

    fn wait_attempt<Q>(&self, key: &Q, n: u32) -> Result<Grant, Denial>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let take = |gcra: &Gcra, tat, now| {
            let start = match tat {
                // A new key has no earlier tokens to catch up with.
                0 => now,
                // If a caller was woken late, its tokens and those of its next calls are counted
                // from the time at which they became available.
                tat => gcra.catch_up_start(tat, now),
            };
            Some((gcra.take(start, now, n)?, n))
        };
        match self.attempt(key, n, take) {
            Ok(decided) => decided.map_err(Denial::Status),
            Err(denied) => Err(Denial::Reported(denied)),
        }
    }

    fn denial<Q>(&self, key: &Q, n: u32) -> Denial
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Denial::Status(self.status(key, n))
    }

    fn report(&self, denial: &Denial) -> Denied {
        match denial {
            Denial::Status(status) => self.deny_status(*status),
            Denial::Reported(denied) => *denied,
        }
    }
}

impl<K: Hash + Eq, S: BuildHasher> KeyedRateLimiter<K, S> {
    /// Denies a request for `n` tokens of `key` if it cannot be granted now. Takes no tokens, and
    /// does not store the key.
    pub(in crate::rate) fn check<Q>(&self, key: &Q, n: u32) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let status = self.0.status(key, n);
        match status.retry_after() {
            Some(Duration::ZERO) => Ok(()),
            _ => Err(self.0.deny_status(status)),
        }
    }
}
