//! Access to the state of one key.

use super::state::{CommonQuota, CommonState, OwnState};
use super::{Quotas, Shared};
use crate::error::Reason;
use crate::keyed::{Full, Map};
use crate::rate::engine::Gcra;
use crate::rate::grant::{Denied, Grant, History, RateLimitStatus};
use crate::rate::timeline::Nanos;
use crate::sync::atomic::Ordering::Relaxed;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

/// The state of a key, borrowed by a decision under the lock of the shard.
pub(super) struct KeyAccess<'a> {
    pub(super) gcra: &'a Gcra,
    pub(super) tat: &'a mut u64,
    pub(super) now: Nanos,
}

impl KeyAccess<'_> {
    #[inline(always)]
    pub(super) fn status(&self, wanted: u32, granted: u32) -> RateLimitStatus {
        let Self { gcra, tat, now } = self;
        RateLimitStatus { gcra: **gcra, ahead: **tat, now: *now, wanted, granted }
    }

    #[inline(always)]
    pub(super) fn grant(&self, wanted: u32, granted: u32) -> Grant {
        Grant { status: self.status(wanted, granted), history: History::default() }
    }
}

/// Whether the clock has been read again after it seemed to have been set back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Unchecked,
    Checked,
}

impl<K: Hash + Eq, S: BuildHasher> Shared<K, S> {
    /// Grants or denies `n` tokens of `key`, and reports a denial. `take` returns the next TAT and
    /// the number of tokens granted, or `None` to deny the request.
    #[inline(always)]
    pub(super) fn decide<Q>(
        &self,
        key: &Q,
        n: u32,
        take: impl Fn(&Gcra, u64, u64) -> Option<(u64, u32)>,
    ) -> Result<Grant, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if self.turns.may_be_taken() {
            self.check_waiters(key, n)?;
        }
        let take = |gcra: &Gcra, tat, now| take(gcra, Gcra::start(tat, now), now);
        self.attempt(key, n, take)?.map_err(|status| self.deny_status(status))
    }

    /// Grants or denies `n` tokens of `key`. `take` receives the TAT. Reports a denial only if the
    /// key cannot be stored.
    #[inline(always)]
    pub(super) fn attempt<Q>(
        &self,
        key: &Q,
        n: u32,
        take: impl Fn(&Gcra, u64, u64) -> Option<(u64, u32)>,
    ) -> Result<Result<Grant, RateLimitStatus>, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.with(key, |access| {
            let KeyAccess { gcra, tat, now } = &access;
            if n == 0 || gcra.is_unlimited() {
                return Ok(access.grant(n, n));
            }
            let taken = match gcra.is_ordinary(n) {
                true => {
                    let now = gcra.units(*now);
                    take(gcra, **tat, now)
                }
                false => None,
            };
            let Some((next, granted)) = taken else { return Err(access.status(n, 0)) };
            *access.tat = next;
            Ok(access.grant(n, granted))
        })
    }

    /// Reports that a request with this status was denied.
    #[inline(always)]
    pub(super) fn deny_status(&self, status: RateLimitStatus) -> Denied {
        let reason = match status.gcra.is_invalid() {
            true => Reason::Misconfigured,
            false => Reason::RateLimited,
        };
        self.deny(status, reason)
    }

    /// Denies a request for tokens of a key for which other callers wait.
    #[cold]
    fn check_waiters<Q>(&self, key: &Q, n: u32) -> Result<(), Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match n > 0 && self.turns.is_taken(key) {
            true => Err(self.deny_status(self.status(key, n))),
            false => Ok(()),
        }
    }

    /// Returns the status of `key` as if `n` tokens had been requested and denied. An unknown key
    /// is not stored.
    pub(super) fn status<Q>(&self, key: &Q, n: u32) -> RateLimitStatus
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.with_known(key, |access| access.status(n, 0)).unwrap_or_else(|| {
            let quota = match &self.quotas {
                Quotas::Common { common, .. } => *common.quota.lock(),
                Quotas::PerKey { resolve, .. } => resolve(&key.to_owned()),
            };
            let gcra = Gcra::new(&quota).unwrap_or(Gcra::INVALID);
            let now = self.timeline.now();
            RateLimitStatus { gcra, ahead: 0, now, wanted: n, granted: 0 }
        })
    }

    /// Calls `act` with the state of `key`, and inserts the key if it is new.
    #[inline(always)]
    pub(super) fn with<Q, R>(&self, key: &Q, act: impl Fn(KeyAccess<'_>) -> R) -> Result<R, Denied>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut clock = Clock::Unchecked;
        loop {
            let result = match &self.quotas {
                Quotas::Common { map, common } => {
                    let epoch = common.epoch();
                    let now = self.timeline.now();
                    let make = || (key.to_owned(), CommonState::new(epoch));
                    let read = |state: &mut CommonState| {
                        common.with(state, (epoch, now), |gcra, tat| {
                            self.access(KeyAccess { gcra, tat, now }, clock, &act)
                        })
                    };
                    match map.get_or_insert(key, || common.full(epoch, now), make, read) {
                        Ok(None) => continue, // the quota has changed
                        Ok(Some(result)) => Ok(result),
                        Err(Full) => Err(now),
                    }
                }
                Quotas::PerKey { map, resolve } => {
                    let now = self.timeline.now();
                    let make = || {
                        let key = key.to_owned();
                        // An invalid quota is stored too, so that the next request does not resolve
                        // it again.
                        let gcra = Gcra::new(&resolve(&key)).unwrap_or(Gcra::INVALID);
                        (key, OwnState { tat: 0, gcra })
                    };
                    let read = |OwnState { tat, gcra }: &mut OwnState| {
                        self.access(KeyAccess { gcra, tat, now }, clock, &act)
                    };
                    map.get_or_insert(key, || now, make, read).map_err(|Full| now)
                }
            };
            match result {
                Ok(Some(result)) => return Ok(result),
                Ok(None) => clock = Clock::Checked,
                Err(now) => {
                    let (gcra, wanted) = (Gcra::NOTHING, 1);
                    let status = RateLimitStatus { gcra, ahead: 0, now, wanted, granted: 0 };
                    return Err(self.deny(status, Reason::Exhausted));
                }
            }
        }
    }

    /// Calls `act` with the state of `key`. Returns `None` if the key is unknown.
    pub(super) fn with_known<Q, R>(&self, key: &Q, act: impl Fn(KeyAccess<'_>) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut clock = Clock::Unchecked;
        loop {
            let result = match &self.quotas {
                Quotas::Common { map, common } => {
                    self.with_known_common(map, common, key, clock, &act)?
                }
                Quotas::PerKey { map, .. } => {
                    let now = self.timeline.now();
                    map.get(key, |OwnState { tat, gcra }| {
                        self.access(KeyAccess { gcra, tat, now }, clock, &act)
                    })?
                }
            };
            match result {
                Some(result) => return Some(result),
                None => clock = Clock::Checked,
            }
        }
    }

    fn with_known_common<Q, R>(
        &self,
        map: &Map<K, CommonState, S>,
        common: &CommonQuota,
        key: &Q,
        clock: Clock,
        act: &impl Fn(KeyAccess<'_>) -> R,
    ) -> Option<Option<R>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        loop {
            let epoch = common.epoch();
            let now = self.timeline.now();
            let read = |state: &mut CommonState| {
                common.with(state, (epoch, now), |gcra, tat| {
                    self.access(KeyAccess { gcra, tat, now }, clock, act)
                })
            };
            if let Some(result) = map.get(key, read)? {
                return Some(result);
            }
        }
    }

    /// Calls `act`. Returns `None` if the clock seems to have been set back and `clock` is
    /// unchecked. The caller then reads the clock again, because an old reading looks the same. If
    /// the new reading confirms that the clock was set back, the key becomes empty at that time.
    #[inline(always)]
    fn access<R>(
        &self,
        access: KeyAccess<'_>,
        clock: Clock,
        act: &impl Fn(KeyAccess<'_>) -> R,
    ) -> Option<R> {
        let now = access.gcra.units(access.now);
        // The debt is stored in nanoseconds. A nanosecond has at most two units.
        let max_debt = self.max_debt.load(Relaxed).saturating_mul(2);
        if access.gcra.is_ahead(*access.tat, now, max_debt) {
            if clock == Clock::Unchecked {
                return None;
            }
            *access.tat = access.gcra.empty(now);
        }
        Some(act(access))
    }

    /// Raises `max_debt` to the debt of `tat`. Must be called before the lock is released, for
    /// every TAT that a debit or a change of the quota may have moved more than one burst ahead.
    pub(super) fn note_debt(&self, gcra: &Gcra, tat: u64, now: Nanos) {
        let debt = gcra.debt(tat, gcra.units(now));
        if debt > 0 {
            let nanos = gcra.nanos(debt).map_or(u64::MAX, Nanos::get);
            self.max_debt.fetch_max(nanos, Relaxed);
        }
    }

    #[inline(always)]
    fn deny(&self, status: RateLimitStatus, reason: Reason) -> Denied {
        let denied = Denied { reason, ..Denied::new(status, self.emitter.name) };
        self.emitter.denied(denied, || self.timeline.instant(status.now))
    }
}
