//! Layers: shared policies, returned errors, and requirements on services and requests.

use crate::support::*;
use mainstay::backoff::Backoff;
use mainstay::breaker::CircuitBreaker;
use mainstay::error::Error;
use mainstay::event::Event;
use mainstay::hedge::Hedge;
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::rate::{Quota, RateLimiter, RateLimiterGroup};
use mainstay::retry::Retry;
use mainstay::time::ManualClock;
use std::cell::Cell;
use std::future::{Future, pending, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};

// axum#2634: each connection had a limiter of its own.
#[test]
fn services_of_one_layer_and_their_clones_share_its_policies() {
    let time = ManualClock::new();
    let layer = Pipeline::builder().breaker(breaker(&time.clock())).build();
    let fail = service_fn(|(): ()| ready(Err::<(), _>("failed")));
    let (first, second) = (layer.layer(fail), layer.clone().layer(fail));
    // Each connection clones the service.
    assert_eq!(now(first.clone().oneshot(())), Err(Error::Operation("failed")));
    assert_eq!(now(first.clone().oneshot(())), Err(Error::Operation("failed")));
    for service in [first.clone(), first, second] {
        assert!(now(service.oneshot(())).unwrap_err().is_rejected());
    }
}

// axum#2634, for a rate limiter and for a group of limiters.
#[test]
fn services_of_one_layer_share_its_limiter() {
    let time = ManualClock::new();
    let limiter = || {
        let quota = Quota::per_second(1).burst(3);
        RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
    };
    let service = service_fn(|(): ()| ready(Ok::<_, ()>(())));
    let one = Pipeline::builder().rate_limit(limiter()).build();
    let all = Pipeline::builder().guard(RateLimiterGroup::new([&limiter(), &limiter()])).build();
    let served =
        |service: &dyn Fn() -> Result<(), Error<()>>| (0..9).filter(|_| service().is_ok()).count();
    let (first, second) = (one.layer(service), one.layer(service));
    assert_eq!(served(&|| now(first.clone().oneshot(()))), 3);
    assert_eq!(served(&|| now(second.clone().oneshot(()))), 0);
    let denied = now(second.oneshot(())).unwrap_err();
    assert_eq!(denied.retry_after(), Some(SECOND));
    let (first, second) = (all.layer(service), all.layer(service));
    assert_eq!(served(&|| now(first.clone().oneshot(()))), 3);
    assert_eq!(served(&|| now(second.clone().oneshot(()))), 0);
}

#[test]
fn calls_wait_for_a_limiter_in_order_and_hold_nothing_when_dropped() {
    let time = ManualClock::new();
    let rejections = Arc::new(AtomicU32::new(0));
    let observed = rejections.clone();
    let limiter = RateLimiter::builder(Quota::per_second(1))
        .clock(time.clock())
        .observer(move |_: &Event<'_>| {
            observed.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let layer = Pipeline::builder().rate_limit(limiter.max_wait(3 * SECOND)).build();
    let strict = Strict::new(0);
    let call = |n: u32| {
        let mut service = layer.layer(strict.clone());
        assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        Box::pin(service.call(n))
    };
    assert_eq!(now(call(0)), Ok(0));
    let [mut first, mut second, mut third, mut fourth] = [1, 2, 3, 4].map(call);
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(poll(waiting.as_mut()).is_pending());
    }
    // The fourth call would be admitted after four seconds, but may wait for three.
    assert!(matches!(poll(fourth.as_mut()), Poll::Ready(Err(Error::Rejected(_)))));
    drop(fourth);
    assert_eq!((limiter.snapshot().waiters, strict.reserved.get()), (3, 3));
    drop(second);
    assert_eq!((limiter.snapshot().waiters, strict.reserved.get()), (2, 2));
    time.advance(SECOND);
    assert_eq!((poll(third.as_mut()), poll(first.as_mut())), (Poll::Pending, Poll::Ready(Ok(1))));
    time.advance(SECOND);
    assert_eq!(poll(third.as_mut()), Poll::Ready(Ok(3)));
    assert_eq!((limiter.snapshot().waiters, strict.reserved.get()), (0, 0));
    assert_eq!(rejections.load(Ordering::Relaxed), 1, "a call that waits is not a rejection");
}

// An error of `poll_ready` means that the service has failed for good.
#[test]
fn rejections_are_returned_by_the_call() {
    let time = ManualClock::new();
    let breaker = breaker(&time.clock());
    open(&breaker);
    let called = Cell::new(0);
    let service = service_fn(|(): ()| {
        called.set(called.get() + 1);
        ready(Ok::<_, ()>(()))
    });
    let mut service = Pipeline::builder().breaker(&breaker).build().layer(service);
    let mut task = Context::from_waker(Waker::noop());
    assert_eq!(service.poll_ready(&mut task), Poll::Ready(Ok(())));
    assert!(now(service.call(())).unwrap_err().is_rejected());
    assert_eq!(called.get(), 0);
    time.advance(OPEN);
    assert_eq!(service.poll_ready(&mut task), Poll::Ready(Ok(())));
    assert_eq!(now(service.call(())), Ok(()));
    assert_eq!(called.get(), 1);
}

#[test]
fn services_requests_and_responses_need_not_be_send_or_static() {
    let time = ManualClock::new();
    let clock = time.clock();
    let word = String::from("mast");
    let borrowed: &str = &word;
    let service =
        service_fn(|request: Rc<str>| async move { Ok::<_, Rc<()>>(Rc::new((borrowed, request))) });
    let service = Pipeline::builder()
        .timeout(limit(&clock, 9))
        .retry(retry(&clock, 2))
        .breaker(breaker(&clock))
        .build()
        .layer(service);
    let answer = time.drive(service.oneshot(Rc::from("main"))).unwrap();
    assert_eq!((answer.0, &*answer.1), ("mast", "main"));
}

#[test]
fn futures_of_send_parts_are_send_and_can_be_named() {
    type Inner = tower::util::ServiceFn<fn(u32) -> std::future::Ready<Result<u32, ()>>>;
    fn spawnable<F: Future + Send + 'static>(future: F) -> F {
        future
    }
    fn named<S: Layer<Inner>>(layer: &S) -> <S::Service as Service<u32>>::Future
    where
        S::Service: Service<u32, Response = u32, Error = Error<()>> + Clone + Send + Sync,
    {
        let inner: Inner = service_fn(|n| ready(Ok(n)));
        layer.layer(inner).call(7)
    }
    let clock = ManualClock::new().clock();
    let layer =
        Pipeline::standard(limit(&clock, 9), retry(&clock, 2), breaker(&clock), limit(&clock, 2));
    assert_eq!(now(spawnable(named(&layer))), Ok(7));
}

/// `tests/pipeline.rs` has the same for futures.
#[test]
fn the_order_of_policies_means_the_same_as_around_a_future() {
    let time = ManualClock::new();
    let clock = time.clock();
    let attempts = Cell::new(0);
    let fail = service_fn(|(): ()| {
        attempts.set(attempts.get() + 1);
        ready(Err::<(), ()>(()))
    });

    let inside = breaker(&clock);
    let pipeline = Pipeline::builder().retry(retry(&clock, 9)).breaker(&inside).build();
    assert_eq!(time.drive(pipeline.layer(fail).oneshot(())), Err(Error::Operation(())));
    assert_eq!(attempts.replace(0), 2, "the breaker opens, and the retry stops");

    let outside = breaker(&clock);
    let pipeline = Pipeline::builder().breaker(&outside).retry(retry(&clock, 3)).build();
    assert_eq!(time.drive(pipeline.layer(fail).oneshot(())), Err(Error::Operation(())));
    assert_eq!((attempts.replace(0), outside.snapshot().counts.failed), (3, 1));

    // The retry receives the deadline: an attempt at 3 s would be too late.
    let start = time.now();
    let pipeline = Pipeline::builder().timeout(limit(&clock, 3)).retry(retry(&clock, 9)).build();
    assert_eq!(time.drive(pipeline.layer(fail).oneshot(())), Err(Error::Operation(())));
    assert_eq!((attempts.replace(0), time.now() - start), (3, 2 * SECOND));

    let hang = service_fn(|(): ()| pending::<Result<(), ()>>());
    let below = breaker(&clock);
    let pipeline = Pipeline::builder().breaker(&below).timeout(limit(&clock, 1)).build();
    assert!(time.drive(pipeline.layer(hang).oneshot(())).unwrap_err().is_timeout());
    assert_eq!(below.snapshot().counts.failed, 1);
    let above = breaker(&clock);
    let pipeline = Pipeline::builder().timeout(limit(&clock, 1)).breaker(&above).build();
    assert!(time.drive(pipeline.layer(hang).oneshot(())).unwrap_err().is_timeout());
    assert_eq!(above.snapshot().counts.total, 0);
}

#[test]
fn classifiers_receive_the_response() {
    let time = ManualClock::new();
    let verdict = |result: &Result<u16, Error<()>>| match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    };
    let breaker = breaker(&time.clock());
    let pipeline = Pipeline::builder()
        .retry(retry(&time.clock(), 2).classified_by(verdict))
        .breaker(breaker.classified_by(verdict))
        .build();
    let service = pipeline.layer(service_fn(|status: u16| ready(Ok::<_, ()>(status))));
    assert_eq!(time.drive(service.clone().oneshot(503)), Ok(503));
    assert_eq!(breaker.snapshot().counts.failed, 2);
    assert!(time.drive(service.oneshot(200)).unwrap_err().is_rejected());
}

#[test]
fn a_wait_for_admission_does_not_make_a_call_slow() {
    let time = ManualClock::new();
    let clock = time.clock();
    let slow =
        CircuitBreaker::builder().clock(clock.clone()).slow_calls(5 * SECOND, 1.0).build().unwrap();
    let gate = Gate::new(&clock);
    // The outer timeout has read the clock; after the wait, the breaker must not use that reading.
    let pipeline =
        Pipeline::builder().timeout(limit(&clock, 99)).guard(gate.clone()).breaker(&slow).build();
    let service = service_fn(|(): ()| async {
        assert_eq!(gate.permits(), 1);
        Ok::<_, ()>(())
    });
    time.drive(pipeline.layer(service).oneshot(())).unwrap();
    let counts = slow.snapshot().counts;
    assert_eq!((counts.total, counts.slow, gate.permits()), (1, 0, 0));
}

/// tower's own middleware changes the error type to `Box<dyn Error>`, inside and outside of a
/// pipeline.
#[tokio::test]
async fn a_retry_and_a_breaker_work_between_layers_that_box_their_errors() {
    use tower::{BoxError, ServiceBuilder};

    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let fail = service_fn(move |(): ()| {
        counted.fetch_add(1, Ordering::Relaxed);
        ready(Err::<(), _>(std::io::Error::other("no route")))
    });
    let time = ManualClock::new();
    let opens = CircuitBreaker::builder().clock(time.clock()).min_calls(2).build().unwrap();
    let retry = Retry::builder().max_attempts(2).backoff(Backoff::constant(Duration::ZERO));
    let pipeline = Pipeline::builder().retry(retry.build().unwrap()).breaker(&opens).build();
    let service = ServiceBuilder::new()
        .buffer(4)
        .load_shed()
        .timeout(60 * SECOND)
        .layer(pipeline)
        .buffer(4)
        .load_shed()
        .timeout(60 * SECOND)
        .service(fail);
    let error: BoxError = service.clone().oneshot(()).await.unwrap_err();
    let error = error.downcast::<Error<BoxError>>().unwrap();
    assert!(error.operation().unwrap().is::<std::io::Error>());
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let error: BoxError = service.oneshot(()).await.unwrap_err();
    assert!(error.downcast::<Error<BoxError>>().unwrap().is_rejected());
}

/// tower's hedge waits until both of its services are ready; here, the second attempt alone waits
/// for the readiness of its clone.
#[test]
fn each_attempt_of_a_hedge_calls_a_clone_of_the_service() {
    let time = ManualClock::new();
    let hedge = Hedge::builder().delay(Duration::from_millis(10)).clock(time.clock());
    let stack = Pipeline::builder().hedge(hedge.build().unwrap()).build();
    let calls = AtomicU32::new(0);
    let mut service = stack.layer(service_fn(|request: u32| {
        let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                pending::<()>().await;
            }
            Ok::<_, ()>(request)
        }
    }));
    assert_eq!(time.drive(service.call(7)), Ok(7));
    assert_eq!(calls.into_inner(), 2);
}
