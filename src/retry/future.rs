//! The future of a retried call: attempts, and waits between them.

use super::config::Config;
use super::last_error::LastError;
use super::rule::RetryRule;
use super::state::State;
use super::{Retry, RetryWhen};
use crate::budget::Budget;
use crate::error::Error;
use crate::policy::Attempt;
use crate::time::Sleep;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The future of a call through the retry `R`, returned by
/// [`call_owned`](crate::policy::OwnedRepeat::call_owned).
///
/// When the call ends, the future drops the operation immediately, even if the future itself is
/// kept.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct RetryFuture<R, Op, Fut, E> {
    retry: R,
    state: State,
    last_error: LastError<E>,
    /// `None` after the call has ended.
    op: Option<Op>,
    #[pin]
    step: Step<Fut>,
}

#[pin_project(project = StepProjection)]
enum Step<Fut> {
    Attempting(#[pin] Fut),
    Waiting(Pin<Box<Sleep>>),
    Ended,
}

/// A retry and its rule, borrowed or owned.
pub(super) trait RetryParts {
    type Rule;
    fn config(&self) -> &Config;
    fn rule(&self) -> &Self::Rule;
}

/// A retry and its rule, borrowed.
pub(super) struct BorrowedRetry<'a, R> {
    pub(super) retry: &'a Retry,
    pub(super) rule: &'a R,
}

impl<R> RetryParts for BorrowedRetry<'_, R> {
    type Rule = R;

    #[inline]
    fn config(&self) -> &Config {
        &self.retry.0
    }

    #[inline]
    fn rule(&self) -> &R {
        self.rule
    }
}

impl<R> RetryParts for RetryWhen<R> {
    type Rule = R;

    #[inline]
    fn config(&self) -> &Config {
        &self.retry.0
    }

    #[inline]
    fn rule(&self) -> &R {
        &self.rule
    }
}

impl<R, Op, Fut, E> RetryFuture<R, Op, Fut, E> {
    /// Starts the first attempt.
    #[inline]
    pub(super) fn new<T>(retry: R, cx: crate::policy::Context, mut op: Op) -> Self
    where
        R: RetryParts,
        Op: Attempt<T, E, Future = Fut>,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        let config = retry.config();
        let cx = State::first_context(config, cx);
        let budget_call = config.budget.as_ref().map(Budget::start_call);
        let step = Step::Attempting(op.start(cx));
        // The state is built last. If it were built before `start`, which may panic, unwinding
        // would have to drop it, so it would be written to memory and copied from there. That costs
        // 14 ns.
        let state = State::new(cx, budget_call);
        Self { retry, state, last_error: LastError::NONE, op: Some(op), step }
    }
}

impl<R, Op, Fut, T, E> Future for RetryFuture<R, Op, Fut, E>
where
    R: RetryParts,
    R::Rule: RetryRule<T, E>,
    Op: Attempt<T, E, Future = Fut>,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProjection::Attempting(attempt) => {
                    let result = ready!(attempt.poll(task));
                    let config = this.retry.config();
                    match this.state.wait_after(&result, this.retry.rule(), config) {
                        None => {
                            this.step.set(Step::Ended);
                            *this.op = None;
                            return Poll::Ready(this.last_error.or(result));
                        }
                        Some(wait) => {
                            this.last_error.store(result);
                            this.step.set(Step::Waiting(Box::pin(config.clock.sleep(wait))));
                        }
                    }
                }
                StepProjection::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(task));
                    let cx = this.state.context(this.retry.config());
                    let op = this.op.as_mut().expect(COMPLETED);
                    this.step.set(Step::Attempting(op.start(cx)));
                }
                StepProjection::Ended => panic!("{COMPLETED}"),
            }
        }
    }
}

impl<R, Op, Fut, E> fmt::Debug for RetryFuture<R, Op, Fut, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture").finish_non_exhaustive()
    }
}

const COMPLETED: &str = "a retried call was polled after it had completed";
