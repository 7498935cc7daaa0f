//! The `Stream` of a subscriber.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::BroadcastSubscriber;
use super::error::{BroadcastMissed, BroadcastRecvError};
use super::waiters::Waiting;

/// A [`BroadcastSubscriber`] as a [`Stream`]; see [`BroadcastSubscriber::into_stream`].
///
/// The stream ends when the broadcast is closed and all items have been received. It reports missed
/// items as errors, and continues.
pub struct BroadcastStream<T: Clone> {
    waiting: Waiting<BroadcastSubscriber<T>>,
}

impl<T: Clone> BroadcastStream<T> {
    pub(super) fn new(subscriber: BroadcastSubscriber<T>) -> Self {
        Self { waiting: Waiting::new(subscriber) }
    }
}

impl<T: Clone> Stream for BroadcastStream<T> {
    type Item = Result<T, BroadcastMissed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.waiting.poll(cx).map(|received| match received {
            Ok(item) => Some(Ok(item)),
            Err(BroadcastRecvError::Missed(count)) => Some(Err(BroadcastMissed(count))),
            Err(BroadcastRecvError::Closed) => None,
        })
    }
}

impl<T: Clone> fmt::Debug for BroadcastStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BroadcastStream").field(&self.waiting.operation).finish()
    }
}
