//! Concurrent use of the ring, the channel, the semaphore and the oneshot, for ThreadSanitizer.
//!
//! The program has no test harness, because the sanitizer would also watch the threads of a
//! harness. It runs as an ordinary test otherwise.
//!
//! ```text
//! TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp" \
//! RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
//!     cargo +nightly test --test stress --target x86_64-unknown-linux-gnu
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use mainstay::ring::{Ring, channel};
use mainstay::wait::{Semaphore, oneshot};

const ITEMS: u64 = 5_000;

/// Runs the closures in parallel and joins each thread: the sanitizer recognizes a join as
/// synchronization, but not the end of a scope.
fn in_parallel<'a>(work: Vec<Box<dyn FnOnce() + Send + 'a>>) {
    thread::scope(|scope| {
        let threads: Vec<_> = work.into_iter().map(|work| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

fn main() {
    for capacity in [1, 2, 7, 64] {
        ring(capacity);
        channels(capacity);
    }
    last_receiver_dropped();
    semaphore();
    closing();
    oneshots();
    println!("no item and no permit was lost");
}

/// Every kind of push with every kind of pop. The items are boxes, so that a slot that is read
/// twice or too early is detected.
fn ring(capacity: usize) {
    let ring = Ring::new(capacity);
    let [pushed, popped] = [(); 2].map(|()| AtomicU64::new(0));
    {
        let (ring, pushed, popped) = (&ring, &pushed, &popped);
        let mut work: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        for kind in 0..3 {
            work.push(Box::new(move || {
                for item in 1..=ITEMS {
                    let entered = match kind {
                        0 => u64::from(ring.try_push(Box::new(item)).is_ok()) * item,
                        1 => match ring.force_push(Box::new(item)) {
                            Ok(evicted) => {
                                popped
                                    .fetch_add(evicted.map_or(0, |item| *item), Ordering::Relaxed);
                                item
                            }
                            Err(_) => 0,
                        },
                        _ => {
                            let mut batch = vec![Box::new(item), Box::new(item)].into_iter();
                            ring.try_push_batch(&mut batch).map_or(0, |count| count as u64 * item)
                        }
                    };
                    pushed.fetch_add(entered, Ordering::Relaxed);
                    thread::yield_now();
                }
            }));
        }
        for kind in 0..2 {
            work.push(Box::new(move || {
                let mut got: Vec<Box<u64>> = Vec::new();
                for _ in 0..2 * ITEMS {
                    if kind == 0 {
                        got.extend(ring.try_pop());
                    } else {
                        let _ = ring.try_pop_batch(&mut got, 3);
                    }
                    popped.fetch_add(got.drain(..).map(|item| *item).sum(), Ordering::Relaxed);
                    thread::yield_now();
                }
            }));
        }
        in_parallel(work);
    }
    popped.fetch_add(ring.drain().map(|item| *item).sum(), Ordering::Relaxed);
    assert_eq!(pushed.into_inner(), popped.into_inner());
}

fn channels(capacity: usize) {
    let (sender, receiver) = channel(capacity);
    let sum = AtomicU64::new(0);
    let mut work: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
    for _ in 0..3 {
        let (sender, receiver, sum) = (sender.clone(), receiver.clone(), &sum);
        work.push(Box::new(move || {
            (1..=ITEMS).for_each(|item| sender.send_blocking(Box::new(item)).unwrap());
        }));
        work.push(Box::new(move || {
            while let Ok(item) = receiver.recv_blocking() {
                sum.fetch_add(*item, Ordering::Relaxed);
            }
        }));
    }
    drop(sender);
    in_parallel(work);
    assert_eq!(sum.into_inner(), 3 * ITEMS * (ITEMS + 1) / 2);
}

/// The last receiver is dropped while three senders send in different ways. No item outlives it and
/// the sends, although the sender handles stay.
fn last_receiver_dropped() {
    for round in 0..300 {
        let item = Arc::new(());
        let (sender, receiver) = channel(64);
        let started = AtomicU64::new(0);
        let mut work: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        for kind in 0..3 {
            let (item, sender, started) = (&item, &sender, &started);
            work.push(Box::new(move || {
                loop {
                    started.fetch_add(1, Ordering::Relaxed);
                    let sent = match kind {
                        0 => sender.send_blocking(Arc::clone(item)).is_ok(),
                        1 => sender.force_send(Arc::clone(item)).map_err(drop).is_ok(),
                        _ => sender
                            .send_batch_blocking(&mut vec![Arc::clone(item); 20].into_iter())
                            .is_ok(),
                    };
                    if !sent && sender.is_closed() {
                        return;
                    }
                }
            }));
        }
        let started = &started;
        work.push(Box::new(move || {
            while started.load(Ordering::Relaxed) < round % 30 {
                thread::yield_now();
            }
            drop(receiver);
        }));
        in_parallel(work);
        assert_eq!(Arc::strong_count(&item), 1, "an item outlived the last receiver");
    }
}

/// The permit protects a load followed by a store.
fn semaphore() {
    let semaphore = Semaphore::new(1);
    let count = AtomicU64::new(0);
    let add = || {
        for _ in 0..ITEMS {
            let _permit = semaphore.acquire_blocking().unwrap();
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    };
    in_parallel((0..4).map(|_| Box::new(add) as Box<dyn FnOnce() + Send + '_>).collect());
    assert_eq!(count.into_inner(), 4 * ITEMS);
}

/// A close does not affect the holder of a permit. No waiter receives a permit after the close, and
/// no permit is lost.
fn closing() {
    for _ in 0..50 {
        let semaphore = Semaphore::new(1);
        let entered = AtomicU64::new(0);
        let mut work: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
        for kind in 0..4 {
            let (semaphore, entered) = (&semaphore, &entered);
            work.push(Box::new(move || {
                loop {
                    let permit = if kind == 0 {
                        semaphore.acquire_blocking_timeout(Duration::MAX).ok()
                    } else {
                        semaphore.acquire_blocking().ok()
                    };
                    let Some(_permit) = permit else { return };
                    entered.store(entered.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    thread::yield_now();
                }
            }));
        }
        work.push(Box::new(|| {
            while entered.load(Ordering::Relaxed) < 20 {
                thread::yield_now();
            }
            let permit = semaphore.acquire_blocking().unwrap();
            assert!(semaphore.close());
            thread::yield_now();
            drop(permit);
        }));
        in_parallel(work);
        assert_eq!(semaphore.in_use(), 0);
        assert!(!semaphore.has_waiters());
    }
}

/// A value is sent or not sent, to a receiver that blocks, polls with a new waker each time, or is
/// dropped.
fn oneshots() {
    for item in 0..400_u32 {
        let (sender, mut receiver) = oneshot();
        let thread = thread::spawn(move || {
            if item % 4 == 3 {
                drop(sender);
                return None;
            }
            sender.send(Box::new(item)).err()
        });
        let given_back = match item % 8 {
            0..=3 => {
                let answer = receiver.recv_blocking().ok();
                assert_eq!(answer, (item % 4 != 3).then(|| Box::new(item)));
                None
            }
            4 | 7 => {
                let mut polls = 0;
                let answer = loop {
                    let waker = Waker::from(Arc::new(Unpark(thread::current())));
                    match Pin::new(&mut receiver).poll(&mut Context::from_waker(&waker)) {
                        Poll::Ready(answer) => break answer.ok(),
                        Poll::Pending if polls < 3 => polls += 1,
                        Poll::Pending => thread::park(),
                    }
                };
                assert_eq!(answer, (item % 4 != 3).then(|| Box::new(item)));
                None
            }
            5 => receiver.try_recv().ok().flatten(),
            _ => {
                let _ = Pin::new(&mut receiver).poll(&mut Context::from_waker(Waker::noop()));
                drop(receiver);
                None
            }
        };
        drop((given_back, thread.join().unwrap()));
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
