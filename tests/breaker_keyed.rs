//! Keyed circuit breakers: one breaker per key, eviction, and the share of open breakers.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerControl as Control,
    CircuitBreakerMode as Mode, CircuitBreakerState as State, CircuitBreakerTransition,
    KeyedCircuitBreaker,
};
use mainstay::error::Reason;
use mainstay::event::Event;
use mainstay::keyed::KeyOverflowRule;
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn each(time: &ManualClock) -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .clock(time.clock())
        .count_window(4)
        .min_calls(2)
        .open_duration(Backoff::constant(10 * SECOND))
        .half_open_concurrency(1)
        .half_open_calls(1)
}

fn fail(keyed: &KeyedCircuitBreaker<u32>, key: u32) {
    for _ in 0..2 {
        let _ = keyed.call_blocking(&key, || Err::<(), ()>(()));
    }
}

fn succeed(keyed: &KeyedCircuitBreaker<u32>, key: u32) -> bool {
    keyed.call_blocking(&key, || Ok::<(), ()>(())).is_ok()
}

#[test]
fn each_key_has_a_breaker_of_its_own() {
    let time = ManualClock::new();
    let keyed: KeyedCircuitBreaker<u32> =
        KeyedCircuitBreaker::builder(each(&time)).build().unwrap();
    fail(&keyed, 1);
    assert!(succeed(&keyed, 2) && !succeed(&keyed, 1));
    let snapshot = keyed.snapshot();
    assert_eq!((snapshot.keys, snapshot.open, snapshot.suppressed), (2, 1, 0));
    let totals = keyed.totals();
    assert_eq!((totals.counts.total, totals.counts.failed, totals.rejected), (3, 2, 1));
    assert_eq!((totals.closed, totals.open, totals.half_open), (1, 1, 0));
    time.advance(10 * SECOND);
    assert!(succeed(&keyed, 1));
    assert_eq!((keyed.snapshot().open, keyed.totals().closed), (0, 2));
    let mut states: Vec<_> = keyed.breakers().iter().map(|(key, b)| (**key, b.state())).collect();
    states.sort_by_key(|(key, _)| *key);
    assert_eq!(states, [(1, State::Closed), (2, State::Closed)]);
    let future = keyed.call(&3, || async { Ok::<_, ()>(7) });
    assert_eq!(time.drive(future), Ok(7));
}

#[test]
fn a_breaker_that_is_open_or_in_use_or_has_its_own_mode_is_not_evicted() {
    let time = ManualClock::new();
    let keyed: KeyedCircuitBreaker<u32> = KeyedCircuitBreaker::builder(each(&time))
        .max_keys(4)
        .idle_timeout(300 * SECOND)
        .build()
        .unwrap();
    fail(&keyed, 1);
    let in_use = keyed.breaker(&2).unwrap();
    let permit = in_use.try_acquire().unwrap();
    keyed.breaker(&3).unwrap().set_mode(Mode::Disabled);
    succeed(&keyed, 4);
    let ramping: KeyedCircuitBreaker<u32> =
        KeyedCircuitBreaker::builder(each(&time).ramp_up_duration(60 * SECOND))
            .max_keys(2)
            .build()
            .unwrap();
    fail(&ramping, 1);
    time.advance(10 * SECOND);
    assert!(succeed(&ramping, 1));
    (10..30).for_each(|key| assert!(succeed(&ramping, key)));
    assert_eq!(ramping.breaker(&1).unwrap().snapshot().openings, 1, "the ramp has not ended");
    keyed.breaker(&1).unwrap().reset();
    fail(&keyed, 1);
    for new in 100..300 {
        assert!(succeed(&keyed, new), "the only breaker that may be evicted is evicted");
        time.advance(SECOND);
        assert_eq!(keyed.snapshot().keys, 4);
    }
    let known: Vec<u32> = keyed.breakers().iter().map(|(key, _)| **key).collect();
    assert!([1, 2, 3].iter().all(|key| known.contains(key)), "{known:?}");
    assert_eq!(keyed.breaker(&1).unwrap().state(), State::Open);
    permit.failure();
    assert_eq!(keyed.breaker(&2).unwrap().snapshot().counts.failed, 1, "the earlier call counts");
    // None may be evicted: a fifth is rejected.
    let _fourth = keyed.breaker(&299).unwrap();
    let rejection = keyed.breaker(&5).unwrap_err();
    assert_eq!(rejection.reason(), Reason::Exhausted);
    assert_eq!(keyed.snapshot().rejected, 1);
}

#[test]
fn an_idle_breaker_is_removed_and_a_used_one_is_not() {
    let time = ManualClock::new();
    let build = |when_full| {
        KeyedCircuitBreaker::<u32>::builder(each(&time))
            .max_keys(50)
            .when_full(when_full)
            .idle_timeout(60 * SECOND)
            .build()
            .unwrap()
    };
    let keyed = build(KeyOverflowRule::Reject);
    for key in 0..50 {
        succeed(&keyed, key);
    }
    assert_eq!(
        keyed.breaker(&77).unwrap_err().reason(),
        Reason::Exhausted,
        "no key has reached the idle timeout"
    );
    for _ in 0..3 {
        time.advance(59 * SECOND);
        succeed(&keyed, 7);
        let _ = keyed.breaker(&1000);
    }
    assert!(succeed(&keyed, 1000));
    assert!(keyed.breakers().iter().any(|(key, _)| **key == 7), "a key in use is not idle");
    assert_eq!(keyed.breaker(&7).unwrap().snapshot().counts.total, 4);
    // A mode that a control sets for all keys protects none of them from eviction.
    let control = Control::new();
    let keyed: KeyedCircuitBreaker<u32> =
        KeyedCircuitBreaker::builder(each(&time).control(&control)).max_keys(5).build().unwrap();
    control.set_mode(Mode::Disabled);
    for key in 0..100 {
        fail(&keyed, key);
        assert!(keyed.breaker(&key).unwrap().try_acquire().is_ok());
    }
}

/// A time window forgets the calls of a run of failures before the run reaches its limit.
#[test]
fn a_run_of_failures_outlasts_the_window() {
    let time = ManualClock::new();
    let each = each(&time).time_window(10 * SECOND, 10).min_calls(20).consecutive_failures(3);
    let keyed: KeyedCircuitBreaker<u32> = KeyedCircuitBreaker::builder(each).build().unwrap();
    for round in 0..3 {
        let _ = keyed.call_blocking(&0, || Err::<(), ()>(()));
        time.advance(20 * SECOND);
        // New keys make the table search for keys to evict.
        (1..2000).for_each(|key| assert!(succeed(&keyed, round * 10_000 + key)));
    }
    assert_eq!(keyed.breaker(&0).unwrap().state(), State::Open);
}

#[test]
fn a_breaker_may_be_evicted_after_the_end_of_its_ramp() {
    let time = ManualClock::new();
    let keyed: KeyedCircuitBreaker<u32> =
        KeyedCircuitBreaker::builder(each(&time).ramp_up_duration(60 * SECOND))
            .max_keys(2)
            .build()
            .unwrap();
    for key in 0..2 {
        fail(&keyed, key);
        time.advance(10 * SECOND);
        assert!(succeed(&keyed, key), "the probe");
    }
    time.advance(49 * SECOND);
    assert!(keyed.breaker(&9).is_err(), "the first ramp ends in a second");
    time.advance(SECOND);
    assert!(keyed.breaker(&9).is_ok());
    let mut known: Vec<u32> = keyed.breakers().iter().map(|(key, _)| **key).collect();
    known.sort_unstable();
    assert_eq!(known, [1, 9]);
}

/// A key that fails and is never called again stays open, or half-open after its probe timed out.
#[test]
fn an_open_breaker_without_calls_is_evicted_after_the_idle_timeout() {
    let time = ManualClock::new();
    let timeout = 30 * SECOND;
    for (when_full, half_open) in [KeyOverflowRule::EvictLeastRecentlyUsed, KeyOverflowRule::Reject]
        .into_iter()
        .flat_map(|full| [(full, false), (full, true)])
    {
        let each = each(&time).probe_timeout(timeout);
        let keyed = KeyedCircuitBreaker::builder(each)
            .max_keys(8)
            .when_full(when_full)
            .idle_timeout(60 * SECOND);
        let keyed: KeyedCircuitBreaker<u32> = keyed.build().unwrap();
        (0..8).for_each(|key| fail(&keyed, key));
        time.advance(10 * SECOND);
        if half_open {
            (0..8).for_each(|key| drop(keyed.breaker(&key).unwrap().try_acquire().unwrap()));
            time.advance(timeout);
        }
        time.advance(59 * SECOND);
        assert!(keyed.breaker(&9).is_err(), "{when_full:?}");
        time.advance(SECOND);
        assert_eq!(keyed.breaker(&9).is_ok(), when_full != KeyOverflowRule::Reject);
        time.advance(60 * SECOND);
        assert!(keyed.breaker(&10).is_ok(), "another idle timeout has elapsed");
        assert_eq!(keyed.snapshot().open, keyed.totals().open + keyed.totals().half_open);
    }
}

#[test]
fn an_open_breaker_is_evicted_in_time_after_the_clock_was_set_back() {
    let time = ManualClock::new();
    let start = time.now();
    let keyed = KeyedCircuitBreaker::<u32>::builder(each(&time)).max_keys(1);
    let keyed = keyed.idle_timeout(60 * SECOND).build().unwrap();
    time.advance(1_000_000 * SECOND);
    fail(&keyed, 1);
    time.set(start);
    assert!(keyed.breaker(&2).is_err(), "open for ten seconds, counted from now");
    time.advance(69 * SECOND);
    assert!(keyed.breaker(&2).is_err());
    time.advance(SECOND);
    assert!(keyed.breaker(&2).is_ok());
}

#[test]
fn max_open_share_limits_the_breakers_that_are_open_at_once() {
    let time = ManualClock::new();
    let keyed: KeyedCircuitBreaker<u32> =
        KeyedCircuitBreaker::builder(each(&time)).max_open_share(0.3).build().unwrap();
    for key in 0..10 {
        succeed(&keyed, key);
    }
    for key in 0..10 {
        fail(&keyed, key);
        fail(&keyed, key);
    }
    let snapshot = keyed.snapshot();
    assert_eq!((snapshot.open, keyed.totals().open), (3, 3));
    assert!(snapshot.suppressed >= 7, "{snapshot:?}");
    assert_eq!(
        keyed.breaker(&9).unwrap().snapshot().counts.failed,
        4,
        "the opening is suppressed, and calls are still counted"
    );
    // A breaker that closes lets another open.
    time.advance(10 * SECOND);
    assert!(succeed(&keyed, 0));
    fail(&keyed, 9);
    assert_eq!((keyed.breaker(&9).unwrap().state(), keyed.snapshot().open), (State::Open, 3));
    // A breaker that is forced into a mode or removed no longer counts as open.
    keyed.breaker(&9).unwrap().force_open();
    assert_eq!(keyed.snapshot().open, 2);
    keyed.breaker(&1).unwrap().force_close();
    assert!(keyed.remove(&2) && !keyed.remove(&2));
    assert_eq!(keyed.snapshot().open, 0);
    // The share is converted to a count without rounding errors.
    let exact = KeyedCircuitBreaker::<u32>::builder(each(&time)).max_open_share(0.29);
    let exact = exact.build().unwrap();
    (0..100).for_each(|key| assert!(succeed(&exact, key)));
    (0..100).for_each(|key| fail(&exact, key));
    assert_eq!(exact.snapshot().open, 29);
    // One breaker may always open.
    let alone: KeyedCircuitBreaker<u32> =
        KeyedCircuitBreaker::builder(each(&time)).max_open_share(0.01).build().unwrap();
    fail(&alone, 1);
    fail(&alone, 2);
    assert_eq!((alone.totals().open, alone.totals().closed), (1, 1));
}

#[test]
fn a_control_sets_the_mode_of_present_and_later_keys() {
    let time = ManualClock::new();
    let control = Control::new();
    let keyed: KeyedCircuitBreaker<u32> =
        KeyedCircuitBreaker::builder(each(&time).control(&control)).build().unwrap();
    succeed(&keyed, 1);
    control.set_mode(Mode::ForcedOpen);
    assert!(!succeed(&keyed, 1) && !succeed(&keyed, 2));
    control.set_mode(Mode::Automatic);
    assert!(succeed(&keyed, 1) && succeed(&keyed, 2));
}

#[test]
fn a_listener_receives_the_key_of_each_transition() {
    let time = ManualClock::new();
    let keyed: KeyedCircuitBreaker<String> =
        KeyedCircuitBreaker::builder(each(&time).name("hosts")).build().unwrap();
    let received = Arc::new(Mutex::new(Vec::new()));
    let (typed, flat) = (received.clone(), received.clone());
    let subscription =
        keyed.on_transition(move |key: &String, transition: &CircuitBreakerTransition| {
            typed.lock().unwrap().push(format!("{key} {}", transition.to));
        });
    let _flat = keyed.observe(move |event: &Event<'_>| {
        assert!(event.keyed);
        flat.lock().unwrap().push(format!("{} #{}", event.name, event.sequence));
    });
    for _ in 0..2 {
        let _ = keyed.call_blocking("a", || Err::<(), ()>(()));
    }
    drop(subscription);
    keyed.breaker("b").unwrap().force_open();
    assert_eq!(
        *received.lock().unwrap(),
        ["a open", "hosts #1", "hosts #1"],
        "each key numbers its own events"
    );
}

#[test]
fn an_error_names_the_setting_that_is_out_of_range() {
    let time = ManualClock::new();
    let b = || KeyedCircuitBreaker::<u32>::builder(each(&time));
    let error = |builder: mainstay::breaker::KeyedCircuitBreakerBuilder<u32>| {
        builder.build().unwrap_err().field()
    };
    assert_eq!(error(b().max_keys(0)), "max_keys");
    for share in [0.0, 1.1, f64::NAN] {
        assert_eq!(error(b().max_open_share(share)), "max_open_share");
    }
    assert_eq!(error(KeyedCircuitBreaker::builder(each(&time).failure_rate(7.0))), "failure_rate");
    assert_eq!(
        error(KeyedCircuitBreaker::builder(each(&time).min_calls(1).count_window(0))),
        "count_window"
    );
    let keyed = b().build().unwrap();
    let one = keyed.breaker(&1).unwrap();
    assert_eq!(one.reconfigure(one.config()).unwrap_err().field(), "reconfigure");
}

#[test]
fn a_panic_in_user_code_leaves_the_table_usable() {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    #[derive(PartialEq, Eq, Hash)]
    struct PanicsOnClone(u32);
    impl Clone for PanicsOnClone {
        fn clone(&self) -> Self {
            if self.0 == 13 {
                resume_unwind(Box::new("clone"));
            }
            Self(self.0)
        }
    }
    let time = ManualClock::new();
    let keyed: KeyedCircuitBreaker<PanicsOnClone> =
        KeyedCircuitBreaker::builder(each(&time)).max_keys(3).build().unwrap();
    for _ in 0..5 {
        assert!(catch_unwind(AssertUnwindSafe(|| keyed.breaker(&PanicsOnClone(13)))).is_err());
    }
    for key in 0..10 {
        assert!(keyed.call_blocking(&PanicsOnClone(key), || Ok::<(), ()>(())).is_ok());
    }
    assert_eq!(keyed.snapshot().keys, 3);
}

proptest! {
    /// The reference is one plain breaker per key. All keys fit into the table.
    #[test]
    fn keyed_breakers_agree_with_single_breakers(
        steps in prop::collection::vec((0_u32..6, any::<bool>(), prop_oneof![4 => 0_u32..1, 1 => 0_u32..15]), 0..200),
    ) {
        let time = ManualClock::new();
        let keyed: KeyedCircuitBreaker<u32> = KeyedCircuitBreaker::builder(each(&time)).max_keys(6).build().unwrap();
        let mut single = HashMap::new();
        for (key, failed, pause) in steps {
            time.advance(pause * SECOND);
            let single: &mut CircuitBreaker = single.entry(key).or_insert_with(|| each(&time).build().unwrap());
            let op = || if failed { Err(()) } else { Ok(()) };
            // A breaker whose window is empty may be removed, with its count of rejections.
            prop_assert_eq!(keyed.call_blocking(&key, op), single.call_blocking(op));
            let one = keyed.breaker(&key).unwrap();
            prop_assert_eq!((one.state(), one.snapshot().counts), (single.state(), single.snapshot().counts));
        }
        let open = single.values().filter(|breaker| breaker.state() != State::Closed).count();
        prop_assert_eq!(keyed.snapshot().open, open);
    }
}

/// Many threads, few keys: the limits hold, no breaker with a call in flight is removed, and
/// breakers that close are no longer counted as open.
#[test]
fn the_bounds_hold_for_many_threads() {
    let time = ManualClock::new();
    let keyed: KeyedCircuitBreaker<u32> = KeyedCircuitBreaker::builder(
        each(&time).open_duration(Backoff::constant(Duration::from_millis(1))),
    )
    .max_keys(64)
    .max_open_share(0.25)
    .idle_timeout(Duration::from_millis(2))
    .build()
    .unwrap();
    let calls = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 1..=8_u64 {
            let (keyed, time, calls) = (&keyed, &time, &calls);
            scope.spawn(move || {
                let mut dice = seed;
                let mut roll = |sides: u64| {
                    dice ^= dice << 13;
                    dice ^= dice >> 7;
                    dice ^= dice << 17;
                    dice % sides
                };
                for _ in 0..20_000 {
                    let key = roll(200) as u32;
                    if roll(16) == 0 {
                        time.advance(Duration::from_micros(roll(500)));
                    }
                    let Ok(breaker) = keyed.breaker(&key) else { continue };
                    if let Ok(permit) = breaker.try_acquire() {
                        calls.fetch_add(1, Ordering::Relaxed);
                        if key.is_multiple_of(3) { permit.failure() } else { permit.success() }
                    }
                    let snapshot = keyed.snapshot();
                    assert!(snapshot.keys <= 64 && snapshot.open <= 16 + 8, "{snapshot:?}");
                }
            });
        }
    });
    assert!(calls.into_inner() > 10_000);
    let (totals, snapshot) = (keyed.totals(), keyed.snapshot());
    assert_eq!(snapshot.open, totals.open + totals.half_open);
    for (key, _) in keyed.breakers() {
        assert!(keyed.remove(&key));
    }
    assert_eq!((keyed.snapshot().keys, keyed.snapshot().open), (0, 0));
}
