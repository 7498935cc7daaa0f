//! The errors of acquiring and of creating a resource.

use crate::error::Rejection;
use crate::sync::PlainArc;
use std::fmt::{self, Debug, Display};
use std::time::Duration;

/// The error of acquiring a resource. `E` is the error type of the manager.
#[derive(Debug)]
#[non_exhaustive]
pub enum ResourcePoolError<E> {
    /// No resource became available in time. Boxed to keep the error small.
    TimedOut(Box<AcquireTimedOut<E>>),
    /// A resource could not be created, and another attempt would fail in the same way.
    CreationFailed(PlainArc<CreationError<E>>),
    /// The guard rejected the creation of a resource, and no other resource exists.
    Rejected(Rejection),
    /// No idle resource is available now. Only `try_acquire` returns this error.
    Exhausted,
    /// The pool is closed.
    Closed,
    /// The key is new, and no other key of the
    /// [`KeyedResourcePool`](super::KeyedResourcePool) could be removed for it.
    TooManyKeys,
}

/// The state of the pool when an acquisition timed out.
#[derive(Debug)]
#[non_exhaustive]
pub struct AcquireTimedOut<E> {
    /// How long the caller waited.
    pub waited: Duration,
    /// The maximum number of resources.
    pub max_size: usize,
    /// The number of resources in use.
    pub in_use: usize,
    /// The number of other callers that were waiting.
    pub waiting: usize,
    /// The number of creations that were in progress or waiting for their next attempt.
    pub creating: usize,
    /// The error of the last creation, and how long ago it failed, if no creation has succeeded
    /// since.
    pub last_creation_error: Option<(PlainArc<CreationError<E>>, Duration)>,
    /// The last rejection of a creation by the guard, and how long ago it was, if no creation has
    /// succeeded since.
    pub last_creation_rejection: Option<(Rejection, Duration)>,
    /// The number of resources of all keys, if the pool belongs to a key of a
    /// [`KeyedResourcePool`](super::KeyedResourcePool).
    pub total: Option<ResourceTotal>,
}

/// The number of resources of all keys of a [`KeyedResourcePool`](super::KeyedResourcePool).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceTotal {
    /// The number of resources that exist, are being created or are being closed.
    pub size: usize,
    /// The maximum number of resources.
    pub max_size: usize,
}

/// The reason why a creation failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CreationError<E> {
    /// The manager returned this error.
    Failed(E),
    /// The manager did not return within this time.
    TimedOut(Duration),
}

impl<E: Display> Display for CreationError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => Display::fmt(error, f),
            Self::TimedOut(timeout) => write!(f, "creation timed out after {timeout:?}"),
        }
    }
}

impl<E: Display> Display for AcquireTimedOut<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waited, max_size, in_use, waiting, creating, .. } = self;
        write!(
            f,
            "no resource within {waited:?}: {in_use} of {max_size} in use, {creating} being \
             created, {waiting} other callers waiting"
        )?;
        if let Some(ResourceTotal { size, max_size }) = &self.total {
            write!(f, "; {size} of {max_size} over all keys")?;
        }
        if let Some((error, ago)) = &self.last_creation_error {
            write!(f, "; last creation failed {ago:?} ago: {error}")?;
        }
        match &self.last_creation_rejection {
            Some((rejection, ago)) => write!(f, "; creation rejected {ago:?} ago: {rejection}"),
            None => Ok(()),
        }
    }
}

impl<E: Display> Display for ResourcePoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(timed_out) => timed_out.fmt(f),
            Self::CreationFailed(error) => write!(f, "no resource could be created: {error}"),
            Self::Rejected(rejection) => write!(f, "no resource could be created: {rejection}"),
            Self::Exhausted => f.write_str("no idle resource is available"),
            Self::Closed => f.write_str("the pool is closed"),
            Self::TooManyKeys => f.write_str("the key is new, and no other key can be removed"),
        }
    }
}

impl<E: Debug + Display> std::error::Error for CreationError<E> {}
impl<E: Debug + Display> std::error::Error for AcquireTimedOut<E> {}
impl<E: Debug + Display> std::error::Error for ResourcePoolError<E> {}
