//! The errors of acquiring permits.

use std::error::Error;
use std::fmt;

/// The error of an acquisition that does not wait, or that has a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SemaphoreError {
    /// Too few permits were available, or other callers were waiting for them. A `try_` method
    /// returns this error immediately, a `_timeout` method after the timeout.
    Exhausted,
    /// The semaphore is closed.
    Closed,
}

/// The error of acquiring from a closed semaphore, which grants no more permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SemaphoreClosed;

impl From<SemaphoreClosed> for SemaphoreError {
    fn from(_: SemaphoreClosed) -> Self {
        Self::Closed
    }
}

impl fmt::Display for SemaphoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => f.write_str("no permit is available"),
            Self::Closed => SemaphoreClosed.fmt(f),
        }
    }
}

impl fmt::Display for SemaphoreClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl Error for SemaphoreError {}
impl Error for SemaphoreClosed {}
