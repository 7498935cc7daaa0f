//! The futures that drive a batcher without an item: flush, drain and run.

use super::queue::{AbandonedJobs, Queue};
use super::shared::{Driver, Shared};
use crate::wait::{WaiterKey, WaiterList};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// What an observer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// All items that were queued at the first poll have been answered or dropped.
    Flushed,
    /// The batcher is closed, and all items have been answered or dropped.
    Drained,
    /// Like `Drained`. While there are observers with this goal, no other task drives.
    Run,
}

/// Waits for a goal, and drives batches meanwhile.
pub(super) struct ObserveFuture<'a, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    shared: &'a Shared<T, R, E>,
    seat: Seat,
}

struct Seat {
    goal: Goal,
    /// The goal concerns the items with smaller sequence numbers. `None` before the first poll and
    /// after the end.
    until: Option<u64>,
    /// The position of the waker in the list of observers or runners.
    waiting: Option<WaiterKey>,
}

impl<'a, T, R, E> ObserveFuture<'a, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    pub(super) fn new(shared: &'a Shared<T, R, E>, goal: Goal) -> Self {
        Self { shared, seat: Seat { goal, until: None, waiting: None } }
    }
}

impl Seat {
    fn start<T, R, E>(&mut self, queue: &mut Queue<T, R, E>) {
        let until = match self.goal {
            Goal::Flushed => queue.next_sequence,
            Goal::Drained | Goal::Run => u64::MAX,
        };
        if self.goal == Goal::Flushed {
            queue.flushed = until;
        }
        if self.goal == Goal::Run {
            queue.runner_count += 1;
        }
        self.until = Some(until);
    }

    fn list<'q, T, R, E>(&self, queue: &'q mut Queue<T, R, E>) -> &'q mut WaiterList<Waker> {
        if self.goal == Goal::Run { &mut queue.runners } else { &mut queue.observers }
    }

    /// Leaves the queue. Returns the waker of the observer, and the jobs that no caller waits for.
    fn leave<T, R, E>(
        &mut self,
        queue: &mut Queue<T, R, E>,
    ) -> (Option<Waker>, AbandonedJobs<T, R, E>) {
        let waiting = self.waiting.take();
        let waker = waiting.and_then(|key| self.list(queue).remove(key));
        let mut jobs = Vec::new();
        if self.until.take().is_some() && self.goal == Goal::Run {
            queue.runner_count -= 1;
            for key in queue.run_keys() {
                jobs.extend(queue.abandon_if_unwanted(key).map(|job| (key, job)));
            }
        }
        (waker, jobs)
    }
}

impl<T, R, E> Driver<T, R, E> for Seat {
    /// The waker of the observer.
    type Output = Option<Waker>;

    fn end(&mut self, queue: &mut Queue<T, R, E>) -> Option<Option<Waker>> {
        let until = self.until?;
        let is_done =
            (self.goal == Goal::Flushed || queue.is_closed) && queue.is_done_before(until);
        is_done.then(|| self.leave(queue).0)
    }

    fn drives(&self, queue: &Queue<T, R, E>) -> bool {
        self.goal == Goal::Run || queue.runner_count == 0
    }

    fn take_waker(&mut self, queue: &mut Queue<T, R, E>) -> Option<Waker> {
        let key = self.waiting.take()?;
        self.list(queue).remove(key)
    }

    fn has_waker(&mut self, queue: &mut Queue<T, R, E>, waker: &Waker) -> bool {
        let Some(key) = self.waiting else { return false };
        self.list(queue).get_mut(key).is_some_and(|known| known.will_wake(waker))
    }

    fn register(&mut self, queue: &mut Queue<T, R, E>, waker: Waker) -> Option<Waker> {
        let old = self.take_waker(queue);
        self.waiting = Some(self.list(queue).push_back(waker));
        old
    }
}

impl<T, R, E> Future for ObserveFuture<'_, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.seat.until.is_none() {
            this.seat.start(&mut this.shared.queue.lock());
        }
        this.shared.drive(&mut this.seat, cx, None).map(drop)
    }
}

impl<T, R, E> Drop for ObserveFuture<'_, T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    fn drop(&mut self) {
        if self.seat.until.is_none() {
            return;
        }
        let (waker, jobs) = self.seat.leave(&mut self.shared.queue.lock());
        self.shared.end_abandoned(jobs);
        drop(waker);
    }
}
