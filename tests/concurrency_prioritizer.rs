//! The prioritizer: the calls that it rejects during and after an overload.
#![cfg(not(mainstay_loom))]

mod prioritizer_support;

use mainstay::concurrency::{Bulkhead, BulkheadPermit, Prioritizer, PrioritizerBuilder};
use mainstay::error::{Error, Reason, Rejection};
use mainstay::event::Event;
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Admission, Context, Guard, OwnedGuard, Priority, PriorityClass};
use mainstay::time::Instant;
use prioritizer_support::{Counts, Server};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

impl Server {
    /// Offers one call every `interval` for `duration`, with the priorities in turn.
    fn offer<const N: usize>(
        &self,
        interval: Duration,
        duration: Duration,
        priorities: [Priority; N],
    ) -> [Counts; N] {
        let mut counts = [Counts::default(); N];
        let mut running: VecDeque<(Instant, _, BulkheadPermit<'_>)> = VecDeque::new();
        let end = self.time.now() + duration;
        for turn in (0..N).cycle() {
            self.time.advance(interval);
            let now = self.time.now();
            if now > end {
                break;
            }
            while running.front().is_some_and(|(done, ..)| *done <= now) {
                running.pop_front();
            }
            counts[turn].offered += 1;
            let Ok(permit) = self.prioritizer.try_acquire(priorities[turn]) else { continue };
            match self.bulkhead.try_acquire() {
                Ok(slot) => {
                    counts[turn].served += 1;
                    running.push_back((now + 10 * MS, permit, slot));
                }
                Err(_) => permit.rejected(),
            }
        }
        counts
    }
}

fn class(class: PriorityClass) -> Priority {
    class.into()
}

#[test]
fn without_overload_no_call_is_rejected() {
    let server = Server::new();
    let [low] = server.offer(2 * MS, 10_000 * MS, [class(PriorityClass::VeryLow)]);
    assert_eq!(low.served, low.offered);
    let snapshot = server.prioritizer.snapshot();
    assert_eq!((snapshot.rejections, snapshot.rejection_rate, snapshot.threshold), (0, 0.0, None));
}

#[test]
fn under_overload_the_important_calls_are_served() {
    let server = Server::new();
    let classes = [class(PriorityClass::High), class(PriorityClass::Low)];
    // The load is twice the capacity, and half of the calls are important.
    server.offer(MS / 2, 5_000 * MS, classes);
    let [high, low] = server.offer(MS / 2, 20_000 * MS, classes);
    assert!(high.share() > 0.97, "{high:?} {low:?}");
    // The unimportant calls use the remaining capacity, so that the server is not idle.
    let served = f64::from(high.served + low.served);
    assert!(served > 0.95 * 20_000.0, "{high:?} {low:?}");
    assert!(server.prioritizer.snapshot().threshold >= Some(class(PriorityClass::Low)));
}

#[test]
fn without_a_threshold_both_classes_are_rejected_alike() {
    // The first update is due after the end of the test, so that the prioritizer rejects no call.
    let server = Server::with(|builder| builder.update_interval(Duration::from_secs(60)));
    let classes = [class(PriorityClass::High), class(PriorityClass::Low)];
    let [high, low] = server.offer(MS / 2, 20_000 * MS, classes);
    for counts in [high, low] {
        assert!((0.45..0.55).contains(&counts.share()), "{high:?} {low:?}");
    }
}

#[test]
fn levels_within_a_class_are_ordered_too() {
    let server = Server::new();
    let levels = [90, 50, 10].map(|level| Priority::new(PriorityClass::Medium, level));
    server.offer(MS / 2, 5_000 * MS, levels);
    let [first, second, third] = server.offer(MS / 2, 20_000 * MS, levels);
    // Calls of each level need two thirds of the capacity.
    assert!(first.share() > 0.95, "{first:?}");
    assert!((0.3..0.6).contains(&second.share()) && third.share() < 0.05, "{second:?} {third:?}");
}

#[test]
fn calls_of_one_priority_are_rejected_at_random() {
    let server = Server::new();
    server.offer(MS / 2, 5_000 * MS, [Priority::default()]);
    let [calls] = server.offer(MS / 2, 20_000 * MS, [Priority::default()]);
    // Random gaps between the admitted calls leave some of the ten permits unused.
    assert!((0.4..0.51).contains(&calls.share()), "{calls:?}");
}

#[test]
fn the_rejection_rate_falls_to_zero_after_an_overload() {
    let server = Server::new();
    server.offer(MS / 10, 10_000 * MS, [Priority::default()]);
    assert!(server.prioritizer.snapshot().rejection_rate > 0.8);
    server.offer(2 * MS, 10_000 * MS, [Priority::default()]);
    let [calls] = server.offer(2 * MS, 10_000 * MS, [Priority::default()]);
    assert_eq!(calls.served, calls.offered);
    assert_eq!(server.prioritizer.snapshot().rejection_rate, 0.0);
}

#[test]
fn rejections_are_counted_and_reported() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let server = Server::with(|builder| {
        builder.name("api").observer(move |event: &Event<'_>| {
            seen.lock().unwrap().push(event.to_string());
        })
    });
    server.offer(MS / 10, 10_000 * MS, [class(PriorityClass::Low)]);
    let rejection: Rejection =
        server.prioritizer.try_acquire(PriorityClass::VeryLow).map(drop).unwrap_err();
    assert_eq!((rejection.reason(), rejection.policy()), (Reason::Shed, "api"));
    let events = events.lock().unwrap();
    assert_eq!(events.len() as u64, server.prioritizer.snapshot().rejections);
    assert!(events.last().unwrap().contains("class=0 level=50"), "{:?}", events.last());
}

#[test]
fn the_guard_reads_the_priority_of_the_context() {
    let server = Server::new();
    server.offer(MS / 10, 10_000 * MS, [class(PriorityClass::Low)]);
    let prioritizer = &server.prioritizer;
    let admits = |class: PriorityClass| {
        let cx = Context::new().with_priority(class);
        let borrowed = Guard::<(), ()>::admit_blocking(prioritizer, cx).is_ok();
        let owned = OwnedGuard::<(), ()>::admit_owned(prioritizer, cx);
        assert_eq!(borrowed, matches!(owned, Admission::Admitted(_)), "{class:?}");
        borrowed
    };
    assert!(admits(PriorityClass::Medium) && !admits(PriorityClass::VeryLow));
    assert_eq!(prioritizer.snapshot().in_flight, 0, "the permits were dropped");
}

#[test]
fn a_call_that_the_limiter_rejects_is_not_completed() {
    let server = Server::new();
    let pipeline =
        Pipeline::builder().prioritizer(&server.prioritizer).bulkhead(&server.bulkhead).build();
    let slots: Vec<_> = (0..10).map(|_| server.bulkhead.try_acquire().unwrap()).collect();
    for _ in 0..100 {
        let result = pipeline.call_blocking(|| Ok::<_, ()>(()));
        assert!(matches!(result, Err(Error::Rejected(_))));
    }
    server.time.advance(500 * MS);
    let _ = pipeline.call_blocking(|| Ok::<_, ()>(()));
    // Of 101 calls none was completed.
    assert_eq!(server.prioritizer.snapshot().rejection_rate, 0.5);
    drop(slots);
}

#[test]
fn settings_are_validated() {
    let field = |builder: PrioritizerBuilder| builder.build().unwrap_err().field().to_owned();
    assert_eq!(field(Prioritizer::builder()), "limiter");
    let with_limiter = || Prioritizer::builder().limiter(Bulkhead::builder().build().unwrap());
    assert_eq!(field(with_limiter().name("")), "name");
    for interval in [Duration::ZERO, 9 * MS, Duration::from_secs(61)] {
        assert_eq!(field(with_limiter().update_interval(interval)), "update_interval");
    }
}
