//! Observers that report events to the `metrics` and `tracing` crates (features of the same names).
//!
//! Both implement [`Observer`](crate::event::Observer), so they work with every policy that accepts
//! an observer. One observer can be passed to the builders of many policies. Some policies also
//! accept an observer later, as a [subscription](crate::breaker::CircuitBreaker::observe).
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
//! // One breaker with both observers:
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
//! | `mainstay_state` | gauge | `policy`, `name`, `state` | 1 for the current state of a policy, 0 for every state that it has left |
//! | `mainstay_event_seconds` | histogram, seconds | `policy`, `name`, `kind`, `field` | the durations in events |
//!
//! A breaker's transition has the labels `from`, `to`, `cause` and `mode`, and the duration
//! `open_duration`. For example, `mainstay_events_total{to="open"}` counts how often a breaker
//! opened. The gauge `mainstay_state` is first reported at the first transition: until then, a
//! policy is in its initial state. The gauge distinguishes policies of one kind by name, so their
//! names must differ. The breakers of a
//! [`KeyedCircuitBreaker`](crate::breaker::KeyedCircuitBreaker) share a name and have no
//! gauge; [`totals`](crate::breaker::KeyedCircuitBreaker::totals) returns the number of breakers in
//! each state.
//!
//! *Labels are bounded.* `name` is the name given to the policy's builder; `kind`, `field` and the
//! labels of events come from small fixed sets. No label contains a key, an error or other data of
//! a call.
//!
//! ## Resource pools
//!
//! [`ResourcePoolMetrics`] uses the names of OpenTelemetry's [semantic conventions], which
//! dashboards for database clients know. Each metric has the label
//! `db.client.connection.pool.name`.
//!
//! | metric | kind, unit | source |
//! |---|---|---|
//! | `db.client.connection.count` | gauge, with the label `db.client.connection.state`: `idle`, `used` | a snapshot |
//! | `db.client.connection.idle.max`, `.idle.min`, `.max` | gauges | a snapshot |
//! | `db.client.connection.pending_requests` | gauge | a snapshot |
//! | `db.client.connection.timeouts` | counter | a snapshot |
//! | `db.client.connection.create_time` | histogram, seconds | events |
//! | `db.client.connection.wait_time`, `.use_time` | histograms, seconds | measured acquisitions |
//!
//! The largest number of idle connections is that of all connections. A keyed pool has no
//! `idle.min`.
//!
//! [semantic conventions]: https://opentelemetry.io/docs/specs/semconv/database/database-metrics/
//!
//! ## Tracing
//!
//! Each event of a policy emits one `tracing` event with the target `mainstay`. A transition to the
//! state `open` has the level `WARN`, every other event the level `INFO`.
//!
//! | field | meaning |
//! |---|---|
//! | `policy`, `name`, `kind` | as in the metrics |
//! | `sequence` | number of the event among the policy's events of that kind, from 1; a gap means that events were [dropped](crate::event#overload) |
//! | `from`, `to`, `cause` | labels of a transition; absent from other events |
//! | `message` | the `Display` output of the event, with all details |
//!
//! The observer creates no spans. To add a span, use `tracing::Instrument` on the future of the
//! operation.
//!
//! # Performance
//!
//! A call that changes no state emits no event, and costs the same with and without these
//! observers. `benches/telemetry.rs` measures a change of state. [`MetricsObserver`] registers a
//! handle with the recorder for each new combination of labels. Later events with the same labels
//! find the handle in a table, which is locked for the lookup only. [`TracingObserver`] costs one
//! relaxed load while there is no subscriber.
//!
//! *Rejections can be events*, for example those of rate limiters. Under overload, each rejected
//! call then locks that table, or logs a line at `INFO`. To reduce this cost, pass on only every
//! hundredth event of that kind; `sequence` counts all of them. Alternatively, filter out the level
//! `INFO` of the target `mainstay`.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
mod resource_pool;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use metrics::MetricsObserver;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use resource_pool::{MeasuredResource, ResourcePoolMetrics};
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use tracing::TracingObserver;
