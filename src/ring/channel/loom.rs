//! Models of waiting on a channel under every interleaving that loom can tell apart, within a bound on
//! preemptions.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use loom::thread::spawn;

use super::channel;
use crate::ring::error::RecvError;
use crate::sync::thread::Parker;

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(body);
}

/// Polls once, with a waker that nobody listens to.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Parker::current().waker()))
}

#[test]
fn a_receiver_parks_against_a_send() {
    for capacity in [1, 2] {
        model(4, move || {
            let (sender, receiver) = channel::<Box<u32>>(capacity);
            let thread = spawn(move || sender.try_send(Box::new(1)).unwrap());
            assert_eq!(receiver.recv_blocking(), Ok(Box::new(1)));
            thread.join().unwrap();
            assert_eq!(receiver.recv_blocking(), Err(RecvError));
        });
    }
}

#[test]
fn a_sender_parks_against_a_receive() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let thread = spawn(move || {
            for value in 1..=3 {
                sender.send_blocking(Box::new(value)).unwrap();
            }
        });
        for value in 1..=3 {
            assert_eq!(receiver.recv_blocking(), Ok(Box::new(value)));
        }
        thread.join().unwrap();
    });
}

#[test]
fn two_receivers_park_against_a_batch() {
    model(2, || {
        let (sender, receiver) = channel::<Box<u32>>(2);
        let threads = [receiver.clone(), receiver]
            .map(|receiver| spawn(move || *receiver.recv_blocking().expect("one item for each")));
        let sent = sender.try_send_batch(&mut [Box::new(1), Box::new(2)].into_iter());
        assert_eq!(sent, Ok(2));
        let sum: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(sum, 3);
    });
}

#[test]
fn two_senders_park_against_a_batch_receive() {
    model(2, || {
        let (sender, receiver) = channel::<Box<u32>>(2);
        for value in [1, 2] {
            sender.try_send(Box::new(value)).unwrap();
        }
        let threads = [(3, sender.clone()), (4, sender)]
            .map(|(value, sender)| spawn(move || sender.send_blocking(Box::new(value)).unwrap()));
        let mut got = Vec::new();
        assert_eq!(receiver.try_recv_batch(&mut got, 2), Ok(2));
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(receiver.try_recv_batch(&mut got, 2), Ok(2));
        got[2..].sort_unstable();
        assert_eq!(got, [1, 2, 3, 4].map(Box::new));
    });
}

/// A receiver that gives up after it was woken hands the wakeup to the next in line.
#[test]
fn a_cancelled_receive_against_a_send() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let impatient = receiver.clone();
        let mut given_up = Box::pin(async move { impatient.recv().await });
        let got_at_once = poll_once(&mut given_up).is_ready();
        assert!(!got_at_once);
        let patient = spawn(move || receiver.recv_blocking());
        let thread = spawn(move || sender.send_blocking(Box::new(1)).unwrap());
        drop(given_up);
        assert_eq!(patient.join().unwrap(), Ok(Box::new(1)));
        thread.join().unwrap();
    });
}

/// The same when it had looked again, and the item was gone or not yet there.
#[test]
fn a_receive_polled_again_and_cancelled_against_a_send() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let impatient = receiver.clone();
        let mut given_up = Box::pin(async move { impatient.recv().await });
        assert!(poll_once(&mut given_up).is_pending());
        let patient = spawn({
            let receiver = receiver.clone();
            move || receiver.recv_blocking()
        });
        let thread = spawn(move || {
            sender.send_blocking(Box::new(1)).unwrap();
            sender.send_blocking(Box::new(2)).unwrap();
        });
        let first = poll_once(&mut given_up);
        drop(given_up);
        let second = patient.join().unwrap().expect("two items, one taken at most");
        thread.join().unwrap();
        if let Poll::Ready(first) = first {
            assert_ne!(first.unwrap(), second);
        }
        drop(receiver);
    });
}

#[test]
fn a_cancelled_send_against_a_receive() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        sender.try_send(Box::new(0)).unwrap();
        let impatient = sender.clone();
        let mut given_up = Box::pin(async move { impatient.send(Box::new(1)).await });
        assert!(poll_once(&mut given_up).is_pending());
        let patient = spawn(move || sender.send_blocking(Box::new(2)));
        let taker = spawn(move || {
            let first = receiver.recv_blocking();
            assert_eq!(first, Ok(Box::new(0)));
            receiver
        });
        drop(given_up);
        assert!(patient.join().unwrap().is_ok());
        assert_eq!(taker.join().unwrap().recv_blocking(), Ok(Box::new(2)));
    });
}

#[test]
fn close_against_parked_ends() {
    model(4, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let thread = spawn(move || receiver.recv_blocking());
        drop(sender);
        assert_eq!(thread.join().unwrap(), Err(RecvError));
    });
    model(4, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        sender.try_send(Box::new(1)).unwrap();
        let thread = spawn(move || sender.send_blocking(Box::new(2)).is_err());
        drop(receiver);
        // The last receiver also takes out what was inside, so there may be room just before the end.
        thread.join().unwrap();
    });
}

#[test]
fn an_eviction_wakes_a_parked_receiver() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let thread = spawn(move || {
            let mut got = Vec::new();
            while let Ok(item) = receiver.recv_blocking() {
                got.push(*item);
            }
            got
        });
        let mut evicted = Vec::new();
        for value in 1..=2 {
            let mut value = Box::new(value);
            loop {
                value = match sender.force_send(value) {
                    Ok(out) => break evicted.extend(out.map(|item| *item)),
                    Err(refused) => refused.into_value(),
                };
                loom::thread::yield_now();
            }
        }
        drop(sender);
        evicted.extend(thread.join().unwrap());
        assert_eq!(evicted, [1, 2]);
    });
}
