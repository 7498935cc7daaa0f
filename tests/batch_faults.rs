//! The behavior of a batcher: panics, overload, runners, shutdown and settings.

mod batch_support;

use batch_support::{
    Gate, Numbers, Sink, counted, echo, is_accounted, millis, poll, poll_all, poll_woken, rejected,
    started,
};
use futures::executor::block_on;
use futures::future::{join, join_all};
use mainstay::batch::{Batch, BatchOverflowRule, Batcher};
use mainstay::error::{Error, Reason};
use mainstay::time::ManualClock;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

// Panics of user code.

#[test]
fn a_panic_of_the_operation_is_an_error_of_every_call_of_its_batch() {
    type Operation =
        fn(Batch<u32>) -> Box<dyn Future<Output = Vec<Result<u32, &'static str>>> + Send + Unpin>;
    struct PanicOnDrop;
    impl Future for PanicOnDrop {
        type Output = Vec<Result<u32, &'static str>>;
        fn poll(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Self::Output> {
            Poll::Ready(vec![Ok(1), Ok(2)])
        }
    }
    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let operations: [(&str, Operation); 5] = [
        ("the closure", |_| panic!("closure")),
        ("the future", |_| Box::new(Box::pin(async { panic!("future") }))),
        ("its drop", |_| Box::new(PanicOnDrop)),
        ("too few results", |_| Box::new(ready(vec![Ok(1)]))),
        ("too many results", |_| Box::new(ready(vec![Ok(1), Ok(2), Ok(3)]))),
    ];
    for (name, operation) in operations {
        let time = ManualClock::new();
        let first = AtomicUsize::new(0);
        let batcher: Numbers =
            Batcher::builder(move |batch: Batch<u32>| match first.fetch_add(1, SeqCst) {
                1 => operation(batch),
                _ => Box::new(ready(batch.into_iter().map(Ok).collect())),
            })
            .clock(time.clock())
            .build()
            .unwrap();
        assert_eq!(block_on(batcher.call(0)), Ok(0));
        let results = time.drive(join(batcher.call(1), batcher.call(2)));
        assert_eq!(results, (rejected(Reason::Panicked), rejected(Reason::Panicked)), "{name}");
        time.advance(millis(10));
        assert_eq!(block_on(batcher.call(3)), Ok(3), "{name}");
        assert_eq!(batcher.snapshot().failed, 2);
        is_accounted(&batcher);
    }
}

/// A number whose clone panics if it is 13.
#[derive(Debug, PartialEq)]
struct Fragile(u32);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert_ne!(self.0, 13, "clone");
        Self(self.0)
    }
}

#[test]
fn a_panic_of_the_closures_and_clones_of_a_failed_batch_is_an_error_of_its_calls() {
    for (item, error, splits) in [(13, 1, true), (1, 13, false), (1, 99, true)] {
        let time = ManualClock::new();
        let batcher: Batcher<Fragile, (), Fragile> =
            Batcher::builder(move |_| ready(Err::<Vec<()>, _>(Fragile(error))))
                .split_when(move |error| match error.0 {
                    99 => panic!("split"),
                    _ => splits,
                })
                .clock(time.clock())
                .build()
                .unwrap();
        let calls =
            join_all([Fragile(0), Fragile(item), Fragile(2)].map(|item| batcher.call(item)));
        let results = time.drive(calls);
        let is_answered = results[1..].iter().all(|result| match result {
            Err(Error::Rejected(rejection)) => rejection.reason() == Reason::Panicked,
            Err(Error::Operation(error)) => error.0 == 99, // not split
            _ => false,
        });
        assert!(is_answered, "{results:?}");
        is_accounted(&batcher);
    }
}

#[test]
fn a_panic_of_the_size_closure_unwinds_its_call_only() {
    let batcher = echo()
        .max_bytes(10, |item| {
            assert_ne!(*item, 13);
            1
        })
        .build()
        .unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| block_on(batcher.call(13))));
    assert!(panicked.is_err());
    assert_eq!((batcher.snapshot().accepted, batcher.snapshot().queued), (0, 0));
    assert_eq!(block_on(batcher.call(1)), Ok(1));
}

#[test]
fn items_and_results_whose_drop_panics_leave_the_batcher_usable() {
    struct Mine(bool);
    impl Drop for Mine {
        fn drop(&mut self) {
            assert!(!self.0 || std::thread::panicking(), "drop");
        }
    }
    let gate = Gate::default();
    let opened = gate.clone();
    let batcher: Batcher<u32, Mine, ()> = Batcher::builder(move |batch: Batch<u32>| {
        let opened = opened.pass();
        async move {
            opened.await;
            Ok(batch.iter().map(|item| Mine(*item == 13)).collect())
        }
    })
    .max_items(2)
    .build()
    .unwrap();
    let mut running = started(&batcher, 0);
    let (unclaimed, mut last) = (started(&batcher, 13), started(&batcher, 2));
    gate.open_next();
    assert!(poll(&mut running).is_ready());
    assert!(poll(&mut last).is_pending());
    drop(unclaimed); // sent: its result is dropped by the driver
    gate.open_next();
    assert!(matches!(poll(&mut last), Poll::Ready(Ok(_))));
    is_accounted(&batcher);
}

// Overload.

#[test]
fn a_full_queue_rejects_calls_if_so_configured() {
    let gate = Gate::default();
    let builder = gate.builder().max_items(1).max_queue(2).high_watermark(1.0);
    let batcher = builder.when_full(BatchOverflowRule::Reject).build().unwrap();
    let mut calls: Vec<_> = (0..3).map(|item| started(&batcher, item)).collect();
    assert_eq!(poll(&mut started(&batcher, 9)), Poll::Ready(rejected(Reason::QueueFull)));
    assert_eq!(batcher.snapshot().rejected, 1);
    gate.open_next();
    assert_eq!(poll(&mut calls[0]), Poll::Ready(Ok(0)));
    assert!(poll(&mut calls[1]).is_pending());
    calls.push(started(&batcher, 3));
    assert!(poll(&mut calls[3]).is_pending());
    for _ in 0..3 {
        gate.open_next();
        poll_all(&mut calls);
    }
    is_accounted(&batcher);
}

#[test]
fn callers_of_a_full_queue_enter_in_order_of_arrival() {
    let gate = Gate::default();
    let batcher = gate.builder().max_items(1).max_queue(1).high_watermark(1.0).build().unwrap();
    let mut calls: Vec<_> = (0..5).map(|item| counted(&batcher, item)).collect();
    assert_eq!((batcher.snapshot().queued, batcher.snapshot().waiting), (1, 3));
    drop(calls.remove(2)); // the front of the line
    for round in 0..4 {
        gate.open_next();
        let waked = calls.iter_mut().filter(|call| call.wakes() > 0).count();
        assert!(waked >= 1, "round {round}");
        // Wakes spread from call to call.
        for _ in 0..4 {
            poll_woken(&mut calls);
        }
    }
    assert_eq!(gate.items(), [0, 1, 3, 4]);
    assert_eq!(batcher.snapshot().succeeded, 4);
    drop(calls);
    is_accounted(&batcher);
}

#[test]
fn callers_above_the_high_watermark_enter_at_growing_intervals() {
    let (time, gate) = (ManualClock::new(), Gate::default());
    let builder = gate.builder().clock(time.clock()).max_items(1).max_queue(10);
    let batcher = builder.high_watermark(0.5).max_pause(millis(10)).build().unwrap();
    // One runs, and five are queued. The next enters immediately, because there is no pressure at
    // the watermark itself.
    let mut calls: Vec<_> = (0..12).map(|item| counted(&batcher, item)).collect();
    assert_eq!((batcher.snapshot().queued, batcher.snapshot().waiting), (6, 5));
    // One fifth of the rest is filled: one fifth of the longest pause. Then two fifths, and so on.
    for (queued, pause) in [(6, 2), (7, 4), (8, 6), (9, 8)] {
        time.advance(millis(pause) - Duration::from_nanos(1));
        poll_woken(&mut calls);
        assert_eq!(batcher.snapshot().queued, queued);
        time.advance(Duration::from_nanos(1));
        poll_woken(&mut calls);
        poll_woken(&mut calls);
        assert_eq!(batcher.snapshot().queued, queued + 1);
    }
    time.advance(millis(1000));
    poll_woken(&mut calls);
    assert_eq!((batcher.snapshot().queued, batcher.snapshot().waiting), (10, 1), "full");
    drop(calls);
    is_accounted(&batcher);
}

#[test]
fn callers_are_slowed_while_the_oldest_item_lags() {
    let (time, gate) = (ManualClock::new(), Gate::default());
    let batcher = gate.builder().clock(time.clock()).max_items(1).build().unwrap();
    let mut calls: Vec<_> = (0..2).map(|item| started(&batcher, item)).collect();
    time.advance(Duration::from_secs(1));
    calls.push(started(&batcher, 2));
    assert_eq!(batcher.snapshot().queued, 2, "a lag of one second is accepted");
    time.advance(millis(500));
    // The pause is half of 10 ms since the last entry, which has passed; then it starts again.
    calls.push(started(&batcher, 3));
    calls.push(started(&batcher, 4));
    assert_eq!((batcher.snapshot().queued, batcher.snapshot().waiting), (3, 1));
    gate.open_next();
    assert_eq!(poll(&mut calls[0]), Poll::Ready(Ok(0)));
    poll_all(&mut calls);
    assert_eq!(batcher.snapshot().waiting, 0, "the oldest item was sent");
    drop(calls);
    is_accounted(&batcher);
}

// Runners and threads.

#[test]
fn a_runner_drives_batches_whose_calls_are_not_polled() {
    let (time, gate) = (ManualClock::new(), Gate::default());
    let batcher = gate.builder().clock(time.clock()).max_items(2).build().unwrap();
    let mut runner = Box::pin(batcher.run());
    assert!(poll(&mut runner).is_pending());
    let mut calls: Vec<_> = (0..3).map(|item| started(&batcher, item)).collect();
    assert_eq!(gate.running(), 0, "callers only wait");
    assert!(poll(&mut runner).is_pending());
    assert_eq!(gate.running(), 1);
    drop(calls.remove(0));
    drop(calls.remove(0));
    assert_eq!(gate.running(), 1, "a runner continues an operation without calls");
    gate.open_next();
    assert!(poll(&mut runner).is_pending());
    assert_eq!(batcher.snapshot().succeeded, 2);
    drop(runner);
    gate.open_next();
    time.advance(millis(10));
    assert_eq!(poll(&mut calls[0]), Poll::Ready(Ok(2)), "callers drive again");
    is_accounted(&batcher);
}

#[test]
fn a_dropped_runner_wakes_a_caller_and_drops_operations_without_calls() {
    let gate = Gate::default();
    let batcher = gate.builder().max_items(1).max_concurrent(2).build().unwrap();
    let mut runner = Box::pin(batcher.run());
    assert!(poll(&mut runner).is_pending());
    let (gone, mut call) = (started(&batcher, 1), counted(&batcher, 2));
    assert!(poll(&mut runner).is_pending());
    drop(gone);
    assert_eq!(gate.running(), 2);
    drop(runner);
    assert_eq!((gate.running(), batcher.snapshot().abandoned), (1, 1));
    gate.open_next();
    assert_eq!(call.poll(), Poll::Ready(Ok(2)));
    is_accounted(&batcher);
}

#[test]
fn a_runner_ends_when_the_batcher_is_closed_and_empty() {
    let gate = Gate::default();
    let batcher = gate.builder().build().unwrap();
    let mut runner = Box::pin(batcher.run());
    assert!(poll(&mut runner).is_pending());
    let call = started(&batcher, 1);
    assert!(poll(&mut runner).is_pending());
    assert!(batcher.close() && !batcher.close() && batcher.is_closed());
    assert!(poll(&mut runner).is_pending());
    gate.open_next();
    assert!(poll(&mut runner).is_ready());
    assert_eq!(block_on(call), Ok(1));
}

#[test]
fn threads_share_batches_while_another_thread_blocks_in_the_operation() {
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let inside = Arc::clone(&barrier);
    // Two batches must run at the same time to pass the barrier.
    let batcher: Numbers = Batcher::builder(move |batch: Batch<u32>| {
        inside.wait();
        ready(Ok(batch.into_vec()))
    })
    .max_items(1)
    .max_concurrent(2)
    .build()
    .unwrap();
    std::thread::scope(|scope| {
        for item in 0..4 {
            let batcher = &batcher;
            scope.spawn(move || assert_eq!(batcher.call_blocking(item), Ok(item)));
        }
    });
    is_accounted(&batcher);
}

#[test]
fn the_batcher_can_be_used_in_its_operation() {
    let slot: Arc<Mutex<Option<Numbers>>> = Arc::default();
    let own = Arc::clone(&slot);
    let batcher: Numbers = Batcher::builder(move |batch: Batch<u32>| {
        let batcher = own.lock().unwrap().clone().unwrap();
        assert_eq!((batcher.snapshot().running, batcher.snapshot().in_flight), (1, batch.len()));
        ready(Ok(batch.into_vec()))
    })
    .build()
    .unwrap();
    *slot.lock().unwrap() = Some(batcher.clone());
    assert_eq!(block_on(batcher.call(1)), Ok(1));
    *slot.lock().unwrap() = None;
}

#[test]
fn a_batcher_is_freed_with_an_operation_that_holds_its_waker() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let batcher: Numbers = Batcher::builder(move |_| {
        let held = Arc::clone(&held);
        async move {
            pending::<()>().await;
            drop(held);
            Ok(Vec::new())
        }
    })
    .build()
    .unwrap();
    let shared = batcher.clone();
    let mut runner: std::pin::Pin<Box<dyn Future<Output = ()>>> =
        Box::pin(async move { shared.run().await });
    let _ = poll(&mut runner);
    let call = started(&batcher, 1);
    let _ = poll(&mut runner);
    drop((runner, call, batcher));
    assert_eq!(Arc::strong_count(&alive), 1);
}

// Shutdown.

#[test]
fn a_drain_sends_what_is_queued_and_reports() {
    let (time, sink) = (ManualClock::new(), Sink::default());
    let batcher = sink.builder().clock(time.clock()).build().unwrap();
    assert_eq!(block_on(batcher.call(0)), Ok(0));
    let calls: Vec<_> = (1..4).map(|item| started(&batcher, item)).collect();
    let report = block_on(batcher.drain_timeout(Duration::ZERO));
    assert!(report.is_complete());
    assert_eq!((report.succeeded, report.failed), (3, 0));
    assert_eq!(block_on(join_all(calls)), [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(block_on(batcher.call(9)), rejected(Reason::ShutDown));
    assert!(batcher.drain_blocking_timeout(Duration::ZERO).is_complete());
    assert_eq!(sink.batches(), [vec![0], vec![1, 2, 3]]);
    is_accounted(&batcher);
}

#[test]
fn a_drain_that_times_out_answers_all_callers() {
    let (time, gate) = (ManualClock::new(), Gate::default());
    let builder = gate.builder().clock(time.clock()).max_items(1).max_queue(1).high_watermark(1.0);
    let batcher = builder.build().unwrap();
    let mut calls: Vec<_> = (0..3).map(|item| started(&batcher, item)).collect();
    let report = time.drive(batcher.drain_timeout(millis(100)));
    assert!(!report.is_complete());
    assert_eq!((report.unsent, report.abandoned), (1, 1));
    assert_eq!(gate.running(), 0, "dropped");
    match poll(&mut calls[0]) {
        Poll::Ready(Err(Error::Timeout(timed_out))) => assert_eq!(timed_out.limit(), millis(100)),
        other => panic!("{other:?}"),
    }
    assert_eq!(poll(&mut calls[1]), Poll::Ready(rejected(Reason::ShutDown)));
    assert_eq!(poll(&mut calls[2]), Poll::Ready(rejected(Reason::ShutDown)), "in the line");
    is_accounted(&batcher);
}

#[test]
fn a_closed_batcher_rejects_the_callers_that_wait_to_enter() {
    let gate = Gate::default();
    let batcher = gate.builder().max_items(1).max_queue(1).high_watermark(1.0).build().unwrap();
    let mut calls: Vec<_> = (0..4).map(|item| counted(&batcher, item)).collect();
    batcher.close();
    assert_eq!(calls[2].wakes(), 1, "the front of the line");
    assert_eq!(calls[2].poll(), Poll::Ready(rejected(Reason::ShutDown)));
    assert_eq!(calls[3].wakes(), 1, "the next");
    assert_eq!(calls[3].poll(), Poll::Ready(rejected(Reason::ShutDown)));
    drop(calls);
    is_accounted(&batcher);
}

// Settings.

#[test]
fn settings_out_of_range_are_named() {
    let second = Duration::from_secs(1);
    for (field, builder) in [
        ("name", echo().name("")),
        ("max_items", echo().max_items(0)),
        ("max_items", echo().max_items((1 << 24) + 1)),
        ("max_queue", echo().max_queue(0)),
        ("max_bytes", echo().max_bytes(0, |_| 1)),
        ("max_bytes", echo().max_bytes(u64::MAX, |_| 1)),
        ("max_concurrent", echo().max_concurrent(0)),
        ("high_watermark", echo().high_watermark(0.0)),
        ("high_watermark", echo().high_watermark(f64::NAN)),
        ("max_linger", echo().max_linger(86_401 * second)),
        ("max_pause", echo().max_pause(86_401 * second)),
        ("max_lag", echo().max_lag(Duration::ZERO)),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
    assert!(echo().max_bytes(1 << 39, |_| u64::MAX).max_queue(1 << 24).build().is_ok());
}

#[test]
fn the_documented_defaults_hold() {
    let text = format!("{:?}", echo());
    for part in ["512", "10ms", "max_concurrent: 1", "5120", "Wait"] {
        assert!(text.contains(part), "{text}");
    }
}
