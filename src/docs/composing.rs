//! In which order policies stand, and who counts what.
//!
//! # The order
//!
//! A policy sees what comes out of those below it, and nothing else. From that all the rest follows: a
//! breaker counts the timeouts that are ended below it, a retry repeats what stands below it, and nobody
//! hears of a call that was dropped from above. For most calls this order is right, and
//! [`Pipeline::standard`] makes it:
//!
//! <div>
#![doc = include_str!("order.svg")]
//! </div>
//!
//! ```
//! use mainstay::{breaker::CircuitBreaker, pipeline::Pipeline, retry::Retry};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//! let retry = Retry::builder().assume_idempotent().build()?;
//! let pipeline = Pipeline::standard(Duration::from_secs(2), retry, &breaker, Duration::from_millis(300));
//! for lint in pipeline.check() {
//!     eprintln!("{lint}");
//! }
//! # assert!(pipeline.check().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! * *Timeout of the call, outermost*: it is the caller's patience, and holds for all attempts and waits
//!   together.
//! * *Retry above the breaker*: the breaker hears of every attempt and so opens soon; once it is open, its
//!   refusal ends the retry, which would only make things worse.
//! * *Breaker above the limits*: a call that it refuses takes no place under a limit. A refusal by a limit
//!   says nothing about the dependency, and the breaker does not count it.
//! * *Limits below the retry*: every attempt is charged, and no permit is held during the wait between two.
//! * *Timeout of one attempt, innermost*: so that everyone above sees that the attempt hung. It starts when
//!   the attempt does, not while it waits for a limit.
//!
//! Where you want another order, [`Pipeline::check`] says what it means; its [rules](LintRule) name
//! the mistakes it knows.
//!
//! # Who counts what
//!
//! In the standard order. "The slot" is that of a probe, if the breaker was half-open.
//!
//! | what happens | timeout of the attempt | breaker | retry | timeout of the call | the caller gets |
//! |---|---|---|---|---|---|
//! | the operation succeeds | passes it on | one success | stops | passes it on | `Ok` |
//! | it succeeds, but slowly | passes it on | one success, slow if [so configured](crate::breaker::CircuitBreakerBuilder::slow_calls) | stops | passes it on | `Ok` |
//! | it fails | passes it on | one failure | tries again, after a wait | passes it on | [`Operation`] of the last attempt |
//! | an attempt takes too long | drops it | one failure, slow if so configured | tries again, after a wait | passes it on | [`Timeout`] of the last attempt |
//! | the breaker is open | is not asked | one refusal, no outcome | stops | passes it on | [`Rejected`], at once |
//! | a limit below the breaker refuses | is not asked | no outcome; the slot is free | stops | passes it on | [`Rejected`], at once |
//! | the call takes too long during an attempt | is dropped | no outcome of this attempt; the slot is free | is dropped | drops all below | [`Timeout`] |
//! | the next wait would take too long | | has counted the attempt | stops, without the wait | passes it on | what the last attempt gave |
//! | the caller drops the future | is dropped | no outcome of this attempt; the slot is free | is dropped | is dropped | nothing |
//! | the operation panics | unwinds | no outcome of this attempt; the slot is free | unwinds | unwinds | the panic |
//!
//! What a *success* and a *failure* is, the breaker's [classifier](crate::outcome) decides, and what is
//! *tried again*, the retry's [rule](crate::retry::Retry::when); the table is that of the defaults.
//!
//! Around a closure that holds the thread no timeout drops anything: a late result is passed on as it is.
//!
//! [`Operation`]: crate::error::Error::Operation
//! [`Timeout`]: crate::error::Error::Timeout
//! [`Rejected`]: crate::error::Error::Rejected

#[cfg(doc)]
use crate::pipeline::{LintRule, Pipeline};
