//! Compares circuit breakers: calls through a closed breaker, on one thread and on several that
//! share it, and rejections by an open one.

use failsafe::{CircuitBreaker as _, Config, backoff, failure_policy};
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerTransition, KeyedCircuitBreaker,
};
use mainstay::time::Clock;
use peers::{Race, ready};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

fn ok() -> Result<u64, ()> {
    black_box(Ok(1))
}

/// Fails once in 100 calls.
fn sometimes() -> Result<u64, ()> {
    thread_local!(static CALLS: Cell<u64> = const { Cell::new(0) });
    let calls = CALLS.get() + 1;
    CALLS.set(calls);
    black_box(if calls.is_multiple_of(100) { Err(()) } else { Ok(1) })
}

fn ours(setup: fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder) -> CircuitBreaker {
    setup(CircuitBreaker::builder()).build().unwrap()
}

fn main() {
    let count = ours(|b| b);
    let runs = ours(|b| b.consecutive_failures(5));
    let timed = ours(|b| b.time_window(Duration::from_secs(10), 10));
    let slow = ours(|b| b.slow_calls(Duration::from_secs(1), 0.5));
    let slow_quanta = ours(|b| b.slow_calls(Duration::from_secs(1), 0.5).clock(Clock::quanta()));

    let recloser = recloser::Recloser::custom().error_rate(0.5).closed_len(100).build();
    let policy =
        || failure_policy::consecutive_failures(5, backoff::constant(Duration::from_secs(5)));
    let failsafe = Config::new().failure_policy(policy()).build();
    let over_time = failure_policy::success_rate_over_time_window(
        0.5,
        20,
        Duration::from_secs(10),
        backoff::constant(Duration::from_secs(5)),
    );
    let failsafe_rate = Config::new().failure_policy(over_time).build();
    let tower = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .build()
        .unwrap();
    let tower = tower.layer(tower::service_fn(|(): ()| std::future::ready(ok())));
    let clock = tokio_clock();
    let context = seatbelt::ResilienceContext::new(&clock);
    let seatbelt = {
        use layered::Stack;
        (
            seatbelt::breaker::Breaker::layer("breaker", &context)
                .recovery_with(|result: &Result<u64, ()>, _| match result {
                    Ok(_) => seatbelt::RecoveryInfo::never(),
                    Err(()) => seatbelt::RecoveryInfo::retry(),
                })
                .rejected_input_error(|(), _| ()),
            layered::Execute::new(|(): ()| async { ok() }),
        )
            .into_service()
    };

    Race::new("closed breaker, one call that succeeds, 1 thread")
        .each("mainstay, count window", || drop(black_box(count.call_blocking(ok))))
        .each("mainstay, + consecutive failures", || drop(black_box(runs.call_blocking(ok))))
        .each("mainstay, time window", || drop(black_box(timed.call_blocking(ok))))
        .each("mainstay, count + slow calls", || drop(black_box(slow.call_blocking(ok))))
        .each("mainstay, count + slow, quanta", || drop(black_box(slow_quanta.call_blocking(ok))))
        .each("mainstay, count, future", || drop(black_box(ready(count.call(|| async { ok() })))))
        .each("recloser (ring of 100)", || drop(black_box(recloser.call(ok))))
        .each("failsafe (consecutive)", || drop(black_box(failsafe.call(ok))))
        .each("failsafe (rate over time)", || drop(black_box(failsafe_rate.call(ok))))
        .each("tower-resilience (count 100)", {
            let mut tower = tower.clone();
            move || drop(black_box(ready(tower.call(()))))
        })
        .each("seatbelt (sampling)", || {
            drop(black_box(ready(layered::Service::execute(&seatbelt, ()))));
        })
        .run();

    let observed = ours(|b| b);
    let _subscriptions: Vec<_> =
        (0..3).map(|_| observed.on_transition(|_: &CircuitBreakerTransition| ())).collect();
    let latency = ours(|b| b.record_latency().clock(Clock::quanta()));
    let in_flight = ours(|b| {
        b.slow_calls(Duration::from_secs(1), 0.5).track_in_flight().clock(Clock::quanta())
    });
    let few = keyed(10);
    let many = keyed(100_000);
    Race::new("optional features of a closed breaker, one call that succeeds, 1 thread")
        .each("mainstay, count window", || drop(black_box(count.call_blocking(ok))))
        .each("+ three observers", || drop(black_box(observed.call_blocking(ok))))
        .each("+ slow calls, quanta", || drop(black_box(slow_quanta.call_blocking(ok))))
        .each("+ latency histogram, quanta", || drop(black_box(latency.call_blocking(ok))))
        .each("+ calls in flight, quanta", || drop(black_box(in_flight.call_blocking(ok))))
        .each("keyed, 10 keys", few)
        .each("keyed, 100,000 keys in turn", many)
        .run();

    let shared = AtomicU64::new(0);
    for threads in [2, 8] {
        Race::new(format!("closed breaker, shared by {threads} threads; per call of one thread"))
            .threads("mainstay, count window", threads, || drop(black_box(count.call_blocking(ok))))
            .threads("(one shared fetch_add)", threads, || {
                black_box(shared.fetch_add(1, Ordering::Relaxed));
            })
            .threads("mainstay, time window", threads, || drop(black_box(timed.call_blocking(ok))))
            .threads("recloser (ring of 100)", threads, || drop(black_box(recloser.call(ok))))
            .threads("failsafe (consecutive)", threads, || drop(black_box(failsafe.call(ok))))
            .threads("failsafe (rate over time)", threads, || {
                drop(black_box(failsafe_rate.call(ok)))
            })
            .threads("tower-resilience (count 100)", threads, || {
                // Its lock is asynchronous: a call that waits for the lock is pending at first.
                let mut tower = tower.clone();
                drop(black_box(futures::executor::block_on(tower.call(()))));
            })
            .threads("seatbelt (sampling)", threads, || {
                drop(black_box(ready(layered::Service::execute(&seatbelt, ()))));
            })
            .run();
    }

    // With failures in the window, each success must be written to it.
    for threads in [1, 2, 8] {
        Race::new(format!("one call in 100 fails, {threads} threads; per call of one thread"))
            .threads("mainstay, count window", threads, || {
                drop(black_box(count.call_blocking(sometimes)))
            })
            .threads("mainstay, time window", threads, || {
                drop(black_box(timed.call_blocking(sometimes)))
            })
            .threads("recloser (ring of 100)", threads, || {
                drop(black_box(recloser.call(sometimes)))
            })
            .threads("failsafe (consecutive)", threads, || {
                drop(black_box(failsafe.call(sometimes)))
            })
            .threads("failsafe (rate over time)", threads, || {
                drop(black_box(failsafe_rate.call(sometimes)))
            })
            .run();
    }

    let open = ours(|b| b.min_calls(1));
    open.try_acquire().unwrap().failure();
    let recloser = recloser::Recloser::custom().closed_len(1).build();
    while !matches!(recloser.call(|| Err::<(), ()>(())), Err(recloser::Error::Rejected)) {}
    let failsafe = Config::new()
        .failure_policy(failure_policy::consecutive_failures(
            1,
            backoff::constant(Duration::from_secs(3600)),
        ))
        .build();
    let _ = failsafe.call(|| Err::<(), ()>(()));
    Race::new("open breaker, one rejection, 1 thread")
        .each("mainstay", || drop(black_box(open.call_blocking(ok))))
        .each("recloser", || drop(black_box(recloser.call(ok))))
        .each("failsafe", || drop(black_box(failsafe.call(ok))))
        .run();
}

/// Calls `keys` breakers in turn, with a stride that separates successive keys.
fn keyed(keys: u64) -> impl FnMut() {
    let keyed: KeyedCircuitBreaker<u64> =
        KeyedCircuitBreaker::builder(CircuitBreaker::builder()).max_keys(200_000).build().unwrap();
    let mut key = 0;
    let mut call = move || {
        key = (key + 7919) % keys;
        drop(black_box(keyed.call_blocking(&key, ok)));
    };
    // Fills every window with 100 calls per key, up to ten million calls in total.
    (0..100 * keys).take(10_000_000).for_each(|_| call());
    call
}

fn tokio_clock() -> tick::Clock {
    // The clock is only read. The runtime must exist, but does nothing.
    let runtime = Box::leak(Box::new(
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
    ));
    let _guard = runtime.enter();
    tick::Clock::new_tokio()
}
