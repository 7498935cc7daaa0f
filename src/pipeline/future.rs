//! The future of a call with a time limit.
//!
//! The future is a named type rather than an `async` block, so that the result is returned to the
//! outer layer without a move, and the Tower integration can name the type.

use crate::error::{Error, TimedOut};
use crate::policy::{Context, TimeLimit, end_of_limit};
use crate::time::{Deadline, Expiry};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// A future that runs an operation until it completes or the time limit is reached.
///
/// In both cases the operation is dropped immediately, even if this future is kept.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
#[cfg_attr(not(feature = "tower"), allow(unreachable_pub))] // The Tower futures contain this type.
pub struct TimeLimitFuture<L, Fut> {
    limit: L,
    /// `None` after the operation has ended.
    #[pin]
    running: Option<Fut>,
    expiry: Expiry,
}

impl<L: TimeLimit, Fut> TimeLimitFuture<L, Fut> {
    #[inline]
    pub(crate) fn new(limit: L, cx: Context, op: impl FnOnce(Context) -> Fut) -> Self {
        let cx = cx.on(limit.clock());
        let until = end_of_limit(&limit, cx);
        let running = Some(op(cx.with_deadline(Deadline::at(until))));
        Self { limit, running, expiry: Expiry::new(until) }
    }
}

impl<L, Fut, T, E> Future for TimeLimitFuture<L, Fut>
where
    L: TimeLimit,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let running = this.running.as_mut().as_pin_mut();
        let running = running.expect("a call with a time limit was polled after it had completed");
        let result = match running.poll(task) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                ready!(this.expiry.poll(this.limit.clock(), task));
                Err(TimedOut::new(this.limit.facts().name, this.limit.duration()).into())
            }
        };
        this.running.set(None);
        Poll::Ready(result)
    }
}
