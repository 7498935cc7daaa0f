//! The behavior of a batcher: when batches start, what callers receive, overload and shutdown.

mod batch_support;

use batch_support::{
    Gate, Sink, at, counted, is_accounted, millis, poll, poll_all, poll_counted, poll_woken,
    started, time_of,
};
use futures::executor::block_on;
use futures::future::{join, join_all};
use mainstay::batch::{Batch, BatchOverflowRule, Batcher, BatcherBuilder};
use mainstay::error::{Error, Reason, Rejection};
use mainstay::time::{Deadline, ManualClock};
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

type Numbers = Batcher<u32, u32, &'static str>;

/// A batcher whose operation returns the items.
fn echo() -> BatcherBuilder<u32, u32, &'static str> {
    Batcher::builder(|batch: Batch<u32>| ready(Ok(batch.into_vec())))
}

fn rejected<T>(reason: Reason) -> Result<T, Error<&'static str>> {
    Err(Rejection::new(reason, "batcher").into())
}

// When a batch starts.

#[test]
fn a_single_item_of_an_idle_batcher_is_sent_immediately() {
    let time = ManualClock::new();
    let batcher = echo().clock(time.clock()).build().unwrap();
    assert_eq!(poll(&mut started(&batcher, 1)), Poll::Ready(Ok(1)));
    time.advance(millis(10));
    assert_eq!(poll(&mut started(&batcher, 2)), Poll::Ready(Ok(2)), "idle for one linger");
}

#[test]
fn items_linger_until_one_linger_after_the_previous_start() {
    let (time, sink) = (ManualClock::new(), Sink::default());
    let batcher = sink.builder().clock(time.clock()).build().unwrap();
    assert_eq!(block_on(batcher.call(0)), Ok(0));
    time.advance(millis(4));
    let mut calls: Vec<_> = (1..4).map(|item| started(&batcher, item)).collect();
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
    time.advance(Duration::from_nanos(5_999_999));
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
    assert_eq!(batcher.snapshot().lag, Duration::from_nanos(5_999_999));
    time.advance(Duration::from_nanos(1));
    let results: Vec<_> = calls.iter_mut().map(poll).collect();
    assert_eq!(results, (1..4).map(|item| Poll::Ready(Ok(item))).collect::<Vec<_>>());
    assert_eq!(sink.batches(), [vec![0], vec![1, 2, 3]]);
}

#[test]
fn one_lingering_caller_is_woken_by_the_timer() {
    let (time, sink) = (ManualClock::new(), Sink::default());
    let batcher = sink.builder().clock(time.clock()).build().unwrap();
    assert_eq!(block_on(batcher.call(0)), Ok(0));
    let (mut first, mut second) = (counted(&batcher, 1), counted(&batcher, 2));
    time.advance(millis(10));
    assert_eq!((first.wakes(), second.wakes()), (0, 1), "the one that was polled last");
    assert_eq!(second.poll(), Poll::Ready(Ok(2)));
    assert_eq!(first.wakes(), 1, "its result is there");
    assert_eq!(first.poll(), Poll::Ready(Ok(1)));
}

#[test]
fn the_driver_of_the_timer_that_is_dropped_before_or_after_it_is_woken_is_replaced() {
    for is_woken in [false, true] {
        let (time, sink) = (ManualClock::new(), Sink::default());
        let batcher = sink.builder().clock(time.clock()).build().unwrap();
        assert_eq!(block_on(batcher.call(0)), Ok(0));
        let (mut first, last) = (counted(&batcher, 1), counted(&batcher, 2));
        if is_woken {
            time.advance(millis(10));
            assert_eq!((first.wakes(), last.wakes()), (0, 1));
        }
        drop(last);
        time.advance(millis(10));
        assert_eq!(first.wakes(), 1);
        assert_eq!(first.poll(), Poll::Ready(Ok(1)));
        assert_eq!(sink.batches(), [[0], [1]]);
    }
}

#[test]
fn a_full_batch_starts_immediately() {
    let (time, sink) = (ManualClock::new(), Sink::default());
    let batcher = sink.builder().clock(time.clock()).max_items(3).build().unwrap();
    let results = time.drive(join_all((0..7).map(|item| batcher.call(item))));
    assert_eq!(results, (0..7).map(Ok).collect::<Vec<_>>());
    assert_eq!(sink.batches(), [vec![0], vec![1, 2, 3], vec![4, 5, 6]]);
    assert_eq!(time.now(), ManualClock::new().now(), "no time has passed");
}

#[test]
fn the_size_of_the_items_limits_a_batch() {
    let (time, sink) = (ManualClock::new(), Sink::default());
    let batcher =
        sink.builder().clock(time.clock()).max_bytes(10, |item| u64::from(*item)).build().unwrap();
    // The first is sent alone. 4 + 5 fit into a batch, 4 + 5 + 6 do not; 20 is larger than a batch.
    let results = time.drive(join_all([1, 4, 5, 6, 20, 1].map(|item| batcher.call(item))));
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(sink.batches(), [vec![1], vec![4, 5], vec![6], vec![20], vec![1]]);
}

#[test]
fn no_more_batches_than_allowed_run_at_the_same_time() {
    for max in 1..4 {
        let gate = Gate::default();
        let batcher = gate.builder().max_items(1).max_concurrent(max).build().unwrap();
        let mut calls: Vec<_> = (0..6).map(|item| started(&batcher, item)).collect();
        assert_eq!((batcher.snapshot().running, gate.running()), (max, max));
        for _ in 0..6 {
            gate.open_next();
            poll_all(&mut calls);
            assert!(gate.running() <= max);
        }
        assert_eq!(gate.max_running(), max);
        assert_eq!(batcher.snapshot().succeeded, 6);
    }
}

#[test]
fn a_clock_that_is_set_back_delays_no_batch() {
    let time = time_of(100);
    let batcher = echo().clock(time.clock()).build().unwrap();
    assert_eq!(poll(&mut started(&batcher, 1)), Poll::Ready(Ok(1)));
    time.set(at(50));
    assert_eq!(poll(&mut started(&batcher, 2)), Poll::Ready(Ok(2)));
}

#[test]
fn a_flush_sends_the_items_before_it_and_waits_for_them() {
    let (time, sink) = (ManualClock::new(), Sink::default());
    let batcher = sink.builder().clock(time.clock()).build().unwrap();
    assert_eq!(block_on(batcher.call(0)), Ok(0));
    let mut call = started(&batcher, 1);
    assert!(poll(&mut call).is_pending(), "lingers");
    block_on(batcher.flush());
    assert_eq!(poll(&mut call), Poll::Ready(Ok(1)));
    block_on(batcher.flush()); // nothing to do
    batcher.flush_blocking();
    assert!(poll(&mut started(&batcher, 2)).is_pending(), "a later item lingers");
}

#[test]
fn a_flush_waits_for_a_running_batch_and_not_for_later_items() {
    let gate = Gate::default();
    let batcher = gate.builder().max_items(1).build().unwrap();
    let mut first = started(&batcher, 1);
    let mut flush = Box::pin(batcher.flush());
    assert!(poll(&mut flush).is_pending());
    let mut later = started(&batcher, 2);
    gate.open_next();
    assert!(poll(&mut flush).is_ready());
    assert_eq!(poll(&mut first), Poll::Ready(Ok(1)));
    assert!(poll(&mut later).is_pending());
}

#[test]
fn a_flush_ends_when_the_last_item_before_it_is_cancelled() {
    let gate = Gate::default();
    let batcher = gate.builder().max_items(1).build().unwrap();
    let (running, queued) = (started(&batcher, 1), started(&batcher, 2));
    let mut flush = Box::pin(batcher.flush());
    assert!(poll(&mut flush).is_pending());
    drop(queued);
    assert!(poll(&mut flush).is_pending());
    drop(running); // its operation is dropped with its only caller
    assert!(poll(&mut flush).is_ready());
}

#[test]
fn a_flush_that_only_waits_is_woken_when_the_last_item_before_it_is_cancelled() {
    let batcher = echo().build().unwrap();
    let mut runner = Box::pin(batcher.run());
    assert!(poll(&mut runner).is_pending());
    let queued = started(&batcher, 1); // the runner is not polled, so the item is not sent
    let mut flush = Box::pin(batcher.flush());
    let (is_pending, wakes) = poll_counted(&mut flush);
    assert!(is_pending && wakes() == 0);
    drop(queued);
    assert_eq!(wakes(), 1);
    assert!(poll(&mut flush).is_ready());
}

// What callers receive.

#[test]
fn each_caller_receives_the_result_for_its_own_item() {
    let batcher = Batcher::builder(|batch: Batch<u32>| {
        let half = |item: u32| if item.is_multiple_of(2) { Ok(item / 2) } else { Err("odd") };
        ready(batch.into_iter().map(half).collect::<Vec<_>>())
    })
    .build()
    .unwrap();
    let results = block_on(join_all((0..100).map(|item| batcher.call(item))));
    for (item, result) in (0..).zip(results) {
        match item % 2 {
            0 => assert_eq!(result, Ok(item / 2)),
            _ => assert_eq!(result, Err(Error::Operation("odd"))),
        }
    }
    assert_eq!((batcher.snapshot().succeeded, batcher.snapshot().failed), (50, 50));
}

#[test]
fn all_callers_of_a_batch_that_failed_receive_its_error() {
    let batcher: Numbers = Batcher::builder(|_| ready(Err::<Vec<u32>, _>("down"))).build().unwrap();
    for result in block_on(join_all((0..10).map(|item| batcher.call(item)))) {
        assert_eq!(result, Err(Error::Operation("down")));
    }
    assert_eq!(batcher.snapshot().splits, 0);
}

/// A sink that rejects every batch with an item of `bad`, and records items and keys.
type Sent = Arc<Mutex<Vec<Vec<(u32, u128)>>>>;

fn picky(bad: &'static [u32], sent: &Sent) -> BatcherBuilder<u32, u32, &'static str> {
    let sent = Arc::clone(sent);
    Batcher::builder(move |batch: Batch<u32>| {
        sent.lock().unwrap().push(batch.iter().copied().zip(batch.keys()).collect());
        match batch.iter().any(|item| bad.contains(item)) {
            true => ready(Err("bad")),
            false => ready(Ok(batch.into_vec())),
        }
    })
}

#[test]
fn a_batch_that_failed_is_split_until_the_items_that_fail_are_found() {
    for bad in [&[][..], &[0], &[7], &[3, 4], &[0, 1, 2, 3, 4, 5, 6, 7]] {
        let (time, sent) = (ManualClock::new(), Sent::default());
        let builder = picky(bad, &sent).split_when(|error| *error == "bad");
        let batcher = builder.clock(time.clock()).build().unwrap();
        let calls = join_all((0..8).map(|item| batcher.call(item)));
        let results = time.drive(async { join(batcher.flush(), calls).await.1 });
        for (item, result) in (0..).zip(results) {
            let is_bad = bad.contains(&item);
            assert_eq!(result, if is_bad { Err(Error::Operation("bad")) } else { Ok(item) });
        }
        let sent = sent.lock().unwrap();
        let key = |item| sent.iter().flatten().find(|(sent, _)| *sent == item).unwrap().1;
        for (item, sent) in sent.iter().flatten() {
            assert_eq!(*sent, key(*item), "the key of {item}");
        }
        assert!((0..7).all(|item| key(item) != key(item + 1)));
        assert!(sent.iter().all(|part| part.is_sorted()), "{sent:?}");
    }
}

#[test]
fn a_batch_is_split_only_for_errors_that_an_item_causes() {
    let (time, sent) = (ManualClock::new(), Sent::default());
    let batcher = picky(&[2], &sent).split_when(|_| false).clock(time.clock()).build().unwrap();
    let results = time.drive(join_all((0..4).map(|item| batcher.call(item))));
    assert_eq!(results[1..], [Err(Error::Operation("bad")); 3]);
    assert_eq!((sent.lock().unwrap().len(), batcher.snapshot().splits), (2, 0));
}

#[test]
fn keys_of_two_batchers_differ() {
    let (one, other) = (Sent::default(), Sent::default());
    for sent in [&one, &other] {
        block_on(picky(&[], sent).build().unwrap().call(1)).unwrap();
    }
    assert_ne!(one.lock().unwrap()[0][0].1, other.lock().unwrap()[0][0].1);
}

#[test]
fn a_batch_has_the_earliest_deadline_of_its_items() {
    let time = ManualClock::new();
    let deadlines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&deadlines);
    let batcher: Numbers = Batcher::builder(move |batch: Batch<u32>| {
        seen.lock().unwrap().push(batch.deadline());
        ready(Ok(batch.into_vec()))
    })
    .clock(time.clock())
    .build()
    .unwrap();
    let start = time.now();
    let _ = time.drive(async {
        let timed = [50, 30, 40].map(|ms| batcher.call_timeout(1, millis(ms)));
        join(batcher.call(0), join_all(timed)).await
    });
    let earliest = Deadline::after(start, millis(30));
    assert_eq!(*deadlines.lock().unwrap(), [Deadline::NEVER, earliest]);
}

#[test]
fn an_item_is_not_sent_after_its_deadline() {
    let (time, sink) = (ManualClock::new(), Sink::default());
    let batcher = sink.builder().clock(time.clock()).build().unwrap();
    assert_eq!(block_on(batcher.call(0)), Ok(0));
    let mut late = Box::pin(batcher.call_timeout(1, millis(5)));
    let mut patient = started(&batcher, 2);
    assert!(poll(&mut late).is_pending());
    time.advance(millis(10));
    // The other call drives, before the timeout of the first call is observed.
    assert_eq!(poll(&mut patient), Poll::Ready(Ok(2)));
    let result = poll(&mut late);
    assert_eq!(result, Poll::Ready(rejected(Reason::DeadlineExceeded)));
    assert_eq!(sink.batches(), [[0], [2]]);
    assert_eq!(batcher.snapshot().unsent, 1);
    is_accounted(&batcher);
}

#[test]
fn a_timeout_ends_the_call_and_removes_its_item() {
    let (time, gate) = (ManualClock::new(), Gate::default());
    let batcher = gate.builder().clock(time.clock()).build().unwrap();
    let running = started(&batcher, 1);
    let result = time.drive(batcher.call_timeout(2, millis(5)));
    assert!(result.unwrap_err().is_timeout());
    assert!(batcher.call_blocking_timeout(3, millis(5)).unwrap_err().is_timeout());
    assert_eq!((batcher.snapshot().queued, batcher.snapshot().cancelled), (0, 2));
    drop(running);
    is_accounted(&batcher);
}

// Cancelled calls.

#[test]
fn a_call_that_is_dropped_before_its_item_is_sent_removes_it() {
    let (time, sink) = (ManualClock::new(), Sink::default());
    let batcher = sink.builder().clock(time.clock()).build().unwrap();
    assert_eq!(block_on(batcher.call(0)), Ok(0));
    let (mut first, dropped, last) =
        (started(&batcher, 1), started(&batcher, 2), started(&batcher, 3));
    drop(dropped);
    time.advance(millis(10));
    assert_eq!(poll(&mut first), Poll::Ready(Ok(1)));
    assert_eq!(sink.batches(), [vec![0], vec![1, 3]]);
    drop(last);
    is_accounted(&batcher);
}

#[test]
fn a_batch_continues_while_one_of_its_calls_is_left() {
    let (gate, time) = (Gate::default(), ManualClock::new());
    let batcher = gate.builder().clock(time.clock()).max_items(2).build().unwrap();
    gate.open_next();
    assert_eq!(block_on(batcher.call(0)), Ok(0));
    let (first, mut second) = (started(&batcher, 1), counted(&batcher, 2));
    assert_eq!(gate.running(), 1);
    drop(first);
    gate.open_next();
    assert_eq!(second.wakes(), 1, "it continues the operation");
    assert_eq!(second.poll(), Poll::Ready(Ok(2)));
    assert_eq!(batcher.snapshot().succeeded, 3, "the operation ended for the dropped call too");
    is_accounted(&batcher);
}

#[test]
fn an_operation_without_calls_is_dropped_and_the_next_batch_starts() {
    let gate = Gate::default();
    let batcher = gate.builder().max_items(2).build().unwrap();
    let first = started(&batcher, 1);
    let mut second = counted(&batcher, 2);
    let mut third = counted(&batcher, 3);
    assert_eq!(gate.running(), 1);
    drop(first);
    assert_eq!(gate.running(), 0, "dropped");
    assert_eq!(batcher.snapshot().abandoned, 1);
    assert_eq!(second.wakes() + third.wakes(), 1, "one of them starts the next batch");
    gate.open_next();
    assert_eq!(second.poll(), Poll::Ready(Ok(2)));
    assert_eq!(third.poll(), Poll::Ready(Ok(3)));
    is_accounted(&batcher);
}

#[test]
fn a_call_can_be_dropped_after_any_number_of_polls() {
    for polls in 0..6 {
        let gate = Gate::default();
        let batcher = gate.builder().max_items(1).max_queue(2).build().unwrap();
        let mut others: Vec<_> = (0..3).map(|item| started(&batcher, item)).collect();
        let mut dropped = started(&batcher, 9);
        for _ in 0..polls {
            let _ = poll(&mut dropped);
            gate.open_next();
            poll_all(&mut others);
        }
        drop(dropped);
        for _ in 0..4 {
            gate.open_next();
            poll_all(&mut others);
        }
        let shot = batcher.snapshot();
        assert_eq!((shot.queued, shot.in_flight, shot.waiting), (0, 0, 0), "{polls} polls");
        assert!(shot.succeeded >= 3, "{polls} polls: {shot:?}");
        is_accounted(&batcher);
        gate.open_next();
        assert_eq!(block_on(batcher.call(5)), Ok(5), "{polls} polls");
    }
}

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
