//! Rate limits per key: [`KeyedRateLimiter`].

mod access;
mod config;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod owned_policy;
mod policy;
mod snapshot;
mod state;
mod turns;
mod waiting;

pub use config::KeyedRateLimiterBuilder;
pub use owned_policy::OwnedKeyedRateLimitPolicy;
pub use policy::KeyedRateLimitPolicy;
pub use snapshot::KeyedRateLimiterSnapshot;

use super::Quota;
use super::engine::Gcra;
use super::events::Emitter;
use super::grant::{Denied, Grant, RateLimitStatus};
use super::timeline::Timeline;
use crate::error::ConfigError;
#[allow(unused_imports)] // for the documentation
use crate::error::Reason;
use crate::keyed::Map;
use crate::sync::{PlainArc, PlainAtomicU64};
use access::KeyAccess;
use state::{CommonQuota, CommonState, OwnState};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{RefUnwindSafe, UnwindSafe};
use turns::Turns;

/// A rate limiter with a separate limit for each key, such as a tenant, an address or an API token.
///
/// All keys have the same quota, unless [`quota_by`](KeyedRateLimiterBuilder::quota_by) sets a
/// quota per key. The methods of the limiter grant or deny a request immediately. Those of
/// [`key`](Self::key) also wait, in one FIFO queue per key.
///
/// Cloning is inexpensive, and all clones refer to the same limiter.
///
/// ```
/// use mainstay::rate::{KeyedRateLimiter, Quota};
///
/// let tenants: KeyedRateLimiter<String> =
///     KeyedRateLimiter::builder(Quota::per_second(10)).max_keys(1_000_000).build()?;
/// let grant = tenants.try_acquire("tenant-7")?; // clones the key only if it is new
/// assert_eq!(grant.remaining(), 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # How it works
///
/// The [`keyed`](crate::keyed) module describes how keys are stored, removed and evicted. A key is
/// removed when all of its tokens are available again, which loses no state. A key that was evicted
/// earlier has all of its tokens when it is inserted again.
///
/// A removed key may be inserted again with an earlier time, if a thread uses an old reading of the
/// clock or the clock was set back. The key then has all of its tokens, and up to one burst may be
/// granted beyond the limit. A stored key becomes empty at the current time if the clock was set
/// back by more than two seconds since its last request.
///
/// The `Eq` and `Borrow` implementations of the key are called under the lock of a shard. They may
/// deadlock if they use the same limiter.
///
/// # Performance
///
/// A request reads the clock, hashes the key, and looks it up under the lock of one shard. A bucket
/// of the table takes 13 bytes in addition to the key, or 29 with `quota_by`, plus alignment. There
/// are up to 2.3 buckets per key. Measured: one million `u64` keys take 52.4 bytes each.
pub struct KeyedRateLimiter<K, S = RandomState>(PlainArc<Shared<K, S>>);

// Decisions are atomic: if the code of a key, a resolver, an observer or a clock panics, each
// decision has either been applied completely or not at all.
impl<K: UnwindSafe, S: UnwindSafe> UnwindSafe for KeyedRateLimiter<K, S> {}
impl<K: UnwindSafe, S: RefUnwindSafe> RefUnwindSafe for KeyedRateLimiter<K, S> {}

/// The state that all clones of a keyed limiter share.
struct Shared<K, S> {
    quotas: Quotas<K, S>,
    timeline: Timeline,
    emitter: Emitter,
    turns: Turns<K>,
    /// The largest [debt](Gcra::debt) of a key so far, in nanoseconds.
    max_debt: PlainAtomicU64,
}

/// The states of the keys, with the source of their quotas.
enum Quotas<K, S> {
    Common { map: Map<K, CommonState, S>, common: CommonQuota },
    PerKey { map: Map<K, OwnState, S>, resolve: Resolve<K> },
}

type Resolve<K> = Box<dyn Fn(&K) -> Quota + Send + Sync>;

impl<K> KeyedRateLimiter<K> {
    /// Creates a limiter with the system clock, which gives each key the same `quota`.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<u64> = KeyedRateLimiter::new(Quota::per_second(10))?;
    /// assert!(limiter.try_acquire(&7).is_ok());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the quota is [out of range](Quota#accepted-quotas).
    pub fn new(quota: Quota) -> Result<Self, ConfigError> {
        Self::builder(quota).build()
    }

    /// Creates a builder of a limiter that gives each key the same `quota`, unless
    /// [`quota_by`](KeyedRateLimiterBuilder::quota_by) is set.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<u64> =
    ///     KeyedRateLimiter::builder(Quota::per_second(10)).max_keys(1_000).build()?;
    /// assert_eq!(limiter.snapshot().max_keys, 1_000);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn builder(quota: Quota) -> KeyedRateLimiterBuilder<K> {
        KeyedRateLimiterBuilder::new(quota)
    }
}

impl<K, S> KeyedRateLimiter<K, S> {
    /// Returns the name that was set in the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the common quota of all keys, or `None` if
    /// [`quota_by`](KeyedRateLimiterBuilder::quota_by) is set.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        match &self.0.quotas {
            Quotas::Common { common, .. } => Some(*common.quota.lock()),
            Quotas::PerKey { .. } => None,
        }
    }

    /// Returns the current key counts.
    #[must_use]
    pub fn snapshot(&self) -> KeyedRateLimiterSnapshot {
        fn figures<K, V, S>(map: &Map<K, V, S>) -> KeyedRateLimiterSnapshot {
            KeyedRateLimiterSnapshot {
                keys: map.len(),
                max_keys: map.max_keys(),
                evicted: map.evicted(),
                rejected: map.rejected(),
            }
        }
        match &self.0.quotas {
            Quotas::Common { map, .. } => figures(map),
            Quotas::PerKey { map, .. } => figures(map),
        }
    }

    /// Removes all keys. A key that is inserted again has all of its tokens.
    pub fn clear(&self) {
        match &self.0.quotas {
            Quotas::Common { map, .. } => map.clear(),
            Quotas::PerKey { map, .. } => map.clear(),
        }
    }

    /// Replaces the quota of all keys while the limiter is in use; see
    /// [`RateLimiter::reconfigure`](super::RateLimiter::reconfigure). The call visits every key and
    /// locks one shard at a time.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<u64> = KeyedRateLimiter::new(Quota::per_hour(10))?;
    /// limiter.try_acquire_n(&7, 6).unwrap();
    /// limiter.reconfigure(Quota::per_hour(100))?;
    /// assert_eq!(limiter.peek(&7).remaining(), 94);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the quota is [out of range](Quota#accepted-quotas), or if
    /// [`quota_by`](KeyedRateLimiterBuilder::quota_by) is set; in that case use
    /// [`refresh_quota`](Self::refresh_quota). The old quota stays in force.
    pub fn reconfigure(&self, quota: Quota) -> Result<(), ConfigError>
    where
        K: Eq + Hash,
        S: BuildHasher,
    {
        let Shared { quotas, timeline, emitter, .. } = &*self.0;
        let gcra = Gcra::new(&quota)?;
        let Quotas::Common { map, common } = quotas else {
            let accepted = "none: `quota_by` gives each key its own";
            return Err(ConfigError::new("quota", quota, accepted));
        };
        let next = loop {
            let epoch = common.epoch();
            // The clock is read after the epoch, and outside of any lock, because a clock may run
            // user code.
            let now = timeline.now();
            // The lock serializes changes, so that the stored quota is always the one in force.
            let mut present = common.quota.lock();
            if !common.is_epoch(epoch) {
                continue;
            }
            // The previous change may not have visited all keys yet (see the second loop below).
            // `publish` overwrites the quota before the current one, so no state may remain in its
            // units.
            map.for_each(|state| common.convert(state, epoch, now));
            common.publish(epoch, gcra);
            *present = quota;
            break epoch + 1;
        };
        // Convert all states, because a full key whose state has an old epoch is not recognized as
        // full. If there is a later change by now, it has already visited all keys.
        let instant = timeline.clock().now();
        let now = timeline.nanos(instant);
        map.for_each(|state| {
            let note = |gcra: &Gcra, tat: &mut u64| self.0.note_debt(gcra, *tat, now);
            _ = common.with(state, (next, now), note);
        });
        emitter.reconfigured(gcra.limit(), instant);
        Ok(())
    }
}

impl<K: Hash + Eq, S: BuildHasher> KeyedRateLimiter<K, S> {
    /// Takes one token of `key` if one is available. The call may block briefly while another
    /// thread uses a key of the same shard.
    ///
    /// The `Eq` and `Borrow` implementations of the key must not use this limiter: a call from them
    /// may deadlock, because they run under the lock of a shard. This applies to all methods that
    /// take a key.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<String> = KeyedRateLimiter::new(Quota::per_hour(1))?;
    /// assert!(limiter.try_acquire("tenant-7").is_ok());
    /// assert!(limiter.try_acquire("tenant-7").is_err());
    /// assert!(limiter.try_acquire("tenant-8").is_ok());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if no token is available. Also returns an error if the key is new and
    /// cannot be stored ([`Exhausted`](Reason::Exhausted)), or if its quota is out of range
    /// ([`Misconfigured`](Reason::Misconfigured)).
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire_n(key, 1)
    }

    /// Takes `n` tokens of `key` if all of them are available, and otherwise none. A request for 0
    /// tokens of a stored key is always granted.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<String> = KeyedRateLimiter::new(Quota::per_hour(10))?;
    /// assert!(limiter.try_acquire_n("tenant-7", 8).is_ok());
    /// assert!(limiter.try_acquire_n("tenant-7", 8).is_err());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if fewer than `n` tokens are available; for the other errors see
    /// [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_n<Q>(&self, key: &Q, n: u32) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.0.decide(key, n, |gcra, start, now| Some((gcra.take(start, now, n)?, n)))
    }

    /// Takes up to `n` tokens of `key`, as many as are available; see
    /// [`RateLimiter::try_acquire_up_to`](super::RateLimiter::try_acquire_up_to).
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<u64> = KeyedRateLimiter::new(Quota::per_hour(10))?;
    /// assert_eq!(limiter.try_acquire_up_to(&7, 8)?.granted(), 8);
    /// assert_eq!(limiter.try_acquire_up_to(&7, 8)?.granted(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns the same errors as [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_up_to<Q>(&self, key: &Q, n: u32) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let result = self.0.decide(key, n.min(1), |gcra, start, now| {
            let granted = gcra.remaining(start, now).min(n);
            gcra.take(start, now, granted).filter(|_| granted > 0).map(|next| (next, granted))
        });
        result.map(|grant| grant.up_to(n))
    }

    /// Takes `n` tokens of `key` whether they are available or not; see
    /// [`RateLimiter::debit`](super::RateLimiter::debit).
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<u64> = KeyedRateLimiter::new(Quota::per_hour(10))?;
    /// limiter.debit(&7, 25)?;
    /// assert_eq!(limiter.peek(&7).remaining(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the key is new and cannot be stored ([`Exhausted`](Reason::Exhausted)).
    pub fn debit<Q>(&self, key: &Q, n: u32) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.0.with(key, |access| {
            let KeyAccess { gcra, tat, now } = &access;
            let next = gcra.debit(**tat, gcra.units(*now), n);
            self.0.note_debt(gcra, next, *now);
            *access.tat = next;
            access.grant(n, n)
        })
    }

    /// Returns `n` of the tokens of `grant` to `key`, if the state of the key has not changed since
    /// the grant. Otherwise the call does nothing, because the single number that is stored per key
    /// does not record later grants.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<u64> = KeyedRateLimiter::new(Quota::per_hour(10))?;
    /// let grant = limiter.try_acquire_n(&7, 8)?;
    /// limiter.refund(&7, &grant, 5);
    /// assert_eq!(limiter.peek(&7).remaining(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refund<Q>(&self, key: &Q, grant: &Grant, n: u32)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        _ = self.0.with_known(key, |KeyAccess { gcra, tat, .. }| {
            if *gcra == grant.status.gcra && *tat == grant.status.ahead {
                *tat = tat.saturating_sub(gcra.cost(n.min(grant.granted())));
            }
        });
    }

    /// Returns the status of `key` as if one token had been requested and denied, without taking
    /// any. An unknown key is not stored.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<u64> = KeyedRateLimiter::new(Quota::per_hour(10))?;
    /// assert_eq!((limiter.peek(&7).remaining(), limiter.snapshot().keys), (10, 0));
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn peek<Q>(&self, key: &Q) -> RateLimitStatus
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.0.status(key, 1)
    }

    /// Returns a view of `key` with waiting methods, which is also a pipeline policy. Each call
    /// takes one token of the key.
    ///
    /// ```
    /// use mainstay::{pipeline::Pipeline, rate::{KeyedRateLimiter, Quota}};
    ///
    /// let tenants: KeyedRateLimiter<String> = KeyedRateLimiter::new(Quota::per_hour(1))?;
    /// let pipeline = Pipeline::builder().guard(tenants.key("tenant-7")).build();
    /// assert!(pipeline.call_blocking(|| Ok::<_, ()>(())).is_ok());
    /// assert!(pipeline.call_blocking(|| Ok::<_, ()>(())).is_err());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn key<'a, Q>(&'a self, key: &'a Q) -> KeyedRateLimitPolicy<'a, K, Q, S>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        KeyedRateLimitPolicy::new(self, key)
    }

    /// Removes `key`. Returns whether the key was stored. If the key is inserted again, it has all
    /// of its tokens, and with [`quota_by`](KeyedRateLimiterBuilder::quota_by) its quota is
    /// resolved again.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    ///
    /// let limiter: KeyedRateLimiter<String> = KeyedRateLimiter::new(Quota::per_hour(1))?;
    /// limiter.try_acquire("tenant-7").unwrap();
    /// assert!(limiter.remove("tenant-7"));
    /// assert!(limiter.try_acquire("tenant-7").is_ok());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match &self.0.quotas {
            Quotas::Common { map, .. } => map.remove(key),
            Quotas::PerKey { map, .. } => map.remove(key),
        }
    }

    /// Resolves the quota of `key` again with the function set by
    /// [`quota_by`](KeyedRateLimiterBuilder::quota_by). Used tokens stay used, as with
    /// [`RateLimiter::reconfigure`](super::RateLimiter::reconfigure). Without `quota_by`, or if the
    /// key is unknown, no quota is changed.
    ///
    /// ```
    /// use mainstay::rate::{KeyedRateLimiter, Quota};
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    ///
    /// let rate = Arc::new(AtomicU32::new(10));
    /// let shared = rate.clone();
    /// let limiter: KeyedRateLimiter<u64> = KeyedRateLimiter::builder(Quota::unlimited())
    ///     .quota_by(move |_| Quota::per_hour(shared.load(Ordering::Relaxed)))
    ///     .build()?;
    /// limiter.try_acquire_n(&7, 6).unwrap();
    /// rate.store(100, Ordering::Relaxed);
    /// limiter.refresh_quota(&7)?;
    /// assert_eq!(limiter.peek(&7).remaining(), 94);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the new quota is out of range. The old quota stays in force.
    pub fn refresh_quota<Q>(&self, key: &Q) -> Result<(), ConfigError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Quotas::PerKey { map, resolve } = &self.0.quotas else { return Ok(()) };
        let gcra = Gcra::new(&resolve(&key.to_owned()))?;
        let mut known = map.get(key, |state| *state);
        while let Some(before) = known {
            // The clock is read after the state and outside of the lock, as in
            // `RateLimiter::reconfigure`.
            let now = self.0.timeline.now();
            let replace = |state: &mut OwnState| {
                if *state != before {
                    return Some(*state);
                }
                let tat = gcra.convert(&state.gcra, state.tat, now);
                self.0.note_debt(&gcra, tat, now);
                *state = OwnState { tat, gcra };
                None
            };
            known = map.get(key, replace).flatten();
        }
        Ok(())
    }
}

impl<K, S> Clone for KeyedRateLimiter<K, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, S> fmt::Debug for KeyedRateLimiter<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimiter").field("name", &self.name()).finish_non_exhaustive()
    }
}
