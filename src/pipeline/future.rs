//! The futures of the layers, written out: a result goes from the innermost to the outermost without
//! being moved by each on its way, which `async` blocks would do.

use crate::error::{Error, TimedOut};
use crate::policy::{Context, Guard, Limit};
use crate::time::{Deadline, Expiry};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// Admits, runs, settles.
#[pin_project]
pub(super) struct GuardedCall<'a, T, E, G: Guard<T, E> + 'a, Admit, Op, Fut> {
    guard: &'a G,
    cx: Context,
    op: Option<Op>,
    /// Whether admission was found pending.
    waited: bool,
    #[pin]
    admit: Admit,
    // Dropped before the permit: what the operation holds is gone when its permit is given back.
    #[pin]
    running: Option<Fut>,
    permit: Option<G::Permit<'a>>,
}

impl<'a, T, E, G: Guard<T, E>, Admit, Op, Fut> GuardedCall<'a, T, E, G, Admit, Op, Fut> {
    #[inline]
    pub(super) fn new(guard: &'a G, cx: Context, admit: Admit, op: Op) -> Self {
        Self { guard, cx, op: Some(op), waited: false, admit, running: None, permit: None }
    }
}

impl<'a, T, E, G, Admit, Op, Fut> Future for GuardedCall<'a, T, E, G, Admit, Op, Fut>
where
    G: Guard<T, E>,
    Admit: Future<Output = Result<G::Permit<'a>, crate::error::Rejection>>,
    Op: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.op.is_some() {
            let Poll::Ready(admitted) = this.admit.poll(task) else {
                *this.waited = true;
                return Poll::Pending;
            };
            let op = this.op.take().expect("was just seen");
            let permit = admitted?;
            let cx = if *this.waited { this.cx.after_waiting() } else { *this.cx };
            this.running.set(Some(op(cx)));
            *this.permit = Some(permit);
        }
        let result = ready!(this.running.as_mut().as_pin_mut().expect(COMPLETED).poll(task));
        this.running.set(None);
        if let Some(permit) = this.permit.take() {
            this.guard.settle(permit, &result);
        }
        Poll::Ready(result)
    }
}

/// Runs until a limit.
#[pin_project]
#[cfg_attr(not(feature = "tower"), allow(unreachable_pub))] // Tower's futures are named after it.
pub struct LimitedCall<L, Fut> {
    limit: L,
    #[pin]
    running: Fut,
    #[pin]
    expiry: Expiry,
}

impl<L: Limit, Fut> LimitedCall<L, Fut> {
    #[inline]
    pub(crate) fn new(limit: L, cx: Context, op: impl FnOnce(Context) -> Fut) -> Self {
        let cx = cx.on(limit.clock());
        let until = cx.now() + limit.limit();
        let running = op(cx.with_deadline(Deadline::at(until)));
        Self { limit, running, expiry: Expiry::new(until) }
    }
}

impl<L, Fut, T, E> Future for LimitedCall<L, Fut>
where
    L: Limit,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.running.poll(task) {
            Poll::Pending => {}
            ended => return ended,
        }
        ready!(this.expiry.poll(this.limit.clock(), task));
        Poll::Ready(Err(TimedOut::new(this.limit.facts().name, this.limit.limit()).into()))
    }
}

/// The operation's own errors, put into mainstay's.
#[pin_project]
#[cfg_attr(not(feature = "tower"), allow(unreachable_pub))] // Tower's futures are named after it.
pub struct Operation<Fut>(#[pin] pub(crate) Fut);

impl<Fut, T, E> Future for Operation<Fut>
where
    Fut: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        match ready!(self.project().0.poll(task)) {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(error) => Poll::Ready(Err(Error::Operation(error))),
        }
    }
}

const COMPLETED: &str = "polled after it had completed";
