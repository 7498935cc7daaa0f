//! Loom models of the semaphore and the oneshot channel.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Arc;
use loom::thread::spawn;

use super::{QueueOrder, Semaphore, SemaphoreClosed, oneshot};
use crate::sync::UnsafeCell;
use crate::sync::block_on;
use crate::sync::thread::Parker;

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// Polls `future` once, with a waker for which no thread waits.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Parker::current().waker()))
}

/// A waker that records whether it was called.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Woken {
    fn poll<F: Future + Unpin>(self: &std::sync::Arc<Self>, future: &mut F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(&Waker::from(std::sync::Arc::clone(self))))
    }

    fn is_woken(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

struct Guarded {
    semaphore: Semaphore,
    /// Protected by the one permit. Loom reports overlapping accesses and a missing happens-before
    /// edge.
    cell: UnsafeCell<u32>,
}

// SAFETY: the cell is accessed only with a permit; the models check that this is sufficient.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new(order: QueueOrder) -> Arc<Self> {
        Arc::new(Self { semaphore: Semaphore::with_order(1, order), cell: UnsafeCell::new(0) })
    }

    fn touch(&self) {
        // SAFETY: the caller holds the only permit.
        self.cell.with_mut(|value| unsafe { *value += 1 });
    }
}

#[test]
fn one_permit_gives_exclusive_access_to_one_thread_at_a_time() {
    for order in [QueueOrder::Fifo, QueueOrder::Lifo] {
        model(3, move || {
            let guarded = Guarded::new(order);
            let others = [(), ()].map(|()| {
                let guarded = Arc::clone(&guarded);
                spawn(move || {
                    let _permit = block_on(guarded.semaphore.acquire()).unwrap();
                    guarded.touch();
                })
            });
            for other in others {
                other.join().unwrap();
            }
            let _permit = guarded.semaphore.try_acquire().expect("both released it");
            guarded.touch();
            // SAFETY: as in `touch`.
            assert_eq!(guarded.cell.with(|value| unsafe { *value }), 3);
        });
    }
}

#[test]
fn an_acquire_that_races_with_a_release_gets_the_permit() {
    loom::model(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let holder = semaphore.try_acquire().unwrap();
        let waiter = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(block_on(semaphore.acquire()))
        });
        drop(holder);
        waiter.join().unwrap();
        assert_eq!(semaphore.available(), 1);
        assert!(!semaphore.has_waiters());
    });
}

/// A cancelled waiter does not keep a permit that was granted to it, and does not block the next
/// waiter.
#[test]
fn a_cancellation_that_races_with_a_release_loses_no_permit() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let holder = semaphore.try_acquire().unwrap();
        let waiter = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(block_on(semaphore.acquire()))
        });
        let cancelled = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(poll_once(&mut semaphore.acquire()))
        });
        drop(holder);
        waiter.join().unwrap();
        cancelled.join().unwrap();
        assert_eq!(semaphore.available(), 1);
        assert!(!semaphore.has_waiters());
    });
}

/// The first waiter waits for two permits and is cancelled. The second waiter needs one, which is
/// available.
#[test]
fn cancelling_the_first_waiter_grants_permits_to_the_next() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(2));
        let holder = semaphore.try_acquire().unwrap();
        let mut first = semaphore.acquire_n(2);
        assert!(poll_once(&mut first).is_pending());
        let second = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(block_on(semaphore.acquire()))
        });
        drop(first);
        second.join().unwrap();
        drop(holder);
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn a_resize_that_races_with_an_acquire_and_a_release_keeps_the_count() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let waiter = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(block_on(semaphore.acquire_n(2)))
        });
        let releaser = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(semaphore.try_acquire())
        });
        semaphore.resize(2);
        waiter.join().unwrap();
        releaser.join().unwrap();
        semaphore.resize(0);
        assert!(semaphore.try_acquire().is_err());
        semaphore.resize(3);
        assert_eq!(semaphore.available(), 3);
    });
}

/// The close wakes the waiter, which finds the semaphore closed.
#[test]
fn an_acquire_that_races_with_a_close_is_woken_and_fails() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let closer = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || assert!(semaphore.close())
        });
        let waker = std::sync::Arc::new(Woken::default());
        let mut acquire = semaphore.acquire();
        let mut polled = waker.poll(&mut acquire);
        closer.join().unwrap();
        if polled.is_pending() {
            assert!(waker.is_woken(), "not woken");
            polled = waker.poll(&mut acquire);
        }
        assert!(matches!(polled, Poll::Ready(Err(SemaphoreClosed))));
        assert!(!semaphore.has_waiters());
    });
}

#[test]
fn a_close_that_races_with_a_release_wakes_all_waiters() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = semaphore.try_acquire().unwrap();
        let wakers = [(); 2].map(|()| std::sync::Arc::new(Woken::default()));
        let mut waiting = [(); 2].map(|()| semaphore.acquire());
        for (waker, acquire) in wakers.iter().zip(&mut waiting) {
            assert!(waker.poll(acquire).is_pending());
        }
        let closer = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || assert!(semaphore.close())
        });
        drop(held);
        closer.join().unwrap();
        let [first, second] = [0, 1].map(|n| {
            assert!(wakers[n].is_woken(), "waiter {n} was not woken");
            match wakers[n].poll(&mut waiting[n]) {
                Poll::Ready(result) => result.map(drop),
                Poll::Pending => panic!("waiter {n} is still waiting"),
            }
        });
        // The permit was granted to the first waiter before the close, or to none.
        assert!(first == Ok(()) || first == Err(SemaphoreClosed));
        assert_eq!(second, Err(SemaphoreClosed));
        assert_eq!(semaphore.in_use(), 0);
        assert!(!semaphore.has_waiters());
    });
}

/// A waiter that is cancelled during the close does not keep another one waiting.
#[test]
fn a_close_that_races_with_a_cancellation_ends_the_other_wait() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let waker = std::sync::Arc::new(Woken::default());
        let [mut cancelled, mut waiting] = [(); 2].map(|()| semaphore.acquire());
        assert!(waker.poll(&mut cancelled).is_pending());
        assert!(waker.poll(&mut waiting).is_pending());
        let closer = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || assert!(semaphore.close())
        });
        drop(cancelled);
        closer.join().unwrap();
        assert!(matches!(waker.poll(&mut waiting), Poll::Ready(Err(SemaphoreClosed))));
        assert!(!semaphore.has_waiters());
    });
}

// Loom checks that the memory of each oneshot is freed exactly once. The values are loom's `Arc`s,
// so that loom also reports a leaked value.

#[test]
fn a_oneshot_delivers_its_value() {
    loom::model(|| {
        let (sender, receiver) = oneshot();
        let thread = spawn(move || sender.send(Arc::new(5)).unwrap());
        assert_eq!(*block_on(receiver).unwrap(), 5);
        thread.join().unwrap();
    });
    loom::model(|| {
        let (sender, mut receiver) = oneshot();
        let thread = spawn(move || sender.send(Arc::new(5)).unwrap());
        let early = receiver.try_recv().unwrap();
        thread.join().unwrap();
        let value = early.unwrap_or_else(|| receiver.try_recv().unwrap().expect("it was sent"));
        assert_eq!(*value, 5);
        assert!(receiver.try_recv().is_err());
    });
}

/// Both a value and a dropped sender wake the waker of the last poll.
#[test]
fn a_oneshot_wakes_the_waker_of_the_last_poll() {
    for sends in [true, false] {
        loom::model(move || {
            let (sender, mut receiver) = oneshot();
            let wakers = [(); 2].map(|()| std::sync::Arc::new(Woken::default()));
            assert!(wakers[0].poll(&mut receiver).is_pending());
            let thread =
                spawn(move || if sends { sender.send(Arc::new(5)).unwrap() } else { drop(sender) });
            let early = wakers[1].poll(&mut receiver);
            thread.join().unwrap();
            let result = match early {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    assert!(wakers[1].is_woken(), "not woken");
                    match wakers[1].poll(&mut receiver) {
                        Poll::Ready(result) => result,
                        Poll::Pending => panic!("the sender has ended"),
                    }
                }
            };
            assert_eq!(result.is_ok(), sends);
            drop(receiver);
            assert!(wakers.iter().all(|waker| std::sync::Arc::strong_count(waker) == 1));
        });
    }
}

/// The value is dropped by the receiver or by the sender, whether or not the receiver has waited.
#[test]
fn a_oneshot_value_is_dropped_if_the_receiver_is_dropped_during_a_send() {
    for waits in [true, false] {
        loom::model(move || {
            let (sender, mut receiver) = oneshot();
            let value = Arc::new(());
            let waker = std::sync::Arc::new(Woken::default());
            if waits {
                assert!(waker.poll(&mut receiver).is_pending());
            }
            let thread = spawn({
                let value = Arc::clone(&value);
                move || drop(sender.send(value))
            });
            drop(receiver);
            thread.join().unwrap();
            assert_eq!(Arc::strong_count(&value), 1);
            assert_eq!(std::sync::Arc::strong_count(&waker), 1);
        });
        loom::model(move || {
            let (sender, mut receiver) = oneshot::<u32>();
            let waker = std::sync::Arc::new(Woken::default());
            if waits {
                assert!(waker.poll(&mut receiver).is_pending());
            }
            let thread = spawn(move || drop(sender));
            drop(receiver);
            thread.join().unwrap();
            assert_eq!(std::sync::Arc::strong_count(&waker), 1);
        });
    }
}
