//! The bulkhead: admission, rejections, events, reconfiguration, cancellation and panics.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{Bulkhead, BulkheadBuilder, BulkheadPermit};
use mainstay::error::{Error, Reason, Rejection};
use mainstay::event::Event;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, Context as CallContext, Guard, OwnedGuard, Policy};
use mainstay::time::{Clock, Deadline, ManualClock, TimeSource};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn bulkhead(time: &ManualClock) -> BulkheadBuilder {
    Bulkhead::builder().clock(time.clock())
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls the future of a caller. Returns whether the caller no longer waits.
fn is_granted<F>(future: &mut Pin<Box<F>>) -> bool
where
    F: Future<Output: std::fmt::Debug> + ?Sized,
{
    poll(future).is_ready()
}

fn reason<P: std::fmt::Debug>(result: Result<P, Rejection>) -> Reason {
    result.unwrap_err().reason()
}

fn all(bulkhead: &Bulkhead) -> Vec<BulkheadPermit<'_>> {
    std::iter::from_fn(|| bulkhead.try_acquire().ok()).collect()
}

#[test]
fn by_default_the_26th_call_is_rejected_immediately() {
    let bulkhead = Bulkhead::builder().build().unwrap();
    let permits = all(&bulkhead);
    assert_eq!((permits.len(), bulkhead.in_flight(), bulkhead.available()), (25, 25, 0));
    let rejection = bulkhead.try_acquire().unwrap_err();
    assert_eq!(rejection.to_string(), "rejected by bulkhead: concurrency limited");
    assert_eq!(reason(bulkhead.acquire_blocking()), Reason::ConcurrencyLimited);
    assert_eq!(reason(futures::executor::block_on(bulkhead.acquire())), Reason::ConcurrencyLimited);
    drop(permits);
    assert_eq!((bulkhead.in_flight(), bulkhead.available()), (0, 25));
}

#[test]
fn a_full_queue_rejects_calls_and_reports_the_rejections() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let bulkhead = bulkhead(&time)
        .name("search")
        .max_concurrent(1)
        .max_queue(1)
        .observer(move |event: &Event<'_>| seen.lock().unwrap().push(event.to_string()))
        .build()
        .unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    let mut waiting = Box::pin(bulkhead.acquire());
    assert!(!is_granted(&mut waiting));
    assert_eq!(reason(bulkhead.try_acquire()), Reason::ConcurrencyLimited);
    assert_eq!(reason(bulkhead.acquire_blocking()), Reason::QueueFull);
    bulkhead.reconfigure(&Bulkhead::builder().max_concurrent(1).max_queue(2)).unwrap();
    assert_eq!(
        *events.lock().unwrap(),
        [
            "search rejected #1 reason=concurrency limited limit=1 in_flight=1 queued=1",
            "search rejected #2 reason=queue full limit=1 in_flight=1 queued=1",
            "search reconfigured #1 limit=1 max_queue=2",
        ]
    );
    drop(permit);
    assert!(is_granted(&mut waiting));
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.rejected_full, snapshot.max_queue, snapshot.queued), (2, 2, 0));
}

#[test]
fn a_call_takes_as_many_permits_as_its_cost() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).max_concurrent(4).max_queue(9).build().unwrap();
    let view = bulkhead.cost(3);
    let three = view.try_acquire().unwrap();
    assert_eq!((three.cost(), bulkhead.available()), (3, 1));
    assert_eq!(reason(bulkhead.cost(2).try_acquire()), Reason::ConcurrencyLimited);
    let too_many = bulkhead.cost(5);
    assert_eq!(reason(too_many.acquire_blocking()), Reason::ConcurrencyLimited);

    // The caller at the front needs two permits. The caller behind it needs one, which is free, but
    // does not overtake.
    let two = bulkhead.cost(2);
    let (mut heavy, mut light) = (Box::pin(two.acquire()), Box::pin(bulkhead.acquire()));
    assert!(!is_granted(&mut heavy) && !is_granted(&mut light));
    drop(heavy);
    assert!(is_granted(&mut light), "the caller ahead of it has left the queue");
    drop(three);
    assert_eq!((bulkhead.in_flight(), bulkhead.snapshot().queued), (0, 0));
}

#[test]
fn the_owned_permit_moves_to_another_thread() {
    let bulkhead = Bulkhead::new(1).unwrap();
    let permit = bulkhead.try_acquire_owned().unwrap();
    assert!(bulkhead.cost(1).try_acquire_owned().is_err());
    std::thread::spawn(move || drop(permit)).join().unwrap();
    for permit in [
        bulkhead.acquire_owned_blocking(),
        futures::executor::block_on(bulkhead.acquire_owned()),
        futures::executor::block_on(bulkhead.acquire_owned_timeout(MS)),
        bulkhead.acquire_owned_blocking_timeout(MS),
    ]
    .map(|permit| permit.map(drop))
    {
        permit
            .unwrap_or_else(|rejection| assert_eq!(rejection.reason(), Reason::ConcurrencyLimited));
    }
    assert_eq!(bulkhead.in_flight(), 0);
}

// Netflix#234: when the limit shrank, calls in flight were forgotten and too many were admitted.
#[test]
fn a_lower_limit_admits_nothing_until_enough_calls_have_ended() {
    let bulkhead = Bulkhead::new(4).unwrap();
    let mut permits = all(&bulkhead);
    bulkhead.reconfigure(&Bulkhead::builder().max_concurrent(2)).unwrap();
    assert_eq!((bulkhead.in_flight(), bulkhead.available()), (4, 0));
    for in_flight in [3, 2] {
        permits.pop();
        assert_eq!((bulkhead.in_flight(), bulkhead.try_acquire().is_err()), (in_flight, true));
    }
    permits.pop();
    assert_eq!(all(&bulkhead).len(), 1);
}

#[test]
fn a_higher_limit_serves_waiting_callers() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).max_concurrent(1).max_queue(9).build().unwrap();
    let _permit = bulkhead.try_acquire().unwrap();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bulkhead.acquire())).collect();
    assert!(waiting.iter_mut().all(|wait| !is_granted(wait)));
    bulkhead.reconfigure(&Bulkhead::builder().max_concurrent(3).max_queue(9)).unwrap();
    let granted: Vec<_> = waiting.iter_mut().map(poll).collect();
    assert_eq!(granted.iter().map(Poll::is_ready).collect::<Vec<_>>(), [true, true, false]);
    let error = bulkhead.reconfigure(&Bulkhead::builder().max_concurrent(0)).unwrap_err();
    assert_eq!(error.to_string(), "max_concurrent is 0; accepted: at least 1");
    assert_eq!(bulkhead.snapshot().max_concurrent, 3);
}

#[test]
fn invalid_settings_name_their_field() {
    let field = |builder: BulkheadBuilder| builder.build().unwrap_err().field();
    assert_eq!(field(Bulkhead::builder().name("")), "name");
    assert_eq!(field(Bulkhead::builder().max_concurrent(0)), "max_concurrent");
    assert_eq!(field(Bulkhead::builder().max_queue(1_000_001)), "max_queue");
    assert_eq!(field(Bulkhead::builder().codel(Duration::ZERO, MS)), "codel");
    assert_eq!(field(Bulkhead::builder().codel(2 * MS, MS)), "codel");
    assert_eq!(field(Bulkhead::builder().codel(MS, Duration::from_secs(3601))), "codel");
    for (target, interval) in [(MS, MS), (MS, Duration::from_secs(3600))] {
        assert!(Bulkhead::builder().max_queue(1_000_000).codel(target, interval).build().is_ok());
    }
}

#[test]
fn a_closed_bulkhead_rejects_new_and_waiting_calls() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).max_concurrent(1).max_queue(40).build().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    // More callers than are woken in one batch.
    let mut waiting: Vec<_> = (0..40).map(|_| Box::pin(bulkhead.acquire_owned())).collect();
    assert!(waiting.iter_mut().all(|wait| !is_granted(wait)));
    assert!(bulkhead.close() && !bulkhead.close() && bulkhead.is_closed());
    for wait in &mut waiting {
        let Poll::Ready(result) = poll(wait) else { panic!("the caller must be rejected") };
        assert_eq!(reason(result), Reason::ShutDown);
    }
    drop(permit);
    assert_eq!(reason(bulkhead.try_acquire()), Reason::ShutDown);
    assert_eq!(reason(bulkhead.acquire_blocking()), Reason::ShutDown);
    assert_eq!((bulkhead.in_flight(), bulkhead.snapshot().queued), (0, 0));
}

#[test]
fn calls_run_with_a_permit() {
    let bulkhead = Bulkhead::new(1).unwrap();
    let inside = || Ok::<_, ()>(bulkhead.in_flight());
    assert_eq!(bulkhead.call_blocking(inside), Ok(1));
    assert_eq!(futures::executor::block_on(bulkhead.call(async || inside())), Ok(1));
    assert_eq!(bulkhead.call_blocking(|| Err::<(), _>(7)), Err(Error::Operation(7)));
    let permit = bulkhead.try_acquire().unwrap();
    assert!(bulkhead.call_blocking(inside).unwrap_err().is_rejected());
    drop(permit);
    for guard in [bulkhead.cost(1), bulkhead.max_wait(MS), (&bulkhead).into()] {
        let pipeline = Pipeline::builder().bulkhead(&guard).build();
        assert_eq!(pipeline.call_blocking(inside), Ok(1));
        assert_eq!(futures::executor::block_on(pipeline.call(async || inside())), Ok(1));
        let admitted = OwnedGuard::<(), ()>::admit_owned(&guard, CallContext::new());
        assert!(matches!(admitted, Admission::Admitted(_)));
        drop(admitted);
        assert_eq!(bulkhead.in_flight(), 0);
    }
    assert_eq!(bulkhead.facts().max_queue_wait, None);
}

#[test]
fn a_call_whose_deadline_has_passed_is_not_admitted() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).build().unwrap();
    let cx = CallContext::new().on(&time.clock());
    let cx = cx.with_deadline(Deadline::after(time.now(), MS));
    assert!(Guard::<(), ()>::admit_blocking(&bulkhead, cx).is_ok());
    time.advance(MS);
    let late = Guard::<(), ()>::admit_blocking(&bulkhead, cx.after_waiting());
    assert_eq!(reason(late), Reason::QueueTimeout);
    assert_eq!(bulkhead.snapshot().rejected_timeout, 1);
}

/// A clock that counts how often it is read.
#[derive(Debug)]
struct CountedClock(Arc<AtomicU32>);

impl TimeSource for CountedClock {
    fn now(&self) -> Duration {
        self.0.fetch_add(1, SeqCst);
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_call_that_does_not_wait_reads_no_clock() {
    let readings = Arc::new(AtomicU32::new(0));
    let clock = Clock::custom(CountedClock(Arc::clone(&readings)));
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_queue(9).clock(clock).build().unwrap();
    let pipeline = Pipeline::builder().bulkhead(&bulkhead).build();
    for _ in 0..3 {
        bulkhead.try_acquire().map(drop).unwrap();
        bulkhead.acquire_blocking().map(drop).unwrap();
        bulkhead.acquire_blocking_timeout(MS).map(drop).unwrap();
        futures::executor::block_on(bulkhead.acquire_owned_timeout(MS)).map(drop).unwrap();
        pipeline.call_blocking(|| Ok::<_, ()>(())).unwrap();
        futures::executor::block_on(pipeline.call(async || Ok::<_, ()>(()))).unwrap();
    }
    let _permit = bulkhead.try_acquire().unwrap();
    assert!(bulkhead.try_acquire().is_err());
    assert_eq!(readings.load(SeqCst), 0);
}

// cockatiel#112: waiting calls that were aborted stayed in the queue and starved the others.
#[test]
fn callers_that_give_up_leave_the_queue() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).max_concurrent(1).max_queue(3).build().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    for _ in 0..10 {
        let mut given_up: Vec<_> = (0..3).map(|_| Box::pin(bulkhead.acquire())).collect();
        assert!(given_up.iter_mut().all(|wait| !is_granted(wait)));
    }
    let mut waiting = Box::pin(bulkhead.acquire());
    assert!(!is_granted(&mut waiting));
    drop(permit);
    assert!(is_granted(&mut waiting));
    drop(waiting);
    assert_eq!((bulkhead.available(), bulkhead.snapshot().queued), (1, 0));
}

#[test]
fn a_call_dropped_after_any_number_of_polls_holds_no_permit_and_no_timer() {
    // The permit is released after `waits` polls of the call. If `waits` equals `polls`, the call
    // is granted the permit after its last poll, and dropped without another one.
    for (polls, waits) in (0..6).flat_map(|polls| (0..=polls).map(move |waits| (polls, waits))) {
        let time = ManualClock::new();
        let bulkhead = bulkhead(&time).max_concurrent(1).max_queue(2).build().unwrap();
        let mut permit = Some(bulkhead.try_acquire().unwrap());
        let mut call = Box::pin(bulkhead.call(async || {
            let mut polls = 0;
            std::future::poll_fn(|_| {
                polls += 1;
                if polls < 3 { Poll::Pending } else { Poll::Ready(Ok::<_, ()>(())) }
            })
            .await
        }));
        for poll_number in 0..polls {
            if poll_number == waits {
                permit = None;
            }
            if poll(&mut call).is_ready() {
                break;
            }
        }
        drop(permit);
        drop(call);
        let snapshot = bulkhead.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0), "{polls} polls, {waits} waits");
        assert_eq!(bulkhead.available(), 1, "{polls} polls, {waits} waits");
        assert_eq!(time.next_deadline(), None, "{polls} polls, {waits} waits: a timer is armed");
    }
}

fn panics<R>(f: impl FnOnce() -> R) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn a_panic_of_the_operation_releases_its_permit() {
    let bulkhead = Bulkhead::new(1).unwrap();
    panics(|| bulkhead.call_blocking(|| -> Result<(), ()> { panic!("operation") }));
    panics(|| {
        futures::executor::block_on(
            bulkhead.call(async || -> Result<(), ()> { panic!("operation") }),
        )
    });
    assert_eq!(bulkhead.available(), 1);
}

#[test]
fn a_panic_of_an_observer_leaves_the_queue_usable() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time)
        .max_concurrent(1)
        .max_queue(2)
        .observer(|_: &Event<'_>| panic!("observer"))
        .build()
        .unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    panics(|| bulkhead.try_acquire().map(drop));
    let mut late = Box::pin(bulkhead.acquire_timeout(MS));
    let mut waiting = Box::pin(bulkhead.acquire());
    assert!(!is_granted(&mut late) && !is_granted(&mut waiting));
    time.advance(MS);
    panics(|| is_granted(&mut late));
    drop(late);
    drop(permit);
    assert!(is_granted(&mut waiting));
}

/// A clock that panics on demand.
#[derive(Debug)]
struct BrokenClock(Arc<AtomicBool>);

impl TimeSource for BrokenClock {
    fn now(&self) -> Duration {
        assert!(!self.0.load(SeqCst), "clock");
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_panic_of_the_clock_loses_no_permit() {
    let broken = Arc::new(AtomicBool::new(false));
    let clock = Clock::custom(BrokenClock(Arc::clone(&broken)));
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_queue(2).clock(clock).build().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    let mut waiting = Box::pin(bulkhead.acquire());
    assert!(!is_granted(&mut waiting));
    broken.store(true, SeqCst);
    panics(|| drop(permit));
    broken.store(false, SeqCst);
    assert!(is_granted(&mut waiting), "the waiter was served despite the panic");
    drop(waiting);
    assert_eq!(bulkhead.available(), 1);
}

/// A waker that panics when it is called.
struct BrokenWaker;

impl Wake for BrokenWaker {
    fn wake(self: Arc<Self>) {
        panic!("waker");
    }
}

#[test]
fn a_panic_of_a_waker_does_not_keep_others_from_being_woken() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).max_concurrent(2).max_queue(2).build().unwrap();
    let permits = bulkhead.cost(2).try_acquire_owned().unwrap();
    let mut first = Box::pin(bulkhead.acquire());
    let mut second = Box::pin(bulkhead.acquire());
    let broken = Waker::from(Arc::new(BrokenWaker));
    assert!(first.as_mut().poll(&mut Context::from_waker(&broken)).is_pending());
    assert!(!is_granted(&mut second));
    panics(|| drop(permits));
    assert!(is_granted(&mut first) && is_granted(&mut second));
    drop((first, second));
    assert_eq!(bulkhead.available(), 2);
}

#[test]
fn an_acquire_future_that_was_ready_panics_when_it_is_polled_again() {
    let bulkhead = Bulkhead::new(2).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut borrowed = std::pin::pin!(bulkhead.acquire());
    let mut owned = std::pin::pin!(bulkhead.acquire_owned());
    assert!(borrowed.as_mut().poll(&mut cx).is_ready());
    assert!(owned.as_mut().poll(&mut cx).is_ready());
    // The permits were dropped with the results, so that a second acquisition would succeed.
    assert_eq!(bulkhead.available(), 2);
    assert!(catch_unwind(AssertUnwindSafe(|| borrowed.as_mut().poll(&mut cx).is_ready())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| owned.as_mut().poll(&mut cx).is_ready())).is_err());
    assert_eq!(bulkhead.available(), 2);
}
