//! The `Stream` of a receiver.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::Receiver;
use super::shared::NotEmpty;
use crate::wait::{Wait, WaitState};

/// A [`Receiver`] as a [`Stream`]; see [`Receiver::into_stream`].
///
/// The stream ends when the channel is closed and all items have been received.
pub struct ReceiverStream<T> {
    receiver: Receiver<T>,
    wait_state: WaitState,
}

impl<T> ReceiverStream<T> {
    pub(super) fn new(receiver: Receiver<T>) -> Self {
        Self { receiver, wait_state: WaitState::default() }
    }
}

impl<T> Stream for ReceiverStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { receiver, wait_state } = &mut *self;
        let shared = &receiver.shared;
        let (queue, condition) = (&shared.waiting_receivers, NotEmpty(shared));
        let mut wait = Wait::resume(queue, condition, std::mem::take(wait_state));
        let received = wait.poll(cx, || shared.attempt_recv());
        *wait_state = wait.suspend();
        received.map(Result::ok)
    }
}

impl<T> Drop for ReceiverStream<T> {
    fn drop(&mut self) {
        let shared = &self.receiver.shared;
        let (queue, condition) = (&shared.waiting_receivers, NotEmpty(shared));
        // Dropping the resumed wait removes it from the queue.
        drop(Wait::resume(queue, condition, std::mem::take(&mut self.wait_state)));
    }
}

impl<T> fmt::Debug for ReceiverStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReceiverStream").field(&self.receiver).finish()
    }
}
