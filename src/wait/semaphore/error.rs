//! Why there is no permit.

use std::error::Error;
use std::fmt;

/// The reason why a call that does not wait, or waits for a limited time, got no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SemaphoreError {
    /// Too few permits were available, or other callers waited for them: immediately for `try_`
    /// methods, until the timeout for `_timeout` methods.
    Exhausted,
    /// The semaphore is closed.
    Closed,
}

/// The semaphore is closed and grants no more permits.
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
