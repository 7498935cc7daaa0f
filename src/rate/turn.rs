//! A FIFO queue of callers that retry until their tokens are granted: [`Turn`].

use super::Denied;
use crate::error::Rejection;
use crate::time::{Clock, Instant};
use crate::wait::{Semaphore, SemaphorePermit};
use std::time::Duration;

/// A FIFO queue of callers that wait for tokens. Only the first caller, which *has the turn*,
/// attempts to take tokens; it sleeps between attempts. Tokens are not assigned in advance, so a
/// caller that leaves the queue wastes none.
#[derive(Debug)]
pub(super) struct Turn(Semaphore);

/// A denial with the time of the earliest useful retry, if known.
pub(super) trait RetryAfter {
    /// Returns the time until the request can be granted, or `None` if it never can or the time is
    /// unknown.
    fn retry_after(&self) -> Option<Duration>;
}

/// Whether the caller has waited before this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    AfterWaiting,
}

/// The longest sleep between two attempts. A refund or a raised quota can make tokens available
/// earlier than the last denial reported.
const MAX_SLEEP: Duration = Duration::from_secs(1);

impl Turn {
    pub(super) fn new(clock: &Clock) -> Self {
        Self(Semaphore::new(1).with_clock(clock.clone()))
    }

    /// Returns whether a caller has the turn.
    #[inline]
    pub(super) fn is_taken(&self) -> bool {
        self.0.available() == 0
    }

    /// Waits for the turn, then calls `attempt` until it succeeds. Returns the last denial if no
    /// attempt can succeed by `deadline`, and the result of `deny` if `deadline` passes before the
    /// turn.
    pub(super) async fn wait<T, D: RetryAfter>(
        &self,
        clock: &Clock,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(Attempt) -> Result<T, D>,
        deny: impl FnOnce() -> D,
    ) -> Result<T, D> {
        let mut kind = Attempt::First;
        let turn = match self.0.try_acquire() {
            Ok(turn) => Some(turn),
            Err(_) => {
                kind = Attempt::AfterWaiting;
                match deadline {
                    None => self.0.acquire().await.ok(),
                    Some(deadline) => self.0.acquire_timeout(deadline - clock.now()).await.ok(),
                }
            }
        };
        let Some(_turn): Option<SemaphorePermit<'_>> = turn else { return Err(deny()) };
        loop {
            let denied = match attempt(kind) {
                Ok(granted) => return Ok(granted),
                Err(denied) => denied,
            };
            let until = next_attempt(denied, clock.now(), deadline)?;
            clock.sleep_until(until).await;
            kind = Attempt::AfterWaiting;
        }
    }

    /// Waits as [`wait`](Self::wait) does, blocking the thread.
    pub(super) fn wait_blocking<T, D: RetryAfter>(
        &self,
        clock: &Clock,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(Attempt) -> Result<T, D>,
        deny: impl FnOnce() -> D,
    ) -> Result<T, D> {
        let mut kind = Attempt::First;
        let turn = match self.0.try_acquire() {
            Ok(turn) => Some(turn),
            Err(_) => {
                kind = Attempt::AfterWaiting;
                match deadline {
                    None => self.0.acquire_blocking().ok(),
                    Some(deadline) => self.0.acquire_blocking_timeout(deadline - clock.now()).ok(),
                }
            }
        };
        let Some(_turn): Option<SemaphorePermit<'_>> = turn else { return Err(deny()) };
        loop {
            let denied = match attempt(kind) {
                Ok(granted) => return Ok(granted),
                Err(denied) => denied,
            };
            let now = clock.now();
            clock.sleep_blocking(next_attempt(denied, now, deadline)? - now);
            kind = Attempt::AfterWaiting;
        }
    }
}

/// Returns the time of the next attempt, or `denied` if no attempt can succeed by `deadline`.
fn next_attempt<D: RetryAfter>(
    denied: D,
    now: Instant,
    deadline: Option<Instant>,
) -> Result<Instant, D> {
    match denied.retry_after() {
        Some(after) if deadline.is_none_or(|deadline| now + after <= deadline) => {
            Ok(now + after.min(MAX_SLEEP))
        }
        _ => Err(denied),
    }
}

impl RetryAfter for Denied {
    fn retry_after(&self) -> Option<Duration> {
        self.retry_after()
    }
}

impl RetryAfter for Rejection {
    fn retry_after(&self) -> Option<Duration> {
        self.retry_after()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    impl RetryAfter for Option<u64> {
        fn retry_after(&self) -> Option<Duration> {
            self.map(Duration::from_millis)
        }
    }

    #[test]
    fn the_next_attempt_is_made_when_it_can_succeed_and_at_least_once_per_second() {
        let at = |ms| Instant::ORIGIN + Duration::from_millis(ms);
        for (retry_after, deadline, expected) in [
            (Some(0), None, Ok(at(10))),
            (Some(5), None, Ok(at(15))),
            (Some(5_000), None, Ok(at(1_010))),
            (Some(5), Some(15), Ok(at(15))),
            (Some(6), Some(15), Err(Some(6))),
            (Some(5_000), Some(5_010), Ok(at(1_010))),
            (Some(5_000), Some(5_009), Err(Some(5_000))),
            (None, None, Err(None)),
        ] {
            let next = next_attempt(retry_after, at(10), deadline.map(at));
            assert_eq!(next, expected, "{retry_after:?} until {deadline:?}");
        }
    }
}
