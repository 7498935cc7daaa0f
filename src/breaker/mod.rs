//! A circuit breaker: stops calling a dependency that fails, and detects when it has recovered.
//!
//! A call to a failing dependency is not free. It holds a thread, a connection and its caller until
//! its timeout, and a dependency that is recovering is overloaded again by everything that waited.
//! An open breaker rejects calls immediately instead, and admits a few probes to see whether the
//! dependency has recovered.
//!
//! A breaker guards an operation by [`call`](CircuitBreaker::call) (a future) or
//! [`call_blocking`](CircuitBreaker::call_blocking) (a closure), each of which runs it at most
//! once; [`try_acquire`](CircuitBreaker::try_acquire) splits a call into admission and outcome; a
//! [`Pipeline`](crate::pipeline) combines the breaker with other policies. Cloning a breaker is
//! cheap, and all clones are one breaker: keep one per dependency, in a field. For one breaker per
//! host or tenant there is [`KeyedCircuitBreaker`].
//!
//! # Examples
//!
//! ```
//! use mainstay::{breaker::CircuitBreaker, error::Error};
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//!
//! # let search = || Ok::<_, std::io::Error>(42);
//! match breaker.call_blocking(|| search()) {
//!     Ok(found) => println!("{found}"),
//!     Err(Error::Rejected(rejection)) => println!("not now: {rejection}"),
//!     Err(error) => println!("{error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! By default every `Err` and every timeout is a failure, and a rejection by another policy is not
//! counted. A classifier ([`classified_by`](CircuitBreaker::classified_by)) can judge the `Ok`
//! value too, because an HTTP 503 is an `Ok`.
//!
//! | requirement | use |
//! |---|---|
//! | a failure that counts as five | [`Outcome::WeightedFailure`] |
//! | a server that says when to retry | [`Outcome::Unavailable`], which opens the breaker for that long, up to [`max_retry_after`](CircuitBreakerBuilder::max_retry_after) |
//! | slowness by a measure of your own | [`Outcome::Slow`] |
//! | other thresholds for some calls | [`CallClass`] |
//! | another rule for opening | [`trip_when`](CircuitBreakerBuilder::trip_when) |
//! | calls that hang count before they end | [`track_in_flight`](CircuitBreakerBuilder::track_in_flight) |
//!
//! # States
//!
//! <div>
#![doc = include_str!("states.svg")]
//! </div>
//!
//! * **Closed**: calls are admitted, and their outcomes counted in a [window](crate::window). After
//!   each failed or slow call, and only then, the rules are evaluated: with at least
//!   [`min_calls`](CircuitBreakerBuilder::min_calls) in the window, a rate at or above its limit
//!   opens the breaker; so does a run of consecutive failures.
//! * **Open**: calls are rejected, with the time after which to retry. The open duration grows with
//!   each opening that follows without a closing in between.
//! * **Half-open**: the first call after the open duration, and a few more, are admitted as probes;
//!   at most [`half_open_concurrency`](CircuitBreakerBuilder::half_open_concurrency) are in flight.
//!   Their outcomes are judged by the same limits, as soon as the
//!   [trial](CircuitBreakerBuilder::half_open_calls) is decided. A probe that exceeds its
//!   [timeout](CircuitBreakerBuilder::probe_timeout) counts as failed: a dependency that hangs
//!   neither keeps the breaker half-open forever nor is probed forever.
//!
//! An outcome counts for the state that admitted its call. A call that is admitted while closed and
//! ends while half-open changes nothing: the [snapshot](CircuitBreakerSnapshot) counts it as stale.
//!
//! With a [ramp](CircuitBreakerBuilder::ramp_up_duration), a breaker that has just closed admits a
//! growing share of the calls.
//!
//! [`set_mode`](CircuitBreaker::set_mode) overrides the rules: it forces a breaker open or closed,
//! disables it, or puts it in shadow mode, in which it decides and rejects nothing. A
//! [`CircuitBreakerControl`] does so for many breakers. See [`CircuitBreakerMode`].
//!
//! # Observability
//!
//! Observers of the builder, and listeners that [subscribe](CircuitBreaker::on_transition) later,
//! receive each [`Transition`] with its cause and the counts that led to it. A breaker keeps the
//! latest of them ([`history`](CircuitBreaker::history)); [`snapshot`](CircuitBreaker::snapshot)
//! returns the present figures.
//!
//! # Cancel safety
//!
//! A call whose future is dropped, or whose operation, classifier or backoff function panics,
//! records no outcome; the slot of a probe is free again. [`CircuitBreakerPermit`] says why a panic
//! is not a failure.
//!
//! # Performance
//!
//! A successful call of a closed breaker takes no lock, allocates nothing and does not read the
//! clock. While its window holds only successes it costs a few loads, and threads that share the
//! breaker do not contend; with a failure among the last calls it costs one atomic addition more.
//! Slow calls cost two clock readings, a time window one. Observers, modes, rules, classes and a
//! ramp that is over cost a successful call nothing: everything special about a breaker shows in a
//! bit of the word that is loaded anyway.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`count_window`](CircuitBreakerBuilder::count_window) | 100 calls |
//! | [`failure_rate`](CircuitBreakerBuilder::failure_rate) | 0.5 |
//! | [`min_calls`](CircuitBreakerBuilder::min_calls) | 20 |
//! | [`slow_calls`](CircuitBreakerBuilder::slow_calls) | none |
//! | [`consecutive_failures`](CircuitBreakerBuilder::consecutive_failures) | none |
//! | [`open_duration`](CircuitBreakerBuilder::open_duration) | 5 s, doubling up to 60 s, equal jitter |
//! | [`max_retry_after`](CircuitBreakerBuilder::max_retry_after) | 3600 s |
//! | [`half_open_concurrency`](CircuitBreakerBuilder::half_open_concurrency) | 3 |
//! | [`half_open_calls`](CircuitBreakerBuilder::half_open_calls) | 5 |
//! | [`probe_timeout`](CircuitBreakerBuilder::probe_timeout) | 30 s |
//! | [`ramp_up_duration`](CircuitBreakerBuilder::ramp_up_duration) | none |
//! | [`trip_when`](CircuitBreakerBuilder::trip_when) | none |
//! | [`track_in_flight`](CircuitBreakerBuilder::track_in_flight) | off |
//! | [`record_latency`](CircuitBreakerBuilder::record_latency) | off |

mod call;
mod classified;
mod config;
mod engine;
mod events;
mod guard;
mod keyed;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod mode;
mod permit;
mod shared;
mod snapshot;
mod transition;

pub use call::CircuitBreakerCallFuture;
pub use classified::ClassifiedCircuitBreaker;
pub use config::{CallClass, CircuitBreakerBuilder, TripStats};
pub use keyed::{
    KeyedCircuitBreaker, KeyedCircuitBreakerBuilder, KeyedCircuitBreakerSnapshot,
    KeyedCircuitBreakerTotals, KeyedCircuitBreakerView,
};
pub use mode::{CircuitBreakerControl, CircuitBreakerMode};
pub use permit::{CircuitBreakerPermit, OwnedCircuitBreakerPermit};
pub use snapshot::CircuitBreakerSnapshot;
pub use transition::{CircuitBreakerState, Transition, TransitionCause};

use crate::error::{ConfigError, Error, Rejection};
use crate::event::{Observer, Subscription};
use crate::outcome::{FailOnError, Outcome};
use crate::sync::PlainArc;
use crate::window::LatencyHistogram;
use classified::Judge;
use events::{Notice, observer_listener};
use mode::ModeTarget;
use shared::Shared;
use std::future::Future;

const POLICY: &str = "circuit_breaker";

/// A circuit breaker: stops calling a dependency that fails, and detects when it has recovered. See
/// the [module](self).
#[derive(Clone)]
pub struct CircuitBreaker(PlainArc<Shared>);

impl CircuitBreaker {
    /// Creates a breaker with the default settings.
    #[must_use]
    pub fn new() -> Self {
        CircuitBreakerBuilder::default().build().expect("the defaults are in range")
    }

    /// Creates a builder with the default settings.
    #[must_use]
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::default()
    }

    /// Admits or rejects a call, without waiting. The permit records the outcome of the call.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # fn send() -> Result<(), std::io::Error> { Ok(()) }
    /// # let breaker = CircuitBreaker::new();
    /// let permit = breaker.try_acquire()?;
    /// let result = send();
    /// permit.record(&result);
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] if the breaker is open, with the time until it will admit a probe; or if it
    /// is half-open with all probes in flight, when that time is not known.
    #[inline]
    pub fn try_acquire(&self) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        self.0.admit(false, self.0.reading())
    }

    /// Admits or rejects a call, without waiting. The permit borrows nothing.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # let breaker = CircuitBreaker::new();
    /// let permit = breaker.try_acquire_owned()?;
    /// std::thread::spawn(move || permit.success()).join().unwrap();
    /// assert_eq!(breaker.snapshot().counts.total, 1);
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_owned(&self) -> Result<OwnedCircuitBreakerPermit, Rejection> {
        self.try_acquire().map(|permit| OwnedCircuitBreakerPermit::new(self, permit))
    }

    /// Runs `op` if the breaker admits it, and records its outcome: every `Err` is a failure.
    ///
    /// `op` runs at most once, so it may consume what it captures. The future is `Send` if that of
    /// `op` is, and cancel-safe: see [`CircuitBreakerCallFuture`].
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # async fn send() -> Result<u32, std::io::Error> { Ok(42) }
    /// # futures::executor::block_on(async {
    /// let breaker = CircuitBreaker::new();
    /// let result = breaker.call(|| async { send().await }).await;
    /// assert_eq!(result.unwrap(), 42);
    /// # });
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `op`, or a rejection.
    pub fn call<Op, Fut, T, E>(&self, op: Op) -> CircuitBreakerCallFuture<'_, FailOnError, Op, Fut>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        CircuitBreakerCallFuture::new(&self.0, &const { Judge::DEFAULT }, false, op)
    }

    /// Runs `op` on this thread if the breaker admits it, and records its outcome: every `Err` of
    /// `op` is a failure. `op` runs at most once.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// let breaker = CircuitBreaker::new();
    /// let number = breaker.call_blocking(|| "42".parse::<u32>());
    /// assert_eq!(number, Ok(42));
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `op`, or a rejection.
    #[inline]
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        let permit = self.try_acquire()?;
        let result = op();
        permit.record(&result);
        result.map_err(Error::Operation)
    }

    /// Returns a view of this breaker that judges results by the closure `classify`.
    ///
    /// ```
    /// use mainstay::{breaker::CircuitBreaker, outcome::Outcome};
    ///
    /// let breaker = CircuitBreaker::new();
    /// let by_status = breaker.classified_by(|result| match result {
    ///     Ok(500..) | Err(_) => Outcome::Failure,
    ///     Ok(_) => Outcome::Success,
    /// });
    /// let status = by_status.call_blocking(|| Ok::<u16, std::io::Error>(503));
    /// assert_eq!(breaker.snapshot().counts.failed, 1);
    /// ```
    #[must_use]
    pub fn classified_by<T, E, C>(&self, classify: C) -> ClassifiedCircuitBreaker<C>
    where
        C: Fn(&Result<T, Error<E>>) -> Outcome + Send + Sync,
    {
        self.classified_with(classify)
    }

    /// Returns a view of this breaker that judges results by a type that implements
    /// [`Classify`](crate::outcome::Classify), for instance a
    /// [`TimedClassifier`](crate::outcome::TimedClassifier) closure.
    ///
    /// ```
    /// use mainstay::{breaker::CircuitBreaker, outcome::FailOnError};
    ///
    /// let view = CircuitBreaker::new().classified_with(FailOnError);
    /// assert_eq!(view.call_blocking(|| Ok::<u32, ()>(42)), Ok(42));
    /// ```
    #[must_use]
    pub fn classified_with<C>(&self, classify: C) -> ClassifiedCircuitBreaker<C> {
        let judge = Judge { classify, class: CallClass::DEFAULT };
        ClassifiedCircuitBreaker { breaker: self.clone(), judge }
    }

    /// Returns a view of this breaker for calls with thresholds of their own. See [`CallClass`].
    ///
    /// # Errors
    ///
    /// A threshold of `class` is out of range, or it sets what is slow and the breaker times no
    /// calls.
    pub fn for_class(
        &self,
        class: CallClass,
    ) -> Result<ClassifiedCircuitBreaker<FailOnError>, ConfigError> {
        self.classified_with(FailOnError).for_class(class)
    }

    /// Returns the name given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.group.name
    }

    /// Returns the present state.
    #[must_use]
    pub fn state(&self) -> CircuitBreakerState {
        self.0.engine.state()
    }

    /// Returns the present mode.
    #[must_use]
    pub fn mode(&self) -> CircuitBreakerMode {
        self.0.engine.word().mode()
    }

    /// Sets the mode. A [`CircuitBreakerControl`] sets that of many breakers.
    ///
    /// ```
    /// use mainstay::breaker::{CircuitBreaker, CircuitBreakerMode};
    ///
    /// let breaker = CircuitBreaker::new();
    /// breaker.set_mode(CircuitBreakerMode::Shadow);
    /// # fn send() -> Result<(), ()> { Ok(()) }
    /// let permit = breaker.try_acquire()?; // never rejects in shadow mode
    /// if permit.would_reject() {
    ///     println!("this call would have been rejected");
    /// }
    /// permit.record(&send());
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// ```
    pub fn set_mode(&self, mode: CircuitBreakerMode) {
        self.0.apply_mode(mode);
    }

    /// Rejects all calls until another mode is set: [`CircuitBreakerMode::ForcedOpen`].
    pub fn force_open(&self) {
        self.set_mode(CircuitBreakerMode::ForcedOpen);
    }

    /// Admits and counts all calls until another mode is set: [`CircuitBreakerMode::ForcedClosed`].
    /// [`reset`](Self::reset) closes the breaker and leaves the rules in force.
    pub fn force_close(&self) {
        self.set_mode(CircuitBreakerMode::ForcedClosed);
    }

    /// Admits all calls, counts none until another mode is set: [`CircuitBreakerMode::Disabled`].
    pub fn disable(&self) {
        self.set_mode(CircuitBreakerMode::Disabled);
    }

    /// Closes the breaker immediately, with an empty window. Calls in flight will not count.
    ///
    /// A breaker that is [forced open](Self::force_open) or [disabled](Self::disable) stays so.
    pub fn reset(&self) {
        if self.0.engine.close_and_clear(self.0.group.clock.now()).is_committed() {
            self.0.deliver();
        }
    }

    /// Returns a builder with the settings in force, to be changed and passed to
    /// [`reconfigure`](Self::reconfigure).
    #[must_use]
    pub fn config(&self) -> CircuitBreakerBuilder {
        self.0.group.config.lock().clone()
    }

    /// Replaces the settings while calls go on.
    ///
    /// The window, the state and the remaining open duration are kept. After this returns, no
    /// decision is made by the old settings. The observer, the control and the source of randomness
    /// stay the same.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # let breaker = CircuitBreaker::new();
    /// breaker.reconfigure(breaker.config().failure_rate(0.3))?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A setting is out of range; or one differs that is fixed when the breaker is built (name,
    /// window, clock, whether calls in flight are tracked and latencies recorded); or the breaker
    /// belongs to a [`KeyedCircuitBreaker`], whose settings are fixed. Nothing is changed then.
    pub fn reconfigure(&self, config: CircuitBreakerBuilder) -> Result<(), ConfigError> {
        if self.0.key.is_some() {
            let accepted = "a breaker that does not belong to a key";
            return Err(ConfigError::new("reconfigure", self.name(), accepted));
        }
        let old = {
            // One thread at a time: the builder and the configuration in force must agree.
            let mut present = self.0.group.config.lock();
            let validated = present.reconfigured(&config)?;
            self.0.engine.install(&validated, config.closures());
            std::mem::replace(&mut *present, config)
        };
        drop(old); // may run the user's `Drop`: not under the lock
        Ok(())
    }

    /// Returns the present figures.
    #[must_use]
    pub fn snapshot(&self) -> CircuitBreakerSnapshot {
        CircuitBreakerSnapshot::of(&self.0)
    }

    /// Returns the latencies of the successful calls in the window; `None` if they are not
    /// [recorded](CircuitBreakerBuilder::record_latency).
    ///
    /// ```
    /// use mainstay::{breaker::CircuitBreaker, window::LatencyQuantiles};
    ///
    /// let breaker = CircuitBreaker::builder().record_latency().build()?;
    /// breaker.call_blocking(|| Ok::<(), std::io::Error>(()))?;
    /// let p95 = breaker.quantile(0.95);
    /// assert_eq!(p95, breaker.latency().unwrap().quantile(0.95));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn latency(&self) -> Option<LatencyHistogram> {
        self.0.engine.window.latency(self.0.group.clock.now())
    }

    /// Returns the latest transitions, oldest first, at most 16.
    ///
    /// ```
    /// # use mainstay::breaker::{CircuitBreaker, CircuitBreakerState, TransitionCause};
    /// # let breaker = CircuitBreaker::builder().min_calls(1).build()?;
    /// # breaker.try_acquire().unwrap().failure();
    /// let open = CircuitBreakerState::Open;
    /// let history = breaker.history();
    /// let why = history.iter().rfind(|transition| transition.to == open).unwrap();
    /// assert_eq!(why.cause, TransitionCause::FailureRate);
    /// println!("{}: {} of {} calls", why.cause, why.counts.failed, why.counts.total);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn history(&self) -> Vec<Transition> {
        self.0.engine.outbox.recent()
    }

    /// Calls `listener` for each transition until the subscription is dropped.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # let breaker = CircuitBreaker::new();
    /// let subscription = breaker.on_transition(|transition| {
    ///     eprintln!("{}: {}", transition.to, transition.cause);
    /// });
    /// # drop(subscription);
    /// ```
    pub fn on_transition(
        &self,
        listener: impl Fn(&Transition) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.group.listeners.subscribe(move |notice| match notice {
            Notice::Transition(transition, _) => listener(transition),
            Notice::WouldReject { .. } => {}
        })
    }

    /// Passes each event to `observer` until the subscription is dropped: each [`Transition`], and
    /// each call that a breaker in [shadow mode](CircuitBreakerMode::Shadow) would have rejected
    /// (`would_reject`, with the field `state`). [`event`](crate::event) describes the delivery.
    ///
    /// For a breaker of a [`KeyedCircuitBreaker`] the observer receives the events of all keys, of
    /// which each numbers its own.
    ///
    /// ```
    /// # use mainstay::{breaker::CircuitBreaker, event::Event};
    /// # let breaker = CircuitBreaker::new();
    /// let subscription = breaker.observe(|event: &Event<'_>| eprintln!("{event}"));
    /// # drop(subscription);
    /// ```
    pub fn observe(&self, observer: impl Observer) -> Subscription {
        self.0.group.listeners.subscribe(observer_listener(self.name(), observer))
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new()
    }
}
