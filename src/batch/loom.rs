//! Loom models of a batcher: every item is answered exactly once.

use super::{Batch, Batcher, BatcherBuilder};
use crate::error::Error;
use crate::sync::block_on;
use crate::time::{Clock, ManualClock};
use crate::wait::{OneshotReceiver, oneshot};
use loom::thread::spawn;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

type Numbers = Batcher<u8, u8, ()>;
type Call = Pin<Box<dyn Future<Output = Result<u8, Error<()>>> + Send>>;

fn clock() -> Clock {
    ManualClock::new().clock()
}

/// A batcher whose operation returns the items.
fn numbers() -> BatcherBuilder<u8, u8, ()> {
    Batcher::builder(|batch: Batch<u8>| ready(Ok::<_, ()>(batch.into_vec()))).clock(clock())
}

/// A batcher with one item per batch, whose first operation ends when `receiver` completes.
fn gated(receiver: OneshotReceiver<()>) -> Numbers {
    let receiver = Mutex::new(Some(receiver));
    let operation = move |batch: Batch<u8>| {
        let receiver = receiver.lock().unwrap().take();
        async move {
            if let Some(receiver) = receiver {
                receiver.await.map_err(|_| ())?;
            }
            Ok::<_, ()>(batch.into_vec())
        }
    };
    Batcher::builder(operation).clock(clock()).max_items(1).build().unwrap()
}

fn call(batcher: &Numbers, item: u8) -> Call {
    let batcher = batcher.clone();
    Box::pin(async move { batcher.call(item).await })
}

/// A call that was polled once.
fn started(batcher: &Numbers, item: u8) -> Call {
    let mut call = call(batcher, item);
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    call
}

/// Checks that each accepted item was counted once.
fn check(batcher: &Numbers) {
    let snapshot = batcher.snapshot();
    let ended = snapshot.succeeded
        + snapshot.failed
        + snapshot.unsent
        + snapshot.cancelled
        + snapshot.abandoned;
    assert_eq!(snapshot.accepted, ended, "{snapshot:?}");
    assert_eq!((snapshot.queued, snapshot.in_flight, snapshot.running), (0, 0, 0), "{snapshot:?}");
}

#[test]
fn two_concurrent_calls_receive_their_own_results() {
    loom::model(|| {
        let batcher = numbers().max_linger(Duration::ZERO).build().unwrap();
        let other = spawn({
            let batcher = batcher.clone();
            move || assert_eq!(batcher.call_blocking(1), Ok(1))
        });
        assert_eq!(batcher.call_blocking(2), Ok(2));
        other.join().unwrap();
        check(&batcher);
    });
}

#[test]
fn a_call_that_races_with_the_start_of_a_batch_joins_it_or_starts_the_next() {
    loom::model(|| {
        let (sender, receiver) = oneshot();
        let batcher = gated(receiver);
        let first = started(&batcher, 1);
        let send_thread = spawn(move || sender.send(()).unwrap());
        let second = spawn({
            let batcher = batcher.clone();
            move || assert_eq!(batcher.call_blocking(2), Ok(2))
        });
        assert_eq!(block_on(first), Ok(1));
        send_thread.join().unwrap();
        second.join().unwrap();
        check(&batcher);
    });
}

#[test]
fn a_driver_that_is_dropped_while_the_operation_is_woken_wakes_another_driver() {
    loom::model(|| {
        let (sender, receiver) = oneshot();
        let batcher = gated(receiver);
        let first = started(&batcher, 1);
        let second = started(&batcher, 2);
        let send_thread = spawn(move || {
            let _ = sender.send(()); // an error if the operation was dropped
        });
        let drop_thread = spawn(move || drop(first));
        assert_eq!(block_on(second), Ok(2));
        send_thread.join().unwrap();
        drop_thread.join().unwrap();
        check(&batcher);
    });
}

#[test]
fn a_flush_that_races_with_a_cancelled_call_ends() {
    loom::model(|| {
        let (sender, receiver) = oneshot();
        let batcher = gated(receiver);
        let first = started(&batcher, 1);
        let second = started(&batcher, 2);
        let drop_thread = spawn(move || drop((second, first)));
        let flush_thread = spawn({
            let batcher = batcher.clone();
            move || batcher.flush_blocking()
        });
        let _ = sender.send(());
        flush_thread.join().unwrap();
        drop_thread.join().unwrap();
        check(&batcher);
    });
}

#[test]
fn a_call_that_races_with_a_close_is_answered_or_rejected() {
    loom::model(|| {
        let batcher = numbers().build().unwrap();
        let close_thread = spawn({
            let batcher = batcher.clone();
            move || batcher.close()
        });
        let result = batcher.call_blocking(1);
        assert!(close_thread.join().unwrap());
        assert_eq!(result.is_ok(), batcher.snapshot().succeeded == 1);
        assert_eq!(result.is_err(), batcher.snapshot().rejected == 1);
        check(&batcher);
    });
}

#[test]
fn a_runner_drives_until_the_batcher_is_closed() {
    loom::model(|| {
        let batcher = numbers().build().unwrap();
        let run_thread = spawn({
            let batcher = batcher.clone();
            move || batcher.run_blocking()
        });
        assert_eq!(batcher.call_blocking(1), Ok(1));
        batcher.close();
        run_thread.join().unwrap();
        check(&batcher);
    });
}

#[test]
fn a_runner_that_is_dropped_leaves_the_work_to_the_callers() {
    loom::model(|| {
        let (sender, receiver) = oneshot();
        let batcher = gated(receiver);
        let mut runner: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin({
            let batcher = batcher.clone();
            async move { batcher.run().await }
        });
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(runner.as_mut().poll(cx) == Poll::Pending);
        let first = started(&batcher, 1);
        let drop_thread = spawn(move || drop(runner));
        let send_thread = spawn(move || sender.send(()).unwrap());
        assert_eq!(block_on(first), Ok(1));
        drop_thread.join().unwrap();
        send_thread.join().unwrap();
        check(&batcher);
    });
}

#[test]
fn dropping_the_first_waiting_caller_lets_the_next_one_enter() {
    loom::model(|| {
        let (sender, receiver) = oneshot();
        let receiver = Mutex::new(Some(receiver));
        let operation = move |batch: Batch<u8>| {
            let receiver = receiver.lock().unwrap().take();
            async move {
                if let Some(receiver) = receiver {
                    receiver.await.map_err(|_| ())?;
                }
                Ok::<_, ()>(batch.into_vec())
            }
        };
        let batcher =
            Batcher::builder(operation).clock(clock()).max_items(1).max_queue(1).build().unwrap();
        let sent = started(&batcher, 1);
        let queued = started(&batcher, 2);
        let front = started(&batcher, 3);
        let last = started(&batcher, 4);
        assert_eq!(batcher.snapshot().waiting, 2);
        let drop_thread = spawn(move || drop(front));
        let drive_thread = spawn(move || {
            sender.send(()).unwrap();
            assert_eq!(block_on(sent), Ok(1));
            assert_eq!(block_on(queued), Ok(2));
        });
        assert_eq!(block_on(last), Ok(4));
        drop_thread.join().unwrap();
        drive_thread.join().unwrap();
        check(&batcher);
    });
}
