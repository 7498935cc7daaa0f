//! A time limit for operations: [`Timeout`].
//!
//! # Examples
//!
//! ```
//! use mainstay::{error::Error, timeout::Timeout};
//! use std::time::Duration;
//!
//! # async fn search(_: &str) -> Result<u32, std::io::Error> { Ok(42) }
//! # futures::executor::block_on(async {
//! let timeout = Timeout::new(Duration::from_millis(300));
//! match timeout.call(|| search("mast")).await {
//!     Ok(found) => println!("{found}"),
//!     Err(Error::Timeout(error)) => println!("{error}"), // timed out after 300ms (timeout)
//!     Err(error) => println!("the search failed: {error}"),
//! }
//! # });
//! ```
//!
//! With a manual clock, a test does not wait:
//!
//! ```
//! # use mainstay::{error::Error, time::ManualClock, timeout::Timeout};
//! # use std::time::Duration;
//! let time = ManualClock::new();
//! let timeout = Timeout::new(Duration::from_secs(2)).clock(time.clock());
//! let result = time.drive(timeout.call(|| std::future::pending::<Result<(), ()>>()));
//! assert!(matches!(result, Err(Error::Timeout(_))));
//! ```
//!
//! Most calls need two timeouts, one for each attempt and one for the whole call; see
//! [`docs::composing`](crate::docs::composing).
//!
//! # Cancel safety
//!
//! When the limit is reached, the operation is dropped at the point where it is suspended. It must
//! tolerate being dropped at any `await`. If the operation completes at the instant of the limit,
//! its result is returned.
//!
//! # Performance
//!
//! A call whose operation is ready at its first poll reads the clock once. Otherwise, the call also
//! arms a timer, which reads the clock again.

use crate::error::{ConfigError, Error, TimedOut};
use crate::policy::{self, Facts, Policy, TimeLimit, kind};
use crate::time::{Clock, Expire};
use std::future::Future;
use std::time::Duration;

const POLICY: &str = "timeout";

/// A time limit that drops an operation when it is reached. See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct Timeout {
    limit: Duration,
    deadline_margin: Duration,
    name: &'static str,
    clock: Clock,
}

impl Timeout {
    /// Creates a time limit of `limit`, measured by the system clock.
    ///
    /// With a limit of zero, only operations that are ready at their first poll succeed. A limit of
    /// more than 584 years never ends an operation.
    ///
    /// ```
    /// # use mainstay::Timeout;
    /// # use std::time::Duration;
    /// let timeout = Timeout::new(Duration::from_millis(300));
    /// ```
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        let clock = Clock::system();
        Self { limit, deadline_margin: Duration::ZERO, name: POLICY, clock }
    }

    /// Sets the name that appears in errors. Default: `timeout`.
    ///
    /// ```
    /// # use mainstay::timeout::Timeout;
    /// # use std::time::Duration;
    /// let timeout = Timeout::new(Duration::from_secs(2)).name("whole call")?;
    /// assert!(timeout.name("").is_err());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `name` is empty, longer than 128 bytes, or contains a control character.
    pub fn name(mut self, name: &str) -> Result<Self, ConfigError> {
        self.name = policy::name(name)?;
        Ok(self)
    }

    /// Sets how long before the [deadline](crate::deadline) of the call the operation must end, in
    /// a pipeline. Default: zero.
    ///
    /// The limit is then the shorter of its own duration, and the time until the deadline less
    /// `margin`; the error reports its own duration in both cases. Set it to the time that the
    /// network and the caller need for the response. An operation for which no time is left is
    /// polled once; a
    /// [`DeadlineGuard`](crate::deadline::DeadlineGuard) above rejects it before it starts.
    ///
    /// ```
    /// # use mainstay::{Clock, Deadline, Pipeline, Timeout};
    /// # use std::time::Duration;
    /// let attempt = Timeout::new(Duration::from_millis(300))
    ///     .deadline_margin(Duration::from_millis(20));
    /// let pipeline = Pipeline::builder().timeout(attempt).build();
    ///
    /// let clock = Clock::system();
    /// let deadline = Deadline::after(clock.now(), Duration::from_millis(100));
    /// let call = pipeline.with_deadline(deadline, &clock);
    /// let left = call.call_with_blocking(|cx| Ok::<_, ()>(cx.remaining())).unwrap();
    /// assert!(left.unwrap() <= Duration::from_millis(80));
    /// ```
    #[must_use]
    pub const fn deadline_margin(mut self, margin: Duration) -> Self {
        self.deadline_margin = margin;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{ManualClock, Timeout};
    /// # use std::time::Duration;
    /// let time = ManualClock::new();
    /// let timeout = Timeout::new(Duration::from_millis(300)).clock(time.clock());
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Runs `op`, and drops its future when the limit is reached.
    ///
    /// ```
    /// # use mainstay::Timeout;
    /// # use std::time::Duration;
    /// let timeout = Timeout::new(Duration::from_millis(300));
    /// # futures::executor::block_on(async {
    /// assert_eq!(timeout.call(|| async { Ok::<_, ()>(1) }).await, Ok(1));
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Error::Operation`] with the error of `op`, or [`Error::Timeout`] if the limit was
    /// reached.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let until = self.clock.now() + self.limit;
        match Expire::new(&self.clock, until, op()).await {
            Some(result) => result.map_err(Error::Operation),
            None => Err(TimedOut::new(self.name, self.limit).into()),
        }
    }
}

impl From<Duration> for Timeout {
    fn from(limit: Duration) -> Self {
        Self::new(limit)
    }
}

impl From<&Timeout> for Timeout {
    fn from(timeout: &Timeout) -> Self {
        timeout.clone()
    }
}

impl Policy for Timeout {
    type Kind = kind::TimeLimit;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, self.name).timeout(self.limit)
    }
}

impl TimeLimit for Timeout {
    fn duration(&self) -> Duration {
        self.limit
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn deadline_margin(&self) -> Duration {
        self.deadline_margin
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_operation_that_takes_longer_than_the_limit_is_dropped() {
        //     limit, operation, result
        let table = [
            (2, 0, Ok(())),
            (2, 1, Ok(())),
            (2, 2, Ok(())), // at the instant of the limit, the result is returned
            (2, 3, Err(Error::Timeout(TimedOut::new("timeout", 2 * SECOND)))),
            (0, 0, Ok(())),
            (0, 1, Err(Error::Timeout(TimedOut::new("timeout", Duration::ZERO)))),
        ];
        for (limit, takes, expected) in table {
            let time = ManualClock::new();
            let clock = time.clock();
            let timeout = Timeout::new(limit * SECOND).clock(clock.clone());
            let result = time.drive(timeout.call(|| async {
                clock.sleep(takes * SECOND).await;
                Ok::<(), ()>(())
            }));
            assert_eq!(result, expected, "limit {limit} s, takes {takes} s");
        }
    }

    #[test]
    fn the_largest_limit_never_ends_an_operation() {
        let time = ManualClock::new();
        let clock = time.clock();
        let timeout = Timeout::new(Duration::MAX).clock(clock.clone());
        let result = time.drive(timeout.call(|| async {
            clock.sleep(1_000_000 * SECOND).await;
            Ok::<(), ()>(())
        }));
        assert_eq!(result, Ok(()));
    }
}
