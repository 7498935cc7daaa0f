//! Observers that report events to the `metrics` and `tracing` crates (features of the same names).
//!
//! Both are [`Observer`](crate::event::Observer)s of [`Event`](crate::event::Event)s, so they work
//! with every policy that takes an observer. One observer can be given to many policies, to their
//! builders or, where a policy supports it, as a
//! [subscription](crate::breaker::CircuitBreaker::observe).
//!
//! # Examples
//!
//! ```
//! # #[cfg(all(feature = "metrics", feature = "tracing"))] {
//! use mainstay::breaker::CircuitBreaker;
//! use mainstay::event::{Event, Observer};
//! use mainstay::telemetry::{MetricsObserver, TracingObserver};
//!
//! let metrics = MetricsObserver::new();
//! let breaker = || CircuitBreaker::builder().observer(metrics.clone());
//! let search = breaker().name("search").build()?;
//! let orders = breaker().name("orders").build()?;
//! // Both, for one breaker:
//! let both = move |event: &Event<'_>| {
//!     metrics.observe(event);
//!     TracingObserver.observe(event);
//! };
//! let prices = CircuitBreaker::builder().name("prices").observer(both).build()?;
//! # let _ = (search, orders, prices);
//! # }
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! # Observability
//!
//! ## Metrics
//!
//! | metric | kind, unit | labels | meaning |
//! |---|---|---|---|
//! | `mainstay_events_total` | counter | `policy`, `name`, `kind`, and the labels of the event | number of such events |
//! | `mainstay_state` | gauge | `policy`, `name`, `state` | 1 for the current state of a policy, 0 for a state that it has left |
//! | `mainstay_event_seconds` | histogram, seconds | `policy`, `name`, `kind`, `field` | the durations in events |
//!
//! A breaker's transition has the labels `from`, `to`, `cause` and `mode`, and the duration
//! `open_duration`; so `mainstay_events_total{to="open"}` counts openings. `mainstay_state` appears
//! with the first transition: until then, a policy is in its initial state. It identifies policies
//! of one kind by name, so their names must differ. The breakers of a
//! [`KeyedCircuitBreaker`](crate::breaker::KeyedCircuitBreaker) share a name and have no gauge;
//! [`totals`](crate::breaker::KeyedCircuitBreaker::totals) returns how many are in which state.
//!
//! *Labels are bounded.* `name` is the name given to the policy's builder; `kind`, `field` and the
//! labels of events come from small fixed sets. No label contains a key, an error or other data of
//! a call.
//!
//! ## Tracing
//!
//! One event with the target `mainstay` for each event of a policy; a transition to the state
//! `open` at level `WARN`, all others at `INFO`.
//!
//! | field | meaning |
//! |---|---|
//! | `policy`, `name`, `kind` | as in the metrics |
//! | `sequence` | number of the event among the policy's events of that kind, from 1; a gap means that events were [dropped](crate::event#overload) |
//! | `from`, `to`, `cause` | labels of a transition; absent from other events |
//! | `message` | the event as it displays, with all details |
//!
//! There are no spans: put one around the operation, with `tracing::Instrument` on its future.
//!
//! # Performance
//!
//! A call that changes no state causes no event, and costs the same with and without these
//! observers; `benches/telemetry.rs` measures a change of state. [`MetricsObserver`] registers a
//! handle with the recorder when it receives a combination of labels for the first time, and
//! afterwards finds it in a table, which it locks for the lookup only. [`TracingObserver`] costs
//! one relaxed load while there is no subscriber.
//!
//! *Rejections are events, too*, of rate limiters for instance. Under overload each rejected call
//! then locks that table, or logs a line at `INFO`. If that is too much, pass on every hundredth
//! event of the kind (`sequence` counts all of them), or filter the target `mainstay` above `INFO`.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use metrics::MetricsObserver;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use tracing::TracingObserver;
