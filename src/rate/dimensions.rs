//! Limits of several quantities of one call, such as requests and tokens:
//! [`DimensionedRateLimiter`].

use super::grant::RateLimitStatus;
use super::turn::{RetryAfter, Turn};
use super::{Denied, Grant, POLICY, Quota, RateLimiter};
use crate::error::{ConfigError, Reason};
use crate::sync::PlainArc;
use crate::time::{Clock, Instant};
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// A rate limiter with a quota for each of several *dimensions*, such as the requests and the
/// tokens of an API. A call is granted only if every dimension grants its cost. A cost that is
/// known only after the call is estimated, and [settled](DimensionedGrant::settle) later.
///
/// A request names its cost in each dimension; the cost in other dimensions is zero. The costs are
/// taken from all named dimensions, or from none. Waiting callers share one FIFO queue; while they
/// wait, requests that do not wait are denied.
///
/// ```
/// use mainstay::rate::{DimensionedRateLimiter, Quota};
///
/// let limits = DimensionedRateLimiter::builder()
///     .dimension("requests", Quota::per_minute(60))
///     .dimension("tokens", Quota::per_minute(90_000))
///     .build()?;
///
/// let mut grant = limits.try_acquire(&[("requests", 1), ("tokens", 800)])?; // an estimate
/// # fn complete() -> u32 { 650 }
/// let used = complete();
/// grant.settle("tokens", used); // returns 150 tokens
/// assert!(limits.dimension("tokens").is_some_and(|tokens| tokens.peek().remaining() >= 89_350));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cancel safety
///
/// Dropping the future of a waiting method removes the caller from the queue. No tokens are taken.
///
/// # Performance
///
/// A request checks all dimensions, then takes its cost from each one by a compare-and-swap. It
/// allocates twice: for the list of costs, and for the grant.
#[derive(Clone)]
pub struct DimensionedRateLimiter(PlainArc<Shared>);

struct Shared {
    dimensions: Box<[RateLimiter]>,
    clock: Clock,
    turn: Turn,
}

/// A builder of a [`DimensionedRateLimiter`], returned by [`DimensionedRateLimiter::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct DimensionedRateLimiterBuilder {
    dimensions: Vec<(String, Quota)>,
    clock: Clock,
}

/// The tokens that a [`DimensionedRateLimiter`] granted to one call. Dropping the grant returns no
/// tokens: the estimated costs then count as the actual ones.
#[derive(Clone, Debug)]
#[must_use = "settle the costs that were estimated"]
pub struct DimensionedGrant(Vec<(RateLimiter, Grant)>);

/// A denial that has not been reported to the observer.
struct Denial {
    /// The dimension that denies the request, or `None` if the request names an unknown one.
    dimension: Option<(usize, RateLimitStatus)>,
}

impl RetryAfter for Denial {
    fn retry_after(&self) -> Option<Duration> {
        self.dimension.and_then(|(_, status)| status.retry_after())
    }
}

/// The maximum number of times that a request checks all dimensions again after another thread took
/// the tokens. Without a bound, two requests could take each other's tokens forever.
const MAX_ROUNDS: usize = 16;

impl DimensionedRateLimiterBuilder {
    /// Adds a dimension with its quota. Errors carry the name of the dimension.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, Quota};
    /// let limits = DimensionedRateLimiter::builder()
    ///     .dimension("requests", Quota::per_minute(60))
    ///     .dimension("bytes", Quota::per_second(1_000_000))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn dimension(mut self, name: impl Into<String>, quota: Quota) -> Self {
        self.dimensions.push((name.into(), quota));
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, ManualClock, Quota};
    /// let time = ManualClock::new();
    /// let limits = DimensionedRateLimiter::builder()
    ///     .dimension("requests", Quota::per_minute(60))
    ///     .clock(time.clock())
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the limiter. The full burst of each dimension is available.
    ///
    /// # Errors
    /// Returns an error if there is no dimension, if two have the same name, or if a quota or a
    /// name is out of range.
    pub fn build(self) -> Result<DimensionedRateLimiter, ConfigError> {
        let mut dimensions: Vec<RateLimiter> = Vec::new();
        for (name, quota) in self.dimensions {
            if dimensions.iter().any(|dimension| dimension.name() == name) {
                return Err(ConfigError::new("dimension", name, "a name of its own"));
            }
            let limiter = RateLimiter::builder(quota).name(name).clock(self.clock.clone());
            dimensions.push(limiter.build()?);
        }
        if dimensions.is_empty() {
            return Err(ConfigError::new("dimension", 0, "at least one"));
        }
        let turn = Turn::new(&self.clock);
        let shared = Shared { dimensions: dimensions.into(), clock: self.clock, turn };
        Ok(DimensionedRateLimiter(PlainArc::new(shared)))
    }
}

impl DimensionedRateLimiter {
    /// Creates a builder.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, Quota};
    /// let requests = Quota::per_minute(60);
    /// let limits = DimensionedRateLimiter::builder().dimension("requests", requests).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn builder() -> DimensionedRateLimiterBuilder {
        DimensionedRateLimiterBuilder { dimensions: Vec::new(), clock: Clock::system() }
    }

    /// Takes `costs` if all of them are available and no caller waits, and otherwise nothing. If a
    /// dimension is named twice, its costs are added.
    ///
    /// # Errors
    /// Returns the denial of the dimension with the longest `retry_after`. A cost of a dimension
    /// that does not exist is denied with [`Reason::Misconfigured`].
    pub fn try_acquire(&self, costs: &[(&str, u32)]) -> Result<DimensionedGrant, Denied> {
        let shared = &*self.0;
        let taken = match shared.turn.is_taken() {
            true => Err(shared.denial(costs)),
            false => shared.take(costs),
        };
        taken.map_err(|denial| shared.report(&denial))
    }

    /// Waits for `costs`, which are taken all at once.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, Quota};
    /// let limits = DimensionedRateLimiter::builder()
    ///     .dimension("requests", Quota::per_second(1_000).burst(1))
    ///     .build()?;
    /// # futures::executor::block_on(async {
    /// for _ in 0..3 {
    ///     assert!(limits.acquire(&[("requests", 1)]).await.is_ok());
    /// }
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Completes with an error if a cost exceeds the limit of its dimension, or names an unknown
    /// dimension.
    ///
    /// # Cancel safety
    /// Dropping the future removes the caller from the queue. No tokens are taken.
    pub async fn acquire(&self, costs: &[(&str, u32)]) -> Result<DimensionedGrant, Denied> {
        self.0.acquire(costs, None).await
    }

    /// Waits for `costs` for at most `timeout`, measured from this call.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, Quota};
    /// # use std::time::Duration;
    /// # let requests = Quota::per_hour(1);
    /// # let limits = DimensionedRateLimiter::builder().dimension("requests", requests).build()?;
    /// # futures::executor::block_on(async {
    /// let timeout = Duration::from_secs(5);
    /// assert!(limits.acquire_timeout(&[("requests", 1)], timeout).await.is_ok());
    /// assert!(limits.acquire_timeout(&[("requests", 1)], timeout).await.is_err());
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Completes with an error when the timeout has elapsed, or as soon as it is known that the
    /// costs will not be available in time; for the other errors see [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// Dropping the future removes the caller from the queue. No tokens are taken.
    pub fn acquire_timeout<'a>(
        &'a self,
        costs: &'a [(&'a str, u32)],
        timeout: Duration,
    ) -> impl Future<Output = Result<DimensionedGrant, Denied>> + Send + 'a {
        let deadline = self.0.clock.now() + timeout;
        async move { self.0.acquire(costs, Some(deadline)).await }
    }

    /// Waits for `costs`, blocking the thread.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, Quota};
    /// # let requests = Quota::per_second(5);
    /// # let limits = DimensionedRateLimiter::builder().dimension("requests", requests).build()?;
    /// assert!(limits.acquire_blocking(&[("requests", 1)]).is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`acquire`](Self::acquire).
    pub fn acquire_blocking(&self, costs: &[(&str, u32)]) -> Result<DimensionedGrant, Denied> {
        self.0.acquire_blocking(costs, None)
    }

    /// Waits for `costs` for at most `timeout`, blocking the thread.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, Quota};
    /// # use std::time::Duration;
    /// # let requests = Quota::per_second(5);
    /// # let limits = DimensionedRateLimiter::builder().dimension("requests", requests).build()?;
    /// let timeout = Duration::from_secs(1);
    /// assert!(limits.acquire_blocking_timeout(&[("requests", 1)], timeout).is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_blocking_timeout(
        &self,
        costs: &[(&str, u32)],
        timeout: Duration,
    ) -> Result<DimensionedGrant, Denied> {
        self.0.acquire_blocking(costs, Some(self.0.clock.now() + timeout))
    }

    /// Returns the limiter of one dimension, for its status, its snapshot or a change of its quota.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, Quota};
    /// let tokens = Quota::per_minute(90_000);
    /// let limits = DimensionedRateLimiter::builder().dimension("tokens", tokens).build()?;
    /// let tokens = limits.dimension("tokens").expect("was added");
    /// tokens.reconfigure(Quota::per_minute(50_000))?;
    /// assert!(limits.dimension("bytes").is_none());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn dimension(&self, name: &str) -> Option<&RateLimiter> {
        self.0.dimensions.iter().find(|dimension| dimension.name() == name)
    }
}

impl DimensionedGrant {
    /// Replaces the estimated cost of a dimension by the actual cost. Returns the unused tokens, or
    /// takes the missing ones, even if they are not available.
    ///
    /// Tokens that have become available again since the grant are not returned a second time. Each
    /// dimension is settled at most once; later calls for it do nothing, as do calls for a
    /// dimension that the request did not name.
    ///
    /// ```
    /// # use mainstay::{DimensionedRateLimiter, Quota};
    /// let limits = DimensionedRateLimiter::builder()
    ///     .dimension("tokens", Quota::per_hour(1_000))
    ///     .build()?;
    /// let mut grant = limits.try_acquire(&[("tokens", 100)])?;
    /// grant.settle("tokens", 140);
    /// assert_eq!(limits.dimension("tokens").unwrap().peek().remaining(), 860);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn settle(&mut self, dimension: &str, used: u32) {
        let Some(at) = self.0.iter().position(|(limiter, _)| limiter.name() == dimension) else {
            return;
        };
        let (limiter, grant) = self.0.swap_remove(at);
        match used.checked_sub(grant.granted()) {
            Some(0) => {}
            Some(more) => _ = limiter.debit(more),
            None => limiter.refund(&grant, grant.granted() - used),
        }
    }
}

impl Shared {
    /// Takes the costs of all dimensions, or nothing.
    fn take(&self, costs: &[(&str, u32)]) -> Result<DimensionedGrant, Denial> {
        let costs = self.costs(costs)?;
        let mut result = Err(Denial { dimension: None });
        for _ in 0..MAX_ROUNDS {
            if let Some(denial) = self.check(&costs) {
                return Err(denial);
            }
            result = self.take_each(&costs);
            if result.is_ok() {
                break;
            }
            // Another thread took the tokens after the check.
        }
        result
    }

    /// Returns the cost of each dimension, in the order of `dimensions`.
    fn costs(&self, named: &[(&str, u32)]) -> Result<Vec<u32>, Denial> {
        let mut costs = vec![0_u32; self.dimensions.len()];
        for (name, cost) in named {
            let dimension = self.dimensions.iter().position(|limiter| limiter.name() == *name);
            let sum = &mut costs[dimension.ok_or(Denial { dimension: None })?];
            *sum = sum.saturating_add(*cost);
        }
        Ok(costs)
    }

    /// Returns the denial with the longest `retry_after`, or `None` if all dimensions grant their
    /// cost.
    fn check(&self, costs: &[u32]) -> Option<Denial> {
        let denies = |(dimension, cost): (usize, &u32)| {
            let limiter = &self.dimensions[dimension].0;
            let status = limiter.engine.would_take(*cost, limiter.checked_now()).err()?;
            Some(Denial { dimension: Some((dimension, status)) })
        };
        let wait = |denial: &Denial| denial.retry_after().unwrap_or(Duration::MAX);
        costs.iter().enumerate().filter_map(denies).max_by_key(wait)
    }

    fn take_each(&self, costs: &[u32]) -> Result<DimensionedGrant, Denial> {
        let mut grants = Vec::with_capacity(costs.len());
        for (dimension, cost) in costs.iter().enumerate().filter(|(_, cost)| **cost > 0) {
            let limiter = &self.dimensions[dimension];
            match limiter.0.engine.take(*cost, limiter.0.checked_now()) {
                Ok(grant) => grants.push((limiter.clone(), grant)),
                Err(status) => {
                    for (limiter, grant) in grants {
                        limiter.refund(&grant, grant.granted());
                    }
                    return Err(Denial { dimension: Some((dimension, status)) });
                }
            }
        }
        Ok(DimensionedGrant(grants))
    }

    /// Returns the denial of a request that was not attempted, because other callers were waiting
    /// or its timeout elapsed in the queue.
    fn denial(&self, costs: &[(&str, u32)]) -> Denial {
        let costs = match self.costs(costs) {
            Ok(costs) => costs,
            Err(denial) => return denial,
        };
        self.check(&costs).unwrap_or_else(|| {
            let limiter = &self.dimensions[0].0;
            let status = limiter.engine.peek(costs[0], limiter.checked_now());
            Denial { dimension: Some((0, status)) }
        })
    }

    async fn acquire(
        &self,
        costs: &[(&str, u32)],
        deadline: Option<Instant>,
    ) -> Result<DimensionedGrant, Denied> {
        let (attempt, deny) = (|_| self.take(costs), || self.denial(costs));
        let waited = self.turn.wait(&self.clock, deadline, attempt, deny).await;
        waited.map_err(|denial| self.report(&denial))
    }

    fn acquire_blocking(
        &self,
        costs: &[(&str, u32)],
        deadline: Option<Instant>,
    ) -> Result<DimensionedGrant, Denied> {
        let (attempt, deny) = (|_| self.take(costs), || self.denial(costs));
        let waited = self.turn.wait_blocking(&self.clock, deadline, attempt, deny);
        waited.map_err(|denial| self.report(&denial))
    }

    fn report(&self, denial: &Denial) -> Denied {
        match denial.dimension {
            Some((dimension, status)) => self.dimensions[dimension].0.deny(status),
            None => {
                let limiter = &self.dimensions[0].0;
                let status = limiter.engine.peek(0, limiter.checked_now());
                Denied { reason: Reason::Misconfigured, ..Denied::new(status, POLICY) }
            }
        }
    }
}

impl fmt::Debug for DimensionedRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DimensionedRateLimiter").field("dimensions", &self.0.dimensions).finish()
    }
}
