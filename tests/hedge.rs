//! Hedges: which attempts start and when, which one returns the result, and when the others are
//! dropped.
#![cfg(not(mainstay_loom))]

use mainstay::breaker::CircuitBreaker;
use mainstay::budget::Budget;
use mainstay::error::Error;
use mainstay::event::Event;
use mainstay::hedge::{Hedge, HedgeBuilder};
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Context, Policy, Repeat};
use mainstay::retry::Retry;
use mainstay::time::ManualClock;
use mainstay::timeout::Timeout;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A hedge that starts the second attempt after 10 ms.
fn builder(time: &ManualClock) -> HedgeBuilder {
    Hedge::builder().delay(10 * MS).without_budget().clock(time.clock()).assume_idempotent()
}

/// The duration of each attempt in milliseconds, and its result.
type Script = &'static [(u32, Result<u32, &'static str>)];

/// Runs a script. Returns the result, the time that the call took in milliseconds, and the number
/// of attempts that started.
fn run(
    hedge: &Hedge,
    time: &ManualClock,
    script: Script,
) -> (Result<u32, &'static str>, u128, u32) {
    let (clock, start) = (time.clock(), time.now());
    let (started, running) = (AtomicU32::new(0), AtomicU32::new(0));
    let result = time.drive(hedge.call_with(|cx| {
        assert_eq!(cx.attempt(), started.fetch_add(1, Ordering::Relaxed) + 1);
        let guard = Running::new(&running);
        let (millis, result) = script[cx.attempt() as usize - 1];
        let clock = &clock;
        async move {
            let _guard = guard;
            clock.sleep(millis * MS).await;
            result
        }
    }));
    assert_eq!(running.load(Ordering::Relaxed), 0, "all attempts are dropped");
    let result = result.map_err(|error| *error.operation().unwrap());
    (result, (time.now() - start).as_millis(), started.into_inner())
}

struct Running<'a>(&'a AtomicU32);

impl<'a> Running<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn the_first_success_wins() {
    type Setup = fn(HedgeBuilder) -> HedgeBuilder;
    let two: Setup = |hedge| hedge;
    let three: Setup = |hedge| hedge.max_attempts(3);
    let failures: Setup = |hedge| hedge.max_attempts(3).hedge_failures();
    type Row = (Setup, Script, Result<u32, &'static str>, u128, u32);
    let table: &[Row] = &[
        //    attempts: time, result                             result, time, started
        (two, &[(0, Ok(1))], Ok(1), 0, 1),
        (two, &[(9, Ok(1))], Ok(1), 9, 1),
        (two, &[(10, Ok(1)), (99, Ok(2))], Ok(1), 10, 1),
        (two, &[(15, Ok(1)), (99, Ok(2))], Ok(1), 15, 2),
        (two, &[(99, Ok(1)), (5, Ok(2))], Ok(2), 15, 2),
        (two, &[(99, Ok(1)), (0, Ok(2))], Ok(2), 10, 2),
        (three, &[(99, Ok(1)), (99, Ok(2)), (5, Ok(3))], Ok(3), 25, 3),
        (three, &[(99, Ok(1)), (15, Ok(2)), (99, Ok(3))], Ok(2), 25, 3),
        // A failure before the delay ends the call.
        (two, &[(5, Err("a"))], Err("a"), 5, 1),
        // tower's hedge returns the first result, even an error. Here, an error never ends the call
        // while another attempt runs.
        (two, &[(15, Err("a")), (30, Ok(2))], Ok(2), 40, 2),
        (two, &[(60, Ok(1)), (5, Err("b"))], Ok(1), 60, 2),
        // If all fail, the first attempt's error is returned.
        (two, &[(60, Err("a")), (5, Err("b"))], Err("a"), 60, 2),
        (two, &[(12, Err("a")), (50, Err("b"))], Err("a"), 60, 2),
        (three, &[(25, Err("a")), (0, Err("b")), (9, Err("c"))], Err("a"), 29, 3),
        // With `hedge_failures`, the next attempt starts when one fails.
        (failures, &[(5, Err("a")), (5, Ok(2))], Ok(2), 10, 2),
        (failures, &[(5, Err("a")), (5, Err("b")), (5, Err("c"))], Err("a"), 15, 3),
        (failures, &[(99, Ok(1)), (5, Err("b")), (5, Ok(3))], Ok(3), 20, 3),
        // The delay counts from the latest start of an attempt.
        (failures, &[(5, Err("a")), (99, Ok(2)), (5, Ok(3))], Ok(3), 20, 3),
    ];
    for (i, (setup, script, result, millis, started)) in table.iter().enumerate() {
        let time = ManualClock::new();
        let hedge = setup(builder(&time)).build().unwrap();
        assert_eq!(run(&hedge, &time, script), (*result, *millis, *started), "row {i}");
    }
}

#[test]
fn ten_attempts_may_run_at_the_same_time() {
    let time = ManualClock::new();
    let hedge = builder(&time).max_attempts(10).delay(MS).build().unwrap();
    let script = &[(50, Err("slow")); 10];
    assert_eq!(run(&hedge, &time, script), (Err("slow"), 59, 10));
}

/// failsafe-go#141: an exhausted budget ended the call and cancelled the attempts that ran.
#[test]
fn an_exhausted_budget_suppresses_only_the_next_attempt() {
    let time = ManualClock::new();
    let budget = Budget::builder().of_all_calls(1).percent(1).build().unwrap();
    let hedge = builder(&time).max_attempts(3).budget(&budget).build().unwrap();
    let script = &[(35, Ok(1)), (99, Ok(2))];
    assert_eq!(run(&hedge, &time, script), (Ok(1), 35, 2));
    assert_eq!((hedge.snapshot().hedges, hedge.snapshot().suppressed), (1, 1));
    // The next call is not hedged, and still succeeds.
    assert_eq!(run(&hedge, &time, script), (Ok(1), 35, 1));
    assert_eq!(hedge.snapshot().suppressed, 3);
}

#[test]
fn a_failure_is_final_if_the_budget_suppresses_its_replacement() {
    let time = ManualClock::new();
    let budget = Budget::builder().of_calls_in_flight(0).build().unwrap();
    let hedge = builder(&time).hedge_failures().budget(&budget).build().unwrap();
    assert_eq!(run(&hedge, &time, &[(5, Err("a"))]), (Err("a"), 5, 1));
}

/// failsafe-go#106: with few calls in flight, a share of them never allows a hedge.
#[test]
fn by_default_one_call_in_twenty_is_hedged() {
    let time = ManualClock::new();
    let hedge = Hedge::builder().delay(10 * MS).clock(time.clock()).build().unwrap();
    for _ in 0..1000 {
        assert_eq!(run(&hedge, &time, &[(30, Ok(1)), (30, Ok(2))]).0, Ok(1));
    }
    // 5 %, and the capacity of 10.
    let hedges = hedge.snapshot().hedges;
    assert!((50..=60).contains(&hedges), "{hedges}");
    assert_eq!(hedge.snapshot().suppressed, 1000 - hedges);
}

#[test]
fn an_ok_that_is_classified_as_a_failure_does_not_win() {
    let time = ManualClock::new();
    let clock = time.clock();
    let hedge = builder(&time).build().unwrap();
    let hedge = hedge.classified_by(|result: &Result<u32, Error<()>>| match result {
        Ok(status) if *status >= 500 => Outcome::Failure,
        _ => Outcome::Success,
    });
    for (first, second, expected) in [(503, 200, 200), (503, 500, 503)] {
        let result = time.drive(hedge.call(Context::new(), |cx| {
            let clock = &clock;
            async move {
                clock.sleep(15 * MS).await;
                Ok(if cx.attempt() == 1 { first } else { second })
            }
        }));
        assert_eq!(result, Ok(expected));
    }
}

#[test]
fn dropping_a_call_after_any_poll_drops_its_attempts_and_permits() {
    let time = ManualClock::new();
    let budget = Budget::builder().of_calls_in_flight(3).build().unwrap();
    let hedge = builder(&time).max_attempts(4).budget(&budget).build().unwrap();
    for polls in 0..8 {
        let running = AtomicU32::new(0);
        {
            let mut call = pin!(hedge.call(|| {
                let guard = Running::new(&running);
                async move {
                    let _guard = guard;
                    pending::<Result<(), ()>>().await
                }
            }));
            for _ in 0..polls {
                let mut cx = std::task::Context::from_waker(Waker::noop());
                assert!(call.as_mut().poll(&mut cx).is_pending());
                time.advance(10 * MS);
            }
            assert_eq!(running.load(Ordering::Relaxed), polls.min(4), "{polls} polls");
        }
        assert_eq!(running.into_inner(), 0, "{polls} polls");
        assert_eq!(budget.snapshot().available, 3, "{polls} polls");
    }
}

/// failsafe-go#134: each call left the contexts of its attempts in the context of the executor.
#[test]
fn a_call_that_has_ended_leaves_neither_an_attempt_nor_a_timer() {
    let time = ManualClock::new();
    let hedge = builder(&time).max_attempts(3).build().unwrap();
    let scripts: [Script; 4] = [
        &[(1, Ok(1))],
        &[(90, Ok(1)), (5, Ok(2))],
        &[(90, Ok(1)), (90, Ok(2)), (5, Ok(3))],
        &[(15, Err("down")), (1, Err("down"))],
    ];
    for script in scripts {
        let _ = run(&hedge, &time, script);
        assert_eq!(time.next_deadline(), None);
    }
}

#[test]
fn a_panic_of_an_attempt_or_a_classifier_releases_the_permits() {
    let time = ManualClock::new();
    let budget = Budget::builder().of_calls_in_flight(1).build().unwrap();
    let hedge = builder(&time).budget(&budget).build().unwrap();
    let call = || {
        time.drive(hedge.call_with(|cx| async move {
            assert!(cx.attempt() == 1, "the second attempt");
            pending::<Result<(), ()>>().await
        }))
    };
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    let classified = hedge.classified_by(|_: &Result<(), Error<()>>| panic!("classifier"));
    let call = || time.drive(classified.call(Context::new(), |_| async { Ok(()) }));
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert_eq!(budget.snapshot().available, 1);
    assert_eq!(run(&hedge, &time, &[(99, Ok(1)), (5, Ok(2))]), (Ok(2), 15, 2));
}

/// dotnet/extensions#5699: hedged requests neither returned nor were cancelled at the timeout.
#[test]
fn a_timeout_drops_all_attempts_of_a_hedge() {
    let time = ManualClock::new();
    let clock = time.clock();
    let (started, running) = (AtomicU32::new(0), AtomicU32::new(0));
    let pipeline = Pipeline::builder()
        .timeout(Timeout::new(25 * MS).clock(clock.clone()))
        .hedge(builder(&time).max_attempts(3).build().unwrap())
        .build();
    let start = time.now();
    let mut call = pin!(pipeline.call(|| {
        started.fetch_add(1, Ordering::Relaxed);
        let guard = Running::new(&running);
        async {
            let _guard = guard;
            pending::<Result<(), ()>>().await
        }
    }));
    let result = time.drive(call.as_mut());
    assert!(result.unwrap_err().is_timeout());
    assert_eq!(time.now() - start, 25 * MS);
    assert_eq!(started.load(Ordering::Relaxed), 3);
    // The future of the call still exists.
    assert_eq!(running.load(Ordering::Relaxed), 0);
}

#[test]
fn no_attempt_starts_after_the_deadline() {
    let time = ManualClock::new();
    let clock = time.clock();
    let attempts = AtomicU32::new(0);
    let pipeline = Pipeline::builder()
        .timeout(Timeout::new(10 * MS).clock(clock.clone()))
        .hedge(builder(&time).build().unwrap())
        .build();
    let result = time.drive(pipeline.call(|| {
        attempts.fetch_add(1, Ordering::Relaxed);
        async {
            clock.sleep(50 * MS).await;
            Ok::<_, ()>(())
        }
    }));
    assert!(result.unwrap_err().is_timeout());
    assert_eq!(attempts.into_inner(), 1);
}

#[test]
fn the_delay_follows_the_latencies_of_attempts() {
    let time = ManualClock::new();
    let hedge = Hedge::builder().clock(time.clock()).without_budget().build().unwrap();
    assert_eq!(hedge.snapshot().delay, 100 * MS);
    for _ in 0..600 {
        assert_eq!(run(&hedge, &time, &[(8, Ok(1))]).0, Ok(1));
    }
    let delay = hedge.snapshot().delay;
    assert!(delay.abs_diff(8 * MS) < MS, "{delay:?}");
    // A call that takes longer is hedged at this delay.
    let (result, millis, started) = run(&hedge, &time, &[(500, Ok(1)), (8, Ok(2))]);
    assert_eq!((result, started), (Ok(2), 2));
    assert!((15..=17).contains(&millis), "{millis}");
}

#[test]
fn new_settings_keep_the_latencies_that_were_measured() {
    let time = ManualClock::new();
    let learned = |quantile| Hedge::builder().delay_quantile(quantile, 100 * MS).without_budget();
    let hedge = learned(0.95).clock(time.clock()).build().unwrap();
    for i in 0..100 {
        let script: Script = if i % 5 == 0 { &[(40, Ok(1))] } else { &[(8, Ok(1))] };
        assert_eq!(run(&hedge, &time, script).0, Ok(1));
    }
    hedge.reconfigure(&learned(0.5).assume_idempotent()).unwrap();
    let delay = hedge.snapshot().delay;
    assert!(delay.abs_diff(8 * MS) < MS, "{delay:?}");
    let facts = mainstay::ClassifiedHedge::from(&hedge).facts();
    assert_eq!(facts.repeat_safety, Some(mainstay::policy::RepeatSafety::Idempotent));
}

#[test]
fn new_settings_apply_to_the_next_decision_of_a_running_call() {
    let time = ManualClock::new();
    let hedge = builder(&time).build().unwrap();
    let (clock, start) = (time.clock(), time.now());
    // The first two attempts hang. While the second runs, a third is allowed, 1 ms later.
    let result = time.drive(hedge.call_with(|cx| {
        let (hedge, clock, time) = (&hedge, &clock, &time);
        async move {
            match cx.attempt() {
                1 => pending().await,
                2 => {
                    let config = builder(time).delay(MS).max_attempts(3).hedge_failures();
                    hedge.reconfigure(&config).unwrap();
                    clock.sleep(5 * MS).await;
                    pending().await
                }
                number => Ok::<_, ()>(number),
            }
        }
    }));
    assert_eq!((result, time.now() - start), (Ok(3), 11 * MS));
    // Fewer attempts than have started: no further one starts.
    hedge.reconfigure(&builder(&time).max_attempts(1)).unwrap();
    assert_eq!(run(&hedge, &time, &[(50, Ok(1))]), (Ok(1), 50, 1));
}

#[test]
fn in_shadow_mode_no_further_attempt_starts_and_they_are_counted() {
    let time = ManualClock::new();
    let budget = Budget::builder().of_all_calls(1).build().unwrap();
    let shadow = builder(&time).shadow().max_attempts(3).budget(&budget);
    let hedge = shadow.clone().hedge_failures().build().unwrap();
    assert_eq!(run(&hedge, &time, &[(50, Ok(1))]), (Ok(1), 50, 1));
    let snapshot = hedge.snapshot();
    assert_eq!((snapshot.hedges, snapshot.wins, snapshot.suppressed), (1, 0, 1));
    assert_eq!(run(&hedge, &time, &[(5, Err("down"))]), (Err("down"), 5, 1));
    // The mode can be changed.
    hedge.reconfigure(&builder(&time)).unwrap();
    budget.reconfigure(&Budget::builder().percent(100).of_all_calls(9)).unwrap();
    assert_eq!(run(&hedge, &time, &[(50, Ok(1)), (5, Ok(2))]), (Ok(2), 15, 2));
}

#[test]
fn settings_that_cannot_be_applied_change_nothing() {
    let fixed = Hedge::builder().delay(MS).build().unwrap();
    let measured = Hedge::builder().build().unwrap();
    let field =
        |hedge: &Hedge, config: HedgeBuilder| hedge.reconfigure(&config).unwrap_err().field();
    assert_eq!(field(&fixed, Hedge::builder()), "delay_quantile");
    assert_eq!(field(&measured, Hedge::builder().delay(MS)), "delay");
    assert_eq!(field(&fixed, Hedge::builder().delay(2 * MS).max_attempts(0)), "max_attempts");
    assert_eq!(field(&measured, Hedge::builder().delay_quantile(1.0, MS)), "delay_quantile");
    assert_eq!((fixed.snapshot().delay, measured.snapshot().delay), (MS, 100 * MS));
}

#[test]
fn the_budget_of_a_hedge_can_be_reconfigured() {
    let hedge = Hedge::builder().build().unwrap();
    let budget = hedge.budget().unwrap();
    assert_eq!(budget.snapshot().available, 10);
    budget.reconfigure(&Budget::builder().percent(5).of_all_calls(4)).unwrap();
    assert_eq!(budget.snapshot().available, 4);
    assert!(Hedge::builder().without_budget().build().unwrap().budget().is_none());
}

#[test]
fn the_longest_delay_can_be_described() {
    let hedge = Hedge::builder().delay(Duration::MAX).max_attempts(10).build().unwrap();
    assert!(mainstay::ClassifiedHedge::from(&hedge).facts().max_elapsed.is_some());
}

#[test]
fn hedges_are_counted_and_reported() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    let hedge = builder(&time)
        .name("search")
        .max_attempts(3)
        .budget(Budget::builder().of_all_calls(1).build().unwrap())
        .observer(move |event: &Event<'_>| log.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    assert_eq!(run(&hedge, &time, &[(99, Ok(1)), (15, Ok(2))]).0, Ok(2));
    let expected =
        ["search hedge #1 attempt=2", "search suppressed #1 attempt=3", "search won #1 attempt=2"];
    assert_eq!(*events.lock().unwrap(), expected);
    let snapshot = hedge.snapshot();
    assert_eq!((snapshot.hedges, snapshot.wins, snapshot.suppressed), (1, 1, 1));
}

#[test]
fn a_blocking_call_runs_the_operation_once() {
    let hedge = builder(&ManualClock::new()).hedge_failures().build().unwrap();
    let pipeline = Pipeline::builder().hedge(&hedge).build();
    let attempts = AtomicU32::new(0);
    let result = pipeline.call_blocking(|| {
        attempts.fetch_add(1, Ordering::Relaxed);
        Err::<(), _>("down")
    });
    assert_eq!((result, attempts.into_inner()), (Err(Error::Operation("down")), 1));
}

#[test]
fn settings_out_of_range_are_rejected() {
    let field = |builder: HedgeBuilder| builder.build().unwrap_err().field();
    assert_eq!(field(Hedge::builder().name("")), "name");
    assert_eq!(field(Hedge::builder().max_attempts(0)), "max_attempts");
    assert_eq!(field(Hedge::builder().max_attempts(11)), "max_attempts");
    for quantile in [0.0, 1.0, f64::NAN] {
        assert_eq!(field(Hedge::builder().delay_quantile(quantile, MS)), "delay_quantile");
    }
}

#[test]
fn check_reports_unsafe_and_nested_hedges() {
    let time = ManualClock::new();
    let safe = || builder(&time).build().unwrap();
    let unsafe_hedge = Hedge::builder().build().unwrap();
    let budget = Budget::default();
    let retry = || Retry::builder().assume_idempotent().budget(&budget).build().unwrap();
    let breaker = CircuitBreaker::new();
    let pipeline = Pipeline::builder;
    let second = Duration::from_secs(1);
    let rules = |lints: Vec<mainstay::Lint>| {
        lints.iter().map(|lint| lint.rule.as_str()).collect::<Vec<_>>().join(" ")
    };
    for (lints, expected) in [
        (pipeline().hedge(safe()).build().check(), ""),
        (pipeline().timeout(second).hedge(safe()).build().check(), ""),
        (pipeline().timeout(second).hedge(safe()).timeout(second / 2).build().check(), ""),
        (pipeline().hedge(safe()).breaker(&breaker).timeout(second).build().check(), ""),
        (pipeline().hedge(unsafe_hedge).build().check(), "retry-safety-unknown"),
        (pipeline().retry(retry()).hedge(safe()).build().check(), ""),
        (pipeline().hedge(safe()).retry(retry()).build().check(), "nested-retries"),
        (pipeline().hedge(safe()).hedge(safe()).build().check(), "nested-retries"),
        (
            pipeline().retry(retry()).retry(retry()).hedge(safe()).build().check(),
            "nested-retries nested-retries",
        ),
        (pipeline().breaker(&breaker).hedge(safe()).build().check(), "retry-inside-breaker"),
    ] {
        assert_eq!(rules(lints), expected);
    }
    let facts = mainstay::ClassifiedHedge::from(safe()).facts();
    assert_eq!((facts.max_attempts, facts.max_elapsed), (Some(2), Some(10 * MS)));
}
