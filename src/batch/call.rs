//! The future of one call: enters the queue and waits for the result.

use super::BatchOverflowRule;
use super::queue::{Queue, Stage};
use super::shared::{Driver, Shared, wake_all};
use super::state::Entry;
use crate::error::{Error, Reason, Rejection};
use crate::sync::MutexGuard;
use crate::time::{Deadline, Expiry, Instant};
use crate::wait::WaiterKey;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The future of one call. Dropping it removes the item from the queue if the item was not sent.
pub(super) struct CallFuture<'a, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    shared: &'a Shared<T, R, E>,
    /// `None` after the item has entered the queue.
    item: Option<T>,
    bytes: u64,
    timeout: Option<Duration>,
    place: Place,
}

enum Place {
    Outside,
    /// Waits in line to enter the queue. The timer ends the pause of the first caller in the line.
    Line(WaiterKey, Option<(Instant, Expiry)>),
    Entered(Seat),
    Done,
}

/// The key of a caller whose item has entered the queue.
struct Seat(WaiterKey);

impl<T, R, E> Driver<T, R, E> for Seat {
    type Output = Result<R, Error<E>>;

    fn end(&mut self, queue: &mut Queue<T, R, E>) -> Option<Self::Output> {
        match queue.callers.get_mut(self.0)?.stage {
            Stage::Answered(_) => match queue.callers.remove(self.0)?.stage {
                Stage::Answered(result) => Some(result),
                _ => None,
            },
            _ => None,
        }
    }

    fn take_waker(&mut self, queue: &mut Queue<T, R, E>) -> Option<Waker> {
        queue.callers.detach(self.0);
        queue.callers.get_mut(self.0)?.waker.take()
    }

    fn has_waker(&mut self, queue: &mut Queue<T, R, E>, waker: &Waker) -> bool {
        let known = queue.callers.get_mut(self.0).and_then(|caller| caller.waker.as_ref());
        known.is_some_and(|known| known.will_wake(waker))
    }

    fn register(&mut self, queue: &mut Queue<T, R, E>, waker: Waker) -> Option<Waker> {
        queue.callers.attach_back(self.0);
        queue.callers.get_mut(self.0)?.waker.replace(waker)
    }
}

impl<'a, T, R, E> CallFuture<'a, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    pub(super) fn new(shared: &'a Shared<T, R, E>, item: T, timeout: Option<Duration>) -> Self {
        Self { shared, item: Some(item), bytes: 0, timeout, place: Place::Outside }
    }

    /// Adds the item to the queue if it may enter now, and the caller to the line otherwise.
    /// Returns the time at which the item entered.
    fn enter(&mut self, cx: &mut Context<'_>) -> Poll<Result<Instant, Rejection>> {
        let shared = self.shared;
        if let Place::Outside = self.place
            && let Some(weigher) = &shared.weigher
            && let Some(item) = &self.item
        {
            // An item that is larger than a batch counts as one full batch.
            self.bytes = weigher(item).min(shared.config.max_bytes);
        }
        loop {
            let now = shared.clock.now();
            let waker = cx.waker().clone();
            let queue = shared.queue.lock();
            if queue.is_closed {
                return Poll::Ready(Err(self.refuse(queue, waker, Reason::ShutDown)));
            }
            let is_next = match self.place {
                Place::Line(key, _) => queue.line.is_front(key),
                _ => queue.line.is_empty(),
            };
            let entry = match is_next {
                true => shared.config.entry(queue.len, queue.lag(now), queue.last_entry, now),
                false => Entry::Full,
            };
            let at = match entry {
                Entry::Now => {
                    self.enter_queue(queue, waker, now);
                    return Poll::Ready(Ok(now));
                }
                Entry::At(at) => at,
                Entry::Full => Instant::FAR_FUTURE,
            };
            let is_full = queue.len + queue.line_len >= shared.config.max_queue;
            if matches!(self.place, Place::Outside)
                && is_full
                && shared.config.when_full == BatchOverflowRule::Reject
            {
                return Poll::Ready(Err(self.refuse(queue, waker, Reason::QueueFull)));
            }
            self.wait_in_line(queue, waker);
            let Place::Line(_, pause) = &mut self.place else { return Poll::Pending };
            let (until, timer) = pause.get_or_insert_with(|| (at, Expiry::new(at)));
            if *until != at {
                (*until, *timer) = (at, Expiry::new(at));
            }
            if timer.poll(&shared.clock, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn enter_queue(
        &mut self,
        mut queue: MutexGuard<'_, Queue<T, R, E>>,
        waker: Waker,
        now: Instant,
    ) {
        let Some(item) = self.item.take() else { panic!("{COMPLETED}") };
        let deadline = self.timeout.map_or(Deadline::NEVER, |time| Deadline::after(now, time));
        let place = Place::Entered(Seat(queue.enter((item, self.bytes, deadline), now, waker)));
        let (next, old) = match std::mem::replace(&mut self.place, place) {
            Place::Line(key, _) => queue.leave_line(key),
            _ => (None, None),
        };
        drop(queue);
        drop(old);
        wake_all(next);
    }

    fn wait_in_line(&mut self, mut queue: MutexGuard<'_, Queue<T, R, E>>, waker: Waker) {
        let old = match self.place {
            Place::Line(key, _) => queue.line.get_mut(key).and_then(|known| known.replace(waker)),
            _ => {
                self.place = Place::Line(queue.line.push_back(Some(waker)), None);
                queue.line_len += 1;
                None
            }
        };
        drop(queue);
        drop(old);
    }

    fn refuse(
        &mut self,
        mut queue: MutexGuard<'_, Queue<T, R, E>>,
        waker: Waker,
        reason: Reason,
    ) -> Rejection {
        queue.counts.rejected += 1;
        let (next, old) = match std::mem::replace(&mut self.place, Place::Done) {
            Place::Line(key, _) => queue.leave_line(key),
            _ => (None, None),
        };
        drop(queue);
        wake_all(next);
        drop((old, waker));
        Rejection::new(reason, self.shared.config.name)
    }
}

impl<T, R, E> Future for CallFuture<'_, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    type Output = Result<R, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut now = None;
        if let Place::Outside | Place::Line(..) = this.place {
            match this.enter(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(rejection)) => return Poll::Ready(Err(rejection.into())),
                Poll::Ready(Ok(entered)) => now = Some(entered),
            }
        }
        let Place::Entered(seat) = &mut this.place else { panic!("{COMPLETED}") };
        let poll = this.shared.drive(seat, cx, now);
        if poll.is_ready() {
            this.place = Place::Done;
        }
        poll
    }
}

impl<T, R, E> Unpin for CallFuture<'_, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
}

impl<T, R, E> Drop for CallFuture<'_, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    fn drop(&mut self) {
        match std::mem::replace(&mut self.place, Place::Done) {
            Place::Outside | Place::Done => {}
            Place::Entered(Seat(key)) => self.shared.cancel(key),
            Place::Line(key, _) => {
                let (next, old) = self.shared.queue.lock().leave_line(key);
                wake_all(next);
                drop(old);
            }
        }
    }
}

const COMPLETED: &str = "a call was polled after it had completed";
