//! What policies tell, handed to the `metrics` and `tracing` crates (features of the same names).
//!
//! Both are [`Observer`](crate::event::Observer)s and know nothing of a policy but its
//! [`Event`](crate::event::Event)s, so that they serve every policy that takes an observer. One observer
//! can be given to many, when they are built or, where a policy takes
//! [subscriptions](crate::breaker::CircuitBreaker::observe), later and for a while.
//!
//! ```
//! # #[cfg(all(feature = "metrics", feature = "tracing"))] {
//! use mainstay::{breaker::CircuitBreaker, event::Event, event::Observer, telemetry::{Metrics, Tracing}};
//!
//! let metrics = Metrics::new();
//! let search = CircuitBreaker::builder().name("search").observer(metrics.clone()).build()?;
//! let orders = CircuitBreaker::builder().name("orders").observer(metrics.clone()).build()?;
//! // Both, for one breaker:
//! let both = move |event: &Event<'_>| {
//!     metrics.observe(event);
//!     Tracing.observe(event);
//! };
//! let prices = CircuitBreaker::builder().name("prices").observer(both).build()?;
//! # let _ = (search, orders, prices);
//! # }
//! # Ok::<(), mainstay::error::ConfigError>(())
//! ```
//!
//! # Metrics
//!
//! | metric | kind, unit | labels | what it is |
//! |---|---|---|---|
//! | `mainstay_events_total` | counter | `policy`, `name`, `kind`, and the words of the event | how often that happened |
//! | `mainstay_state` | gauge | `policy`, `name`, `state` | 1 for the state that a policy is in, 0 for one that it has left |
//! | `mainstay_event_seconds` | histogram, seconds | `policy`, `name`, `kind`, `field` | the times that events carry |
//!
//! A breaker's transition has the words `from`, `to` and `cause`, and the time `wait`; so
//! `mainstay_events_total{to="open"}` counts openings. `mainstay_state` comes with the first transition:
//! before it, a policy is in the state that it was built in. It tells two policies of one kind apart by
//! their names, so these must differ. Breakers of a [family](crate::breaker::KeyedCircuitBreaker) share one, and have no
//! gauge: their [sum](crate::breaker::KeyedCircuitBreaker::totals) says how many are in which state.
//!
//! *Labels are bounded.* `name` is what the policy was named at build, `kind`, `field` and words come from
//! small fixed sets; no label holds a key, an error or anything else that comes with a call.
//!
//! # Tracing
//!
//! One event of target `mainstay` for each event of a policy; a change to the state `open` at level `WARN`,
//! everything else at `INFO`.
//!
//! | field | what it is |
//! |---|---|
//! | `policy`, `name`, `kind` | as in the metrics |
//! | `sequence` | counts the policy's events of that kind, from 1, without gaps; in a family each member's |
//! | `from`, `to`, `cause` | the words of a transition; absent where the event has none |
//! | `message` | the event as it displays, with all its details |
//!
//! There are no spans: a span around a call is the operation's own affair
//! (`tracing::Instrument` on the future that it returns).
//!
//! # Cost
//!
//! A call that changes no state tells nothing, and costs the same with and without these observers; what
//! was measured for a change stands in `benches/telemetry.rs`. `Metrics` registers a handle with the
//! recorder when it meets a combination of labels for the first time, and finds it again in a table that is
//! locked for that look only. `Tracing` costs one relaxed load while nobody subscribes.
//!
//! *A refusal is told, too*, by rate limiters and whatever else has an event for it. So a limiter under
//! overload, where it should be cheapest, locks that one table for each call that it refuses, and each is a
//! line at `INFO` to whoever subscribes. Where that is too much, give it an observer that passes on every
//! hundredth event of the kind `refused` (`sequence` counts them all), or filter the target `mainstay` above
//! `INFO`.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use metrics::Metrics;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use tracing::Tracing;
