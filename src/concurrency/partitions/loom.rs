//! Loom models of a partitioned bulkhead: the limits hold, a guaranteed caller is not overtaken,
//! and no permit or waiter is lost, under any interleaving.

use super::{BulkheadPartition, PartitionedBulkhead, PartitionedBulkheadBuilder};
use crate::error::Reason;
use crate::time::ManualClock;
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Two partitions: one is guaranteed a permit, the other borrows.
fn settings(limit: u32) -> PartitionedBulkheadBuilder {
    PartitionedBulkhead::builder()
        .max_concurrent(limit)
        .clock(ManualClock::new().clock())
        .partition("own", |own| own.min_concurrent(1).max_wait(Duration::MAX))
        .partition("other", |other| other.max_queue(4).max_wait(Duration::MAX))
}

fn build(limit: u32) -> (PartitionedBulkhead, BulkheadPartition, BulkheadPartition) {
    let bulkhead = settings(limit).build().unwrap();
    let (own, other) = (bulkhead.partition("own").unwrap(), bulkhead.partition("other").unwrap());
    (bulkhead, own, other)
}

/// A waker that records whether it was called.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Woken {
    fn poll<F: Future>(self: &Arc<Self>, future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }
}

fn assert_idle(bulkhead: &PartitionedBulkhead) {
    let snapshot = bulkhead.snapshot();
    assert_eq!(snapshot.in_flight, 0);
    for partition in snapshot.partitions {
        assert_eq!((partition.in_flight, partition.queued), (0, 0), "{}", partition.name);
    }
}

#[test]
fn two_partitions_share_one_permit() {
    loom::model(|| {
        let (bulkhead, own, other) = build(1);
        // An atomic of `std`, which adds no interleavings to the model.
        let running = Arc::new(AtomicI32::new(0));
        let run = |partition: BulkheadPartition, running: Arc<AtomicI32>| {
            let permit = partition.acquire_blocking().unwrap();
            assert_eq!(running.fetch_add(1, SeqCst), 0);
            thread::yield_now();
            running.fetch_sub(1, SeqCst);
            drop(permit);
        };
        let thread = thread::spawn({
            let running = Arc::clone(&running);
            move || run(other, running)
        });
        run(own, running);
        thread.join().unwrap();
        assert_idle(&bulkhead);
    });
}

/// A borrowed permit is returned while a guaranteed caller waits and a borrower calls
/// `try_acquire`: the guaranteed caller receives the permit.
#[test]
fn a_guaranteed_caller_is_not_overtaken() {
    loom::model(|| {
        let (bulkhead, own, other) = build(1);
        let borrowed = other.try_acquire_owned().unwrap();
        let woken = Arc::new(Woken::default());
        let mut waiting = Box::pin(own.acquire());
        assert!(woken.poll(&mut waiting).is_pending());
        let releasing = thread::spawn(move || drop(borrowed));
        let attempt = other.try_acquire().map(drop).map_err(|error| error.reason());
        assert_eq!(attempt, Err(Reason::ConcurrencyLimited));
        releasing.join().unwrap();
        assert!(woken.0.load(SeqCst));
        assert!(matches!(woken.poll(&mut waiting), Poll::Ready(Ok(_))));
        drop(waiting);
        assert_idle(&bulkhead);
    });
}

/// A permit is released while callers of both partitions enter their queues: both are served.
#[test]
fn a_permit_released_during_two_acquisitions_serves_both() {
    loom::model(|| {
        let (bulkhead, own, other) = build(1);
        let permit = own.try_acquire_owned().unwrap();
        let waiting = thread::spawn(move || drop(other.acquire_blocking().unwrap()));
        let releasing = thread::spawn(move || drop(permit));
        drop(own.acquire_blocking().unwrap());
        waiting.join().unwrap();
        releasing.join().unwrap();
        assert_idle(&bulkhead);
    });
}

/// A waiter is cancelled while a permit is released: the next waiter receives the permit.
#[test]
fn a_permit_released_during_a_cancellation_goes_to_the_next_waiter() {
    loom::model(|| {
        let (bulkhead, own, other) = build(1);
        let permit = other.try_acquire_owned().unwrap();
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut cancelled = Box::pin(own.acquire());
        let mut waiting = Box::pin(other.acquire());
        assert!(first.poll(&mut cancelled).is_pending());
        assert!(second.poll(&mut waiting).is_pending());
        let releasing = thread::spawn(move || drop(permit));
        drop(cancelled);
        releasing.join().unwrap();
        assert!(second.0.load(SeqCst), "the next waiter was woken");
        assert!(matches!(second.poll(&mut waiting), Poll::Ready(Ok(_))));
        drop(waiting);
        assert_idle(&bulkhead);
    });
}

/// The limit grows while a caller enters the queue: the caller is served.
#[test]
fn a_limit_raised_during_an_acquisition_serves_the_caller() {
    loom::model(|| {
        let (bulkhead, own, other) = build(1);
        let permit = own.try_acquire().unwrap();
        let waiting = thread::spawn(move || drop(other.acquire_blocking().unwrap()));
        bulkhead.reconfigure(&settings(2)).unwrap();
        waiting.join().unwrap();
        drop(permit);
        assert_idle(&bulkhead);
    });
}

/// A bulkhead is closed while a caller enters the queue and another releases.
#[test]
fn a_close_during_an_acquisition_and_a_release_loses_no_permit() {
    loom::model(|| {
        let (bulkhead, own, other) = build(1);
        let permit = other.try_acquire_owned().unwrap();
        let waiting = thread::spawn(move || {
            own.acquire_blocking().map(drop).map_err(|rejection| rejection.reason())
        });
        let closing = thread::spawn({
            let bulkhead = bulkhead.clone();
            move || assert!(bulkhead.close())
        });
        drop(permit);
        closing.join().unwrap();
        assert!(matches!(waiting.join().unwrap(), Ok(()) | Err(Reason::ShutDown)));
        assert_idle(&bulkhead);
    });
}

/// Two permits are released concurrently while a caller waits for both: it receives both.
#[test]
fn two_concurrent_releases_serve_a_caller_that_needs_both_permits() {
    loom::model(|| {
        let (bulkhead, own, other) = build(2);
        let (first, second) = (own.try_acquire_owned().unwrap(), own.try_acquire_owned().unwrap());
        let woken = Arc::new(Woken::default());
        let both = other.cost(2);
        let mut waiting = Box::pin(both.acquire());
        assert!(woken.poll(&mut waiting).is_pending());
        let releasing = thread::spawn(move || drop(first));
        drop(second);
        releasing.join().unwrap();
        assert!(woken.0.load(SeqCst));
        let Poll::Ready(Ok(permit)) = woken.poll(&mut waiting) else { panic!("both are free") };
        assert_eq!((permit.cost(), bulkhead.in_flight()), (2, 2));
        drop(permit);
        drop(waiting);
        assert_idle(&bulkhead);
    });
}

/// A permit is released while the oldest waiter times out, in LIFO order: the newest waiter is
/// granted the permit, and the oldest is rejected.
#[test]
fn a_release_in_lifo_order_is_not_granted_to_a_waiter_that_times_out() {
    const MS: Duration = Duration::from_millis(1);
    loom::model(|| {
        let time = ManualClock::new();
        let bulkhead = PartitionedBulkhead::builder()
            .max_concurrent(1)
            .clock(time.clock())
            .partition("own", |own| own.max_queue(4).max_wait(Duration::MAX).lifo_after(5 * MS))
            .build()
            .unwrap();
        let own = bulkhead.partition("own").unwrap();
        let permit = own.try_acquire_owned().unwrap();
        let (old, young) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut oldest = Box::pin(own.acquire_timeout(10 * MS));
        assert!(old.poll(&mut oldest).is_pending());
        time.advance(9 * MS);
        let mut newest = Box::pin(own.acquire());
        assert!(young.poll(&mut newest).is_pending());
        let releasing = thread::spawn({
            let time = time.clone();
            move || {
                time.advance(MS);
                drop(permit);
            }
        });
        let early = old.poll(&mut oldest);
        releasing.join().unwrap();
        let late = early.is_pending().then(|| old.poll(&mut oldest));
        let Some(Poll::Ready(Err(rejection))) = late.or(Some(early)) else {
            panic!("the oldest waiter must be rejected after its timeout")
        };
        assert_eq!(rejection.reason(), Reason::QueueTimeout);
        assert!(young.0.load(SeqCst));
        assert!(matches!(young.poll(&mut newest), Poll::Ready(Ok(_))));
        drop(newest);
        assert_idle(&bulkhead);
    });
}
