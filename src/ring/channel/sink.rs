//! A sender as a `Sink`.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;

use super::Sender;
use super::shared::NotFull;
use crate::ring::error::{PushError, SendError};
use crate::wait::{Wait, WaitState};

/// A [`Sender`] as a [`Sink`]; see [`Sender::into_sink`].
///
/// `poll_ready` of a sink promises to accept an item that does not exist yet. A sender cannot
/// reserve a slot, because other senders share the ring, so the sink can hold one item itself. That
/// item enters the channel when the sink is polled again; a flush or a close waits for it. Dropping
/// the sink drops an item that it still holds.
pub struct SenderSink<T> {
    sender: Sender<T>,
    held: Option<T>,
    wait_state: WaitState,
}

impl<T> SenderSink<T> {
    pub(super) fn new(sender: Sender<T>) -> Self {
        Self { sender, held: None, wait_state: WaitState::default() }
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        if self.held.is_none() {
            return Poll::Ready(Ok(()));
        }
        let Self { sender, held, wait_state } = self;
        let shared = &sender.shared;
        let (queue, condition) = (&shared.waiting_senders, NotFull(shared));
        let mut wait = Wait::resume(queue, condition, std::mem::take(wait_state));
        let sent = wait.poll(cx, || shared.attempt_send(held));
        *wait_state = wait.suspend();
        Poll::Ready(match (ready!(sent), held.take()) {
            (Err(_), Some(value)) => Err(SendError(value)),
            _ => Ok(()),
        })
    }
}

// The item is not pinned: it is only moved out.
impl<T> Unpin for SenderSink<T> {}

/// The error returns the item that could not be sent because the channel is closed.
impl<T> Sink<T> for SenderSink<T> {
    type Error = SendError<T>;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        self.poll_held(cx)
    }

    /// # Panics
    ///
    /// Panics if `poll_ready` has not returned `Ready(Ok(()))` before.
    fn start_send(mut self: Pin<&mut Self>, item: T) -> Result<(), SendError<T>> {
        assert!(self.held.is_none(), "`start_send` without `poll_ready`");
        if self.sender.is_closed() {
            return Err(SendError(item));
        }
        self.held = self.sender.try_send(item).err().map(PushError::into_value);
        Ok(())
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        self.poll_held(cx)
    }

    /// Flushes. The channel stays open for other senders.
    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        self.poll_held(cx)
    }
}

impl<T> Drop for SenderSink<T> {
    fn drop(&mut self) {
        let shared = &self.sender.shared;
        let (queue, condition) = (&shared.waiting_senders, NotFull(shared));
        // Leaves the queue.
        drop(Wait::resume(queue, condition, std::mem::take(&mut self.wait_state)));
    }
}

impl<T> fmt::Debug for SenderSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderSink")
            .field("sender", &self.sender)
            .field("holds_item", &self.held.is_some())
            .finish()
    }
}
