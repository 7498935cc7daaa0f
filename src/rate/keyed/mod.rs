//! A limit for each key: [`KeyedRateLimiter`].

mod access;
mod config;
mod policy;
mod state;

pub use config::KeyedRateLimiterBuilder;
pub use policy::KeyedRateLimitPolicy;

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

/// A rate limiter with a limit for each key: tenant, address, API token.
///
/// All keys have the same quota, or each has its own by
/// [`quota_by`](KeyedRateLimiterBuilder::quota_by). Requests do not wait: they are granted or denied.
///
/// Cloning is cheap, and all clones are the same limiter.
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
/// See [`keyed`](crate::keyed) for how keys are stored, removed and evicted. A key is removed when
/// its limit would be full again anyway. A key that was evicted before that is full when it
/// returns.
///
/// A key that was removed is also full when it returns at an earlier time: because a thread decides
/// by an old reading of the clock, or because the clock was set back. Of what it is then granted,
/// up to a burst may exceed the limit. A key whose last request came before the clock was set back
/// by more than two seconds is empty as of the present time.
///
/// `Eq` and `Borrow` of a key run under the lock of a shard. If they use the same limiter, they may
/// deadlock.
///
/// # Performance
///
/// A request costs a reading of the clock, a hash, and a lookup under the lock of one shard of
/// many. A bucket of the table takes 13 bytes beside the key, or 29 with `quota_by`, plus
/// alignment; there are up to 2.3 buckets for each key. Measured: one million `u64` keys take 52.4
/// bytes each.
pub struct KeyedRateLimiter<K, S = RandomState>(PlainArc<Shared<K, S>>);

// A panic of a key, a resolver, an observer or a clock leaves every key as it was before or after a
// whole decision.
impl<K: UnwindSafe, S: UnwindSafe> UnwindSafe for KeyedRateLimiter<K, S> {}
impl<K: UnwindSafe, S: RefUnwindSafe> RefUnwindSafe for KeyedRateLimiter<K, S> {}

/// What all clones of a keyed limiter share.
struct Shared<K, S> {
    quotas: Quotas<K, S>,
    timeline: Timeline,
    emitter: Emitter,
    /// The largest [debt](Gcra::debt) of a key so far, in nanoseconds.
    max_debt: PlainAtomicU64,
}

/// The states of the keys, by where their quotas come from.
enum Quotas<K, S> {
    Common { map: Map<K, CommonState, S>, common: CommonQuota },
    PerKey { map: Map<K, OwnState, S>, resolve: Resolve<K> },
}

type Resolve<K> = Box<dyn Fn(&K) -> Quota + Send + Sync>;

/// The figures of a keyed limiter at one moment; returned by [`KeyedRateLimiter::snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedRateLimiterSnapshot {
    /// The number of keys stored, including those that are full again and not yet removed.
    pub keys: usize,
    /// The largest number of keys.
    pub max_keys: usize,
    /// How many keys were removed to make room for others.
    pub evicted: u64,
    /// How many times a new key was rejected because there was no room for it.
    pub rejected: u64,
}

impl<K> KeyedRateLimiter<K> {
    /// Creates a limiter on the system clock that gives each key the same `quota`.
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
    /// The quota is [out of range](Quota#accepted-quotas).
    pub fn new(quota: Quota) -> Result<Self, ConfigError> {
        Self::builder(quota).build()
    }

    /// Returns a builder of a limiter that gives each key the same `quota`, unless
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
    /// Returns the name given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the quota that all keys have, or `None` if
    /// [`quota_by`](KeyedRateLimiterBuilder::quota_by) is set.
    #[must_use]
    pub fn quota(&self) -> Option<Quota> {
        match &self.0.quotas {
            Quotas::Common { common, .. } => Some(*common.quota.lock()),
            Quotas::PerKey { .. } => None,
        }
    }

    /// Returns the present figures.
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

    /// Removes every key. Each is full when it returns.
    pub fn clear(&self) {
        match &self.0.quotas {
            Quotas::Common { map, .. } => map.clear(),
            Quotas::PerKey { map, .. } => map.clear(),
        }
    }

    /// Replaces the quota of all keys while the limiter is in use; see
    /// [`RateLimiter::reconfigure`](super::RateLimiter::reconfigure). Visits every key, one shard at a
    /// time.
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
    /// The quota is [out of range](Quota#accepted-quotas), or
    /// [`quota_by`](KeyedRateLimiterBuilder::quota_by) is set; see
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
            // After the epoch was read, and not under a lock: a clock may be the user's own.
            let now = timeline.now();
            // Serializes changes, so that this quota and the one in force agree.
            let mut present = common.quota.lock();
            if !common.is_epoch(epoch) {
                continue;
            }
            // The change before this one may not have visited all keys yet, below. No state may be
            // in the units of the quota before the present one when that is overwritten.
            map.for_each(|state| common.convert(state, epoch, now));
            common.publish(epoch, gcra);
            *present = quota;
            break epoch + 1;
        };
        // So that no state stays behind that is full and cannot be recognized as such. If there is
        // a later change, that has visited all keys.
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
    /// Takes one token of `key` if one is available. May wait for another thread that uses a key of
    /// the same shard.
    ///
    /// `Eq` and `Borrow` of a key must not use this limiter: they run under the lock of a shard,
    /// and may deadlock. This holds for all methods that take a key.
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
    /// No token is available. Or the key is new, and there is no room for it
    /// ([`Exhausted`](Reason::Exhausted)), or its quota is out of range
    /// ([`Misconfigured`](Reason::Misconfigured)).
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire_n(key, 1)
    }

    /// Takes `n` tokens of `key`, all or none, if they are available. A request for 0 tokens of a
    /// known key is always granted.
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
    /// Fewer than `n` tokens are available; otherwise as [`try_acquire`](Self::try_acquire).
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
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_up_to<Q>(&self, key: &Q, n: u32) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let result = self.0.decide(key, n.min(1), |gcra, start, now| {
            let most = gcra.remaining(start, now).min(n);
            gcra.take(start, now, most).filter(|_| most > 0).map(|next| (next, most))
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
    /// The key is new, and there is no room for it.
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

    /// Returns `n` of the tokens of `grant`, which `key` was granted, if no request for the key was
    /// granted after it. Otherwise it does nothing: the state of a key is a single number, which
    /// cannot tell what came in between.
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

    /// Returns the status of `key` as if one token had been requested, without taking any. An
    /// unknown key is not stored.
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
        self.0.with_known(key, |access| access.status(1, 0)).unwrap_or_else(|| {
            let quota = match &self.0.quotas {
                Quotas::Common { common, .. } => *common.quota.lock(),
                Quotas::PerKey { resolve, .. } => resolve(&key.to_owned()),
            };
            let gcra = Gcra::new(&quota).unwrap_or(Gcra::INVALID);
            let now = self.0.timeline.now();
            RateLimitStatus { gcra, ahead: 0, now, wanted: 1, granted: 0 }
        })
    }

    /// Returns a view of `key` for a pipeline, by which each call takes one token of the key.
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

    /// Removes `key`, which is full when it returns; with
    /// [`quota_by`](KeyedRateLimiterBuilder::quota_by) its quota is resolved again then. Returns
    /// whether the key was known.
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

    /// Resolves the quota of `key` again, by [`quota_by`](KeyedRateLimiterBuilder::quota_by). Used
    /// tokens stay used, as with [`RateLimiter::reconfigure`](super::RateLimiter::reconfigure).
    /// Does nothing if the key is unknown or `quota_by` is not set.
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
    /// The new quota is out of range. The old one stays in force.
    pub fn refresh_quota<Q>(&self, key: &Q) -> Result<(), ConfigError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Quotas::PerKey { map, resolve } = &self.0.quotas else { return Ok(()) };
        let gcra = Gcra::new(&resolve(&key.to_owned()))?;
        let mut known = map.get(key, |state| *state);
        while let Some(before) = known {
            // After the state was read, and not under the lock, as in `Engine::reconfigure`.
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
