//! The order of policies in a pipeline, and what each of them counts.
//!
//! # The order
//!
//! A policy observes only the results of the policies below it. A breaker therefore counts a
//! timeout only if the timeout policy is below it, and a retry repeats everything below it. No
//! policy observes the result of a call that the caller or a policy above it dropped. The following
//! order suits most calls. [`Pipeline::standard`] builds it;
//! [`standard_read`](Pipeline::standard_read) and [`standard_once`](Pipeline::standard_once) build
//! the variants for operations that only read, and for those that must not run twice:
//!
//! <div>
#![doc = include_str!("order.svg")]
//! </div>
//!
//! ```
//! use mainstay::{CircuitBreaker, Pipeline, Retry};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), mainstay::ConfigError> {
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//! let retry = Retry::builder().assume_idempotent().build()?;
//! let pipeline = Pipeline::standard(
//!     Duration::from_secs(2), // the whole call
//!     retry,
//!     &breaker,
//!     Duration::from_millis(300), // one attempt
//! );
//! for lint in pipeline.check() {
//!     eprintln!("{lint}");
//! }
//! # assert!(pipeline.check().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! * *Fallback, if there is one, above all others.* Every policy below it observes the failure that
//!   it replaces.
//! * *Timeout of the call, outermost.* It bounds all attempts and all waits together: the time that
//!   the caller is willing to wait.
//! * *Retry above the breaker.* The breaker counts every attempt and opens early. Once the breaker
//!   is open, its rejection ends the retries, which would only add load.
//! * *Hedge, if there is one, in place of the retry or directly below it.* Each of its attempts
//!   passes through the policies below it: a breaker counts each attempt, and a timeout bounds each
//!   attempt.
//! * *Breaker above the limits.* A call that the breaker rejects takes no permit of a limit. A
//!   rejection by a limit is no evidence about the dependency, and the breaker does not count it.
//! * *Limits below the retry.* Every attempt takes a permit, and no permit is held during the wait
//!   between two attempts. A bulkhead above the retry would hold its permit for all of them. If a
//!   limit has a queue, set its maximum wait below the timeout of the call.
//! * *Timeout of one attempt, innermost.* All policies above it observe that the attempt hung. The
//!   timeout starts with the attempt, after the call has waited for the limits.
//! * *Chaos, if there is one, below all others.* It takes the place of the dependency, so that every
//!   policy observes its faults.
//!
//! [`Pipeline::check`] reports known mistakes in the order and the settings of a stack; see its
//! [rules](LintRule).
//!
//! # What each policy counts
//!
//! The table shows the standard order with the default classifier and the default retry rule. "The
//! slot" is the half-open slot of the call, if the breaker is half-open.
//!
//! | event | timeout of the attempt | breaker | retry | timeout of the call | the caller receives |
//! |---|---|---|---|---|---|
//! | the operation succeeds | passes it on | one success | stops | passes it on | `Ok` |
//! | it succeeds slowly | passes it on | one success, slow if [configured](crate::breaker::CircuitBreakerBuilder::slow_calls) | stops | passes it on | `Ok` |
//! | it fails | passes it on | one failure | waits, then tries again | passes it on | [`Operation`] of the last attempt |
//! | an attempt exceeds its timeout | drops it | one failure, slow if configured | waits, then tries again | passes it on | [`Timeout`] of the last attempt |
//! | the breaker is open | is not reached | one rejection, no outcome | stops | passes it on | [`Rejected`], immediately |
//! | a limit below the breaker rejects | is not reached | no outcome; the slot is released | stops | passes it on | [`Rejected`], immediately |
//! | the call exceeds its timeout during an attempt | is dropped | no outcome of this attempt; the slot is released | is dropped | drops everything below it | [`Timeout`] |
//! | the next wait would exceed the deadline | | has counted the attempt | stops without waiting | passes it on | the result of the last attempt |
//! | the caller drops the future | is dropped | no outcome of this attempt; the slot is released | is dropped | is dropped | nothing |
//! | the operation panics | unwinds | no outcome of this attempt; the slot is released | unwinds | unwinds | the panic |
//!
//! Further policies around this stack:
//!
//! | policy | case | effect |
//! |---|---|---|
//! | [budget](crate::budget) of the retry | it does not cover a retry | the retry stops; the breaker has counted the attempt; the caller receives its error |
//! | [hedge](crate::hedge) in place of the retry | the second attempt returns first | the breaker counts one success; it counts no outcome of the first attempt, which is dropped |
//! | [fallback](crate::fallback) above all | it replaces an error | the breaker counts the failure; the caller receives `Ok` |
//! | [coalesce](crate::coalesce) around the pipeline | ten calls share an execution | the breaker counts one outcome; each caller receives the result |
//! | [cache](crate::cache) around the pipeline | it has a fresh value | no other policy is reached |
//! | [deadline](crate::deadline) of the call | it has passed | [`Rejected`], immediately; no other policy is reached |
//!
//! The breaker's [classifier](crate::outcome) decides what is a success and what is a failure. The
//! [rule](crate::retry::Retry::when) of the retry decides which results are retried.
//!
//! If an attempt fails and the next one is rejected, the retries end. The caller receives the error
//! of the failed attempt, because it says more about the dependency than the rejection.
//!
//! A timeout does not interrupt a blocking closure: a late result is passed on unchanged.
//!
//! [`Operation`]: crate::error::Error::Operation
//! [`Timeout`]: crate::error::Error::Timeout
//! [`Rejected`]: crate::error::Error::Rejected

#[cfg(doc)]
use crate::pipeline::{LintRule, Pipeline};
