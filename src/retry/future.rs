use super::RetryWhen;
use super::config::Settings;
use super::plan::{Decide, Plan};
use crate::error::Error;
use crate::policy::Attempt;
use crate::time::Sleep;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// An attempt, a wait, an attempt, …; of the retry `R`, which it borrows or owns.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Attempts<R, Op, Fut> {
    retry: R,
    plan: Plan,
    op: Op,
    #[pin]
    now: Now<Fut>,
}

#[pin_project(project = NowProjection)]
enum Now<Fut> {
    Attempt(#[pin] Fut),
    Wait(#[pin] Sleep),
}

/// A retry that is borrowed.
pub(super) struct Borrowed<'a, D> {
    pub(super) settings: &'a Settings,
    pub(super) decide: &'a D,
}

/// A retry, borrowed or owned.
pub(super) trait Rules {
    type Decide;
    fn settings(&self) -> &Settings;
    fn decide(&self) -> &Self::Decide;
}

impl<D> Rules for Borrowed<'_, D> {
    type Decide = D;

    #[inline]
    fn settings(&self) -> &Settings {
        self.settings
    }

    #[inline]
    fn decide(&self) -> &D {
        self.decide
    }
}

impl<D> Rules for RetryWhen<D> {
    type Decide = D;

    #[inline]
    fn settings(&self) -> &Settings {
        &self.retry.0
    }

    #[inline]
    fn decide(&self) -> &D {
        &self.decide
    }
}

impl<R, Op, Fut> Attempts<R, Op, Fut> {
    #[inline]
    pub(super) fn new<T, E>(retry: R, plan: Plan, mut op: Op) -> Self
    where
        R: Rules,
        Op: Attempt<T, E, Future = Fut>,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        let first = op.begin(plan.context(retry.settings()));
        Self { retry, plan, op, now: Now::Attempt(first) }
    }
}

impl<R, Op, Fut, T, E> Future for Attempts<R, Op, Fut>
where
    R: Rules,
    R::Decide: Decide<T, E>,
    Op: Attempt<T, E, Future = Fut>,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.now.as_mut().project() {
                NowProjection::Attempt(attempt) => {
                    let result = ready!(attempt.poll(task));
                    let directive = this.retry.decide().decide(&result);
                    match this.plan.wait_after(directive, this.retry.settings()) {
                        None => return Poll::Ready(result),
                        Some(wait) => {
                            drop(result); // a response may hold a connection that the next attempt wants
                            this.now.set(Now::Wait(this.retry.settings().clock.sleep(wait)));
                        }
                    }
                }
                NowProjection::Wait(sleep) => {
                    ready!(sleep.poll(task));
                    let cx = this.plan.context(this.retry.settings());
                    this.now.set(Now::Attempt(this.op.begin(cx)));
                }
            }
        }
    }
}

impl<R, Op, Fut> fmt::Debug for Attempts<R, Op, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}
