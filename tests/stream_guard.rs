//! Permits that are held until the stream that the operation returned has ended.
#![cfg(not(mainstay_loom))]

use futures::{Stream, StreamExt, stream};
use mainstay::breaker::{
    CircuitBreaker, CircuitBreakerPermit, CircuitBreakerState, KeyedCircuitBreaker,
    OwnedCircuitBreakerPermit,
};
use mainstay::concurrency::{AdaptiveLimiter, Bulkhead, Throttle};
use mainstay::error::Error;
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, OwnedGuard, PermitStream, StreamGuard, StreamPermits};
use mainstay::retry::Retry;
use mainstay::time::ManualClock;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

type Items = Pin<Box<dyn Stream<Item = Result<u32, &'static str>> + Send>>;
type Body = PermitStream<Items>;

fn body(items: impl IntoIterator<Item = Result<u32, &'static str>>) -> Body {
    // Without a size hint, as the body of a response.
    let items: Vec<_> = items.into_iter().collect();
    let unsized_items = stream::iter(items).chain(stream::poll_fn(|_| Poll::Ready(None)));
    PermitStream::new(Box::pin(unsized_items))
}

fn permits(body: &Body) -> Option<&StreamPermits> {
    Some(body.permits())
}

fn next(body: &mut Body) -> Option<Result<u32, &'static str>> {
    match body.poll_next_unpin(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(item) => item,
        Poll::Pending => panic!("the stream waits"),
    }
}

/// The counts of successes and failures.
fn counts(breaker: &CircuitBreaker) -> (u64, u64) {
    let counts = breaker.snapshot().counts;
    (counts.total - counts.failed, counts.failed)
}

/// Makes a call in each form, and passes the body to `end`.
fn each_form(
    make: impl Fn() -> Result<Body, &'static str> + Send + Sync,
    end: impl Fn(Result<Body, Error<&'static str>>, &CircuitBreaker),
) {
    let time = ManualClock::new();
    for form in 0..4 {
        let breaker = CircuitBreaker::builder().clock(time.clock()).build().unwrap();
        let guard = StreamGuard::new(breaker.clone(), permits);
        let pipeline = Pipeline::builder().guard(guard).build();
        let result = match form {
            0 => time.drive(pipeline.call(|| ready(make()))),
            1 => pipeline.call_blocking(&make),
            2 => time.drive(pipeline.call_local(|| ready(make()))),
            _ => time.drive(pipeline.call_once(|| ready(make()))),
        };
        end(result, &breaker);
    }
}

#[test]
fn a_body_that_ends_is_a_success_recorded_at_its_end() {
    each_form(
        || Ok(body([Ok(1), Ok(2)])),
        |body, breaker| {
            let mut body = body.unwrap();
            assert_eq!((next(&mut body), counts(breaker)), (Some(Ok(1)), (0, 0)));
            assert_eq!((next(&mut body), counts(breaker)), (Some(Ok(2)), (0, 0)));
            assert!(!body.permits().is_empty());
            assert_eq!((next(&mut body), counts(breaker)), (None, (1, 0)));
            assert!(body.permits().is_empty());
            assert_eq!((next(&mut body), counts(breaker)), (None, (1, 0)));
        },
    );
}

#[test]
fn a_body_that_fails_is_a_failure() {
    each_form(
        || Ok(body([Ok(1), Err("connection lost"), Ok(3)])),
        |body, breaker| {
            let mut body = body.unwrap();
            assert_eq!((next(&mut body), counts(breaker)), (Some(Ok(1)), (0, 0)));
            assert_eq!(next(&mut body), Some(Err("connection lost")));
            assert_eq!(counts(breaker), (0, 1));
            assert_eq!((next(&mut body), next(&mut body)), (Some(Ok(3)), None));
            assert_eq!(counts(breaker), (0, 1), "the outcome is recorded once");
        },
    );
}

#[test]
fn a_body_that_is_dropped_records_nothing() {
    for polls in 0..3 {
        each_form(
            || Ok(body([Ok(1), Ok(2)])),
            |body, breaker| {
                let mut body = body.unwrap();
                (0..polls).for_each(|_| _ = next(&mut body));
                drop(body);
                assert_eq!(counts(breaker), (0, 0), "after {polls} polls");
            },
        );
    }
}

#[test]
fn an_error_of_the_operation_is_recorded_immediately() {
    each_form(
        || Err("down"),
        |result, breaker| {
            assert_eq!(result.unwrap_err(), Error::Operation("down"));
            assert_eq!(counts(breaker), (0, 1));
        },
    );
}

#[test]
fn a_result_without_permits_is_recorded_immediately() {
    let breaker = CircuitBreaker::new();
    let by_first = breaker.classified_by(|result: &Result<(u32, Body), Error<()>>| match result {
        Ok((500.., _)) => Outcome::Failure,
        _ => Outcome::Success,
    });
    let guard = StreamGuard::new(by_first, |(status, body): &(u32, Body)| {
        (*status < 500).then(|| body.permits())
    });
    let pipeline = Pipeline::builder().guard(guard).build();
    let call = |status| pipeline.call_blocking(|| Ok::<_, ()>((status, body([])))).unwrap();
    let mut success = call(200);
    assert_eq!(counts(&breaker), (0, 0));
    let _failure = call(500);
    assert_eq!(counts(&breaker), (0, 1));
    assert_eq!((next(&mut success.1), counts(&breaker)), (None, (1, 1)));
}

#[test]
fn a_consumer_may_stop_at_the_item_that_is_known_to_be_the_last() {
    let breaker = CircuitBreaker::new();
    let mut rows = PermitStream::new(stream::iter([Ok::<_, ()>(1), Ok(2)]));
    assert_eq!(rows.size_hint(), (2, Some(2)));
    let permit = breaker.try_acquire_owned().unwrap();
    rows.permits().add(permit, OwnedCircuitBreakerPermit::record_outcome);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(rows.poll_next_unpin(&mut cx).is_ready());
    assert_eq!(counts(&breaker), (0, 0));
    assert!(rows.poll_next_unpin(&mut cx).is_ready());
    assert_eq!(counts(&breaker), (1, 0));
}

#[test]
fn a_half_open_breaker_is_probed_by_the_body() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .clock(time.clock())
        .half_open_concurrency(1)
        .half_open_calls(1)
        .build()
        .unwrap();
    while breaker.try_acquire().map(CircuitBreakerPermit::failure).is_ok() {}
    time.advance(Duration::from_secs(3600));
    let guard = StreamGuard::new(breaker.clone(), permits);
    let pipeline = Pipeline::builder().guard(guard).build();
    let mut probe = pipeline.call_blocking(|| Ok::<_, ()>(body([Ok(1)]))).unwrap();
    assert_eq!(breaker.snapshot().active_probes, 1);
    assert!(pipeline.call_blocking(|| Ok::<_, ()>(body([]))).unwrap_err().is_rejected());
    assert_eq!((next(&mut probe), next(&mut probe)), (Some(Ok(1)), None));
    assert_eq!(breaker.snapshot().state, CircuitBreakerState::Closed);
}

#[test]
fn every_guard_that_records_outcomes_records_that_of_the_body() {
    let time = ManualClock::new();
    let throttle = Throttle::builder().clock(time.clock()).build().unwrap();
    let limiter = AdaptiveLimiter::builder().clock(time.clock()).build().unwrap();
    let keyed = KeyedCircuitBreaker::<u8>::builder(CircuitBreaker::builder().clock(time.clock()));
    let keyed = keyed.build().unwrap();
    let bulkhead = Bulkhead::builder().max_concurrent(1).clock(time.clock()).build().unwrap();
    let by_result = CircuitBreaker::builder().clock(time.clock()).build().unwrap();
    let classified = by_result.classified_by(|_: &Result<Body, Error<()>>| Outcome::Ignore);
    let pipeline = Pipeline::builder()
        .guard(StreamGuard::new(mainstay::ClassifiedThrottle::from(&throttle), permits))
        .guard(StreamGuard::new(mainstay::ClassifiedAdaptiveLimiter::from(&limiter), permits))
        .guard(StreamGuard::new(keyed.key(&7), permits))
        .guard(StreamGuard::new(&classified, permits))
        .guard(StreamGuard::new(Arc::new(bulkhead.max_wait(Duration::from_secs(1))), permits))
        .build();
    let call = |items: [Result<u32, &'static str>; 1]| {
        time.drive(pipeline.call(|| ready(Ok::<_, ()>(body(items))))).unwrap()
    };
    let mut fails = call([Err("lost")]);
    assert_eq!((throttle.snapshot().requests, limiter.snapshot().in_flight), (0, 1));
    assert_eq!(next(&mut fails), Some(Err("lost")));
    assert_eq!((throttle.snapshot().requests, throttle.snapshot().accepts), (1, 0));
    assert_eq!((limiter.snapshot().in_flight, counts(&by_result)), (0, (0, 1)));
    let mut ends = call([Ok(1)]);
    assert!(bulkhead.try_acquire().is_err());
    assert_eq!((next(&mut ends), next(&mut ends)), (Some(Ok(1)), None));
    assert!(bulkhead.try_acquire().is_ok());
    assert_eq!((throttle.snapshot().requests, throttle.snapshot().accepts), (2, 1));
    assert_eq!(counts(&by_result), (1, 1));
    assert_eq!(keyed.breaker(&7).unwrap().snapshot().counts.total, 2);
}

#[test]
fn a_guard_that_waits_holds_its_permit_until_the_end() {
    let time = ManualClock::new();
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_queue(1).clock(time.clock());
    let bulkhead = bulkhead.build().unwrap();
    let waiting = bulkhead.max_wait(Duration::from_secs(1));
    let guard = StreamGuard::new(waiting, permits);
    let pipeline = Pipeline::builder().guard(guard).build();
    let mut first = pipeline.call_blocking(|| Ok::<_, ()>(body([]))).unwrap();
    for local in [false, true] {
        let mut call: Pin<Box<dyn Future<Output = Result<Body, Error<()>>>>> = match local {
            true => Box::pin(pipeline.call_local(|| ready(Ok(body([]))))),
            false => Box::pin(pipeline.call(|| ready(Ok(body([]))))),
        };
        let mut cx = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending());
        assert_eq!(next(&mut first), None);
        match call.as_mut().poll(&mut cx) {
            Poll::Ready(second) => first = second.unwrap(),
            Poll::Pending => panic!("the permit was not released"),
        }
        assert!(bulkhead.try_acquire().is_err());
    }
}

#[test]
fn a_retry_drops_the_bodies_of_earlier_attempts() {
    let bulkhead = Bulkhead::builder().max_concurrent(1).build().unwrap();
    let retry = Retry::builder().backoff(mainstay::Backoff::constant(Duration::ZERO));
    let attempts = AtomicU32::new(0);
    let pipeline = Pipeline::builder()
        .retry(retry.build().unwrap().when(|result: &Result<(u32, Body), Error<()>>| {
            result.as_ref().is_ok_and(|(status, _)| *status == 503)
        }))
        .guard(StreamGuard::new(bulkhead.clone(), |(_, body): &(u32, Body)| Some(body.permits())))
        .build();
    let result = pipeline.call_blocking(|| {
        let status = if attempts.fetch_add(1, SeqCst) < 2 { 503 } else { 200 };
        Ok((status, body([])))
    });
    let (status, held) = result.unwrap();
    assert_eq!((status, attempts.load(SeqCst)), (200, 3));
    assert!(bulkhead.try_acquire().is_err());
    drop(held);
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn a_panic_of_the_stream_or_while_recording_releases_all_permits() {
    let bulkhead = Bulkhead::builder().max_concurrent(3).build().unwrap();
    let add = |body: &Body| {
        for record in [false, true, false] {
            let permit = bulkhead.try_acquire_owned().unwrap();
            body.permits().add(permit, move |_, _| assert!(!record, "recording"));
        }
    };
    let mut ends = body([]);
    add(&ends);
    assert!(catch_unwind(AssertUnwindSafe(|| next(&mut ends))).is_err());
    assert_eq!(bulkhead.available(), 3);
    let mut panics: Body = PermitStream::new(Box::pin(stream::poll_fn(|_| panic!("stream"))));
    add(&panics);
    assert!(catch_unwind(AssertUnwindSafe(|| next(&mut panics))).is_err());
    assert_eq!(bulkhead.available(), 0, "held by the stream");
    drop(panics);
    assert_eq!(bulkhead.available(), 3);
}

#[test]
fn debug_shows_the_guard_and_the_number_of_permits() {
    let bulkhead = Bulkhead::builder().name("rows").build().unwrap();
    let guard = StreamGuard::new(bulkhead.clone(), permits);
    assert!(format!("{guard:?}").starts_with("StreamGuard { guard: Bulkhead"));
    assert!(format!("{:?}", guard.guard()).contains("rows"));
    let body = body([]);
    body.permits().add(bulkhead.try_acquire_owned().unwrap(), |_, _| {});
    assert_eq!(format!("{body:?}"), "PermitStream { permits: StreamPermits { len: 1 }, .. }");
    let held = Bulkhead::builder().max_concurrent(1).max_queue(1).build().unwrap();
    let _permit = held.try_acquire().unwrap();
    let guard = StreamGuard::new(held.max_wait(Duration::from_secs(1)), permits);
    match OwnedGuard::<Body, ()>::admit_owned(&guard, mainstay::policy::Context::new()) {
        Admission::Waiting(future) => {
            assert_eq!(format!("{future:?}"), "StreamAdmitFuture { .. }");
        }
        _ => panic!("the call does not wait"),
    }
}
