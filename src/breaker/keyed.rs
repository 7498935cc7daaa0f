//! A breaker for each key.

use super::config::Settings;
use super::core::Core;
use super::manual::{CircuitBreakerMode, Follow};
use super::places::Places;
use super::rule::Laws;
use super::tell::Notice;
use super::transition::{CircuitBreakerState, Transition};
use super::{CircuitBreaker, CircuitBreakerBuilder, Family, Shared};
use crate::error::{ConfigError, Error, Reason, Rejection};
use crate::event::{Observer, Subscription, for_all};
use crate::keyed::{self, Map, WhenFull, Worth};
use crate::sync::{Arc, PlainArc};
use crate::time::Instant;
use crate::window::WindowCounts as Counts;
use std::borrow::Borrow;
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

/// A breaker for each key: host, tenant, shard.
///
/// ```
/// use mainstay::breaker::{CircuitBreaker, KeyedCircuitBreaker};
///
/// let hosts: KeyedCircuitBreaker<String> = KeyedCircuitBreaker::builder(CircuitBreaker::builder().min_calls(3)).build()?;
/// # let get = |_: &str| Err::<(), _>(());
/// for _ in 0..3 {
///     let _ = hosts.breaker("a.example")?.call_blocking(|| get("a.example"));
/// }
/// assert!(hosts.breaker("a.example")?.try_acquire().is_err());
/// assert!(hosts.breaker("b.example")?.try_acquire().is_ok());
/// assert_eq!((hosts.snapshot().keys, hosts.snapshot().shut), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Each is a [`CircuitBreaker`] like any other, with a window and a state of its own; the settings are those
/// of all, and fixed. How keys are kept and forgotten: [`keyed`](crate::keyed). A breaker stays while it is
/// open, half-open or ramping up, while a mode was set by hand, and while somebody has a clone of it: so also
/// while one of its calls is under way. One that nobody asked for during
/// [`idle_timeout`](KeyedCircuitBreakerBuilder::idle_timeout), or whose window is empty and who counts no run of failures, is
/// forgotten.
///
/// Hosts that are dead and gone do not fill the table for good: a breaker whose wait (or, half-open, whose
/// last probe's lease) ended longer than `idle_timeout` ago may give way at the bound as a closed one may, and
/// is forgotten when it has been idle for as long again. Should its key come back, it begins closed.
///
/// There is no breaker over the sum: where one is wanted, put it around this one, as around any operation.
///
/// # Cost
///
/// Of a call, beside the breaker's own: a hash, a look-up under the lock of one shard of many, and an `Arc`
/// cloned and dropped. A key takes 344 bytes on x86-64 while its calls are fast and succeed, by a count window
/// of any size; with a failure among them 784 more, if the window is of 100 calls. To that comes the key,
/// twice, and its place in the table.
pub struct KeyedCircuitBreaker<K, S = RandomState>(PlainArc<Kept<K, S>>);

struct Kept<K, S> {
    map: Map<K, Member, S>,
    builder: CircuitBreakerBuilder,
    settings: Settings,
    laws: Arc<Laws>,
    family: PlainArc<Family>,
}

/// What stands beside a key.
struct Member {
    breaker: PlainArc<Shared>,
    /// When the hand first found that nobody had asked for it since.
    idle_since: Cell<Instant>,
}

impl Member {
    const IN_USE: Instant = Instant::FAR_FUTURE;
}

impl keyed::State for Member {
    fn worth(&self, now: Instant) -> Worth {
        // Nobody can take it into use meanwhile: clones are made under the lock under which this is asked.
        if PlainArc::strong_count(&self.breaker) > 1 {
            return Worth::Everything;
        }
        let (core, family) = (&self.breaker.core, &self.breaker.family);
        // Whoever had it has let go of it, but nothing has told us what came of his calls.
        let word = core.latest_word();
        // A mode is worth keeping if a new breaker would not begin in it.
        let by_hand = word.mode() != family.control.mode();
        if by_hand
            || core.is_ramping(word, now)
            || core.must_stay_shut(word, now, family.idle_timeout)
        {
            return Worth::Everything;
        }
        let since = self.idle_since.get().min(now);
        self.idle_since.set(since);
        // A run of failures is remembered in the word, for longer than its calls are in a window of time.
        let says_nothing =
            || !word.is_shut() && !word.has_streak() && core.window.counts(now).total == 0;
        match now - since >= family.idle_timeout || says_nothing() {
            true => Worth::Nothing,
            false => Worth::Little,
        }
    }
}

/// The figures of a family of breakers at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedCircuitBreakerSnapshot {
    /// How many keys it knows.
    pub keys: usize,
    /// How many it would.
    pub max_keys: usize,
    /// Breakers that are open or half-open by their rules.
    pub shut: usize,
    /// How often one would have opened, but [too many](KeyedCircuitBreakerBuilder::max_open_share) were shut.
    pub spared: u64,
    /// How many keys gave way to others at the bound.
    pub evicted: u64,
    /// How often a new key found no room.
    pub refused: u64,
}

/// Sets up a [`KeyedCircuitBreaker`].
pub struct KeyedCircuitBreakerBuilder<K, S = RandomState> {
    each: CircuitBreakerBuilder,
    map: keyed::Settings,
    max_open_share: f64,
    idle_timeout: Duration,
    hasher: S,
    key: std::marker::PhantomData<fn(K)>,
}

impl<K> KeyedCircuitBreaker<K> {
    /// Breakers to be set up, each as `each` says.
    #[must_use]
    pub fn builder(each: CircuitBreakerBuilder) -> KeyedCircuitBreakerBuilder<K> {
        KeyedCircuitBreakerBuilder {
            each,
            map: keyed::Settings::default(),
            max_open_share: 1.0,
            idle_timeout: Duration::from_secs(600),
            hasher: RandomState::new(),
            key: std::marker::PhantomData,
        }
    }
}

impl<K, S> KeyedCircuitBreakerBuilder<K, S> {
    /// Knows at most so many keys, 1 to 1,073,741,824; a hard bound. Default: 100,000.
    #[must_use]
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.map.max_keys = keys;
        self
    }

    /// What becomes of a new key when there are as many, and none is worth nothing. Default: the least
    /// recently used breaker gives way that is closed, or has [long](Self::idle_timeout) been shut in vain.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.map.when_full = when_full;
        self
    }

    /// At most this share of the keys may be shut (open or half-open by their rules) at once, above 0 and at
    /// most 1; one in any case. A breaker that would open beyond that stays closed, goes on counting, and is
    /// counted as [spared](KeyedCircuitBreakerSnapshot::spared): if most hosts fail at once, what is wrong is likely on this
    /// side. Default: 1, no such limit; Envoy's is 10 %.
    #[must_use]
    pub fn max_open_share(mut self, share: f64) -> Self {
        self.max_open_share = share;
        self
    }

    /// A closed breaker that nobody asked for during that long is forgotten, to make room. Counted from when it
    /// was first found idle, so never earlier, and as late as new keys come. One that is shut may give way
    /// that long after it would have taken a probe. Default: 10 minutes.
    #[must_use]
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = idle;
        self
    }

    /// Hashes keys by `hasher`. Default: `std`'s, which strangers cannot make collide.
    #[must_use]
    pub fn hasher<H>(self, hasher: H) -> KeyedCircuitBreakerBuilder<K, H> {
        let Self { each, map, max_open_share, idle_timeout, .. } = self;
        KeyedCircuitBreakerBuilder {
            each,
            map,
            max_open_share,
            idle_timeout,
            hasher,
            key: std::marker::PhantomData,
        }
    }
}

impl<K, S> KeyedCircuitBreakerBuilder<K, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Makes the family, without members.
    ///
    /// # Errors
    /// Names the first setting that is out of range, its value, and what is accepted.
    pub fn build(self) -> Result<KeyedCircuitBreaker<K, S>, ConfigError> {
        self.map.validate()?;
        if !(self.max_open_share > 0.0 && self.max_open_share <= 1.0) {
            return Err(ConfigError::new(
                "max_open_share",
                self.max_open_share,
                "a share above 0 and at most 1",
            ));
        }
        let settings = self.each.settings()?;
        self.each.window(true)?;
        let mut laws = self.each.laws(&settings);
        laws.places = Some(Places::new(self.max_open_share));
        let family = Family { idle_timeout: self.idle_timeout, ..self.each.clone().family() };
        let kept = PlainArc::new(Kept {
            map: Map::new(&self.map, self.hasher),
            settings,
            laws: Arc::new(laws),
            builder: self.each,
            family: PlainArc::new(family),
        });
        let follower: PlainArc<dyn Follow> = kept.clone();
        kept.family.control.enlist(&follower);
        Ok(KeyedCircuitBreaker(kept))
    }
}

impl<K, S> KeyedCircuitBreaker<K, S>
where
    K: Eq + Hash + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The breaker of `key`, a new one if it is not known. It is not forgotten while you have it.
    ///
    /// Clones the key only if it is new.
    ///
    /// # Errors
    /// There is no room for another key, and no breaker can be spared.
    pub fn breaker<Q>(&self, key: &Q) -> Result<CircuitBreaker, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let see = |member: &mut Member| {
            member.idle_since.set(Member::IN_USE);
            member.breaker.clone()
        };
        if let Some(shared) = self.0.map.get(key, see) {
            return Ok(CircuitBreaker::from_shared(shared));
        }
        let now = self.0.family.clock.now();
        let mode = self.0.family.control.mode();
        let mut new = false;
        let make = || {
            new = true;
            (key.to_owned(), self.0.member(key, mode))
        };
        let shared = self.0.map.get_or_insert(key, || now, make, see);
        let shared =
            shared.map_err(|keyed::Full| Rejection::new(Reason::Exhausted, self.0.family.name))?;
        if new && self.0.family.control.mode() != mode {
            // It changed before this one was in the map, where a change of mode would have found it.
            self.0.family.control.apply(&*shared);
        }
        Ok(CircuitBreaker::from_shared(shared))
    }

    /// As [`CircuitBreaker::call`], by the breaker of `key`.
    ///
    /// # Errors
    /// That of `op`, or a rejection.
    pub async fn call<Q, Op, Fut, T, E>(&self, key: &Q, op: Op) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.breaker(key)?.call(op).await
    }

    /// As [`CircuitBreaker::call_blocking`], by the breaker of `key`.
    ///
    /// # Errors
    /// That of `op`, or a rejection.
    pub fn call_blocking<Q, T, E>(
        &self,
        key: &Q,
        op: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.breaker(key)?.call_blocking(op)
    }

    /// Tells `listener` of each transition of any of them from here on, with its key, until the subscription
    /// is dropped.
    pub fn on_transition(
        &self,
        listener: impl Fn(&K, &Transition) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.family.listeners.subscribe(move |notice| {
            if let Notice::Moved(transition, Some(key)) = notice
                && let Some(key) = key.downcast_ref()
            {
                listener(key, transition);
            }
        })
    }

    /// As [`CircuitBreaker::observe`], of any of them. A flat record does not name the key: keys are
    /// without bound, and labels should not be.
    pub fn observe(&self, observer: impl Observer) -> Subscription {
        self.0.family.listeners.subscribe(super::tell::to_observer(self.0.family.name, observer))
    }

    /// The keys that are known, with their breakers: one shard's worth at a time, so not at one moment.
    ///
    /// While you keep them none of these can be forgotten, and at the bound no new key comes in: take what you
    /// want to know from each, and let go.
    #[must_use]
    pub fn breakers(&self) -> Vec<(PlainArc<K>, CircuitBreaker)> {
        let key = |shared: &Shared| shared.subject.clone().and_then(|key| key.downcast().ok());
        let with_key =
            |shared: PlainArc<Shared>| Some((key(&shared)?, CircuitBreaker::from_shared(shared)));
        self.0.all().into_iter().filter_map(with_key).collect()
    }

    /// All windows together, and how many breakers are in which state: looks at every key.
    #[must_use]
    pub fn totals(&self) -> KeyedCircuitBreakerTotals {
        let now = self.0.family.clock.now();
        let mut sum = KeyedCircuitBreakerTotals::default();
        self.0.map.for_each(|member| {
            let look = member.breaker.core.look(now);
            sum.counts.total += look.counts.total;
            sum.counts.failed += look.counts.failed;
            sum.counts.slow += look.counts.slow;
            sum.rejected += look.rejected;
            match look.state {
                CircuitBreakerState::Closed => sum.closed += 1,
                CircuitBreakerState::Open => sum.open += 1,
                CircuitBreakerState::HalfOpen => sum.half_open += 1,
            }
        });
        sum
    }

    /// The present figures, without a look at the keys.
    #[must_use]
    pub fn snapshot(&self) -> KeyedCircuitBreakerSnapshot {
        let Kept { map, laws, .. } = &*self.0;
        let places = laws.places.as_ref();
        KeyedCircuitBreakerSnapshot {
            keys: map.len(),
            max_keys: map.max_keys(),
            shut: places.map_or(0, Places::shut),
            spared: places.map_or(0, Places::spared),
            evicted: map.evicted(),
            refused: map.refused(),
        }
    }

    /// Forgets `key`, whatever its state; says whether it was known. Who has its breaker keeps it, and it
    /// goes on by itself.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.map.remove(key)
    }
}

/// A family of breakers as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedCircuitBreakerTotals {
    /// What all windows hold.
    pub counts: Counts,
    /// Calls that the present breakers have rejected.
    pub rejected: u64,
    /// Closed breakers.
    pub closed: usize,
    /// Open ones.
    pub open: usize,
    /// Half-open ones.
    pub half_open: usize,
}

impl<K: Eq, S: BuildHasher> Kept<K, S> {
    fn member<Q: ToOwned<Owned = K> + ?Sized>(&self, key: &Q, mode: CircuitBreakerMode) -> Member
    where
        K: Send + Sync + 'static,
    {
        let window = self.builder.window(true).expect("was built before");
        let breaker = PlainArc::new(Shared {
            core: Core::new(window, &self.settings, mode, self.laws.clone()),
            family: self.family.clone(),
            subject: Some(PlainArc::new(key.to_owned())),
        });
        Member { breaker, idle_since: Cell::new(Member::IN_USE) }
    }
}

impl<K, S> Kept<K, S> {
    fn all(&self) -> Vec<PlainArc<Shared>> {
        let mut all = Vec::with_capacity(self.map.len());
        self.map.for_each(|member| all.push(member.breaker.clone()));
        all
    }
}

impl<K: Send + Sync, S: Send + Sync> Follow for Kept<K, S> {
    fn take_on(&self, mode: CircuitBreakerMode) {
        // Observers hear of it: not under the lock of a shard.
        for_all(self.all(), |breaker| breaker.take_on(mode));
    }
}

impl<K, S> Clone for KeyedCircuitBreaker<K, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, S> fmt::Debug for KeyedCircuitBreaker<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreaker")
            .field("name", &self.0.family.name)
            .field("keys", &self.0.map.len())
            .finish_non_exhaustive()
    }
}

impl<K, S> fmt::Debug for KeyedCircuitBreakerBuilder<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerBuilder")
            .field("each", &self.each)
            .field("map", &self.map)
            .field("max_open_share", &self.max_open_share)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}
