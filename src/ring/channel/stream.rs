//! The two sides as `Stream` and `Sink`.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;

use super::{Items, Receiver, Room, Sender};
use crate::ring::error::SendError;
use crate::wait::{Wait, WaitState};

/// A [`Receiver`] as a [`Stream`], which ends when the channel is closed and drained. Made by
/// [`Receiver::into_stream`].
pub struct RecvStream<T> {
    receiver: Receiver<T>,
    ticket: WaitState,
}

impl<T> RecvStream<T> {
    pub(super) fn new(receiver: Receiver<T>) -> Self {
        Self { receiver, ticket: WaitState::default() }
    }
}

impl<T> Stream for RecvStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { receiver, ticket } = &mut *self;
        let shared = &receiver.shared;
        let mut wait = Wait::resume(&shared.for_items, Items(&shared.core), std::mem::take(ticket));
        let received = wait.poll(cx, || shared.attempt_recv());
        *ticket = wait.suspend();
        received.map(Result::ok)
    }
}

impl<T> Drop for RecvStream<T> {
    fn drop(&mut self) {
        let shared = &self.receiver.shared;
        drop(Wait::resume(
            &shared.for_items,
            Items(&shared.core),
            std::mem::take(&mut self.ticket),
        ));
    }
}

/// A [`Sender`] as a [`Sink`]. Made by [`Sender::into_sink`].
///
/// A sink promises to take an item before it knows it, which a shared ring cannot do for one of many
/// senders: so it holds one item of its own, which goes into the ring when the sink is next polled, and
/// for good with a flush or close. Dropping the sink drops an item that it still holds.
pub struct SendSink<T> {
    sender: Sender<T>,
    held: Option<T>,
    ticket: WaitState,
}

impl<T> SendSink<T> {
    pub(super) fn new(sender: Sender<T>) -> Self {
        Self { sender, held: None, ticket: WaitState::default() }
    }

    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<T>>> {
        if self.held.is_none() {
            return Poll::Ready(Ok(()));
        }
        let Self { sender, held, ticket } = self;
        let shared = &sender.shared;
        let mut wait = Wait::resume(&shared.for_room, Room(&shared.core), std::mem::take(ticket));
        let sent = wait.poll(cx, || shared.attempt_send(held));
        *ticket = wait.suspend();
        Poll::Ready(match (ready!(sent), held.take()) {
            (Err(_), Some(value)) => Err(SendError(value)),
            _ => Ok(()),
        })
    }
}

// The item is not pinned: it is only moved out.
impl<T> Unpin for SendSink<T> {}

/// Fails with the item that could not be sent, once the channel is closed.
impl<T> Sink<T> for SendSink<T> {
    type Error = SendError<T>;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        self.poll_held(cx)
    }

    /// # Panics
    ///
    /// If called without `poll_ready` having said so.
    fn start_send(mut self: Pin<&mut Self>, item: T) -> Result<(), SendError<T>> {
        assert!(self.held.is_none(), "`start_send` without `poll_ready`");
        if self.sender.is_closed() {
            return Err(SendError(item));
        }
        self.held = self.sender.try_send(item).err().map(super::PushError::into_value);
        Ok(())
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        self.poll_held(cx)
    }

    /// Flushes. The channel stays open for other senders, and closes with the last of them.
    fn poll_close(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError<T>>> {
        self.poll_held(cx)
    }
}

impl<T> Drop for SendSink<T> {
    fn drop(&mut self) {
        let shared = &self.sender.shared;
        drop(Wait::resume(&shared.for_room, Room(&shared.core), std::mem::take(&mut self.ticket)));
    }
}

impl<T> fmt::Debug for RecvStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecvStream").field(&self.receiver).finish()
    }
}

impl<T> fmt::Debug for SendSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendSink")
            .field("sender", &self.sender)
            .field("holds", &self.held.is_some())
            .finish()
    }
}
