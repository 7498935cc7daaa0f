//! The settings that the builder accepts and rejects.

use super::LONG;
use mainstay::worker_pool::{WorkerPool, WorkerPoolBuilder};
use std::time::Duration;

#[test]
fn the_builder_names_the_setting_that_it_does_not_accept() {
    let field = |builder: WorkerPoolBuilder| builder.build().unwrap_err().field();
    let builder = WorkerPool::builder;
    assert_eq!(field(builder().name("a\0b")), "name");
    assert_eq!(field(builder().name("two\nlines")), "name");
    assert_eq!(field(builder().name("n".repeat(1000))), "name");
    assert_eq!(field(builder().queue_capacity(1 << 40)), "queue_capacity");
    assert_eq!(field(builder().workers(0)), "workers");
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 3..=2;
    assert_eq!(field(builder().workers(reversed)), "workers");
    assert_eq!(field(builder().workers(1 << 20)), "workers");
    assert_eq!(field(builder().queue_capacity(0)), "queue_capacity");
    assert_eq!(field(builder().queue_capacity(usize::MAX)), "queue_capacity");
    assert_eq!(field(builder().idle_timeout(Duration::ZERO)), "idle_timeout");
    assert_eq!(field(builder().max_inline_depth(129)), "max_inline_depth");
    assert_eq!(field(builder().codel(Duration::ZERO, LONG)), "codel");
    assert_eq!(field(builder().codel(LONG, Duration::from_secs(1))), "codel");
    assert_eq!(field(builder().codel(LONG, Duration::MAX)), "codel");
    let error = builder().workers(2).stack_size(1 << 46).build().unwrap_err();
    assert_eq!((error.field(), error.value()), ("workers", "2"), "no thread can be started");
}
