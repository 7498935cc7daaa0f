//! Loom models of interactions between modes, configurations, events and keys of a breaker.

use super::KeyedCircuitBreaker;
use super::config::Closures;
use super::engine::tests::loom::{OPEN, builder, complete, engine, enter, snapshot};
use super::engine::{Engine, Refusal};
use super::mode::CircuitBreakerMode as Mode;
use super::transition::CircuitBreakerState as State;
use crate::time::Instant;
use loom::sync::Arc;
use loom::thread;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// A failure trips the breaker under the old configuration, but not under the one that replaces it.
#[test]
fn no_decision_by_a_replaced_configuration_is_applied() {
    loom::model(|| {
        let engine = engine(&builder());
        let calls = {
            let engine = engine.clone();
            thread::spawn(move || {
                let ticket = enter(&engine, 0).unwrap();
                complete(&engine, ticket, Some(true), 0);
            })
        };
        let never = builder().min_calls(2).validated().unwrap();
        engine.install(&never, Closures::default());
        let then = engine.state();
        calls.join().unwrap();
        assert_eq!(engine.state(), then, "tripped by a configuration that was replaced");
        let figures = snapshot(&engine);
        assert_eq!((figures.counts.total, figures.counts.failed), (1, 1), "the window is kept");
    });
}

/// The configuration changes twice during a decision, so that the decision may read a mixture.
#[test]
fn no_decision_is_made_by_a_mixture_of_configurations() {
    // Without a bound the model takes hours: twelve words are read one by one while twelve are
    // written twice.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let engine = engine(&builder().failure_rate(1.0).min_calls(2));
        let calls = {
            let engine = engine.clone();
            thread::spawn(move || {
                let ticket = enter(&engine, 0).unwrap();
                complete(&engine, ticket, Some(true), 0);
            })
        };
        // None of the three trips on one failure of one call, but mixtures of them would.
        engine.install(
            &builder().failure_rate(1.0).min_calls(2).validated().unwrap(),
            Closures::default(),
        );
        engine.install(
            &builder().failure_rate(None).consecutive_failures(2).min_calls(1).validated().unwrap(),
            Closures::default(),
        );
        calls.join().unwrap();
        assert_eq!(engine.state(), State::Closed);
    });
}

/// The breaker is forced open and released while a call succeeds: the success counts for the period
/// before the breaker was forced open.
#[test]
fn a_late_success_does_not_count_after_a_forced_open() {
    loom::model(|| {
        let engine = engine(&builder());
        let ticket = enter(&engine, 0).unwrap();
        let late = {
            let engine = engine.clone();
            thread::spawn(move || complete(&engine, ticket, Some(false), 0))
        };
        let now = Instant::ORIGIN;
        assert!(engine.switch_mode(Mode::ForcedOpen, now).is_committed());
        assert!(enter(&engine, OPEN).is_err());
        assert!(engine.switch_mode(Mode::Automatic, now).is_committed());
        late.join().unwrap();
        let figures = snapshot(&engine);
        assert_eq!((engine.state(), figures.counts.total), (State::Closed, 0));
        // The success was recorded before the breaker was opened, or is stale. If it was recorded
        // while the window was emptied, it is in neither count.
        assert!(figures.stale <= 1);
    });
}

/// The breaker is forced open while a failure trips it: it stays forced open.
#[test]
fn a_breaker_stays_forced_open_if_a_failure_trips_it() {
    loom::model(|| {
        let engine = engine(&builder());
        let ticket = enter(&engine, 0).unwrap();
        let fails = {
            let engine = engine.clone();
            thread::spawn(move || complete(&engine, ticket, Some(true), 0))
        };
        assert!(engine.switch_mode(Mode::ForcedOpen, Instant::ORIGIN).is_committed());
        fails.join().unwrap();
        assert!(matches!(enter(&engine, 1_000 * OPEN), Err(Refusal { retry_at: None, .. })));
    });
}

/// Two threads set different modes: both events are queued, that of the current mode last.
#[test]
fn mode_changes_are_reported_in_order() {
    loom::model(|| {
        let engine = engine(&builder());
        let other = {
            let engine = engine.clone();
            thread::spawn(move || engine.switch_mode(Mode::Disabled, Instant::ORIGIN))
        };
        let _ = engine.switch_mode(Mode::ForcedClosed, Instant::ORIGIN);
        let _ = other.join().unwrap();
        let mut delivered = Vec::new();
        engine.outbox.deliver(|transition| delivered.push(transition.mode));
        assert_eq!(delivered.len(), 2);
        assert_eq!(delivered.last(), Some(&engine.word().mode()));
    });
}

/// Two transitions, an observer that panics, and another thread that delivers: in every order each
/// transition is delivered once, and none is left in the queue.
#[test]
fn each_transition_is_delivered_once_if_an_observer_panics() {
    loom::model(|| {
        let engine = engine(&builder());
        let delivered = Arc::new(crate::sync::Mutex::new(Vec::new()));
        let deliver = |engine: &Engine, delivered: &crate::sync::Mutex<Vec<u64>>, fatal: u64| {
            let delivered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                engine.outbox.deliver(|transition| {
                    delivered.lock().push(transition.sequence);
                    if transition.sequence == fatal {
                        std::panic::resume_unwind(Box::new(()));
                    }
                });
            }));
            drop(delivered);
        };
        let other = {
            let (engine, delivered) = (engine.clone(), delivered.clone());
            thread::spawn(move || {
                let _ = engine.switch_mode(Mode::Disabled, Instant::ORIGIN);
                deliver(&engine, &delivered, 1);
            })
        };
        let _ = engine.switch_mode(Mode::ForcedOpen, Instant::ORIGIN);
        deliver(&engine, &delivered, 1);
        other.join().unwrap();
        let _ = engine.switch_mode(Mode::Automatic, Instant::ORIGIN);
        deliver(&engine, &delivered, 0);
        assert_eq!(*delivered.lock(), [1, 2, 3]);
    });
}

/// The breaker of a key opens while a call with another key needs the only slot of the table: a
/// breaker that is open, or has a call in flight, is not evicted.
#[test]
fn a_breaker_that_is_open_or_in_use_is_not_evicted() {
    loom::model(|| {
        let each = builder().clock(crate::time::ManualClock::new().clock());
        let keyed: KeyedCircuitBreaker<u8, BuildHasherDefault<DefaultHasher>> =
            KeyedCircuitBreaker::builder(each)
                .max_keys(1)
                .hasher(BuildHasherDefault::default())
                .build()
                .unwrap();
        let keyed = Arc::new(keyed);
        let opens = {
            let keyed = keyed.clone();
            thread::spawn(move || {
                let Ok(breaker) = keyed.breaker(&1) else { return false };
                breaker.try_acquire().unwrap().failure();
                true
            })
        };
        let other = keyed.breaker(&2).is_ok();
        let opened = opens.join().unwrap();
        assert!(opened || other);
        let snapshot = keyed.snapshot();
        assert_eq!((snapshot.keys, snapshot.open), (1, usize::from(opened)));
        assert_eq!(keyed.totals().open, usize::from(opened));
    });
}
