//! The acquisition of permits: an attempt, then a wait in the queue until a time limit.

use super::caller_queue::{CallerQueue, WaiterStatus};
use super::rules::WaitTimes;
use crate::error::{Reason, Rejection};
use crate::policy;
use crate::sync::thread::Parker;
use crate::time::{Clock, Expiry, Instant};
use crate::wait::WaiterKey;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

/// A limit whose permits are granted immediately or after a wait.
pub(in crate::concurrency) trait Limit {
    fn clock(&self) -> &Clock;

    /// Takes permits if they are free and no waiter comes first. Otherwise returns the reason.
    fn take(&self, cost: u32) -> Result<(), Reason>;

    /// Returns how long a caller waits by default, or `None` if there is no queue.
    fn max_wait(&self) -> Option<Duration>;

    /// Takes the permits if that is possible by now, or enters the queue. Returns a reason if the
    /// caller must be rejected.
    fn enter(&self, cost: u32, times: WaitTimes) -> Result<Entry, Reason>;

    /// Runs `f` under the lock of the queue. `f` must not run user code.
    fn with_queue<R>(&self, f: impl FnOnce(&mut CallerQueue) -> R) -> R;

    /// Grants free permits to the waiters that are next at `now`.
    fn serve(&self, now: Instant);

    /// Removes a waiter, unless it was granted permits, and returns its status. If it was still
    /// waiting, serves the remaining waiters.
    fn leave(&self, key: WaiterKey) -> WaiterStatus;

    /// Releases the permits of a call that did not run.
    fn cancel(&self, granted: Granted);

    /// Creates a rejection, counts it and reports it to the observer.
    fn reject(&self, reason: Reason) -> Rejection;
}

/// A handle to a limit, borrowed or owned.
pub(in crate::concurrency) trait Handle {
    type Limit: Limit;

    fn limit(&self) -> &Self::Limit;
}

impl<L: Limit> Handle for &L {
    type Limit = L;

    #[inline]
    fn limit(&self) -> &L {
        self
    }
}

/// The result of entering a queue.
pub(in crate::concurrency) enum Entry {
    /// The permits have become free since the caller tried to take them, and were taken.
    Granted,
    /// In the queue. The caller must serve the queue if `is_next`.
    Queued { key: WaiterKey, is_next: bool },
}

/// The permits that a caller holds: their number, and the slot of the caller in the queue if it
/// waited for them.
///
/// One word, so that a permit, which also holds a reference, is passed in two registers.
#[derive(Clone, Copy)]
pub(in crate::concurrency) struct Granted(u64);

impl Granted {
    #[inline]
    pub(in crate::concurrency) const fn immediately(cost: u32) -> Self {
        Self(cost as u64)
    }

    fn to_waiter(cost: u32, key: WaiterKey) -> Self {
        Self((u64::from(key.slot()) + 1) << 32 | u64::from(cost))
    }

    #[inline]
    pub(in crate::concurrency) const fn cost(self) -> u32 {
        self.0 as u32
    }

    /// Returns the slot of the waiter in the queue, or `None` if the caller did not wait.
    #[inline]
    pub(in crate::concurrency) const fn waiter(self) -> Option<u32> {
        ((self.0 >> 32) as u32).checked_sub(1)
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Granted")
            .field("cost", &self.cost())
            .field("waiter", &self.waiter())
            .finish()
    }
}

/// The permits that a caller requests, and the limits on its wait.
#[derive(Clone, Copy, Debug)]
pub(in crate::concurrency) struct Request {
    cost: u32,
    wait: WaitLimit,
}

#[derive(Clone, Copy, Debug)]
struct WaitLimit {
    /// `None`: the default of the limit.
    max_wait: Option<Duration>,
    /// When the whole call must be complete. `FAR_FUTURE` if there is no deadline.
    deadline: Instant,
    /// The time of the request. `ORIGIN` if there is no deadline: the clock is not read then.
    now: Instant,
}

impl Request {
    #[inline]
    pub(in crate::concurrency) const fn new(cost: u32, max_wait: Option<Duration>) -> Self {
        Self { cost, wait: WaitLimit { max_wait, ..WaitLimit::NONE } }
    }

    /// Creates the request of a call with the context `cx`. The clock is read only if the call has
    /// a deadline and no outer policy has read the same clock.
    #[inline]
    pub(in crate::concurrency) fn of(
        cost: u32,
        max_wait: Option<Duration>,
        cx: policy::Context,
        clock: &Clock,
    ) -> Self {
        if cx.deadline().instant().is_none() {
            return Self::new(cost, max_wait);
        }
        let cx = cx.on(clock);
        let deadline = cx.deadline().instant().unwrap_or(Instant::FAR_FUTURE);
        Self { cost, wait: WaitLimit { max_wait, deadline, now: cx.now() } }
    }

    /// Takes the permits if they are free and the deadline has not passed.
    #[inline]
    pub(in crate::concurrency) fn take(&self, limit: &impl Limit) -> Result<Granted, Reason> {
        self.wait.take(self.cost, limit)
    }
}

impl WaitLimit {
    const NONE: Self = Self { max_wait: None, deadline: Instant::FAR_FUTURE, now: Instant::ORIGIN };

    #[inline]
    fn take(&self, cost: u32, limit: &impl Limit) -> Result<Granted, Reason> {
        if self.now >= self.deadline {
            return Err(Reason::QueueTimeout);
        }
        limit.take(cost)?;
        Ok(Granted::immediately(cost))
    }

    /// Returns the times of a wait that starts now. `max_wait` is the default of the limit.
    fn start(&self, max_wait: Duration, clock: &Clock) -> WaitTimes {
        let since = match self.deadline {
            Instant::FAR_FUTURE => clock.now(),
            _ => self.now,
        };
        let give_up = self.deadline.min(since + self.max_wait.unwrap_or(max_wait));
        WaitTimes { since, give_up, deadline: self.deadline }
    }
}

/// One acquisition of permits.
pub(in crate::concurrency) struct Acquire<H: Handle> {
    handle: H,
    cost: u32,
    stage: Stage,
}

enum Stage {
    /// Not polled yet, without a deadline or a timeout of its own. A variant without fields, so
    /// that creating the future writes few words.
    New,
    /// Not polled yet, with a deadline or a timeout of its own.
    Limited(WaitLimit),
    /// In the queue. The status may have been decided since the last poll.
    Queued {
        key: WaiterKey,
        expiry: Expiry,
    },
    Done,
}

impl<H: Handle> Acquire<H> {
    #[inline]
    pub(in crate::concurrency) fn new(handle: H, request: Request) -> Self {
        let stage = match request.wait {
            WaitLimit { max_wait: None, deadline: Instant::FAR_FUTURE, .. } => Stage::New,
            wait => Stage::Limited(wait),
        };
        Self { handle, cost: request.cost, stage }
    }

    #[inline]
    pub(in crate::concurrency) const fn handle(&self) -> &H {
        &self.handle
    }

    /// Takes the permits, or waits for them until the time limit.
    ///
    /// # Panics
    ///
    /// Panics if it is called again after it was ready.
    #[inline]
    pub(in crate::concurrency) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted, Rejection>> {
        let taken = match &self.stage {
            Stage::New => WaitLimit::NONE.take(self.cost, self.handle.limit()),
            Stage::Limited(wait) => wait.take(self.cost, self.handle.limit()),
            _ => return self.poll_queued(cx),
        };
        match taken {
            Ok(granted) => {
                self.stage = Stage::Done;
                Poll::Ready(Ok(granted))
            }
            Err(reason) => self.enter_and_poll(reason, cx),
        }
    }

    #[cold]
    fn enter_and_poll(
        &mut self,
        reason: Reason,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted, Rejection>> {
        match self.enter(reason) {
            Some(result) => Poll::Ready(result),
            None => self.poll_queued(cx),
        }
    }

    #[cold]
    fn poll_queued(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted, Rejection>> {
        if let Some(result) = self.check(cx) {
            return Poll::Ready(result);
        }
        let Stage::Queued { expiry, .. } = &mut self.stage else { return Poll::Pending };
        match expiry.poll(self.handle.limit().clock(), cx) {
            Poll::Ready(()) => Poll::Ready(self.leave()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Enters the queue or rejects the request. `reason` is the reason why the permits could not be
    /// taken. Returns `None` if the caller has entered the queue.
    fn enter(&mut self, reason: Reason) -> Option<Result<Granted, Rejection>> {
        let wait = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Limited(wait) => wait,
            _ => WaitLimit::NONE,
        };
        let (limit, cost) = (self.handle.limit(), self.cost);
        let Some(max_wait) = limit.max_wait().filter(|_| reason == Reason::ConcurrencyLimited)
        else {
            return Some(Err(limit.reject(reason)));
        };
        let times = wait.start(max_wait, limit.clock());
        match limit.enter(cost, times) {
            Ok(Entry::Granted) => Some(Ok(Granted::immediately(cost))),
            Err(reason) => Some(Err(limit.reject(reason))),
            Ok(Entry::Queued { key, is_next }) => {
                // Set before `serve` runs user code: if that code panics, dropping the future
                // removes the waiter.
                self.stage = Stage::Queued { key, expiry: Expiry::new(times.give_up) };
                if is_next {
                    self.handle.limit().serve(times.since);
                }
                None
            }
        }
    }

    /// Ends the acquisition if the status of the waiter was decided. Otherwise sets its waker.
    fn check(&mut self, cx: &mut Context<'_>) -> Option<Result<Granted, Rejection>> {
        let Stage::Queued { key, .. } = self.stage else {
            panic!("an acquire future was polled after it was ready")
        };
        // Cloning and dropping a waker runs user code, so both happen outside the lock.
        let mut waker = None;
        loop {
            let limit = self.handle.limit();
            match limit.with_queue(|queue| queue.check(key, cx.waker(), &mut waker)) {
                Some(WaiterStatus::Waiting) => return None,
                Some(_) => {
                    // Dropped while the stage is still `Queued`: if the waker panics, the drop of
                    // the future releases the permits.
                    drop(waker.take());
                    return Some(self.leave());
                }
                None => waker = Some(cx.waker().clone()),
            }
        }
    }

    /// Ends the wait. If the permits were granted before, the acquisition succeeds.
    #[cold]
    fn leave(&mut self) -> Result<Granted, Rejection> {
        let Stage::Queued { key, .. } = self.stage else { unreachable!("only waiters leave") };
        self.stage = Stage::Done;
        let limit = self.handle.limit();
        match limit.leave(key) {
            WaiterStatus::Granted(_) => Ok(Granted::to_waiter(self.cost, key)),
            WaiterStatus::Rejected(reason) => Err(limit.reject(reason)),
            WaiterStatus::Waiting => Err(limit.reject(Reason::QueueTimeout)),
        }
    }

    /// Leaves the queue, and releases the permits if they were granted since the last poll.
    #[cold]
    fn abandon(&self, key: WaiterKey) {
        let limit = self.handle.limit();
        if let WaiterStatus::Granted(_) = limit.leave(key) {
            limit.cancel(Granted::to_waiter(self.cost, key));
        }
    }
}

impl<H: Handle> Drop for Acquire<H> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::Queued { key, .. } = self.stage {
            self.abandon(key);
        }
    }
}

/// Acquires permits, blocking the thread.
#[inline]
pub(in crate::concurrency) fn block<H: Handle>(
    handle: H,
    request: Request,
) -> Result<Granted, Rejection> {
    match request.take(handle.limit()) {
        Ok(granted) => Ok(granted),
        Err(reason) => enter_and_block(handle, request, reason),
    }
}

/// Rejects the request or enters the queue, and blocks the thread.
#[cold]
fn enter_and_block<H: Handle>(
    handle: H,
    request: Request,
    reason: Reason,
) -> Result<Granted, Rejection> {
    let mut acquire = Acquire::new(handle, request);
    if let Some(result) = acquire.enter(reason) {
        return result;
    }
    let parker = Parker::current();
    let mut cx = Context::from_waker(parker.waker());
    loop {
        if let Some(result) = acquire.check(&mut cx) {
            return result;
        }
        let give_up = match &acquire.stage {
            Stage::Queued { expiry, .. } => expiry.until(),
            _ => Instant::FAR_FUTURE,
        };
        let clock = acquire.handle.limit().clock();
        if give_up != Instant::FAR_FUTURE && clock.now() >= give_up {
            return acquire.leave();
        }
        clock.park(&parker, give_up);
    }
}
