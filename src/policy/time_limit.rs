//! Policies that limit the duration of an operation: [`TimeLimit`].

use super::Policy;
use crate::time::Clock;
use std::time::Duration;

/// A policy that limits the duration of an operation.
///
/// A future is dropped when the limit is reached. A blocking closure cannot be interrupted: it
/// receives the limit as the deadline of its [`Context`](super::Context), and a result that it
/// returns after the deadline is returned unchanged. `&L` and `Arc<L>` implement this trait if `L`
/// does.
pub trait TimeLimit: Policy {
    /// Returns the time limit of an operation that starts now.
    fn duration(&self) -> Duration;

    /// Returns the clock that measures the limit.
    fn clock(&self) -> &Clock;
}
