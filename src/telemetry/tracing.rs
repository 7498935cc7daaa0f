use crate::event::{Event, EventValue, Observer};
use ::tracing::Level;

/// Tells each event to `tracing`'s subscriber; see the [module](super) for its fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl Observer for Tracing {
    fn observe(&self, event: &Event<'_>) {
        let word = |name| match event.field(name) {
            Some(EventValue::Label(word)) => Some(word),
            _ => None,
        };
        // A macro, because each level is a call site of its own.
        macro_rules! tell {
            ($level:expr) => {
                ::tracing::event!(
                    target: "mainstay",
                    $level,
                    policy = event.policy,
                    name = event.name,
                    kind = event.kind,
                    sequence = event.sequence,
                    from = word("from"),
                    to = word("to"),
                    cause = word("cause"),
                    "{event}"
                )
            };
        }
        match word("to") {
            Some("open") => tell!(Level::WARN),
            _ => tell!(Level::INFO),
        }
    }
}
