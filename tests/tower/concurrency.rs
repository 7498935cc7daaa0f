//! Bulkhead, partitions, prioritizer, throttle and chaos policies as Tower layers.

use crate::support::*;
use mainstay::chaos::{Chaos, Fault};
use mainstay::concurrency::{Bulkhead, PartitionedBulkhead, Prioritizer, Throttle};
use mainstay::error::{Error, Reason};
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Caller, Context, PriorityClass};
use mainstay::random::Random;
use mainstay::rate::{KeyedRateLimiter, Quota};
use mainstay::time::ManualClock;
use mainstay::tower::{ContextPropagator, guard_by};
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};

fn reason<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> Reason {
    match result {
        Err(Error::Rejected(rejection)) => rejection.reason(),
        other => panic!("not rejected: {other:?}"),
    }
}

/// Makes a service ready and calls it.
fn start<S: Service<u32>>(service: &mut S, request: u32) -> Pin<Box<S::Future>> {
    assert!(service.poll_ready(&mut Task::from_waker(Waker::noop())).is_ready());
    Box::pin(service.call(request))
}

#[test]
fn calls_wait_for_a_bulkhead_in_order_and_hold_nothing_when_dropped() {
    let time = ManualClock::new();
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_queue(3).clock(time.clock());
    let bulkhead = bulkhead.build().unwrap();
    let layer = Pipeline::builder().bulkhead(&bulkhead).build();
    let strict = Strict::new(0);
    // The services of all connections share the bulkhead.
    let call = |request: u32| start(&mut layer.layer(strict.clone()), request);
    let held = bulkhead.try_acquire().unwrap();
    let [mut first, mut second, mut third, mut fourth] = [1, 2, 3, 4].map(call);
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(poll(waiting.as_mut()).is_pending());
    }
    let Poll::Ready(full) = poll(fourth.as_mut()) else { panic!("the queue is full") };
    assert_eq!(reason(full), Reason::QueueFull);
    // The ended call has released the service that was ready.
    assert_eq!((bulkhead.snapshot().queued, strict.reserved.get()), (3, 3));
    drop(first);
    assert_eq!((bulkhead.snapshot().queued, strict.reserved.get()), (2, 2));
    drop(held);
    assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(2)));
    // The permit was released when the call completed, although its future exists.
    assert_eq!(poll(third.as_mut()), Poll::Ready(Ok(3)));
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.queued, strict.reserved.get()), (0, 0, 0));
}

#[test]
fn a_call_holds_its_permit_until_it_completes_or_is_dropped() {
    let bulkhead = Bulkhead::new(2).unwrap();
    let slow = service_fn(|polls: u32| Steps(polls, Some(Ok::<_, ()>(()))));
    let mut service = Pipeline::builder().bulkhead(&bulkhead).build().layer(slow);
    let [mut first, mut second, mut third] = [1, 9, 9].map(|polls| start(&mut service, polls));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    let Poll::Ready(full) = poll(third.as_mut()) else { panic!("two calls run") };
    assert_eq!(reason(full), Reason::ConcurrencyLimited);
    assert_eq!(bulkhead.in_flight(), 2);
    assert!(poll(first.as_mut()).is_ready());
    assert_eq!(bulkhead.in_flight(), 1);
    drop(second);
    assert_eq!(bulkhead.in_flight(), 0);
}

#[test]
fn partitions_of_one_bulkhead_limit_different_routes() {
    let bulkhead = PartitionedBulkhead::builder()
        .max_concurrent(2)
        .clock(ManualClock::new().clock())
        .partition("users", |users| users.min_concurrent(1))
        .partition("batch", |batch| batch)
        .build()
        .unwrap();
    let slow = service_fn(|polls: u32| Steps(polls, Some(Ok::<_, ()>(()))));
    let [mut users, mut batch] = ["users", "batch"].map(|name| {
        Pipeline::builder().guard(bulkhead.partition(name).unwrap()).build().layer(slow)
    });
    let mut borrowed = [start(&mut batch, 9), start(&mut batch, 9)];
    assert!(borrowed.iter_mut().all(|call| poll(call.as_mut()).is_pending()));
    let mut guaranteed = start(&mut users, 0);
    assert!(poll(guaranteed.as_mut()).is_pending());
    assert_eq!(reason(now(batch.clone().oneshot(0))), Reason::ConcurrencyLimited);
    drop(borrowed);
    assert!(poll(guaranteed.as_mut()).is_ready());
    assert_eq!(bulkhead.in_flight(), 0);
}

/// A request that carries its priority and its user.
#[derive(Clone, Copy, Default)]
struct Request {
    caller: Caller,
}

#[derive(Clone, Copy)]
struct Fields;

impl ContextPropagator<Request> for Fields {
    fn extract(&self, request: &Request, cx: Context) -> Context {
        cx.with_caller(request.caller)
    }

    fn inject(&self, _: Context, _: &mut Request) {}
}

#[test]
fn a_prioritizer_reads_the_caller_of_a_request_and_sees_rejections_below_it() {
    let time = ManualClock::new();
    let bulkhead = Bulkhead::builder().max_concurrent(1).clock(time.clock()).build().unwrap();
    let prioritizer = Prioritizer::builder()
        .limiter(bulkhead.clone())
        .clock(time.clock())
        .random(Random::seeded(1))
        .build()
        .unwrap();
    let pipeline = Pipeline::builder().prioritizer(&prioritizer).bulkhead(&bulkhead).build();
    let ok = service_fn(|_: Request| ready(Ok::<_, ()>(())));
    let service = pipeline.propagate_context(Fields, &time.clock()).layer(ok);
    let call = |class: PriorityClass, user: &str| {
        let caller = Caller::new(class).with_user(user);
        now(service.clone().oneshot(Request { caller }))
    };
    // For five seconds the limiter rejects all calls, so that none is completed.
    let held = bulkhead.try_acquire().unwrap();
    for turn in 0..500 {
        let class = if turn % 2 == 0 { PriorityClass::High } else { PriorityClass::Low };
        assert!(call(class, if turn % 4 < 2 { "a" } else { "b" }).is_err());
        time.advance(Duration::from_millis(10));
    }
    assert!(prioritizer.snapshot().rejection_rate > 0.9);
    drop(held);
    assert_eq!(reason(call(PriorityClass::Low, "a")), Reason::Shed);
    assert_eq!(call(PriorityClass::VeryHigh, "a"), Ok(()));
    let snapshot = prioritizer.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.users), (0, 2));
}

#[test]
fn a_throttle_rejects_calls_of_a_service_that_fails_and_recovers_with_it() {
    let time = ManualClock::new();
    let throttle = Throttle::builder()
        .clock(time.clock())
        .random(Random::seeded(1))
        .window_duration(10 * SECOND)
        .build()
        .unwrap();
    let service = service_fn(|works: bool| ready(if works { Ok(()) } else { Err("failed") }));
    // The services of all connections share the throttle.
    let layer = Pipeline::builder().throttle(&throttle).build();
    let call = |works| now(layer.layer(service).oneshot(works));
    let rejected = |works| {
        let results = (0..200).map(|_| {
            time.advance(Duration::from_millis(10));
            call(works)
        });
        results.filter(|result| matches!(result, Err(Error::Rejected(_)))).count()
    };
    assert_eq!(rejected(true), 0);
    // One window of failures, then three of successes.
    let failing: Vec<_> = (0..5).map(|_| rejected(false)).collect();
    assert!(failing[4] > 100, "{failing:?}");
    let working: Vec<_> = (0..15).map(|_| rejected(true)).collect();
    assert_eq!(working[14], 0, "{working:?}");
}

#[test]
fn futures_of_these_guards_are_send_and_borrow_nothing() {
    fn spawnable<F: Future + Send + 'static>(future: F) -> F {
        future
    }
    let bulkhead = Bulkhead::new(3).unwrap();
    let partitioned = PartitionedBulkhead::builder().partition("all", |all| all).build().unwrap();
    let layer = Pipeline::builder()
        .prioritizer(&Prioritizer::builder().limiter(bulkhead.clone()).build().unwrap())
        .throttle(Throttle::builder().build().unwrap())
        .bulkhead(&bulkhead)
        .guard(partitioned.partition("all").unwrap())
        .build();
    let mut service = layer.layer(service_fn(|n: u32| ready(Ok::<_, ()>(n))));
    assert_eq!(now(spawnable(start(&mut service, 7))), Ok(7));
}

/// A request that cannot be cloned, such as one with a streaming body.
struct Body(u32);

#[test]
fn a_chaos_policy_delays_and_rejects_requests_that_cannot_be_cloned() {
    let time = ManualClock::new();
    let chaos = Chaos::builder()
        .clock(time.clock())
        .fault(Fault::latency(SECOND))
        .step(10 * SECOND, [])
        .step(10 * SECOND, [Fault::rejection()])
        .build()
        .unwrap();
    let echo = service_fn(|Body(number)| ready(Ok::<_, ()>(number)));
    let service = Pipeline::builder().chaos(&chaos).build().layer(echo);
    let call = |number| time.drive(service.clone().oneshot(Body(number)));
    assert_eq!(call(1), Ok(1));
    chaos.switch().turn_on_for(60 * SECOND).unwrap();
    let start = time.now();
    assert_eq!(call(2), Ok(2));
    assert_eq!(time.now() - start, SECOND);
    time.advance(10 * SECOND);
    assert_eq!(reason(call(3)), Reason::Injected);
    assert_eq!(time.now() - start, 12 * SECOND);
}

#[test]
fn a_chaos_policy_answers_in_place_of_a_service() {
    let time = ManualClock::new();
    let chaos = Chaos::builder()
        .clock(time.clock())
        .fault(Fault::latency(SECOND))
        .fault(Fault::error().key_share(0.5))
        .build()
        .unwrap();
    let echo = service_fn(|request: Request| ready(Ok::<_, ()>(request.caller.user().is_some())));
    let pipeline = Pipeline::builder().chaos_with(chaos.results(|_| Ok(false))).build();
    let service = pipeline.propagate_context(Fields, &time.clock()).layer(echo);
    let call = |user: &str| {
        let caller = Caller::default().with_user(user);
        time.drive(service.clone().oneshot(Request { caller }))
    };
    assert_eq!(call("a"), Ok(true));
    chaos.switch().turn_on_for(3600 * SECOND).unwrap();
    let users: Vec<_> = (0..64).map(|user| user.to_string()).collect();
    let answered = users.iter().filter(|user| call(user) == Ok(false)).count();
    assert!((12..52).contains(&answered), "{answered}");
    assert_eq!(chaos.snapshot().latencies, 64);
}

#[test]
fn a_layer_selects_the_limit_of_a_key_by_the_request() {
    let time = ManualClock::new();
    let tenants = KeyedRateLimiter::<u32>::builder(Quota::per_second(1)).clock(time.clock());
    let tenants = tenants.build().unwrap();
    let select = |Body(tenant): &Body| tenants.key_owned(*tenant);
    let echo = service_fn(|Body(number)| ready(Ok::<_, ()>(number)));
    let service = guard_by(select).layer(echo);
    assert_eq!(now(service.clone().oneshot(Body(1))), Ok(1));
    assert_eq!(reason(now(service.clone().oneshot(Body(1)))), Reason::RateLimited);
    assert_eq!(now(service.clone().oneshot(Body(2))), Ok(2));

    let waits = |Body(tenant): &Body| tenants.key_owned(*tenant).max_wait(2 * SECOND);
    let strict = Strict::new(0);
    let mut service = guard_by(|tenant: &u32| waits(&Body(*tenant))).layer(strict.clone());
    let mut waiting = start(&mut service, 1);
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(strict.reserved.get(), 1);
    time.advance(SECOND);
    assert_eq!(poll(waiting.as_mut()), Poll::Ready(Ok(1)));
    let mut dropped = start(&mut service, 1);
    assert!(poll(dropped.as_mut()).is_pending());
    drop(dropped);
    assert_eq!(strict.reserved.get(), 0);
}
