//! The future of a hedged call: the running attempts, and the timer that starts the next one.

use super::delay::AttemptEnd;
use super::{ClassifiedHedge, Hedge};
use crate::budget::{BudgetCall, BudgetPermit};
use crate::error::Error;
use crate::outcome::Classify;
use crate::policy::{Attempt, Context};
use crate::time::{Instant, Sleep};
use pin_project::{pin_project, pinned_drop};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// The future of a call through a hedge.
///
/// The first two attempts are stored in the future; each further attempt is allocated. When the
/// call ends, the future drops all attempts immediately, even if the future itself is kept.
#[pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless polled"]
pub struct HedgeFuture<H: HedgeParts, Op, Fut, T, E> {
    parts: H,
    /// `None` after the call has ended.
    op: Option<Op>,
    cx: Context,
    #[pin]
    running: Running<Fut>,
    #[pin]
    timer: Option<Sleep>,
    /// The number of attempts that were started.
    started: u32,
    /// The number of attempts that were started, suppressed, or skipped after the deadline.
    considered: u32,
    /// The time at which the latest of these attempts was started, suppressed or skipped.
    considered_at: Instant,
    /// The result of the first attempt, if it failed.
    first_failure: Option<Result<T, Error<E>>>,
    /// The call as the budget counts it; `None` after the call has ended.
    call: Option<BudgetCall>,
}

/// A hedge and its classifier, borrowed or owned.
#[allow(unreachable_pub)] // `HedgeFuture` has a bound on this trait.
pub trait HedgeParts {
    type Classifier;
    fn hedge(&self) -> &Hedge;
    fn classifier(&self) -> &Self::Classifier;
}

impl<C> HedgeParts for ClassifiedHedge<C> {
    type Classifier = C;

    fn hedge(&self) -> &Hedge {
        &self.hedge
    }

    fn classifier(&self) -> &C {
        &self.classify
    }
}

impl<H: HedgeParts> HedgeParts for &H {
    type Classifier = H::Classifier;

    fn hedge(&self) -> &Hedge {
        (**self).hedge()
    }

    fn classifier(&self) -> &H::Classifier {
        (**self).classifier()
    }
}

/// The attempts that run, in the order of their numbers.
#[pin_project]
struct Running<Fut> {
    #[pin]
    first: Option<RunningAttempt<Fut>>,
    #[pin]
    second: Option<RunningAttempt<Fut>>,
    more: Vec<Pin<Box<RunningAttempt<Fut>>>>,
}

#[pin_project]
struct RunningAttempt<Fut> {
    // Declared before the permit, so that the attempt is dropped before its permit is returned.
    #[pin]
    future: Fut,
    number: u32,
    started: Instant,
    permit: Option<BudgetPermit>,
}

/// An attempt that has returned `result`.
struct Ended<R> {
    number: u32,
    started: Instant,
    result: R,
}

impl<Fut: Future> RunningAttempt<Fut> {
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Ended<Fut::Output>> {
        let this = self.project();
        let result = ready!(this.future.poll(task));
        Poll::Ready(Ended { number: *this.number, started: *this.started, result })
    }
}

impl<Fut> Running<Fut> {
    const fn new(first: RunningAttempt<Fut>) -> Self {
        Self { first: Some(first), second: None, more: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.second.is_none() && self.more.is_empty()
    }

    fn push(self: Pin<&mut Self>, attempt: RunningAttempt<Fut>) {
        let mut this = self.project();
        match attempt.number {
            2 => this.second.set(Some(attempt)),
            _ => this.more.push(Box::pin(attempt)),
        }
    }

    /// Polls the attempts from number `from` on. Removes and returns the first that has ended.
    #[inline]
    fn poll(
        self: Pin<&mut Self>,
        from: u32,
        task: &mut task::Context<'_>,
    ) -> Option<Ended<Fut::Output>>
    where
        Fut: Future,
    {
        let this = self.project();
        for (number, mut slot) in [(1, this.first), (2, this.second)] {
            if let Some(attempt) = slot.as_mut().as_pin_mut()
                && number >= from
                && let Poll::Ready(ended) = attempt.poll(task)
            {
                slot.set(None);
                return Some(ended);
            }
        }
        for at in 0..this.more.len() {
            if this.more[at].number >= from
                && let Poll::Ready(ended) = this.more[at].as_mut().poll(task)
            {
                this.more.remove(at);
                return Some(ended);
            }
        }
        None
    }

    /// Calls `visit` with the start time of each attempt.
    fn for_each(&self, mut visit: impl FnMut(Instant)) {
        let slots = self.first.iter().chain(&self.second);
        slots.chain(self.more.iter().map(|attempt| &**attempt)).for_each(|a| visit(a.started));
    }

    /// Drops all attempts.
    fn clear(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.first.set(None);
        this.second.set(None);
        this.more.clear();
    }
}

impl<H: HedgeParts, Op, Fut, T, E> HedgeFuture<H, Op, Fut, T, E> {
    /// Starts the first attempt.
    #[inline]
    pub(super) fn new(parts: H, cx: Context, mut op: Op) -> Self
    where
        Op: Attempt<T, E, Future = Fut>,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        let shared = parts.hedge().shared();
        let call = shared.budget.as_ref().map(crate::budget::Budget::start_call);
        let cx = cx.on(&shared.clock);
        let started = cx.now();
        let future = op.start(cx.with_attempt(1));
        let running = Running::new(RunningAttempt { future, number: 1, started, permit: None });
        Self {
            parts,
            op: Some(op),
            cx,
            running,
            timer: None,
            started: 1,
            considered: 1,
            considered_at: started,
            first_failure: None,
            call,
        }
    }

    /// Drops the attempts that still run, and records how long they ran.
    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        *this.op = None;
        if !this.running.is_empty() {
            let shared = this.parts.hedge().shared();
            if shared.delay.is_measured() {
                let now = shared.clock.now();
                let record = |started| shared.delay.record(now, AttemptEnd::Dropped(now - started));
                this.running.for_each(record);
            }
            this.running.as_mut().clear();
        }
        this.timer.set(None);
        *this.call = None;
    }

    /// Records that an attempt won, and ends the call.
    fn win(self: Pin<&mut Self>, number: u32, started: Instant) {
        let shared = self.parts.hedge().shared();
        if shared.delay.is_measured() || number > 1 {
            let now = shared.clock.now();
            shared.delay.record(now, AttemptEnd::Success(now - started));
            if number > 1 {
                shared.emitter.won(number, now);
            }
        }
        self.end();
    }

    /// Returns whether the delay before the next attempt has passed.
    fn poll_timer(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if this.timer.is_none() {
            let shared = this.parts.hedge().shared();
            let until = *this.considered_at + shared.delay.get();
            this.timer.set(Some(shared.clock.sleep_until(until)));
        }
        this.timer.as_pin_mut().expect("was just set").poll(task)
    }

    /// Starts the next attempt, unless the budget does not cover its `cost` or the deadline has
    /// passed.
    fn start_next(self: Pin<&mut Self>, cost: u32)
    where
        Op: Attempt<T, E, Future = Fut>,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        let mut this = self.project();
        let shared = this.parts.hedge().shared();
        *this.cx = this.cx.after_waiting().on(&shared.clock);
        let (now, number) = (this.cx.now(), *this.started + 1);
        *this.considered += 1;
        *this.considered_at = now;
        this.timer.set(None);
        if this.cx.deadline().has_passed(now) {
            return;
        }
        let permit = match shared.budget.as_ref().map(|budget| budget.try_acquire_n(cost)) {
            Some(Err(_)) => return shared.emitter.suppressed(number, now),
            Some(Ok(permit)) => Some(permit),
            None => None,
        };
        shared.emitter.hedged(number, now);
        if shared.delay.config().is_shadow {
            return;
        }
        *this.started = number;
        let op = this.op.as_mut().expect(COMPLETED);
        let future = op.start(this.cx.with_attempt(number));
        this.running.push(RunningAttempt { future, number, started: now, permit });
    }
}

impl<H, Op, Fut, T, E> Future for HedgeFuture<H, Op, Fut, T, E>
where
    H: HedgeParts,
    H::Classifier: Classify<T, E>,
    Op: Attempt<T, E, Future = Fut>,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        assert!(self.op.is_some(), "{COMPLETED}");
        // The number of the first attempt to poll.
        let mut from = 1;
        loop {
            // The budget cost of the attempt that replaces a failed one.
            let mut replacement = None;
            while let Some(ended) = self.as_mut().project().running.poll(from, task) {
                let Ended { number, started, result } = ended;
                if succeeded(&result, self.parts.classifier()) {
                    self.as_mut().win(number, started);
                    return Poll::Ready(result);
                }
                let shared = self.parts.hedge().shared();
                let cost = shared.budget.as_ref().map_or(1, |budget| budget.cost_after(&result));
                replacement = shared.delay.config().hedges_failures.then_some(cost);
                let this = self.as_mut().project();
                if number == 1 {
                    *this.first_failure = Some(result);
                }
                from = number + 1;
            }
            if self.considered < self.parts.hedge().shared().delay.config().max_attempts {
                // All attempts so far have been polled and are pending; only a new attempt is
                // polled next.
                from = self.started + 1;
                let cost = match replacement {
                    Some(cost) => Some(cost),
                    None if self.running.is_empty() => None,
                    None if self.as_mut().poll_timer(task).is_ready() => Some(1),
                    None => return Poll::Pending,
                };
                if let Some(cost) = cost {
                    self.as_mut().start_next(cost);
                    continue;
                }
            }
            if !self.running.is_empty() {
                return Poll::Pending;
            }
            self.as_mut().end();
            let first_failure = self.project().first_failure.take();
            return Poll::Ready(first_failure.expect("the first attempt has failed"));
        }
    }
}

fn succeeded<T, E>(result: &Result<T, Error<E>>, classify: &impl Classify<T, E>) -> bool {
    result.is_ok() && !classify.classify(result, None).is_failure()
}

#[pinned_drop]
impl<H: HedgeParts, Op, Fut, T, E> PinnedDrop for HedgeFuture<H, Op, Fut, T, E> {
    fn drop(self: Pin<&mut Self>) {
        self.end();
    }
}

impl<H: HedgeParts, Op, Fut, T, E> fmt::Debug for HedgeFuture<H, Op, Fut, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeFuture").field("started", &self.started).finish_non_exhaustive()
    }
}

const COMPLETED: &str = "a hedged call was polled after it had completed";
