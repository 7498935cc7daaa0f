//! Semaphore, oneshot and channel through their public face: order, cancellation, accounting.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures::{SinkExt, StreamExt, executor::block_on};
use mainstay::ring::{PopError, RecvError, SendError, TimeoutError, channel};
use mainstay::wait::{QueueOrder, Semaphore, SemaphoreClosed, SemaphoreError, oneshot};
use proptest::prelude::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn waiters_are_served_in_the_order_asked_for() {
    for (order, expected) in [(QueueOrder::Fifo, [0, 1, 2]), (QueueOrder::Lifo, [2, 1, 0])] {
        let semaphore = Semaphore::with_order(1, order);
        let mut held = semaphore.try_acquire().ok();
        let mut waiters: Vec<_> = (0..3).map(|_| Some(semaphore.acquire())).collect();
        for waiter in waiters.iter_mut().flatten() {
            assert!(poll(waiter).is_pending());
        }
        assert!(semaphore.try_acquire().is_err());
        for next in expected {
            drop(held.take());
            assert!(semaphore.try_acquire().is_err(), "nobody overtakes");
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
fn a_limit_that_shrinks_revokes_nothing_and_grants_nothing() {
    let semaphore = Semaphore::new(3);
    let held: Vec<_> = (0..3).map(|_| semaphore.try_acquire().unwrap()).collect();
    semaphore.resize(1);
    let mut waiter = semaphore.acquire();
    assert!(poll(&mut waiter).is_pending());
    for (gone, permit) in held.into_iter().enumerate() {
        assert_eq!(semaphore.available(), 0);
        assert!(poll(&mut waiter).is_pending(), "after {gone} of 3");
        drop(permit);
    }
    let Poll::Ready(Ok(permit)) = poll(&mut waiter) else { panic!("below the limit at last") };
    let mut heavy = semaphore.acquire_n(5);
    assert!(poll(&mut heavy).is_pending());
    semaphore.resize(6);
    let Poll::Ready(Ok(heavy)) = poll(&mut heavy) else {
        panic!("there are six now, and one is held")
    };
    assert_eq!(semaphore.available(), 0);
    drop((permit, heavy));
    assert_eq!(semaphore.available(), 6);
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

fn free(limit: i64, held: &[mainstay::wait::SemaphorePermit<'_>]) -> i64 {
    limit - held.iter().map(|permit| i64::from(permit.count())).sum::<i64>()
}

proptest! {
    /// Against a model that is a list of the waiting and a sum of the held.
    #[test]
    fn the_semaphore_behaves_like_a_list(lifo: bool, steps in proptest::collection::vec(step(), 0..120)) {
        let order = if lifo { QueueOrder::Lifo } else { QueueOrder::Fifo };
        let semaphore = Semaphore::with_order(3, order);
        let mut limit = 3i64;
        let mut held = Vec::new();
        let mut waiting: Vec<(u32, _)> = Vec::new();
        for step in steps {
            match step {
                Step::Acquire(weight) => {
                    let mut future = semaphore.acquire_n(weight);
                    let next = waiting.is_empty() || lifo;
                    let expected = next && free(limit, &held) >= i64::from(weight);
                    match poll(&mut future) {
                        Poll::Ready(permit) => { prop_assert!(expected); held.push(permit.unwrap()) }
                        Poll::Pending => { prop_assert!(!expected); waiting.push((weight, future)) }
                    }
                }
                Step::TryAcquire(weight) => {
                    let expected = waiting.is_empty() && free(limit, &held) >= i64::from(weight);
                    let permit = semaphore.try_acquire_n(weight);
                    prop_assert_eq!(permit.is_ok(), expected);
                    held.extend(permit);
                }
                Step::Release(n) if n < held.len() => drop(held.swap_remove(n)),
                Step::Cancel(n) if n < waiting.len() => drop(waiting.remove(n)),
                Step::Resize(to) => { semaphore.resize(to); limit = i64::from(to) }
                _ => {}
            }
            // Whoever is next gets as much as there is.
            loop {
                let next = if lifo { waiting.len().checked_sub(1) } else { (!waiting.is_empty()).then_some(0) };
                let Some(next) = next.filter(|next| i64::from(waiting[*next].0) <= free(limit, &held)) else { break };
                let (_, mut future) = waiting.remove(next);
                let Poll::Ready(Ok(permit)) = poll(&mut future) else { panic!("its turn") };
                held.push(permit);
            }
            for (_, future) in &mut waiting {
                prop_assert!(poll(future).is_pending(), "not its turn");
            }
            prop_assert_eq!(i64::from(semaphore.available()), free(limit, &held).max(0));
        }
        drop(waiting);
        drop(held);
        prop_assert_eq!(i64::from(semaphore.available()), limit);
        prop_assert!(!semaphore.has_waiters());
    }
}

#[test]
fn closing_ends_waiting_and_revokes_nothing() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire().unwrap();
    let woken = Arc::new(Count::default());
    // More than are woken in one go.
    let mut waiters: Vec<_> = (0..40).map(|_| semaphore.acquire()).collect();
    for waiter in &mut waiters {
        let waker = Waker::from(Arc::clone(&woken));
        assert!(Pin::new(waiter).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    // Served before the end, though it does not know yet.
    drop(held);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);

    assert!(!semaphore.is_closed());
    assert!(semaphore.close());
    assert!(!semaphore.close(), "once");
    assert!(semaphore.is_closed());
    assert_eq!(woken.0.load(Ordering::SeqCst), 40);

    let mut waiters = waiters.into_iter();
    let Poll::Ready(Ok(granted)) = poll(&mut waiters.next().unwrap()) else {
        panic!("granted before")
    };
    drop(waiters.next().unwrap());
    for mut waiter in waiters {
        assert!(matches!(poll(&mut waiter), Poll::Ready(Err(SemaphoreClosed))));
    }
    assert!(!semaphore.has_waiters());
    drop(granted);
    assert_eq!(semaphore.available(), 1);

    assert_eq!(semaphore.try_acquire().unwrap_err(), SemaphoreError::Closed);
    assert_eq!(semaphore.acquire_blocking().unwrap_err(), SemaphoreClosed);
    assert_eq!(
        semaphore.acquire_blocking_timeout(Duration::MAX).unwrap_err(),
        SemaphoreError::Closed
    );
    assert_eq!(block_on(semaphore.acquire_n(9)).unwrap_err(), SemaphoreClosed);
    semaphore.resize(9);
    assert_eq!(semaphore.try_acquire().unwrap_err(), SemaphoreError::Closed);
}

#[test]
fn an_owned_permit_keeps_its_semaphore() {
    let semaphore = Arc::new(Semaphore::new(2));
    let weak = Arc::downgrade(&semaphore);
    let first = semaphore.try_acquire_n_owned(2).unwrap();
    assert_eq!(first.count(), 2);
    assert_eq!(semaphore.try_acquire_owned().unwrap_err(), SemaphoreError::Exhausted);
    let waiting = thread::spawn({
        let acquire = semaphore.acquire_owned();
        move || block_on(acquire).unwrap()
    });
    let mut given_up = semaphore.acquire_owned();
    assert!(poll(&mut given_up).is_pending());
    drop(given_up);
    drop(first);
    let second = waiting.join().unwrap();
    assert_eq!(semaphore.available(), 1);
    drop(semaphore);
    assert!(Arc::ptr_eq(second.semaphore(), &weak.upgrade().unwrap()));
    drop(second);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_panicking_waker_keeps_nobody_asleep() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that does not want to");
        }
    }
    let semaphore = Semaphore::new(0);
    let woken = Arc::new(Count::default());
    let mut waiters: Vec<_> = (0..40).map(|_| semaphore.acquire()).collect();
    for (id, waiter) in waiters.iter_mut().enumerate() {
        let waker =
            if id == 0 { Waker::from(Arc::new(Panics)) } else { Waker::from(Arc::clone(&woken)) };
        assert!(Pin::new(waiter).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    catch_unwind(AssertUnwindSafe(|| semaphore.resize(40))).unwrap_err();
    assert_eq!(woken.0.load(Ordering::SeqCst), 39);
    assert!(waiters.iter_mut().all(|waiter| poll(waiter).is_ready()));
    assert_eq!(semaphore.available(), 40);
}

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
fn waits_with_an_end_end() {
    let semaphore = Semaphore::new(0);
    let refused = semaphore.acquire_blocking_timeout(Duration::from_millis(1)).unwrap_err();
    assert_eq!(refused, SemaphoreError::Exhausted);
    assert!(!semaphore.has_waiters(), "it left the queue");

    let (_sender, mut receiver) = oneshot::<u8>();
    assert_eq!(receiver.recv_blocking_timeout(Duration::from_millis(1)), Ok(None));

    let (sender, receiver) = channel(1);
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(TimeoutError::Timeout(())));
    sender.send_timeout(1, Duration::MAX).unwrap();
    assert_eq!(sender.send_timeout(2, Duration::from_millis(1)), Err(TimeoutError::Timeout(2)));
    assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(1));
    drop(sender);
    assert_eq!(receiver.recv_timeout(Duration::MAX), Err(TimeoutError::Closed(())));
}

#[test]
fn the_last_peer_to_go_closes_the_channel() {
    let (sender, receiver) = channel(2);
    let second = sender.clone();
    sender.try_send(1).unwrap();
    drop(sender);
    assert!(!receiver.is_closed());
    drop(second);
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(receiver.try_recv(), Err(PopError::Closed));
    assert_eq!(block_on(receiver.recv()), Err(RecvError));

    let item = Arc::new(());
    let (sender, receiver) = channel(2);
    sender.try_send(Arc::clone(&item)).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&item), 1, "what nobody will receive is dropped at once");
    assert!(matches!(block_on(sender.send(item)), Err(SendError(_))));
}

#[test]
fn a_stream_and_a_sink() {
    let (sender, receiver) = channel(2);
    let feed = thread::spawn(move || {
        block_on(async {
            let mut sink = sender.into_sink();
            for number in 0..1000 {
                sink.feed(number).await.unwrap();
            }
            sink.close().await.unwrap();
        });
    });
    let numbers: Vec<u32> = block_on(receiver.into_stream().collect());
    feed.join().unwrap();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());

    let (sender, receiver) = channel(1);
    let mut sink = pin!(sender.into_sink());
    block_on(sink.send(1)).unwrap();
    drop(receiver);
    assert_eq!(block_on(sink.send(2)), Err(SendError(2)));
}

/// Nothing is lost, nothing comes twice, and what one producer sent comes in its order.
#[test]
fn four_producers_and_four_consumers_account_for_everything() {
    const EACH: u64 = 20_000;
    const PRODUCERS: u64 = 4;
    for capacity in [1, 3, 64] {
        let each = if capacity == 1 { EACH / 10 } else { EACH };
        let (sender, receiver) = channel::<u64>(capacity);
        let received: Vec<Vec<u64>> = thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let sender = sender.clone();
                scope.spawn(move || {
                    let mut items =
                        (producer * each..(producer + 1) * each).collect::<Vec<_>>().into_iter();
                    while items.len() > 0 {
                        match producer {
                            0 => sender.send_blocking(items.next().unwrap()).unwrap(),
                            1 => block_on(sender.send(items.next().unwrap())).unwrap(),
                            2 => sender.send_batch_blocking(&mut items).unwrap(),
                            _ => drop(block_on(sender.send_batch(&mut items))),
                        }
                    }
                });
            }
            drop(sender);
            let consumers: Vec<_> = (0..4)
                .map(|consumer| {
                    let receiver = receiver.clone();
                    scope.spawn(move || {
                        let mut got = Vec::new();
                        loop {
                            let more = match consumer {
                                0 => receiver.recv_blocking().map(|item| got.push(item)).is_ok(),
                                1 => block_on(receiver.recv()).map(|item| got.push(item)).is_ok(),
                                2 => receiver.recv_batch_blocking(&mut got, 16).is_ok(),
                                // Gives up now and then: a cancelled wait must cost nobody anything.
                                _ => {
                                    let _ = poll(&mut receiver.recv()).map(|item| got.extend(item));
                                    !(receiver.is_closed() && receiver.is_empty())
                                }
                            };
                            if !more {
                                return got;
                            }
                        }
                    })
                })
                .collect();
            consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect()
        });
        for got in &received {
            for producer in 0..PRODUCERS {
                let own: Vec<u64> =
                    got.iter().copied().filter(|item| item / each == producer).collect();
                assert!(own.is_sorted(), "producer {producer} out of order");
            }
        }
        let mut all: Vec<u64> = received.concat();
        all.sort_unstable();
        assert_eq!(all, (0..PRODUCERS * each).collect::<Vec<_>>());
    }
}
