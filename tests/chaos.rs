//! Chaos policies: what each fault does to futures, closures and pipelines, and when the policy is
//! on.
#![cfg(not(mainstay_loom))]

use mainstay::breaker::CircuitBreaker;
use mainstay::chaos::{Chaos, ChaosBuilder, ChaosSwitch, Fault};
use mainstay::error::{Error, Reason};
use mainstay::event::{Event, EventValue};
use mainstay::pipeline::Pipeline;
use mainstay::policy::Caller;
use mainstay::time::ManualClock;
use mainstay::timeout::Timeout;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn chaos(time: &ManualClock) -> ChaosBuilder {
    Chaos::builder().clock(time.clock())
}

/// Returns a policy with this fault, turned on for a minute.
fn injecting(time: &ManualClock, fault: Fault) -> Chaos {
    let chaos = chaos(time).fault(fault).build().unwrap();
    chaos.switch().turn_on_for(60 * SECOND).unwrap();
    chaos
}

fn reason<T, E>(result: &Result<T, Error<E>>) -> Option<Reason> {
    match result {
        Err(Error::Rejected(rejection)) => Some(rejection.reason()),
        _ => None,
    }
}

#[test]
fn a_policy_that_is_off_does_nothing() {
    let time = ManualClock::new();
    let chaos = chaos(&time).fault(Fault::panic()).fault(Fault::hang()).build().unwrap();
    let pipeline = Pipeline::builder().chaos(&chaos).chaos_with(chaos.errors(|_| "e")).build();
    assert_eq!(time.drive(pipeline.call(async || Ok(1))), Ok(1));
    assert_eq!(pipeline.call_blocking(|| Ok(1)), Ok(1));
    assert_eq!(time.drive(chaos.call(async || Ok::<_, ()>(1))), Ok(1));
    assert_eq!(chaos.snapshot().calls, 0);
}

#[test]
fn a_latency_delays_futures_and_closures() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::latency(250 * MS));
    let with = chaos.errors(|_| ());
    let start = time.now();
    let elapsed = || (time.now() - start).as_millis();
    assert_eq!(time.drive(chaos.call(async || Ok::<_, ()>(1))), Ok(1));
    assert_eq!(elapsed(), 250);
    assert_eq!(chaos.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    assert_eq!(elapsed(), 500);
    assert_eq!(time.drive(with.call(async || Ok(1))), Ok(1));
    assert_eq!(elapsed(), 750);
    assert_eq!(with.call_blocking(|| Ok(1)), Ok(1));
    assert_eq!(elapsed(), 1000);
    assert_eq!(chaos.snapshot().latencies, 4);
}

#[test]
fn an_error_is_the_result_of_the_function_and_the_operation_does_not_run() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::error());
    let errors = chaos.errors(|injection| injection.number);
    let never = || -> Result<u64, u64> { panic!("the operation runs") };
    assert_eq!(errors.call_blocking(never), Err(Error::Operation(0)));
    assert_eq!(time.drive(errors.call(async || never())), Err(Error::Operation(1)));
    let results = chaos.results(|injection| Ok::<u64, u64>(injection.number));
    let pipeline = Pipeline::builder().chaos_with(&results).build();
    assert_eq!(pipeline.call_blocking(never), Ok(2));
    assert_eq!(time.drive(pipeline.call(async || never())), Ok(3));
    assert_eq!(chaos.snapshot().errors, 4);
}

#[test]
fn a_policy_without_a_function_rejects_in_place_of_an_error() {
    let time = ManualClock::new();
    for fault in [Fault::error(), Fault::rejection()] {
        let chaos = injecting(&time, fault);
        let never = || -> Result<(), ()> { panic!("the operation runs") };
        assert_eq!(reason(&chaos.call_blocking(never)), Some(Reason::Injected));
        assert_eq!(reason(&time.drive(chaos.call(async || never()))), Some(Reason::Injected));
        let pipeline = Pipeline::builder().chaos(&chaos).build();
        assert_eq!(reason(&pipeline.call_blocking(never)), Some(Reason::Injected));
    }
}

#[test]
fn a_rejection_has_its_reason_and_the_name_of_the_policy() {
    let time = ManualClock::new();
    let chaos = chaos(&time).name("drill").fault(Fault::rejection()).build().unwrap();
    chaos.switch().turn_on_for(SECOND).unwrap();
    let with = chaos.errors(|_| "unused");
    for result in [chaos.call_blocking(|| Ok(())), with.call_blocking(|| Ok(()))] {
        assert_eq!(result.unwrap_err().to_string(), "rejected by drill: injected fault");
    }
}

#[test]
fn a_panic_unwinds_and_leaves_the_policy_usable() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::panic());
    let with = chaos.errors(|_| ());
    let panics = |call: &dyn Fn() -> Result<(), Error<()>>| {
        let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("injected"));
    };
    panics(&|| chaos.call_blocking(|| Ok(())));
    panics(&|| time.drive(chaos.call(async || Ok(()))));
    panics(&|| with.call_blocking(|| Ok(())));
    panics(&|| time.drive(with.call(async || Ok(()))));
    assert_eq!(chaos.snapshot().panics, 4);
    chaos.switch().turn_off();
    assert_eq!(chaos.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
}

#[test]
fn a_panic_of_a_function_or_an_observer_leaves_the_policy_usable() {
    let time = ManualClock::new();
    let errors = injecting(&time, Fault::error());
    let latency = injecting(&time, Fault::latency_by(|_| panic!("latency")));
    let observed = chaos(&time)
        .fault(Fault::latency(MS))
        .observer(|_: &Event<'_>| panic!("observer"))
        .build()
        .unwrap();
    observed.switch().turn_on_for(SECOND).unwrap();
    let with = errors.errors(|_| -> () { panic!("function") });
    let panics = |call: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    panics(&|| _ = with.call_blocking(|| Ok(())));
    panics(&|| _ = latency.call_blocking(|| Ok::<_, ()>(())));
    panics(&|| _ = observed.call_blocking(|| Ok::<_, ()>(())));
    for chaos in [errors, latency, observed] {
        assert_eq!(chaos.snapshot().calls, 1);
        chaos.switch().turn_off();
        assert_eq!(chaos.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
    }
}

#[test]
fn a_hang_ends_with_its_fault_and_the_operation_then_runs() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::hang().lasts_for(10 * SECOND));
    let start = time.now();
    time.advance(2 * SECOND);
    assert_eq!(time.drive(chaos.call(async || Ok::<_, ()>(1))), Ok(1));
    assert_eq!(time.now() - start, 10 * SECOND);
    assert_eq!(time.drive(chaos.call(async || Ok::<_, ()>(2))), Ok(2));
    assert_eq!(time.now() - start, 10 * SECOND, "the fault is over");
}

#[test]
fn a_hang_without_an_end_lasts_until_the_run_ends() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::hang());
    let start = time.now();
    assert_eq!(time.drive(chaos.call(async || Ok::<_, ()>(1))), Ok(1));
    assert_eq!(time.now() - start, 60 * SECOND);
    assert_eq!(chaos.call_blocking(|| Ok::<_, ()>(2)), Ok(2));
    assert_eq!((chaos.snapshot().hangs, chaos.snapshot().is_on), (1, false));
}

#[test]
fn turning_the_switch_off_releases_calls_that_wait() {
    let time = ManualClock::new();
    for fault in [Fault::hang(), Fault::latency(30 * SECOND)] {
        let chaos = chaos(&time).fault(fault).fault(Fault::error()).build().unwrap();
        chaos.switch().turn_on_for(60 * SECOND).unwrap();
        let with = chaos.errors(|_| "injected");
        let mut call = pin!(with.call(async || Ok(1)));
        assert!(time.drive_for(5 * SECOND, call.as_mut()).is_pending());
        chaos.switch().turn_off();
        let off = time.now();
        // The error after the wait is cancelled too.
        assert_eq!(time.drive(call), Ok(1));
        assert!(time.now() - off <= 100 * MS);
    }
}

#[test]
fn a_new_run_releases_the_calls_of_the_previous_run() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::hang());
    let mut call = pin!(chaos.call(async || Ok::<_, ()>(1)));
    assert!(time.drive_for(5 * SECOND, call.as_mut()).is_pending());
    chaos.switch().turn_on_for(60 * SECOND).unwrap();
    assert!(time.drive_for(100 * MS, call).is_ready());
}

#[test]
fn a_blocking_call_waits_for_at_most_its_deadline() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::hang());
    // Not a multiple of the interval at which a waiting call checks the switch.
    let limit = Timeout::new(2_050 * MS).clock(time.clock());
    let start = time.now();
    let guard = Pipeline::builder().timeout(&limit).chaos(&chaos).build();
    let result = guard.call_blocking(|| Ok::<_, ()>(()));
    assert_eq!(reason(&result), Some(Reason::DeadlineExceeded));
    assert_eq!(time.now() - start, 2_050 * MS);
    let view = Pipeline::builder().timeout(&limit).chaos_with(chaos.errors(|_| ())).build();
    let Err(Error::Timeout(timed_out)) = view.call_blocking(|| Ok(())) else { panic!() };
    assert_eq!((timed_out.policy(), timed_out.limit()), ("chaos", 2_050 * MS));
    assert_eq!(time.now() - start, 4_100 * MS);
}

#[test]
fn the_policy_expires() {
    let time = ManualClock::new();
    let chaos = chaos(&time).fault(Fault::rejection()).build().unwrap();
    let rejects = || chaos.call_blocking(|| Ok::<_, ()>(())).is_err();
    chaos.switch().turn_on_for(10 * SECOND).unwrap();
    for (advance, expected, remaining) in [
        (Duration::ZERO, true, Some(10 * SECOND)),
        (9 * SECOND, true, Some(SECOND)),
        (SECOND, false, None),
        (SECOND, false, None),
    ] {
        time.advance(advance);
        assert_eq!((rejects(), chaos.switch().remaining()), (expected, remaining));
        assert_eq!(chaos.switch().is_on(), expected);
    }
    for invalid in [Duration::ZERO, Duration::from_secs(86_401), Duration::MAX] {
        let error = chaos.switch().turn_on_for(invalid).unwrap_err();
        assert_eq!((error.field(), chaos.switch().is_on()), ("duration", false));
    }
}

#[test]
fn one_switch_serves_several_policies() {
    let switch = ChaosSwitch::default();
    let build = || Chaos::builder().switch(&switch).fault(Fault::rejection()).build().unwrap();
    let (one, other) = (build(), build());
    let rejects = |chaos: &Chaos| chaos.call_blocking(|| Ok::<_, ()>(())).is_err();
    assert!(!rejects(&one) && !rejects(&other));
    switch.turn_on_for(60 * SECOND).unwrap();
    assert!(rejects(&one) && rejects(&other) && one.switch().is_on());
    switch.turn_off();
    assert!(!rejects(&one) && !rejects(&other));
}

/// The results of the calls of a run: the error, if any, and the delay.
fn run(time: &ManualClock, seed: u64) -> Vec<(Result<(), Error<u64>>, Duration)> {
    let chaos = chaos(time)
        .seed(seed)
        .fault(Fault::latency_exponential(10 * MS).probability(0.3))
        .fault(Fault::error().probability(0.1))
        .fault(Fault::rejection().probability(0.1))
        .build()
        .unwrap();
    calls(time, &chaos)
}

fn calls(time: &ManualClock, chaos: &Chaos) -> Vec<(Result<(), Error<u64>>, Duration)> {
    chaos.switch().turn_on_for(3600 * SECOND).unwrap();
    let with = chaos.errors(|injection| injection.unit.to_bits());
    (0..1000)
        .map(|_| {
            let start = time.now();
            (with.call_blocking(|| Ok(())), time.now() - start)
        })
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let time = ManualClock::new();
    assert_eq!(run(&time, 7), run(&time, 7));
    assert_ne!(run(&time, 7), run(&time, 8));
    let chaos = chaos(&time).fault(Fault::error().probability(0.5)).build().unwrap();
    assert_eq!(calls(&time, &chaos), calls(&time, &chaos), "a second run of one policy");
}

/// The threads share the calls in any order; what happens to the n-th call stays the same.
#[test]
fn eight_threads_make_the_calls_of_one_run() {
    const CALLS: u64 = 8 * 2_000;
    let run = |threads: u64| {
        let hit = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&hit);
        let chaos = Chaos::builder()
            .seed(3)
            .fault(Fault::rejection().probability(0.2))
            .observer(move |event: &Event<'_>| {
                let Some(EventValue::Count(call)) = event.field("call") else { panic!() };
                seen.lock().unwrap().push(call);
            })
            .build()
            .unwrap();
        chaos.switch().turn_on_for(3600 * SECOND).unwrap();
        let rejected = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..CALLS / threads {
                        let result = chaos.call_blocking(|| Ok::<_, ()>(()));
                        rejected.fetch_add(u32::from(result.is_err()), SeqCst);
                    }
                });
            }
        });
        let mut hit = hit.lock().unwrap().clone();
        hit.sort_unstable();
        let snapshot = chaos.snapshot();
        assert_eq!((snapshot.calls, snapshot.rejections), (CALLS, hit.len() as u64));
        assert_eq!(u64::from(rejected.load(SeqCst)), snapshot.rejections);
        hit
    };
    assert_eq!(run(1), run(8));
}

#[test]
fn a_share_of_keys_is_affected_by_key_or_by_user() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::rejection().key_share(0.1));
    let rejects = |chaos: &Chaos| chaos.call_blocking(|| Ok::<_, ()>(())).is_err();
    assert!(!rejects(&chaos), "a call without a key");
    let affected: Vec<_> = (0..1000).filter(|key| rejects(&chaos.key(key))).collect();
    assert!((70..130).contains(&affected.len()), "{}", affected.len());
    assert!(affected.iter().all(|key| rejects(&chaos.key(key))), "a key stays affected");

    let pipeline = Pipeline::builder().chaos(&chaos).build();
    let rejects_user = |user: &u32| {
        let caller = Caller::default().with_user(user);
        pipeline.with_caller(caller).call_blocking(|| Ok::<_, ()>(())).is_err()
    };
    let users = (0..1000).filter(rejects_user).count();
    assert!((50..150).contains(&users), "{users}");
}

/// The hash of a key is part of the promise that the same seed gives the same run.
#[test]
fn the_same_keys_are_affected_in_every_process() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::rejection().key_share(0.3));
    let rejects = |key: &str| chaos.key(key).call_blocking(|| Ok::<_, ()>(())).is_err();
    let affected: Vec<_> = ('a'..='z').filter(|key| rejects(&format!("tenant-{key}"))).collect();
    assert_eq!(affected.iter().collect::<String>(), "abchpwy");
}

#[test]
fn the_steps_of_a_script_follow_each_other_and_are_rolled_back() {
    let time = ManualClock::new();
    let chaos = chaos(&time)
        .step(10 * SECOND, [Fault::error()])
        .step(5 * SECOND, [])
        .step(10 * SECOND, [Fault::rejection().starts_after(2 * SECOND)])
        .build()
        .unwrap();
    chaos.switch().turn_on_for(60 * SECOND).unwrap();
    let with = chaos.errors(|_| "error");
    for (second, expected) in
        [(0, 'e'), (9, 'e'), (10, '-'), (15, '-'), (17, 'r'), (24, 'r'), (25, '-'), (59, '-')]
    {
        time.advance_to(mainstay::time::Instant::ORIGIN + (3600 + second) * SECOND);
        let seen = match with.call_blocking(|| Ok(())) {
            Ok(()) => '-',
            Err(Error::Operation(_)) => 'e',
            Err(_) => 'r',
        };
        assert_eq!(seen, expected, "{second} s");
    }
}

#[test]
fn policies_above_observe_the_faults() {
    let time = ManualClock::new();
    let chaos = injecting(&time, Fault::hang());
    let breaker =
        CircuitBreaker::builder().clock(time.clock()).count_window(4).min_calls(4).build().unwrap();
    let pipeline = Pipeline::builder()
        .breaker(&breaker)
        .timeout(Timeout::new(SECOND).clock(time.clock()))
        .chaos(&chaos)
        .build();
    for _ in 0..4 {
        let result = time.drive(pipeline.call(async || Ok::<_, ()>(())));
        assert!(matches!(result, Err(Error::Timeout(_))));
    }
    let result = time.drive(pipeline.call(async || Ok::<_, ()>(())));
    assert_eq!(reason(&result), Some(Reason::CircuitOpen));
}

#[test]
fn each_fault_is_reported() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let chaos = chaos(&time)
        .name("drill")
        .step(SECOND, [Fault::latency(5 * MS), Fault::error()])
        .step(SECOND, [Fault::rejection()])
        .step(SECOND, [Fault::panic()])
        .step(SECOND, [Fault::hang()])
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    chaos.switch().turn_on_for(60 * SECOND).unwrap();
    for _ in 0..4 {
        let call = || chaos.call_blocking(|| Ok::<_, ()>(()));
        _ = catch_unwind(AssertUnwindSafe(call));
        time.advance(SECOND);
    }
    assert_eq!(
        *events.lock().unwrap(),
        [
            "drill injected #1 fault=latency call=0 delay=5ms",
            "drill injected #2 fault=error call=0",
            "drill injected #3 fault=rejection call=1",
            "drill injected #4 fault=panic call=2",
            "drill injected #5 fault=hang call=3",
        ]
    );
    let snapshot = chaos.snapshot();
    assert_eq!((snapshot.calls, snapshot.latencies, snapshot.errors), (4, 1, 1));
    assert_eq!((snapshot.rejections, snapshot.panics, snapshot.hangs), (1, 1, 1));
}

#[test]
fn a_call_dropped_at_any_poll_ends_its_wait() {
    for polls in 0..8 {
        let time = ManualClock::new();
        let chaos = injecting(&time, Fault::latency(250 * MS));
        let with = chaos.errors(|_| ());
        let runs = AtomicU32::new(0);
        let op = async || {
            runs.fetch_add(1, SeqCst);
            Ok::<_, ()>(())
        };
        {
            let mut call = pin!(chaos.call(op));
            let mut view = pin!(with.call(op));
            for poll in 1..=polls {
                let mut cx = Context::from_waker(Waker::noop());
                let expected = if poll == 4 { Poll::Ready(Ok(())) } else { Poll::Pending };
                if poll <= 4 {
                    assert_eq!(call.as_mut().poll(&mut cx), expected, "poll {poll}");
                    assert_eq!(view.as_mut().poll(&mut cx), expected, "poll {poll}");
                }
                time.advance(100 * MS);
            }
        }
        assert_eq!(runs.load(SeqCst), if polls >= 4 { 2 } else { 0 });
        assert_eq!(time.next_deadline(), None, "{polls} polls: a timer is left");
    }
}

#[test]
fn invalid_settings_name_their_field() {
    let field = |builder: ChaosBuilder| builder.build().unwrap_err().field();
    let fault = |fault: Fault| field(Chaos::builder().fault(fault));
    assert_eq!(field(Chaos::builder()), "fault");
    let many = (0..65).fold(Chaos::builder(), |builder, _| builder.fault(Fault::error()));
    assert_eq!(field(many), "fault");
    assert_eq!(field(Chaos::builder().name("").fault(Fault::error())), "name");
    for share in [0.0, -0.1, 1.1, f64::NAN] {
        assert_eq!(fault(Fault::error().probability(share)), "probability");
        assert_eq!(fault(Fault::error().key_share(share)), "key_share");
    }
    assert_eq!(fault(Fault::error().lasts_for(Duration::ZERO)), "lasts_for");
    let step = |duration, fault| field(Chaos::builder().step(duration, [fault]));
    assert_eq!(step(Duration::ZERO, Fault::error()), "step");
    assert_eq!(step(SECOND, Fault::error().starts_after(SECOND)), "lasts_for");
}
