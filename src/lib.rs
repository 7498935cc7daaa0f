//! Resilience primitives for services: what stands between you and a dependency that can be slow, broken
//! or flooded. A *mainstay* is the rope that holds the mast.
//!
//! Each module can be used alone; a [`Pipeline`](pipeline) joins them around a call. No runtime is
//! required: futures run under any executor, closures under none.
//!
//! ```
//! use mainstay::{breaker::CircuitBreaker, error::Error, pipeline::Pipeline, retry::Retry};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), mainstay::error::ConfigError> {
//! let breaker = CircuitBreaker::builder().name("search").build()?;
//! let retry = Retry::builder().assume_idempotent().build()?; // a search may run twice
//! let pipeline = Pipeline::builder()            // outermost first, like reading a sentence
//!     .timeout(Duration::from_secs(2))          // the whole call
//!     .retry(retry)                             // each attempt passes what stands below
//!     .breaker(&breaker)                        // shared: cloning is cheap
//!     .timeout(Duration::from_millis(300))      // one attempt
//!     .build();
//!
//! # async fn search() -> Result<&'static str, std::io::Error> { Ok("found") }
//! # futures::executor::block_on(async {
//! match pipeline.call(|| async { search().await }).await {
//!     Ok(found) => println!("{found}"),
//!     Err(Error::Operation(error)) => println!("the search failed: {error}"),
//!     Err(Error::Timeout(timed_out)) => println!("{timed_out}"),
//!     Err(Error::Rejected(rejection)) => println!("not even tried: {rejection}"),
//!     Err(error) => println!("{error}"),
//! }
//! # });
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! From the ground up; a module knows only those on floors below its own.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`time`] | clocks, real and manual; instants and deadlines |
//! | 0 | [`random`] | the one source of jitter |
//! | 1 | [`error`] | one vocabulary of errors for all policies |
//! | 1 | [`outcome`] | what counts as a failure |
//! | 1 | [`event`] | what policies tell the outside |
//! | 1 | [`policy`] | what a policy is to a pipeline |
//! | 1 | [`wait`] | waiting, for threads and tasks: the fair resizable semaphore, one value handed over |
//! | 2 | [`backoff`] | how long to wait before trying again |
//! | 2 | [`keyed`] | state for each of very many keys, bounded |
//! | 2 | [`ring`] | the lock-free bounded queue, and the channel on it |
//! | 2 | [`window`] | counts over a sliding window |
//! | 3 | [`concurrency`] | limits the calls under way, by a limit that finds itself |
//! | 3 | [`object_pool`] | recycles what is dear to make |
//! | 3 | [`rate`] | so much in so much time, in order of arrival; also for each of a million keys |
//! | 3 | [`worker_pool`] | runs work on a fixed set of threads |
//! | 3 | [`breaker`] | stops calling what fails |
//! | 3 | [`retry`] | tries again |
//! | 3 | [`timeout`] | gives up in time |
//! | 4 | [`pipeline`] | puts policies around one call, and says what is wrong with a stack |
//! | 5 | `tower` | pipelines as Tower layers (feature `tower`) |
//! | 5 | `telemetry` | what policies tell, as metrics and `tracing` events (features `metrics`, `tracing`) |
//! | 5 | [`docs`] | guides: [choosing](docs::choosing), [composing](docs::composing) |
//!
//! # Features
//!
//! None is on by default, and none changes what code does that did not ask for it.
//!
//! | feature | adds |
//! |---|---|
//! | `tokio` | `Clock::tokio()`: tokio's time and timer, its paused clock included |
//! | `quanta` | `Clock::quanta()`: time from the processor's own counter |
//! | `tower` | pipelines as Tower layers |
//! | `metrics` | `telemetry::MetricsObserver`: events of policies, with the `metrics` crate's recorder |
//! | `tracing` | `telemetry::TracingObserver`: events of policies, as `tracing` events |
//! | `full` | all of them |
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backoff;
pub mod breaker;
pub mod concurrency;
pub mod docs;
pub mod error;
pub mod event;
pub mod keyed;
pub mod object_pool;
pub mod outcome;
pub mod pipeline;
pub mod policy;
pub mod random;
pub mod rate;
pub mod retry;
pub mod ring;
mod share;
mod sync;
#[cfg(any(feature = "metrics", feature = "tracing"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "metrics", feature = "tracing"))))]
pub mod telemetry;
pub mod time;
pub mod timeout;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
pub mod wait;
pub mod window;
pub mod worker_pool;
