//! Operations that are not `Send`, on runtimes with one thread.
#![cfg(not(mainstay_loom))]

use mainstay::backoff::Backoff;
use mainstay::breaker::CircuitBreaker;
use mainstay::concurrency::{AdaptiveLimiter, Bulkhead, Throttle};
use mainstay::deadline::DeadlineGuard;
use mainstay::error::{Error, Reason};
use mainstay::fallback::Fallback;
use mainstay::hedge::Hedge;
use mainstay::pipeline::{Pipeline, PipelineLocalLayer};
use mainstay::policy::PriorityClass;
use mainstay::rate::{Quota, RateLimiter};
use mainstay::retry::Retry;
use mainstay::time::{Clock, Deadline, ManualClock};
use mainstay::timeout::Timeout;
use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A result that is not `Send`.
type Answer = Result<Rc<u32>, Rc<str>>;

fn reason<T, E>(result: &Result<T, Error<E>>) -> Reason {
    match result {
        Err(Error::Rejected(rejection)) => rejection.reason(),
        _ => panic!("the call was not rejected"),
    }
}

/// All kinds of policy. The third attempt succeeds.
fn pipeline(clock: &Clock) -> Pipeline<impl PipelineLocalLayer<Rc<u32>, Rc<str>> + use<>> {
    let backoff = Backoff::constant(Duration::from_millis(1));
    let retry = Retry::builder().backoff(backoff).assume_idempotent().clock(clock.clone());
    let hedge = Hedge::builder().delay(60 * SECOND).clock(clock.clone());
    let waiting = Bulkhead::builder().max_concurrent(1).clock(clock.clone()).build().unwrap();
    Pipeline::builder()
        .fallback_to(
            Fallback::new()
                .operation(|_: Error<Rc<str>>, _| async { Ok::<_, Rc<str>>(Rc::new(0)) }),
        )
        .timeout(Timeout::new(60 * SECOND).clock(clock.clone()))
        .guard(DeadlineGuard::builder().clock(clock.clone()).build().unwrap())
        .retry(retry.build().unwrap())
        .hedge(hedge.build().unwrap())
        .breaker(CircuitBreaker::builder().clock(clock.clone()).build().unwrap())
        .adaptive_limit(AdaptiveLimiter::builder().clock(clock.clone()).build().unwrap())
        .throttle(Throttle::builder().clock(clock.clone()).build().unwrap())
        .rate_limit(RateLimiter::new(Quota::per_second(1000).burst(1000)).unwrap())
        .bulkhead(waiting.max_wait(SECOND))
        .timeout(Timeout::new(30 * SECOND).clock(clock.clone()))
        .build()
}

/// Fails twice, and holds an `Rc` across an await.
async fn operation(calls: Rc<Cell<u32>>) -> Answer {
    calls.set(calls.get() + 1);
    let mut polled = false;
    std::future::poll_fn(|cx| match std::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
    if calls.get() < 3 { Err(Rc::from("down")) } else { Ok(Rc::new(calls.get())) }
}

#[test]
fn a_local_set_of_tokio_runs_operations_that_are_not_send() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let answer = local.block_on(&runtime, async {
        let task = tokio::task::spawn_local(async {
            let (pipeline, calls) = (pipeline(&Clock::system()), Rc::new(Cell::new(0)));
            pipeline.call_local(|| operation(calls.clone())).await
        });
        task.await.unwrap().map(|value| *value).is_ok_and(|value| value == 3)
    });
    assert!(answer);
}

#[test]
fn a_local_pool_of_futures_runs_operations_that_are_not_send() {
    use futures::task::LocalSpawnExt;
    let mut pool = futures::executor::LocalPool::new();
    let done = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let done = done.clone();
        let task = async move {
            let (pipeline, calls) = (pipeline(&Clock::system()), Rc::new(Cell::new(0)));
            let result = pipeline.call_with_local(|cx| {
                assert!(cx.attempt() >= 1);
                operation(calls.clone())
            });
            let value = result.await.unwrap();
            done.set(done.get() + *value);
        };
        pool.spawner().spawn_local(task).unwrap();
    }
    pool.run();
    assert_eq!(done.get(), 9);
}

#[test]
fn the_policies_apply_as_in_other_calls() {
    let time = ManualClock::new();
    let clock = time.clock();
    let bulkhead = Bulkhead::builder().max_concurrent(1).clock(clock.clone()).build().unwrap();
    let breaker = CircuitBreaker::builder().clock(clock.clone()).build().unwrap();
    let pipeline = Pipeline::builder()
        .breaker(&breaker)
        .bulkhead(&bulkhead)
        .timeout(Timeout::new(SECOND).clock(clock.clone()))
        .build();
    let hangs = time.drive(pipeline.call_local(pending::<Result<Rc<()>, ()>>));
    assert!(matches!(hangs, Err(Error::Timeout(_))));
    assert_eq!(breaker.snapshot().counts.failed, 1);

    let held = bulkhead.try_acquire().unwrap();
    let full = time.drive(pipeline.call_local(|| async { Ok::<_, ()>(Rc::new(())) }));
    assert_eq!(reason(&full), Reason::ConcurrencyLimited);
    drop(held);

    // A dropped call releases its permits.
    {
        let mut call = pin!(pipeline.call_local(pending::<Result<Rc<()>, ()>>));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(bulkhead.try_acquire().is_err());
    }
    assert!(bulkhead.try_acquire().is_ok());
    // A call that is not polled acquires none.
    let call = pipeline.call_local(pending::<Result<Rc<()>, ()>>);
    assert!(bulkhead.try_acquire().is_ok());
    drop(call);
}

#[test]
fn a_call_can_have_a_deadline_and_a_caller() {
    let time = ManualClock::new();
    let clock = time.clock();
    let pipeline = Pipeline::builder().build();
    let limited = pipeline.with_deadline(Deadline::after(time.now(), SECOND), &clock);
    let remaining = time
        .drive(limited.call_with_local(|cx| async move { Ok::<_, ()>(Rc::new(cx.remaining())) }));
    assert_eq!(remaining, Ok(Rc::new(Some(SECOND))));
    let hangs = time.drive(limited.call_local(pending::<Result<Rc<()>, ()>>));
    assert!(matches!(hangs, Err(Error::Timeout(_))));
    let late = time.drive(limited.call_local(|| async { Ok::<_, ()>(Rc::new(())) }));
    assert_eq!(reason(&late), Reason::DeadlineExceeded);

    let low = pipeline.with_caller(PriorityClass::Low);
    let class = time.drive(
        low.call_with_local(|cx| async move { Ok::<_, ()>(Rc::new(cx.priority().class())) }),
    );
    assert_eq!(class, Ok(Rc::new(PriorityClass::Low)));
}
