//! Broadcast: one ring, any number of subscribers, each with a cursor of its own.

use mainstay::{BroadcastOverflow, BroadcastRecvError, broadcast};
use std::thread;

fn main() {
    // Prices go out of date: the sender overwrites the oldest one and never waits.
    let prices = broadcast(4, BroadcastOverflow::OverwriteOldest);
    let mut slow = prices.subscribe();
    for price in 1..=10 {
        prices.try_send(price).expect("there is one sender, and it is open");
    }
    let missed = slow.recv_blocking();
    println!("the slow subscriber: {}", missed.expect_err("it missed the first prices"));
    assert_eq!(missed, Err(BroadcastRecvError::Missed(6)));
    assert_eq!(slow.recv_blocking(), Ok(7));

    // Orders must not be lost: the sender waits for the slowest subscriber.
    let orders = broadcast(4, BroadcastOverflow::WaitForSlowest);
    let subscribers: Vec<_> = (0..3).map(|_| orders.subscribe()).collect();
    let threads: Vec<_> = subscribers
        .into_iter()
        .map(|mut orders| {
            thread::spawn(move || {
                let mut sum = 0;
                while let Ok(order) = orders.recv_blocking() {
                    sum += order;
                }
                sum
            })
        })
        .collect();
    (1..=100).for_each(|order| orders.send_blocking(order).expect("the broadcast is open"));
    drop(orders);
    for thread in threads {
        assert_eq!(thread.join().expect("subscribers do not panic"), 5050);
    }
    println!("each of three subscribers received all orders");
}
