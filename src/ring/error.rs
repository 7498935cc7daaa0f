//! The errors of the ring and the channel. An item that was not accepted is returned in the error.

use std::error::Error;
use std::fmt;

/// The error of pushing into a ring. It holds the item that was not pushed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// The ring was full.
    Full(T),
    /// The ring was not full, but a consumer has claimed the next slot and not released it yet. The
    /// caller can retry soon.
    Busy(T),
    /// The ring is closed.
    Closed(T),
}

/// The error of popping from a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PopError {
    /// The ring was empty.
    Empty,
    /// The ring was not empty, but a producer has claimed the slot of the oldest item and not
    /// filled it yet. The caller can retry soon.
    Busy,
    /// The ring is closed, and all items have been popped.
    Closed,
}

/// The error of a forced push. It holds the item that was not pushed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ForcePushError<T> {
    /// Another thread has claimed the slot: a producer has not filled the slot of the oldest item
    /// yet, or a consumer has not released the free slot yet. The caller can retry soon.
    Busy(T),
    /// The ring is closed.
    Closed(T),
}

/// The error of sending into a closed channel. It holds the item that was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// The error of receiving from a channel that is closed and empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvError;

/// The error of sending with a timeout. It holds the item that was not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The channel was still full when the timeout had passed.
    Timeout(T),
    /// The channel is closed.
    Closed(T),
}

/// The error of receiving with a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// The channel was still empty when the timeout had passed.
    Timeout,
    /// The channel is closed, and all items have been received.
    Closed,
}

impl<T> PushError<T> {
    /// Returns the item that was not pushed.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring = Ring::new(1);
    /// ring.try_push("first").unwrap();
    /// let error = ring.try_push("second").unwrap_err();
    /// assert_eq!(error.into_value(), "second");
    /// ```
    pub fn into_value(self) -> T {
        match self {
            Self::Full(value) | Self::Busy(value) | Self::Closed(value) => value,
        }
    }
}

impl PushError<()> {
    /// Returns this error with the item that was not pushed.
    #[inline]
    pub(super) fn with_value<T>(self, value: T) -> PushError<T> {
        match self {
            Self::Full(()) => PushError::Full(value),
            Self::Busy(()) => PushError::Busy(value),
            Self::Closed(()) => PushError::Closed(value),
        }
    }
}

impl<T> ForcePushError<T> {
    /// Returns the item that was not pushed.
    ///
    /// ```
    /// use mainstay::ring::Ring;
    ///
    /// let ring = Ring::new(1);
    /// ring.close();
    /// assert_eq!(ring.force_push("late").unwrap_err().into_value(), "late");
    /// ```
    pub fn into_value(self) -> T {
        match self {
            Self::Busy(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> SendError<T> {
    /// Returns the item that was not sent.
    ///
    /// ```
    /// use mainstay::ring::channel;
    ///
    /// let (sender, receiver) = channel(1);
    /// drop(receiver);
    /// assert_eq!(sender.send_blocking("late").unwrap_err().into_value(), "late");
    /// ```
    pub fn into_value(self) -> T {
        self.0
    }
}

impl<T> SendTimeoutError<T> {
    /// Returns the item that was not sent.
    ///
    /// ```
    /// use mainstay::ring::channel;
    /// use std::time::Duration;
    ///
    /// let (sender, _receiver) = channel(1);
    /// sender.try_send("first").unwrap();
    /// let sent = sender.send_blocking_timeout("second", Duration::ZERO);
    /// assert_eq!(sent.unwrap_err().into_value(), "second");
    /// ```
    pub fn into_value(self) -> T {
        match self {
            Self::Timeout(value) | Self::Closed(value) => value,
        }
    }
}

const RING_FULL: &str = "the ring is full";
const RING_EMPTY: &str = "the ring is empty";
const RING_BUSY: &str = "another thread has not finished its work on the slot";
const RING_CLOSED: &str = "the ring is closed";
const CHANNEL_CLOSED: &str = "the channel is closed";
const CHANNEL_DRAINED: &str = "the channel is closed and empty";

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => RING_FULL,
            Self::Busy(_) => RING_BUSY,
            Self::Closed(_) => RING_CLOSED,
        })
    }
}

impl fmt::Display for PopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => RING_EMPTY,
            Self::Busy => RING_BUSY,
            Self::Closed => "the ring is closed and empty",
        })
    }
}

impl<T> fmt::Display for ForcePushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy(_) => RING_BUSY,
            Self::Closed(_) => RING_CLOSED,
        })
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CHANNEL_CLOSED)
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CHANNEL_DRAINED)
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout(_) => "timed out waiting for a free slot",
            Self::Closed(_) => CHANNEL_CLOSED,
        })
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timed out waiting for an item",
            Self::Closed => CHANNEL_DRAINED,
        })
    }
}

// `Debug` omits the item: its type may not implement `Debug`, and its content may be confidential.

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

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout(_) => "Timeout(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> Error for PushError<T> {}
impl Error for PopError {}
impl<T> Error for ForcePushError<T> {}
impl<T> Error for SendError<T> {}
impl Error for RecvError {}
impl<T> Error for SendTimeoutError<T> {}
impl Error for RecvTimeoutError {}
