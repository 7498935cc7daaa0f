//! Loom models of the bulkhead: the limit holds and no permit or waiter is lost, under any
//! interleaving.

use super::{Bulkhead, BulkheadBuilder, BulkheadPermit};
use crate::error::Reason;
use crate::sync::thread::Parker;
use crate::time::ManualClock;
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn settings(limit: u32, time: &ManualClock) -> BulkheadBuilder {
    let queue = Bulkhead::builder().max_concurrent(limit).max_queue(4);
    queue.max_wait(Duration::MAX).clock(time.clock())
}

/// The number of calls that run, in an atomic that loom does not model.
#[derive(Default)]
struct Running(AtomicI32);

impl Running {
    /// Holds `permit` across a point at which other threads may run.
    fn run(&self, permit: BulkheadPermit<'_>, limit: i32) {
        assert!(self.0.fetch_add(1, SeqCst) < limit);
        thread::yield_now();
        self.0.fetch_sub(1, SeqCst);
        drop(permit);
    }
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

fn assert_idle(bulkhead: &Bulkhead, limit: u32) {
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0));
    assert_eq!(bulkhead.available(), limit, "WAITING is clear, and no permit is lost");
}

#[test]
fn two_threads_share_one_permit() {
    loom::model(|| {
        let time = ManualClock::new();
        let bulkhead = settings(1, &time).build().unwrap();
        let running = Arc::new(Running::default());
        let other = thread::spawn({
            let (bulkhead, running) = (bulkhead.clone(), Arc::clone(&running));
            move || running.run(bulkhead.acquire_blocking().unwrap(), 1)
        });
        running.run(bulkhead.acquire_blocking().unwrap(), 1);
        other.join().unwrap();
        assert_idle(&bulkhead, 1);
    });
}

/// The limit shrinks from two to one while a call is admitted.
#[test]
fn a_lowered_limit_admits_no_further_call() {
    loom::model(|| {
        let time = ManualClock::new();
        let bulkhead = settings(2, &time).build().unwrap();
        let permit = bulkhead.try_acquire().unwrap();
        let resizing = thread::spawn({
            let (bulkhead, settings) = (bulkhead.clone(), settings(1, &time));
            move || {
                bulkhead.reconfigure(&settings).unwrap();
                bulkhead.try_acquire().map(drop).map_err(|rejection| rejection.reason())
            }
        });
        let other = bulkhead.try_acquire();
        let after = resizing.join().unwrap();
        assert_eq!(after, Err(Reason::ConcurrencyLimited), "`permit` is still held");
        assert_eq!(bulkhead.in_flight(), 1 + u32::from(other.is_ok()));
        drop((permit, other));
        assert_idle(&bulkhead, 1);
    });
}

/// The limit grows while a caller enters the queue: the caller is served.
#[test]
fn a_caller_that_enters_the_queue_gets_a_permit_of_a_concurrently_raised_limit() {
    loom::model(|| {
        let time = ManualClock::new();
        let bulkhead = settings(1, &time).build().unwrap();
        let permit = bulkhead.try_acquire().unwrap();
        let waiting = thread::spawn({
            let bulkhead = bulkhead.clone();
            move || drop(bulkhead.acquire_blocking().unwrap())
        });
        bulkhead.reconfigure(&settings(2, &time)).unwrap();
        waiting.join().unwrap();
        drop(permit);
        assert_idle(&bulkhead, 2);
    });
}

/// A waiter is cancelled while a permit is released: the permit is free again, or the next waiter
/// has it.
#[test]
fn a_release_concurrent_with_a_cancellation_loses_no_permit() {
    loom::model(|| {
        let time = ManualClock::new();
        let bulkhead = settings(1, &time).build().unwrap();
        let permit = bulkhead.try_acquire_owned().unwrap();
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut cancelled = Box::pin(bulkhead.acquire());
        let mut waiting = Box::pin(bulkhead.acquire());
        assert!(first.poll(&mut cancelled).is_pending());
        assert!(second.poll(&mut waiting).is_pending());
        let releasing = thread::spawn(move || drop(permit));
        drop(cancelled);
        releasing.join().unwrap();
        assert!(second.0.load(SeqCst), "the next waiter was woken");
        assert!(matches!(second.poll(&mut waiting), Poll::Ready(Ok(_))));
        drop(waiting);
        assert_idle(&bulkhead, 1);
    });
}

#[test]
fn a_release_in_lifo_order_is_not_granted_to_a_waiter_that_times_out() {
    release_against_timeout(5 * MS);
}

#[test]
fn a_release_in_fifo_order_is_not_granted_to_a_waiter_that_times_out() {
    release_against_timeout(Duration::MAX);
}

/// A permit is released while the oldest waiter times out. In either queue order, the newest waiter
/// is granted the permit, and the oldest is rejected.
fn release_against_timeout(lifo_after: Duration) {
    loom::model(move || {
        let time = ManualClock::new();
        let bulkhead = settings(1, &time).lifo_after(lifo_after).build().unwrap();
        let permit = bulkhead.try_acquire_owned().unwrap();
        let (old, young) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut oldest = Box::pin(bulkhead.acquire_timeout(10 * MS));
        assert!(old.poll(&mut oldest).is_pending());
        time.advance(9 * MS);
        let mut newest = Box::pin(bulkhead.acquire());
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
        assert_idle(&bulkhead, 1);
    });
}

/// The bulkhead is closed while one caller enters the queue and another releases its permit.
#[test]
fn a_close_concurrent_with_an_acquisition_and_a_release_leaves_no_waiter() {
    loom::model(|| {
        let time = ManualClock::new();
        let bulkhead = settings(1, &time).build().unwrap();
        let permit = bulkhead.try_acquire_owned().unwrap();
        let waiting = thread::spawn({
            let bulkhead = bulkhead.clone();
            move || {
                let parker = Parker::current();
                let _ = parker.waker();
                bulkhead.acquire_blocking().map(drop).map_err(|rejection| rejection.reason())
            }
        });
        let closing = thread::spawn({
            let bulkhead = bulkhead.clone();
            move || assert!(bulkhead.close())
        });
        drop(permit);
        closing.join().unwrap();
        assert!(matches!(waiting.join().unwrap(), Ok(()) | Err(Reason::ShutDown)));
        assert_eq!((bulkhead.in_flight(), bulkhead.snapshot().queued), (0, 0));
    });
}
