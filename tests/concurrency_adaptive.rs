//! The adaptive limiter: admission, waiting, windows, cancellation.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{
    AdaptiveLimiter, AdaptiveLimiterBuilder, AdaptiveLimiterPermit, AimdController,
    BaselineController, LearnedLimit, LimitController, LimitReason, LimitUpdate, LimitWindow,
    WindowRule,
};
use mainstay::error::{Error, Reason};
use mainstay::event::Event;
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, Context, OwnedGuard};
use mainstay::random::Random;
use mainstay::time::{Deadline, ManualClock};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A controller that returns a list of limits and records the windows.
struct Script {
    limit: f64,
    next: VecDeque<(f64, LimitReason)>,
    seen: Arc<Mutex<Vec<LimitWindow>>>,
}

impl Script {
    fn new(limit: f64, next: &[f64]) -> (Self, Arc<Mutex<Vec<LimitWindow>>>) {
        Self::with_reasons(limit, next.iter().map(|limit| (*limit, LimitReason::Growth)).collect())
    }

    fn with_reasons(
        limit: f64,
        next: VecDeque<(f64, LimitReason)>,
    ) -> (Self, Arc<Mutex<Vec<LimitWindow>>>) {
        let seen = Arc::default();
        (Self { limit, next, seen: Arc::clone(&seen) }, seen)
    }
}

impl LimitController for Script {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn update(&mut self, window: &LimitWindow) -> LimitUpdate {
        self.seen.lock().unwrap().push(*window);
        let (limit, reason) = self.next.pop_front().unwrap_or((self.limit, LimitReason::Steady));
        self.limit = limit;
        LimitUpdate { limit, reason }
    }

    fn window_rule(&self) -> WindowRule {
        WindowRule { min_duration: SECOND, min_calls: 2, min_latencies: 0 }
    }
}

fn fixed(limit: f64) -> AdaptiveLimiterBuilder {
    AdaptiveLimiter::builder().controller(Script::new(limit, &[]).0)
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut task::Context::from_waker(Waker::noop()))
}

fn take(limiter: &AdaptiveLimiter, n: usize) -> Vec<AdaptiveLimiterPermit<'_>> {
    (0..n).map(|_| limiter.try_acquire().unwrap()).collect()
}

// Admission

#[test]
fn calls_are_admitted_up_to_the_limit() {
    let limiter = fixed(3.0).name("search").build().unwrap();
    let mut permits = take(&limiter, 3);
    let rejection = limiter.try_acquire().unwrap_err();
    assert_eq!((rejection.reason(), rejection.policy()), (Reason::ConcurrencyLimited, "search"));
    assert_eq!(limiter.in_flight(), 3);
    permits.pop();
    assert!(limiter.try_acquire().is_ok());
}

/// Netflix#234: when the limit shrinks, calls in flight count against the new limit.
#[test]
fn a_lower_limit_admits_nothing_until_enough_calls_have_ended() {
    let time = ManualClock::new();
    let (controller, _) = Script::new(4.0, &[2.0]);
    let limiter =
        AdaptiveLimiter::builder().controller(controller).clock(time.clock()).build().unwrap();
    let mut permits = take(&limiter, 4);
    time.advance(SECOND);
    permits.pop().unwrap().success();
    let owned = limiter.try_acquire_owned().unwrap();
    owned.success(); // the second call of the window, which closes it
    assert_eq!((limiter.limit(), limiter.in_flight()), (2.0, 3));
    assert!(limiter.try_acquire().is_err());
    permits.pop();
    assert!(limiter.try_acquire().is_err(), "two calls are still in flight");
    permits.pop();
    assert!(limiter.try_acquire().is_ok());
}

#[test]
fn a_limit_below_one_delays_the_next_call() {
    let time = ManualClock::new();
    let limiter = fixed(0.25).clock(time.clock()).build().unwrap();
    assert_eq!(limiter.limit(), 0.25);
    let permit = limiter.try_acquire().unwrap();
    assert!(limiter.try_acquire().is_err(), "one at a time");
    time.advance(SECOND);
    permit.success();
    // Calls may run for a quarter of the time: one second of work, then three seconds of pause.
    time.advance(Duration::from_millis(2999));
    assert!(limiter.try_acquire().is_err());
    let mut waiting = Box::pin(limiter.acquire());
    assert!(poll(&mut waiting).is_pending());
    time.advance(Duration::from_millis(1));
    assert!(matches!(poll(&mut waiting), Poll::Ready(Ok(_))));
    assert!(limiter.try_acquire().is_ok());
}

#[test]
fn invalid_settings_name_their_field() {
    let field = |builder: AdaptiveLimiterBuilder| builder.build().unwrap_err().field().to_owned();
    assert_eq!(field(AdaptiveLimiter::builder().name("")), "name");
    assert_eq!(field(AdaptiveLimiter::builder().queue_factors(3.0, 2.0)), "queue_factors");
    assert_eq!(field(AdaptiveLimiter::builder().queue_factors(f64::NAN, 2.0)), "queue_factors");
    assert_eq!(field(fixed(0.0)), "controller");
    let controller = AimdController::new().min_limit(-1.0);
    assert_eq!(field(AdaptiveLimiter::builder().controller(controller)), "min_limit");
}

// Waiting

#[test]
fn waiting_calls_are_served_in_order() {
    let limiter = fixed(1.0).build().unwrap();
    let permit = limiter.try_acquire().unwrap();
    let mut first = Box::pin(limiter.acquire());
    let mut second = Box::pin(limiter.acquire_owned());
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    assert_eq!(limiter.snapshot().queued, 2);
    permit.success();
    assert!(poll(&mut second).is_pending());
    let Poll::Ready(Ok(permit)) = poll(&mut first) else { panic!("the first still waits") };
    assert!(limiter.try_acquire().is_err(), "the permit belongs to the second waiter");
    permit.success();
    assert!(matches!(poll(&mut second), Poll::Ready(Ok(_))));
    assert_eq!((limiter.in_flight(), limiter.snapshot().queued), (0, 0));
}

#[test]
fn a_wait_ends_with_its_timeout() {
    let time = ManualClock::new();
    let limiter = fixed(1.0).clock(time.clock()).build().unwrap();
    let permit = limiter.try_acquire().unwrap();
    let mut waiting = Box::pin(limiter.acquire_timeout(SECOND));
    assert!(poll(&mut waiting).is_pending());
    time.advance(SECOND);
    let Poll::Ready(Err(rejection)) = poll(&mut waiting) else { panic!("the timeout has elapsed") };
    assert_eq!(rejection.reason(), Reason::QueueTimeout);
    drop(permit);
    assert!(limiter.try_acquire().is_ok());
}

#[test]
fn a_thread_waits_for_a_permit_until_its_timeout_elapses() {
    let limiter = fixed(1.0).build().unwrap();
    let permit = limiter.try_acquire().unwrap();
    let rejection = limiter.acquire_blocking_timeout(Duration::from_millis(5)).unwrap_err();
    assert_eq!(rejection.reason(), Reason::QueueTimeout);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| limiter.acquire_blocking().map(drop));
        while limiter.snapshot().queued == 0 {
            std::thread::yield_now();
        }
        drop(permit);
        assert_eq!(waiting.join().unwrap(), Ok(()));
    });
}

#[test]
fn the_queue_rejects_no_call_below_twice_the_limit_and_ends_at_three_times() {
    let limiter = fixed(10.0).random(Random::seeded(1)).build().unwrap();
    let _permits = take(&limiter, 10);
    let mut waiting = Vec::new();
    let mut rejected = 0;
    for _ in 0..1000 {
        let mut wait = Box::pin(limiter.acquire());
        match poll(&mut wait) {
            Poll::Pending => waiting.push(wait),
            Poll::Ready(result) => {
                assert_eq!(result.unwrap_err().reason(), Reason::QueueFull);
                assert!(waiting.len() >= 20, "rejected while only {} calls waited", waiting.len());
                rejected += 1;
            }
        }
    }
    assert_eq!((waiting.len(), rejected), (30, 970));
    assert_eq!(limiter.snapshot().queued, 30);
}

/// cockatiel#112: aborted waiters stayed in the queue and starved the other waiters.
#[test]
fn a_cancelled_waiter_leaves_the_queue() {
    let limiter = fixed(1.0).queue_factors(2.0, 2.0).build().unwrap();
    let permit = limiter.try_acquire().unwrap();
    for _ in 0..10 {
        let mut waits = [(); 2].map(|()| Box::pin(limiter.acquire()));
        assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    }
    assert_eq!(limiter.snapshot().queued, 0);
    let mut waiting = Box::pin(limiter.acquire());
    assert!(poll(&mut waiting).is_pending());
    permit.success();
    assert!(matches!(poll(&mut waiting), Poll::Ready(Ok(_))));
}

#[test]
fn a_granted_permit_is_released_when_its_waiter_is_dropped() {
    let limiter = fixed(1.0).build().unwrap();
    let permit = limiter.try_acquire().unwrap();
    let mut waiting = Box::pin(limiter.acquire_owned());
    assert!(poll(&mut waiting).is_pending());
    permit.success();
    assert_eq!(limiter.in_flight(), 1, "granted, and not yet received");
    drop(waiting);
    assert_eq!((limiter.in_flight(), limiter.snapshot().queued), (0, 0));
}

#[test]
fn a_closed_limiter_rejects_new_and_waiting_calls() {
    let limiter = fixed(1.0).build().unwrap();
    let permit = limiter.try_acquire().unwrap();
    let mut waiting = Box::pin(limiter.acquire());
    assert!(poll(&mut waiting).is_pending());
    assert!(limiter.close() && limiter.is_closed() && !limiter.close());
    let Poll::Ready(Err(rejection)) = poll(&mut waiting) else { panic!("closed") };
    assert_eq!(rejection.reason(), Reason::ShutDown);
    assert_eq!(limiter.try_acquire().unwrap_err().reason(), Reason::ShutDown);
    permit.success();
    assert_eq!(limiter.in_flight(), 0);
}

// Windows

#[test]
fn a_window_contains_the_recorded_outcomes() {
    let time = ManualClock::new();
    let (controller, seen) = Script::new(4.0, &[]);
    let limiter =
        AdaptiveLimiter::builder().controller(controller).clock(time.clock()).build().unwrap();
    let mut permits = take(&limiter, 4).into_iter();
    assert!(limiter.try_acquire().is_err());
    time.advance(Duration::from_millis(100));
    permits.next().unwrap().success();
    permits.next().unwrap().overload();
    permits.next().unwrap().ignore();
    drop(permits); // not recorded either
    assert!(seen.lock().unwrap().is_empty(), "the window has not lasted one second");
    time.advance(Duration::from_millis(900));
    let permit = limiter.try_acquire().unwrap();
    time.advance(Duration::from_millis(100));
    permit.success();
    let window = seen.lock().unwrap()[0];
    assert_eq!((window.succeeded, window.dropped, window.rejected), (2, 1, 1));
    assert_eq!((window.peak_in_flight, window.duration), (4, Duration::from_millis(1100)));
    let off = |latency: Duration| latency.abs_diff(Duration::from_millis(100)).as_millis();
    assert!(off(window.mean) < 7 && off(window.p50) < 13 && off(window.p99) < 13, "{window:?}");
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.windows, snapshot.last_window), (1, Some(window)));
    assert_eq!(snapshot.reason, LimitReason::Steady);
}

/// envoy#11579: calls that began before a probe added the latency of the higher limit to it.
#[test]
fn calls_that_began_before_a_probe_do_not_count_in_it() {
    let time = ManualClock::new();
    let script = VecDeque::from([(2.0, LimitReason::Probe), (4.0, LimitReason::ProbeEnd)]);
    let (controller, seen) = Script::with_reasons(8.0, script);
    let limiter =
        AdaptiveLimiter::builder().controller(controller).clock(time.clock()).build().unwrap();
    let mut before = take(&limiter, 6);
    time.advance(SECOND);
    before.pop().unwrap().success();
    before.pop().unwrap().success();
    assert_eq!(limiter.limit(), 2.0);
    time.advance(SECOND);
    before.into_iter().for_each(AdaptiveLimiterPermit::success);
    assert_eq!(seen.lock().unwrap().len(), 1, "too few calls since the probe began");
    for _ in 0..2 {
        let permit = limiter.try_acquire().unwrap();
        time.advance(Duration::from_millis(10));
        permit.success();
    }
    let window = seen.lock().unwrap()[1];
    assert_eq!(window.succeeded, 2);
    assert!(window.mean < Duration::from_millis(11), "{window:?}");
}

#[test]
fn the_overload_signal_reaches_the_controller() {
    let time = ManualClock::new();
    let (controller, seen) = Script::new(4.0, &[]);
    let limiter = AdaptiveLimiter::builder()
        .controller(controller)
        .clock(time.clock())
        .overload_signal(|| true)
        .build()
        .unwrap();
    time.advance(SECOND);
    take(&limiter, 2).into_iter().for_each(AdaptiveLimiterPermit::success);
    assert!(seen.lock().unwrap()[0].overloaded);
}

#[test]
fn changes_and_rejections_are_reported_in_order() {
    let time = ManualClock::new();
    let (controller, _) = Script::new(2.0, &[5.0, 5.5, 1.0]);
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let limiter = AdaptiveLimiter::builder()
        .controller(controller)
        .clock(time.clock())
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    let _permits = take(&limiter, 2);
    assert!(limiter.try_acquire().is_err());
    drop(_permits);
    for _ in 0..3 {
        time.advance(SECOND);
        for _ in 0..2 {
            limiter.try_acquire().unwrap().success();
        }
    }
    assert_eq!(
        *events.lock().unwrap(),
        [
            "adaptive_limiter rejected #1 reason=concurrency limited limit=2",
            "adaptive_limiter limit_changed #1 from=2 limit=5 reason=growth",
            // A limit of 5.5 admits five calls, so it is no change.
            "adaptive_limiter limit_changed #2 from=5 limit=1 reason=growth",
        ]
    );
}

#[test]
fn a_new_controller_takes_over_the_learned_limit() {
    let limiter = AdaptiveLimiter::builder()
        .learned(LearnedLimit { limit: 37.0, baseline: Some(Duration::from_millis(20)) })
        .build()
        .unwrap();
    assert_eq!(limiter.limit(), 37.0);
    limiter.reconfigure(BaselineController::new().max_limit(50.0)).unwrap();
    assert_eq!(limiter.limit(), 37.0);
    assert_eq!(limiter.learned().baseline, Some(Duration::from_millis(20)));
    assert_eq!(limiter.snapshot().reason, LimitReason::Set);
    limiter.reconfigure(AimdController::new().max_limit(30.0)).unwrap();
    assert_eq!(limiter.limit(), 30.0);
    let error = limiter.reconfigure(AimdController::new().initial_limit(1e9)).unwrap_err();
    assert_eq!(error.field(), "initial_limit");
    assert_eq!(limiter.limit(), 30.0);
    assert_eq!(take(&limiter, 30).len(), 30);
}

// As a policy

#[test]
fn a_pipeline_records_successes_and_timeouts() {
    let time = ManualClock::new();
    let (controller, seen) = Script::new(4.0, &[]);
    let limiter =
        AdaptiveLimiter::builder().controller(controller).clock(time.clock()).build().unwrap();
    let pipeline = Pipeline::builder().adaptive_limit(&limiter).build();
    time.advance(SECOND);
    let results: [Result<u8, Error<&str>>; 4] = [
        pipeline.call_blocking(|| Ok(1)),
        pipeline.call_blocking(|| Err("no such row")),
        futures::executor::block_on(pipeline.call(|| async { Ok(2) })),
        Ok(0),
    ];
    assert_eq!(results[..3], [Ok(1), Err(Error::Operation("no such row")), Ok(2)]);
    let window = seen.lock().unwrap()[0];
    assert_eq!((window.succeeded, window.dropped), (2, 0), "an operation error is no overload");
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn a_classifier_decides_which_results_are_overload() {
    let time = ManualClock::new();
    let (controller, seen) = Script::new(4.0, &[]);
    let limiter =
        AdaptiveLimiter::builder().controller(controller).clock(time.clock()).build().unwrap();
    let by_status = limiter.classified_by(|result: &Result<u16, Error<()>>| match result {
        Ok(503) => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignore,
    });
    let pipeline = Pipeline::builder().adaptive_limit(&by_status).build();
    time.advance(SECOND);
    for status in [200, 503] {
        assert_eq!(pipeline.call_blocking(|| Ok(status)), Ok(status));
    }
    let window = seen.lock().unwrap()[0];
    assert_eq!((window.succeeded, window.dropped), (1, 1));
}

fn record_owned<G: OwnedGuard<(), ()>>(
    _: &G,
    permit: G::OwnedPermit,
    result: &Result<(), Error<()>>,
) {
    G::record_owned(permit, result);
}

#[test]
fn a_call_waits_no_longer_than_its_own_deadline() {
    let time = ManualClock::new();
    let limiter = fixed(1.0).max_wait(10 * SECOND).clock(time.clock()).build().unwrap();
    let view = limiter.classified_by(|_: &Result<(), Error<()>>| Outcome::Success);
    let cx = Context::new().on(&time.clock());
    let cx = cx.with_deadline(Deadline::after(cx.now(), SECOND));
    let permit = limiter.try_acquire().unwrap();
    let Admission::Waiting(wait) = OwnedGuard::<(), ()>::admit_owned(&view, cx) else {
        panic!("expected a waiter: the limit is reached")
    };
    let mut wait = Box::pin(wait);
    assert!(poll(&mut wait).is_pending());
    time.advance(SECOND);
    let Poll::Ready(Err(rejection)) = poll(&mut wait) else { panic!("the deadline has passed") };
    assert_eq!(rejection.reason(), Reason::QueueTimeout);
    drop(permit);
    let Admission::Waiting(wait) = OwnedGuard::<(), ()>::admit_owned(&view, cx) else {
        panic!("expected a waiter")
    };
    let permit = futures::executor::block_on(wait).unwrap();
    record_owned(&view, permit, &Ok(()));
    assert_eq!(limiter.in_flight(), 0);
}

#[test]
fn permits_are_small() {
    assert!(size_of::<AdaptiveLimiterPermit<'_>>() <= 32);
}
