//! The channel: closing, timeouts, stream and sink, and no lost items.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::{SinkExt, StreamExt, executor::block_on};
use mainstay::ring::{PopError, RecvError, RecvTimeoutError, SendError, SendTimeoutError, channel};

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn waits_end_at_their_timeout() {
    let (sender, receiver) = channel(1);
    assert_eq!(
        receiver.recv_blocking_timeout(Duration::from_millis(1)),
        Err(RecvTimeoutError::Timeout)
    );
    sender.send_blocking_timeout(1, Duration::MAX).unwrap();
    assert_eq!(
        sender.send_blocking_timeout(2, Duration::from_millis(1)),
        Err(SendTimeoutError::Timeout(2))
    );
    assert_eq!(receiver.recv_blocking_timeout(Duration::MAX), Ok(1));
    drop(sender);
    assert_eq!(receiver.recv_blocking_timeout(Duration::MAX), Err(RecvTimeoutError::Closed));
}

#[test]
fn dropping_the_last_peer_closes_the_channel() {
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
    assert_eq!(
        Arc::strong_count(&item),
        1,
        "items that cannot be received are dropped immediately"
    );
    assert!(matches!(block_on(sender.send(item)), Err(SendError(_))));
}

#[test]
fn a_stream_receives_the_items_of_a_sink() {
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

/// No item is lost or received twice, and the items of one producer keep their order.
#[test]
fn four_producers_and_four_consumers_lose_and_duplicate_nothing() {
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
                                // Cancelled after one poll. A cancelled receive must not lose an
                                // item that another receiver could take.
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
