use super::plan::{Decide, Plan};
use crate::error::Error;
use crate::policy;
use crate::time::Sleep;
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// An attempt, a wait, an attempt, …
#[pin_project]
pub(super) struct Attempts<'a, D, Op, Fut> {
    plan: Plan<'a>,
    decide: &'a D,
    op: Op,
    #[pin]
    now: Now<Fut>,
}

#[pin_project(project = NowProjection)]
enum Now<Fut> {
    Attempt(#[pin] Fut),
    Wait(#[pin] Sleep),
}

impl<'a, D, Op, Fut> Attempts<'a, D, Op, Fut>
where
    Op: Fn(policy::Context) -> Fut,
{
    #[inline]
    pub(super) fn new(plan: Plan<'a>, decide: &'a D, op: Op) -> Self {
        let first = op(plan.context());
        Self { plan, decide, op, now: Now::Attempt(first) }
    }
}

impl<D, Op, Fut, T, E> Future for Attempts<'_, D, Op, Fut>
where
    D: Decide<T, E>,
    Op: Fn(policy::Context) -> Fut,
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
                    match this.plan.wait_after(this.decide.decide(&result)) {
                        None => return Poll::Ready(result),
                        Some(wait) => {
                            drop(result); // a response may hold a connection that the next attempt wants
                            this.now.set(Now::Wait(this.plan.clock().sleep(wait)));
                        }
                    }
                }
                NowProjection::Wait(sleep) => {
                    ready!(sleep.poll(task));
                    this.now.set(Now::Attempt((this.op)(this.plan.context())));
                }
            }
        }
    }
}
