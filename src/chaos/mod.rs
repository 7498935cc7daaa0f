//! Injects faults into calls, to test how a service handles them: [`Chaos`].
//!
//! A chaos policy delays calls, lets them hang, fail or panic, or rejects them. Each fault can be
//! limited to a share of the calls, a share of the keys and a time window. The policy is off until
//! its [`ChaosSwitch`] turns it on for a limited time, so it can stay in the pipelines of a service
//! in production.
//!
//! Make the policy the innermost one of a pipeline, next to the operation. The outer policies
//! observe its faults as if the dependency caused them.
//!
//! # Examples
//!
//! ```
//! use mainstay::{Chaos, CircuitBreaker, Error, Fault, ManualClock, Pipeline};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), mainstay::ConfigError> {
//! # let time = ManualClock::new();
//! let chaos = Chaos::builder()
//!     .name("search drill")
//!     .fault(Fault::error().probability(0.5))
//! #   .clock(time.clock())
//!     .build()?;
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//! let pipeline = Pipeline::builder()
//!     .breaker(&breaker)
//!     .chaos_with(chaos.errors(|_| "injected")) // replaces a real server
//!     .build();
//!
//! assert_eq!(pipeline.call_blocking(|| Ok(200)), Ok(200)); // the policy is off
//!
//! chaos.switch().turn_on_for(Duration::from_secs(60))?;
//! while pipeline.call_blocking(|| Ok(200)).is_ok() {}
//! assert!(chaos.snapshot().errors > 0);
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! Each time the switch is turned on, a *run* begins. It ends when its time is over, or when the
//! switch is turned off or on again.
//!
//! A policy has [faults](Fault). Each fault affects a share of the calls ([`Fault::probability`])
//! and of the keys ([`Fault::key_share`]), and is active in a time window ([`Fault::starts_after`],
//! [`Fault::lasts_for`]). The [steps](ChaosBuilder::step) of a script are faults whose windows
//! follow each other: the faults of a step end with the step.
//!
//! [`Chaos`] is a [guard](crate::policy::Guard): it can delay a call, reject it or panic, and it
//! does not need to clone the request. [`Chaos::errors`] and [`Chaos::results`] return a view, a
//! [`ChaosWith`]. A view can also return an error or a result that a function makes, instead of
//! running the operation.
//!
//! | fault | the operation | the caller receives |
//! |---|---|---|
//! | [`latency`](Fault::latency) | runs later | its result |
//! | [`hang`](Fault::hang) | runs when the fault ends | its result, unless a timeout ends the call |
//! | [`panic`](Fault::panic) | does not run | the panic |
//! | [`error`](Fault::error) | does not run | a result of the function, or a rejection |
//! | [`rejection`](Fault::rejection) | does not run | [`Reason::Injected`] |
//!
//! An outer timeout cannot interrupt a blocking call. A blocking call that is delayed or hangs
//! therefore waits no longer than until the deadline of its [context](crate::policy::Context). When
//! the deadline passes, a view returns [`Error::Timeout`], and a guard rejects the call with
//! [`Reason::DeadlineExceeded`].
//!
//! ## The same seed gives the same run
//!
//! Calls are numbered from 0 in each run. What happens to the *n*-th call depends only on the
//! [seed](ChaosBuilder::seed), *n*, the key, and the faults that are active. If calls run
//! concurrently, the order in which they reach the policy varies, but what happens to the *n*-th
//! call does not.
//!
//! # Observability
//!
//! An [observer](ChaosBuilder::observer) receives an event of kind `injected` for each fault, with
//! the fields `fault` (`latency`, `hang`, `panic`, `error` or `rejection`), `call` (the number of
//! the call in its run) and, for a latency, `delay`. [`Chaos::snapshot`] returns the counts.
//!
//! # Cancel safety
//!
//! Dropping the future of a call ends its delay. The fault stays counted.
//!
//! # Panics
//!
//! A call panics if a [panic fault](Fault::panic) affects it, or if a function of the user panics.
//!
//! # Performance
//!
//! While the switch is off, a call costs one relaxed load. While it is on, a call acquires two
//! short locks, reads the clock and computes at most two random numbers per active fault; a call
//! with a fault allocates.

mod config;
mod events;
mod fault;
mod inject;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod policy;
mod result;
mod state;
mod switch;

pub use config::ChaosBuilder;
pub use fault::Fault;
pub use policy::ChaosAdmitFuture;
pub use result::{ChaosError, ChaosFuture, ChaosResult, ChaosWith};
pub use switch::ChaosSwitch;

use crate::error::Error;
#[cfg(doc)]
use crate::error::Reason;
use crate::policy::Context;
use crate::sync::PlainArc;
use inject::Shared;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};

const POLICY: &str = "chaos";

/// A policy that injects faults into calls while its switch is on. See the [module
/// documentation](self).
///
/// Cloning is cheap, and all clones share one policy.
#[derive(Clone)]
pub struct Chaos {
    shared: PlainArc<Shared>,
    /// The hash of the key of all calls through this handle.
    key: Option<u64>,
}

/// An error fault of one call, passed to the function that makes the result.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChaosInjection {
    /// The number of the call in its run, from 0.
    pub number: u64,
    /// A number from 0 up to, but not including, 1, uniformly distributed, with which the function
    /// can choose one of several results. It depends only on the seed and `number`.
    pub unit: f64,
}

/// The counters of a [`Chaos`] policy since it was built.
///
/// A fault is counted when the call reaches the policy, even if the call is dropped or the run ends
/// while the call is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChaosSnapshot {
    /// Whether the switch is on.
    pub is_on: bool,
    /// The number of calls that were made while the policy was on.
    pub calls: u64,
    /// The number of calls with added latency.
    pub latencies: u64,
    /// The number of calls that hung.
    pub hangs: u64,
    /// The number of calls that panicked.
    pub panics: u64,
    /// The number of calls with an [error fault](Fault::error).
    pub errors: u64,
    /// The number of calls with a [rejection fault](Fault::rejection).
    pub rejections: u64,
}

impl Chaos {
    /// Creates a builder.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// let chaos = Chaos::builder().fault(Fault::error().probability(0.1)).build()?;
    /// assert!(!chaos.switch().is_on());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn builder() -> ChaosBuilder {
        ChaosBuilder::new()
    }

    /// Returns the switch, which turns the policy on for a limited time.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// # use std::time::Duration;
    /// let chaos = Chaos::builder().fault(Fault::rejection()).build()?;
    /// chaos.switch().turn_on_for(Duration::from_secs(60))?;
    /// assert!(chaos.call_blocking(|| Ok::<_, ()>(1)).is_err());
    /// chaos.switch().turn_off();
    /// assert!(chaos.call_blocking(|| Ok::<_, ()>(1)).is_ok());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn switch(&self) -> &ChaosSwitch {
        &self.shared.switch
    }

    /// Returns a handle for calls with the key `key`, such as a tenant or a host; see
    /// [`Fault::key_share`]. The hash of a key is the same in every
    /// process of one platform.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault, Pipeline};
    /// let chaos = Chaos::builder().fault(Fault::error().key_share(0.05)).build()?;
    /// let pipeline = Pipeline::builder().chaos(chaos.key("tenant-7")).build();
    /// # assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn key(&self, key: &(impl Hash + ?Sized)) -> Self {
        let mut hasher = StableHasher::new();
        key.hash(&mut hasher);
        Self { shared: self.shared.clone(), key: Some(hasher.finish()) }
    }

    /// Returns a view whose [error faults](Fault::error) return the errors that `error` returns.
    ///
    /// ```
    /// # use mainstay::{Chaos, Error, Fault};
    /// # use std::time::Duration;
    /// let chaos = Chaos::builder().fault(Fault::error()).build()?;
    /// let failing = chaos.errors(|injection| match injection.unit < 0.5 {
    ///     true => "connection refused",
    ///     false => "broken pipe",
    /// });
    /// chaos.switch().turn_on_for(Duration::from_secs(60))?;
    /// assert!(matches!(failing.call_blocking(|| Ok(1)), Err(Error::Operation(_))));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn errors<E, F>(&self, error: F) -> ChaosWith<ChaosError<F>>
    where
        F: Fn(ChaosInjection) -> E + Send + Sync,
    {
        ChaosWith::new(self.clone(), ChaosError(error))
    }

    /// Returns a view whose [error faults](Fault::error) return the results that `result` returns,
    /// such as a response with status 503.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// # use std::time::Duration;
    /// let chaos = Chaos::builder().fault(Fault::error()).build()?;
    /// let degraded = chaos.results(|_| Ok::<_, ()>(503));
    /// chaos.switch().turn_on_for(Duration::from_secs(60))?;
    /// assert_eq!(degraded.call_blocking(|| Ok(200)), Ok(503));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn results<T, E, F>(&self, result: F) -> ChaosWith<F>
    where
        F: Fn(ChaosInjection) -> Result<T, E> + Send + Sync,
    {
        ChaosWith::new(self.clone(), result)
    }

    /// Applies the faults that affect the call, then runs `op` unless a fault ended the call.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// let chaos = Chaos::builder().fault(Fault::rejection()).build()?;
    /// # futures::executor::block_on(async {
    /// assert_eq!(chaos.call(|| async { Ok::<_, ()>(1) }).await, Ok(1)); // off
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection of a fault.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends its delay, or drops the operation.
    pub async fn call<Op, Fut, T, E>(&self, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.inject(Context::new()).await?;
        op().await.map_err(Error::Operation)
    }

    /// Applies the faults that affect the call, then runs the closure `op` unless a fault ended the
    /// call.
    ///
    /// ```
    /// # use mainstay::{Chaos, Fault};
    /// let chaos = Chaos::builder().fault(Fault::rejection()).build()?;
    /// assert_eq!(chaos.call_blocking(|| Ok::<_, ()>(1)), Ok(1)); // off
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection of a fault.
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        self.inject_blocking(Context::new())?;
        op().map_err(Error::Operation)
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.shared.emitter.name
    }

    /// Returns the current counters.
    #[must_use]
    pub fn snapshot(&self) -> ChaosSnapshot {
        let emitter = &self.shared.emitter;
        ChaosSnapshot {
            is_on: self.switch().is_on(),
            calls: emitter.calls.get(),
            latencies: emitter.latencies.get(),
            hangs: emitter.hangs.get(),
            panics: emitter.panics.get(),
            errors: emitter.errors.get(),
            rejections: emitter.rejections.get(),
        }
    }
}

impl From<&Chaos> for Chaos {
    fn from(chaos: &Self) -> Self {
        chaos.clone()
    }
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos")
            .field("name", &self.name())
            .field("switch", self.switch())
            .field("faults", &self.shared.plan.faults)
            .finish_non_exhaustive()
    }
}

/// A hasher whose results are the same in every process: FNV-1a (Fowler, Noll, Vo).
struct StableHasher(u64);

impl StableHasher {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
