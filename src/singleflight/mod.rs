//! Calls with the same key that share one execution: [`Group`], on which `coalesce` and `cache` are
//! built.
//!
//! A [`Flight`] is one execution of an operation. A [`Participant`] is one call that waits for the
//! result of a flight. The module documentation of [`coalesce`](crate::coalesce) describes both.

mod flight;
mod participant;

pub(crate) use participant::Participant;

use crate::error::{Error, Reason, Rejection};
use crate::keyed::{Full, KeyState, KeyedConfig, Map, Retention};
use crate::sync::{Counter, PlainArc};
use crate::time::{Clock, Instant};
use flight::Flight;
use std::borrow::Borrow;
use std::hash::{Hash, RandomState};
use std::time::Duration;

/// The running flights by key, and the results that later calls may use.
///
/// Each flight carries a value of type `M`, its mark. The leader creates the mark, and
/// [`remove`](Self::remove) returns it. The mark of a flight of `cache` is a flag, which is set
/// when the key is removed.
pub(crate) struct Group<K, T, E, M = ()> {
    map: Map<K, Entry<T, E, M>, RandomState>,
    /// The policy name in rejections.
    pub(crate) name: &'static str,
    pub(crate) clock: Clock,
    reuse: Reuse,
    started: Counter,
    joined: Counter,
    reused: Counter,
}

/// The counters of a [`Group`] at one moment.
pub(crate) struct GroupCounts {
    pub(crate) keys: usize,
    pub(crate) started: u64,
    pub(crate) joined: u64,
    pub(crate) reused: u64,
    pub(crate) rejected: u64,
}

/// Which results are kept after their flight, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reuse {
    pub(crate) duration: Duration,
    pub(crate) errors: bool,
}

/// The result of a flight, and the instant until which later calls may use it: [`Instant::ORIGIN`]
/// if they must not use it.
struct Ending<T, E> {
    result: Result<T, Error<E>>,
    reusable_until: Instant,
}

/// A running flight, or an ended flight whose result later calls may use.
struct Entry<T, E, M> {
    flight: PlainArc<Flight<T, E>>,
    mark: M,
}

impl<T, E, M> KeyState for Entry<T, E, M> {
    type Now = Instant;

    fn retention(&self, now: Instant) -> Retention {
        match self.flight.is_reusable(now) {
            None => Retention::Required,
            Some(true) => Retention::Evictable,
            Some(false) => Retention::Disposable,
        }
    }
}

/// How a call obtains its result.
pub(crate) enum Joined<'a, K: Borrow<Q> + Eq, Q: Hash + Eq + ?Sized, T, E, M> {
    /// The call starts the operation.
    Leader(Participant<'a, K, Q, T, E, M>),
    /// The call waits for the operation that another call has started.
    Follower(Participant<'a, K, Q, T, E, M>),
    /// The call receives the result of an earlier flight.
    Reused(Result<T, Error<E>>),
}

/// The state of a key when a call looks it up.
enum Found<'a, K: Borrow<Q> + Eq, Q: Hash + Eq + ?Sized, T, E, M> {
    /// There is no flight. The call becomes the leader of a new one.
    Leader(Participant<'a, K, Q, T, E, M>),
    Running(PlainArc<Flight<T, E>>),
    Reusable(Result<T, Error<E>>),
}

impl<K, T, E, M> Group<K, T, E, M> {
    /// Creates a group. The caller has validated `keyed`.
    pub(crate) fn new(name: &'static str, keyed: KeyedConfig, clock: Clock, reuse: Reuse) -> Self {
        Self {
            map: Map::new(keyed),
            name,
            clock,
            reuse,
            started: Counter::default(),
            joined: Counter::default(),
            reused: Counter::default(),
        }
    }

    pub(crate) fn counts(&self) -> GroupCounts {
        GroupCounts {
            keys: self.map.len(),
            started: self.started.get(),
            joined: self.joined.get(),
            reused: self.reused.get(),
            rejected: self.map.rejected(),
        }
    }
}

impl<K: Eq, T, E, M> Group<K, T, E, M> {
    /// Returns the instant until which later calls may use `result`, or [`Instant::ORIGIN`] if they
    /// must not use it.
    fn reusable_until(&self, result: &Result<T, Error<E>>) -> Instant {
        let keep = match result {
            Ok(_) => true,
            Err(Error::Operation(_)) => self.reuse.errors,
            Err(_) => false,
        };
        match keep && !self.reuse.duration.is_zero() {
            true => self.clock.now() + self.reuse.duration,
            false => Instant::ORIGIN,
        }
    }

    /// Removes the flight of `key`, running or ended, and returns its mark.
    pub(crate) fn remove<Q>(&self, key: &Q) -> Option<M>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        M: Clone,
    {
        let found = |entry: &mut Entry<T, E, M>| {
            let flight = PlainArc::clone(&entry.flight);
            (flight, entry.mark.clone())
        };
        let (flight, mark) = self.map.get(key, found)?;
        self.remove_flight(key, &flight).then_some(mark)
    }

    /// Removes `flight` from the map, unless another one has taken its place.
    fn remove_flight<Q>(&self, key: &Q, flight: &PlainArc<Flight<T, E>>) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.map.remove_if(key, |entry| PlainArc::ptr_eq(&entry.flight, flight))
    }
}

impl<K: Eq, T: Clone, E: Clone, M> Group<K, T, E, M> {
    /// Joins the flight of `key`, or starts one with a mark from `mark`.
    ///
    /// # Errors
    ///
    /// Returns a [`Rejection`] if there is no room for another key.
    pub(crate) fn join<'a, Q>(
        &'a self,
        key: &'a Q,
        mark: impl Fn() -> M,
    ) -> Result<Joined<'a, K, Q, T, E, M>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Ok(match self.find(key, mark, Flight::join)? {
            Found::Leader(leader) => Joined::Leader(leader),
            Found::Running(flight) => {
                self.joined.add(1);
                Joined::Follower(Participant::follower(self, key, flight))
            }
            Found::Reusable(result) => {
                self.reused.add(1);
                Joined::Reused(result)
            }
        })
    }

    /// Starts a flight of `key` with a mark from `mark`. Returns `None` if one is running, if its
    /// result may be used again, or if there is no room for another key.
    pub(crate) fn lead<'a, Q>(
        &'a self,
        key: &'a Q,
        mark: impl Fn() -> M,
    ) -> Option<Participant<'a, K, Q, T, E, M>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.find(key, mark, Flight::is_running).ok()? {
            Found::Leader(leader) => Some(leader),
            Found::Running(_) | Found::Reusable(_) => None,
        }
    }

    /// Finds the flight of `key`, or inserts one. `enter` returns `false` if the flight has ended
    /// or was abandoned.
    fn find<'a, Q>(
        &'a self,
        key: &'a Q,
        mark: impl Fn() -> M,
        enter: impl Fn(&Flight<T, E>) -> bool,
    ) -> Result<Found<'a, K, Q, T, E, M>, Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        loop {
            // If the insertion panics, the drop of `leader` ends its flight.
            let mut leader = None;
            let make = || {
                let owned = key.to_owned();
                let flight = PlainArc::new(Flight::new());
                leader = Some(Participant::leader(self, key, PlainArc::clone(&flight)));
                (owned, Entry { flight, mark: mark() })
            };
            let find = |entry: &mut Entry<T, E, M>| PlainArc::clone(&entry.flight);
            let found = self.map.get_or_insert(key, || self.clock.now(), make, find);
            let flight = found.map_err(|Full| Rejection::new(Reason::Exhausted, self.name))?;
            if let Some(leader) = leader
                && leader.is_of(&flight)
            {
                self.started.add(1);
                return Ok(Found::Leader(leader));
            }
            if let Some(ending) = flight.ending() {
                if ending.reusable_until != Instant::ORIGIN
                    && self.clock.now() < ending.reusable_until
                {
                    return Ok(Found::Reusable(ending.result.clone()));
                }
            } else if enter(&flight) {
                return Ok(Found::Running(flight));
            }
            // The flight has ended or was abandoned. Another thread may be about to remove it.
            self.remove_flight(key, &flight);
        }
    }
}
