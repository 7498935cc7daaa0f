//! The queues of a partitioned bulkhead: calls that cost several permits, order, shedding.
#![cfg(not(mainstay_loom))]

mod partitions_support;

use mainstay::concurrency::PartitionedBulkhead;
use mainstay::error::Reason;
use mainstay::policy::{Context as CallContext, Guard};
use mainstay::time::{Deadline, ManualClock};
use mainstay::wait::QueueOrder;
use partitions_support::{build, is_granted, poll, reason, settings, take};
use std::task::Poll;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_call_can_cost_several_permits() {
    let (bulkhead, [users, _, batch]) = build(&ManualClock::new());
    let two = batch.cost(2);
    let first = two.try_acquire().unwrap();
    assert_eq!((first.cost(), batch.in_flight(), bulkhead.in_flight()), (2, 2, 2));
    assert_eq!(reason(batch.cost(5).try_acquire()), Reason::ConcurrencyLimited);
    let rest = batch.cost(4).try_acquire_owned().unwrap();
    assert_eq!((rest.cost(), batch.in_flight()), (4, 6), "the maximum of the partition");
    assert_eq!(reason(batch.cost(7).acquire_blocking()), Reason::ConcurrencyLimited);
    assert_eq!(users.cost(4).try_acquire().unwrap().cost(), 4);
    drop((first, rest));
    assert_eq!(bulkhead.in_flight(), 0);
}

/// Without the reservation, calls that need one permit would starve those that need several.
#[test]
fn free_permits_are_reserved_for_the_next_call_that_needs_several() {
    let (_, [users, reports, batch]) = build(&ManualClock::new());
    let mut own = take(&users, 9);
    let mut large = Box::pin(batch.cost(3).acquire_owned());
    assert!(!is_granted(&mut large));
    assert_eq!(reason(users.try_acquire()), Reason::ConcurrencyLimited, "one permit is reserved");
    let guaranteed = reports.try_acquire().expect("within its guarantee");
    drop(own.pop());
    drop(own.pop());
    assert!(!is_granted(&mut large), "two permits are free");
    drop(own.pop());
    assert!(is_granted(&mut large));
    drop((own, guaranteed));
}

#[test]
fn a_waiter_that_leaves_no_longer_reserves_permits() {
    let (_, [users, _, batch]) = build(&ManualClock::new());
    let own = take(&users, 9);
    let mut large = Box::pin(batch.cost(3).acquire_owned());
    let mut small = Box::pin(users.acquire());
    assert!(!is_granted(&mut large) && !is_granted(&mut small));
    drop(large);
    assert!(is_granted(&mut small));
    drop(own);
}

#[test]
fn once_the_oldest_caller_has_waited_for_long_the_newest_of_the_partition_is_served_first() {
    let time = ManualClock::new();
    let (_, [users, _, batch]) = build(&time);
    let mut own = take(&users, 10);
    let mut callers: Vec<_> = (0..3).map(|_| Box::pin(batch.acquire())).collect();
    assert!(callers.iter_mut().all(|caller| !is_granted(caller)));
    time.advance(100 * MS);
    drop(own.pop());
    assert!(is_granted(&mut callers[0]), "the order changes only after `lifo_after`");
    assert_eq!(batch.snapshot().order, QueueOrder::Fifo);
    time.advance(MS);
    assert_eq!(batch.snapshot().order, QueueOrder::Lifo);
    drop(own.pop());
    assert!(is_granted(&mut callers[2]) && !is_granted(&mut callers[1]));
}

#[test]
fn a_standing_queue_of_a_partition_is_shed() {
    let time = ManualClock::new();
    let bulkhead = PartitionedBulkhead::builder()
        .max_concurrent(1)
        .clock(time.clock())
        .partition("batch", |batch| batch.max_queue(100).shed_standing_queue())
        .build()
        .unwrap();
    let batch = bulkhead.partition("batch").unwrap();
    let mut running = Some(batch.try_acquire_owned().unwrap());
    let mut waiting: Vec<_> = (0..40).map(|_| Box::pin(batch.acquire_owned())).collect();
    assert!(waiting.iter_mut().all(|wait| poll(wait).is_pending()));
    let (mut granted, mut shed) = (0, 0);
    for _ in 0..20 {
        time.advance(20 * MS);
        drop(running.take());
        waiting.retain_mut(|wait| {
            match poll(wait) {
                Poll::Pending => return true,
                Poll::Ready(Ok(permit)) => {
                    granted += 1;
                    running = Some(permit);
                }
                Poll::Ready(Err(rejection)) => {
                    assert_eq!(rejection.reason(), Reason::Shed);
                    shed += 1;
                }
            }
            false
        });
    }
    // One call in each interval of 100 ms is not shed, and neither is the last one in the queue.
    assert!(granted >= 4 && shed > 20, "{granted} granted, {shed} shed");
    assert_eq!(batch.snapshot().rejected_shed, shed);
}

/// A caller whose deadline leaves less time than the median service time of its partition is
/// rejected.
#[test]
fn a_call_that_would_end_after_its_deadline_is_shed() {
    let time = ManualClock::new();
    let (_, [users, _, batch]) = build(&time);
    for _ in 0..5 {
        let all = take(&users, 10);
        let mut waiting = Box::pin(batch.acquire());
        assert!(poll(&mut waiting).is_pending());
        drop(all);
        let Poll::Ready(Ok(permit)) = poll(&mut waiting) else { panic!("a permit is free") };
        time.advance(30 * MS);
        drop(permit);
    }
    assert_eq!(batch.snapshot().median_service_time, Some(30 * MS));
    let _all = take(&users, 10);
    let cx = CallContext::new().on(&time.clock());
    let late = cx.with_deadline(Deadline::after(cx.now(), 29 * MS));
    assert_eq!(reason(Guard::<(), ()>::admit_blocking(&batch, late)), Reason::Shed);
    let full = reason(batch.cost(7).try_acquire().map(drop));
    assert_eq!(full, Reason::ConcurrencyLimited);
    assert_eq!(batch.try_acquire().unwrap_err().retry_after(), Some(30 * MS));
    assert_eq!(users.snapshot().median_service_time, None, "each partition has its own");
}

#[test]
fn a_waiter_that_can_never_be_served_does_not_block_the_others() {
    let time = ManualClock::new();
    let (bulkhead, [users, _, batch]) = build(&time);
    let mut own = take(&users, 10);
    let mut large = Box::pin(batch.cost(6).acquire_owned());
    let mut small = Box::pin(batch.acquire());
    assert!(!is_granted(&mut large) && !is_granted(&mut small));
    let lower = settings(&time).partition("batch", |batch| batch);
    assert!(bulkhead.reconfigure(&lower).is_err(), "a partition twice");
    let lower = PartitionedBulkhead::builder()
        .max_concurrent(10)
        .partition("users", |users| users)
        .partition("reports", |reports| reports)
        .partition("batch", |batch| batch.max_concurrent(5).max_queue(9));
    bulkhead.reconfigure(&lower).unwrap();
    let Poll::Ready(Err(rejection)) = poll(&mut large) else { panic!("it needs six permits") };
    assert_eq!(rejection.reason(), Reason::ConcurrencyLimited);
    drop(own.pop());
    assert!(is_granted(&mut small));
}
