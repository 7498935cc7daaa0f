//! The observer that reports events to the `metrics` crate.

use crate::event::{Event, EventValue, Observer};
use crate::sync::{PlainArc, PlainMutex};
use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Unit, with_recorder};
use std::collections::HashMap;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

const EVENTS: &str = "mainstay_events_total";
const STATE: &str = "mainstay_state";
const SECONDS: &str = "mainstay_event_seconds";

/// An observer that reports events to the recorder of the `metrics` crate.
///
/// The [module documentation](super) describes names and labels. Clones share their handles.
///
/// Install the recorder first: a handle that is registered without a recorder records nothing, even
/// after one is installed.
#[derive(Clone, Default)]
pub struct MetricsObserver(PlainArc<Handles>);

/// The registered handles.
#[derive(Default)]
struct Handles(PlainMutex<HashMap<Source, Vec<PlainArc<Series>>>>);

/// The policy, its name, the kind of the event, and whether the policy is keyed.
type Source = (&'static str, &'static str, &'static str, bool);

/// The handles of the events of one source that have the same labels and the same duration fields.
/// These events are counted together.
struct Series {
    labels: Vec<(&'static str, &'static str)>,
    durations: Vec<(&'static str, Histogram)>,
    count: Counter,
    left_state: Option<Gauge>,
    entered_state: Option<Gauge>,
}

// A recorder that panics leaves the table of handles as it was.
impl UnwindSafe for MetricsObserver {}
impl RefUnwindSafe for MetricsObserver {}

impl MetricsObserver {
    /// Creates the observer and describes the metrics to the recorder. Handles are registered with
    /// the first events.
    ///
    /// ```
    /// use mainstay::breaker::CircuitBreaker;
    /// use mainstay::telemetry::MetricsObserver;
    ///
    /// let metrics = MetricsObserver::new();
    /// let breaker = CircuitBreaker::builder().observer(metrics).build()?;
    /// # let _ = breaker;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        with_recorder(|recorder| {
            recorder.describe_counter(
                EVENTS.into(),
                Some(Unit::Count),
                "Events of mainstay's policies".into(),
            );
            recorder.describe_gauge(
                STATE.into(),
                None,
                "1 for the current state of a policy".into(),
            );
            recorder.describe_histogram(
                SECONDS.into(),
                Some(Unit::Seconds),
                "Durations in events".into(),
            );
        });
        Self::default()
    }
}

impl Observer for MetricsObserver {
    fn observe(&self, event: &Event<'_>) {
        let series =
            self.0.find(event).unwrap_or_else(|| self.0.insert(Series::register(event), event));
        series.count.increment(1);
        // In this order, so that the sum over the states is never more than one.
        if let Some(left_state) = &series.left_state {
            left_state.set(0.0);
        }
        if let Some(entered_state) = &series.entered_state {
            entered_state.set(1.0);
        }
        for ((_, histogram), (_, seconds)) in series.durations.iter().zip(event_durations(event)) {
            histogram.record(seconds);
        }
    }
}

// The recorder is user code: it is never called under the lock.
impl Handles {
    fn find(&self, event: &Event<'_>) -> Option<PlainArc<Series>> {
        self.0.lock().get(&source(event))?.iter().find(|series| series.matches(event)).cloned()
    }

    /// Inserts a series and returns it. If another thread has inserted the same series first,
    /// returns that one.
    fn insert(&self, new: Series, event: &Event<'_>) -> PlainArc<Series> {
        let new = PlainArc::new(new);
        let mut sources = self.0.lock();
        let known = sources.entry(source(event)).or_default();
        if let Some(first) = known.iter().find(|series| series.matches(event)) {
            let first = first.clone();
            drop(sources);
            return first;
        }
        known.push(new.clone());
        new
    }
}

impl Series {
    fn register(event: &Event<'_>) -> Self {
        let (policy, name, kind, keyed) = source(event);
        let of_policy = || vec![label("policy", policy), label("name", name)];
        let of_kind = || [of_policy(), vec![label("kind", kind)]].concat();
        let metadata = Metadata::new("mainstay", Level::INFO, Some(module_path!()));
        with_recorder(|recorder| {
            let state = |name| {
                // The keys of a keyed policy would overwrite each other's states.
                let (_, state) = event_labels(event).find(|(field, _)| *field == name && !keyed)?;
                let labels = [of_policy(), vec![label("state", state)]].concat();
                Some(recorder.register_gauge(&Key::from_parts(STATE, labels), &metadata))
            };
            let duration = |(field, _)| {
                let labels = [of_kind(), vec![label("field", field)]].concat();
                (field, recorder.register_histogram(&Key::from_parts(SECONDS, labels), &metadata))
            };
            let labels = [
                of_kind(),
                event_labels(event).map(|(field, value)| label(field, value)).collect(),
            ]
            .concat();
            Self {
                labels: event_labels(event).collect(),
                durations: event_durations(event).map(duration).collect(),
                count: recorder.register_counter(&Key::from_parts(EVENTS, labels), &metadata),
                left_state: state("from"),
                entered_state: state("to"),
            }
        })
    }

    fn matches(&self, event: &Event<'_>) -> bool {
        self.labels.iter().copied().eq(event_labels(event))
            && self
                .durations
                .iter()
                .map(|(field, _)| *field)
                .eq(event_durations(event).map(|(field, _)| field))
    }
}

const fn source(event: &Event<'_>) -> Source {
    (event.policy, event.name, event.kind, event.keyed)
}

fn event_labels<'a>(
    event: &'a Event<'_>,
) -> impl Iterator<Item = (&'static str, &'static str)> + 'a {
    event.fields.iter().filter_map(|(field, value)| match value {
        EventValue::Label(label) => Some((*field, *label)),
        _ => None,
    })
}

fn event_durations<'a>(event: &'a Event<'_>) -> impl Iterator<Item = (&'static str, f64)> + 'a {
    event.fields.iter().filter_map(|(field, value)| match value {
        EventValue::Duration(duration) => Some((*field, duration.as_secs_f64())),
        _ => None,
    })
}

fn label(name: &'static str, value: &'static str) -> Label {
    Label::from_static_parts(name, value)
}

impl fmt::Debug for MetricsObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsObserver").field("sources", &self.0.0.lock().len()).finish()
    }
}
