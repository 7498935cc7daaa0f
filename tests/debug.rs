//! The `Debug` output of builders, which shows the settings, and of facts.
#![cfg(not(mainstay_loom))]

use mainstay::cache::SingleValueStore;
use mainstay::policy::Facts;
use mainstay::{
    AdaptiveLimiter, Batch, Batcher, Budget, Bulkhead, Cached, Chaos, CircuitBreaker, Coalesce,
    Fault, Hedge, ObjectPool, PartitionedBulkhead, Prioritizer, Quota, RateLimiter, RateRule,
    ResourceManager, ResourcePool, Retry, RuleRateLimiter, Throttle, WorkerPool,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct Sockets;

impl ResourceManager for Sockets {
    type Resource = ();
    type Error = std::io::Error;

    async fn create(&self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn echo(batch: Batch<u8>) -> Result<Vec<u8>, ()> {
    Ok(batch.into_vec())
}

#[test]
fn debug_of_a_builder_shows_its_settings() {
    let quota = Quota::per_second(7);
    let table = [
        (format!("{:?}", AdaptiveLimiter::builder().name("a")), r#"name: "a""#),
        (format!("{:?}", Batcher::builder(echo).max_items(7)), "max_items: 7"),
        (format!("{:?}", Budget::builder().percent(7)), "percent: 7"),
        (format!("{:?}", Bulkhead::builder().max_queue(7)), "max_queue: 7"),
        (
            format!("{:?}", Cached::<(), u32, ()>::builder(SingleValueStore::new()).name("a")),
            r#"name: "a""#,
        ),
        (format!("{:?}", Chaos::builder().seed(7)), "seed: 7"),
        (format!("{:?}", CircuitBreaker::builder().min_calls(7)), "min_calls: Some(7)"),
        (format!("{:?}", Coalesce::<u32, (), ()>::builder().max_keys(7)), "max_keys: 7"),
        (format!("{:?}", Hedge::builder().max_attempts(7)), "max_attempts: 7"),
        (format!("{:?}", ObjectPool::builder(|| ()).min_idle(7)), "min_idle: 7"),
        (format!("{:?}", PartitionedBulkhead::builder().max_concurrent(7)), "max_concurrent: 7"),
        (format!("{:?}", Prioritizer::builder().update_interval(7 * SECOND)), "interval: 7s"),
        (format!("{:?}", RateLimiter::builder(quota).name("a")), r#"name: "a""#),
        (
            format!("{:?}", RuleRateLimiter::builder(RateRule::sliding_log(7, SECOND))),
            "SlidingLog { limit: 7, period: 1s }",
        ),
        (format!("{:?}", ResourcePool::builder(Sockets).max_size(7)), "max_size: 7"),
        (format!("{:?}", Retry::builder().max_attempts(7)), "max_attempts: 7"),
        (format!("{:?}", Throttle::builder().min_calls(7)), "min_calls: 7"),
        (format!("{:?}", WorkerPool::builder().max_inline_depth(7)), "max_inline_depth: 7"),
    ];
    for (shown, setting) in table {
        assert!(shown.contains("Builder {") && shown.contains(setting), "{shown}: no {setting}");
    }
}

#[test]
fn debug_of_a_store_shows_its_type_and_not_the_value() {
    assert_eq!(format!("{:?}", SingleValueStore::<u32>::new()), "SingleValueStore { .. }");
}

#[test]
fn debug_of_facts_shows_the_policy_and_what_is_known_of_it() {
    let mut facts = Facts::new("retry", "retry");
    assert_eq!(format!("{facts:?}"), "retry");
    facts.name = "mail";
    facts.max_attempts = Some(3);
    facts.max_wait = Some(SECOND);
    assert_eq!(format!("{facts:?}"), r#"retry "mail" max_wait=1s max_attempts=3"#);
}

#[test]
fn debug_of_a_fault_shows_its_latency_and_its_window() {
    let ms = Duration::from_millis;
    for (fault, shown) in [
        (Fault::latency(ms(5)), "Fault { kind: Latency(5ms), probability: 1.0 }"),
        (
            Fault::latency_between(ms(5), ms(9)).key_share(0.5),
            "Fault { kind: Latency(5ms to 9ms), probability: 1.0, key_share: 0.5 }",
        ),
        (
            Fault::latency_exponential(ms(5)).lasts_for(SECOND),
            "Fault { kind: Latency(exponential, mean 5ms), probability: 1.0, ends: 1s }",
        ),
        (Fault::latency_by(|_| SECOND), "Fault { kind: Latency(by a function), probability: 1.0 }"),
        (Fault::hang().starts_after(SECOND), "Fault { kind: Hang, probability: 1.0, starts: 1s }"),
    ] {
        assert_eq!(format!("{fault:?}"), shown);
    }
}
