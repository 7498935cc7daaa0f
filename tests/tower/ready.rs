//! Readiness: the instance that is called, and the reservation that a ready instance holds.

use crate::support::*;
use mainstay::breaker::CircuitBreaker;
use mainstay::error::Error;
use mainstay::pipeline::Pipeline;
use mainstay::time::ManualClock;
use std::cell::Cell;
use std::future::ready;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tower::{Layer, Service, ServiceExt};

// Several middlewares have polled one instance and called its clone.
#[test]
fn the_instance_that_was_ready_is_the_one_that_is_called() {
    let time = ManualClock::new();
    let clock = time.clock();
    let breaker = CircuitBreaker::builder().clock(clock.clone()).build().unwrap();
    let gate = Gate::new(&clock);
    let guarded = Pipeline::builder().breaker(&breaker).build();
    let waiting = Pipeline::builder().guard(gate.clone()).timeout(limit(&clock, 9)).build();
    let repeated =
        Pipeline::builder().retry(retry(&clock, 3)).breaker(&breaker).guard(gate).build();
    for pending in 0..3 {
        let healthy = Strict::new(pending);
        assert_eq!(time.drive(guarded.layer(healthy.clone()).oneshot(1)), Ok(1));
        assert_eq!(time.drive(waiting.layer(healthy.clone()).oneshot(2)), Ok(2));
        assert_eq!(time.drive(repeated.layer(healthy.clone()).oneshot(3)), Ok(3));
        let failing = Strict::failing(pending);
        let result = time.drive(repeated.layer(failing.clone()).oneshot(4));
        assert_eq!(result, Err(Error::Operation("failed")));
        assert_eq!((healthy.reserved.get(), failing.reserved.get()), (0, 0));
    }
    // A service that is called repeatedly: the clone that takes its place must become ready again.
    let mut service = repeated.layer(Strict::failing(1));
    for _ in 0..3 {
        time.drive(async { service.ready().await.unwrap().call(5).await }).unwrap_err();
    }
}

#[test]
fn a_rejected_call_releases_the_reservation() {
    let time = ManualClock::new();
    let breaker = breaker(&time.clock());
    open(&breaker);
    let strict = Strict::new(0);
    let mut service =
        Pipeline::builder().timeout(SECOND).breaker(&breaker).build().layer(strict.clone());
    let mut task = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut task).is_ready());
    assert_eq!(strict.reserved.get(), 1);
    drop(service.call(1));
    assert_eq!(strict.reserved.get(), 0, "the service is kept, but not the reservation");
}

#[test]
fn a_further_attempt_waits_until_its_service_is_ready_or_returns_its_error() {
    /// Ready for the first call. Its clones are pending at the first poll, and fail at the second.
    struct FailingClone {
        original: bool,
        polls: Rc<Cell<u32>>,
    }
    impl Clone for FailingClone {
        fn clone(&self) -> Self {
            Self { original: false, polls: self.polls.clone() }
        }
    }
    impl Service<()> for FailingClone {
        type Response = ();
        type Error = &'static str;
        type Future = std::future::Ready<Result<(), &'static str>>;
        fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            if self.original {
                return Poll::Ready(Ok(()));
            }
            self.polls.set(self.polls.get() + 1);
            task.waker().wake_by_ref();
            if self.polls.get() == 1 { Poll::Pending } else { Poll::Ready(Err("not ready")) }
        }
        fn call(&mut self, (): ()) -> Self::Future {
            ready(Err("failed"))
        }
    }
    let time = ManualClock::new();
    let polls = Rc::new(Cell::new(0));
    let layer = Pipeline::builder().retry(retry(&time.clock(), 2)).build();
    let service = layer.layer(FailingClone { original: true, polls: polls.clone() });
    assert_eq!(time.drive(service.oneshot(())), Err(Error::Operation("not ready")));
    assert_eq!(polls.get(), 2);
}
