//! Admission control by priority: [`Prioritizer`].

mod config;
mod fairness;
mod guard;
mod limit_source;
mod permit;
mod shared;
mod state;

pub use config::PrioritizerBuilder;
pub use limit_source::LimitSource;
pub use permit::{OwnedPrioritizerPermit, PrioritizerPermit};

use crate::error::{ConfigError, Error, Rejection};
use crate::policy::{Caller, Priority};
use crate::sync::PlainArc;
use shared::Shared;
use std::fmt;
use std::future::Future;

const POLICY: &str = "prioritizer";

/// Admission control by priority, which rejects the least important calls first under overload.
///
/// A limiter keeps a server from overload, but rejects important and unimportant calls alike. A
/// prioritizer above one or more limiters rejects calls of a low [`Priority`] before they reach the
/// limiters, and only as many as exceed the capacity of the limiters.
///
/// Once per [`update_interval`](PrioritizerBuilder::update_interval), the prioritizer estimates how
/// many calls the server can complete in the next interval: as many as in the last one, more in
/// proportion to the free permits of the limiters, minus the calls that already wait for a permit.
/// The *rejection rate* approaches the share of the offered calls beyond that number.
///
/// The prioritizer counts recent calls by priority, and converts the rate to a threshold. All calls
/// with a priority below the threshold are rejected, and a random share of the calls with the
/// priority of the threshold. If all calls have one priority, a random share of them is therefore
/// rejected.
///
/// Among the calls with the priority of the threshold that have a [user](Caller::with_user), the
/// calls of the users with the highest recent usage are rejected first. The usage of a user is the
/// number of its admitted calls, halved every
/// [`usage_half_life`](PrioritizerBuilder::usage_half_life). Therefore a user that sends many calls
/// does not displace the calls of users that send few. The users whose calls are rejected converge
/// to an equal number of admitted calls. Users must be authenticated: a client that invents a new
/// user for each call has no usage, and its calls are rejected last.
///
/// The design follows Uber's Cinnamon (2023) and failsafe-go. Both adjust the rejection rate with a
/// PI controller; here, it is computed from the measured throughput of the server.
///
/// Cloning is cheap, and all clones share one prioritizer.
///
/// # Examples
///
/// ```
/// use mainstay::concurrency::{AdaptiveLimiter, Prioritizer};
/// use mainstay::pipeline::Pipeline;
/// use mainstay::policy::PriorityClass;
///
/// let limiter = AdaptiveLimiter::builder().name("server").build()?;
/// let prioritizer = Prioritizer::builder().limiter(limiter.clone()).build()?;
/// let server = Pipeline::builder().adaptive_limit(&limiter).build();
///
/// # let accept_order = || Ok::<_, std::io::Error>("accepted");
/// let permit = prioritizer.try_acquire(PriorityClass::High)?;
/// match server.call_blocking(accept_order) {
///     Err(error) if error.is_rejected() => permit.rejected(),
///     _ => drop(permit),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// As a guard in a pipeline, a prioritizer reads the priority from the
/// [`Context`](crate::policy::Context), and calls [`rejected`](PrioritizerPermit::rejected) itself.
///
/// # Performance
///
/// An admitted call costs a clock reading and four atomic additions. A call with a user also costs
/// a hash and a lookup under the lock of one of many shards. An update allocates 2 KiB.
#[derive(Clone)]
pub struct Prioritizer(PlainArc<Shared>);

/// The state and the counters of a [`Prioritizer`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PrioritizerSnapshot {
    /// The share of calls to reject, from 0 to 1.
    pub rejection_rate: f64,
    /// The lowest priority with which calls are admitted; `None` while no call is rejected.
    pub threshold: Option<Priority>,
    /// The number of admitted calls that have not ended.
    pub in_flight: u64,
    /// The number of calls that were rejected since the prioritizer was built.
    pub rejections: u64,
    /// The number of users whose usage is stored.
    pub users: usize,
}

impl Prioritizer {
    /// Creates a builder.
    pub fn builder() -> PrioritizerBuilder {
        PrioritizerBuilder::new()
    }

    /// Admits or rejects a call of `caller`, which can be a [`Priority`] or a
    /// [`PriorityClass`](crate::policy::PriorityClass). Never waits.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// use mainstay::policy::PriorityClass;
    ///
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let prioritizer = Prioritizer::builder().limiter(bulkhead).build()?;
    /// let permit = prioritizer.try_acquire(PriorityClass::Low).expect("no overload yet");
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::Shed`](crate::error::Reason::Shed).
    pub fn try_acquire(
        &self,
        caller: impl Into<Caller>,
    ) -> Result<PrioritizerPermit<'_>, Rejection> {
        self.0.admit(caller.into(), self.0.clock.now())?;
        Ok(PrioritizerPermit::new(&self.0))
    }

    /// Admits a call as [`try_acquire`](Self::try_acquire) does, with a permit that keeps the
    /// prioritizer alive.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// use mainstay::policy::PriorityClass;
    ///
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let prioritizer = Prioritizer::builder().limiter(bulkhead).build()?;
    /// let permit = prioritizer.try_acquire_owned(PriorityClass::Low).expect("no overload yet");
    /// std::thread::spawn(move || drop(permit)).join().unwrap();
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(
        &self,
        caller: impl Into<Caller>,
    ) -> Result<OwnedPrioritizerPermit, Rejection> {
        self.0.admit(caller.into(), self.0.clock.now())?;
        Ok(OwnedPrioritizerPermit::new(self.clone()))
    }

    /// Runs `op` unless the call is rejected. The call is counted as completed when it ends. If a
    /// limiter within `op` can reject the call, use [`try_acquire`](Self::try_acquire) or a
    /// pipeline instead.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// use mainstay::policy::PriorityClass;
    ///
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let prioritizer = Prioritizer::builder().limiter(bulkhead).build()?;
    /// # futures::executor::block_on(async {
    /// let call = prioritizer.call(PriorityClass::High, || async { Ok::<_, ()>(200) });
    /// assert_eq!(call.await, Ok(200));
    /// # });
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future records the call as completed.
    pub async fn call<Op, Fut, T, E>(
        &self,
        caller: impl Into<Caller>,
        op: Op,
    ) -> Result<T, Error<E>>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let _permit = self.try_acquire(caller)?;
        op().await.map_err(Error::Operation)
    }

    /// Runs the closure `op` unless the call is rejected; see [`call`](Self::call).
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// use mainstay::policy::PriorityClass;
    ///
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let prioritizer = Prioritizer::builder().limiter(bulkhead).build()?;
    /// let result = prioritizer.call_blocking(PriorityClass::High, || Ok::<_, ()>(200));
    /// assert_eq!(result, Ok(200));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `op`, or the rejection.
    pub fn call_blocking<T, E>(
        &self,
        caller: impl Into<Caller>,
        op: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error<E>> {
        let _permit = self.try_acquire(caller)?;
        op().map_err(Error::Operation)
    }

    /// Applies the `update_interval` and the `usage_half_life` of `config`, while the prioritizer
    /// is in use.
    ///
    /// The rejection rate and the recorded usage are kept. The other settings of `config` are
    /// validated and not applied; it needs no limiter.
    ///
    /// ```
    /// # use mainstay::{Bulkhead, Prioritizer};
    /// # let bulkhead = Bulkhead::builder().build()?;
    /// let prioritizer = Prioritizer::builder().limiter(bulkhead).build()?;
    /// let half_life = std::time::Duration::from_secs(60);
    /// prioritizer.reconfigure(&Prioritizer::builder().usage_half_life(half_life))?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the first setting that is out of range. Then nothing is changed.
    pub fn reconfigure(&self, config: &PrioritizerBuilder) -> Result<(), ConfigError> {
        config.validate()?;
        self.0.reconfigure(config.update_interval, config.usage_half_life);
        Ok(())
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the current state and counters.
    #[must_use]
    pub fn snapshot(&self) -> PrioritizerSnapshot {
        let threshold = self.0.threshold();
        let rejects = threshold != state::Threshold::NONE;
        PrioritizerSnapshot {
            rejection_rate: self.0.rate(),
            threshold: rejects.then(|| Priority::at(threshold.index.into())),
            in_flight: self.0.in_flight(),
            rejections: self.0.rejections(),
            users: self.0.users(),
        }
    }
}

impl fmt::Debug for Prioritizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prioritizer")
            .field("name", &self.name())
            .field("rejection_rate", &self.0.rate())
            .finish_non_exhaustive()
    }
}
