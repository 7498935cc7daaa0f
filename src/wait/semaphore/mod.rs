//! Permits in limited number.

mod future;
mod permit;

use std::fmt;
use std::task::Waker;
use std::time::Duration;

use self::future::Turn;
pub use self::future::{Acquire, AcquireOwned};
pub use self::permit::{AcquireError, Closed, OwnedPermit, Permit};
use super::waiter_list::{WaiterKey, WaiterList};
use crate::sync::SpinWait;
use crate::sync::Wakers;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, PlainArc};
use crate::sync::{block_on, block_on_timeout};

/// Who among the waiting is served next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Order {
    /// First come, first served.
    #[default]
    Fifo,
    /// Last come, first served. Under overload those who waited longest have most likely been given up
    /// by their callers: serving the newest keeps some answers timely at the price of letting the
    /// oldest starve.
    Lifo,
}

/// A fair, weighted semaphore whose limit can change while it is in use.
///
/// A permit may weigh more than one, and is given back when dropped. Taking and giving back are one
/// atomic read-modify-write each while nobody waits; nothing is allocated.
///
/// # Fairness
///
/// Waiters are served strictly in [`Order`], and nobody overtakes them: while anybody waits,
/// [`try_acquire`](Self::try_acquire) refuses even if it could be served. A heavy waiter whose turn it
/// is holds up lighter ones behind it, or it would starve.
///
/// That has its price. A permit given back while somebody waits stays out of use until that waiter runs:
/// if it is a parked thread, for as long as it takes to wake it, thousands of times longer than to take a
/// permit that is free. Where more threads than cores pass the same few permits around, the queue then
/// never empties, and every single hand-over takes that long. So a thread in
/// [`acquire_blocking`](Self::acquire_blocking) tries for some microseconds before it gets in line: it
/// overtakes nobody, but among those who are not in line yet there is no order.
///
/// # Changing the limit
///
/// [`resize`](Self::resize) takes effect at once. Growth serves waiters. Shrinking below what is in use
/// revokes nothing: nothing is granted until enough was given back.
///
/// # Closing
///
/// After [`close`](Self::close) nothing is granted any more: those who wait, and those who come later,
/// are told so. Permits in use stay valid, and are given back as ever.
///
/// # Examples
///
/// ```
/// use mainstay::wait::{AcquireError, Closed, Semaphore};
///
/// let connections = Semaphore::new(2);
/// let first = connections.try_acquire(1).unwrap();
/// let second = connections.acquire_blocking(1).unwrap();
/// assert_eq!(connections.try_acquire(1).unwrap_err(), AcquireError::Exhausted);
///
/// drop(first);
/// assert_eq!(connections.available(), 1);
///
/// connections.close();
/// assert_eq!(connections.acquire_blocking(1).unwrap_err(), Closed);
/// # drop(second);
/// ```
pub struct Semaphore {
    /// `available << 2 | CLOSED | WAITING`, where `available` is signed: negative after a shrink below
    /// what is in use. WAITING is up whenever `waiters` has a member, and moves under its lock only.
    state: AtomicU64,
    limit: AtomicU32,
    order: Order,
    waiters: Mutex<WaiterList<Waiter>>,
}

struct Waiter {
    weight: u32,
    /// `None` once it was told of the end.
    waker: Option<Waker>,
}

/// What came of getting in line, or of looking whether the turn has come.
enum Entered {
    Served,
    Closed,
    Waiting(WaiterKey),
}

const WAITING: u64 = 0b01;
const CLOSED: u64 = 0b10;

const fn available(state: u64) -> i64 {
    state.cast_signed() >> 2
}

/// What to add to the state so that `permits` more, or fewer, are available.
const fn delta(permits: i64) -> u64 {
    (permits << 2).cast_unsigned()
}

impl Semaphore {
    /// A semaphore with `limit` permits that serves waiters first come, first served.
    ///
    /// A limit of 0 grants nothing until it is raised.
    pub fn new(limit: u32) -> Self {
        Self::with_order(limit, Order::Fifo)
    }

    /// A semaphore with `limit` permits that serves waiters in `order`.
    pub fn with_order(limit: u32, order: Order) -> Self {
        Self {
            state: AtomicU64::new(delta(i64::from(limit))),
            limit: AtomicU32::new(limit),
            order,
            waiters: Mutex::new(WaiterList::new()),
        }
    }

    /// A permit of `weight`, if it is available at this moment and nobody waits.
    ///
    /// # Errors
    ///
    /// Says why not.
    #[inline]
    pub fn try_acquire(&self, weight: u32) -> Result<Permit<'_>, AcquireError> {
        self.take(weight).map(|()| self.permit(weight))
    }

    /// Waits for a permit of `weight`. A weight above the limit waits until the limit has grown. The
    /// future fails if the semaphore is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue, and gives back a permit that was granted meanwhile. The
    /// place in the queue is lost.
    #[inline]
    pub fn acquire(&self, weight: u32) -> Acquire<'_> {
        Acquire { semaphore: self, turn: Turn::new(weight) }
    }

    /// [`acquire`](Self::acquire) for a thread: tries for some microseconds, then parks until the permit
    /// is granted.
    ///
    /// # Errors
    ///
    /// If the semaphore is closed.
    #[inline]
    pub fn acquire_blocking(&self, weight: u32) -> Result<Permit<'_>, Closed> {
        match self.take(weight) {
            Ok(()) => Ok(self.permit(weight)),
            Err(AcquireError::Exhausted) => self.spin_or_park(weight),
            Err(AcquireError::Closed) => Err(Closed),
        }
    }

    /// [`acquire_blocking`](Self::acquire_blocking), but for no longer than `patience`. Gets in line at
    /// once.
    ///
    /// # Errors
    ///
    /// Says whether there was no permit by the end, or the semaphore is closed.
    pub fn acquire_timeout(
        &self,
        weight: u32,
        patience: Duration,
    ) -> Result<Permit<'_>, AcquireError> {
        match self.take(weight) {
            Err(AcquireError::Exhausted) => {
                match block_on_timeout(&mut self.acquire(weight), patience) {
                    Some(acquired) => acquired.map_err(AcquireError::from),
                    None => Err(AcquireError::Exhausted),
                }
            }
            taken => taken.map(|()| self.permit(weight)),
        }
    }

    /// [`try_acquire`](Self::try_acquire) for a permit that keeps the semaphore alive.
    ///
    /// # Errors
    ///
    /// Says why not.
    #[inline]
    pub fn try_acquire_owned(
        self: &PlainArc<Self>,
        weight: u32,
    ) -> Result<OwnedPermit, AcquireError> {
        self.take(weight).map(|()| OwnedPermit { semaphore: PlainArc::clone(self), weight })
    }

    /// [`acquire`](Self::acquire) for a permit that keeps the semaphore alive, as the future does: it can
    /// be spawned.
    ///
    /// # Cancel safety
    ///
    /// That of [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_owned(self: &PlainArc<Self>, weight: u32) -> AcquireOwned {
        AcquireOwned { semaphore: PlainArc::clone(self), turn: Turn::new(weight) }
    }

    /// Ends granting, for ever; true for the call that did it. Wakes all who wait.
    pub fn close(&self) -> bool {
        // Ordering: release, with the acquire in `is_closed`.
        let state = self.state.fetch_or(CLOSED, Ordering::Release);
        // Whoever got in line did so before, and raised WAITING by a step of the same word; if it is still
        // at it, the lock waits for it.
        let closed = state & CLOSED == 0;
        if closed && state & WAITING != 0 {
            self.tell_the_waiting();
        }
        closed
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Sets the number of permits to `limit`.
    pub fn resize(&self, limit: u32) {
        let waiters = self.waiters.lock();
        // Ordering: relaxed; written under the lock only, and read for display otherwise.
        let old = self.limit.load(Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        // Ordering: as in `give_back`.
        let state =
            self.state.fetch_add(delta(i64::from(limit) - i64::from(old)), Ordering::Release);
        drop(waiters);
        if state & WAITING != 0 {
            self.serve();
        }
    }

    /// The number of permits there are, in use or not.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// The number of permits not in use; 0 after a shrink below what is in use.
    pub fn available(&self) -> u32 {
        u32::try_from(available(self.state.load(Ordering::Relaxed)).max(0)).unwrap_or(u32::MAX)
    }

    /// Whether anybody waits.
    pub fn is_contended(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WAITING != 0
    }

    #[inline]
    fn permit(&self, weight: u32) -> Permit<'_> {
        Permit { semaphore: self, weight }
    }

    /// Takes permits past nobody.
    #[inline]
    fn take(&self, weight: u32) -> Result<(), AcquireError> {
        // Ordering: relaxed, for the exchange checks it.
        let mut state = self.state.load(Ordering::Relaxed);
        while state & (WAITING | CLOSED) == 0 && available(state) >= i64::from(weight) {
            match self.exchange(state, state.wrapping_sub(delta(i64::from(weight)))) {
                Ok(()) => return Ok(()),
                Err(now) => state = now,
            }
        }
        Err(if state & CLOSED == 0 { AcquireError::Exhausted } else { AcquireError::Closed })
    }

    #[cold]
    #[inline(never)]
    fn spin_or_park(&self, weight: u32) -> Result<Permit<'_>, Closed> {
        let mut spin = SpinWait::new();
        while spin.spin() {
            match self.take(weight) {
                Ok(()) => return Ok(self.permit(weight)),
                Err(AcquireError::Exhausted) => {}
                Err(AcquireError::Closed) => return Err(Closed),
            }
        }
        block_on(self.acquire(weight))
    }

    #[inline]
    fn give_back(&self, weight: u32) {
        // Ordering: release, so that what the holder did happened before what the next one does, who
        // acquires in `exchange`. (Every later change is a read-modify-write: it carries this on.)
        //
        // No wakeup is lost: flag and permits share a word. Either this comes before the flag was
        // raised, and then whoever raised it saw these permits; or it comes after, and sees the flag.
        let state = self.state.fetch_add(delta(i64::from(weight)), Ordering::Release);
        if state & WAITING != 0 {
            self.serve();
        }
    }

    #[inline]
    fn exchange(&self, state: u64, new: u64) -> Result<(), u64> {
        // Ordering: acquire, with the release of whoever gave the permits back.
        self.state
            .compare_exchange_weak(state, new, Ordering::Acquire, Ordering::Relaxed)
            .map(|_| ())
    }

    /// Grants what is available to those whose turn it is.
    #[cold]
    fn serve(&self) {
        let mut wakers = Wakers::new();
        loop {
            let mut waiters = self.waiters.lock();
            while !wakers.is_full()
                && let Some(next) = waiters.front()
                && self.take_for_waiter(next.weight)
                && let Some(next) = waiters.pop_front()
            {
                // Told of the end only after CLOSED, and then nobody is served.
                next.waker.into_iter().for_each(|waker| wakers.push(waker));
            }
            self.lower_if_empty(&waiters);
            drop(waiters);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake_all();
        }
    }

    /// Takes permits for the waiter whose turn it is; under the lock.
    fn take_for_waiter(&self, weight: u32) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & CLOSED == 0 && available(state) >= i64::from(weight) {
            match self.exchange(state, state.wrapping_sub(delta(i64::from(weight)))) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    fn lower_if_empty(&self, waiters: &WaiterList<Waiter>) {
        if waiters.is_empty() {
            // Ordering: relaxed. It hands nothing over, and later acquirers still synchronise with the
            // releases before it: a read-modify-write does not break a release sequence.
            self.state.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }

    /// Wakes all who wait, to find out about the end. They leave by themselves: who is not in the queue
    /// any more was served.
    #[cold]
    fn tell_the_waiting(&self) {
        let mut wakers = Wakers::new();
        let mut place = 0;
        loop {
            // Nobody has come since CLOSED, so that the places are the same at every turn.
            let mut waiters = self.waiters.lock();
            while !wakers.is_full()
                && let Some(waiter) = waiters.slot(place)
            {
                place += 1;
                waiter
                    .and_then(|waiter| waiter.waker.take())
                    .into_iter()
                    .for_each(|waker| wakers.push(waker));
            }
            drop(waiters);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake_all();
        }
    }

    /// Enters the queue, unless the permits can be had after all.
    #[cold]
    fn enter(&self, weight: u32, waker: &Waker) -> Entered {
        // Cloning and dropping a waker runs the code of others: outside the lock.
        let waiter = Waiter { weight, waker: Some(waker.clone()) };
        let mut waiters = self.waiters.lock();
        let next = waiters.is_empty() || self.order == Order::Lifo;
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CLOSED != 0 {
                return Entered::Closed;
            }
            let served = next && available(state) >= i64::from(weight);
            let new =
                if served { state.wrapping_sub(delta(i64::from(weight))) } else { state | WAITING };
            match self.exchange(state, new) {
                Ok(()) if served => return Entered::Served,
                Ok(()) => break,
                Err(now) => state = now,
            }
        }
        Entered::Waiting(match self.order {
            Order::Fifo => waiters.push_back(waiter),
            Order::Lifo => waiters.push_front(waiter),
        })
    }

    /// What has become of a waiter; if it goes on waiting, `waker` is the one to call.
    fn look(&self, key: WaiterKey, waker: &Waker) -> Entered {
        // As in `enter`; released before the old waker is dropped.
        let mut waker = Some(waker.clone());
        let mut waiters = self.waiters.lock();
        let Some(waiter) = waiters.get_mut(key) else { return Entered::Served };
        // Ordering: relaxed. If this comes too early to see it, then whoever closes has yet to take the
        // lock, and will find the new waker.
        if self.state.load(Ordering::Relaxed) & CLOSED == 0 {
            std::mem::swap(&mut waiter.waker, &mut waker);
            return Entered::Waiting(key);
        }
        let gone = waiters.remove(key);
        self.lower_if_empty(&waiters);
        drop(waiters);
        drop(gone);
        Entered::Closed
    }

    /// Leaves the queue; false if the permits had been granted.
    #[cold]
    fn withdraw(&self, key: WaiterKey) -> bool {
        let mut waiters = self.waiters.lock();
        let waiter = waiters.remove(key);
        self.lower_if_empty(&waiters);
        let others = !waiters.is_empty();
        drop(waiters);
        if waiter.is_some() && others {
            // A lighter one may have stood behind.
            self.serve();
        }
        waiter.is_some()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("limit", &self.limit())
            .field("available", &self.available())
            .field("contended", &self.is_contended())
            .field("closed", &self.is_closed())
            .field("order", &self.order)
            .finish()
    }
}
