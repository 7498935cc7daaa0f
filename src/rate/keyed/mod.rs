//! A limit for each key.

mod config;

pub use config::KeyedBuilder;

use super::answer::{Answer, Before, Refused};
use super::core::Word;
use super::gcra::Plan;
use super::{Quota, Teller};
use crate::error::{ConfigError, Reason};
use crate::keyed::{Full, KeyState, Map, Retention};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::{Live, PlainMutex};
use crate::time::{Clock, Instant};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

/// A limit for each key: tenant, address, token.
///
/// See [`keyed`](crate::keyed) for how the keys are kept, and forgotten: what a key has used is forgotten
/// when it would be full again anyway. A key that gives way to others at the bound before that is full when
/// it comes back. So is, by a clock that goes back or a look at it that is old, a key that was forgotten
/// later than that: of what it is granted then, up to a burst may be too much.
///
/// All keys have one quota, or each has its own by a [resolver](KeyedBuilder::quota_by). Nobody waits for a
/// key: an answer is all there is.
///
/// ```
/// use mainstay::rate::{Keyed, Quota};
///
/// let tenants: Keyed<String> = Keyed::builder(Quota::per_second(10)).max_keys(1_000_000).build()?;
/// let answer = tenants.try_acquire("tenant-7")?; // clones the key only if it is new
/// assert_eq!(answer.remaining(), 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A look at the clock, a hash, and a look-up under the lock of one shard of many: one line of memory for the
/// lock and one or two for the key.
///
/// # Memory
///
/// A place in the table takes 13 bytes beside the key, 29 with a resolver, and what alignment asks for; there
/// are up to two and a third places for each key. Measured: a million `u64` keys take 52.4 bytes each.
pub struct Keyed<K, S = RandomState> {
    keys: Keys<K, S>,
    origin: Instant,
    clock: Clock,
    teller: Teller,
}

enum Keys<K, S> {
    /// One quota.
    Alike { map: Map<K, Alike, S>, common: Common },
    /// Each its own.
    Own { map: Map<K, Own, S>, resolve: Resolve<K> },
}

type Resolve<K> = Box<dyn Fn(&K) -> Quota + Send + Sync>;

/// The quota of all keys. Each state says by its epoch in whose units it is.
struct Common {
    live: Live<2>,
    epoch: AtomicU64,
    quota: PlainMutex<Quota>,
}

/// A state that is one word; without the alignment of one, so that it packs well.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
struct Alike(Word);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Own {
    arrival: u64,
    plan: Plan,
}

impl KeyState for Alike {
    /// The word of a limiter that becomes full now.
    type Now = Word;

    fn retention(&self, full: Word) -> Retention {
        let own = self.0;
        match own.epoch() == full.epoch() && own.arrival() <= full.arrival() {
            true => Retention::Disposable,
            false => Retention::Evictable,
        }
    }
}

impl KeyState for Own {
    /// Nanoseconds since the limiter's origin.
    type Now = u64;

    fn retention(&self, now: u64) -> Retention {
        match self.arrival <= self.plan.units(now) {
            true => Retention::Disposable,
            false => Retention::Evictable,
        }
    }
}

impl Common {
    /// The plan, and the epoch. Under the lock of a shard they can be read until it is released: two changes
    /// would have to come before a plan is overwritten, and the second of them has to go through that shard
    /// first.
    #[inline(always)]
    fn plan(&self) -> (Plan, u64) {
        // Ordering: acquire, with the release by which `reconfigure` publishes a plan.
        let epoch = self.epoch.load(Acquire);
        (self.live.read(epoch), epoch)
    }

    /// Shows the plan in force and the arrival of `state` to `act`, with the time; under the lock of its shard.
    ///
    /// The clock must have been read after the epoch was: then whoever took by the plan before had read it
    /// earlier, and is not credited by this plan with the time between. `None`: the epoch is another by now.
    #[inline(always)]
    fn show<R>(
        &self,
        state: &mut Alike,
        (epoch, nanos): (u64, u64),
        act: impl FnOnce(&Plan, &mut u64, u64) -> R,
    ) -> Option<R> {
        let (plan, present) = self.plan();
        if present != epoch {
            return None;
        }
        self.convert(state, epoch, nanos);
        let mut arrival = { state.0 }.arrival();
        let result = act(&plan, &mut arrival, nanos);
        state.0 = Word::new(arrival, epoch);
        Some(result)
    }

    /// Says by the plan of `epoch` what `state` says by the one before.
    #[inline(always)]
    fn convert(&self, state: &mut Alike, epoch: u64, nanos: u64) {
        if { state.0 }.epoch() != Word::new(0, epoch).epoch() {
            *state = self.converted(*state, epoch, nanos);
        }
    }

    #[cold]
    #[inline(never)]
    fn converted(&self, state: Alike, epoch: u64, nanos: u64) -> Alike {
        let (plan, before) = (self.live.read::<Plan>(epoch), self.live.read::<Plan>(epoch + 1));
        Alike(Word::new(plan.carry(&before, { state.0 }.arrival(), nanos), epoch))
    }
}

/// The figures of a keyed limiter at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedSnapshot {
    /// How many keys it knows, those included that would be full by now.
    pub keys: usize,
    /// How many it would.
    pub max_keys: usize,
    /// How many keys gave way to others at the bound.
    pub evicted: u64,
    /// How often a new key found no room.
    pub refused: u64,
}

impl<K> Keyed<K> {
    /// Limiters to be set up, each of `quota` unless a resolver says otherwise.
    #[must_use]
    pub fn builder(quota: Quota) -> KeyedBuilder<K> {
        KeyedBuilder::new(quota)
    }
}

impl<K: Hash + Eq, S: BuildHasher> Keyed<K, S> {
    /// Takes one token of `key`, if it is there. Never waits, but for another thread that is at a key of the
    /// same shard.
    ///
    /// # Errors
    /// It is not there; or the key is new, and there is no room for it
    /// ([`Exhausted`](Reason::Exhausted)) or no quota ([`Misconfigured`](Reason::Misconfigured)).
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<Answer, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_acquire_n(key, 1)
    }

    /// Takes `n` tokens of `key`, all or none, if they are there.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_n<Q>(&self, key: &Q, n: u32) -> Result<Answer, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.decide(key, n, |plan, arrival, now| Some((plan.take(arrival, now, n)?, n)))
    }

    /// Takes up to `n` tokens of `key`, as many as are there; see
    /// [`RateLimiter::at_most`](super::RateLimiter::at_most).
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn at_most<Q>(&self, key: &Q, n: u32) -> Result<Answer, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let result = self.decide(key, n.min(1), |plan, arrival, now| {
            let most = plan.remaining(arrival, now).min(n);
            plan.take(arrival, now, most).filter(|_| most > 0).map(|next| (next, most))
        });
        result.map(|answer| answer.up_to(n))
    }

    /// Charges `n` tokens of `key` whether they are there or not; see
    /// [`RateLimiter::debit`](super::RateLimiter::debit).
    ///
    /// # Errors
    /// The key is new, and there is no room for it.
    pub fn debit<Q>(&self, key: &Q, n: u32) -> Result<Answer, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.with(key, |plan, arrival, nanos| {
            *arrival = plan.debit(*arrival, plan.units(nanos), n);
            answer(plan, *arrival, nanos, n, n)
        })
    }

    /// Gives back `n` of the tokens of `key` that `granted` says were granted, if nothing was taken of that
    /// key after them, and nothing otherwise: what a single number can undo.
    pub fn refund<Q>(&self, key: &Q, granted: &Answer, n: u32)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let undo = |plan: &Plan, arrival: &mut u64| {
            if *plan == granted.plan && *arrival == granted.ahead {
                *arrival = arrival.saturating_sub(plan.cost(n.min(granted.granted)));
            }
        };
        match &self.keys {
            Keys::Alike { map, common } => {
                _ = self.if_known(map, common, key, |plan, arrival, _| undo(plan, arrival));
            }
            Keys::Own { map, .. } => {
                let _ = map.get(key, |state| undo(&state.plan, &mut state.arrival));
            }
        }
    }

    /// The figures of `key`, without taking anything: as if one token had been asked for. A key that is not
    /// known is not made known.
    pub fn peek<Q>(&self, key: &Q) -> Answer
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let figures = |plan: &Plan, arrival: u64, nanos| answer(plan, arrival, nanos, 1, 0);
        let full =
            |quota: &Quota| figures(&Plan::new(quota).unwrap_or(Plan::INVALID), 0, self.now());
        match &self.keys {
            Keys::Alike { map, common } => self
                .if_known(map, common, key, |plan, arrival, nanos| figures(plan, *arrival, nanos))
                .unwrap_or_else(|| full(&{ *common.quota.lock() })),
            Keys::Own { map, resolve } => {
                let nanos = self.now();
                map.get(key, |state| figures(&state.plan, state.arrival, nanos))
                    .unwrap_or_else(|| full(&resolve(&key.to_owned())))
            }
        }
    }

    /// Forgets what `key` has used; with a resolver also its quota, which is asked for anew when it comes
    /// back. Says whether it was known.
    pub fn forget<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match &self.keys {
            Keys::Alike { map, .. } => map.remove(key),
            Keys::Own { map, .. } => map.remove(key),
        }
    }

    /// Asks the resolver anew for the quota of `key`, which keeps what it has used as
    /// [`RateLimiter::reconfigure`](super::RateLimiter::reconfigure) does. Nothing happens if the key is not
    /// known or there is no resolver.
    ///
    /// # Errors
    /// The quota is out of range. Then the old one stays.
    pub fn resolve_again<Q>(&self, key: &Q) -> Result<(), ConfigError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Keys::Own { map, resolve } = &self.keys {
            let plan = Plan::new(&resolve(&key.to_owned()))?;
            let mut seen = map.get(key, |state| *state);
            while let Some(before) = seen {
                // After the state was read, and not under the lock, as in `Core::reconfigure`.
                let nanos = self.now();
                seen = map
                    .get(key, |state| {
                        if *state != before {
                            return Some(*state);
                        }
                        *state =
                            Own { arrival: plan.carry(&state.plan, state.arrival, nanos), plan };
                        None
                    })
                    .flatten();
            }
        }
        Ok(())
    }

    /// Puts another quota into force for all keys, while calls go on; see
    /// [`RateLimiter::reconfigure`](super::RateLimiter::reconfigure). It goes through all keys, one shard at
    /// a time.
    ///
    /// # Errors
    /// The quota is out of range, or keys have quotas by a resolver, which
    /// [`resolve_again`](Self::resolve_again) asks. Then nothing is changed.
    pub fn reconfigure(&self, quota: Quota) -> Result<(), ConfigError> {
        let plan = Plan::new(&quota)?;
        let Keys::Alike { map, common } = &self.keys else {
            return Err(ConfigError::new(
                "quota",
                quota,
                "none, where a resolver gives each key its own",
            ));
        };
        let next = loop {
            let epoch = common.epoch.load(Acquire);
            // After the epoch was read, and not under a lock, for the clock may be the user's own.
            let nanos = self.now();
            // One at a time: what `quota` says and what is in force must agree.
            let mut present = common.quota.lock();
            if common.epoch.load(Relaxed) != epoch {
                continue;
            }
            // A change that comes before this one may still be at it below. The states that are in the units
            // before the last must all have gone when the plan before the last is overwritten.
            map.for_each(|state| common.convert(state, epoch, nanos));
            common.live.write(epoch + 1, plan);
            // Ordering: release, as it publishes the plan; and a swap, so that it is seen before the clock is
            // read again.
            common.epoch.swap(epoch + 1, AcqRel);
            *present = quota;
            break epoch + 1;
        };
        // So that none stays behind that is worth nothing and does not know it. If there is a later change, it
        // has been here.
        let now = self.clock.now();
        let nanos = self.nanos(now);
        map.for_each(|state| _ = common.show(state, (next, nanos), |_, _, _| ()));
        self.teller.changed(plan, now);
        Ok(())
    }

    /// The present figures.
    #[must_use]
    pub fn snapshot(&self) -> KeyedSnapshot {
        fn figures<K, V, S>(map: &Map<K, V, S>) -> KeyedSnapshot {
            KeyedSnapshot {
                keys: map.len(),
                max_keys: map.max_keys(),
                evicted: map.evicted(),
                refused: map.rejected(),
            }
        }
        match &self.keys {
            Keys::Alike { map, .. } => figures(map),
            Keys::Own { map, .. } => figures(map),
        }
    }

    /// Forgets every key.
    pub fn clear(&self) {
        match &self.keys {
            Keys::Alike { map, .. } => map.clear(),
            Keys::Own { map, .. } => map.clear(),
        }
    }

    #[inline(always)]
    fn decide<Q>(
        &self,
        key: &Q,
        n: u32,
        take: impl Fn(&Plan, u64, u64) -> Option<(u64, u32)>,
    ) -> Result<Answer, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let decided = self.with(key, |plan, arrival, nanos| {
            if n == 0 || plan.is_unlimited() {
                return Ok(answer(plan, *arrival, nanos, n, n));
            }
            let taken = match plan.is_ordinary(n) {
                true => take(plan, *arrival, plan.units(nanos)),
                false => None,
            };
            let Some((next, granted)) = taken else {
                return Err(answer(plan, *arrival, nanos, n, 0));
            };
            *arrival = next;
            Ok(answer(plan, next, nanos, n, granted))
        })?;
        decided.map_err(|answer| {
            let reason =
                if answer.plan.is_invalid() { Reason::Misconfigured } else { Reason::RateLimited };
            self.refuse(Refused { reason, ..Refused::new(answer, self.teller.name) })
        })
    }

    /// Shows plan and arrival of `key`, which is put in if it is new, to `act`, with the time.
    #[inline(always)]
    fn with<Q, R>(&self, key: &Q, act: impl Fn(&Plan, &mut u64, u64) -> R) -> Result<R, Refused>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let found = match &self.keys {
            Keys::Alike { map, common } => loop {
                let epoch = common.epoch.load(Acquire);
                let nanos = self.now();
                let full = || {
                    // Read outside the lock it may be a mixture, but then no state is of its epoch any more.
                    let plan = common.live.read::<Plan>(epoch);
                    Word::new(plan.units(nanos), epoch)
                };
                // Full by whatever plan there is when it is put in.
                let make = || (key.to_owned(), Alike(Word::new(0, epoch)));
                match map.get_or_insert(key, full, make, |state| {
                    common.show(state, (epoch, nanos), &act)
                }) {
                    Ok(Some(result)) => break Ok(result),
                    Ok(None) => {}
                    Err(Full) => break Err(nanos),
                }
            },
            Keys::Own { map, resolve } => {
                let nanos = self.now();
                let make = || {
                    let key = key.to_owned();
                    // Kept like any other: so it is refused more cheaply the next time.
                    let plan = Plan::new(&resolve(&key)).unwrap_or(Plan::INVALID);
                    (key, Own { arrival: 0, plan })
                };
                let act = |state: &mut Own| act(&state.plan, &mut state.arrival, nanos);
                map.get_or_insert(key, || nanos, make, act).map_err(|Full| nanos)
            }
        };
        found.map_err(|nanos| {
            let answer = answer(&Plan::NOTHING, 0, nanos, 1, 0);
            self.refuse(Refused {
                reason: Reason::Exhausted,
                ..Refused::new(answer, self.teller.name)
            })
        })
    }

    /// Shows plan and arrival of `key`, if it is known, to `act`, with the time.
    fn if_known<Q, R>(
        &self,
        map: &Map<K, Alike, S>,
        common: &Common,
        key: &Q,
        act: impl Fn(&Plan, &mut u64, u64) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        loop {
            let epoch = common.epoch.load(Acquire);
            let nanos = self.now();
            if let Some(result) = map.get(key, |state| common.show(state, (epoch, nanos), &act))? {
                return Some(result);
            }
        }
    }

    #[inline(always)]
    fn refuse(&self, refused: Refused) -> Refused {
        let at = || Instant::from_nanos(self.origin.as_nanos().saturating_add(refused.answer.now));
        self.teller.refused(refused, at)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        self.nanos(self.clock.now())
    }

    #[inline(always)]
    fn nanos(&self, instant: Instant) -> u64 {
        instant.as_nanos().saturating_sub(self.origin.as_nanos())
    }
}

#[inline(always)]
fn answer(plan: &Plan, ahead: u64, now: u64, wanted: u32, granted: u32) -> Answer {
    Answer { plan: *plan, ahead, now, wanted, granted, before: Before::default() }
}

impl<K, S> fmt::Debug for Keyed<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("name", &self.teller.name).finish_non_exhaustive()
    }
}
