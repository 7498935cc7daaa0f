//! The observers that report to the crates `metrics` and `tracing`.
#![cfg(not(mainstay_loom))]

#[allow(unused_imports)]
use mainstay::{backoff::Backoff, breaker::CircuitBreaker, event::Observer, time::ManualClock};
use std::time::Duration;

/// Three transitions: the breaker opens for two seconds, becomes half-open, and closes.
#[allow(dead_code)]
fn open_and_close(name: &str, observer: impl Observer) -> CircuitBreaker {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .name(name)
        .clock(time.clock())
        .min_calls(1)
        .half_open_calls(1)
        .open_duration(Backoff::constant(Duration::from_secs(2)))
        .observer(observer)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    time.advance(Duration::from_secs(2));
    breaker.try_acquire().unwrap().success();
    breaker
}

#[cfg(feature = "metrics")]
mod metrics {
    use super::*;
    use ::metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
        Recorder, SharedString, Unit, with_local_recorder,
    };
    use mainstay::breaker::KeyedCircuitBreaker;
    use mainstay::telemetry::MetricsObserver;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    /// Keeps all values, by metric and labels.
    #[derive(Default)]
    struct Store {
        values: Arc<Mutex<BTreeMap<String, Vec<f64>>>>,
        registered: Mutex<Vec<String>>,
        described: Mutex<Vec<(String, Option<Unit>)>>,
    }

    struct Handle(String, Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

    impl Handle {
        fn store(&self, value: f64) {
            self.1.lock().unwrap().entry(self.0.clone()).or_default().push(value);
        }
    }

    impl CounterFn for Handle {
        fn increment(&self, value: u64) {
            self.store(value as f64);
        }
        fn absolute(&self, _: u64) {
            panic!("counters are incremented");
        }
    }

    impl GaugeFn for Handle {
        fn increment(&self, _: f64) {
            panic!("states are set");
        }
        fn decrement(&self, _: f64) {
            panic!("states are set");
        }
        fn set(&self, value: f64) {
            self.store(value);
        }
    }

    impl HistogramFn for Handle {
        fn record(&self, value: f64) {
            self.store(value);
        }
    }

    impl Store {
        fn handle(&self, key: &Key) -> Arc<Handle> {
            let labels: Vec<_> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let name = format!("{}{{{}}}", key.name(), labels.join(","));
            self.registered.lock().unwrap().push(name.clone());
            Arc::new(Handle(name, self.values.clone()))
        }

        fn describe(&self, name: &KeyName, unit: Option<Unit>) {
            self.described.lock().unwrap().push((name.as_str().to_owned(), unit));
        }
    }

    impl Recorder for Store {
        fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
            self.describe(&name, unit);
        }
        fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
            self.describe(&name, unit);
        }
        fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
            self.describe(&name, unit);
        }
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.handle(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.handle(key))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.handle(key))
        }
    }

    /// Three breakers open and one of them closes: a gauge of their common name would have no
    /// meaning.
    #[test]
    fn events_of_keyed_breakers_are_counted_without_a_gauge_of_the_state() {
        let store = Store::default();
        with_local_recorder(&store, || {
            let each = CircuitBreaker::builder()
                .name("hosts")
                .min_calls(1)
                .observer(MetricsObserver::new());
            let hosts: KeyedCircuitBreaker<u32> =
                KeyedCircuitBreaker::builder(each).build().unwrap();
            for key in 0..3 {
                hosts.breaker(&key).unwrap().try_acquire().unwrap().failure();
            }
            hosts.breaker(&0).unwrap().reset();
        });
        let stored: Vec<_> =
            store.values.lock().unwrap().iter().map(|(k, v)| (k.clone(), v.len())).collect();
        let count = |words| {
            format!(
                "mainstay_events_total{{policy=circuit_breaker,name=hosts,kind=transition,\
                 {words},mode=automatic}}"
            )
        };
        let waits = "mainstay_event_seconds{policy=circuit_breaker,name=hosts,kind=transition,\
                     field=open_duration}";
        let expected = [
            (waits.to_owned(), 3),
            (count("from=closed,to=open,cause=failure rate"), 3),
            (count("from=open,to=closed,cause=reset"), 1),
        ];
        assert_eq!(stored, expected);
    }

    #[test]
    fn transitions_are_counted_and_a_gauge_shows_the_state() {
        let store = Store::default();
        with_local_recorder(&store, || {
            open_and_close("search", MetricsObserver::new());
        });
        let expected: BTreeMap<String, Vec<f64>> = [
            (
                "mainstay_events_total{policy=circuit_breaker,name=search,kind=transition,\
                 from=closed,to=open,cause=failure rate,mode=automatic}",
                vec![1.0],
            ),
            (
                "mainstay_events_total{policy=circuit_breaker,name=search,kind=transition,\
                 from=open,to=half-open,cause=open duration elapsed,mode=automatic}",
                vec![1.0],
            ),
            (
                "mainstay_events_total{policy=circuit_breaker,name=search,kind=transition,\
                 from=half-open,to=closed,cause=probes succeeded,mode=automatic}",
                vec![1.0],
            ),
            ("mainstay_state{policy=circuit_breaker,name=search,state=closed}", vec![0.0, 1.0]),
            ("mainstay_state{policy=circuit_breaker,name=search,state=open}", vec![1.0, 0.0]),
            ("mainstay_state{policy=circuit_breaker,name=search,state=half-open}", vec![1.0, 0.0]),
            (
                "mainstay_event_seconds{policy=circuit_breaker,name=search,kind=transition,\
                 field=open_duration}",
                vec![2.0],
            ),
        ]
        .map(|(key, values)| (key.to_owned(), values))
        .into();
        assert_eq!(*store.values.lock().unwrap(), expected);
        let described = store.described.lock().unwrap();
        let unit = |name: &str| described.iter().find(|(known, _)| known == name).unwrap().1;
        assert_eq!(unit("mainstay_events_total"), Some(Unit::Count));
        assert_eq!(unit("mainstay_event_seconds"), Some(Unit::Seconds));
        assert_eq!(unit("mainstay_state"), None);
    }

    #[test]
    fn handles_are_registered_once_for_each_policy() {
        let store = Store::default();
        with_local_recorder(&store, || {
            let metrics = MetricsObserver::new();
            for _ in 0..3 {
                open_and_close("search", metrics.clone());
                open_and_close("orders", metrics.clone());
            }
        });
        // Three transitions, each with a counter and two states, and one time; of two policies.
        assert_eq!(store.registered.lock().unwrap().len(), 2 * (3 * 3 + 1));
        let values = store.values.lock().unwrap();
        for name in ["search", "orders"] {
            let openings: Vec<_> = values
                .iter()
                .filter(|(key, _)| key.contains(name) && key.contains("to=open"))
                .collect();
            assert_eq!(openings.len(), 1);
            assert_eq!(openings[0].1.len(), 3);
        }
    }

    #[test]
    fn a_recorder_that_panics_leaves_the_observer_usable() {
        struct Broken;
        impl Recorder for Broken {
            fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
            fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
            fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
            fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
                panic!("recorder")
            }
            fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
                panic!("recorder")
            }
            fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
                panic!("recorder")
            }
        }
        let metrics = MetricsObserver::new();
        let transitions = || open_and_close("search", metrics.clone());
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            with_local_recorder(&Broken, transitions)
        }));
        assert!(result.is_err());
        let store = Store::default();
        with_local_recorder(&store, transitions);
        assert_eq!(store.values.lock().unwrap().len(), 7);
    }
}

#[cfg(feature = "tracing")]
mod tracing {
    use super::*;
    use ::tracing::field::{Field, Visit};
    use ::tracing::span::{Attributes, Id, Record};
    use ::tracing::{Event, Level, Metadata, Subscriber, subscriber::with_default};
    use mainstay::telemetry::TracingObserver;
    use std::fmt::Debug;
    use std::sync::{Arc, Mutex};

    type Seen = (Level, Vec<(&'static str, String)>);

    #[derive(Clone, Default)]
    struct Collect(Arc<Mutex<Vec<Seen>>>);

    struct Fields<'a>(&'a mut Vec<(&'static str, String)>);

    impl Visit for Fields<'_> {
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.push((field.name(), value.to_owned()));
        }
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.push((field.name(), format!("{value:?}")));
        }
    }

    impl Subscriber for Collect {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "mainstay"
        }
        fn event(&self, event: &Event<'_>) {
            let mut fields = Vec::new();
            event.record(&mut Fields(&mut fields));
            self.0.lock().unwrap().push((*event.metadata().level(), fields));
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            panic!("no spans")
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn each_transition_is_an_event_with_its_fields() {
        let collect = Collect::default();
        with_default(collect.clone(), || open_and_close("search", TracingObserver));
        let seen = collect.0.lock().unwrap();
        assert_eq!(
            seen.iter().map(|(level, _)| *level).collect::<Vec<_>>(),
            [Level::WARN, Level::INFO, Level::INFO]
        );
        let mut fields = seen[0].1.clone();
        fields.sort_unstable();
        let message =
            fields.remove(fields.iter().position(|(name, _)| *name == "message").unwrap()).1;
        assert!(
            message.starts_with("search transition #1 from=closed to=open cause=failure rate"),
            "{message}"
        );
        assert!(message.contains("open_duration=2s"), "{message}");
        assert_eq!(
            fields,
            [
                ("cause", "failure rate"),
                ("from", "closed"),
                ("kind", "transition"),
                ("name", "search"),
                ("policy", "circuit_breaker"),
                ("sequence", "1"),
                ("to", "open"),
            ]
            .map(|(field, value)| (field, value.to_owned()))
        );
    }
}
