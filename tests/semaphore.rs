//! The semaphore and the oneshot channel: order, cancellation, timeouts, accounting.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use mainstay::time::ManualClock;
use mainstay::wait::{
    OneshotClosed, OneshotReceiver, OneshotSender, OwnedSemaphoreAcquireFuture,
    OwnedSemaphorePermit, QueueOrder, Semaphore, SemaphoreAcquireFuture, SemaphoreClosed,
    SemaphoreError, SemaphorePermit, oneshot,
};
use proptest::prelude::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn assert_pending<F: Future + Unpin>(future: &mut F) {
    assert!(poll(future).is_pending());
}

/// Polls once, and counts in `woken` how often the task is woken.
fn poll_counting<F: Future + Unpin>(future: &mut F, woken: &Arc<Count>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(woken));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

// Semaphore: order and limit.

#[test]
fn waiters_are_served_in_queue_order() {
    for (order, expected) in [(QueueOrder::Fifo, [0, 1, 2]), (QueueOrder::Lifo, [2, 1, 0])] {
        let semaphore = Semaphore::with_order(1, order);
        let mut held = semaphore.try_acquire().ok();
        let mut waiters: Vec<_> = (0..3).map(|_| Some(semaphore.acquire())).collect();
        waiters.iter_mut().flatten().for_each(assert_pending);
        for next in expected {
            drop(held.take());
            assert!(semaphore.try_acquire().is_err(), "a newcomer overtook the waiters");
            for (id, waiter) in waiters.iter_mut().enumerate() {
                let Some(future) = waiter else { continue };
                if let Poll::Ready(permit) = poll(future) {
                    assert_eq!(id, next);
                    held = permit.ok();
                    *waiter = None;
                }
            }
            assert!(held.is_some());
        }
    }
}

#[test]
fn a_lower_limit_revokes_nothing_and_grants_nothing() {
    let semaphore = Semaphore::new(3);
    let held: Vec<_> = (0..3).map(|_| semaphore.try_acquire().unwrap()).collect();
    semaphore.resize(1);
    assert_eq!((semaphore.limit(), semaphore.in_use()), (1, 3));
    let mut waiter = semaphore.acquire();
    for (released, permit) in held.into_iter().enumerate() {
        assert_eq!(semaphore.available(), 0);
        assert!(poll(&mut waiter).is_pending(), "granted after {released} of 3 releases");
        drop(permit);
    }
    let Poll::Ready(Ok(permit)) = poll(&mut waiter) else { panic!("all three are released") };
    let mut many = semaphore.acquire_n(5);
    assert_pending(&mut many);
    semaphore.resize(6);
    let Poll::Ready(Ok(many)) = poll(&mut many) else { panic!("one of six is in use") };
    assert_eq!((semaphore.available(), semaphore.in_use()), (0, 6));
    drop((permit, many));
    assert_eq!((semaphore.available(), semaphore.in_use()), (6, 0));
}

#[test]
fn permits_reserved_for_a_waiter_are_not_available() {
    let semaphore = Semaphore::new(3);
    let held = semaphore.try_acquire_n(2).unwrap();
    assert_eq!((semaphore.available(), semaphore.in_use()), (1, 2));
    let mut many = semaphore.acquire_n(2);
    assert_pending(&mut many);
    assert_eq!((semaphore.available(), semaphore.in_use()), (0, 2));
    assert!(semaphore.try_acquire().is_err(), "`available` returned 0");
    drop(many);
    assert_eq!(semaphore.available(), 1);
    drop(held);
}

#[derive(Debug, Clone)]
enum Step {
    Acquire(u32),
    TryAcquire(u32),
    Release(usize),
    Cancel(usize),
    Resize(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u32..4).prop_map(Step::Acquire),
        2 => (1u32..4).prop_map(Step::TryAcquire),
        4 => (0usize..8).prop_map(Step::Release),
        2 => (0usize..8).prop_map(Step::Cancel),
        1 => (0u32..6).prop_map(Step::Resize),
    ]
}

fn free(limit: i64, held: &[SemaphorePermit<'_>]) -> i64 {
    limit - held.iter().map(|permit| i64::from(permit.count())).sum::<i64>()
}

proptest! {
    /// The model is a list of waiters and a list of held permits.
    #[test]
    fn the_semaphore_behaves_like_its_model(
        lifo: bool,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let order = if lifo { QueueOrder::Lifo } else { QueueOrder::Fifo };
        let semaphore = Semaphore::with_order(3, order);
        let mut limit = 3i64;
        let mut held = Vec::new();
        let mut waiting: Vec<(u32, _)> = Vec::new();
        for step in steps {
            match step {
                Step::Acquire(count) => {
                    let mut future = semaphore.acquire_n(count);
                    let is_next = waiting.is_empty() || lifo;
                    let expected = is_next && free(limit, &held) >= i64::from(count);
                    match poll(&mut future) {
                        Poll::Ready(permit) => {
                            prop_assert!(expected);
                            held.push(permit.unwrap());
                        }
                        Poll::Pending => {
                            prop_assert!(!expected);
                            waiting.push((count, future));
                        }
                    }
                }
                Step::TryAcquire(count) => {
                    let expected = waiting.is_empty() && free(limit, &held) >= i64::from(count);
                    let permit = semaphore.try_acquire_n(count);
                    prop_assert_eq!(permit.is_ok(), expected);
                    held.extend(permit);
                }
                Step::Release(n) if n < held.len() => drop(held.swap_remove(n)),
                Step::Cancel(n) if n < waiting.len() => drop(waiting.remove(n)),
                Step::Resize(to) => {
                    semaphore.resize(to);
                    limit = i64::from(to);
                }
                _ => {}
            }
            // The next waiter is granted its permits as soon as enough are free.
            loop {
                let next = match lifo {
                    true => waiting.len().checked_sub(1),
                    false => (!waiting.is_empty()).then_some(0),
                };
                let fits = |next: &usize| i64::from(waiting[*next].0) <= free(limit, &held);
                let Some(next) = next.filter(fits) else { break };
                let (_, mut future) = waiting.remove(next);
                let Poll::Ready(Ok(permit)) = poll(&mut future) else {
                    panic!("the next waiter was not granted its permits")
                };
                held.push(permit);
            }
            for (_, future) in &mut waiting {
                prop_assert!(poll(future).is_pending(), "granted out of order");
            }
            let available = if waiting.is_empty() { free(limit, &held).max(0) } else { 0 };
            prop_assert_eq!(i64::from(semaphore.available()), available);
            prop_assert_eq!(i64::from(semaphore.in_use()), limit - free(limit, &held));
            prop_assert_eq!(semaphore.has_waiters(), !waiting.is_empty());
        }
        drop(waiting);
        drop(held);
        prop_assert_eq!(i64::from(semaphore.available()), limit);
        prop_assert!(!semaphore.has_waiters());
    }
}

// Semaphore: closing, owned permits, timeouts.

#[test]
fn closing_ends_all_waits_and_revokes_nothing() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire().unwrap();
    let woken = Arc::new(Count::default());
    // The close calls wakers in batches; these are more than one batch.
    let mut waiters: Vec<_> = (0..40).map(|_| semaphore.acquire()).collect();
    for waiter in &mut waiters {
        assert!(poll_counting(waiter, &woken).is_pending());
    }
    // The first waiter is granted its permit before the close, and has not been polled since.
    drop(held);
    assert_eq!(woken.get(), 1);

    assert!(!semaphore.is_closed());
    assert!(semaphore.close());
    assert!(!semaphore.close(), "closed twice");
    assert!(semaphore.is_closed());
    assert_eq!(woken.get(), 40);

    let mut waiters = waiters.into_iter();
    let Poll::Ready(Ok(granted)) = poll(&mut waiters.next().unwrap()) else {
        panic!("the waiter that was granted before the close received no permit")
    };
    drop(waiters.next().unwrap());
    for mut waiter in waiters {
        assert!(matches!(poll(&mut waiter), Poll::Ready(Err(SemaphoreClosed))));
    }
    assert!(!semaphore.has_waiters());
    assert_eq!(semaphore.in_use(), 1);
    drop(granted);
    assert_eq!(semaphore.in_use(), 0);

    let timeout = Duration::MAX;
    assert_eq!(semaphore.available(), 0);
    assert_eq!(semaphore.try_acquire().unwrap_err(), SemaphoreError::Closed);
    assert_eq!(semaphore.acquire_blocking().unwrap_err(), SemaphoreClosed);
    assert_eq!(semaphore.acquire_blocking_timeout(timeout).unwrap_err(), SemaphoreError::Closed);
    assert_eq!(block_on(semaphore.acquire_timeout(timeout)).unwrap_err(), SemaphoreError::Closed);
    assert_eq!(block_on(semaphore.acquire_n(9)).unwrap_err(), SemaphoreClosed);
    semaphore.resize(9);
    assert_eq!(semaphore.try_acquire().unwrap_err(), SemaphoreError::Closed);
}

#[test]
fn an_owned_permit_keeps_its_semaphore_alive() {
    let semaphore = Arc::new(Semaphore::new(2));
    let weak = Arc::downgrade(&semaphore);
    let first = semaphore.try_acquire_n_owned(2).unwrap();
    assert_eq!(first.count(), 2);
    assert_eq!(semaphore.try_acquire_owned().unwrap_err(), SemaphoreError::Exhausted);
    let waiter = thread::spawn({
        let acquire = semaphore.acquire_owned();
        move || block_on(acquire).unwrap()
    });
    let mut cancelled = semaphore.acquire_owned();
    assert_pending(&mut cancelled);
    drop(cancelled);
    drop(first);
    let second = waiter.join().unwrap();
    assert_eq!(semaphore.available(), 1);
    drop(semaphore);
    assert!(Arc::ptr_eq(second.semaphore(), &weak.upgrade().unwrap()));
    drop(second);
    assert!(weak.upgrade().is_none());
}

#[test]
fn every_acquire_method_returns_the_requested_number_of_permits() {
    let semaphore = Arc::new(Semaphore::new(3));
    let timeout = Duration::from_secs(60);
    let mut counts = Vec::new();
    let mut borrowed = |permit: SemaphorePermit<'_>| {
        counts.push(permit.count());
        assert_eq!(semaphore.in_use(), permit.count());
    };
    borrowed(semaphore.try_acquire().unwrap());
    borrowed(semaphore.try_acquire_n(2).unwrap());
    borrowed(block_on(semaphore.acquire()).unwrap());
    borrowed(block_on(semaphore.acquire_n(2)).unwrap());
    borrowed(block_on(semaphore.acquire_timeout(timeout)).unwrap());
    borrowed(block_on(semaphore.acquire_n_timeout(2, timeout)).unwrap());
    borrowed(semaphore.acquire_blocking().unwrap());
    borrowed(semaphore.acquire_n_blocking(2).unwrap());
    borrowed(semaphore.acquire_blocking_timeout(timeout).unwrap());
    borrowed(semaphore.acquire_n_blocking_timeout(2, timeout).unwrap());
    let mut owned = |permit: OwnedSemaphorePermit| {
        counts.push(permit.count());
        assert_eq!(semaphore.in_use(), permit.count());
    };
    owned(semaphore.try_acquire_owned().unwrap());
    owned(semaphore.try_acquire_n_owned(2).unwrap());
    owned(block_on(semaphore.acquire_owned()).unwrap());
    owned(block_on(semaphore.acquire_n_owned(2)).unwrap());
    owned(block_on(semaphore.acquire_owned_timeout(timeout)).unwrap());
    owned(block_on(semaphore.acquire_n_owned_timeout(2, timeout)).unwrap());
    owned(semaphore.acquire_owned_blocking().unwrap());
    owned(semaphore.acquire_n_owned_blocking(2).unwrap());
    owned(semaphore.acquire_owned_blocking_timeout(timeout).unwrap());
    owned(semaphore.acquire_n_owned_blocking_timeout(2, timeout).unwrap());
    assert_eq!(counts, [1, 2].repeat(10));
    assert_eq!(semaphore.in_use(), 0);
}

#[test]
fn a_wait_with_a_timeout_ends_by_the_clock_of_the_semaphore() {
    const HOUR: Duration = Duration::from_secs(3600);
    let time = ManualClock::new();
    let semaphore = Semaphore::new(0).with_clock(time.clock());
    let before = time.now();
    let result = time.drive(semaphore.acquire_timeout(HOUR));
    assert_eq!(result.unwrap_err(), SemaphoreError::Exhausted);
    assert_eq!(time.now() - before, HOUR);
    assert!(!semaphore.has_waiters(), "the waiter is still in the queue");

    let result = semaphore.acquire_blocking_timeout(HOUR);
    assert_eq!(result.unwrap_err(), SemaphoreError::Exhausted);
    assert_eq!(time.now() - before, 2 * HOUR);
    assert!(!semaphore.has_waiters(), "the waiter is still in the queue");
}

#[test]
fn a_permit_that_comes_before_the_timeout_is_granted() {
    let time = ManualClock::new();
    let semaphore = Semaphore::new(0).with_clock(time.clock());
    let mut acquire = pin!(semaphore.acquire_timeout(Duration::from_secs(2)));
    assert!(time.drive_for(Duration::from_secs(1), acquire.as_mut()).is_pending());
    semaphore.resize(1);
    assert!(matches!(
        time.drive_for(Duration::ZERO, acquire.as_mut()),
        Poll::Ready(Ok(permit)) if permit.count() == 1
    ));
    assert_eq!(time.next_deadline(), None, "the timer is still armed");
}

// Wakers that panic.

struct PanicsOnWake;

impl Wake for PanicsOnWake {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[test]
fn a_waker_that_panics_does_not_prevent_other_wake_ups() {
    let semaphore = Semaphore::new(0);
    let woken = Arc::new(Count::default());
    let mut waiters: Vec<_> = (0..40).map(|_| semaphore.acquire()).collect();
    for (id, waiter) in waiters.iter_mut().enumerate() {
        let waker = match id {
            0 => Waker::from(Arc::new(PanicsOnWake)),
            _ => Waker::from(Arc::clone(&woken)),
        };
        assert!(Pin::new(waiter).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    catch_unwind(|| semaphore.resize(40)).unwrap_err();
    assert_eq!(woken.get(), 39);
    assert!(waiters.iter_mut().all(|waiter| poll(waiter).is_ready()));
    assert_eq!(semaphore.in_use(), 0);
}

/// A waker that panics in its destructor while it is armed.
#[allow(unsafe_code)]
mod panics_on_drop {
    use std::ptr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{RawWaker, RawWakerVTable, Waker};

    const VTABLE: RawWakerVTable =
        RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), |_| (), |_| (), drop);

    unsafe fn drop(data: *const ()) {
        // SAFETY: the pointer comes from `waker`, whose argument is a `&'static AtomicBool`.
        let armed = unsafe { &*data.cast::<AtomicBool>() };
        assert!(!armed.load(Ordering::SeqCst), "a waker that panics when it is dropped");
    }

    pub(crate) fn waker(armed: &'static AtomicBool) -> Waker {
        // SAFETY: the functions of the table access a static, and nothing else.
        unsafe { Waker::from_raw(RawWaker::new(ptr::from_ref(armed).cast(), &VTABLE)) }
    }
}

#[test]
fn a_waker_that_panics_when_it_is_dropped_loses_no_permit() {
    static ARMED: AtomicBool = AtomicBool::new(false);
    let waker = panics_on_drop::waker(&ARMED);
    let poll_armed = |future: &mut SemaphoreAcquireFuture<'_>| {
        ARMED.store(true, Ordering::SeqCst);
        let result = catch_unwind(AssertUnwindSafe(|| {
            Pin::new(future).poll(&mut Context::from_waker(&waker)).map(drop)
        }));
        ARMED.store(false, Ordering::SeqCst);
        result
    };

    // Granted on entering the queue, past the waiter for two permits: the waker is not needed.
    let semaphore = Semaphore::with_order(2, QueueOrder::Lifo);
    let held = semaphore.try_acquire().unwrap();
    let mut two = semaphore.acquire_n(2);
    assert_pending(&mut two);
    poll_armed(&mut semaphore.acquire()).unwrap_err();
    assert_eq!(semaphore.in_use(), 1);

    // Granted while queued: the waker of the second poll is not needed.
    drop(held);
    assert_eq!(semaphore.in_use(), 2);
    poll_armed(&mut two).unwrap_err();
    drop(two);
    assert_eq!(semaphore.in_use(), 0);

    // The waker of an earlier poll is replaced.
    let held = semaphore.try_acquire_n(2).unwrap();
    let mut next = semaphore.acquire();
    assert!(Pin::new(&mut next).poll(&mut Context::from_waker(&waker)).is_pending());
    ARMED.store(true, Ordering::SeqCst);
    catch_unwind(AssertUnwindSafe(|| poll(&mut next).map(drop))).unwrap_err();
    ARMED.store(false, Ordering::SeqCst);
    drop(held);
    assert!(poll(&mut next).is_ready());
    assert_eq!(semaphore.in_use(), 0);
}

// Compile-time properties.

#[test]
fn types_are_send_and_unwind_safe() {
    fn check<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    check::<Semaphore>();
    check::<SemaphorePermit<'_>>();
    check::<OwnedSemaphorePermit>();
    check::<SemaphoreAcquireFuture<'_>>();
    check::<OwnedSemaphoreAcquireFuture>();
    check::<OneshotSender<Cell<u8>>>();
    check::<OneshotReceiver<Cell<u8>>>();
    check::<(SemaphoreError, SemaphoreClosed, OneshotClosed)>();
}

// Under load.

#[test]
fn permits_never_exceed_the_limit_under_stress() {
    let semaphore = Semaphore::new(3);
    let inside = AtomicUsize::new(0);
    let enter = |permit: Result<_, SemaphoreClosed>| {
        let permit = permit.unwrap();
        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
        inside.fetch_sub(1, Ordering::SeqCst);
        drop(permit);
    };
    thread::scope(|scope| {
        for seed in 0..4 {
            let (semaphore, enter) = (&semaphore, &enter);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..5_000 {
                    match random.u8(0..4) {
                        0 => enter(semaphore.acquire_blocking()),
                        1 => enter(block_on(semaphore.acquire_n(2))),
                        2 => drop(semaphore.try_acquire_n(3).map(|permit| enter(Ok(permit)))),
                        _ => drop(poll(&mut semaphore.acquire()).map(enter)),
                    }
                }
            });
        }
    });
    assert_eq!(semaphore.available(), 3);
    assert!(!semaphore.has_waiters());
}

#[test]
fn waits_with_a_timeout_end() {
    const TIMEOUT: Duration = Duration::from_millis(1);
    let semaphore = Semaphore::new(0);
    let error = semaphore.acquire_blocking_timeout(TIMEOUT).unwrap_err();
    assert_eq!(error, SemaphoreError::Exhausted);
    assert!(!semaphore.has_waiters(), "the waiter is still in the queue");

    let (sender, mut receiver) = oneshot::<u8>();
    assert_eq!(receiver.recv_blocking_timeout(TIMEOUT), Ok(None));
    assert_eq!(block_on(receiver.recv_timeout(TIMEOUT)), Ok(None));
    drop(sender);
    assert_eq!(receiver.recv_blocking_timeout(Duration::MAX), Err(OneshotClosed));
}
