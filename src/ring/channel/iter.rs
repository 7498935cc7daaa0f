//! Blocking iterators over the items of a receiver.

use std::fmt;
use std::iter::FusedIterator;

use super::Receiver;

/// A blocking iterator that borrows a receiver; see [`Receiver::iter`].
///
/// It ends when the channel is closed and all items have been received.
pub struct ReceiverIter<'a, T> {
    receiver: &'a Receiver<T>,
}

/// A blocking iterator that owns a receiver, made by `Receiver::into_iter`.
///
/// It ends when the channel is closed and all items have been received.
pub struct ReceiverIntoIter<T> {
    receiver: Receiver<T>,
}

impl<'a, T> ReceiverIter<'a, T> {
    pub(super) fn new(receiver: &'a Receiver<T>) -> Self {
        Self { receiver }
    }
}

impl<T> Iterator for ReceiverIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv_blocking().ok()
    }
}

impl<T> FusedIterator for ReceiverIter<'_, T> {}

impl<T> Iterator for ReceiverIntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.receiver.recv_blocking().ok()
    }
}

impl<T> FusedIterator for ReceiverIntoIter<T> {}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = ReceiverIter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = ReceiverIntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        ReceiverIntoIter { receiver: self }
    }
}

impl<T> fmt::Debug for ReceiverIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReceiverIter").field(self.receiver).finish()
    }
}

impl<T> fmt::Debug for ReceiverIntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReceiverIntoIter").field(&self.receiver).finish()
    }
}
