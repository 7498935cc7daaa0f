//! Permits in limited number.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::blocking::{block_on, block_on_for};
use super::list::{Key, List};
use super::wakers::Wakers;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
/// # Changing the limit
///
/// [`resize`](Self::resize) takes effect at once. Growth serves waiters. Shrinking below what is in use
/// revokes nothing: nothing is granted until enough was given back.
///
/// # Examples
///
/// ```
/// use mainstay::wait::Semaphore;
///
/// let connections = Semaphore::new(2);
/// let first = connections.try_acquire(1).unwrap();
/// let second = connections.acquire_blocking(1);
/// assert!(connections.try_acquire(1).is_none());
///
/// drop(first);
/// assert_eq!(connections.available(), 1);
/// # drop(second);
/// ```
pub struct Semaphore {
    /// `available << 1 | WAITING`, where `available` is signed: negative after a shrink below what is
    /// in use. WAITING is up whenever `waiters` has a member, and moves under its lock only.
    state: AtomicU64,
    limit: AtomicU32,
    order: Order,
    waiters: Mutex<List<Waiter>>,
}

struct Waiter {
    weight: u32,
    waker: Waker,
}

const WAITING: u64 = 1;

const fn available(state: u64) -> i64 {
    state.cast_signed() >> 1
}

/// What to add to the state so that `permits` more, or fewer, are available.
const fn delta(permits: i64) -> u64 {
    (permits << 1).cast_unsigned()
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
            waiters: Mutex::new(List::new()),
        }
    }

    /// A permit of `weight`, if it is available at this moment and nobody waits.
    #[inline]
    pub fn try_acquire(&self, weight: u32) -> Option<Permit<'_>> {
        self.take(weight).then(|| self.permit(weight))
    }

    /// Waits for a permit of `weight`. A weight above the limit waits until the limit has grown.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue, and gives back a permit that was granted meanwhile. The
    /// place in the queue is lost.
    #[inline]
    pub fn acquire(&self, weight: u32) -> Acquire<'_> {
        Acquire { semaphore: self, weight, stage: Stage::New }
    }

    /// [`acquire`](Self::acquire) for a thread: parks until the permit is granted.
    #[inline]
    pub fn acquire_blocking(&self, weight: u32) -> Permit<'_> {
        self.try_acquire(weight).unwrap_or_else(|| block_on(self.acquire(weight)))
    }

    /// [`acquire_blocking`](Self::acquire_blocking), but for no longer than `patience`.
    pub fn acquire_timeout(&self, weight: u32, patience: Duration) -> Option<Permit<'_>> {
        self.try_acquire(weight).or_else(|| block_on_for(&mut self.acquire(weight), patience))
    }

    /// Sets the number of permits to `limit`.
    pub fn resize(&self, limit: u32) {
        let waiters = self.waiters.lock();
        // Ordering: relaxed; written under the lock only, and read for display otherwise.
        let old = self.limit.load(Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
        // Ordering: as in `give_back`.
        let state = self.state.fetch_add(delta(i64::from(limit) - i64::from(old)), Ordering::Release);
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
    fn take(&self, weight: u32) -> bool {
        // Ordering: relaxed, for the exchange checks it.
        let mut state = self.state.load(Ordering::Relaxed);
        while state & WAITING == 0 && available(state) >= i64::from(weight) {
            match self.exchange(state, state.wrapping_sub(delta(i64::from(weight)))) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
        false
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
        self.state.compare_exchange_weak(state, new, Ordering::Acquire, Ordering::Relaxed).map(|_| ())
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
                wakers.take(next.waker);
            }
            self.lower_if_empty(&waiters);
            drop(waiters);
            if !wakers.is_full() {
                return wakers.finish();
            }
            wakers.wake();
        }
    }

    /// Takes permits for the waiter whose turn it is; under the lock.
    fn take_for_waiter(&self, weight: u32) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while available(state) >= i64::from(weight) {
            match self.exchange(state, state.wrapping_sub(delta(i64::from(weight)))) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    fn lower_if_empty(&self, waiters: &List<Waiter>) {
        if waiters.is_empty() {
            // Ordering: relaxed. It hands nothing over, and later acquirers still synchronise with the
            // releases before it: a read-modify-write does not break a release sequence.
            self.state.fetch_and(!WAITING, Ordering::Relaxed);
        }
    }

    /// Enters the queue, unless the permits can be had after all.
    #[cold]
    fn enter(&self, weight: u32, waker: &Waker) -> Option<Key> {
        // Cloning and dropping a waker runs the code of others: outside the lock.
        let waiter = Waiter { weight, waker: waker.clone() };
        let mut waiters = self.waiters.lock();
        let next = waiters.is_empty() || self.order == Order::Lifo;
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let served = next && available(state) >= i64::from(weight);
            let new = if served { state.wrapping_sub(delta(i64::from(weight))) } else { state | WAITING };
            match self.exchange(state, new) {
                Ok(()) if served => return None,
                Ok(()) => break,
                Err(now) => state = now,
            }
        }
        Some(match self.order {
            Order::Fifo => waiters.push_back(waiter),
            Order::Lifo => waiters.push_front(waiter),
        })
    }

    /// Whether the waiter was served; if not, `waker` is the one to call.
    fn look(&self, key: Key, waker: &Waker) -> bool {
        // As in `enter`; released before the old waker is dropped.
        let mut waker = waker.clone();
        let mut waiters = self.waiters.lock();
        let Some(waiter) = waiters.get_mut(key) else { return true };
        std::mem::swap(&mut waiter.waker, &mut waker);
        false
    }

    /// Leaves the queue; false if the permits had been granted.
    #[cold]
    fn withdraw(&self, key: Key) -> bool {
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
            .field("order", &self.order)
            .finish()
    }
}

/// The right to go on, given back when dropped.
#[must_use = "a permit is given back when dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    weight: u32,
}

impl Permit<'_> {
    /// How much of the limit it takes up.
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.give_back(self.weight);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("weight", &self.weight).finish_non_exhaustive()
    }
}

/// The future of [`Semaphore::acquire`].
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    weight: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    New,
    /// In the queue, or served without knowing it yet.
    Waiting(Key),
    Done,
}

impl<'a> Future for Acquire<'a> {
    type Output = Permit<'a>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit<'a>> {
        let semaphore = self.semaphore;
        let served = match self.stage {
            Stage::New if semaphore.take(self.weight) => true,
            Stage::New => match semaphore.enter(self.weight, cx.waker()) {
                Some(key) => {
                    self.stage = Stage::Waiting(key);
                    false
                }
                None => true,
            },
            Stage::Waiting(key) => semaphore.look(key, cx.waker()),
            Stage::Done => panic!("`Acquire` polled after it was ready"),
        };
        if !served {
            return Poll::Pending;
        }
        self.stage = Stage::Done;
        Poll::Ready(semaphore.permit(self.weight))
    }
}

impl Drop for Acquire<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage
            && !self.semaphore.withdraw(key)
        {
            self.semaphore.give_back(self.weight);
        }
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("weight", &self.weight)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
