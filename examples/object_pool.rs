//! Object pool: reuse buffers instead of allocating them, from several threads.

use mainstay::ObjectPool;
use std::fmt::Write;
use std::thread;

fn main() {
    // A buffer is cleared when it returns, and keeps its capacity.
    let buffers = ObjectPool::new(|| String::with_capacity(4096));

    thread::scope(|scope| {
        for worker in 0..2 {
            let buffers = &buffers;
            scope.spawn(move || {
                for line in 0..1000 {
                    let mut buffer = buffers.get();
                    assert!(buffer.is_empty());
                    write!(buffer, "worker {worker}, line {line}").expect("a String is writable");
                } // the buffer returns to the pool here
            });
        }
    });
    let snapshot = buffers.snapshot();
    println!("2,000 buffers used, {} created", snapshot.created);
    assert!(snapshot.created < 100);
}
