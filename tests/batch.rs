//! The behavior of a batcher: when batches start, what callers receive, and cancelled calls.

mod batch_support;

use batch_support::{
    Gate, Numbers, Sink, at, counted, echo, is_accounted, millis, poll, poll_all, poll_counted,
    rejected, started, time_of,
};
use futures::executor::block_on;
use futures::future::{join, join_all};
use mainstay::batch::{Batch, Batcher, BatcherBuilder};
use mainstay::error::{Error, Reason};
use mainstay::time::{Deadline, ManualClock};
use std::future::ready;

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

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
