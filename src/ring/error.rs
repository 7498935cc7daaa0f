//! What can keep an item out of a ring, or in it.

use std::error::Error;
use std::fmt;

/// Why an item was not pushed; it comes back inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// There was no room.
    Full(T),
    /// There may be room, but a peer that takes the item before it, or is about to, has not finished.
    /// Try again soon.
    Busy(T),
    /// The ring is closed.
    Closed(T),
}

/// Why no item was popped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PopError {
    /// There was none.
    Empty,
    /// There may be one, but a peer that works in the slot where it would be has not finished: that
    /// pushes it, as a rule, or took out the one before it. Try again soon.
    Busy,
    /// The ring is closed, and everything that was pushed has been popped.
    Closed,
}

/// Why an item was not pushed even at the price of the oldest; it comes back inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ForcePushError<T> {
    /// The ring is full, and a peer is at work on the oldest item. Try again soon.
    Busy(T),
    /// The ring is closed.
    Closed(T),
}

/// The channel is closed: the item comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// The channel is closed, and everything that was sent has been received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError;

/// Why a wait with an end did not succeed; an item that was to be sent comes back inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TimeoutError<T> {
    /// It took too long.
    Timeout(T),
    /// The channel is closed, and to a receiver: drained.
    Closed(T),
}

impl<T> TimeoutError<T> {
    /// The item that was not sent.
    pub fn into_value(self) -> T {
        match self {
            Self::Timeout(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> PushError<T> {
    /// The item that was not pushed.
    pub fn into_value(self) -> T {
        match self {
            Self::Full(value) | Self::Busy(value) | Self::Closed(value) => value,
        }
    }
}

impl PushError<()> {
    /// The same about `value`.
    #[inline]
    pub(super) fn about<T>(self, value: T) -> PushError<T> {
        match self {
            Self::Full(()) => PushError::Full(value),
            Self::Busy(()) => PushError::Busy(value),
            Self::Closed(()) => PushError::Closed(value),
        }
    }
}

impl<T> ForcePushError<T> {
    /// The item that was not pushed.
    pub fn into_value(self) -> T {
        match self {
            Self::Busy(value) | Self::Closed(value) => value,
        }
    }
}

const FULL: &str = "the ring is full";
const EMPTY: &str = "the ring is empty";
const BUSY: &str = "a peer is at work on the slot in question";
const CLOSED: &str = "the ring is closed";

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => FULL,
            Self::Busy(_) => BUSY,
            Self::Closed(_) => CLOSED,
        })
    }
}

impl fmt::Display for PopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => EMPTY,
            Self::Busy => BUSY,
            Self::Closed => CLOSED,
        })
    }
}

impl<T> fmt::Display for ForcePushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy(_) => BUSY,
            Self::Closed(_) => CLOSED,
        })
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel is closed")
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel is closed and drained")
    }
}

impl<T> fmt::Display for TimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout(_) => "the wait took too long",
            Self::Closed(_) => "the channel is closed",
        })
    }
}

// The item may not be `Debug`, and may not belong into a log.
impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Busy(_) => "Busy(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Debug for ForcePushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy(_) => "Busy(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Debug for TimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout(_) => "Timeout(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> Error for SendError<T> {}
impl Error for RecvError {}
impl<T> Error for TimeoutError<T> {}
impl<T> Error for PushError<T> {}
impl Error for PopError {}
impl<T> Error for ForcePushError<T> {}
