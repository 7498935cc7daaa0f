//! A time limit: [`Timeout`].
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
//!     Err(Error::Timeout(timed_out)) => println!("{timed_out}"), // timed out after 300ms (timeout)
//!     Err(error) => println!("the search failed: {error}"),
//! }
//! # });
//! ```
//!
//! By a manual clock it takes no time at all, and is exact:
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
//! Most calls want two of them, one for an attempt and one for the whole:
//! [`docs::composing`](crate::docs::composing) says where they stand.
//!
//! # Cancel safety
//!
//! When the time is over the operation is dropped, wherever it stands; what that leaves undone is the
//! operation's affair. A result that is there at the same moment wins over the limit.
//!
//! # Cost
//!
//! One look at the clock. A timer is armed only if the operation was not ready at once; arming it
//! allocates.

use crate::error::{Error, TimedOut};
use crate::policy::{Facts, Limit, Policy, kind};
use crate::sync::intern;
use crate::time::{Clock, Expire};
use std::future::Future;
use std::time::Duration;

const POLICY: &str = "timeout";

/// Gives an operation so much time, and drops it then.
#[derive(Clone, Debug)]
pub struct Timeout {
    limit: Duration,
    name: &'static str,
    clock: Clock,
}

impl Timeout {
    /// A limit of `limit`, by the system clock.
    ///
    /// A limit of zero passes only what is ready at once; one beyond 584 years is none.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self { limit, name: POLICY, clock: Clock::system() }
    }

    /// What errors call it. Default: `timeout`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = intern(name);
        self
    }

    /// Whose time it goes by. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Runs `op` for as long as the limit allows.
    ///
    /// # Errors
    /// That of `op`, or [`Error::Timeout`].
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
    type Kind = kind::Limit;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, self.name).timeout(self.limit)
    }
}

impl Limit for Timeout {
    fn limit(&self) -> Duration {
        self.limit
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ends_what_takes_longer_and_only_that() {
        //     limit, operation, result
        let table = [
            (2, 0, Ok(())),
            (2, 1, Ok(())),
            (2, 2, Ok(())), // both at one instant: the result wins
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
    fn no_limit_at_all_is_no_limit() {
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
