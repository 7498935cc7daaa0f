//! The throttle: which share of the calls it rejects, and how it recovers.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{Throttle, ThrottleBuilder};
use mainstay::error::{Error, Reason};
use mainstay::event::Event;
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, Context, OwnedGuard};
use mainstay::random::Random;
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn throttle(time: &ManualClock) -> ThrottleBuilder {
    Throttle::builder().clock(time.clock()).random(Random::seeded(1))
}

/// Offers `calls` calls in `duration`, of which `accepts` in a hundred are accepted; returns how
/// many reached the dependency.
fn offer(
    throttle: &Throttle,
    time: &ManualClock,
    calls: u32,
    duration: Duration,
    accepts: u32,
) -> u32 {
    let mut sent = 0;
    for call in 0..calls {
        time.advance(duration / calls);
        if let Ok(permit) = throttle.try_acquire() {
            sent += 1;
            match call * 37 % 100 < accepts {
                true => permit.success(),
                false => permit.failure(),
            }
        }
    }
    sent
}

#[test]
fn a_dependency_that_accepts_half_of_the_calls_is_not_throttled() {
    let time = ManualClock::new();
    let throttle = throttle(&time).build().unwrap();
    assert_eq!(offer(&throttle, &time, 10_000, 60 * SECOND, 51), 10_000);
    assert_eq!(throttle.snapshot().rejection_rate, 0.0);
}

#[test]
fn a_dependency_that_accepts_nothing_gets_one_call_in_ten() {
    let time = ManualClock::new();
    let throttle = throttle(&time).build().unwrap();
    offer(&throttle, &time, 1000, 10 * SECOND, 0);
    let sent = offer(&throttle, &time, 10_000, 10 * SECOND, 0);
    assert!((1000 - 150..1000 + 150).contains(&sent), "{sent}");
    let snapshot = throttle.snapshot();
    assert_eq!((snapshot.accepts, snapshot.rejection_rate), (0, 0.9));
    assert_eq!(throttle.snapshot().requests, 11_000, "rejected calls are requests too");
}

/// The dependency accepts a quarter of the calls. A circuit breaker would open and close forever.
#[test]
fn the_rejection_rate_converges_and_does_not_oscillate() {
    let time = ManualClock::new();
    let throttle = throttle(&time).build().unwrap();
    offer(&throttle, &time, 24_000, 240 * SECOND, 25);
    let rates: Vec<f64> = (0..20)
        .map(|_| {
            offer(&throttle, &time, 600, 6 * SECOND, 25);
            throttle.snapshot().rejection_rate
        })
        .collect();
    let (low, high) = rates
        .iter()
        .fold((1.0, 0.0), |(low, high), rate| (f64::min(low, *rate), f64::max(high, *rate)));
    // Admitted: 1 - r. Accepted: (1 - r) / 4. The fixed point r = 1 - 2 (1 - r) / 4 is r = 1.
    // The cap keeps it at 0.9.
    assert!(low > 0.8 && high - low < 0.1, "{rates:?}");
}

#[test]
fn a_throttle_recovers_with_its_dependency() {
    let time = ManualClock::new();
    let throttle = throttle(&time).build().unwrap();
    offer(&throttle, &time, 12_000, 120 * SECOND, 0);
    // The window still contains the outage; meanwhile the admitted calls double.
    offer(&throttle, &time, 30_000, 300 * SECOND, 100);
    let sent = offer(&throttle, &time, 1000, 10 * SECOND, 100);
    assert_eq!((sent, throttle.snapshot().rejection_rate), (1000, 0.0));
}

#[test]
fn one_call_per_second_is_admitted_as_a_probe() {
    let time = ManualClock::new();
    let throttle = throttle(&time).max_rejection_rate(1.0).build().unwrap();
    offer(&throttle, &time, 100_000, 10 * SECOND, 0);
    let sent = offer(&throttle, &time, 1000, 60 * SECOND, 0);
    assert!((59..=62).contains(&sent), "{sent}");
}

#[test]
fn too_few_calls_reject_nothing() {
    let time = ManualClock::new();
    let throttle = throttle(&time).min_calls(50).build().unwrap();
    assert_eq!(offer(&throttle, &time, 49, 5 * SECOND, 0), 49);
    assert!(offer(&throttle, &time, 1000, 100 * SECOND, 0) < 300);
}

#[test]
fn calls_older_than_the_window_do_not_count() {
    let time = ManualClock::new();
    let throttle = throttle(&time).window_duration(10 * SECOND).build().unwrap();
    offer(&throttle, &time, 1000, 5 * SECOND, 0);
    assert!(throttle.snapshot().rejection_rate > 0.8);
    time.advance(11 * SECOND);
    for _ in 0..10 {
        throttle.try_acquire().expect("an empty window").ignore();
    }
    assert_eq!(throttle.snapshot().requests, 0);
}

#[test]
fn new_settings_apply_immediately() {
    let time = ManualClock::new();
    let throttle = throttle(&time).build().unwrap();
    offer(&throttle, &time, 10_000, 60 * SECOND, 40);
    assert!(throttle.snapshot().rejection_rate > 0.1);
    throttle.reconfigure(&Throttle::builder().accept_multiplier(100.0)).unwrap();
    assert_eq!(throttle.snapshot().rejection_rate, 0.0);
    let error = throttle.reconfigure(&Throttle::builder().accept_multiplier(0.5)).unwrap_err();
    assert_eq!(error.field(), "accept_multiplier");
}

#[test]
fn invalid_settings_name_their_field() {
    let field = |builder: ThrottleBuilder| builder.build().unwrap_err().field().to_owned();
    assert_eq!(field(Throttle::builder().name("")), "name");
    assert_eq!(field(Throttle::builder().accept_multiplier(f64::NAN)), "accept_multiplier");
    assert_eq!(field(Throttle::builder().max_rejection_rate(0.0)), "max_rejection_rate");
    assert_eq!(field(Throttle::builder().window_duration(Duration::ZERO)), "window_duration");
    assert_eq!(field(Throttle::builder().probe_interval(Duration::ZERO)), "probe_interval");
}

#[test]
fn rejections_carry_their_reason_and_are_reported() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let throttle = throttle(&time)
        .name("search")
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    offer(&throttle, &time, 1000, SECOND, 0);
    let rejection = loop {
        if let Err(rejection) = throttle.try_acquire() {
            break rejection;
        }
    };
    assert_eq!((rejection.reason(), rejection.policy()), (Reason::Shed, "search"));
    let events = events.lock().unwrap();
    assert_eq!(events.len() as u64, throttle.snapshot().rejections);
    assert_eq!(
        *events.last().unwrap(),
        format!("search rejected #{} rejection_percent=90", events.len())
    );
}

#[test]
fn a_pipeline_records_the_outcome_of_its_classifier() {
    let time = ManualClock::new();
    let throttle = throttle(&time).build().unwrap();
    let view = throttle.classified_by(|result: &Result<u16, Error<()>>| match result {
        Ok(503) => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignore,
    });
    let pipeline = Pipeline::builder().throttle(&view).build();
    for status in [Ok(200), Ok(503), Err(())] {
        let _ = pipeline.call_blocking(|| status);
        let _ = futures::executor::block_on(pipeline.call(async || status));
        let admitted = OwnedGuard::<u16, ()>::admit_owned(&view, Context::new());
        let Admission::Admitted(permit) = admitted else { panic!("expected a permit") };
        record_owned(&view, permit, &status.map_err(Error::Operation));
    }
    let snapshot = throttle.snapshot();
    assert_eq!((snapshot.requests, snapshot.accepts), (6, 3));
}

fn record_owned<G: OwnedGuard<u16, ()>>(
    _: &G,
    permit: G::OwnedPermit,
    result: &Result<u16, Error<()>>,
) {
    G::record_owned(permit, result);
}

#[test]
fn a_panic_or_a_dropped_call_is_not_counted() {
    let throttle = Throttle::builder().build().unwrap();
    let call = || throttle.call_blocking(|| -> Result<(), ()> { panic!("operation") });
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    drop(throttle.call(std::future::pending::<Result<(), ()>>));
    assert_eq!(throttle.snapshot().requests, 0);
    assert_eq!(throttle.call_blocking(|| Err::<(), _>(1)), Err(Error::Operation(1)));
    assert_eq!(throttle.snapshot().requests, 1);
}

#[test]
fn eight_threads_count_every_call() {
    let throttle = Throttle::builder().window_duration(Duration::from_secs(3600)).build().unwrap();
    let (sent, rejected) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for call in 0..10_000 {
                    match throttle.try_acquire_owned() {
                        Ok(permit) if call % 5 == 0 => {
                            permit.success();
                            sent.fetch_add(1, SeqCst);
                        }
                        Ok(permit) => {
                            permit.failure();
                            sent.fetch_add(1, SeqCst);
                        }
                        Err(_) => drop(rejected.fetch_add(1, SeqCst)),
                    }
                }
            });
        }
    });
    let snapshot = throttle.snapshot();
    assert_eq!(snapshot.requests, 80_000);
    assert_eq!(snapshot.rejections, rejected.load(SeqCst));
    assert_eq!(sent.load(SeqCst) + rejected.load(SeqCst), 80_000);
}
