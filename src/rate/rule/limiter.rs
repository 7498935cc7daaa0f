//! A rate limiter with a rule: [`RuleRateLimiter`].

use super::{RateRule, RuleRateLimitPolicy, RuleRateLimiterBuilder, Shortage, State};
use crate::error::{ConfigError, Reason, Rejection};
use crate::event::{Event, EventValue, Observer, Outbox};
use crate::rate::POLICY;
use crate::rate::turn::{Attempt, RetryAfter, Turn};
use crate::sync::{Counter, PlainArc, PlainMutex};
use crate::time::{Clock, Instant};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A rate limiter that follows a [`RateRule`]: a sliding window, a period of the calendar, or a
/// rate that warms up.
///
/// Prefer a [`RateLimiter`](super::super::RateLimiter) unless the limit to comply with is defined
/// in one of these ways: a `RateLimiter` has no windows, so its rate cannot double at their
/// boundaries, and it takes no lock.
///
/// Waiting callers share one FIFO queue. While a caller waits, requests that do not wait are
/// denied. Cloning is inexpensive, and all clones refer to the same limiter.
///
/// ```
/// use mainstay::rate::{CalendarPeriod, RateRule, RuleRateLimiter};
///
/// let limiter = RuleRateLimiter::new(RateRule::calendar(1_000, CalendarPeriod::Day))?;
/// match limiter.try_acquire() {
///     Ok(()) => println!("{} left today", limiter.snapshot().remaining),
///     Err(rejection) => println!("{rejection}"),
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # Cancel safety
///
/// Dropping the future of a waiting method removes the caller from the queue. No tokens are taken.
///
/// # Performance
///
/// A request takes a short lock and reads the clock. A grant of a [`RateRule::sliding_log`] may
/// allocate.
#[derive(Clone)]
pub struct RuleRateLimiter(pub(super) PlainArc<Shared>);

pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) rule: RateRule,
    pub(super) clock: Clock,
    pub(super) state: PlainMutex<State>,
    pub(super) turn: Turn,
    pub(super) denials: Counter,
    pub(super) observer: Option<PlainArc<dyn Observer>>,
    pub(super) outbox: Outbox<Infallible>,
}

/// The state of a [`RuleRateLimiter`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleRateLimiterSnapshot {
    /// The largest number of tokens that can be granted at once; `u32::MAX` for a limiter that
    /// warms up.
    pub limit: u32,
    /// The number of available tokens; 0 or 1 for a limiter that warms up.
    pub remaining: u32,
    /// The time after which all tokens are available if none is taken. For a calendar rule, the
    /// time until the period ends, even if all tokens are available. For a limiter that warms up,
    /// the time until the next token.
    pub reset_after: Duration,
    /// The number of requests that were denied since the limiter was built.
    pub denials: u64,
}

// The state changes as a whole, and no user code runs while it is locked.
impl UnwindSafe for RuleRateLimiter {}
impl RefUnwindSafe for RuleRateLimiter {}

impl RuleRateLimiter {
    /// Creates a limiter with the system clock.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(100, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// assert!(limiter.try_acquire().is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the limit, rate, period or duration of the rule is out of range.
    pub fn new(rule: RateRule) -> Result<Self, ConfigError> {
        Self::builder(rule).build()
    }

    /// Returns a builder of a limiter with this rule.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(100, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::builder(rule).name("mail").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn builder(rule: RateRule) -> RuleRateLimiterBuilder {
        RuleRateLimiterBuilder::new(rule)
    }

    /// Takes one token if one is available and no caller waits.
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::RateLimited`].
    pub fn try_acquire(&self) -> Result<(), Rejection> {
        self.try_acquire_n(1)
    }

    /// Takes `n` tokens if all of them are available and no caller waits, and otherwise none. A
    /// request for 0 tokens is always granted.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(10, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// assert!(limiter.try_acquire_n(8).is_ok());
    /// assert!(limiter.try_acquire_n(8).is_err());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::RateLimited`].
    pub fn try_acquire_n(&self, n: u32) -> Result<(), Rejection> {
        self.0.try_acquire(n, || self.0.clock.now())
    }

    /// Waits for one token.
    ///
    /// # Errors
    ///
    /// Completes with a rejection if the rule can never grant the token. The present rules grant a
    /// single token eventually.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the caller from the queue. No tokens are taken.
    pub async fn acquire(&self) -> Result<(), Rejection> {
        self.0.acquire(1, None).await
    }

    /// Waits for `n` tokens, which are taken all at once.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(10, Duration::from_millis(1));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// # futures::executor::block_on(async {
    /// limiter.acquire_n(10).await?;
    /// limiter.acquire_n(10).await // a millisecond later
    /// # }).unwrap();
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Completes with a rejection if `n` exceeds the limit.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the caller from the queue. No tokens are taken.
    pub async fn acquire_n(&self, n: u32) -> Result<(), Rejection> {
        self.0.acquire(n, None).await
    }

    /// Waits for one token for at most `timeout`, measured from this call.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(10, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// # futures::executor::block_on(async {
    /// assert!(limiter.acquire_timeout(Duration::from_secs(1)).await.is_ok());
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Completes with a rejection when the timeout has elapsed, or as soon as it is known that the
    /// token will not be available in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the caller from the queue. No tokens are taken.
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Rejection>> + Send + '_ {
        self.acquire_n_timeout(1, timeout)
    }

    /// Waits for `n` tokens for at most `timeout`, measured from this call; see
    /// [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(10, Duration::from_secs(60));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// # futures::executor::block_on(async {
    /// assert!(limiter.acquire_n_timeout(5, Duration::from_secs(1)).await.is_ok());
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Completes with a rejection if `n` exceeds the limit, when the timeout has elapsed, or as
    /// soon as it is known that the tokens will not be available in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the caller from the queue. No tokens are taken.
    pub fn acquire_n_timeout(
        &self,
        n: u32,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Rejection>> + Send + '_ {
        let deadline = self.0.clock.now() + timeout;
        async move { self.0.acquire(n, Some(deadline)).await }
    }

    /// Waits for one token, blocking the thread.
    ///
    /// # Errors
    ///
    /// Returns a rejection if the rule can never grant the token. The present rules grant a single
    /// token eventually.
    pub fn acquire_blocking(&self) -> Result<(), Rejection> {
        self.acquire_n_blocking(1)
    }

    /// Waits for `n` tokens, which are taken all at once, blocking the thread.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let rule = RateRule::sliding_log(10, Duration::from_millis(1));
    /// let limiter = RuleRateLimiter::new(rule)?;
    /// for _ in 0..3 {
    ///     assert!(limiter.acquire_n_blocking(10).is_ok());
    /// }
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection if `n` exceeds the limit.
    pub fn acquire_n_blocking(&self, n: u32) -> Result<(), Rejection> {
        self.0.acquire_blocking(n, None)
    }

    /// Waits for one token for at most `timeout`, blocking the thread.
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RuleRateLimiter::new(RateRule::sliding_log(1, Duration::from_secs(60)))?;
    /// let timeout = Duration::from_secs(5);
    /// assert!(limiter.acquire_blocking_timeout(timeout).is_ok());
    /// assert!(limiter.acquire_blocking_timeout(timeout).is_err()); // immediately
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection when the timeout has elapsed, or as soon as it is known that the token
    /// will not be available in time.
    pub fn acquire_blocking_timeout(&self, timeout: Duration) -> Result<(), Rejection> {
        self.acquire_n_blocking_timeout(1, timeout)
    }

    /// Waits for `n` tokens for at most `timeout`, blocking the thread; see
    /// [`acquire_blocking_timeout`](Self::acquire_blocking_timeout).
    ///
    /// ```
    /// # use mainstay::{RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RuleRateLimiter::new(RateRule::sliding_log(9, Duration::from_secs(60)))?;
    /// assert!(limiter.acquire_n_blocking_timeout(5, Duration::from_secs(1)).is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection if `n` exceeds the limit, when the timeout has elapsed, or as soon as it
    /// is known that the tokens will not be available in time.
    pub fn acquire_n_blocking_timeout(&self, n: u32, timeout: Duration) -> Result<(), Rejection> {
        self.0.acquire_blocking(n, Some(self.0.clock.now() + timeout))
    }

    /// Returns a pipeline policy of this limiter. Each call takes `tokens` tokens.
    ///
    /// ```
    /// # use mainstay::{Pipeline, RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RuleRateLimiter::new(RateRule::sliding_log(10, Duration::from_secs(60)))?;
    /// let export = Pipeline::builder().guard(limiter.cost(8)).build();
    /// assert!(export.call_blocking(|| Ok::<_, ()>(())).is_ok());
    /// assert!(export.call_blocking(|| Ok::<_, ()>(())).is_err());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn cost(&self, tokens: u32) -> RuleRateLimitPolicy {
        RuleRateLimitPolicy::new(self.clone()).cost(tokens)
    }

    /// Returns a pipeline policy of this limiter. Each call waits for its token for at most
    /// `max_wait`, and never beyond the deadline of the call.
    ///
    /// ```
    /// # use mainstay::{Pipeline, RateRule, RuleRateLimiter};
    /// # use std::time::Duration;
    /// let limiter = RuleRateLimiter::new(RateRule::warm_up(1000, Duration::from_millis(50)))?;
    /// let policy = limiter.max_wait(Duration::from_secs(1));
    /// let pipeline = Pipeline::builder().guard(policy).build();
    /// for _ in 0..3 {
    ///     assert!(pipeline.call_blocking(|| Ok::<_, ()>(())).is_ok());
    /// }
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_wait(&self, max_wait: Duration) -> RuleRateLimitPolicy {
        RuleRateLimitPolicy::new(self.clone()).max_wait(max_wait)
    }

    /// Returns the rule.
    #[must_use]
    pub fn rule(&self) -> RateRule {
        self.0.rule
    }

    /// Returns the name that was set in the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the current state.
    #[must_use]
    pub fn snapshot(&self) -> RuleRateLimiterSnapshot {
        let now = self.0.clock.now();
        let standing = self.0.state.lock().standing(now);
        RuleRateLimiterSnapshot {
            limit: self.0.rule.limit(),
            remaining: standing.remaining,
            reset_after: standing.reset_after,
            denials: self.0.denials.get(),
        }
    }
}

impl Shared {
    fn take(&self, n: u32, now: Instant, attempt: Attempt) -> Result<(), Shortage> {
        self.state.lock().take(now, n, attempt)
    }

    pub(super) fn try_acquire(
        &self,
        n: u32,
        now: impl FnOnce() -> Instant,
    ) -> Result<(), Rejection> {
        let taken = match n {
            0 => Ok(()),
            _ if self.turn.is_taken() => Err(Shortage::Waiters),
            _ => self.take(n, now(), Attempt::First),
        };
        taken.map_err(|shortage| self.deny(n, shortage))
    }

    pub(super) async fn acquire(&self, n: u32, deadline: Option<Instant>) -> Result<(), Rejection> {
        if n == 0 {
            return Ok(());
        }
        let take = |attempt| self.take(n, self.clock.now(), attempt);
        let waited = self.turn.wait(&self.clock, deadline, take, || Shortage::Waiters).await;
        waited.map_err(|shortage| self.deny(n, shortage))
    }

    pub(super) fn acquire_blocking(
        &self,
        n: u32,
        deadline: Option<Instant>,
    ) -> Result<(), Rejection> {
        if n == 0 {
            return Ok(());
        }
        let take = |attempt| self.take(n, self.clock.now(), attempt);
        let waited = self.turn.wait_blocking(&self.clock, deadline, take, || Shortage::Waiters);
        waited.map_err(|shortage| self.deny(n, shortage))
    }

    #[cold]
    fn deny(&self, wanted: u32, shortage: Shortage) -> Rejection {
        let rejection = Rejection::new(Reason::RateLimited, self.name);
        let retry_after = shortage.retry_after();
        let sequence = self.denials.add(1);
        if let Some(observer) = &self.observer {
            let fields = [
                ("wanted", EventValue::Count(wanted.into())),
                ("retry_after", EventValue::Duration(retry_after.unwrap_or_default())),
            ];
            let event = Event {
                policy: POLICY,
                name: self.name,
                kind: "denied",
                keyed: false,
                sequence,
                at: self.clock.now(),
                fields: &fields[..fields.len() - usize::from(retry_after.is_none())],
            };
            self.outbox.notify(|| observer.observe(&event), |never| match never {});
        }
        retry_after.map_or(rejection, |after| rejection.with_retry_after(after))
    }
}

impl fmt::Debug for RuleRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleRateLimiter")
            .field("name", &self.name())
            .field("rule", &self.0.rule)
            .finish_non_exhaustive()
    }
}
