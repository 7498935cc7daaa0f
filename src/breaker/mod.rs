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
//!   [`probes`](Builder::probes) are under way. Their outcomes are judged by the limits that also trip,
//!   as soon as the [`trial`](Builder::trial_calls) is decided. A probe that does not come back within
//!   its [lease](Builder::probe_lease) has failed: so a dependency that hangs neither keeps the breaker
//!   half-open for ever nor is probed for ever. Leases are renewed together with each probe that is
//!   admitted.
//!
//! A call counts for the state that admitted it. One that was admitted while closed and ends while
//! half-open changes nothing; the [`Snapshot`] counts it as stale.
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`count_window`](Builder::count_window) | 100 calls |
//! | [`failure_rate`](Builder::failure_rate) | 0.5 |
//! | [`minimum_calls`](Builder::minimum_calls) | 20 |
//! | [`slow_calls`](Builder::slow_calls) | none |
//! | [`consecutive_failures`](Builder::consecutive_failures) | none |
//! | [`wait`](Builder::wait) | 5 s, doubling up to 60 s, equal jitter |
//! | [`probes`](Builder::probes) | 3 |
//! | [`trial_calls`](Builder::trial_calls) | 5 |
//! | [`probe_lease`](Builder::probe_lease) | 30 s |
//!
//! # What counts
//!
//! By default every `Err` and every timeout is a failure, and a rejection by another policy is none.
//! [`classified_by`](CircuitBreaker::classified_by) gives a view with a rule of your own, which sees
//! the `Ok` value too: an HTTP 503 is an `Ok`.
//!
//! # Cancel safety
//!
//! A call whose future is dropped, or whose operation, classifier or wait function panics, counts as no
//! call at all; a probe's slot is free again. For why a panic is not a failure see [`Permit`].
//!
//! # Cost
//!
//! A successful call of a closed breaker takes no lock, no allocation and no look at the clock. As long as
//! its window holds nothing but successes it is a few loads, and threads that share the breaker do not
//! get in each other's way; with a failure among the last calls, it is an atomic addition more. Slow
//! calls cost two readings of the clock, a time window one.

mod config;
mod core;
mod future;
mod guard;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod owned;
mod permit;
mod state;
mod transition;

pub use config::Builder;
pub use future::Call;
pub use guard::Classified;
pub use owned::OwnedPermit;
pub use permit::Permit;
pub use state::Cause;
pub use transition::{State, Transition};

use crate::error::{ConfigError, Error, Reason, Rejection};
use crate::event::Observer;
use crate::outcome::AnyError;
use crate::sync::{PlainArc, PlainMutex};
use crate::time::{Clock, Instant, Reading};
use crate::window::Counts;
use std::fmt;
use std::future::Future;
use std::time::Duration;

const POLICY: &str = "circuit_breaker";

/// Stops calling a dependency that fails; see the [module](self).
#[derive(Clone)]
pub struct CircuitBreaker(PlainArc<Shared>);

struct Shared {
    core: core::Core,
    name: &'static str,
    clock: Clock,
    observer: Option<PlainArc<dyn Observer>>,
    /// What it was last configured with.
    config: PlainMutex<Builder>,
}

/// The figures of a breaker at a moment; consistent enough to plot.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state. A breaker is open until somebody comes to be its first probe, even if its wait is over.
    pub state: State,
    /// What the window holds; of an open breaker, what tripped it.
    pub counts: Counts,
    /// What the probes of a half-open breaker have shown so far.
    pub trial: Counts,
    /// Probes under way.
    pub probes: u32,
    /// How often it has opened since it was last closed.
    pub openings: u32,
    /// How long an open breaker will still refuse; zero if it would take a probe.
    pub retry_after: Option<Duration>,
    /// Calls rejected since it was built.
    pub rejected: u64,
    /// Outcomes since it was built that came too late to count.
    pub stale: u64,
}

impl CircuitBreaker {
    /// A breaker to be set up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn from_shared(shared: Shared) -> Self {
        Self(PlainArc::new(shared))
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
    pub fn try_acquire(&self) -> Result<Permit<'_>, Rejection> {
        self.0.admit(false, Reading::of(&self.0.clock))
    }

    /// Runs `op` if the breaker lets it pass, and counts how it ended: every `Err` of `op` itself is a
    /// failure.
    ///
    /// The future is `Send` if yours is, and cancel-safe: see [`Call`].
    pub fn call<Op, Fut, T, E>(&self, op: Op) -> Call<'_, AnyError, Op, Fut>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(&self.0, &AnyError, op)
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
    /// [`Outcome`](crate::outcome::Outcome), or any [`Classify`](crate::outcome::Classify).
    #[must_use]
    pub fn classified_by<C>(&self, classify: C) -> Classified<C> {
        Classified { breaker: self.clone(), classify }
    }

    /// The name it was built with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.core.state()
    }

    /// Closes it, with an empty window. Calls under way will not count.
    pub fn reset(&self) {
        self.0.core.reset(self.0.clock.now());
        self.0.deliver();
    }

    /// The present figures.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = self.0.clock.now();
        let look = self.0.core.look(now);
        let (state, trial) = match look.phase {
            state::Phase::Closed { .. } => (State::Closed, state::Trial::default()),
            state::Phase::Open => (State::Open, state::Trial::default()),
            state::Phase::HalfOpen(trial) => (State::HalfOpen, trial),
        };
        Snapshot {
            state,
            counts: look.counts,
            trial: trial.counts(),
            probes: trial.leased,
            openings: look.openings,
            retry_after: look.open_until.map(|until| until - now),
            rejected: look.rejected,
            stale: look.stale,
        }
    }

    /// The settings in force, to be changed and handed to [`reconfigure`](Self::reconfigure).
    #[must_use]
    pub fn config(&self) -> Builder {
        self.0.config.lock().clone()
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
    /// A setting is out of range, or is one of those that are fixed when the breaker is built: name,
    /// window, clock. Then nothing is changed. The observer and the source of randomness stay what they
    /// were in any case.
    pub fn reconfigure(&self, config: Builder) -> Result<(), ConfigError> {
        let old = {
            // One at a time: `config` and the settings in force must agree.
            let mut present = self.0.config.lock();
            let settings = present.reconfigured(&config)?;
            self.0.core.reconfigure(&settings, config.custom_wait());
            std::mem::replace(&mut *present, config)
        };
        drop(old); // may hold closures of the user's: not under the lock
        Ok(())
    }
}

impl Shared {
    #[inline]
    fn admit(&self, timed: bool, reading: Reading<'_>) -> Result<Permit<'_>, Rejection> {
        match self.core.admit_at_once() {
            Some(ticket) if !timed => Ok(Permit::new(self, ticket)),
            _ => self.admit_or_refuse(timed, reading),
        }
    }

    #[inline(never)]
    fn admit_or_refuse(&self, timed: bool, mut reading: Reading<'_>) -> Result<Permit<'_>, Rejection> {
        let (admitted, moved) = self.core.admit(timed, &mut reading);
        // The permit first: should an observer panic, it gives the slot back.
        let admitted = admitted.map(|ticket| Permit::new(self, ticket));
        if moved {
            self.deliver();
        }
        admitted.map_err(|refused| {
            let rejection = Rejection::new(Reason::CircuitOpen, self.name);
            match refused.until {
                Some(until) => rejection.with_retry_after(until - refused.now),
                None => rejection,
            }
        })
    }

    #[inline(never)]
    fn settle(&self, ticket: core::Ticket, failed: Option<bool>, now: Option<Instant>) {
        let mut reading = now.map_or(Reading::of(&self.clock), |now| Reading::known(&self.clock, now));
        if self.core.settle(ticket, failed, &mut reading) {
            self.deliver();
        }
    }

    #[cold]
    fn deliver(&self) {
        self.core.outbox.deliver(|transition| {
            if let Some(observer) = &self.observer {
                transition.tell(self.name, |event| observer.observe(event));
            }
        });
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker").field("name", &self.name()).field("state", &self.state()).finish()
    }
}
