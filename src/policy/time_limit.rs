//! Policies that limit the duration of an operation: [`TimeLimit`].

use super::{Context, Policy};
use crate::time::{Clock, Instant};
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

    /// Returns how long before the deadline of the call the operation must end. Default: zero, and
    /// the deadline of the call does not change the limit.
    fn deadline_margin(&self) -> Duration {
        Duration::ZERO
    }
}

/// Returns the instant at which an operation that starts at `cx.now()` is dropped.
#[inline]
pub(crate) fn end_of_limit(limit: &(impl TimeLimit + ?Sized), cx: Context) -> Instant {
    let own = cx.now() + limit.duration();
    let margin = limit.deadline_margin();
    match cx.deadline().instant() {
        Some(deadline) if !margin.is_zero() => own.min(deadline - margin).max(cx.now()),
        _ => own,
    }
}
