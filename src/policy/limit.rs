//! Policies that bound the time of an operation: [`Limit`].

use super::Policy;
use crate::time::Clock;
use std::time::Duration;

/// A policy that bounds the time of an operation.
///
/// A future is dropped when the limit is reached. A blocking closure cannot be interrupted: it receives
/// the limit as the deadline of its [`Context`](super::Context), and a late result is returned as it is.
/// `&L` and `Arc<L>` are limits if `L` is one.
pub trait Limit: Policy {
    /// Returns the time limit of an operation that starts now.
    fn limit(&self) -> Duration;

    /// Returns the clock that measures the limit.
    fn clock(&self) -> &Clock;
}
