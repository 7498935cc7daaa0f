//! The type [`CircuitBreaker`].

use super::classified::Classifier;
use super::events::{Notice, observer_listener};
use super::mode::ModeTarget;
use super::shared::Shared;
use super::{
    CallClass, CircuitBreakerBuilder, CircuitBreakerCallFuture, CircuitBreakerMode,
    CircuitBreakerPermit, CircuitBreakerSnapshot, CircuitBreakerState, CircuitBreakerTransition,
    ClassifiedCircuitBreaker, OwnedCircuitBreakerPermit,
};
use crate::error::{ConfigError, Error, Rejection};
use crate::event::{Observer, Subscription};
use crate::outcome::{FailOnError, Outcome};
use crate::sync::PlainArc;
use crate::window::LatencyHistogram;
use std::future::Future;

/// A circuit breaker, which stops calls to a failing dependency and detects when it has recovered.
/// See the [module documentation](super).
#[derive(Clone)]
pub struct CircuitBreaker(pub(super) PlainArc<Shared>);

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
    /// Returns the errors of [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_owned(&self) -> Result<OwnedCircuitBreakerPermit, Rejection> {
        self.try_acquire().map(|permit| OwnedCircuitBreakerPermit::new(self, permit))
    }

    /// Runs `op` if the breaker admits it, and records its outcome: every `Err` is a failure.
    ///
    /// `op` runs at most once, so it may consume what it captures. The returned future is `Send` if
    /// `op` and its future are, and cancel-safe: see [`CircuitBreakerCallFuture`].
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
        let classifier = Classifier { classify, class: CallClass::DEFAULT };
        ClassifiedCircuitBreaker { breaker: self.clone(), classifier }
    }

    /// Returns a view of this breaker that applies the thresholds of `class`. See [`CallClass`].
    ///
    /// ```
    /// # use mainstay::{CallClass, CircuitBreaker};
    /// # let breaker = CircuitBreaker::new();
    /// let payments = breaker.for_class(CallClass::new().failure_rate(0.1))?;
    /// assert_eq!(payments.call_blocking(|| Ok::<_, ()>(200)), Ok(200));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
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

    /// Sets the mode. A [`CircuitBreakerControl`](super::CircuitBreakerControl) sets the mode of
    /// many breakers.
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
    /// * The breaker belongs to a [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker), whose
    ///   settings are fixed.
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
    /// For a breaker of a [`KeyedCircuitBreaker`](super::KeyedCircuitBreaker) the observer receives
    /// the events of all keys. Each key has its own sequence numbers.
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
