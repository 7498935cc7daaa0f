//! The state that the clones of a cache share, with the lookup and the renewal of results:
//! [`Shared`], [`Renewal`].

use super::entry::{CacheEntry, Revocation};
use super::events::Emitter;
use super::state::{Freshness, Lifetimes, Times};
use super::store::CacheStore;
use crate::error::Error;
use crate::random::Random;
use crate::singleflight::{Group, Joined, Participant};
use crate::sync::PlainArc;
use crate::time::{Clock, Instant};
use std::cell::OnceCell;
use std::hash::Hash;

/// The store, the running operations and the settings of a cache.
pub(super) struct Shared<K, T, E> {
    pub(super) store: Box<dyn CacheStore<K, CacheEntry<T, E>>>,
    pub(super) group: Group<K, T, E, Revocation>,
    pub(super) lifetimes: Lifetimes,
    pub(super) random: Random,
    pub(super) emitter: Emitter,
}

/// A call that takes part in the operation for its key.
pub(super) type Flying<'a, K, T, E> = Participant<'a, K, K, T, E, Revocation>;

/// How a call continues after it has looked up its key.
pub(super) enum Entered<'a, K: Hash + Eq, T, E> {
    /// It returns this result.
    Ready(Result<T, Error<E>>),
    /// It waits for the operation of another call. If that fails, the entry may replace the error.
    Follower(Flying<'a, K, T, E>, Option<CacheEntry<T, E>>),
    /// It starts the operation, and passes the result to `Renewal::complete`.
    Leader(Flying<'a, K, T, E>, Renewal<K, T, E>),
}

/// The part of an operation that stores its result.
pub(super) struct Renewal<K, T, E> {
    shared: PlainArc<Shared<K, T, E>>,
    key: K,
    pub(super) old: Option<CacheEntry<T, E>>,
    started: Instant,
    revocation: Revocation,
}

impl<K, T, E> Shared<K, T, E> {
    fn clock(&self) -> &Clock {
        &self.group.clock
    }

    /// Returns the stored entry of `key`, unless the key was removed while the operation ran.
    fn find(&self, key: &K) -> Option<CacheEntry<T, E>> {
        self.store.get(key).filter(|entry| !entry.is_revoked())
    }

    /// Replaces an error with the value of `old`, if that value may still be used.
    pub(super) fn or_stale(
        &self,
        old: Option<&CacheEntry<T, E>>,
        result: Result<T, Error<E>>,
    ) -> Result<T, Error<E>>
    where
        T: Clone,
    {
        match (result, old) {
            (Err(error), Some(old)) => self.replace(error, old),
            (result, _) => result,
        }
    }

    #[cold]
    fn replace(&self, error: Error<E>, old: &CacheEntry<T, E>) -> Result<T, Error<E>>
    where
        T: Clone,
    {
        let now = self.clock().now();
        let age = old.replaces_errors(now);
        let (Some(value), Some(age)) = (old.value(), age) else { return Err(error) };
        let value = value.clone();
        self.emitter.error_replaced(error.cause(), age, now);
        Ok(value)
    }
}

impl<K: Hash + Eq, T, E> Shared<K, T, E> {
    pub(super) fn remove(&self, key: &K) {
        // The flight is revoked first. If it stores its entry later, calls ignore the entry.
        if let Some(revocation) = self.group.remove(key) {
            revocation.revoke();
        }
        self.store.remove(key);
    }
}

impl<K: Hash + Eq + Clone, T: Clone, E: Clone> Shared<K, T, E> {
    /// Looks up `key`, counts the call, and decides how it continues.
    pub(super) fn enter<'a>(self: &'a PlainArc<Self>, key: &'a K) -> Entered<'a, K, T, E> {
        let now = self.clock().now();
        let old = self.find(key);
        let freshness = old.as_ref().map_or(Freshness::Expired, |old| {
            let beta = self.lifetimes.early_refresh;
            old.times().freshness(now, old.held_until(), beta, || self.random.unit())
        });
        let Some(found) = &old else { return self.renew(key, None) };
        match freshness {
            Freshness::Fresh => {
                self.emitter.hits.add(1);
                Entered::Ready(found.result())
            }
            Freshness::Held => {
                self.emitter.stale.add(1);
                Entered::Ready(found.result())
            }
            Freshness::RefreshEarly | Freshness::Stale => self.refresh(key, now, found),
            Freshness::Expired => self.renew(key, old),
        }
    }

    /// Starts a refresh of `old`, or returns the result of `old` if another call is refreshing it.
    #[cold]
    fn refresh<'a>(
        self: &'a PlainArc<Self>,
        key: &'a K,
        now: Instant,
        old: &CacheEntry<T, E>,
    ) -> Entered<'a, K, T, E> {
        let revocation = OnceCell::new();
        let mark = || Revocation::clone(revocation.get_or_init(Revocation::default));
        if let Some(leader) = self.group.lead(key, mark) {
            let counter = &self.emitter.refreshes;
            return self.lead(key, leader, Some(old.clone()), mark(), counter);
        }
        match now < old.times().fresh_until {
            true => self.emitter.hits.add(1),
            false => self.emitter.stale.add(1),
        };
        Entered::Ready(old.result())
    }

    /// Starts the operation, or joins that of another call.
    #[cold]
    fn renew<'a>(
        self: &'a PlainArc<Self>,
        key: &'a K,
        old: Option<CacheEntry<T, E>>,
    ) -> Entered<'a, K, T, E> {
        let revocation = OnceCell::new();
        let mark = || Revocation::clone(revocation.get_or_init(Revocation::default));
        match self.group.join(key, mark) {
            Ok(Joined::Leader(leader)) => self.lead(key, leader, old, mark(), &self.emitter.misses),
            Ok(Joined::Follower(follower)) => {
                self.emitter.misses.add(1);
                Entered::Follower(follower, old)
            }
            Ok(Joined::Reused(result)) => Entered::Ready(result),
            Err(rejection) => {
                self.emitter.misses.add(1);
                Entered::Ready(self.or_stale(old.as_ref(), Err(rejection.into())))
            }
        }
    }

    /// Starts the operation as the leader, unless a new result was stored since `old` was read.
    fn lead<'a>(
        self: &PlainArc<Self>,
        key: &K,
        leader: Flying<'a, K, T, E>,
        old: Option<CacheEntry<T, E>>,
        revocation: Revocation,
        counter: &crate::sync::Counter,
    ) -> Entered<'a, K, T, E> {
        let started = self.clock().now();
        // The operation of another call may have stored a result since the store was read.
        if let Some(new) = self.find(key)
            && started < new.times().fresh_until
            && !old.as_ref().is_some_and(|old| old.is_same(&new))
        {
            self.emitter.hits.add(1);
            let result = new.result();
            leader.end(result.clone());
            return Entered::Ready(result);
        }
        counter.add(1);
        let shared = PlainArc::clone(self);
        let renewal = Renewal { shared, key: key.clone(), old, started, revocation };
        Entered::Leader(leader, renewal)
    }
}

impl<K: Hash + Eq, T: Clone, E: Clone> Renewal<K, T, E> {
    /// Stores `result` if later calls may use it, and returns it.
    pub(super) fn complete(self, result: Result<T, Error<E>>) -> Result<T, Error<E>> {
        let Self { shared, key, old, started, revocation } = self;
        let Shared { store, lifetimes, random, .. } = &*shared;
        let now = shared.clock().now();
        let (stored, times) = match &result {
            Ok(value) => {
                let cost = now - started;
                (Ok(value.clone()), Times::of_value(lifetimes, now, cost, random.unit()))
            }
            Err(Error::Operation(error)) if !lifetimes.negative_ttl.is_zero() => {
                let times = Times::of_error(lifetimes, now, random.unit());
                // If the old value may replace the error, it is kept, and the refresh is
                // suppressed.
                match old {
                    Some(old) if old.replaces_errors(now).is_some() => {
                        old.hold(times.fresh_until);
                        return result;
                    }
                    _ => (Err(error.clone()), times),
                }
            }
            Err(_) => return result,
        };
        if !revocation.is_revoked() {
            store.insert(key, CacheEntry::new(stored, times, revocation));
        }
        result
    }
}
