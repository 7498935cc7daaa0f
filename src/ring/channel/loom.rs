//! Loom models of waiting on a channel. Most of them bound the number of preemptions.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

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

/// Polls `future` once, with a waker for which no thread waits.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Parker::current().waker()))
}

#[test]
fn a_parked_receiver_is_woken_by_a_send() {
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
fn a_parked_sender_is_woken_by_a_receive() {
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

/// A future that a model polls a fixed number of times. Two waiters that both spin on a busy slot
/// would keep loom in an endless loop. [`finish`](Self::finish) checks that a pending future was
/// woken and that it is ready when it is polled again.
struct Watched<F> {
    future: F,
    woken: std::sync::Arc<Woken>,
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl<F: Future + Unpin> Watched<F> {
    fn new(future: F) -> Self {
        Self { future, woken: std::sync::Arc::default() }
    }

    fn poll(&mut self) -> Option<F::Output> {
        let waker = Waker::from(std::sync::Arc::clone(&self.woken));
        match pin!(&mut self.future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// Returns the output; `polled` is the result of the last poll. All other threads must have
    /// ended.
    fn finish(mut self, polled: Option<F::Output>) -> F::Output {
        polled.unwrap_or_else(|| {
            assert!(self.woken.0.load(std::sync::atomic::Ordering::SeqCst), "not woken");
            self.poll().expect("a woken future is ready")
        })
    }
}

#[test]
fn a_batch_serves_two_receivers() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(2);
        let thread = spawn(move || {
            let sent = sender.try_send_batch(&mut [Box::new(1), Box::new(2)].into_iter());
            assert_eq!(sent, Ok(2));
            sender
        });
        let [mut first, mut second] =
            [Watched::new(receiver.recv()), Watched::new(receiver.recv())];
        let polled = [first.poll(), second.poll()];
        let sender = thread.join().unwrap();
        let [a, b] = polled;
        let sum = *first.finish(a).unwrap() + *second.finish(b).unwrap();
        assert_eq!(sum, 3);
        drop(sender);
    });
}

#[test]
fn two_sends_serve_two_receivers() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(2);
        let [mut first, mut second] =
            [Watched::new(receiver.recv()), Watched::new(receiver.recv())];
        assert!(first.poll().is_none());
        assert!(second.poll().is_none());
        let thread = spawn(move || {
            sender.try_send(Box::new(1)).unwrap();
            sender.try_send(Box::new(2)).unwrap();
            sender
        });
        let polled = first.poll();
        let sender = thread.join().unwrap();
        let sum = *first.finish(polled).unwrap() + *second.finish(None).unwrap();
        assert_eq!(sum, 3);
        drop(sender);
    });
}

/// Runs without a bound on preemptions: with a bound, loom does not find a lost wake-up here.
#[test]
fn the_wake_up_of_a_cancelled_receive_goes_to_the_next_waiter() {
    loom::model(|| {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let [mut cancelled, mut other] =
            [Watched::new(receiver.recv()), Watched::new(receiver.recv())];
        assert!(cancelled.poll().is_none());
        assert!(other.poll().is_none());
        let thread = spawn(move || {
            sender.try_send(Box::new(1)).unwrap();
            // The sender is kept until the end: dropping it closes the channel, which wakes all
            // waiters and would hide a lost wake-up.
            sender
        });
        drop(cancelled);
        let sender = thread.join().unwrap();
        assert_eq!(other.finish(None), Ok(Box::new(1)));
        drop(sender);
    });
}

#[test]
fn close_wakes_a_pending_receive_and_a_pending_send() {
    loom::model(|| {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let closer = sender.clone();
        let thread = spawn(move || closer.close());
        let mut wait = Watched::new(receiver.recv());
        let polled = wait.poll();
        assert!(thread.join().unwrap());
        assert_eq!(wait.finish(polled), Err(RecvError));
        drop(sender);
    });
    loom::model(|| {
        let (sender, receiver) = channel::<Box<u32>>(1);
        sender.try_send(Box::new(1)).unwrap();
        let thread = spawn(move || {
            receiver.close();
            receiver
        });
        let mut wait = Watched::new(sender.send(Box::new(2)));
        let polled = wait.poll();
        let receiver = thread.join().unwrap();
        assert!(wait.finish(polled).is_err());
        drop(receiver);
    });
}

#[test]
fn dropping_the_last_receiver_completes_the_closed_future() {
    loom::model(|| {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let thread = spawn(move || drop(receiver));
        let mut closed = Watched::new(sender.closed());
        let polled = closed.poll();
        thread.join().unwrap();
        closed.finish(polled);
    });
}

#[test]
fn a_batch_receive_serves_two_senders() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(2);
        for value in [1, 2] {
            sender.try_send(Box::new(value)).unwrap();
        }
        let thread = spawn(move || {
            let mut got = Vec::new();
            assert_eq!(receiver.try_recv_batch(&mut got, 2), Ok(2));
            receiver
        });
        let [mut first, mut second] =
            [3, 4].map(|value| Watched::new(sender.send(Box::new(value))));
        let polled = [first.poll(), second.poll()];
        let receiver = thread.join().unwrap();
        let [a, b] = polled;
        first.finish(a).unwrap();
        second.finish(b).unwrap();
        let mut got = Vec::new();
        assert_eq!(receiver.try_recv_batch(&mut got, 2), Ok(2));
        got.sort_unstable();
        assert_eq!(got, [3, 4].map(Box::new));
    });
}

#[test]
fn a_receive_cancelled_during_a_send_passes_its_wake_up_on() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        let cancelled = receiver.clone();
        let mut receive = Box::pin(async move { cancelled.recv().await });
        let ready_immediately = poll_once(&mut receive).is_ready();
        assert!(!ready_immediately);
        let other = spawn(move || receiver.recv_blocking());
        // The sender is kept until the end: dropping it closes the channel, which wakes all waiters
        // and would hide a lost wake-up.
        let last = sender.clone();
        let thread = spawn(move || sender.send_blocking(Box::new(1)).unwrap());
        drop(receive);
        assert_eq!(other.join().unwrap(), Ok(Box::new(1)));
        thread.join().unwrap();
        drop(last);
    });
}

#[test]
fn a_receive_polled_again_and_then_cancelled_passes_its_wake_up_on() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(2);
        let [mut cancelled, mut other] =
            [Watched::new(receiver.recv()), Watched::new(receiver.recv())];
        assert!(cancelled.poll().is_none());
        assert!(other.poll().is_none());
        let thread = spawn(move || {
            let sent = sender.try_send_batch(&mut [Box::new(1), Box::new(2)].into_iter());
            assert_eq!(sent, Ok(2));
            sender
        });
        let first = cancelled.poll();
        drop(cancelled);
        let sender = thread.join().unwrap();
        let second = other.finish(None).expect("two items, one taken at most");
        let expected = if first.is_some() { 2 } else { 1 };
        assert_eq!(*second, expected);
        drop(sender);
    });
}

#[test]
fn a_send_cancelled_during_a_receive_passes_its_wake_up_on() {
    model(3, || {
        let (sender, receiver) = channel::<Box<u32>>(1);
        sender.try_send(Box::new(0)).unwrap();
        let cancelled = sender.clone();
        let mut send = Box::pin(async move { cancelled.send(Box::new(1)).await });
        assert!(poll_once(&mut send).is_pending());
        let other = spawn(move || sender.send_blocking(Box::new(2)));
        let taker = spawn(move || {
            let first = receiver.recv_blocking();
            assert_eq!(first, Ok(Box::new(0)));
            receiver
        });
        drop(send);
        assert!(other.join().unwrap().is_ok());
        assert_eq!(taker.join().unwrap().recv_blocking(), Ok(Box::new(2)));
    });
}

#[test]
fn close_wakes_parked_threads() {
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
        // The send may succeed: the last receiver discards the items, which frees a slot.
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
                    Err(error) => error.into_value(),
                };
                loom::thread::yield_now();
            }
        }
        drop(sender);
        evicted.extend(thread.join().unwrap());
        assert_eq!(evicted, [1, 2]);
    });
}

/// The sender or the receiver drops the item, whichever finishes last.
#[test]
fn an_item_sent_while_the_last_receiver_is_dropped_does_not_outlive_both() {
    for capacity in [1, 2] {
        model(3, move || {
            let item = loom::sync::Arc::new(());
            let (sender, receiver) = channel(capacity);
            let thread = spawn({
                let item = loom::sync::Arc::clone(&item);
                move || {
                    drop(sender.try_send(item));
                    sender
                }
            });
            drop(receiver);
            let sender = thread.join().unwrap();
            assert_eq!(loom::sync::Arc::strong_count(&item), 1);
            drop(sender);
        });
    }
}

#[test]
fn items_of_two_sends_do_not_outlive_the_sends_and_the_last_receiver() {
    model(2, || {
        let item = loom::sync::Arc::new(());
        let (sender, receiver) = channel(2);
        let threads = [sender.clone(), sender.clone()].map(|sender| {
            let item = loom::sync::Arc::clone(&item);
            spawn(move || drop(sender.try_send(item)))
        });
        drop(receiver);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(loom::sync::Arc::strong_count(&item), 1);
        drop(sender);
    });
}

#[test]
fn an_item_force_sent_while_the_last_receiver_is_dropped_does_not_outlive_both() {
    model(3, || {
        let item = loom::sync::Arc::new(());
        let (sender, receiver) = channel(1);
        sender.try_send(loom::sync::Arc::clone(&item)).unwrap();
        let thread = spawn({
            let item = loom::sync::Arc::clone(&item);
            move || {
                drop(sender.force_send(item));
                sender
            }
        });
        drop(receiver);
        let sender = thread.join().unwrap();
        assert_eq!(loom::sync::Arc::strong_count(&item), 1);
        drop(sender);
    });
}
