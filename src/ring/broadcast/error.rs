//! The errors of receiving from a broadcast.

use std::error::Error;
use std::fmt;

/// The error of [`BroadcastSubscriber::try_recv`](super::BroadcastSubscriber::try_recv).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BroadcastTryRecvError {
    /// The subscriber has received all items that were sent so far.
    Empty,
    /// A sender has not finished a send that began before the broadcast was closed, or 4,095 other
    /// threads were cloning the item at this instant. The caller can retry soon.
    Busy,
    /// The subscriber was too slow: this number of items was overwritten before it received them.
    /// The next attempt returns the oldest item that is kept.
    Missed(u64),
    /// The broadcast is closed, and the subscriber has received all items.
    Closed,
}

/// The error of waiting for an item of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BroadcastRecvError {
    /// The subscriber was too slow: this number of items was overwritten before it received them.
    /// The next attempt returns the oldest item that is kept.
    Missed(u64),
    /// The broadcast is closed, and the subscriber has received all items.
    Closed,
}

/// The error of waiting for an item of a broadcast with a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BroadcastRecvTimeoutError {
    /// No item was sent before the timeout had passed.
    Timeout,
    /// The subscriber was too slow: this number of items was overwritten before it received them.
    /// The next attempt returns the oldest item that is kept.
    Missed(u64),
    /// The broadcast is closed, and the subscriber has received all items.
    Closed,
}

/// The number of items that a [`BroadcastStream`](super::BroadcastStream) has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastMissed(pub u64);

impl From<BroadcastRecvError> for BroadcastRecvTimeoutError {
    fn from(error: BroadcastRecvError) -> Self {
        match error {
            BroadcastRecvError::Missed(count) => Self::Missed(count),
            BroadcastRecvError::Closed => Self::Closed,
        }
    }
}

fn missed(f: &mut fmt::Formatter<'_>, count: u64) -> fmt::Result {
    write!(f, "missed {count} items, which were overwritten")
}

const CLOSED: &str = "the broadcast is closed and all items have been received";

impl fmt::Display for BroadcastTryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("all items that were sent have been received"),
            Self::Busy => f.write_str("another thread has not finished its work on the slot"),
            Self::Missed(count) => missed(f, *count),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl fmt::Display for BroadcastRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed(count) => missed(f, *count),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl fmt::Display for BroadcastRecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timed out waiting for an item"),
            Self::Missed(count) => missed(f, *count),
            Self::Closed => f.write_str(CLOSED),
        }
    }
}

impl fmt::Display for BroadcastMissed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        missed(f, self.0)
    }
}

impl Error for BroadcastTryRecvError {}
impl Error for BroadcastRecvError {}
impl Error for BroadcastRecvTimeoutError {}
impl Error for BroadcastMissed {}
