//! Concurrent use of the broadcast with exact accounts, for ThreadSanitizer; see `stress.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::{future::Future, pin::pin, sync::Arc};

use mainstay::ring::{
    BroadcastOverflow, BroadcastRecvError, BroadcastStart, BroadcastSubscriber,
    BroadcastTryRecvError, PushError, broadcast,
};

/// An item that shows whether it was torn: all words are derived from the first one.
type Item = Arc<[u64; 4]>;

fn item(sender: u64, number: u64) -> Item {
    let word = sender << 32 | number;
    Arc::new([word, !word, word.rotate_left(7), word ^ 0x5555])
}

fn numbers(item: &Item) -> (u64, u64) {
    let word = item[0];
    assert_eq!(**item, [word, !word, word.rotate_left(7), word ^ 0x5555], "a torn item");
    (word >> 32, word & 0xffff_ffff)
}

/// What one subscriber received.
#[derive(Default)]
struct Account {
    received: u64,
    missed: u64,
    /// The number after the last one, for each sender.
    next: [u64; 4],
}

impl Account {
    fn add(&mut self, item: &Item) {
        let (sender, number) = numbers(item);
        let next = &mut self.next[sender as usize];
        assert!(number >= *next, "the items of a sender arrive in order");
        *next = number + 1;
        self.received += 1;
    }
}

fn main() {
    for capacity in [1, 2, 7, 64] {
        for overflow in [BroadcastOverflow::OverwriteOldest, BroadcastOverflow::WaitForSlowest] {
            senders_and_subscribers(capacity, overflow, 3_000);
        }
    }
    joining_and_leaving();
    for overflow in [BroadcastOverflow::OverwriteOldest, BroadcastOverflow::WaitForSlowest] {
        ten_thousand_subscribers(overflow);
    }
    println!("no item was torn, reordered or missed without being counted");
}

/// Four senders, and four subscribers that receive in different ways.
fn senders_and_subscribers(capacity: usize, overflow: BroadcastOverflow, items: u64) {
    let sender = broadcast(capacity, overflow);
    let subscribers: Vec<_> = (0..4).map(|_| sender.subscribe()).collect();
    thread::scope(|scope| {
        let receiving: Vec<_> = subscribers
            .into_iter()
            .enumerate()
            .map(|(kind, subscriber)| scope.spawn(move || receive(subscriber, kind)))
            .collect();
        let sending: Vec<_> = (0..4)
            .map(|id| {
                let sender = sender.clone();
                scope.spawn(move || {
                    for number in 0..items {
                        assert!(sender.send_blocking(item(id, number)).is_ok());
                    }
                })
            })
            .collect();
        sending.into_iter().for_each(|thread| thread.join().unwrap());
        drop(sender);
        for thread in receiving {
            let account = thread.join().unwrap();
            assert_eq!(account.received + account.missed, 4 * items);
            if overflow == BroadcastOverflow::WaitForSlowest {
                assert_eq!((account.missed, account.next), (0, [items; 4]));
            }
        }
    });
}

fn receive(mut subscriber: BroadcastSubscriber<Item>, kind: usize) -> Account {
    let mut account = Account::default();
    let mut batch = Vec::new();
    loop {
        let error = match kind {
            0 => match subscriber.try_recv() {
                Ok(item) => {
                    account.add(&item);
                    continue;
                }
                Err(BroadcastTryRecvError::Empty | BroadcastTryRecvError::Busy) => {
                    thread::yield_now();
                    continue;
                }
                Err(BroadcastTryRecvError::Missed(count)) => BroadcastRecvError::Missed(count),
                Err(BroadcastTryRecvError::Closed) => BroadcastRecvError::Closed,
            },
            1 => match subscriber.recv_batch_blocking(&mut batch, 5) {
                Ok(_) => {
                    batch.drain(..).for_each(|item| account.add(&item));
                    continue;
                }
                Err(error) => error,
            },
            _ => match subscriber.recv_blocking() {
                Ok(item) => {
                    account.add(&item);
                    continue;
                }
                Err(error) => error,
            },
        };
        match error {
            BroadcastRecvError::Missed(count) => account.missed += count,
            BroadcastRecvError::Closed => return account,
        }
    }
}

/// Subscribers join and leave while a sender waits for them; what each receives has no gap.
fn joining_and_leaving() {
    let sender = broadcast(4, BroadcastOverflow::WaitForSlowest);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|kind| {
                let subscribing = sender.clone();
                scope.spawn(move || {
                    for round in 0..300 {
                        let start = match kind % 2 {
                            0 => BroadcastStart::Now,
                            _ => BroadcastStart::OldestKept,
                        };
                        let mut subscriber = subscribing.subscribe_from(start);
                        let mut next = None;
                        for _ in 0..round % 20 {
                            let Ok(item) = subscriber.try_recv() else { continue };
                            let (_, number) = numbers(&item);
                            assert!(next.is_none_or(|next| next == number), "a gap");
                            next = Some(number + 1);
                        }
                        if round % 3 == 0 {
                            let mut weak = subscriber.clone().into_weak();
                            drop(subscriber);
                            let _ = weak.try_recv();
                        }
                    }
                })
            })
            .collect();
        let mut sent = 0;
        while threads.iter().any(|thread| !thread.is_finished()) {
            match sender.try_send(item(0, sent)) {
                Ok(()) => sent += 1,
                Err(PushError::Full(_) | PushError::Busy(_)) => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(sender.subscribers(), 0);
}

/// Wakes the thread that polls the tasks.
struct Wakes {
    thread: thread::Thread,
    count: AtomicUsize,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// 10,000 subscribers as futures on two threads, and one sender.
fn ten_thousand_subscribers(overflow: BroadcastOverflow) {
    const ITEMS: u64 = 100;
    let sender = broadcast(16, overflow);
    let subscribers: Vec<_> = (0..10_000).map(|_| sender.subscribe()).collect();
    assert_eq!(sender.subscribers(), 10_000);
    let (first, second) = {
        let mut subscribers = subscribers;
        let second = subscribers.split_off(5_000);
        (subscribers, second)
    };
    thread::scope(|scope| {
        let threads = [first, second].map(|part| scope.spawn(move || poll_all(part)));
        for number in 0..ITEMS {
            assert!(sender.send_blocking(item(0, number)).is_ok());
        }
        drop(sender);
        for thread in threads {
            for account in thread.join().unwrap() {
                assert_eq!(account.received + account.missed, ITEMS);
                if overflow == BroadcastOverflow::WaitForSlowest {
                    assert_eq!(account.missed, 0);
                }
            }
        }
    });
}

/// Polls all subscribers until the broadcast is closed. The thread parks while all of them wait.
fn poll_all(mut subscribers: Vec<BroadcastSubscriber<Item>>) -> Vec<Account> {
    let wakes = Arc::new(Wakes { thread: thread::current(), count: AtomicUsize::new(0) });
    let waker = Waker::from(wakes.clone());
    let mut accounts: Vec<Account> = subscribers.iter().map(|_| Account::default()).collect();
    let mut tasks: Vec<_> = subscribers
        .iter_mut()
        .zip(&mut accounts)
        .map(|(subscriber, account)| {
            Some(Box::pin(async move {
                loop {
                    match subscriber.recv().await {
                        Ok(item) => account.add(&item),
                        Err(BroadcastRecvError::Missed(count)) => account.missed += count,
                        Err(BroadcastRecvError::Closed) => return,
                    }
                }
            }))
        })
        .collect();
    while tasks.iter().any(Option::is_some) {
        let before = wakes.count.load(Ordering::SeqCst);
        for task in &mut tasks {
            let done = task.as_mut().is_some_and(|task| {
                pin!(task).poll(&mut Context::from_waker(&waker)) == Poll::Ready(())
            });
            if done {
                *task = None;
            }
        }
        let waits = tasks.iter().any(Option::is_some);
        if waits && wakes.count.load(Ordering::SeqCst) == before {
            thread::park();
        }
    }
    drop(tasks);
    accounts
}
