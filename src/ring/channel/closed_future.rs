//! The future that waits for the channel to be closed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::shared::Shared;
use crate::ring::core::Core;
use crate::wait::{Attempt, Condition, Wait};

/// The future of [`Sender::closed`](super::Sender::closed).
#[must_use = "futures do nothing unless polled"]
pub struct ClosedFuture<'a, T> {
    shared: &'a Shared<T>,
    wait: Wait<'a, IsClosed<'a, T>>,
}

/// The condition of the channel being closed.
///
/// It needs no waiting flag, because it becomes true only once: the closing thread always locks the
/// queue afterwards. A waiter that enters the queue before that is woken. A later waiter checks the
/// condition under the same lock, and finds it true.
pub(super) struct IsClosed<'a, T>(pub(super) &'a Core<T>);

impl<T> Condition for IsClosed<'_, T> {
    fn set_waiting(&self) -> bool {
        !self.0.is_closed()
    }

    fn clear_waiting(&self) {}
}

impl<'a, T> ClosedFuture<'a, T> {
    pub(super) fn new(shared: &'a Shared<T>) -> Self {
        let wait = Wait::new(&shared.waiting_for_close, IsClosed(&shared.core));
        Self { shared, wait }
    }
}

impl<T> Future for ClosedFuture<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, wait } = &mut *self;
        wait.poll(cx, || match shared.core.is_closed() {
            true => Attempt::Done(()),
            false => Attempt::NotReady,
        })
    }
}

impl<T> fmt::Debug for ClosedFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClosedFuture").finish_non_exhaustive()
    }
}
