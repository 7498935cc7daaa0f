//! The future of a guarded call, which waits for admission, runs the operation and records its
//! outcome.
//!
//! The future is a named type rather than an `async` block. The result is returned from the
//! innermost layer to the outermost without a move per layer, and the Tower integration can name
//! the type.

use super::{Context, Guard, OwnedGuard};
use crate::error::{Error, Rejection};
use pin_project::pin_project;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// A future that admits, runs and records one operation. When the call ends, the operation is
/// dropped and the permit released, even if the future itself is kept.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
#[allow(unreachable_pub)] // The Tower futures contain this type.
pub struct GuardedFuture<R, P, A, Op, Fut> {
    recorder: R,
    #[pin]
    step: Step<P, A, Op, Fut>,
}

#[pin_project(project = StepProjection)]
enum Step<P, A, Op, Fut> {
    Admitting {
        #[pin]
        admission: A,
        op: Option<Op>,
        cx: Context,
    },
    Running {
        // Declared before the permit, so that the operation is dropped before its permit is
        // released.
        #[pin]
        running: Fut,
        permit: Option<P>,
    },
    Rejected(Rejection),
    Ended,
}

/// A handle to a guard that records the outcome of an admitted operation.
#[allow(unreachable_pub)]
pub trait Recorder<T, E> {
    type Permit;

    fn record(&self, permit: Self::Permit, result: &Result<T, Error<E>>);
}

/// A recorder that borrows the guard.
#[allow(unreachable_pub)]
pub struct Borrowed<'a, G>(pub &'a G);

impl<'a, T, E, G: Guard<T, E>> Recorder<T, E> for Borrowed<'a, G> {
    type Permit = G::Permit<'a>;

    #[inline(always)]
    fn record(&self, permit: Self::Permit, result: &Result<T, Error<E>>) {
        self.0.record(permit, result);
    }
}

/// A recorder for owned permits, each of which keeps its guard alive.
#[allow(unreachable_pub)]
pub struct Owned<G>(PhantomData<fn() -> G>);

impl<G> Owned<G> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T, E, G: OwnedGuard<T, E>> Recorder<T, E> for Owned<G> {
    type Permit = G::OwnedPermit;

    #[inline(always)]
    fn record(&self, permit: Self::Permit, result: &Result<T, Error<E>>) {
        G::record_owned(permit, result);
    }
}

/// An operation that is started at most once. Closures implement this trait. A named type that
/// implements it can be part of a public type.
#[allow(unreachable_pub)]
pub trait Start<T, E> {
    type Future: Future<Output = Result<T, Error<E>>>;

    fn start(self, cx: Context) -> Self::Future;
}

impl<Op, Fut, T, E> Start<T, E> for Op
where
    Op: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Future = Fut;

    #[inline]
    fn start(self, cx: Context) -> Fut {
        self(cx)
    }
}

impl<R, P, A, Op, Fut> GuardedFuture<R, P, A, Op, Fut> {
    /// Creates a future that waits for `admission` and then starts `op`.
    #[inline]
    pub(crate) fn new(recorder: R, cx: Context, admission: A, op: Op) -> Self {
        Self { recorder, step: Step::Admitting { admission, op: Some(op), cx } }
    }

    /// Creates a future that runs an operation that has already been admitted.
    #[inline]
    pub(crate) fn admitted(recorder: R, permit: P, running: Fut) -> Self {
        Self { recorder, step: Step::Running { running, permit: Some(permit) } }
    }

    /// Creates a future that completes with `rejection`.
    #[inline]
    pub(crate) fn rejected(recorder: R, rejection: Rejection) -> Self {
        Self { recorder, step: Step::Rejected(rejection) }
    }
}

impl<R, P, A, Op, Fut, T, E> Future for GuardedFuture<R, P, A, Op, Fut>
where
    R: Recorder<T, E, Permit = P>,
    A: Future<Output = Result<P, Rejection>>,
    Op: Start<T, E, Future = Fut>,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProjection::Admitting { admission, op, cx } => {
                    let Poll::Ready(admitted) = admission.poll(task) else {
                        *cx = cx.after_waiting();
                        return Poll::Pending;
                    };
                    let op = op.take().expect(COMPLETED);
                    match admitted {
                        Ok(permit) => {
                            let running = op.start(*cx);
                            this.step.set(Step::Running { running, permit: Some(permit) });
                        }
                        Err(rejection) => {
                            drop(op);
                            this.step.set(Step::Ended);
                            return Poll::Ready(Err(rejection.into()));
                        }
                    }
                }
                StepProjection::Running { running, permit } => {
                    let result = ready!(running.poll(task));
                    let permit = permit.take();
                    this.step.set(Step::Ended);
                    if let Some(permit) = permit {
                        this.recorder.record(permit, &result);
                    }
                    return Poll::Ready(result);
                }
                StepProjection::Rejected(rejection) => {
                    let rejection = *rejection;
                    this.step.set(Step::Ended);
                    return Poll::Ready(Err(rejection.into()));
                }
                StepProjection::Ended => panic!("{COMPLETED}"),
            }
        }
    }
}

/// A future that converts the error of the operation into [`Error::Operation`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
#[allow(unreachable_pub)] // The Tower futures contain this type.
pub struct OperationFuture<Fut>(#[pin] pub(crate) Fut);

impl<Fut, T, E> Future for OperationFuture<Fut>
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

const COMPLETED: &str = "a guarded call was polled after it had completed";
