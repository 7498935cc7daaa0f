//! The broadcast: receiving, missing, waiting, starting late, closing, and its faults in other
//! projects.
#![cfg(not(mainstay_loom))]

use futures::StreamExt;
use futures::executor::block_on;
use mainstay::ring::{
    BroadcastMissed, BroadcastOverflow, BroadcastRecvError, BroadcastRecvTimeoutError,
    BroadcastSender, BroadcastStart, BroadcastSubscriber, BroadcastTryRecvError, PushError,
    SendTimeoutError, broadcast, try_broadcast,
};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use BroadcastOverflow::{OverwriteOldest, WaitForSlowest};

const RULES: [BroadcastOverflow; 2] = [OverwriteOldest, WaitForSlowest];

/// Counts its wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

fn received<T: Clone>(subscriber: &mut BroadcastSubscriber<T>) -> Vec<T> {
    let mut items = Vec::new();
    while let Ok(item) = subscriber.try_recv() {
        items.push(item);
    }
    items
}

#[test]
fn each_subscriber_receives_every_item_in_order() {
    for rule in RULES {
        let sender = broadcast(8, rule);
        let mut subscribers: Vec<_> = (0..3).map(|_| sender.subscribe()).collect();
        for round in 0..5 {
            let items: Vec<_> = (round * 8..round * 8 + 8).collect();
            items.iter().for_each(|item| sender.try_send(*item).unwrap());
            for subscriber in &mut subscribers {
                assert_eq!(subscriber.len(), 8);
                assert_eq!(received(subscriber), items);
                assert!(subscriber.is_empty());
            }
        }
    }
}

#[test]
fn a_slow_subscriber_learns_how_many_items_it_has_missed() {
    let sender = broadcast(4, OverwriteOldest);
    let mut slow = sender.subscribe();
    (0..100).for_each(|item| sender.try_send(item).unwrap());
    assert_eq!(slow.try_recv(), Err(BroadcastTryRecvError::Missed(96)));
    assert_eq!(received(&mut slow), [96, 97, 98, 99]);
    (100..106).for_each(|item| sender.try_send(item).unwrap());
    assert_eq!(slow.try_recv(), Err(BroadcastTryRecvError::Missed(2)));
    assert_eq!(received(&mut slow), [102, 103, 104, 105]);
}

#[test]
fn a_sender_that_waits_continues_when_the_slowest_subscriber_has_received_or_left() {
    let sender = broadcast(2, WaitForSlowest);
    let mut fast = sender.subscribe();
    let mut slow = sender.subscribe();
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    assert_eq!(received(&mut fast), [1, 2]);
    assert_eq!(sender.try_send(3), Err(PushError::Full(3)));
    assert_eq!(slow.try_recv(), Ok(1));
    sender.try_send(3).unwrap();
    assert_eq!(sender.try_send(4), Err(PushError::Full(4)));
    drop(slow);
    sender.try_send(4).unwrap();
    assert_eq!(received(&mut fast), [3, 4]);
}

#[test]
fn a_weak_subscriber_does_not_delay_senders_and_is_not_counted() {
    let sender = broadcast(2, WaitForSlowest);
    let mut weak = sender.subscribe().into_weak();
    assert!(weak.is_weak() && weak.clone().is_weak());
    assert_eq!(sender.subscribers(), 0);
    let mut strong = sender.subscribe();
    assert_eq!(sender.subscribers(), 1);
    for item in 0..10 {
        sender.try_send(item).unwrap();
        assert_eq!(strong.try_recv(), Ok(item));
    }
    assert_eq!(weak.try_recv(), Err(BroadcastTryRecvError::Missed(8)));
    assert_eq!(received(&mut weak), [8, 9]);
    // A subscriber that becomes weak releases the senders that wait for it.
    sender.try_send(10).unwrap();
    sender.try_send(11).unwrap();
    let mut full = sender.send(12);
    let wakes = Arc::new(Wakes::default());
    assert!(poll_once(&mut full, &Waker::from(wakes.clone())).is_pending());
    let strong = strong.into_weak();
    assert_eq!(wakes.count(), 1);
    assert_eq!(poll_once(&mut full, Waker::noop()), Poll::Ready(Ok(())));
    drop(strong);
    assert_eq!(sender.subscribers(), 0);
}

#[test]
fn a_late_subscriber_starts_now_or_at_the_oldest_item_kept() {
    for rule in RULES {
        let sender = broadcast(3, rule);
        for sent in 0..10_u32 {
            let mut now = sender.subscribe().into_weak();
            let mut oldest = sender.subscribe_from(BroadcastStart::OldestKept).into_weak();
            let kept: Vec<_> = (sent.saturating_sub(3)..sent).collect();
            assert_eq!(received(&mut now), []);
            assert_eq!(received(&mut oldest), kept, "{rule:?}");
            sender.try_send(sent).unwrap();
            assert_eq!((now.try_recv(), oldest.try_recv()), (Ok(sent), Ok(sent)));
        }
    }
}

#[test]
fn a_clone_of_a_subscriber_continues_from_the_same_item() {
    for rule in RULES {
        let sender = broadcast(4, rule);
        let mut subscriber = sender.subscribe();
        (0..4).for_each(|item| sender.try_send(item).unwrap());
        assert_eq!(subscriber.try_recv(), Ok(0));
        let mut clone = subscriber.clone();
        assert_eq!(received(&mut subscriber), [1, 2, 3]);
        assert_eq!(received(&mut clone), [1, 2, 3]);
        assert_eq!(sender.subscribers(), 2);
    }
}

#[test]
fn a_batch_ends_before_missed_items() {
    let sender = broadcast(4, OverwriteOldest);
    let mut subscriber = sender.subscribe();
    (0..4).for_each(|item| sender.try_send(item).unwrap());
    let mut items = Vec::new();
    assert_eq!(subscriber.try_recv_batch(&mut items, 0), Ok(0));
    assert_eq!(subscriber.try_recv_batch(&mut items, 3), Ok(3));
    assert_eq!(subscriber.try_recv_batch(&mut items, 3), Ok(1));
    assert_eq!(subscriber.try_recv_batch(&mut items, 3), Err(BroadcastTryRecvError::Empty));
    assert_eq!(items, [0, 1, 2, 3]);
    (4..10).for_each(|item| sender.try_send(item).unwrap());
    let batch = subscriber.try_recv_batch(&mut items, 3);
    assert_eq!(batch, Err(BroadcastTryRecvError::Missed(2)));
    assert_eq!(block_on(subscriber.recv_batch(&mut items, 9)), Ok(4));
    assert_eq!(items, [0, 1, 2, 3, 6, 7, 8, 9]);
    drop(sender);
    assert_eq!(subscriber.recv_batch_blocking(&mut items, 9), Err(BroadcastRecvError::Closed));
}

#[test]
fn after_closing_the_kept_items_are_received_and_then_the_end() {
    for rule in RULES {
        for sent in 0..8 {
            let sender = broadcast(3, rule);
            let mut subscriber = sender.subscribe();
            let mut weak = sender.subscribe().into_weak();
            let accepted = (0..sent).filter(|item| sender.try_send(*item).is_ok()).count() as u32;
            assert!(!subscriber.is_closed());
            assert!(sender.close());
            assert!(!sender.clone().close());
            assert!(sender.is_closed() && subscriber.is_closed());
            assert_eq!(sender.try_send(9), Err(PushError::Closed(9)));
            for subscriber in [&mut subscriber, &mut weak] {
                let first = accepted.saturating_sub(3);
                if first > 0 {
                    let missed = BroadcastTryRecvError::Missed(first.into());
                    assert_eq!(subscriber.try_recv(), Err(missed), "{rule:?} {sent}");
                }
                assert_eq!(received(subscriber), (first..accepted).collect::<Vec<_>>());
                assert_eq!(subscriber.try_recv(), Err(BroadcastTryRecvError::Closed));
                assert_eq!(subscriber.recv_blocking(), Err(BroadcastRecvError::Closed));
            }
            let mut late = sender.subscribe_from(BroadcastStart::OldestKept);
            let end = late.try_recv();
            assert!(end.is_ok() == (accepted > 0) || rule == WaitForSlowest, "{end:?}");
        }
    }
}

#[test]
fn the_last_sender_closes_the_broadcast_and_completes_the_waits_for_it() {
    let sender = broadcast::<u8>(1, OverwriteOldest);
    let mut subscriber = sender.subscribe();
    let observer = subscriber.clone();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut closed = observer.closed();
    let mut recv = subscriber.recv();
    assert!(poll_once(&mut closed, &waker).is_pending());
    assert!(poll_once(&mut recv, &waker).is_pending());
    let other = sender.clone();
    drop(sender);
    assert_eq!(wakes.count(), 0);
    drop(other);
    assert_eq!(wakes.count(), 2);
    assert_eq!(poll_once(&mut closed, &waker), Poll::Ready(()));
    assert_eq!(poll_once(&mut recv, &waker), Poll::Ready(Err(BroadcastRecvError::Closed)));
}

#[test]
fn one_send_wakes_all_waiting_subscribers_once() {
    let sender = broadcast(4, OverwriteOldest);
    let mut subscribers: Vec<_> = (0..100).map(|_| sender.subscribe()).collect();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    for round in 0..3 {
        let mut waits: Vec<_> = subscribers.iter_mut().map(BroadcastSubscriber::recv).collect();
        for wait in &mut waits {
            assert!(poll_once(wait, &waker).is_pending());
            assert!(poll_once(wait, &waker).is_pending(), "a second poll replaces the waker");
        }
        sender.try_send(round).unwrap();
        assert_eq!(wakes.count(), 100 * (round + 1));
        for wait in &mut waits {
            assert_eq!(poll_once(wait, &waker), Poll::Ready(Ok(round)));
        }
    }
}

#[test]
fn a_wait_that_is_dropped_leaves_the_queue() {
    for rule in RULES {
        let sender = broadcast(1, rule);
        let mut subscriber = sender.subscribe();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        for polls in 0..3 {
            let mut wait = subscriber.recv();
            (0..polls).for_each(|_| assert!(poll_once(&mut wait, &waker).is_pending()));
        }
        assert_eq!(Arc::strong_count(&wakes), 2, "no waker is left in the queue");
        sender.try_send(1).unwrap();
        if rule == WaitForSlowest {
            for polls in 0..3 {
                let mut wait = sender.send(2);
                (0..polls).for_each(|_| assert!(poll_once(&mut wait, &waker).is_pending()));
            }
            assert_eq!(Arc::strong_count(&wakes), 2, "no waker is left in the queue");
        }
        assert_eq!(subscriber.try_recv(), Ok(1));
        assert_eq!(wakes.count(), 0);
    }
}

#[test]
fn timeouts_return_the_item_and_leave_the_queue() {
    let limit = Duration::from_millis(1);
    let sender = broadcast(1, WaitForSlowest);
    let mut subscriber = sender.subscribe();
    assert_eq!(block_on(subscriber.recv_timeout(limit)), Err(BroadcastRecvTimeoutError::Timeout));
    assert_eq!(subscriber.recv_blocking_timeout(limit), Err(BroadcastRecvTimeoutError::Timeout));
    assert_eq!(sender.send_blocking_timeout(1, limit), Ok(()));
    assert_eq!(sender.send_blocking_timeout(2, limit), Err(SendTimeoutError::Timeout(2)));
    assert_eq!(block_on(sender.send_timeout(2, limit)), Err(SendTimeoutError::Timeout(2)));
    assert_eq!(block_on(subscriber.recv_timeout(limit)), Ok(1));
    sender.close();
    assert_eq!(block_on(sender.send_timeout(2, limit)), Err(SendTimeoutError::Closed(2)));
    assert_eq!(subscriber.recv_blocking_timeout(limit), Err(BroadcastRecvTimeoutError::Closed));
}

#[test]
fn a_blocked_sender_and_a_blocked_subscriber_wake_each_other() {
    for capacity in [1, 2, 7] {
        let sender = broadcast(capacity, WaitForSlowest);
        let mut subscribers: Vec<_> = (0..2).map(|_| sender.subscribe()).collect();
        thread::scope(|scope| {
            for subscriber in &mut subscribers {
                scope.spawn(|| {
                    (0..10_000).for_each(|i| assert_eq!(subscriber.recv_blocking(), Ok(i)));
                    assert_eq!(subscriber.recv_blocking(), Err(BroadcastRecvError::Closed));
                });
            }
            (0..10_000).for_each(|item| sender.send_blocking(item).unwrap());
            drop(sender);
        });
    }
}

#[test]
fn a_capacity_of_zero_is_rejected_or_counts_as_one() {
    assert_eq!(broadcast::<u8>(0, OverwriteOldest).capacity(), 1);
    for capacity in [0, usize::MAX, usize::MAX / 2, 1 << 56] {
        let error = try_broadcast::<u64>(capacity, OverwriteOldest).unwrap_err();
        assert_eq!(error.field(), "capacity");
    }
}

/// An item that runs `on_clone` when it is cloned.
struct Hooked {
    number: u32,
    on_clone: Arc<dyn Fn(u32) + Send + Sync>,
}

impl Clone for Hooked {
    fn clone(&self) -> Self {
        (self.on_clone)(self.number);
        Self { number: self.number, on_clone: self.on_clone.clone() }
    }
}

#[test]
fn a_sender_passes_over_a_slot_whose_item_is_being_cloned() {
    for capacity in [1, 2, 5] {
        let sender: BroadcastSender<Hooked> = broadcast(capacity, OverwriteOldest);
        let mut other = sender.subscribe();
        let mut subscriber = sender.subscribe();
        let inner = Mutex::new(Some(sender.clone()));
        let quiet: Arc<dyn Fn(u32) + Send + Sync> = Arc::new(|_| {});
        let on_clone = {
            let quiet = quiet.clone();
            // The first clone sends 20 items, several laps, while it reads the slot.
            move |_| {
                if let Some(sender) = inner.lock().unwrap().take() {
                    for number in 1..=20 {
                        let item = Hooked { number, on_clone: quiet.clone() };
                        assert!(sender.try_send(item).is_ok());
                    }
                }
            }
        };
        assert!(sender.try_send(Hooked { number: 0, on_clone: Arc::new(on_clone) }).is_ok());
        assert_eq!(subscriber.try_recv().map(|item| item.number), Ok(0));
        // Every item is received, or counted as missed.
        for subscriber in [&mut subscriber, &mut other] {
            let (mut missed, mut numbers) = (0, Vec::new());
            loop {
                match subscriber.try_recv() {
                    Ok(item) => numbers.push(item.number),
                    Err(BroadcastTryRecvError::Missed(count)) => missed += count as u32,
                    Err(error) => break assert_eq!(error, BroadcastTryRecvError::Empty),
                }
            }
            let first = 21 - numbers.len() as u32;
            assert_eq!(numbers, (first..=20).collect::<Vec<_>>());
            assert!(numbers.len() <= capacity && numbers.len() + 1 >= capacity);
            assert!(missed == first || missed + 1 == first, "{missed} {first}");
        }
    }
}

#[test]
fn an_item_whose_clone_panics_counts_as_received() {
    for rule in RULES {
        let sender = broadcast(1, rule);
        let mut subscriber = sender.subscribe();
        let on_clone: Arc<dyn Fn(u32) + Send + Sync> = Arc::new(|number| {
            if number == 1 {
                resume_unwind(Box::new("clone"));
            }
        });
        let item = |number| Hooked { number, on_clone: on_clone.clone() };
        assert!(sender.try_send(item(1)).is_ok());
        let wakes = Arc::new(Wakes::default());
        let mut full = sender.send(item(2));
        let waker = Waker::from(wakes.clone());
        let was_full = poll_once(&mut full, &waker).is_pending();
        assert_eq!(was_full, rule == WaitForSlowest);
        if was_full {
            assert!(catch_unwind(AssertUnwindSafe(|| subscriber.try_recv())).is_err());
            assert_eq!(wakes.count(), 1, "the sender is woken");
            assert!(poll_once(&mut full, &waker).is_ready());
        } else {
            assert!(catch_unwind(AssertUnwindSafe(|| subscriber.try_recv())).is_err());
        }
        assert_eq!(subscriber.try_recv().map(|item| item.number), Ok(2));
    }
}

#[test]
fn items_are_dropped_when_they_are_overwritten_and_with_the_ring() {
    let sender = broadcast(3, OverwriteOldest);
    let item = Arc::new(());
    let subscriber = sender.subscribe();
    for sent in 1..10_usize {
        sender.try_send(item.clone()).unwrap();
        // One slot more than the capacity.
        assert_eq!(Arc::strong_count(&item), 1 + sent.min(4));
    }
    drop(sender);
    drop(subscriber);
    assert_eq!(Arc::strong_count(&item), 1);
}

// async-broadcast#55
#[test]
fn a_stream_reports_missed_items_and_continues() {
    let sender = broadcast(1, OverwriteOldest);
    let mut stream = sender.subscribe().into_stream();
    (1..=3).for_each(|item| sender.try_send(item).unwrap());
    assert_eq!(block_on(stream.next()), Some(Err(BroadcastMissed(2))));
    assert_eq!(block_on(stream.next()), Some(Ok(3)));
    assert!(poll_once(&mut stream.next(), Waker::noop()).is_pending());
    drop(sender);
    assert_eq!(block_on(stream.next()), None);
}

// tokio#2123, tokio#2533
#[test]
fn an_overtaken_subscriber_can_be_dropped_and_never_counts_below_zero() {
    let sender = broadcast(2, OverwriteOldest);
    for sent in 0..50 {
        let mut overtaken = sender.subscribe();
        (0..sent).for_each(|item| sender.try_send(item).unwrap());
        drop(overtaken.clone());
        match overtaken.try_recv() {
            Err(BroadcastTryRecvError::Missed(count)) => assert_eq!(count, sent - 2),
            other => assert!(sent <= 3, "{other:?}"),
        }
    }
}

/// An item whose next clone on this thread calls a function.
struct CallsOnClone(u32);

thread_local!(static ON_CLONE: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) });

impl Clone for CallsOnClone {
    fn clone(&self) -> Self {
        if let Some(hook) = ON_CLONE.take() {
            hook();
        }
        Self(self.0)
    }
}

#[test]
fn a_position_that_a_pinned_slot_leaves_empty_wakes_the_subscribers_that_hold_back_senders() {
    let sender = broadcast(1, WaitForSlowest);
    let mut strong = sender.subscribe();
    let mut weak = strong.clone().into_weak();
    for item in [1, 2] {
        assert!(sender.try_send(CallsOnClone(item)).is_ok());
        assert_eq!(strong.try_recv().unwrap().0, item);
    }
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let strong = Rc::new(RefCell::new(strong));
    ON_CLONE.set(Some(Box::new({
        let (strong, sender) = (Rc::clone(&strong), sender.clone());
        move || {
            // The clone of the first item pins the slot that the third would use.
            let mut strong = strong.borrow_mut();
            let mut waiting = strong.recv();
            assert!(poll_once(&mut waiting, &waker).is_pending());
            assert!(matches!(sender.try_send(CallsOnClone(3)), Err(PushError::Full(_))));
            assert_eq!(wakes.count(), 1);
            assert!(poll_once(&mut waiting, &waker).is_pending());
            assert!(sender.try_send(CallsOnClone(3)).is_ok());
        }
    })));
    assert_eq!(weak.try_recv().unwrap().0, 1);
    assert_eq!(strong.borrow_mut().try_recv().unwrap().0, 3);
}
