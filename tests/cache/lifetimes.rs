//! When a stored value is used, refreshed and replaced.

use crate::support::*;
use mainstay::cache::{CacheStore, Cached, SingleValueStore};
use mainstay::random::Random;
use mainstay::time::ManualClock;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

#[test]
fn a_call_uses_the_stored_value_until_it_expires() {
    for (age, returned, ran) in [(0, 1, false), (9, 1, false), (10, 2, true), (99, 2, true)] {
        let time = ManualClock::new();
        let cache = builder(&time).build().unwrap();
        assert_eq!(call(&cache, Ok(1)), (Ok(1), true));
        time.advance(age * S);
        assert_eq!(call(&cache, Ok(2)), (Ok(returned), ran), "after {age} s");
    }
}

#[test]
fn a_new_value_is_fresh_from_the_end_of_its_operation() {
    let time = ManualClock::new();
    let cache = builder(&time).early_refresh(0.0).build().unwrap();
    let slow = || {
        time.advance(8 * S);
        Ok::<_, &str>(1)
    };
    assert_eq!(cache.call_blocking(&(), slow), Ok(1));
    time.advance(9 * S);
    assert_eq!(call(&cache, Ok(2)), (Ok(1), false));
    time.advance(S);
    assert_eq!(call(&cache, Ok(2)), (Ok(2), true));
}

#[test]
fn an_expired_value_is_used_while_one_call_refreshes_it() {
    let time = ManualClock::new();
    let cache = builder(&time).stale_while_revalidate(5 * S).build().unwrap();
    let remote = Remote::new();
    call(&cache, Ok(1)).0.unwrap();
    time.advance(14 * S);

    let mut refresh = Box::pin(cache.call(&(), || remote.start()));
    assert!(poll(&mut refresh).is_pending(), "the refreshing call waits");
    for _ in 0..3 {
        assert_eq!(ready(cache.call(&(), || remote.start())), Ok(1), "other calls do not wait");
        assert_eq!(call(&cache, Ok(9)), (Ok(1), false));
    }
    time.advance(S);
    let mut waits = Box::pin(cache.call(&(), || remote.start()));
    assert!(poll(&mut waits).is_pending(), "the value has become too old");

    remote.complete(Ok(2));
    assert_eq!(ready(refresh), Ok(2));
    assert_eq!(ready(waits), Ok(2));
    assert_eq!(remote.started.load(std::sync::atomic::Ordering::SeqCst), 1);
    let snapshot = cache.snapshot();
    assert_eq!((snapshot.hits, snapshot.stale), (0, 6));
    assert_eq!((snapshot.misses, snapshot.refreshes), (2, 1));
}

#[test]
fn a_value_that_is_used_often_is_refreshed_before_it_expires() {
    let time = ManualClock::new();
    let cache = builder(&time).random(Random::seeded(3)).build().unwrap();
    let run = |value: u32| {
        cache.call_blocking(&(), || {
            time.advance(S); // the cost of the operation
            Ok::<_, &str>(value)
        })
    };
    assert_eq!(run(1), Ok(1));
    let expires = time.now() + 10 * S;
    while run(2) == Ok(1) {
        time.advance(Duration::from_millis(100));
    }
    assert!(time.now() - S < expires, "refreshed after the expiry");
    assert!(time.now() - S > expires - 9 * S, "refreshed much too early");
    let snapshot = cache.snapshot();
    assert_eq!((snapshot.misses, snapshot.refreshes, snapshot.stale), (1, 1, 0));
}

#[test]
fn calls_use_the_value_during_an_early_refresh() {
    let time = ManualClock::new();
    // With this factor, the first call refreshes the value.
    let cache = builder(&time).early_refresh(1e9).build().unwrap();
    let slow = || {
        time.advance(S);
        Ok::<_, &str>(1)
    };
    assert_eq!(cache.call_blocking(&(), slow), Ok(1));
    let remote = Remote::new();
    let mut refresh = Box::pin(cache.call(&(), || remote.start()));
    assert!(poll(&mut refresh).is_pending());
    assert_eq!(call(&cache, Ok(9)), (Ok(1), false));
    assert_eq!(cache.snapshot().hits, 1);
    remote.complete(Ok(2));
    assert_eq!(ready(refresh), Ok(2));
}

#[test]
fn values_that_were_stored_together_expire_at_different_times() {
    let time = ManualClock::new();
    let cache = Cached::<u32, u32, ()>::builder(Entries::new())
        .ttl(100 * S)
        .random(Random::seeded(1))
        .clock(time.clock())
        .build()
        .unwrap();
    for key in 0..200 {
        cache.call_blocking(&key, || Ok::<_, ()>(1)).unwrap();
    }
    let expired = |seconds: u32| {
        let before = time.now();
        time.advance(seconds * S);
        // A call whose operation fails returns an error only if the value of its key has expired.
        let expired = (0..200).filter(|key| cache.call_blocking(key, || Err(())).is_err()).count();
        assert_eq!(time.now() - before, seconds * S);
        expired
    };
    assert_eq!(expired(89), 0);
    let halfway = expired(11);
    assert!((70..130).contains(&halfway), "{halfway}");
    assert_eq!(expired(11), 200);
}

struct Entries<V>(Mutex<HashMap<u32, V>>);

impl<V> Entries<V> {
    fn new() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone + Send> CacheStore<u32, V> for Entries<V> {
    fn get(&self, key: &u32) -> Option<V> {
        self.0.lock().unwrap().get(key).cloned()
    }

    fn insert(&self, key: u32, value: V) {
        self.0.lock().unwrap().insert(key, value);
    }

    fn remove(&self, key: &u32) {
        self.0.lock().unwrap().remove(key);
    }
}

#[test]
fn keys_are_independent() {
    let cache = Cached::<u32, u32, ()>::builder(Entries::new()).build().unwrap();
    for key in [1, 2] {
        assert_eq!(cache.call_blocking(&key, || Ok::<_, ()>(key)), Ok(key));
    }
    assert_eq!(cache.call_blocking(&1, || Ok::<_, ()>(9)), Ok(1));
    cache.remove(&1);
    assert_eq!(cache.call_blocking(&1, || Ok::<_, ()>(9)), Ok(9));
    assert_eq!(cache.call_blocking(&2, || Ok::<_, ()>(9)), Ok(2));
}

#[cfg(feature = "quick_cache")]
#[test]
fn quick_cache_is_a_store() {
    let cache = Cached::<String, u32, ()>::builder(quick_cache::sync::Cache::new(2));
    let cache = cache.build().unwrap();
    for _ in 0..2 {
        let value = cache.call_blocking(&"a".to_owned(), || Ok::<_, ()>(1));
        assert_eq!(value, Ok(1));
    }
    for key in 0..10_u32 {
        assert_eq!(cache.call_blocking(&key.to_string(), || Ok::<_, ()>(key)), Ok(key));
    }
    assert_eq!(cache.snapshot().hits, 1);
    cache.remove(&"a".to_owned());
    assert_eq!(cache.call_blocking(&"a".to_owned(), || Ok::<_, ()>(2)), Ok(2));
}

#[test]
fn a_setting_that_is_out_of_range_is_named() {
    let cache = || Cached::<(), u8, ()>::builder(SingleValueStore::new());
    for (builder, field) in [
        (cache().ttl(Duration::ZERO), "ttl"),
        (cache().jitter(-0.1), "jitter"),
        (cache().jitter(1.1), "jitter"),
        (cache().jitter(f64::NAN), "jitter"),
        (cache().early_refresh(-1.0), "early_refresh"),
        (cache().early_refresh(f64::INFINITY), "early_refresh"),
        (cache().name(""), "name"),
        (cache().max_operations(0), "max_operations"),
        (cache().max_operations((1 << 30) + 1), "max_operations"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
    assert!(cache().jitter(1.0).early_refresh(0.0).ttl(Duration::MAX).build().is_ok());
}
