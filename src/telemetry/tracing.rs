//! The observer that reports events to the `tracing` crate.

use crate::event::{Event, EventValue, Observer};
use ::tracing::Level;

/// An observer that emits each event to the current `tracing` subscriber.
///
/// The [module documentation](super) describes the fields.
///
/// ```
/// use mainstay::breaker::CircuitBreaker;
/// use mainstay::telemetry::TracingObserver;
///
/// let breaker = CircuitBreaker::builder().observer(TracingObserver).build()?;
/// # let _ = breaker;
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver;

impl Observer for TracingObserver {
    fn observe(&self, event: &Event<'_>) {
        let label = |name| match event.field(name) {
            Some(EventValue::Label(label)) => Some(label),
            _ => None,
        };
        // This is a macro because each level needs its own call site.
        macro_rules! emit {
            ($level:expr) => {
                ::tracing::event!(
                    target: "mainstay",
                    $level,
                    policy = event.policy,
                    name = event.name,
                    kind = event.kind,
                    sequence = event.sequence,
                    from = label("from"),
                    to = label("to"),
                    cause = label("cause"),
                    "{event}"
                )
            };
        }
        match label("to") {
            Some("open") => emit!(Level::WARN),
            _ => emit!(Level::INFO),
        }
    }
}
