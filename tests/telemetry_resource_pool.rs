//! The metrics of resource pools under OpenTelemetry's names.
#![cfg(not(mainstay_loom))]
#![cfg(feature = "metrics")]

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit, with_local_recorder,
};
use mainstay::resource_pool::{
    KeyedResourcePool, PooledResource, ResourceManager, ResourcePool, ResourcePoolSettings,
};
use mainstay::telemetry::{MeasuredResource, ResourcePoolMetrics};
use mainstay::time::{Clock, ManualClock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Values = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

/// Keeps the values of each metric, by name and labels.
#[derive(Default)]
struct Store {
    values: Values,
    units: Mutex<BTreeMap<String, Option<Unit>>>,
}

struct Handle(String, Values);

impl Handle {
    fn record(&self, value: f64) {
        self.1.lock().unwrap().entry(self.0.clone()).or_default().push(value);
    }
}

impl CounterFn for Handle {
    fn increment(&self, _: u64) {
        panic!("a snapshot has the absolute value");
    }
    fn absolute(&self, value: u64) {
        self.record(value as f64);
    }
}

impl GaugeFn for Handle {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }
    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }
    fn set(&self, value: f64) {
        self.record(value);
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.record(value);
    }
}

impl Store {
    fn handle(&self, key: &Key) -> Arc<Handle> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| {
                let name = label.key().strip_prefix("db.client.connection.").unwrap();
                format!("{name}={}", label.value())
            })
            .collect();
        Arc::new(Handle(format!("{}{{{}}}", key.name(), labels.join(",")), self.values.clone()))
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.units.lock().unwrap().insert(name.as_str().to_owned(), unit);
    }

    /// Returns the values of the metric `db.client.connection.{name}`.
    fn values(&self, name: &str) -> Vec<f64> {
        let name = format!("db.client.connection.{name}");
        self.values.lock().unwrap().get(&name).cloned().unwrap_or_default()
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

/// Each creation takes two seconds.
struct Slow(Clock);

impl ResourceManager for Slow {
    type Resource = u32;
    type Error = &'static str;

    async fn create(&self) -> Result<u32, &'static str> {
        self.0.sleep(Duration::from_secs(2)).await;
        Ok(7)
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_pool_reports_every_metric_of_the_convention() {
    let (store, time) = (Store::default(), ManualClock::new());
    with_local_recorder(&store, || {
        let metrics = ResourcePoolMetrics::new("orders").clock(time.clock());
        let pool = ResourcePool::builder(Slow(time.clock()))
            .max_size(2)
            .min_idle(1)
            .clock(time.clock())
            .observer(metrics.clone())
            .build()
            .unwrap();
        let first = time.drive(metrics.measure(pool.acquire())).unwrap();
        let second = time.drive(metrics.measure(pool.acquire())).unwrap();
        assert_eq!((*first, *second), (7, 7));
        assert!(time.drive(metrics.measure(pool.acquire_timeout(SECOND))).is_err());
        time.advance(3 * SECOND);
        drop(first);
        metrics.report(&pool.snapshot());
        PooledResource::discard(MeasuredResource::into_inner(second));
    });
    for (name, expected) in [
        ("count{pool.name=orders,state=idle}", vec![1.0]),
        ("count{pool.name=orders,state=used}", vec![1.0]),
        ("idle.max{pool.name=orders}", vec![2.0]),
        ("idle.min{pool.name=orders}", vec![1.0]),
        ("max{pool.name=orders}", vec![2.0]),
        ("pending_requests{pool.name=orders}", vec![0.0]),
        ("timeouts{pool.name=orders}", vec![1.0]),
        ("create_time{pool.name=orders}", vec![2.0, 2.0]),
        ("wait_time{pool.name=orders}", vec![2.0, 2.0]),
        ("use_time{pool.name=orders}", vec![6.0, 4.0]),
    ] {
        assert_eq!(store.values(name), expected, "{name}");
    }
    let units = store.units.lock().unwrap();
    assert_eq!(units.len(), 9);
    for (name, unit) in units.iter() {
        let is_time = name.ends_with("_time");
        assert_eq!(*unit, Some(if is_time { Unit::Seconds } else { Unit::Count }), "{name}");
    }
}

#[test]
fn a_keyed_pool_reports_the_sum_over_its_keys() {
    let (store, time) = (Store::default(), ManualClock::new());
    with_local_recorder(&store, || {
        let metrics = ResourcePoolMetrics::new("hosts").clock(time.clock());
        let clock = time.clock();
        let pool = KeyedResourcePool::builder(move |_: &u8| Slow(clock.clone()))
            .settings(ResourcePoolSettings::new().max_size(1))
            .max_total_size(5)
            .clock(time.clock())
            .observer(metrics.clone())
            .build()
            .unwrap();
        drop(time.drive(pool.acquire(&1)).unwrap());
        let held = time.drive(pool.acquire(&2)).unwrap();
        metrics.report_keyed(&pool.snapshot());
        drop(held);
    });
    for (name, expected) in [
        ("count{pool.name=hosts,state=idle}", vec![1.0]),
        ("count{pool.name=hosts,state=used}", vec![1.0]),
        ("max{pool.name=hosts}", vec![5.0]),
        ("timeouts{pool.name=hosts}", vec![0.0]),
        ("create_time{pool.name=hosts}", vec![2.0, 2.0]),
        ("wait_time{pool.name=hosts}", vec![]),
    ] {
        assert_eq!(store.values(name), expected, "{name}");
    }
}
