//! Models of reading, overwriting, waiting, joining, leaving and closing.
//!
//! The items are boxed, so that loom finds an item that is read while it is overwritten, dropped
//! twice or leaked.

use loom::thread::spawn;

use super::BroadcastOverflow::{OverwriteOldest, WaitForSlowest};
use super::{
    BroadcastRecvError, BroadcastSender, BroadcastStart, BroadcastSubscriber,
    BroadcastTryRecvError, broadcast,
};
use crate::ring::error::PushError;

type Item = Box<u64>;

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(body);
}

/// Receives until no item is left, or the end. Checks that numbers are received in order, and that
/// each gap is counted. `next` is the first number that was not received yet. Returns the number
/// after the last one.
fn receive_all(subscriber: &mut BroadcastSubscriber<Item>, mut next: u64) -> u64 {
    loop {
        match subscriber.try_recv() {
            Ok(item) => {
                assert_eq!(*item, next);
                next += 1;
            }
            Err(BroadcastTryRecvError::Missed(count)) => next += count,
            Err(BroadcastTryRecvError::Empty | BroadcastTryRecvError::Closed) => return next,
            Err(BroadcastTryRecvError::Busy) => unreachable!("there are few threads"),
        }
    }
}

fn send_numbers(sender: &BroadcastSender<Item>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let mut item = Box::new(number);
        // Few slots can all be pinned, one after the other.
        while let Err(error) = sender.try_send(item) {
            assert!(matches!(error, PushError::Busy(_)), "{error}");
            item = error.into_value();
            loom::thread::yield_now();
        }
    }
}

#[test]
fn a_subscriber_reads_whole_items_in_order_while_a_sender_overwrites_them() {
    for capacity in [1, 2] {
        model(3, move || {
            let sender = broadcast(capacity, OverwriteOldest);
            let mut subscriber = sender.subscribe();
            send_numbers(&sender, 0..1);
            let thread = spawn(move || {
                send_numbers(&sender, 1..4);
                sender
            });
            let next = receive_all(&mut subscriber, 0);
            let sender = thread.join().unwrap();
            assert_eq!(receive_all(&mut subscriber, next), 4);
            drop(sender);
            assert_eq!(subscriber.try_recv(), Err(BroadcastTryRecvError::Closed));
        });
    }
}

#[test]
fn two_subscribers_pin_the_same_slots_while_a_sender_overwrites_them() {
    model(2, || {
        let sender = broadcast(1, OverwriteOldest);
        let mut one = sender.subscribe();
        let mut other = one.clone();
        send_numbers(&sender, 0..2);
        let sending = spawn(move || {
            send_numbers(&sender, 2..3);
            sender
        });
        let reading = spawn(move || {
            let next = receive_all(&mut one, 0);
            (one, next)
        });
        let next = receive_all(&mut other, 0);
        let _sender = sending.join().unwrap();
        let (mut one, first) = reading.join().unwrap();
        assert_eq!(receive_all(&mut one, first), 3);
        assert_eq!(receive_all(&mut other, next), 3);
    });
}

#[test]
fn two_senders_send_one_after_the_other() {
    model(3, || {
        let sender = broadcast::<Item>(4, OverwriteOldest);
        let mut subscriber = sender.subscribe();
        let other = sender.clone();
        let send = |sender: &BroadcastSender<Item>, number| match sender.try_send(Box::new(number))
        {
            Ok(()) => true,
            Err(PushError::Busy(_)) => false,
            Err(error) => panic!("{error}"),
        };
        let thread = spawn(move || (send(&other, 10), send(&other, 11)));
        let first = send(&sender, 20);
        let (second, third) = thread.join().unwrap();
        let mut received = Vec::new();
        while let Ok(item) = subscriber.try_recv() {
            received.push(*item);
        }
        let position = |number| received.iter().position(|item| *item == number);
        assert_eq!(received.len(), [first, second, third].iter().filter(|sent| **sent).count());
        assert!(first || second, "one of two concurrent senders succeeds");
        assert!(!(second && third) || position(10) < position(11));
    });
}

#[test]
fn a_parked_subscriber_is_woken_by_a_send() {
    for rule in [OverwriteOldest, WaitForSlowest] {
        model(3, move || {
            let sender = broadcast::<Item>(2, rule);
            let mut subscriber = sender.subscribe();
            let thread = spawn(move || send_numbers(&sender, 0..2));
            assert_eq!(subscriber.recv_blocking(), Ok(Box::new(0)));
            assert_eq!(subscriber.recv_blocking(), Ok(Box::new(1)));
            assert_eq!(subscriber.recv_blocking(), Err(BroadcastRecvError::Closed));
            thread.join().unwrap();
        });
    }
}

#[test]
fn two_parked_subscribers_are_woken_by_one_send() {
    model(2, || {
        let sender = broadcast::<Item>(1, OverwriteOldest);
        let mut one = sender.subscribe();
        let mut other = sender.subscribe();
        let thread = spawn(move || assert_eq!(one.recv_blocking(), Ok(Box::new(0))));
        let sending = spawn(move || {
            send_numbers(&sender, 0..1);
            sender
        });
        assert_eq!(other.recv_blocking(), Ok(Box::new(0)));
        thread.join().unwrap();
        sending.join().unwrap();
    });
}

#[test]
fn a_parked_sender_is_woken_by_the_slowest_subscriber() {
    model(2, || {
        let sender = broadcast::<Item>(1, WaitForSlowest);
        let mut subscriber = sender.subscribe();
        let thread = spawn(move || {
            (0..3).for_each(|number| sender.send_blocking(Box::new(number)).unwrap());
        });
        (0..3).for_each(|number| assert_eq!(subscriber.recv_blocking(), Ok(Box::new(number))));
        thread.join().unwrap();
        assert_eq!(subscriber.recv_blocking(), Err(BroadcastRecvError::Closed));
    });
}

#[test]
fn a_parked_sender_is_woken_by_each_of_two_subscribers() {
    model(2, || {
        let sender = broadcast::<Item>(1, WaitForSlowest);
        let mut one = sender.subscribe();
        let mut other = sender.subscribe();
        send_numbers(&sender, 0..1);
        let sending = spawn(move || {
            sender.send_blocking(Box::new(1)).unwrap();
            sender
        });
        let reading = spawn(move || assert_eq!(one.try_recv(), Ok(Box::new(0))));
        assert_eq!(other.try_recv(), Ok(Box::new(0)));
        sending.join().unwrap();
        reading.join().unwrap();
    });
}

#[test]
fn a_subscriber_that_leaves_releases_a_parked_sender() {
    model(3, || {
        let sender = broadcast::<Item>(1, WaitForSlowest);
        let subscriber = sender.subscribe();
        send_numbers(&sender, 0..1);
        let thread = spawn(move || drop(subscriber));
        sender.send_blocking(Box::new(1)).unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn closing_wakes_parked_senders_and_subscribers() {
    model(3, || {
        let sender = broadcast::<Item>(1, WaitForSlowest);
        let mut subscriber = sender.subscribe();
        send_numbers(&sender, 0..1);
        let other = sender.clone();
        let thread = spawn(move || other.send_blocking(Box::new(1)).is_ok());
        sender.close();
        assert!(!thread.join().unwrap(), "nothing was received, so the ring stayed full");
        assert_eq!(subscriber.recv_blocking(), Ok(Box::new(0)));
        assert_eq!(subscriber.recv_blocking(), Err(BroadcastRecvError::Closed));
    });
}

#[test]
fn nothing_is_received_after_the_end() {
    for capacity in [1, 2] {
        model(3, move || {
            let sender = broadcast::<Item>(capacity, OverwriteOldest);
            let mut subscriber = sender.subscribe();
            let other = sender.clone();
            let sending = spawn(move || match other.try_send(Box::new(0)) {
                Ok(()) => 1,
                Err(PushError::Closed(_)) => 0,
                Err(error) => panic!("{error}"),
            });
            let closing = spawn(move || sender.close());
            let mut received = 0;
            loop {
                match subscriber.recv_blocking() {
                    Ok(_) => received += 1,
                    Err(error) => break assert_eq!(error, BroadcastRecvError::Closed),
                }
            }
            assert_eq!(received, sending.join().unwrap());
            assert_eq!(subscriber.try_recv(), Err(BroadcastTryRecvError::Closed));
            assert!(closing.join().unwrap());
        });
    }
}

#[test]
fn a_subscriber_that_joins_misses_nothing_after_its_start() {
    for start in [BroadcastStart::Now, BroadcastStart::OldestKept] {
        model(3, move || {
            let sender = broadcast::<Item>(1, WaitForSlowest);
            send_numbers(&sender, 0..1);
            let other = sender.clone();
            let thread = spawn(move || {
                let mut accepted = 1;
                while accepted < 4 && other.try_send(Box::new(accepted)).is_ok() {
                    accepted += 1;
                }
                accepted
            });
            let mut subscriber = sender.subscribe_from(start);
            let mut numbers = Vec::new();
            let mut receive = |subscriber: &mut BroadcastSubscriber<Item>| loop {
                match subscriber.try_recv() {
                    Ok(item) => numbers.push(*item),
                    Err(error) => break assert_eq!(error, BroadcastTryRecvError::Empty),
                }
            };
            receive(&mut subscriber);
            let accepted = thread.join().unwrap();
            receive(&mut subscriber);
            let first = numbers.first().copied().unwrap_or(accepted);
            assert_eq!(numbers, (first..accepted).collect::<Vec<_>>());
        });
    }
}

#[test]
fn a_weak_subscriber_does_not_stop_a_sender_that_waits_for_others() {
    model(3, || {
        let sender = broadcast::<Item>(1, WaitForSlowest);
        let mut weak = sender.subscribe().into_weak();
        let mut strong = sender.subscribe();
        send_numbers(&sender, 0..1);
        let thread = spawn(move || {
            let next = receive_all(&mut weak, 0);
            (weak, next)
        });
        for number in 1..3 {
            assert_eq!(strong.try_recv(), Ok(Box::new(number - 1)));
            match sender.try_send(Box::new(number)) {
                Ok(()) => {}
                // The position that the weak reader made useless filled the ring.
                Err(PushError::Full(_)) => {
                    assert_eq!(strong.try_recv(), Err(BroadcastTryRecvError::Empty));
                    sender.try_send(Box::new(number)).unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        let (mut weak, next) = thread.join().unwrap();
        assert_eq!(receive_all(&mut weak, next), 3);
    });
}

#[test]
fn a_subscriber_does_not_receive_an_item_that_was_received_before_it_subscribed() {
    for overflow in [OverwriteOldest, WaitForSlowest] {
        model(3, move || {
            let sender = broadcast(1, overflow);
            let mut first = sender.subscribe();
            let thread = spawn({
                let sender = sender.clone();
                move || send_numbers(&sender, 0..1)
            });
            let received = loop {
                match first.try_recv() {
                    Err(BroadcastTryRecvError::Empty) => loom::thread::yield_now(),
                    received => break received,
                }
            };
            assert_eq!(received, Ok(Box::new(0)));
            assert_eq!(sender.subscribe().try_recv(), Err(BroadcastTryRecvError::Empty));
            thread.join().unwrap();
        });
    }
}
