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

/// Polls once, with a waker that nobody listens to.
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
    /// What one permit protects: loom sees an overlap of accesses, and a missing happens-before.
    cell: UnsafeCell<u32>,
}

// SAFETY: that is what the semaphore is there for, and what the models check.
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
fn a_permit_excludes_and_hands_over() {
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
            let _permit = guarded.semaphore.try_acquire().expect("both gave it back");
            guarded.touch();
            // SAFETY: as in `touch`.
            assert_eq!(guarded.cell.with(|value| unsafe { *value }), 3);
        });
    }
}

#[test]
fn release_against_wait() {
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

/// A waiter that gives up neither keeps a permit granted meanwhile nor holds up the next in line.
#[test]
fn cancel_against_release() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let holder = semaphore.try_acquire().unwrap();
        let patient = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(block_on(semaphore.acquire()))
        });
        let impatient = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(poll_once(&mut semaphore.acquire()))
        });
        drop(holder);
        patient.join().unwrap();
        impatient.join().unwrap();
        assert_eq!(semaphore.available(), 1);
        assert!(!semaphore.has_waiters());
    });
}

/// The heavy one at the front goes away: the light one behind it must be served.
#[test]
fn cancel_of_the_front_serves_the_next() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(2));
        let holder = semaphore.try_acquire().unwrap();
        let mut heavy = semaphore.acquire_n(2);
        assert!(poll_once(&mut heavy).is_pending());
        let light = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(block_on(semaphore.acquire()))
        });
        drop(heavy);
        light.join().unwrap();
        drop(holder);
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn resize_against_acquire_and_release() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let waiter = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(block_on(semaphore.acquire_n(2)))
        });
        let shrinker = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(semaphore.try_acquire())
        });
        semaphore.resize(2);
        waiter.join().unwrap();
        shrinker.join().unwrap();
        semaphore.resize(0);
        assert!(semaphore.try_acquire().is_err());
        semaphore.resize(3);
        assert_eq!(semaphore.available(), 3);
    });
}

/// Whoever waits when the semaphore is closed is told; or was served before, and has a permit.
#[test]
fn close_against_acquire() {
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
            assert!(waker.is(), "nobody told it");
            polled = waker.poll(&mut acquire);
        }
        assert!(matches!(polled, Poll::Ready(Err(SemaphoreClosed))));
        assert!(!semaphore.has_waiters());
    });
}

#[test]
fn close_against_release() {
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
            assert!(wakers[n].is(), "nobody told the waiter {n}");
            match wakers[n].poll(&mut waiting[n]) {
                Poll::Ready(answer) => answer.map(drop),
                Poll::Pending => panic!("it ended, one way or the other"),
            }
        });
        // The permit went to the first, and came back when everything was closed; or to nobody.
        assert!(first == Ok(()) || first == Err(SemaphoreClosed));
        assert_eq!(second, Err(SemaphoreClosed));
        assert_eq!(semaphore.available(), 1);
        assert!(!semaphore.has_waiters());
    });
}

/// Closing wakes; leaving at that moment must not get lost in it.
#[test]
fn close_against_cancel() {
    model(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let waker = std::sync::Arc::new(Woken::default());
        let [mut given_up, mut patient] = [(); 2].map(|()| semaphore.acquire());
        assert!(waker.poll(&mut given_up).is_pending());
        assert!(waker.poll(&mut patient).is_pending());
        let closer = spawn({
            let semaphore = Arc::clone(&semaphore);
            move || assert!(semaphore.close())
        });
        drop(given_up);
        closer.join().unwrap();
        assert!(matches!(waker.poll(&mut patient), Poll::Ready(Err(SemaphoreClosed))));
        assert!(!semaphore.has_waiters());
    });
}

// Loom counts the allocations of a oneshot, and its `Arc` tells whether a value got lost.

#[test]
fn oneshot_hands_over() {
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

/// Whoever polled last is woken, whichever waker it came with, for a value as for its absence.
#[test]
fn oneshot_wakes_the_last_waker() {
    for sends in [true, false] {
        loom::model(move || {
            let (sender, mut receiver) = oneshot();
            let wakers = [(); 2].map(|()| std::sync::Arc::new(Woken::default()));
            assert!(wakers[0].poll(&mut receiver).is_pending());
            let thread =
                spawn(move || if sends { sender.send(Arc::new(5)).unwrap() } else { drop(sender) });
            let early = wakers[1].poll(&mut receiver);
            thread.join().unwrap();
            let answer = match early {
                Poll::Ready(answer) => answer,
                Poll::Pending => {
                    assert!(wakers[1].is(), "nobody woke it");
                    match wakers[1].poll(&mut receiver) {
                        Poll::Ready(answer) => answer,
                        Poll::Pending => panic!("the last word was said"),
                    }
                }
            };
            assert_eq!(answer.is_ok(), sends);
            drop(receiver);
            assert!(wakers.iter().all(|waker| std::sync::Arc::strong_count(waker) == 1));
        });
    }
}

/// A receiver that goes away, having waited or not, gets the value or gives it back.
#[test]
fn oneshot_against_a_receiver_that_goes() {
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
