//! The partitioned bulkhead: guarantees, borrowing, queues, live changes, cancellation, panics.
#![cfg(not(mainstay_loom))]

mod partitions_support;

use mainstay::concurrency::{LimitSource, PartitionedBulkhead};
use mainstay::error::{Error, Reason};
use mainstay::event::Event;
use mainstay::pipeline::{LintRule, Pipeline};
use mainstay::policy::{Context as CallContext, Guard, Policy};
use mainstay::time::{Clock, Deadline, Instant, ManualClock, TimeSource};
use partitions_support::{build, is_granted, poll, reason, settings, take};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn an_idle_bulkhead_is_available_to_one_partition_up_to_its_maximum() {
    let (bulkhead, [users, reports, batch]) = build(&ManualClock::new());
    let borrowed = take(&batch, 6);
    assert_eq!(reason(batch.try_acquire()), Reason::ConcurrencyLimited);
    let own = take(&users, 4);
    // Netflix concurrency-limits admits this call, because its partition is below its share.
    assert_eq!(reason(reports.try_acquire()), Reason::ConcurrencyLimited);
    assert_eq!((bulkhead.in_flight(), users.in_flight(), batch.in_flight()), (10, 4, 6));
    drop((borrowed, own));
    assert_eq!(take(&users, 10).len(), 10);
}

#[test]
fn a_partition_below_its_guarantee_receives_the_next_released_permit() {
    let (_, [users, reports, batch]) = build(&ManualClock::new());
    let mut borrowed = take(&batch, 6);
    let mut own = take(&users, 4);
    let mut borrower = Box::pin(batch.acquire());
    let mut fifth = Box::pin(users.acquire());
    let mut guaranteed = [Box::pin(reports.acquire()), Box::pin(reports.acquire())];
    for waiting in [&mut borrower, &mut fifth].into_iter().chain(&mut guaranteed) {
        assert!(!is_granted(waiting));
    }
    // `fifth` is the fifth call of users, so it is guaranteed. It arrived before those of reports.
    drop(borrowed.pop());
    assert!(is_granted(&mut fifth));
    // A release of users serves the guarantee of reports.
    drop(own.pop());
    assert!(is_granted(&mut guaranteed[0]) && !is_granted(&mut borrower));
    drop(own.pop());
    assert!(is_granted(&mut guaranteed[1]) && !is_granted(&mut borrower));
    drop(own.pop());
    assert!(is_granted(&mut borrower));
}

#[test]
fn beyond_the_guarantees_the_caller_that_arrived_first_is_served_first() {
    let (_, [users, reports, batch]) = build(&ManualClock::new());
    let mut own = take(&users, 8);
    let _reports = take(&reports, 2);
    let mut first = Box::pin(batch.acquire());
    let mut second = Box::pin(users.acquire());
    let mut third = Box::pin(batch.acquire());
    assert!([&mut first, &mut second, &mut third].into_iter().all(|wait| !is_granted(wait)));
    for (index, next) in [&mut first, &mut second, &mut third].into_iter().enumerate() {
        assert!(!is_granted(next), "{index}");
        drop(own.pop());
        assert!(is_granted(next), "{index}");
    }
}

#[test]
fn a_caller_whose_partition_is_at_its_maximum_does_not_block_others() {
    let (_, [users, _, batch]) = build(&ManualClock::new());
    let mut borrowed = take(&batch, 6);
    let mut at_maximum = Box::pin(batch.acquire());
    assert!(!is_granted(&mut at_maximum));
    // Permits are free, but the waiting caller may not use them.
    let own = take(&users, 4);
    drop(own);
    assert!(!is_granted(&mut at_maximum));
    drop(borrowed.pop());
    assert!(is_granted(&mut at_maximum));
}

#[test]
fn settings_out_of_range_are_rejected() {
    let one = |name: &'static str, min| {
        PartitionedBulkhead::builder()
            .max_concurrent(4)
            .partition(name, move |p| p.min_concurrent(min))
    };
    let many = (0..65).fold(PartitionedBulkhead::builder(), |builder, number| {
        builder.partition(number.to_string(), |one| one)
    });
    for (builder, message) in [
        (
            one("a", 3).partition("b", |b| b.min_concurrent(2)),
            "min_concurrent is 5; accepted: a sum of at most max_concurrent of the bulkhead",
        ),
        (
            one("a", 3).partition("b", |b| b.max_concurrent(5)),
            "max_concurrent is (\"b\", 5); accepted: from 1 and min_concurrent to max_concurrent \
             of the bulkhead",
        ),
        (
            one("a", 3).partition("b", |b| b.min_concurrent(1).max_concurrent(0)),
            "max_concurrent is (\"b\", 0); accepted: from 1 and min_concurrent to max_concurrent \
             of the bulkhead",
        ),
        (
            one("a", 1).partition("b", |b| b.min_concurrent(2).max_concurrent(1)),
            "max_concurrent is (\"b\", 1); accepted: from 1 and min_concurrent to max_concurrent \
             of the bulkhead",
        ),
        (
            one("a", 1).partition("b", |b| b.max_queue(1_000_001)),
            "max_queue is (\"b\", 1000001); accepted: 0 to 1000000",
        ),
        (
            one("a", 1).partition("b", |b| b.codel(5 * MS, 4 * MS)),
            "codel is (5ms, 4ms); accepted: a target above zero, and an interval from the target \
             to one hour",
        ),
        (one("a", 0).max_concurrent(0), "max_concurrent is 0; accepted: at least 1"),
        (one("a", 0).partition("a", |a| a), "partition is \"a\"; accepted: names that differ"),
        (PartitionedBulkhead::builder(), "partition is 0; accepted: 1 to 64 partitions"),
        (many, "partition is 65; accepted: 1 to 64 partitions"),
        (one("", 0), "name is \"\"; accepted: 1 to 128 bytes without control characters"),
    ] {
        assert_eq!(builder.build().unwrap_err().to_string(), message);
    }
    assert!(one("a", 4).build().is_ok());
    let longest = one("a", 1).partition("b", |b| b.max_queue(1_000_000)).build().unwrap();
    let shown = format!("{:?}", longest.partition("b").unwrap());
    assert_eq!(shown, r#"BulkheadPartition { name: "b", in_flight: 0, .. }"#);
}

#[test]
fn by_default_only_guaranteed_calls_wait() {
    let time = ManualClock::new();
    let bulkhead = PartitionedBulkhead::builder()
        .max_concurrent(2)
        .clock(time.clock())
        .partition("users", |users| users.min_concurrent(1))
        .partition("batch", |batch| batch)
        .build()
        .unwrap();
    let (users, batch) =
        (bulkhead.partition("users").unwrap(), bulkhead.partition("batch").unwrap());
    let mut borrowed = take(&batch, 2);
    assert_eq!(reason(batch.acquire_blocking()), Reason::ConcurrencyLimited);
    let mut guaranteed = Box::pin(users.acquire());
    assert!(!is_granted(&mut guaranteed));
    assert_eq!(reason(users.acquire_blocking()), Reason::QueueFull);
    drop(borrowed.pop());
    assert!(is_granted(&mut guaranteed));
    assert_eq!((users.snapshot().max_queue, batch.snapshot().max_queue), (1, 0));
}

#[test]
fn a_caller_waits_no_longer_than_allowed() {
    let time = ManualClock::new();
    let (_, [users, reports, batch]) = build(&time);
    let mut all = take(&users, 10);
    let mut default = Box::pin(batch.acquire());
    let mut short = Box::pin(batch.acquire_timeout(5 * MS));
    let cx = CallContext::new().on(&time.clock());
    let cx = cx.with_deadline(Deadline::after(cx.now(), 7 * MS));
    let mut deadline = Box::pin(Guard::<(), ()>::admit(&reports, cx));
    assert!(!is_granted(&mut default) && !is_granted(&mut short) && !is_granted(&mut deadline));
    time.advance(5 * MS);
    let Poll::Ready(Err(rejection)) = poll(&mut short) else { panic!("its wait has timed out") };
    assert_eq!(rejection.to_string(), "rejected by api/batch: waited too long");
    // A caller whose deadline has passed is not granted a permit that is released then.
    time.advance(2 * MS);
    drop(all.pop());
    let Poll::Ready(Err(rejection)) = poll(&mut deadline) else { panic!("its wait has timed out") };
    assert_eq!(rejection.reason(), Reason::QueueTimeout);
    assert!(is_granted(&mut default), "the permit goes to the next caller");
    // A call that is too late is rejected although a permit is free.
    drop(all);
    assert_eq!(
        reason(Guard::<(), ()>::admit_blocking(&reports, cx.after_waiting())),
        Reason::QueueTimeout
    );
    assert_eq!(reports.snapshot().rejected_timeout, 2);
    assert_eq!(batch.snapshot().rejected_timeout, 1);
}

#[test]
fn limits_change_while_calls_run_and_wait() {
    let time = ManualClock::new();
    let (bulkhead, [users, reports, batch]) = build(&time);
    let mut borrowed = take(&batch, 6);
    let own = take(&users, 4);
    let mut waiting = Box::pin(users.acquire());
    assert!(!is_granted(&mut waiting));
    // Lower: nothing is granted until enough calls have ended.
    let lower = PartitionedBulkhead::builder()
        .max_concurrent(8)
        .partition("batch", |batch| batch.max_concurrent(1))
        .partition("reports", |reports| reports)
        .partition("users", |users| users.min_concurrent(1).max_queue(9));
    bulkhead.reconfigure(&lower).unwrap();
    drop(borrowed.split_off(4));
    assert!(!is_granted(&mut waiting), "eight calls run");
    drop(borrowed.pop());
    assert!(is_granted(&mut waiting));
    assert_eq!(reason(batch.try_acquire()), Reason::ConcurrencyLimited);
    // Higher: the waiting callers are served.
    let mut waiting = Box::pin(users.acquire());
    assert!(!is_granted(&mut waiting));
    bulkhead.reconfigure(&settings(&time).max_concurrent(20)).unwrap();
    assert!(is_granted(&mut waiting));
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.max_concurrent, snapshot.in_flight), (20, 9));
    let names: Vec<_> = snapshot.partitions.iter().map(|partition| partition.name).collect();
    assert_eq!(names, ["users", "reports", "batch"]);
    assert_eq!((reports.snapshot().min_concurrent, reports.snapshot().max_concurrent), (2, 20));
    drop((own, borrowed));
}

#[test]
fn new_settings_must_have_the_same_partitions() {
    let time = ManualClock::new();
    let (bulkhead, [users, ..]) = build(&time);
    let before = bulkhead.snapshot();
    for changed in [
        settings(&time).max_concurrent(20).partition("more", |more| more),
        PartitionedBulkhead::builder().partition("users", |users| users.min_concurrent(1)),
        settings(&time).max_concurrent(0),
    ] {
        assert!(bulkhead.reconfigure(&changed).is_err());
    }
    assert_eq!(bulkhead.snapshot(), before);
    assert_eq!(bulkhead.partition("usres").unwrap_err().field(), "partition");
    assert_eq!(users.name(), "users");
}

#[test]
fn a_closed_bulkhead_rejects_new_and_waiting_callers() {
    let (bulkhead, [users, reports, batch]) = build(&ManualClock::new());
    let all = take(&users, 10);
    let mut waiting = [Box::pin(batch.acquire()), Box::pin(reports.acquire())];
    assert!(waiting.iter_mut().all(|wait| !is_granted(wait)));
    assert!(bulkhead.close() && !bulkhead.close() && bulkhead.is_closed());
    for wait in &mut waiting {
        let Poll::Ready(result) = poll(wait) else { panic!("rejected") };
        assert_eq!(reason(result), Reason::ShutDown);
    }
    drop(all);
    assert_eq!(reason(users.try_acquire()), Reason::ShutDown);
    assert_eq!(reason(batch.acquire_blocking()), Reason::ShutDown);
    assert_eq!(bulkhead.in_flight(), 0);
}

#[test]
fn rejections_and_new_settings_are_reported_with_the_partition() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let bulkhead = settings(&time)
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    let (batch, users) =
        (bulkhead.partition("batch").unwrap(), bulkhead.partition("users").unwrap());
    let _borrowed = take(&batch, 6);
    assert!(batch.try_acquire().is_err());
    let _own = take(&users, 4);
    assert!(users.try_acquire().is_err());
    bulkhead.reconfigure(&settings(&time).max_concurrent(9)).unwrap();
    assert_eq!(
        *events.lock().unwrap(),
        [
            "api/batch rejected #1 reason=concurrency limited limit=6 in_flight=6 queued=0",
            "api/users rejected #2 reason=concurrency limited limit=10 in_flight=4 queued=0",
            "api reconfigured #1 limit=9",
        ]
    );
    let snapshot = bulkhead.snapshot();
    let rejected: Vec<_> = snapshot.partitions.iter().map(|one| one.rejected_full).collect();
    assert_eq!(rejected, [1, 0, 1]);
}

#[test]
fn a_partition_can_be_a_guard_of_a_pipeline() {
    let time = ManualClock::new();
    let (bulkhead, [users, _, batch]) = build(&time);
    let pipeline = Pipeline::builder().guard(batch.clone()).build();
    let inside = || Ok::<_, ()>(batch.in_flight());
    assert_eq!(pipeline.call_blocking(inside), Ok(1));
    assert_eq!(futures::executor::block_on(pipeline.call(|| async { inside() })), Ok(1));
    assert_eq!(batch.call_blocking(|| Err::<(), _>("no")), Err(Error::Operation("no")));
    assert_eq!(futures::executor::block_on(users.call(|| async { Ok::<_, ()>(7) })), Ok(7));
    assert_eq!(bulkhead.in_flight(), 0);
    assert!(users.facts().limits_concurrency);
    assert_eq!(users.facts().max_queue_wait, Some(Duration::from_secs(1)));
    assert_ne!(users.facts().identity, batch.facts().identity);
    // The queue is longer than the time limit around it.
    let timed = Pipeline::builder().timeout(MS).guard(&users).build();
    assert_eq!(timed.check()[0].rule, LintRule::QueueExceedsTimeout);
    assert_eq!((LimitSource::limit(&bulkhead), LimitSource::in_flight(&bulkhead)), (10.0, 0));
}

#[test]
fn dropping_a_future_at_any_point_releases_what_it_holds() {
    for polls in 0..=3 {
        for granted in [false, true] {
            let (bulkhead, [users, _, batch]) = build(&ManualClock::new());
            let mut all = take(&users, 10);
            let mut waiting = Box::pin(batch.acquire_owned());
            for _ in 0..polls {
                let _ = poll(&mut waiting);
            }
            if granted {
                drop(all.pop());
            }
            drop(waiting);
            drop(all);
            let snapshot = bulkhead.snapshot();
            assert_eq!((snapshot.in_flight, snapshot.partitions[2].queued), (0, 0), "{polls}");
            assert_eq!(take(&batch, 6).len(), 6);
        }
    }
}

#[test]
fn the_permit_of_a_cancelled_caller_goes_to_the_next() {
    let (_, [users, reports, batch]) = build(&ManualClock::new());
    let mut all = take(&users, 10);
    let mut first = Box::pin(reports.acquire());
    let mut second = Box::pin(batch.acquire());
    assert!(!is_granted(&mut first) && !is_granted(&mut second));
    drop(all.pop());
    drop(first); // granted, but not polled again
    assert!(is_granted(&mut second));
}

#[test]
fn an_owned_permit_can_be_moved_to_another_thread() {
    let (bulkhead, [users, ..]) = build(&ManualClock::new());
    for permit in [
        users.try_acquire_owned(),
        users.acquire_owned_blocking(),
        futures::executor::block_on(users.acquire_owned()),
        futures::executor::block_on(users.acquire_owned_timeout(MS)),
        users.acquire_owned_blocking_timeout(MS),
    ] {
        let permit = permit.unwrap();
        std::thread::spawn(move || drop(permit)).join().unwrap();
    }
    drop(users.acquire_blocking_timeout(MS).unwrap());
    assert_eq!(bulkhead.in_flight(), 0);
}

/// A waker that panics.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("waker");
    }
}

#[test]
fn a_panic_of_a_waker_an_operation_or_an_observer_leaves_the_bulkhead_intact() {
    let time = ManualClock::new();
    let bulkhead = settings(&time).observer(|_: &Event<'_>| panic!("observer")).build().unwrap();
    let [users, batch] = ["users", "batch"].map(|name| bulkhead.partition(name).unwrap());
    let call = || users.call_blocking(|| -> Result<(), ()> { panic!("operation") });
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert_eq!(bulkhead.in_flight(), 0);

    let mut all = take(&users, 10);
    assert!(catch_unwind(AssertUnwindSafe(|| users.try_acquire().is_ok())).is_err(), "observer");
    let waker = Waker::from(Arc::new(Panics));
    let mut first = Box::pin(batch.acquire());
    let mut second = Box::pin(batch.acquire());
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(!is_granted(&mut second));
    let permit = all.pop();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(permit))).is_err(), "waker");
    assert!(is_granted(&mut first) && !is_granted(&mut second));
    drop((first, all));
    assert!(is_granted(&mut second));
}

#[test]
fn waiting_callers_are_served_although_the_clock_panics() {
    #[derive(Debug)]
    struct PanickingClock(Arc<AtomicBool>, ManualClock);
    impl TimeSource for PanickingClock {
        fn now(&self) -> Duration {
            assert!(!self.0.load(SeqCst), "clock");
            self.1.now() - Instant::ORIGIN
        }
        fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(self.1.clock().sleep(duration))
        }
    }
    let (time, panics) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
    let clock = Clock::custom(PanickingClock(Arc::clone(&panics), time.clone()));
    let bulkhead = settings(&time).clock(clock).build().unwrap();
    let [users, batch] = ["users", "batch"].map(|name| bulkhead.partition(name).unwrap());
    let mut all = take(&users, 10);
    let mut waiting = Box::pin(batch.acquire());
    assert!(!is_granted(&mut waiting));
    panics.store(true, SeqCst);
    let permit = all.pop();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(permit))).is_err());
    panics.store(false, SeqCst);
    assert!(is_granted(&mut waiting));
}
