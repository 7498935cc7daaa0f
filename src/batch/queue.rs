//! The state of a batcher under its lock: queued items, callers, and running batches.

use super::run::{Job, Starting};
use super::snapshot::Counts;
use super::state::{Config, Load, Start};
use super::timer::Timer;
use crate::error::{Error, Reason, Rejection, TimedOut};
use crate::time::{Deadline, Instant, Sleep};
use crate::wait::{WaiterKey, WaiterList};
use std::task::Waker;
use std::time::Duration;

/// The state of a batcher. No method runs user code.
///
/// # Invariants
///
/// 1. Each item has a caller until the item is answered or dropped. The stage of the caller is
///    `Queued` while the item is in `items`, `Sent` from the start of the batch on, and `Answered`
///    once its result is stored. A caller that is dropped removes itself, and its item if the item
///    is still in `items`.
/// 2. While there is work to do ([`has_work`](Self::has_work)), at least one driver has been woken
///    and not polled since, or is being polled. A driver is a caller, a flush, a drain or a runner;
///    while there are runners, only runners are drivers. A driver that leaves wakes another one.
/// 3. A caller that has a waker is linked in `callers`. A run is linked in `runs` if and only if
///    its job is stored there and must be polled.
pub(super) struct Queue<T, R, E> {
    /// The items that have not been sent, oldest first.
    pub(super) items: WaiterList<Item<T>>,
    pub(super) len: usize,
    pub(super) bytes: u64,
    pub(super) callers: WaiterList<Caller<R, E>>,
    /// The callers that wait to enter the queue, in order of arrival. The waker of the first caller
    /// is taken when that caller must check again whether it may enter.
    pub(super) line: WaiterList<Option<Waker>>,
    pub(super) line_len: usize,
    pub(super) last_entry: Instant,
    pub(super) runs: WaiterList<Run<T, R, E>>,
    pub(super) running: usize,
    /// The number of items that were sent and have not been answered.
    pub(super) in_flight: usize,
    pub(super) last_start: Option<Instant>,
    /// The waiting flushes and drains.
    pub(super) observers: WaiterList<Waker>,
    /// The waiting runners.
    pub(super) runners: WaiterList<Waker>,
    /// The number of runners, waiting or not.
    pub(super) runner_count: usize,
    pub(super) timer: Timer,
    pub(super) next_sequence: u64,
    /// Items with smaller sequence numbers do not linger.
    pub(super) flushed: u64,
    pub(super) is_closed: bool,
    pub(super) counts: Counts,
}

/// An item that has not been sent.
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) bytes: u64,
    pub(super) deadline: Deadline,
    pub(super) queued_at: Instant,
    pub(super) sequence: u64,
    pub(super) caller: WaiterKey,
}

pub(super) struct Caller<R, E> {
    pub(super) stage: Stage<R, E>,
    /// `None` while the caller is being polled, and after it was woken.
    pub(super) waker: Option<Waker>,
}

pub(super) enum Stage<R, E> {
    Queued(WaiterKey),
    Sent(WaiterKey),
    Answered(Result<R, Error<E>>),
}

/// A running batch.
pub(super) struct Run<T, R, E> {
    key: WaiterKey,
    /// `None` while a driver polls the operation.
    pub(super) job: Option<Job<T, R, E>>,
    /// Whether the operation was woken after its last poll started.
    pub(super) woken: bool,
    /// Whether the operation must be dropped, because no caller waits for it.
    pub(super) is_abandoned: bool,
    /// The number of items that have not been answered.
    pub(super) unanswered: usize,
    /// The number of callers of these items that were not dropped.
    pub(super) waiting: usize,
    /// The sequence number of the oldest item.
    pub(super) first_sequence: u64,
}

/// Jobs whose runs were abandoned.
pub(super) type AbandonedJobs<T, R, E> = Vec<(WaiterKey, Job<T, R, E>)>;

/// What a driver does next.
pub(super) enum Step<T, R, E> {
    /// Nothing: register the waker and wait.
    Wait,
    ReadClock,
    /// Arm the timer for the instant, with its previous sleep if there is one.
    Arm(Instant, Option<Sleep>),
    Start(Starting<T>),
    Poll(WaiterKey, Job<T, R, E>),
}

impl<T, R, E> Queue<T, R, E> {
    pub(super) fn new() -> Self {
        Self {
            items: WaiterList::new(),
            len: 0,
            bytes: 0,
            callers: WaiterList::new(),
            line: WaiterList::new(),
            line_len: 0,
            last_entry: Instant::ORIGIN,
            runs: WaiterList::new(),
            running: 0,
            in_flight: 0,
            last_start: None,
            observers: WaiterList::new(),
            runners: WaiterList::new(),
            runner_count: 0,
            timer: Timer::default(),
            next_sequence: 0,
            flushed: 0,
            is_closed: false,
            counts: Counts::default(),
        }
    }

    fn load(&self) -> Load {
        let oldest = self.items.front().map(|item| item.sequence);
        Load {
            queued: self.len,
            bytes: self.bytes,
            running: self.running,
            is_urgent: self.is_closed || oldest.is_some_and(|oldest| oldest < self.flushed),
            last_start: self.last_start,
        }
    }

    /// Returns how long the oldest item has been queued.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        self.items.front().map_or(Duration::ZERO, |oldest| now - oldest.queued_at)
    }

    /// Adds an item and its caller.
    pub(super) fn enter(
        &mut self,
        (value, bytes, deadline): (T, u64, Deadline),
        now: Instant,
        waker: Waker,
    ) -> WaiterKey {
        let (caller, sequence) = (self.callers.next_key(), self.next_sequence);
        let item = Item { value, bytes, deadline, queued_at: now, sequence, caller };
        let stage = Stage::Queued(self.items.push_back(item));
        self.callers.push_back(Caller { stage, waker: Some(waker) });
        self.next_sequence += 1;
        self.len += 1;
        self.bytes += bytes;
        self.last_entry = now;
        self.counts.accepted += 1;
        caller
    }

    /// Returns the next step of a driver. `now` is a current reading of the clock, if there is one.
    pub(super) fn step(&mut self, config: &Config, now: Option<Instant>) -> Step<T, R, E> {
        if let Some(key) = self.runs.front_key() {
            self.runs.detach(key);
            if let Some(run) = self.runs.get_mut(key)
                && let Some(job) = run.job.take()
            {
                run.woken = false;
                return Step::Poll(key, job);
            }
        }
        let due = match config.start(&self.load()) {
            Start::Later => return Step::Wait,
            Start::At(_) if now.is_none() && self.timer.is_waiting() => return Step::Wait,
            Start::Now => Instant::ORIGIN,
            Start::At(at) => at,
        };
        let Some(now) = now else { return Step::ReadClock };
        if self.is_due(due, now) {
            return Step::Start(self.take(config, now));
        }
        // The start times of batches only increase, so a waiting timer fires at `due` or earlier.
        if self.timer.is_waiting() {
            return Step::Wait;
        }
        Step::Arm(due, self.timer.arm())
    }

    fn is_due(&self, due: Instant, now: Instant) -> bool {
        // If the last start is in the future, the clock was set back.
        now >= due || self.last_start.is_some_and(|last| now < last)
    }

    /// Returns whether [`step`](Self::step) would return a step other than `Wait`.
    fn has_work(&self, config: &Config, now: Option<Instant>) -> bool {
        !self.runs.is_empty()
            || match config.start(&self.load()) {
                Start::Later => false,
                Start::Now => true,
                Start::At(at) => {
                    !self.timer.is_waiting() || now.is_some_and(|now| self.is_due(at, now))
                }
            }
    }

    /// Removes the items of the next batch from the queue, and rejects those whose deadline has
    /// passed.
    fn take(&mut self, config: &Config, now: Instant) -> Starting<T> {
        let mut starting = Starting::new(self.len.min(config.max_items));
        let run = self.runs.push_back(Run {
            key: self.runs.next_key(),
            job: None,
            woken: false,
            is_abandoned: false,
            unanswered: 0,
            waiting: 0,
            first_sequence: 0,
        });
        self.runs.detach(run);
        let mut bytes = 0;
        while let Some(next) = self.items.front()
            && config.takes(starting.items.len(), bytes, next.bytes)
            && let Some(item) = self.pop_item()
        {
            if item.deadline.has_passed(now) {
                self.counts.unsent += 1;
                let reason = Reason::DeadlineExceeded;
                starting.wakers.extend(self.reject(item.caller, reason, config.name));
                starting.expired.push(item.value);
                continue;
            }
            bytes += item.bytes;
            starting.deadline = starting.deadline.earlier(item.deadline);
            starting.items.push(item.value);
            starting.sequences.push(item.sequence);
            starting.callers.push(item.caller);
            if let Some(caller) = self.callers.get_mut(item.caller) {
                caller.stage = Stage::Sent(run);
            }
        }
        starting.wakers.extend(self.advance_line());
        let count = starting.items.len();
        if let Some(first) = starting.sequences.first()
            && let Some(state) = self.runs.get_mut(run)
        {
            (state.unanswered, state.waiting, state.first_sequence) = (count, count, *first);
            self.running += 1;
            self.in_flight += count;
            self.last_start = Some(now);
            self.counts.batches += 1;
            starting.run = Some(run);
        } else {
            self.runs.remove(run);
            self.notify(&mut starting.wakers);
        }
        starting
    }

    /// Answers the caller of an item that was not sent. Returns the waker of the caller.
    pub(super) fn reject(
        &mut self,
        caller: WaiterKey,
        reason: Reason,
        name: &'static str,
    ) -> Option<Waker> {
        let rejection = Rejection::new(reason, name);
        let caller = self.answer(caller, Err(rejection.into()));
        debug_assert!(caller.is_ok(), "an item is dropped with its caller");
        caller.ok().flatten()
    }

    /// Stores the result of a caller. Returns the waker of the caller, or the result if the caller
    /// was dropped.
    pub(super) fn answer(
        &mut self,
        key: WaiterKey,
        result: Result<R, Error<E>>,
    ) -> Result<Option<Waker>, Result<R, Error<E>>> {
        let Some(caller) = self.callers.get_mut(key) else { return Err(result) };
        caller.stage = Stage::Answered(result);
        let waker = caller.waker.take();
        self.callers.detach(key);
        Ok(waker)
    }

    /// Removes a run whose operation was dropped.
    pub(super) fn end_run(&mut self, key: WaiterKey, wakers: &mut Vec<Waker>) {
        let Some(run) = self.runs.remove(key) else { return };
        debug_assert!(run.job.is_none() && run.unanswered == 0);
        self.running -= 1;
        self.notify(wakers);
    }

    /// Moves the wakers of the flushes and drains to `wakers`, and, if the batcher is closed, those
    /// of the runners. Called when the goal of one of them may have been reached.
    pub(super) fn notify(&mut self, wakers: &mut Vec<Waker>) {
        while let Some(waker) = self.observers.pop_front() {
            wakers.push(waker);
        }
        while self.is_closed
            && let Some(waker) = self.runners.pop_front()
        {
            wakers.push(waker);
        }
    }

    /// Takes the waker of the first caller in the line, which then checks again whether it may
    /// enter.
    pub(super) fn advance_line(&mut self) -> Option<Waker> {
        self.line.front_mut()?.take()
    }

    /// Removes a caller from the line. Returns the waker of the new front, and that of the caller.
    pub(super) fn leave_line(&mut self, key: WaiterKey) -> (Option<Waker>, Option<Waker>) {
        let was_front = self.line.is_front(key);
        let own = self.line.remove(key).flatten();
        self.line_len -= 1;
        (if was_front { self.advance_line() } else { None }, own)
    }

    /// Returns the waker of a driver if there is work to do.
    pub(super) fn hand_over(&mut self, config: &Config, now: Option<Instant>) -> Option<Waker> {
        if self.has_work(config, now) { self.next_driver() } else { None }
    }

    fn next_driver(&mut self) -> Option<Waker> {
        if self.runner_count > 0 {
            return self.runners.pop_front();
        }
        if let Some(waker) = self.observers.pop_front() {
            return Some(waker);
        }
        // The caller that was polled last is chosen: a task that has stopped polling its calls is
        // woken only if no other call was polled since.
        while let Some(key) = self.callers.back_key() {
            self.callers.detach(key);
            if let Some(waker) = self.callers.get_mut(key).and_then(|caller| caller.waker.take()) {
                return Some(waker);
            }
        }
        None
    }

    /// Removes the oldest item.
    pub(super) fn pop_item(&mut self) -> Option<Item<T>> {
        let item = self.items.pop_front()?;
        self.len -= 1;
        self.bytes -= item.bytes;
        Some(item)
    }

    /// Removes the item of a caller that was dropped.
    pub(super) fn cancel(&mut self, key: WaiterKey) -> Option<Item<T>> {
        let item = self.items.remove(key)?;
        self.len -= 1;
        self.bytes -= item.bytes;
        self.counts.cancelled += 1;
        Some(item)
    }

    /// Marks the operation of a run as woken, so that a driver polls it.
    pub(super) fn wake_run(&mut self, key: WaiterKey) {
        let Some(run) = self.runs.get_mut(key) else { return };
        run.woken = true;
        if run.job.is_some() {
            self.runs.attach_back(key);
        }
    }

    /// Puts the job back after a poll. Returns the job if its operation must be dropped.
    pub(super) fn put_back(&mut self, key: WaiterKey, job: Job<T, R, E>) -> Option<Job<T, R, E>> {
        match self.runs.get_mut(key) {
            Some(run) if !run.is_abandoned => {
                run.job = Some(job);
                if run.woken {
                    self.runs.attach_back(key);
                }
                None
            }
            _ => Some(job),
        }
    }

    /// Subtracts `count` answered items from a run, before the callers receive the results. Returns
    /// false if the run was abandoned.
    pub(super) fn count_answers(&mut self, key: WaiterKey, count: usize) -> bool {
        match self.runs.get_mut(key) {
            Some(run) if !run.is_abandoned => {
                run.unanswered -= count;
                self.in_flight -= count;
                true
            }
            _ => false,
        }
    }

    /// Subtracts callers that received their results from the waiting callers of a run.
    pub(super) fn count_received(&mut self, key: WaiterKey, count: usize) {
        if let Some(run) = self.runs.get_mut(key) {
            run.waiting -= count;
        }
    }

    /// Subtracts a dropped caller from the waiting callers of a run. If this abandons the run,
    /// returns its job unless a driver is polling it.
    pub(super) fn leave_run(&mut self, key: WaiterKey) -> Option<Job<T, R, E>> {
        let run = self.runs.get_mut(key)?;
        if !run.is_abandoned {
            run.waiting -= 1;
        }
        self.abandon_if_unwanted(key)
    }

    /// Abandons a run if no caller and no runner waits for it. Returns its job unless a driver is
    /// polling it.
    pub(super) fn abandon_if_unwanted(&mut self, key: WaiterKey) -> Option<Job<T, R, E>> {
        let run = self.runs.get_mut(key)?;
        let is_wanted = run.waiting > 0 || self.runner_count > 0;
        if is_wanted || run.is_abandoned { None } else { self.abandon(key) }
    }

    /// Marks a run as abandoned, and returns its job unless a driver is polling it.
    fn abandon(&mut self, key: WaiterKey) -> Option<Job<T, R, E>> {
        let run = self.runs.get_mut(key)?;
        run.is_abandoned = true;
        let unanswered = std::mem::take(&mut run.unanswered);
        let job = run.job.take();
        self.runs.detach(key);
        self.in_flight -= unanswered;
        self.counts.abandoned += unanswered as u64;
        job
    }

    /// Returns the keys of all runs.
    pub(super) fn run_keys(&mut self) -> Vec<WaiterKey> {
        let mut keys = Vec::with_capacity(self.running);
        let mut slot = 0;
        while let Some(run) = self.runs.slot(slot) {
            keys.extend(run.map(|run| run.key));
            slot += 1;
        }
        keys
    }

    /// Abandons all runs. Returns the jobs that no driver is polling.
    pub(super) fn abandon_all(&mut self) -> AbandonedJobs<T, R, E> {
        let keys = self.run_keys();
        keys.into_iter().filter_map(|key| Some((key, self.abandon(key)?))).collect()
    }

    /// Answers the callers of all sent items with a timeout error.
    pub(super) fn time_out_sent(&mut self, timed_out: TimedOut, wakers: &mut Vec<Waker>) {
        let mut slot = 0;
        while let Some(caller) = self.callers.slot(slot) {
            if let Some(caller) = caller
                && let Stage::Sent(_) = caller.stage
            {
                caller.stage = Stage::Answered(Err(timed_out.into()));
                wakers.extend(caller.waker.take());
            }
            slot += 1;
        }
    }

    /// Returns whether all items with smaller sequence numbers have been answered or dropped.
    pub(super) fn is_done_before(&mut self, sequence: u64) -> bool {
        if self.items.front().is_some_and(|oldest| oldest.sequence < sequence) {
            return false;
        }
        let mut slot = 0;
        while let Some(run) = self.runs.slot(slot) {
            if run.is_some_and(|run| run.first_sequence < sequence) {
                return false;
            }
            slot += 1;
        }
        true
    }
}
