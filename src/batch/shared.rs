//! The part of a batcher that its clones share: [`Shared`].

use super::items::Batch;
use super::queue::{Queue, Stage, Step};
use super::run::{Job, Pending, Split};
use super::snapshot::{BatcherDrainReport, BatcherSnapshot, Counts};
use super::state::Config;
use super::timer::Timer;
use crate::error::{Error, Reason, TimedOut};
use crate::sync::{Mutex, PlainArc, PlainWeak, discard_panic};
use crate::time::{Clock, Instant, Sleep};
use crate::wait::WaiterKey;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub(super) type Operation<T, R, E> = Box<dyn Fn(Batch<T>) -> Pending<R, E> + Send + Sync>;
pub(super) type Weigher<T> = Box<dyn Fn(&T) -> u64 + Send + Sync>;

/// The state that the clones of a batcher share.
pub(super) struct Shared<T, R, E> {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) operation: Operation<T, R, E>,
    pub(super) weigher: Option<Weigher<T>>,
    pub(super) split: Option<Split<T, E>>,
    /// The upper 64 bits of the idempotency keys.
    pub(super) nonce: u64,
    pub(super) queue: Mutex<Queue<T, R, E>>,
    /// For the wakers of the timer and of the operations, which must not keep the batcher alive.
    pub(super) weak: PlainWeak<Self>,
}

/// The waker of the timer, or of the operation of a batch. It wakes a driver.
struct SourceWaker<T, R, E> {
    batcher: PlainWeak<Shared<T, R, E>>,
    /// `None` for the timer.
    run: Option<WaiterKey>,
}

impl<T, R, E> Wake for SourceWaker<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Send + 'static,
{
    fn wake(self: PlainArc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &PlainArc<Self>) {
        let Some(batcher) = self.batcher.upgrade() else { return };
        let mut queue = batcher.queue.lock();
        match self.run {
            None => queue.timer.fire(),
            Some(key) => queue.wake_run(key),
        }
        let driver = queue.hand_over(&batcher.config, None);
        drop(queue);
        wake_all(driver);
    }
}

/// Wakes all wakers. A panic of one is discarded, so that the others are still woken.
pub(super) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        discard_panic(|| waker.wake());
    }
}

/// A call, flush, drain or runner, which drives batches while it waits.
pub(super) trait Driver<T, R, E> {
    type Output;

    /// Returns the result if the wait has ended, and removes the participant from the queue.
    fn end(&mut self, queue: &mut Queue<T, R, E>) -> Option<Self::Output>;

    /// Returns whether the participant drives batches.
    fn drives(&self, queue: &Queue<T, R, E>) -> bool {
        queue.runner_count == 0
    }

    /// Takes the waker of the participant out of the queue, so that another driver is woken while
    /// this one is busy.
    fn take_waker(&mut self, queue: &mut Queue<T, R, E>) -> Option<Waker>;

    /// Returns whether the participant is registered with `waker`.
    fn has_waker(&mut self, queue: &mut Queue<T, R, E>, waker: &Waker) -> bool;

    /// Registers the participant with `waker`. Returns its old waker.
    fn register(&mut self, queue: &mut Queue<T, R, E>, waker: Waker) -> Option<Waker>;
}

impl<T, R, E> Shared<T, R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: Clone + Send + 'static,
{
    /// Polls `driver`: performs the steps that are due, until the wait of the driver has ended or
    /// no step is left. `now` is a current reading of the clock, if there is one.
    pub(super) fn drive<D: Driver<T, R, E>>(
        &self,
        driver: &mut D,
        cx: &Context<'_>,
        mut now: Option<Instant>,
    ) -> Poll<D::Output> {
        let mut fresh: Option<Waker> = None;
        let mut queue = self.queue.lock();
        loop {
            if let Some(output) = driver.end(&mut queue) {
                let next = queue.hand_over(&self.config, now);
                drop(queue);
                wake_all(next);
                return Poll::Ready(output);
            }
            let drives = driver.drives(&queue);
            let step = if drives { queue.step(&self.config, now) } else { Step::Wait };
            if !matches!(step, Step::Wait) {
                let own = driver.take_waker(&mut queue);
                // While this driver runs the operation, another one does the rest.
                let next = match step {
                    Step::Start(_) | Step::Poll(..) => queue.hand_over(&self.config, now),
                    _ => None,
                };
                drop(queue);
                drop(own);
                wake_all(next);
                now = self.perform(step, now);
                queue = self.queue.lock();
                continue;
            }
            let next = if drives { None } else { queue.hand_over(&self.config, now) };
            let mut old = None;
            let registered = driver.has_waker(&mut queue, cx.waker())
                || fresh.take().is_some_and(|waker| {
                    old = driver.register(&mut queue, waker);
                    true
                });
            drop(queue);
            drop(old);
            wake_all(next);
            if registered {
                return Poll::Pending;
            }
            // Cloning a waker runs user code, so it happens outside the lock.
            fresh = Some(cx.waker().clone());
            queue = self.queue.lock();
        }
    }

    /// Performs a step. Returns the reading of the clock if it is still current.
    fn perform(&self, step: Step<T, R, E>, now: Option<Instant>) -> Option<Instant> {
        match step {
            Step::Wait => return now,
            Step::ReadClock => return Some(self.clock.now()),
            Step::Arm(at, sleep) => self.arm(at, sleep),
            Step::Start(starting) => self.start(starting),
            Step::Poll(run, job) => self.poll(run, job),
        }
        None
    }

    /// Arms the timer. The first poll of the sleep happens outside the lock.
    fn arm(&self, at: Instant, sleep: Option<Sleep>) {
        let mut sleep =
            sleep.filter(|sleep| sleep.until() == at).unwrap_or_else(|| self.clock.sleep_until(at));
        let waker = self.waker(None);
        let poll = catch_unwind(AssertUnwindSafe(|| {
            Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker))
        }));
        let mut queue = self.queue.lock();
        let sleep = match poll {
            Ok(Poll::Pending) => queue.timer.armed(sleep),
            _ => {
                queue.timer = Timer::Off;
                Some(sleep)
            }
        };
        drop(queue);
        drop(sleep);
        if let Err(panic) = poll {
            resume_unwind(panic);
        }
    }

    pub(super) fn run_waker(&self, run: WaiterKey) -> Waker {
        self.waker(Some(run))
    }

    fn waker(&self, run: Option<WaiterKey>) -> Waker {
        PlainArc::new(SourceWaker { batcher: PlainWeak::clone(&self.weak), run }).into()
    }

    /// Puts the job back after its operation returned `Pending`.
    pub(super) fn put_back(&self, key: WaiterKey, job: Job<T, R, E>) {
        let mut queue = self.queue.lock();
        if let Some(job) = queue.put_back(key, job) {
            drop(queue);
            discard_panic(|| drop(job));
            self.end_run(key);
        }
    }

    /// Answers the callers of a part of a batch.
    pub(super) fn answer(
        &self,
        key: WaiterKey,
        callers: &[WaiterKey],
        results: impl Iterator<Item = Result<R, Error<E>>>,
    ) {
        let mut wakers = Vec::with_capacity(callers.len());
        // Results whose callers were dropped. Dropping a result runs user code, so it happens
        // outside the lock.
        let mut unclaimed = Vec::new();
        let mut queue = self.queue.lock();
        let is_counted = queue.count_answers(key, callers.len());
        let mut received = 0;
        for (caller, result) in callers.iter().zip(results) {
            if !is_counted {
                unclaimed.push(result);
                continue;
            }
            match &result {
                Ok(_) => queue.counts.succeeded += 1,
                Err(_) => queue.counts.failed += 1,
            }
            match queue.answer(*caller, result) {
                Ok(waker) => {
                    received += 1;
                    wakers.extend(waker);
                }
                Err(result) => unclaimed.push(result),
            }
        }
        queue.count_received(key, received);
        drop(queue);
        wake_all(wakers);
        discard_panic(|| drop(unclaimed));
    }

    /// Returns whether no caller and no runner waits for the rest of a batch.
    pub(super) fn is_abandoned(&self, key: WaiterKey) -> bool {
        let mut queue = self.queue.lock();
        let job = queue.abandon_if_unwanted(key);
        debug_assert!(job.is_none(), "this driver has the job");
        queue.runs.get_mut(key).is_none_or(|run| run.is_abandoned)
    }

    /// Removes a run whose operation was dropped.
    pub(super) fn end_run(&self, key: WaiterKey) {
        let mut wakers = Vec::new();
        let mut queue = self.queue.lock();
        queue.end_run(key, &mut wakers);
        drop(queue);
        wake_all(wakers);
    }

    /// Drops the operations of `jobs`, whose runs were abandoned, and ends the runs.
    pub(super) fn end_abandoned(&self, jobs: impl IntoIterator<Item = (WaiterKey, Job<T, R, E>)>) {
        for (key, job) in jobs {
            discard_panic(|| drop(job));
            self.end_run(key);
        }
        self.hand_over();
    }

    /// Wakes a driver if there is work to do.
    pub(super) fn hand_over(&self) {
        let driver = self.queue.lock().hand_over(&self.config, None);
        wake_all(driver);
    }

    /// Removes a caller that was dropped.
    pub(super) fn cancel(&self, key: WaiterKey) {
        let mut wakers = Vec::new();
        let mut queue = self.queue.lock();
        let Some(caller) = queue.callers.remove(key) else { return };
        let (mut item, mut job) = (None, None);
        match caller.stage {
            Stage::Queued(key) => {
                item = queue.cancel(key);
                wakers.extend(queue.advance_line());
                queue.notify(&mut wakers);
            }
            Stage::Sent(run) => job = queue.leave_run(run).map(|job| (run, job)),
            Stage::Answered(_) => {}
        }
        // The dropped caller may have been woken to drive, so another driver is woken in its place.
        wakers.extend(queue.hand_over(&self.config, None));
        drop(queue);
        wake_all(wakers);
        if job.is_some() {
            self.end_abandoned(job);
        }
        // Dropping an item may panic, so it happens last.
        drop((item, caller));
    }

    pub(super) fn close(&self) -> bool {
        let mut wakers = Vec::new();
        let mut queue = self.queue.lock();
        let closes = !std::mem::replace(&mut queue.is_closed, true);
        if closes {
            wakers.extend(queue.advance_line());
            queue.notify(&mut wakers);
            wakers.extend(queue.hand_over(&self.config, None));
        }
        drop(queue);
        wake_all(wakers);
        closes
    }

    /// Answers all callers, and drops the queued items and the operations, because a drain timed
    /// out after `timeout`.
    pub(super) fn abort(&self, timeout: Duration) {
        let mut wakers = Vec::new();
        let mut items = Vec::new();
        let mut queue = self.queue.lock();
        while let Some(item) = queue.pop_item() {
            queue.counts.unsent += 1;
            wakers.extend(queue.reject(item.caller, Reason::ShutDown, self.config.name));
            items.push(item.value);
        }
        let jobs = queue.abandon_all();
        let timed_out = TimedOut::new(self.config.name, timeout);
        queue.time_out_sent(timed_out, &mut wakers);
        queue.notify(&mut wakers);
        drop(queue);
        wake_all(wakers);
        self.end_abandoned(jobs);
        discard_panic(|| drop(items));
    }

    pub(super) fn counts(&self) -> Counts {
        self.queue.lock().counts
    }

    pub(super) fn report_since(&self, before: Counts) -> BatcherDrainReport {
        BatcherDrainReport::between(before, self.counts())
    }
}

impl<T, R, E> Shared<T, R, E> {
    pub(super) fn snapshot(&self) -> BatcherSnapshot {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let Counts {
            accepted,
            succeeded,
            failed,
            unsent,
            cancelled,
            abandoned,
            rejected,
            batches,
            splits,
        } = queue.counts;
        BatcherSnapshot {
            queued: queue.len,
            waiting: queue.line_len,
            in_flight: queue.in_flight,
            running: queue.running,
            lag: queue.lag(now),
            accepted,
            succeeded,
            failed,
            unsent,
            cancelled,
            abandoned,
            rejected,
            batches,
            splits,
        }
    }
}
