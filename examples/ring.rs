//! Ring: a lock-free bounded queue whose operations return immediately.

use mainstay::{PopError, PushError, Ring};
use std::thread;

fn main() {
    let ring = Ring::new(64);
    let sum: u64 = thread::scope(|scope| {
        for producer in 0..2 {
            let ring = &ring;
            scope.spawn(move || (0..500).for_each(|i| push(ring, producer * 500 + i)));
        }
        (0..1000).map(|_| pop(&ring)).sum()
    });
    println!("1,000 numbers passed through a ring of {}: sum {sum}", ring.capacity());
    assert_eq!(sum, 999 * 1000 / 2);

    // Keep the newest items: a push into a full ring evicts the oldest item and returns it.
    let latest = Ring::new(3);
    let evicted: Vec<_> = (1..=5).filter_map(|n| latest.force_push(n).ok().flatten()).collect();
    println!("kept {:?}, evicted {evicted:?}", latest.drain().collect::<Vec<_>>());
}

fn push(ring: &Ring<u64>, mut value: u64) {
    // `Busy`: another thread is between claiming the slot and filling or emptying it.
    while let Err(PushError::Full(back) | PushError::Busy(back)) = ring.try_push(value) {
        value = back;
        thread::yield_now();
    }
}

fn pop(ring: &Ring<u64>) -> u64 {
    loop {
        match ring.try_pop() {
            Ok(value) => return value,
            Err(PopError::Empty | PopError::Busy) => thread::yield_now(),
            Err(PopError::Closed) => unreachable!("nothing closes this ring"),
        }
    }
}
