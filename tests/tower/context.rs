//! The deadline, the priority and the attempt number of a call, passed through its request.

use crate::support::*;
use mainstay::deadline::DeadlineGuard;
use mainstay::error::{Error, Reason};
use mainstay::hedge::Hedge;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Context, Priority, PriorityClass};
use mainstay::time::{Deadline, ManualClock};
use mainstay::tower::ContextPropagator;
use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};

/// A request that carries a timeout and a priority in, and a context out.
#[derive(Clone, Default)]
struct Request {
    timeout: Option<Duration>,
    priority: Option<PriorityClass>,
    context: Option<Context>,
}

impl Request {
    fn within(seconds: u32) -> Self {
        Self { timeout: Some(seconds * SECOND), ..Self::default() }
    }
}

#[derive(Clone, Copy)]
struct Fields;

impl ContextPropagator<Request> for Fields {
    fn extract(&self, request: &Request, mut cx: Context) -> Context {
        if let Some(timeout) = request.timeout {
            cx = cx.with_deadline(Deadline::after(cx.now(), timeout));
        }
        match request.priority {
            Some(class) => cx.with_priority(class),
            None => cx,
        }
    }

    fn inject(&self, cx: Context, request: &mut Request) {
        request.context = Some(cx);
    }
}

#[test]
fn the_service_receives_the_context_of_each_attempt() {
    let time = ManualClock::new();
    let clock = time.clock();
    let seen = RefCell::new(Vec::new());
    let fails = service_fn(|request: Request| {
        let cx = request.context.unwrap();
        let remaining = cx.remaining().map(|left| left.as_secs());
        seen.borrow_mut().push((cx.attempt(), remaining, cx.priority()));
        ready(Err::<(), ()>(()))
    });
    let layer = Pipeline::builder().retry(retry(&clock, 3)).build();
    let service = layer.propagate_context(Fields, &clock).layer(fails);
    let request = Request { priority: Some(PriorityClass::High), ..Request::within(10) };
    assert_eq!(time.drive(service.clone().oneshot(request)), Err(Error::Operation(())));
    let high = Priority::from(PriorityClass::High);
    let expected = [(1, Some(10), high), (2, Some(9), high), (3, Some(8), high)];
    assert_eq!(*seen.borrow(), expected);

    seen.borrow_mut().clear();
    assert!(time.drive(service.oneshot(Request::default())).is_err());
    let medium = Context::new().priority();
    assert_eq!(*seen.borrow(), [(1, None, medium), (2, None, medium), (3, None, medium)]);
}

#[test]
fn each_attempt_of_a_hedge_can_go_to_another_host() {
    let time = ManualClock::new();
    let clock = time.clock();
    let hosts = service_fn(|request: Request| {
        let attempt = request.context.unwrap().attempt();
        let clock = &clock;
        async move {
            clock.sleep(if attempt == 1 { 60 * SECOND } else { SECOND }).await;
            Ok::<_, ()>(attempt)
        }
    });
    let hedge = Hedge::builder().delay(SECOND).clock(clock.clone()).build().unwrap();
    let pipeline = Pipeline::builder().hedge(&hedge).build();
    let service = pipeline.propagate_context(Fields, &clock).layer(hosts);
    let start = time.now();
    assert_eq!(time.drive(service.oneshot(Request::default())), Ok(2));
    assert_eq!(time.now() - start, 2 * SECOND);
}

#[test]
fn a_call_is_dropped_at_the_deadline_of_its_request() {
    let time = ManualClock::new();
    let clock = time.clock();
    let held = Rc::new(());
    let hangs = service_fn(|_: Request| {
        let held = held.clone();
        async move {
            let _held = held;
            pending::<Result<(), ()>>().await
        }
    });
    let pipeline = Pipeline::builder().breaker(breaker(&clock)).build();
    let service = pipeline.propagate_context(Fields, &clock).layer(hangs);
    let mut call = pin!(service.clone().oneshot(Request::within(2)));
    assert!(poll(call.as_mut()).is_pending());
    time.advance(2 * SECOND - Duration::from_nanos(1));
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(Rc::strong_count(&held), 2);
    time.advance(Duration::from_nanos(1));
    let Poll::Ready(Err(Error::Timeout(timed_out))) = poll(call.as_mut()) else { panic!() };
    assert_eq!((timed_out.policy(), timed_out.limit()), ("deadline", 2 * SECOND));
    assert_eq!(Rc::strong_count(&held), 1, "dropped although the future is kept");

    let mut forever = pin!(service.oneshot(Request::default()));
    assert!(poll(forever.as_mut()).is_pending());
    time.advance(1000 * SECOND);
    assert!(poll(forever.as_mut()).is_pending());
}

#[test]
fn a_call_whose_deadline_has_passed_is_rejected_and_releases_the_ready_service() {
    let time = ManualClock::new();
    let clock = time.clock();
    struct Late;
    impl ContextPropagator<u32> for Late {
        fn extract(&self, request: &u32, cx: Context) -> Context {
            cx.with_deadline(Deadline::after(cx.now(), *request * SECOND))
        }
        fn inject(&self, _: Context, _: &mut u32) {}
    }
    impl Clone for Late {
        fn clone(&self) -> Self {
            Self
        }
    }
    let strict = Strict::new(0);
    let reserved = strict.reserved.clone();
    let pipeline = Pipeline::builder().timeout(limit(&clock, 9)).build();
    let mut service = pipeline.propagate_context(Late, &clock).layer(strict);
    now(service.ready()).unwrap();
    assert_eq!(reserved.get(), 1);
    let rejected = service.call(0);
    assert_eq!(reserved.get(), 0);
    let Err(Error::Rejected(rejection)) = now(rejected) else { panic!() };
    assert_eq!(rejection.reason(), Reason::DeadlineExceeded);
    assert_eq!(now(now(service.ready()).unwrap().call(7)), Ok(7));
}

#[test]
fn policies_receive_the_deadline_of_the_request() {
    let time = ManualClock::new();
    let clock = time.clock();
    let guard = DeadlineGuard::builder().min_remaining(SECOND).clock(clock.clone());
    let guard = guard.build().unwrap();
    let calls = Cell::new(0);
    let count = service_fn(|_: Request| {
        calls.set(calls.get() + 1);
        ready(Ok::<_, ()>(()))
    });
    let pipeline = Pipeline::builder().guard(guard).build();
    let service = pipeline.propagate_context(Fields, &clock).layer(count);
    let call = |seconds: f64| {
        let timeout = Some(Duration::from_secs_f64(seconds));
        time.drive(service.clone().oneshot(Request { timeout, ..Request::default() }))
    };
    assert_eq!(call(1.5), Ok(()));
    let Err(Error::Rejected(rejection)) = call(0.5) else { panic!() };
    assert_eq!(rejection.reason(), Reason::DeadlineExceeded);
    assert_eq!(calls.get(), 1);
}
