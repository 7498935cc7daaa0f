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
//! | a failure that counts as five | [`Outcome::WeightedFailure`](crate::outcome::Outcome::WeightedFailure) |
//! | a server that sends a retry time | [`Outcome::Unavailable`](crate::outcome::Outcome::Unavailable), which opens the breaker for that long, up to [`max_retry_after`](CircuitBreakerBuilder::max_retry_after) |
//! | a custom measure of slowness | [`Outcome::Slow`](crate::outcome::Outcome::Slow) |
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
mod circuit_breaker;
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
pub use circuit_breaker::CircuitBreaker;
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

const POLICY: &str = "circuit_breaker";
