//! A circuit breaker: stops calling a dependency that fails, and finds out when it is well again.
//!
//! # Why
//!
//! A call to a dead dependency is not free: it holds a thread, a connection, a caller's patience until
//! its time limit; and a dependency that is coming back is pushed over again by everyone who waited.
//! A breaker answers at once instead, and lets a few calls through to see how things are.
//!
//! # Quick start
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
//! `breaker.call(|| async { … }).await` does the same around a future,
//! [`try_acquire`](CircuitBreaker::try_acquire) splits it into before and after, and a
//! [`Pipeline`](crate::pipeline) joins it with other policies. Cloning a breaker is cheap, and all
//! clones are one breaker; keep one per dependency, in a field.
//!
//! # States
//!
//! ```text
//!                 failure rate, slow rate or run of failures
//!       ┌────────┐ ──────────────────────────────────────▶ ┌──────┐
//!       │ closed │                                         │ open │◀─┐
//!       └────────┘                                         └──────┘  │
//!            ▲                                   wait elapsed │      │ probes fail, are
//!            │              ┌───────────┐                     │      │ slow or get lost
//!            └───────────── │ half-open │ ◀───────────────────┘      │
//!              probes do    └───────────┘                            │
//!              well               └──────────────────────────────────┘
//! ```
//!
//! * **Closed**: calls pass and are counted in a [window](crate::window). After each failed or slow
//!   call, and only then, the rules are looked at: with at least the minimum of calls in the window, a
//!   rate at or above its limit opens it; so does a run of failures.
//! * **Open**: calls are rejected, and told when to come back. The wait grows with each opening that
//!   follows without a closing in between.
//! * **Half-open**: the first caller after the wait, and a few more, pass as probes. Never more than
//!   [`half_open_concurrency`](CircuitBreakerBuilder::half_open_concurrency) are under way. Their outcomes are judged by the limits that also trip,
//!   as soon as the [`trial`](CircuitBreakerBuilder::half_open_calls) is decided. A probe that does not come back within
//!   its [lease](CircuitBreakerBuilder::probe_timeout) has failed: so a dependency that hangs neither keeps the breaker
//!   half-open for ever nor is probed for ever. Leases are renewed together with each probe that is
//!   admitted.
//!
//! A call counts for the state that admitted it. One that was admitted while closed and ends while
//! half-open changes nothing; the [`CircuitBreakerSnapshot`] counts it as stale.
//!
//! With a [ramp](CircuitBreakerBuilder::ramp_up_duration), a breaker that has closed admits a growing share of the calls at first.
//!
//! # By hand
//!
//! [`set_mode`](CircuitBreaker::set_mode) forces a breaker open or closed, disables it, or puts it in shadow,
//! where it decides and rejects nothing; a [`CircuitBreakerControl`] does so to many at once. See [`CircuitBreakerMode`].
//!
//! # Who hears
//!
//! Observers given to the builder, and those who [subscribe](CircuitBreaker::on_transition), hear of each
//! [`Transition`]: from where to where, why, by which figures, the how-manieth. A breaker
//! [remembers](CircuitBreaker::history) the last of them: why did it open?
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
//!
//! # What counts
//!
//! By default every `Err` and every timeout is a failure, and a rejection by another policy is none.
//! [`classified_by`](CircuitBreaker::classified_by) gives a view with a rule of your own, which sees
//! the `Ok` value too: an HTTP 503 is an `Ok`.
//!
//! | to say | there is |
//! |---|---|
//! | this failure counts as five | [`Outcome::Grave`] |
//! | the server says when to come back | [`Outcome::Unavailable`], which opens for [just](CircuitBreakerBuilder::max_retry_after) that long |
//! | slow by a measure of my own | [`Outcome::Slow`] |
//! | these calls have thresholds of their own | [`CallClass`] |
//! | open when I say so | [`trip_when`](CircuitBreakerBuilder::trip_when) |
//! | calls that hang count before they end | [`track_in_flight`](CircuitBreakerBuilder::track_in_flight) |
//!
//! # Cancel safety
//!
//! A call whose future is dropped, or whose operation, classifier or wait function panics, counts as no
//! call at all; a probe's slot is free again. For why a panic is not a failure see [`CircuitBreakerPermit`].
//!
//! # Cost
//!
//! A successful call of a closed breaker takes no lock, no allocation and no look at the clock. As long as
//! its window holds nothing but successes it is a few loads, and threads that share the breaker do not
//! get in each other's way; with a failure among the last calls, it is an atomic addition more. Slow
//! calls cost two readings of the clock, a time window one. Observers, modes, rules, classes and a ramp that is
//! over cost a successful call nothing: whatever is special about a breaker shows in a bit of the word that is
//! loaded anyway.

mod admit;
mod class;
mod config;
mod core;
mod future;
mod guard;
mod in_flight;
mod keyed;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod manual;
mod moves;
mod owned;
mod permit;
mod places;
mod ramp;
mod rule;
mod settings;
mod settle;
mod snapshot;
mod state;
mod tell;
mod transition;
mod word;

pub use class::CallClass;
pub use config::CircuitBreakerBuilder;
pub use future::CircuitBreakerCallFuture;
pub use guard::ClassifiedCircuitBreaker;
pub use keyed::{
    KeyedCircuitBreaker, KeyedCircuitBreakerBuilder, KeyedCircuitBreakerSnapshot,
    KeyedCircuitBreakerTotals,
};
pub use manual::{CircuitBreakerControl, CircuitBreakerMode};
pub use owned::OwnedCircuitBreakerPermit;
pub use permit::CircuitBreakerPermit;
pub use rule::TripStats;
pub use snapshot::CircuitBreakerSnapshot;
pub use transition::{CircuitBreakerState, Transition, TransitionCause};

use crate::error::{ConfigError, Error, Reason, Rejection};
use crate::event::Subscribers;
use crate::outcome::{AnyError, Outcome};
use crate::sync::{PlainArc, PlainMutex};
use crate::time::{Clock, Instant, Reading};
use std::fmt;
use std::future::Future;
use tell::{Listener, Notice, to_observer};

const POLICY: &str = "circuit_breaker";

/// Stops calling a dependency that fails; see the [module](self).
#[derive(Clone)]
pub struct CircuitBreaker(PlainArc<Shared>);

struct Shared {
    core: core::Core,
    family: PlainArc<Family>,
    /// Of one of a family: what it is for.
    subject: Option<tell::Subject>,
}

/// What breakers of one builder have in common.
struct Family {
    name: &'static str,
    clock: Clock,
    listeners: PlainArc<Subscribers<Notice>>,
    /// What they were last configured with.
    config: PlainMutex<CircuitBreakerBuilder>,
    control: CircuitBreakerControl,
    /// Of breakers for each key: when one that is closed is forgotten.
    idle_timeout: std::time::Duration,
}

impl CircuitBreaker {
    /// A breaker to be set up.
    #[must_use]
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::default()
    }

    const fn from_shared(shared: PlainArc<Shared>) -> Self {
        Self(shared)
    }

    fn shared(&self) -> &Shared {
        &self.0
    }

    /// Asks for leave to make a call. Never waits.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # fn send() -> Result<(), std::io::Error> { Ok(()) }
    /// # let breaker = CircuitBreaker::builder().build()?;
    /// let permit = breaker.try_acquire()?;
    /// let result = send();
    /// permit.record(&result);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A [`Rejection`] if the breaker is open, with the time until it will take a probe; or if it is
    /// half-open with all probes under way, when nobody can tell.
    #[inline]
    pub fn try_acquire(&self) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        self.0.admit(false, self.0.reading())
    }

    /// Runs `op` if the breaker lets it pass, and counts how it ended: every `Err` of `op` itself is a
    /// failure.
    ///
    /// The future is `Send` if yours is, and cancel-safe: see [`CircuitBreakerCallFuture`].
    pub fn call<Op, Fut, T, E>(&self, op: Op) -> CircuitBreakerCallFuture<'_, AnyError, Op, Fut>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        CircuitBreakerCallFuture::new(&self.0, &const { guard::Judge::ORDINARY }, op)
    }

    /// As [`call`](Self::call), around a closure that holds the thread.
    ///
    /// # Errors
    /// That of `op`, or a rejection.
    #[inline]
    pub fn call_blocking<T, E>(&self, op: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        let permit = self.try_acquire()?;
        let result = op();
        permit.record(&result);
        result.map_err(Error::Operation)
    }

    /// A view of this breaker that judges calls by `classify`: a closure from the result to an
    /// [`Outcome`], or any [`Classify`](crate::outcome::Classify).
    #[must_use]
    pub fn classified_by<C>(&self, classify: C) -> ClassifiedCircuitBreaker<C> {
        ClassifiedCircuitBreaker {
            breaker: self.clone(),
            judge: guard::Judge { classify, class: CallClass::ORDINARY },
        }
    }

    /// A view of this breaker for calls that have thresholds of their own.
    ///
    /// # Errors
    /// A threshold of `class` is out of range, or it says what is slow and the breaker times no calls.
    pub fn for_class(
        &self,
        class: CallClass,
    ) -> Result<ClassifiedCircuitBreaker<AnyError>, ConfigError> {
        self.classified_by(AnyError).for_class(class)
    }

    /// The name it was built with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.family.name
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> CircuitBreakerState {
        self.0.core.state()
    }

    /// Closes it at once, with an empty window. Calls under way will not count. A breaker that somebody holds
    /// open or has disabled stays so.
    pub fn reset(&self) {
        self.0.core.reset(self.0.family.clock.now());
        self.0.deliver();
    }

    /// Who decides whether calls pass.
    #[must_use]
    pub fn mode(&self) -> CircuitBreakerMode {
        self.0.core.word().mode()
    }

    /// Puts somebody in charge, or the rules again. Many breakers at once: [`CircuitBreakerControl`].
    ///
    /// ```
    /// use mainstay::breaker::{CircuitBreaker, CircuitBreakerMode};
    ///
    /// let breaker = CircuitBreaker::builder().build()?;
    /// breaker.set_mode(CircuitBreakerMode::Shadow);
    /// # fn send() -> Result<(), ()> { Ok(()) }
    /// let permit = breaker.try_acquire().expect("a breaker in shadow rejects nothing");
    /// if permit.would_reject() {
    ///     println!("this call would not have been made");
    /// }
    /// permit.record(&send());
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn set_mode(&self, mode: CircuitBreakerMode) {
        manual::Follow::take_on(&*self.0, mode);
    }

    /// Rejects all calls until somebody says otherwise: [`CircuitBreakerMode::ForcedOpen`].
    pub fn force_open(&self) {
        self.set_mode(CircuitBreakerMode::ForcedOpen);
    }

    /// Lets all calls pass, and counts them, until somebody says otherwise: [`CircuitBreakerMode::ForcedClosed`]. To close
    /// it and let it go on by its rules: [`reset`](Self::reset).
    pub fn force_close(&self) {
        self.set_mode(CircuitBreakerMode::ForcedClosed);
    }

    /// Lets all calls pass and counts none until somebody says otherwise: [`CircuitBreakerMode::Disabled`].
    pub fn disable(&self) {
        self.set_mode(CircuitBreakerMode::Disabled);
    }

    /// The settings in force, to be changed and handed to [`reconfigure`](Self::reconfigure).
    #[must_use]
    pub fn config(&self) -> CircuitBreakerBuilder {
        self.0.family.config.lock().clone()
    }

    /// Puts other settings into force, while calls go on.
    ///
    /// What was learned stays: window, state, and for how long it opened. When this returns, no decision
    /// by the old settings comes any more.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # let breaker = CircuitBreaker::builder().build()?;
    /// breaker.reconfigure(breaker.config().failure_rate(0.3))?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// The breaker is one of a [`KeyedCircuitBreaker`], whose settings are fixed; a setting is out of range, or is one of those that are fixed when the breaker is built: name,
    /// window, clock, whether calls under way are watched and latencies kept. Then nothing is changed. The
    /// observer, the control and the source of randomness stay what they were in any case.
    pub fn reconfigure(&self, config: CircuitBreakerBuilder) -> Result<(), ConfigError> {
        if self.0.subject.is_some() {
            return Err(ConfigError::new(
                "config",
                "of one key",
                "a breaker that is not one of a family",
            ));
        }
        let old = {
            // One at a time: `config` and the settings in force must agree.
            let mut present = self.0.family.config.lock();
            let settings = present.reconfigured(&config)?;
            self.0.core.reconfigure(&settings, config.closures());
            std::mem::replace(&mut *present, config)
        };
        drop(old); // may hold closures of the user's: not under the lock
        Ok(())
    }
}

impl Shared {
    #[inline]
    fn reading(&self) -> Reading<'_> {
        Reading::of(&self.family.clock)
    }

    #[inline]
    fn admit(
        &self,
        timed: bool,
        reading: Reading<'_>,
    ) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        match self.core.admit_at_once() {
            Some(ticket) if !timed => Ok(CircuitBreakerPermit::new(self, ticket)),
            _ => self.admit_or_refuse(timed, reading),
        }
    }

    #[inline(never)]
    fn admit_or_refuse(
        &self,
        timed: bool,
        mut reading: Reading<'_>,
    ) -> Result<CircuitBreakerPermit<'_>, Rejection> {
        let (admitted, moved) = self.core.admit(timed, &mut reading);
        // The permit first: should an observer panic, it gives the slot back.
        let admitted = admitted.map(|ticket| CircuitBreakerPermit::new(self, ticket));
        if moved {
            self.deliver();
        }
        if let Ok(permit) = &admitted
            && let Some(nth) = permit.nth_shadowed()
        {
            self.tell_of_shadow(nth, &mut reading);
        }
        admitted.map_err(|refused| {
            let rejection = Rejection::new(Reason::CircuitOpen, self.family.name);
            match refused.until {
                Some(until) => rejection.with_retry_after(until - refused.now),
                None => rejection,
            }
        })
    }

    #[cold]
    #[inline(never)]
    fn give_back(&self, ticket: admit::Ticket) {
        self.core.give_back(&ticket);
    }

    #[inline(never)]
    fn settle(
        &self,
        ticket: admit::Ticket,
        outcome: Outcome,
        class: &CallClass,
        now: Option<Instant>,
    ) {
        let clock = &self.family.clock;
        let mut reading = now.map_or(Reading::of(clock), |now| Reading::known(clock, now));
        if self.core.settle(ticket, outcome, class, &mut reading) {
            self.deliver();
        }
    }
}

impl manual::Follow for Shared {
    fn take_on(&self, mode: CircuitBreakerMode) {
        if self.core.set_mode(mode, self.family.clock.now()) {
            self.deliver();
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish()
    }
}
