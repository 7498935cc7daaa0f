//! Models of waiting under every interleaving that loom can tell apart.

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

/// Polls once, with a waker that has no effect.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Parker::current().waker()))
}

/// A waker that remembers whether it was called.
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

    fn is(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

struct Guarded {
    semaphore: Semaphore,
    /// Protected by the one permit. Loom reports overlapping accesses and a missing happens-before
    /// edge.
    cell: UnsafeCell<u32>,
}

// SAFETY: the cell is accessed with a permit only; the models check that this is enough.
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
fn a_permit_excludes_others_and_is_handed_over() {
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
            let _permit = guarded.semaphore.try_acquire().expect("both threads released it");
            guarded.touch();
            // SAFETY: as in `touch`.
            assert_eq!(guarded.cell.with(|value| unsafe { *value }), 3);
        });
    }
}

#[test]
fn a_release_races_with_a_waiter() {
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

/// A waiter that is cancelled neither keeps a permit granted meanwhile nor holds up the next
/// waiter.
#[test]
fn a_cancellation_races_with_a_release() {
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

/// The waiter for two permits at the front is cancelled: the waiter for one behind it is served.
#[test]
fn cancelling_the_first_waiter_serves_the_next() {
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
fn a_resize_races_with_an_acquire_and_a_release() {
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

/// A waiter is woken by the close and finds the semaphore closed.
#[test]
fn a_close_races_with_an_acquire() {
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
            assert!(waker.is(), "not woken");
            polled = waker.poll(&mut acquire);
        }
        assert!(matches!(polled, Poll::Ready(Err(SemaphoreClosed))));
        assert!(!semaphore.has_waiters());
    });
}

#[test]
fn a_close_races_with_a_release() {
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
            assert!(wakers[n].is(), "waiter {n} was not woken");
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

/// A cancellation during the close keeps no other waiter asleep.
#[test]
fn a_close_races_with_a_cancellation() {
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

// Loom checks that each allocation of a oneshot is freed once, and `Arc` that no value is lost.

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
        let value = early.unwrap_or_else(|| receiver.try_recv().unwrap().expect("sent by now"));
        assert_eq!(*value, 5);
        assert!(receiver.try_recv().is_err());
    });
}

/// The waker of the last poll is woken, by a value and by a dropped sender.
#[test]
fn a_oneshot_wakes_the_last_waker() {
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
                    assert!(wakers[1].is(), "not woken");
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

/// A receiver that is dropped, having waited or not, drops the value or leaves it to the sender.
#[test]
fn a_oneshot_receiver_is_dropped_during_a_send() {
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
