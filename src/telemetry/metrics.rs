use crate::event::{Event, EventValue, Observer};
use crate::sync::{PlainArc, PlainMutex};
use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Unit, with_recorder};
use std::collections::HashMap;
use std::fmt;

const EVENTS: &str = "mainstay_events_total";
const STATE: &str = "mainstay_state";
const SECONDS: &str = "mainstay_event_seconds";

/// Counts events with the recorder of the `metrics` crate; see the [module](super) for names and labels.
/// Clones share their handles.
///
/// Install the recorder first: what is registered before it comes goes nowhere, and stays there.
#[derive(Clone, Default)]
pub struct Metrics(PlainArc<Handles>);

/// By what happens to whom.
#[derive(Default)]
struct Handles(PlainMutex<HashMap<Source, Vec<PlainArc<Series>>>>);

/// Policy, name and kind, and whether it is one of a family.
type Source = (&'static str, &'static str, &'static str, bool);

/// What is counted together: the events of a source that have the same words and times.
struct Series {
    words: Vec<(&'static str, &'static str)>,
    times: Vec<(&'static str, Histogram)>,
    count: Counter,
    left: Option<Gauge>,
    entered: Option<Gauge>,
}

impl Metrics {
    /// Describes the metrics to the recorder; handles follow when events come.
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
                "1 for the state that a policy is in".into(),
            );
            recorder.describe_histogram(
                SECONDS.into(),
                Some(Unit::Seconds),
                "Times in events".into(),
            );
        });
        Self::default()
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event<'_>) {
        let series =
            self.0.find(event).unwrap_or_else(|| self.0.insert(Series::register(event), event));
        series.count.increment(1);
        // In this order: whoever sums the states up never sees two at once.
        if let Some(left) = &series.left {
            left.set(0.0);
        }
        if let Some(entered) = &series.entered {
            entered.set(1.0);
        }
        for ((_, histogram), (_, time)) in series.times.iter().zip(times(event)) {
            histogram.record(time);
        }
    }
}

// The recorder is somebody else's: it is never called under the lock.
impl Handles {
    fn find(&self, event: &Event<'_>) -> Option<PlainArc<Series>> {
        self.0.lock().get(&source(event))?.iter().find(|series| series.fits(event)).cloned()
    }

    /// Of two threads that register the same, both get the handles of the first.
    fn insert(&self, new: Series, event: &Event<'_>) -> PlainArc<Series> {
        let new = PlainArc::new(new);
        let mut sources = self.0.lock();
        let known = sources.entry(source(event)).or_default();
        if let Some(first) = known.iter().find(|series| series.fits(event)) {
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
            let state = |word| {
                // The states of many would write over each other.
                let (_, state) = words(event).find(|(field, _)| *field == word && !keyed)?;
                let labels = [of_policy(), vec![label("state", state)]].concat();
                Some(recorder.register_gauge(&Key::from_parts(STATE, labels), &metadata))
            };
            let time = |(field, _)| {
                let labels = [of_kind(), vec![label("field", field)]].concat();
                (field, recorder.register_histogram(&Key::from_parts(SECONDS, labels), &metadata))
            };
            let labels =
                [of_kind(), words(event).map(|(field, word)| label(field, word)).collect()]
                    .concat();
            Self {
                words: words(event).collect(),
                times: times(event).map(time).collect(),
                count: recorder.register_counter(&Key::from_parts(EVENTS, labels), &metadata),
                left: state("from"),
                entered: state("to"),
            }
        })
    }

    fn fits(&self, event: &Event<'_>) -> bool {
        self.words.iter().copied().eq(words(event))
            && self.times.iter().map(|(field, _)| *field).eq(times(event).map(|(field, _)| field))
    }
}

const fn source(event: &Event<'_>) -> Source {
    (event.policy, event.name, event.kind, event.keyed)
}

fn words<'a>(event: &'a Event<'_>) -> impl Iterator<Item = (&'static str, &'static str)> + 'a {
    event.fields.iter().filter_map(|(field, value)| match value {
        EventValue::Label(word) => Some((*field, *word)),
        _ => None,
    })
}

fn times<'a>(event: &'a Event<'_>) -> impl Iterator<Item = (&'static str, f64)> + 'a {
    event.fields.iter().filter_map(|(field, value)| match value {
        EventValue::Duration(time) => Some((*field, time.as_secs_f64())),
        _ => None,
    })
}

fn label(name: &'static str, value: &'static str) -> Label {
    Label::from_static_parts(name, value)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("sources", &self.0.0.lock().len()).finish()
    }
}
