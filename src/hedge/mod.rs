//! A second attempt for a call whose first attempt is slow: [`Hedge`].
//!
//! If a call takes much longer than most calls, the likely cause is a paused replica or a lost
//! packet. A second attempt is then likely to return before the first. (*The Tail at Scale*,
//! Dean and Barroso, 2013.)
//!
//! # Examples
//!
//! ```
//! use mainstay::hedge::Hedge;
//! use mainstay::pipeline::Pipeline;
//! use std::time::Duration;
//!
//! # async fn get(_replica: u32) -> Result<&'static str, std::io::Error> { Ok("found") }
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let hedge = Hedge::builder().name("search").assume_idempotent().build()?;
//! let pipeline = Pipeline::builder()
//!     .timeout(Duration::from_secs(1))
//!     .hedge(&hedge)
//!     .build();
//! # futures::executor::block_on(async {
//! // The second attempt goes to another replica.
//! let result = pipeline.call_with(|cx| async move { get(cx.attempt() % 2).await });
//! # assert!(result.await.is_ok());
//! # });
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! If an attempt has not ended after the [delay](HedgeBuilder::delay_quantile), the next one
//! starts, up to [`max_attempts`](HedgeBuilder::max_attempts). Each attempt receives its number in
//! the [`Context`].
//!
//! The first *success* is the result of the call. The other attempts are dropped before it is
//! returned. A failure never ends the call while another attempt runs. If all attempts fail, the
//! caller receives the result of the first.
//!
//! All attempts run within the future of the call, on the task of the caller. They are polled one
//! after the other, so that only their waits overlap.
//!
//! ## The delay
//!
//! By default, the delay is the 95th percentile of the latencies of successful attempts in the last
//! 30 s, computed every 3 s. Attempts that were dropped are included: such an attempt would have
//! taken *at least* as long as it ran. Without them, the slowest attempts would be missing from the
//! distribution, and the delay would become shorter and shorter. If so many attempts were dropped
//! that the percentile is unknown, the delay is not changed.
//!
//! For a client of many dependencies, [`KeyedHedge`] holds one hedge per dependency, each of which
//! learns its own delay.
//!
//! ## Load
//!
//! Every further attempt draws from a [`budget`](HedgeBuilder::budget), by default 5 % of the
//! calls. Hedge only operations that may safely run several times concurrently, and place a hedge
//! inside at most one retry. [`Pipeline::check`](crate::pipeline::Pipeline::check) reports a hedge
//! of an operation that was not declared idempotent, and deeper nesting.
//!
//! ## Blocking calls
//!
//! In a pipeline, a blocking call runs the operation once, because one thread cannot run two
//! closures at the same time. [`call_blocking_on`](Hedge::call_blocking_on) runs the attempts on
//! other threads, such as those of a worker pool.
//!
//! # Observability
//!
//! An [observer](HedgeBuilder::observer) receives events of the kinds `hedge` (a further attempt
//! starts), `won` (a further attempt returned the result of the call) and `suppressed` (the budget
//! did not cover an attempt), with the number of the `attempt`. [`Hedge::snapshot`] counts the
//! events of each kind.
//!
//! # Cancel safety
//!
//! Dropping the future of a call drops all its attempts and their permits of the budget.
//!
//! # Performance
//!
//! A call without a further attempt reads the clock once, or twice if the delay is measured. The
//! timer is armed only if the first attempt is pending. The first two attempts are stored in the
//! future of the call; each further attempt allocates.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`delay_quantile`](HedgeBuilder::delay_quantile) | 0.95; 100 ms until 20 attempts have been measured |
//! | [`min_delay`](HedgeBuilder::min_delay) | 1 ms |
//! | [`max_attempts`](HedgeBuilder::max_attempts) | 2 |
//! | [`budget`](HedgeBuilder::budget) | 5 % of all calls, capacity 10 |

mod blocking;
mod config;
mod delay;
mod events;
mod future;
mod keyed;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod policy;
mod words;

pub use config::HedgeBuilder;
pub use future::HedgeFuture;
pub use keyed::{KeyedHedge, KeyedHedgeBuilder, KeyedHedgeSnapshot};
pub use policy::ClassifiedHedge;

use crate::budget::Budget;
use crate::error::{ConfigError, Error};
use crate::outcome::FailOnError;
use crate::policy::Context;
use crate::policy::guarded::OperationFuture;
use crate::sync::PlainArc;
use crate::time::Clock;
use config::{BudgetConfig, Parts};
use delay::Delay;
use events::Emitter;
use std::fmt;
use std::future::Future;
use std::time::Duration;
use words::DelayConfig;

const POLICY: &str = "hedge";

/// A hedge, which runs a slow operation a second time and returns the first success. See the
/// [module](self).
///
/// Clones, and the views that [`classified_by`](Self::classified_by) returns, share the settings
/// and the state.
#[derive(Clone)]
pub struct Hedge(PlainArc<Shared>);

/// The settings and the state of a hedge.
struct Shared {
    delay: Delay,
    budget: Option<Budget>,
    clock: Clock,
    emitter: Emitter,
}

impl Shared {
    fn new(parts: Parts) -> Self {
        let Parts { name, config, budget, clock, observer, keyed } = parts;
        let default = || Budget::builder().name(name).percent(5).of_all_calls(10).build();
        Self {
            delay: Delay::new(config),
            budget: match budget {
                BudgetConfig::Given(budget) => Some(budget),
                BudgetConfig::Unlimited => None,
                BudgetConfig::Default => Some(default().expect("the settings are in range")),
            },
            clock,
            emitter: Emitter::new(name, keyed, observer),
        }
    }
}

/// The state and the counters of a [`Hedge`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeSnapshot {
    /// The current delay before a further attempt.
    pub delay: Duration,
    /// The number of further attempts since the hedge was built; in
    /// [shadow mode](HedgeBuilder::shadow), of those that would have been started. First attempts
    /// are not counted.
    pub hedges: u64,
    /// The number of calls that returned the result of a further attempt.
    pub wins: u64,
    /// The number of further attempts that the budget did not cover.
    pub suppressed: u64,
}

impl Hedge {
    /// Creates a builder with the [defaults](self#defaults).
    pub fn builder() -> HedgeBuilder {
        HedgeBuilder::new()
    }

    /// Returns a view for pipelines that classifies results by `classify`. An `Ok` that is
    /// classified as a failure does not end the call while another attempt runs.
    ///
    /// ```
    /// use mainstay::error::Error;
    /// use mainstay::hedge::Hedge;
    /// use mainstay::outcome::Outcome;
    /// use mainstay::pipeline::Pipeline;
    ///
    /// let hedge = Hedge::builder().assume_idempotent().build()?;
    /// let by_status = hedge.classified_by(|result: &Result<u16, Error<()>>| match result {
    ///     Ok(503) => Outcome::Failure,
    ///     _ => Outcome::Success,
    /// });
    /// let pipeline = Pipeline::builder().hedge(by_status).build();
    /// # futures::executor::block_on(async {
    /// assert_eq!(pipeline.call(|| async { Ok(200) }).await, Ok(200));
    /// # });
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn classified_by<C>(&self, classify: C) -> ClassifiedHedge<C> {
        ClassifiedHedge { hedge: self.clone(), classify }
    }

    /// Runs `op`, and runs it again concurrently if it has not ended after the delay.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// let hedge = Hedge::builder().build()?;
    /// # futures::executor::block_on(async {
    /// assert_eq!(hedge.call(|| async { Ok::<_, ()>(1) }).await, Ok(1));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the first attempt, if all attempts fail.
    pub async fn call<Op, Fut, T, E>(&self, mut op: Op) -> Result<T, Error<E>>
    where
        Op: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with(|_| op()).await
    }

    /// Runs `op` as [`call`](Self::call) does, and passes it the [`Context`] of each attempt.
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// let hedge = Hedge::builder().build()?;
    /// # futures::executor::block_on(async {
    /// let attempt = hedge.call_with(|cx| async move { Ok::<_, ()>(cx.attempt()) });
    /// assert_eq!(attempt.await, Ok(1));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the first attempt, if all attempts fail.
    pub async fn call_with<Op, Fut, T, E>(&self, mut op: Op) -> Result<T, Error<E>>
    where
        Op: FnMut(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let hedge = self.classified_by(FailOnError);
        HedgeFuture::new(hedge, Context::new(), |cx| OperationFuture(op(cx))).await
    }

    /// Applies the delay, `max_attempts`, `hedge_failures`, `assume_idempotent` and `shadow` of
    /// `config`, while the hedge is in use.
    ///
    /// The measured latencies are kept, and a new quantile is computed from them immediately. A
    /// call that already waits to start its next attempt waits for the old delay. All other
    /// decisions after this method has returned use the new settings. The name, the budget, the
    /// clock and the observer of `config` are not applied; see [`budget`](Self::budget).
    ///
    /// ```
    /// # use mainstay::Hedge;
    /// # use std::time::Duration;
    /// let hedge = Hedge::builder().build()?;
    /// let config = Hedge::builder().delay_quantile(0.99, Duration::from_millis(50));
    /// hedge.reconfigure(&config)?;
    /// assert_eq!(hedge.snapshot().delay, Duration::from_millis(50));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error and changes nothing in these cases:
    ///
    /// * A setting is out of range.
    /// * The delay is fixed and the delay of `config` is a quantile, or the reverse.
    /// * The hedge belongs to a [`KeyedHedge`], whose settings are fixed.
    pub fn reconfigure(&self, config: &HedgeBuilder) -> Result<(), ConfigError> {
        let (new, shared) = (config.config()?, self.shared());
        if shared.emitter.keyed {
            let accepted = "a hedge that does not belong to a key";
            return Err(ConfigError::new("reconfigure", self.name(), accepted));
        }
        if matches!(new.delay, DelayConfig::Quantile { .. }) != shared.delay.is_measured() {
            return Err(config.kind_error());
        }
        shared.delay.reconfigure(shared.clock.now(), new);
        Ok(())
    }

    /// Returns the budget, for example to [reconfigure](Budget::reconfigure) it, or `None` if the
    /// hedge was built without one.
    #[must_use]
    pub fn budget(&self) -> Option<&Budget> {
        self.0.budget.as_ref()
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.emitter.name
    }

    /// Returns the current state and counters.
    #[must_use]
    pub fn snapshot(&self) -> HedgeSnapshot {
        let emitter = &self.0.emitter;
        HedgeSnapshot {
            delay: self.0.delay.get(),
            hedges: emitter.hedges.get(),
            wins: emitter.wins.get(),
            suppressed: emitter.suppressed.get(),
        }
    }

    fn shared(&self) -> &Shared {
        &self.0
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
