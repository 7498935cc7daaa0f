//! Calls with a deadline, and the guard that rejects calls that cannot meet their deadline.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::deadline::DeadlineGuard;
use mainstay::error::{Error, Reason};
use mainstay::pipeline::Pipeline;
use mainstay::retry::Retry;
use mainstay::time::{Deadline, ManualClock};
use mainstay::timeout::Timeout;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn is_exceeded<T, E>(result: &Result<T, Error<E>>) -> bool {
    matches!(result, Err(Error::Rejected(error)) if error.reason() == Reason::DeadlineExceeded)
}

#[test]
fn an_operation_receives_the_deadline_and_is_dropped_when_it_passes() {
    let time = ManualClock::new();
    let clock = time.clock();
    let pipeline = Pipeline::builder().timeout(10 * SECOND).build();
    let deadline = Deadline::after(clock.now(), 2 * SECOND);
    let limited = pipeline.with_deadline(deadline, &clock);
    let remaining = time.drive(limited.call_with(|cx| ready(Ok::<_, ()>(cx.remaining()))));
    assert_eq!(remaining.unwrap().unwrap().as_secs_f64().round(), 2.0);

    let result = time.drive(limited.call_once(pending::<Result<(), ()>>));
    assert!(matches!(result, Err(Error::Timeout(_))));
    assert_eq!(deadline.remaining(time.now()), Some(Duration::ZERO));

    let started = AtomicU32::new(0);
    let count = || Ok::<_, ()>(started.fetch_add(1, SeqCst));
    assert!(is_exceeded(&limited.call_blocking(count)));
    assert!(is_exceeded(&limited.call_once_blocking(count)));
    assert!(is_exceeded(&time.drive(limited.call(|| ready(count())))));
    assert!(is_exceeded(&time.drive(limited.call_once(|| ready(count())))));
    assert_eq!(started.load(SeqCst), 0);
}

#[test]
fn a_call_without_a_deadline_is_not_limited() {
    let time = ManualClock::new();
    let pipeline = Pipeline::builder().build();
    let limited = pipeline.with_deadline(Deadline::NEVER, &time.clock());
    let remaining = limited.call_with_blocking(|cx| Ok::<_, ()>(cx.remaining()));
    assert_eq!(remaining, Ok(None));
}

#[test]
fn a_retry_starts_no_attempt_after_the_deadline() {
    let time = ManualClock::new();
    let clock = time.clock();
    let retry = Retry::builder()
        .clock(clock.clone())
        .backoff(Backoff::constant(SECOND))
        .max_attempts(10)
        .build()
        .unwrap();
    let pipeline = Pipeline::builder().retry(retry).build();
    let attempts = AtomicU32::new(0);
    let deadline = Deadline::after(clock.now(), 3 * SECOND - SECOND / 2);
    let result = time.drive(pipeline.with_deadline(deadline, &clock).call(|| {
        attempts.fetch_add(1, SeqCst);
        ready(Err::<(), _>("down"))
    }));
    assert_eq!(result, Err(Error::Operation("down")));
    assert_eq!(attempts.load(SeqCst), 3, "at 0, 1 and 2 s");
    assert_eq!(Deadline::NEVER.remaining(time.now()), None);
}

#[test]
fn the_guard_rejects_calls_that_cannot_meet_their_deadline() {
    let time = ManualClock::new();
    let clock = time.clock();
    let builder = DeadlineGuard::builder().clock(clock.clone()).min_remaining(SECOND);
    let (guard, shadow) = (builder.clone().build().unwrap(), builder.shadow().build().unwrap());
    //     time left, rejected
    for (left, rejected) in [(3 * SECOND, false), (SECOND, false), (SECOND / 2, true)] {
        let deadline = Deadline::after(time.now(), left);
        let run = |guard: &DeadlineGuard| {
            let pipeline = Pipeline::builder().guard(guard).build();
            let limited = pipeline.with_deadline(deadline, &clock);
            let blocking = limited.call_blocking(|| Ok::<_, ()>(1));
            assert_eq!(time.drive(limited.call(|| ready(Ok::<_, ()>(1)))), blocking);
            blocking
        };
        assert_eq!(is_exceeded(&run(&guard)), rejected);
        assert_eq!(run(&shadow), Ok(1));
        assert_eq!(guard.try_acquire(deadline).is_err(), rejected);
    }
    assert!(guard.try_acquire(Deadline::at(time.now())).is_err());
    assert!(guard.try_acquire(Deadline::NEVER).is_ok());
    assert_eq!((guard.snapshot().too_short, guard.snapshot().expired), (3, 1));
    assert_eq!((shadow.snapshot().too_short, shadow.snapshot().expired), (2, 0));
}

#[test]
fn a_boxed_pipeline_takes_a_deadline_for_one_call() {
    let time = ManualClock::new();
    let clock = time.clock();
    let pipeline = Pipeline::builder().timeout(Timeout::new(9 * SECOND).clock(clock.clone()));
    let pipeline = pipeline.build().boxed::<Option<Duration>, ()>();
    let limited = pipeline.with_deadline(Deadline::after(clock.now(), 2 * SECOND), &clock);
    let remaining = time.drive(limited.call_with(|cx| ready(Ok(cx.remaining()))));
    assert_eq!(remaining, Ok(Some(2 * SECOND)));
    assert_eq!(limited.call_with_blocking(|cx| Ok(cx.remaining())), Ok(Some(2 * SECOND)));
    let hangs = time.drive(limited.call(pending));
    assert!(matches!(hangs, Err(Error::Timeout(_))));
    assert!(is_exceeded(&time.drive(limited.call(|| ready(Ok(None))))));
    // The pipeline itself has no deadline.
    let remaining = time.drive(pipeline.call_with(|cx| ready(Ok(cx.remaining()))));
    assert_eq!(remaining, Ok(Some(9 * SECOND)));
    assert_eq!(limited.facts().len(), 1);
}

#[test]
fn the_guard_rejects_at_most_a_share_of_the_calls_of_ten_seconds() {
    let time = ManualClock::new();
    let builder = DeadlineGuard::builder().clock(time.clock()).max_rejection_rate(0.25);
    let guard = builder.clone().name("search").build().unwrap();
    let passed = || guard.try_acquire(Deadline::at(time.now())).is_err();
    // Calls without a deadline do not count.
    (0..9).for_each(|_| guard.try_acquire(Deadline::NEVER).unwrap());
    let rejected = [(); 8].map(|()| passed());
    assert_eq!(rejected, [false, false, false, true, false, false, false, true]);
    assert_eq!((guard.snapshot().expired, guard.snapshot().exempted), (8, 6));
    time.advance(10 * SECOND);
    assert_eq!([(); 4].map(|()| passed()), [false, false, false, true]);
    assert_eq!(guard.name(), "search");
    let shown = format!("{guard:?}");
    assert!(shown.contains("\"search\"") && shown.contains("exempted: 9"), "{shown}");
    for share in [-0.1, 1.1, f64::NAN] {
        let error = builder.clone().max_rejection_rate(share).build().unwrap_err();
        assert_eq!(error.field(), "max_rejection_rate");
    }
}

#[test]
fn an_attempt_ends_a_margin_before_the_deadline_of_the_call() {
    let time = ManualClock::new();
    let clock = time.clock();
    let attempt = Timeout::new(2 * SECOND).clock(clock.clone()).deadline_margin(SECOND / 2);
    let pipeline = Pipeline::builder().timeout(attempt).build();
    //     the time until the deadline, the limit of the attempt
    for (left, limit) in [
        (9 * SECOND, 2 * SECOND),
        (5 * SECOND / 2, 2 * SECOND),
        (2 * SECOND, 3 * SECOND / 2),
        (SECOND, SECOND / 2),
        (SECOND / 2, Duration::ZERO),
        (SECOND / 4, Duration::ZERO),
    ] {
        let start = time.now();
        let limited = pipeline.with_deadline(Deadline::after(start, left), &clock);
        let remaining = limited.call_with_blocking(|cx| Ok::<_, ()>(cx.remaining()));
        assert_eq!(remaining, Ok(Some(limit)), "{left:?}");
        let result = time.drive(limited.call(pending::<Result<(), ()>>));
        assert_eq!(result, Err(mainstay::TimedOut::new("timeout", 2 * SECOND).into()));
        assert_eq!(time.now() - start, limit);
    }
    // Without a deadline, the attempt has its own limit.
    assert_eq!(pipeline.call_with_blocking(|cx| Ok::<_, ()>(cx.remaining())), Ok(Some(2 * SECOND)));
}
