//! A circuit breaker: stops calling a dependency that fails, and detects when it has recovered.
//!
//! A call to a failing dependency occupies a thread, a connection and its caller until the timeout.
//! When the dependency recovers, the calls that waited overload it again. An open breaker instead
//! rejects calls immediately, and admits a few probes to detect whether the dependency has
//! recovered.
//!
//! A breaker guards an operation by [`call`](CircuitBreaker::call) (a future) or
//! [`call_blocking`](CircuitBreaker::call_blocking) (a closure), each of which runs it at most
//! once; [`try_acquire`](CircuitBreaker::try_acquire) splits a call into admission and outcome; a
//! [`Pipeline`](crate::pipeline) combines the breaker with other policies. Cloning a breaker is
//! cheap, and all clones share one state: keep one breaker per dependency. For one breaker per host
//! or tenant, use [`KeyedCircuitBreaker`].
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
//! counted. A classifier ([`classified_by`](CircuitBreaker::classified_by)) can also judge the `Ok`
//! value, for example an HTTP response with status 503.
//!
//! | requirement | use |
//! |---|---|
//! | a failure that counts as five | [`Outcome::WeightedFailure`] |
//! | a server that sends a retry time | [`Outcome::Unavailable`], which opens the breaker for that long, up to [`max_retry_after`](CircuitBreakerBuilder::max_retry_after) |
//! | a custom measure of slowness | [`Outcome::Slow`] |
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
//! * **Closed**: calls are admitted, and their outcomes counted in a [window](crate::window). The
//!   rules are evaluated after a failed or slow call, and on admission if calls in flight are
//!   tracked. With at least [`min_calls`](CircuitBreakerBuilder::min_calls) calls in the window, a
//!   rate at or above its limit opens the breaker. A run of consecutive failures also opens it, if
//!   that rule is set.
//! * **Open**: calls are rejected, with the time until the earliest useful retry. The open duration
//!   grows with each opening until the breaker closes.
//! * **Half-open**: the first call after the open duration, and a few more, are admitted as probes;
//!   at most [`half_open_concurrency`](CircuitBreakerBuilder::half_open_concurrency) are in flight.
//!   The same limits decide the [trial](CircuitBreakerBuilder::half_open_calls), as soon as the
//!   remaining outcomes cannot change the result. A probe that exceeds its
//!   [timeout](CircuitBreakerBuilder::probe_timeout) counts as failed, so that a dependency that
//!   hangs does not keep the breaker half-open.
//!
//! An outcome counts only in the state in which its call was admitted. A call that is admitted by a
//! closed breaker and ends when the breaker is half-open changes nothing: the
//! [snapshot](CircuitBreakerSnapshot) counts it as stale.
//!
//! With a [ramp](CircuitBreakerBuilder::ramp_up_duration), a breaker that has just closed admits a
//! growing share of the calls.
//!
//! [`set_mode`](CircuitBreaker::set_mode) overrides the rules: it forces a breaker open or closed,
//! disables it, or puts it in shadow mode, in which the rules apply but no call is rejected. A
//! [`CircuitBreakerControl`] sets the mode of many breakers. See [`CircuitBreakerMode`].
//!
//! # Observability
//!
//! Observers of the builder, and listeners that [subscribe](CircuitBreaker::on_transition) later,
//! receive each [`CircuitBreakerTransition`] with its cause and the counts that led to it. A
//! breaker keeps the latest of them ([`history`](CircuitBreaker::history));
//! [`snapshot`](CircuitBreaker::snapshot) returns the current state and counts.
//!
//! # Cancel safety
//!
//! A call whose future is dropped, or whose operation, classifier or backoff function panics,
//! records no outcome and releases the slot of a probe. [`CircuitBreakerPermit`] explains why a
//! panic is not a failure.
//!
//! # Performance
//!
//! A successful call of a closed breaker takes no lock, allocates nothing and does not read the
//! clock. While its window holds only successes it costs a few loads, and threads that share the
//! breaker do not contend; with a failure among the last calls it costs one atomic addition more.
//! Slow calls cost two clock readings, a time window one. Observers, modes, rules, classes and a
//! completed ramp add nothing to the cost of a successful call: the word that every call
//! loads states whether any further check is needed.
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
pub use transition::{CircuitBreakerState, CircuitBreakerTransition, TransitionCause};

use crate::error::{ConfigError, Error, Rejection};
use crate::event::{Observer, Subscription};
use crate::outcome::{FailOnError, Outcome};
use crate::sync::PlainArc;
use crate::window::LatencyHistogram;
use classified::Classifier;
use events::{Notice, observer_listener};
use mode::ModeTarget;
use shared::Shared;
use std::future::Future;

const POLICY: &str = "circuit_breaker";

/// A circuit breaker, which stops calls to a failing dependency and detects when it has recovered.
/// See the [module documentation](self).
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
    /// Returns a [`Rejection`] if the breaker is open, half-open with all probes in flight, or
    /// ramping up. If the breaker is open, the rejection contains the time until it admits a probe,
    /// if known.
    #[inline]
    pub fn try_acquire(&self) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        self.0.admit(false, self.0.reading())
    }

    /// Admits or rejects a call, without waiting. The permit owns a handle to the breaker.
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
    /// The same as for [`try_acquire`](Self::try_acquire).
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
    /// Returns the error of `op`, or a rejection if `op` was not run.
    pub fn call<Op, Fut, T, E>(&self, op: Op) -> CircuitBreakerCallFuture<'_, FailOnError, Op, Fut>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        CircuitBreakerCallFuture::new(&self.0, &const { Classifier::DEFAULT }, false, op)
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
    /// Returns the error of `op`, or a rejection if `op` was not run.
    #[inline]
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        let permit = self.try_acquire()?;
        let result = op();
        permit.record(&result);
        result.map_err(Error::Operation)
    }

    /// Returns a view of this breaker that classifies results with the closure `classify`.
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

    /// Returns a view of this breaker that classifies results with a type that implements
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
        let judge = Classifier { classify, class: CallClass::DEFAULT };
        ClassifiedCircuitBreaker { breaker: self.clone(), judge }
    }

    /// Returns a view of this breaker that applies the thresholds of `class`. See [`CallClass`].
    ///
    /// # Errors
    ///
    /// Returns an error if a threshold of `class` is out of range, or if `class` sets a slow
    /// threshold and the breaker does not time its calls.
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

    /// Returns the current state.
    #[must_use]
    pub fn state(&self) -> CircuitBreakerState {
        self.0.engine.state()
    }

    /// Returns the current mode.
    #[must_use]
    pub fn mode(&self) -> CircuitBreakerMode {
        self.0.engine.word().mode()
    }

    /// Sets the mode. A [`CircuitBreakerControl`] sets the mode of many breakers.
    ///
    /// ```
    /// use mainstay::breaker::{CircuitBreaker, CircuitBreakerMode};
    ///
    /// let breaker = CircuitBreaker::new();
    /// breaker.set_mode(CircuitBreakerMode::Shadow);
    /// # fn send() -> Result<(), ()> { Ok(()) }
    /// let permit = breaker.try_acquire()?; // is never rejected in shadow mode
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
    /// In contrast, [`reset`](Self::reset) closes the breaker once and keeps the rules active.
    pub fn force_close(&self) {
        self.set_mode(CircuitBreakerMode::ForcedClosed);
    }

    /// Admits all calls and counts none until another mode is set:
    /// [`CircuitBreakerMode::Disabled`].
    pub fn disable(&self) {
        self.set_mode(CircuitBreakerMode::Disabled);
    }

    /// Closes the breaker immediately, with an empty window. The outcomes of calls in flight are
    /// not counted.
    ///
    /// Has no effect if the breaker is [forced open](Self::force_open) or
    /// [disabled](Self::disable).
    pub fn reset(&self) {
        if self.0.engine.close_and_clear(self.0.group.clock.now()).is_committed() {
            self.0.deliver();
        }
    }

    /// Returns a builder with the current settings, to be changed and passed to
    /// [`reconfigure`](Self::reconfigure).
    #[must_use]
    pub fn config(&self) -> CircuitBreakerBuilder {
        self.0.group.config.lock().clone()
    }

    /// Replaces the settings while the breaker is in use.
    ///
    /// The window, the state and the remaining open duration are kept. After this returns, no
    /// decision uses the old settings. The observer, the control and the source of randomness stay
    /// the same.
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
    /// Returns an error and changes nothing in these cases:
    ///
    /// * A setting is out of range.
    /// * A setting differs that is fixed at build: the name, the window, the clock, the tracking of
    ///   calls in flight or the recording of latencies.
    /// * The breaker belongs to a [`KeyedCircuitBreaker`], whose settings are fixed.
    pub fn reconfigure(&self, config: CircuitBreakerBuilder) -> Result<(), ConfigError> {
        if self.0.key.is_some() {
            let accepted = "a breaker that does not belong to a key";
            return Err(ConfigError::new("reconfigure", self.name(), accepted));
        }
        let old = {
            // One thread at a time, so that the stored builder and the live configuration agree.
            let mut current = self.0.group.config.lock();
            let validated = current.reconfigured(&config)?;
            self.0.engine.install(&validated, config.closures());
            std::mem::replace(&mut *current, config)
        };
        // Dropping the old settings may run user code, so it happens outside the lock.
        drop(old);
        Ok(())
    }

    /// Returns a snapshot of the state and the counts.
    #[must_use]
    pub fn snapshot(&self) -> CircuitBreakerSnapshot {
        CircuitBreakerSnapshot::of(&self.0)
    }

    /// Returns the latencies of the successful calls in the window, or `None` if they are not
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
    /// let opening = history.iter().rfind(|transition| transition.to == open).unwrap();
    /// assert_eq!(opening.cause, TransitionCause::FailureRate);
    /// let counts = opening.counts;
    /// println!("{}: {} of {} calls", opening.cause, counts.failed, counts.total);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn history(&self) -> Vec<CircuitBreakerTransition> {
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
        listener: impl Fn(&CircuitBreakerTransition) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.group.listeners.subscribe(move |notice| match notice {
            Notice::Transition(transition, _) => listener(transition),
            Notice::WouldReject { .. } => {}
        })
    }

    /// Passes each event to `observer` until the subscription is dropped: each
    /// [`CircuitBreakerTransition`], and each call that a breaker in [shadow
    /// mode](CircuitBreakerMode::Shadow) would have rejected (`would_reject`, with the field
    /// `state`). [`event`](crate::event) describes the delivery.
    ///
    /// For a breaker of a [`KeyedCircuitBreaker`] the observer receives the events of all keys.
    /// Each key has its own sequence numbers.
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
