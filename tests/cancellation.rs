//! Futures dropped at every await point, and panics in every user closure: only completed outcomes
//! are recorded, and every permit is released.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::{Backoff, Jitter};
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState};
use mainstay::error::Error;
use mainstay::event::Event;
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::retry::{Retry, RetryDecision};
use mainstay::time::ManualClock;
use mainstay::timeout::Timeout;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A future that is pending the given number of times, and then returns `Ok`.
struct Steps(u32);

impl Future for Steps {
    type Output = Result<(), ()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0 == 0 {
            return Poll::Ready(Ok(()));
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Polls `future` up to `polls` times, drops it, and returns its result if it had completed.
fn poll_and_drop<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
    }
    None
}

/// Returns a half-open breaker that admits one probe at a time, and closes after three successes.
fn half_open(time: &ManualClock) -> CircuitBreaker {
    let breaker = CircuitBreaker::builder()
        .clock(time.clock())
        .count_window(10)
        .min_calls(2)
        .open_duration(Backoff::constant(SECOND))
        .half_open_concurrency(1)
        .half_open_calls(3)
        .build()
        .unwrap();
    for _ in 0..2 {
        breaker.try_acquire().unwrap().failure();
    }
    time.advance(SECOND);
    breaker
}

fn assert_released(breaker: &CircuitBreaker, outcomes: u64) {
    let snapshot = breaker.snapshot();
    assert_eq!(
        (snapshot.active_probes, snapshot.trial.total, snapshot.stale_outcomes),
        (0, outcomes, 0),
        "{snapshot:?}"
    );
}

#[test]
fn a_call_dropped_at_any_poll_records_nothing_and_releases_its_probe() {
    for polls in 0..=5 {
        let time = ManualClock::new();
        let breaker = half_open(&time);
        let ended = poll_and_drop(breaker.call(|| Steps(3)), polls).is_some();
        assert_eq!(ended, polls >= 4);
        assert_eq!(breaker.state() == CircuitBreakerState::HalfOpen, polls > 0);
        assert_released(&breaker, u64::from(ended));
    }
}

#[test]
fn a_pipeline_dropped_at_any_poll_records_nothing_and_releases_its_probe() {
    let time = ManualClock::new();
    let mut polls_to_end = None;
    for polls in 0..40 {
        let breaker = half_open(&time);
        let retry = Retry::builder()
            .clock(time.clock())
            .backoff(Backoff::constant(Duration::ZERO))
            .max_attempts(3)
            .build()
            .unwrap();
        let limit = Timeout::new(100 * SECOND).clock(time.clock());
        let pipeline = Pipeline::builder()
            .timeout(&limit)
            .retry(&retry)
            .breaker(&breaker)
            .timeout(&limit)
            .build();
        // The first attempt fails, the second succeeds; each is pending twice.
        let attempt = AtomicU32::new(0);
        let call = pipeline.call(|| async {
            let n = attempt.fetch_add(1, Ordering::Relaxed);
            Steps(2).await?;
            if n == 0 { Err(()) } else { Ok(()) }
        });
        let ended = poll_and_drop(call, polls);
        let snapshot = breaker.snapshot();
        assert_eq!(
            (snapshot.active_probes, snapshot.stale_outcomes),
            (0, 0),
            "{polls} polls: {snapshot:?}"
        );
        let finished = match ended {
            Some(result) => {
                assert_eq!(result, Ok(()));
                polls_to_end.get_or_insert(polls);
                2
            }
            None => u64::from(attempt.load(Ordering::Relaxed).saturating_sub(1)),
        };
        assert_eq!(snapshot.trial.total, finished, "{polls} polls");
    }
    assert_eq!(polls_to_end, Some(5), "every await point was visited");
}

#[test]
fn a_dropped_pipeline_disarms_its_timers() {
    let time = ManualClock::new();
    let limit = Timeout::new(SECOND).clock(time.clock());
    let pipeline = Pipeline::builder().timeout(&limit).timeout(&limit).build();
    poll_and_drop(pipeline.call(|| Steps(9)), 3);
    assert_eq!(time.next_deadline(), None);
}

fn panics<R>(f: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn a_panicking_operation_records_nothing_and_releases_its_probe() {
    let time = ManualClock::new();
    let breaker = half_open(&time);
    let pipeline = Pipeline::builder().breaker(&breaker).build();
    let run =
        futures::executor::block_on::<Box<dyn Future<Output = Result<(), Error<()>>> + Unpin>>;

    panics(|| breaker.call_blocking(|| -> Result<(), ()> { panic!("operation") }));
    assert_released(&breaker, 0);
    panics(|| {
        run(Box::new(breaker.call(|| -> std::future::Ready<Result<(), ()>> { panic!("before") })))
    });
    assert_released(&breaker, 0);
    panics(|| run(Box::new(Box::pin(breaker.call(|| async { panic!("inside") })))));
    assert_released(&breaker, 0);
    panics(|| run(Box::new(Box::pin(pipeline.call(|| async { panic!("inside") })))));
    assert_released(&breaker, 0);
    panics(|| pipeline.call_blocking(|| -> Result<(), ()> { panic!("operation") }));
    assert_released(&breaker, 0);
}

#[test]
fn a_panicking_classifier_records_nothing_and_releases_its_probe() {
    let time = ManualClock::new();
    let breaker = half_open(&time);
    let view =
        breaker.classified_by(|_: &Result<(), Error<()>>| -> Outcome { panic!("classifier") });
    panics(|| view.call_blocking(|| Ok(())));
    assert_released(&breaker, 0);
    panics(|| futures::executor::block_on(view.call(|| Steps(1))));
    assert_released(&breaker, 0);
}

#[test]
fn a_panicking_backoff_leaves_the_breaker_unchanged() {
    let time = ManualClock::new();
    let broken = Arc::new(AtomicBool::new(true));
    let wait = {
        let broken = broken.clone();
        Backoff::custom(
            move |_| if broken.load(Ordering::Relaxed) { panic!("wait") } else { SECOND },
        )
    };
    let breaker = CircuitBreaker::builder()
        .clock(time.clock())
        .min_calls(2)
        .open_duration(wait)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    panics(|| breaker.try_acquire().unwrap().failure());
    assert_eq!(
        (breaker.state(), breaker.snapshot().counts.failed),
        (CircuitBreakerState::Closed, 2)
    );
    broken.store(false, Ordering::Relaxed);
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after(), Some(SECOND));

    // A probe whose failure would have opened the breaker still releases its slot.
    time.advance(SECOND);
    broken.store(true, Ordering::Relaxed);
    for outcome in 1..=3 {
        let probe = breaker.try_acquire().unwrap();
        match outcome {
            3 => panics(|| probe.failure()),
            _ => probe.failure(),
        }
    }
    assert_eq!(breaker.state(), CircuitBreakerState::HalfOpen);
}

#[test]
fn a_panicking_observer_changes_no_count() {
    let time = ManualClock::new();
    let events = Arc::new(AtomicU32::new(0));
    let observer = {
        let events = events.clone();
        move |_: &Event<'_>| {
            events.fetch_add(1, Ordering::Relaxed);
            panic!("observer");
        }
    };
    let breaker = CircuitBreaker::builder()
        .clock(time.clock())
        .min_calls(2)
        .open_duration(Backoff::constant(SECOND))
        .observer(observer)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().failure();
    panics(|| breaker.try_acquire().unwrap().failure());
    assert_eq!(breaker.state(), CircuitBreakerState::Open);
    time.advance(SECOND);
    panics(|| breaker.try_acquire().map(drop));
    assert_eq!(breaker.state(), CircuitBreakerState::HalfOpen);
    assert_released(&breaker, 0);
    assert_eq!(events.load(Ordering::Relaxed), 2, "each event once");
}

#[test]
fn panicking_retry_closures_unwind_and_leave_the_retry_usable() {
    let time = ManualClock::new();
    let retry = |backoff| Retry::builder().clock(time.clock()).backoff(backoff).build().unwrap();
    let policy = retry(Backoff::custom(|_| panic!("wait")).jitter(Jitter::None));
    panics(|| policy.call_blocking(|| Err::<(), ()>(())));
    assert_eq!(policy.call_blocking(|| Ok::<(), ()>(())), Ok(()));

    let policy = retry(Backoff::constant(Duration::ZERO));
    let view = policy.when(|result: &Result<u8, Error<()>>| match result {
        Ok(0) => panic!("decide"),
        _ => RetryDecision::Stop,
    });
    panics(|| view.call_blocking(|| Ok(0)));
    assert_eq!(view.call_blocking(|| Ok(1)), Ok(1));
}
