//! The queue of a bulkhead: order, timeouts, deadlines, shedding, and a comparison with a simple
//! model.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{Bulkhead, BulkheadBuilder, OwnedBulkheadAcquireFuture};
use mainstay::concurrency::{BulkheadPermit, OwnedBulkheadPermit};
use mainstay::error::{Reason, Rejection};
use mainstay::policy::{Admission, Context as CallContext, OwnedGuard};
use mainstay::time::{Deadline, ManualClock};
use mainstay::wait::QueueOrder;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn bulkhead(time: &ManualClock) -> BulkheadBuilder {
    Bulkhead::builder().clock(time.clock()).max_concurrent(1).max_queue(100)
}

type Wait = Pin<Box<OwnedBulkheadAcquireFuture>>;

fn poll(wait: &mut Wait) -> Poll<Result<OwnedBulkheadPermit, Rejection>> {
    wait.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Enters the queue.
fn enter(bulkhead: &Bulkhead) -> Wait {
    let mut wait = Box::pin(bulkhead.acquire_owned());
    assert!(poll(&mut wait).is_pending());
    wait
}

/// Enters the queue with a deadline `left` from now, or returns the reason of the rejection.
fn enter_until(bulkhead: &Bulkhead, time: &ManualClock, left: Duration) -> Result<Wait, Reason> {
    let cx = CallContext::new().on(&time.clock());
    let cx = cx.with_deadline(Deadline::after(time.now(), left));
    let Admission::Waiting(wait) = OwnedGuard::<(), ()>::admit_owned(bulkhead, cx) else {
        panic!("the call must wait: no permit is free")
    };
    let mut wait = Box::pin(wait);
    match poll(&mut wait) {
        Poll::Pending => Ok(wait),
        Poll::Ready(result) => Err(result.unwrap_err().reason()),
    }
}

/// Waiting callers with their numbers, and the permits that they were granted.
#[derive(Default)]
struct Callers {
    waits: Vec<(usize, Wait)>,
    permits: VecDeque<OwnedBulkheadPermit>,
}

impl Callers {
    fn enter(&mut self, bulkhead: &Bulkhead, number: usize) {
        self.waits.push((number, enter(bulkhead)));
    }

    /// Polls all waiting callers. Returns the numbers of those that no longer wait, with the reason
    /// of the rejection, or `None` if they were granted a permit.
    fn ended(&mut self) -> Vec<(usize, Option<Reason>)> {
        let mut ended = Vec::new();
        self.waits.retain_mut(|(number, wait)| {
            let reason = match poll(wait) {
                Poll::Pending => return true,
                Poll::Ready(Ok(permit)) => {
                    self.permits.push_back(permit);
                    None
                }
                Poll::Ready(Err(rejection)) => Some(rejection.reason()),
            };
            ended.push((*number, reason));
            false
        });
        ended
    }
}

#[test]
fn callers_are_served_in_order_of_arrival() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).build().unwrap();
    let mut callers = Callers::default();
    callers.permits.push_back(bulkhead.try_acquire_owned().unwrap());
    (0..5).for_each(|number| callers.enter(&bulkhead, number));
    for number in 0..5 {
        time.advance(10 * MS);
        callers.permits.pop_front();
        assert_eq!(callers.ended(), [(number, None)]);
    }
}

#[test]
fn once_the_oldest_caller_has_waited_for_long_the_newest_is_served_first() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).lifo_after(100 * MS).build().unwrap();
    let mut callers = Callers::default();
    callers.permits.push_back(bulkhead.try_acquire_owned().unwrap());
    callers.enter(&bulkhead, 0);
    time.advance(50 * MS);
    callers.enter(&bulkhead, 1);
    callers.enter(&bulkhead, 2);
    time.advance(51 * MS);
    let snapshot = bulkhead.snapshot();
    assert_eq!((snapshot.order, snapshot.oldest_wait), (QueueOrder::Lifo, Some(101 * MS)));
    callers.permits.pop_front();
    assert_eq!(callers.ended(), [(2, None)]);
    callers.enter(&bulkhead, 3);

    // The oldest caller gives up. The others have not waited for long, and are served in order of
    // arrival.
    drop(callers.waits.remove(0));
    assert_eq!(bulkhead.snapshot().order, QueueOrder::Fifo);
    for number in [1, 3] {
        callers.permits.pop_front();
        assert_eq!(callers.ended(), [(number, None)]);
    }
}

#[test]
fn a_caller_waits_until_its_timeout_or_its_deadline() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).max_wait(30 * MS).build().unwrap();
    let _permit = bulkhead.try_acquire().unwrap();
    let outcome = |wait: Wait| {
        let before = time.now();
        let reason = time.drive(wait).unwrap_err().reason();
        (reason, time.now() - before)
    };
    let timeout = |millis| (Reason::QueueTimeout, millis * MS);
    assert_eq!(outcome(Box::pin(bulkhead.acquire_owned())), timeout(30));
    assert_eq!(outcome(Box::pin(bulkhead.acquire_owned_timeout(70 * MS))), timeout(70));
    assert_eq!(outcome(Box::pin(bulkhead.acquire_owned_timeout(Duration::ZERO))), timeout(0));
    assert_eq!(outcome(Box::pin(bulkhead.max_wait(5 * MS).acquire_owned())), timeout(5));
    // A wait does not exceed the deadline of the call.
    assert_eq!(outcome(enter_until(&bulkhead, &time, 20 * MS).unwrap()), timeout(20));

    // The same for a blocking call, which advances the manual clock while it waits.
    let before = time.now();
    assert_eq!(bulkhead.acquire_blocking().unwrap_err().reason(), Reason::QueueTimeout);
    assert_eq!(time.now() - before, 30 * MS);
    assert_eq!((bulkhead.snapshot().rejected_timeout, bulkhead.snapshot().queued), (6, 0));
}

#[test]
fn a_thread_waits_for_a_release() {
    let bulkhead = Bulkhead::builder().max_concurrent(1).max_queue(1).build().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| bulkhead.acquire_blocking_timeout(Duration::from_secs(60)).map(drop));
        while bulkhead.snapshot().queued == 0 {
            std::thread::yield_now();
        }
        drop(permit);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(bulkhead.in_flight(), 0);
}

#[test]
fn a_permit_is_never_granted_after_the_deadline() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).build().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    let late = enter_until(&bulkhead, &time, 10 * MS).unwrap();
    let mut callers = Callers::default();
    callers.waits.push((0, late));
    callers.enter(&bulkhead, 1);
    time.advance(10 * MS);
    // The first caller has not been polled since its deadline.
    drop(permit);
    assert_eq!(callers.ended(), [(0, Some(Reason::QueueTimeout)), (1, None)]);
    assert_eq!(bulkhead.in_flight(), 1);
}

/// Runs five calls that wait for a permit and then take `service` each, so that the median is
/// known.
fn measure(bulkhead: &Bulkhead, time: &ManualClock, service: Duration) {
    let mut permit = Some(bulkhead.try_acquire_owned().unwrap());
    for _ in 0..5 {
        let mut wait = enter(bulkhead);
        permit.take();
        let Poll::Ready(granted) = poll(&mut wait) else { panic!("no grant") };
        permit = Some(granted.unwrap());
        time.advance(service);
    }
    drop(permit);
    assert_eq!(bulkhead.snapshot().median_service_time, Some(service));
}

#[test]
fn a_call_that_would_end_after_its_deadline_is_rejected() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).build().unwrap();
    measure(&bulkhead, &time, 100 * MS);
    let permit = bulkhead.try_acquire().unwrap();
    assert_eq!(enter_until(&bulkhead, &time, 99 * MS).err(), Some(Reason::Shed));
    let mut callers = Callers::default();
    callers.waits.extend([
        (0, enter_until(&bulkhead, &time, 150 * MS).unwrap()),
        (1, enter_until(&bulkhead, &time, 200 * MS).unwrap()),
    ]);
    time.advance(60 * MS);
    drop(permit);
    assert_eq!(callers.ended(), [(0, Some(Reason::Shed)), (1, None)]);
    assert_eq!(bulkhead.snapshot().rejected_shed, 2);
}

#[test]
fn a_full_queue_suggests_to_retry_after_the_median_service_time() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).max_queue(1).build().unwrap();
    measure(&bulkhead, &time, 100 * MS);
    let _permit = bulkhead.try_acquire().unwrap();
    let _wait = enter(&bulkhead);
    let rejection = bulkhead.acquire_blocking().unwrap_err();
    assert_eq!((rejection.reason(), rejection.retry_after()), (Reason::QueueFull, Some(100 * MS)));
}

#[test]
fn a_standing_queue_is_shed_except_for_the_first_of_each_interval() {
    let time = ManualClock::new();
    let queue = bulkhead(&time).max_queue(1000).lifo_after(Duration::MAX);
    let bulkhead = queue.shed_standing_queue().build().unwrap();
    let mut permit = Some(bulkhead.try_acquire_owned().unwrap());
    // Every 10 ms, ten callers enter the queue and one is served. Without shedding, the queue would
    // only grow.
    let mut waits: VecDeque<Wait> = VecDeque::new();
    let (mut served, mut shed) = (Vec::new(), 0);
    for round in 0..40_u32 {
        waits.extend((0..10).map(|_| enter(&bulkhead)));
        time.advance(10 * MS);
        permit.take();
        waits.retain_mut(|wait| match poll(wait) {
            Poll::Pending => true,
            Poll::Ready(Ok(granted)) => {
                permit = Some(granted);
                served.push(round);
                false
            }
            Poll::Ready(Err(rejection)) => {
                assert_eq!(rejection.reason(), Reason::Shed);
                shed += 1;
                false
            }
        });
    }
    assert_eq!(served.len(), 40, "the queue is never empty, so a call is served each 10 ms");
    assert!(shed > 200, "{shed}");
    // Without shedding, 360 of the 400 callers would be in the queue.
    assert!(bulkhead.snapshot().queued < 120, "{:?}", bulkhead.snapshot());
    assert_eq!(bulkhead.snapshot().rejected_shed, shed);
}

#[test]
fn a_waiter_that_can_never_be_served_does_not_block_the_others() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).max_concurrent(4).build().unwrap();
    let permit = bulkhead.cost(4).try_acquire_owned().unwrap();
    let mut heavy = Box::pin(bulkhead.cost(3).acquire_owned());
    assert!(poll(&mut heavy).is_pending());
    let mut callers = Callers::default();
    callers.waits.push((0, heavy));
    callers.enter(&bulkhead, 1);
    bulkhead.reconfigure(&Bulkhead::builder().max_concurrent(2).max_queue(100)).unwrap();
    drop(permit);
    assert_eq!(callers.ended(), [(0, Some(Reason::ConcurrencyLimited)), (1, None)]);
}

#[derive(Clone, Debug)]
enum Step {
    Try(u32),
    Enter { cost: u32, timeout: u64 },
    PollAll,
    DropWait(usize),
    Release(usize),
    Advance(u64),
    Resize(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_u32..4).prop_map(Step::Try),
        4 => (0_u32..5, 0_u64..60).prop_map(|(cost, timeout)| Step::Enter { cost, timeout }),
        2 => Just(Step::PollAll),
        1 => any::<usize>().prop_map(Step::DropWait),
        4 => any::<usize>().prop_map(Step::Release),
        3 => (0_u64..15).prop_map(Step::Advance),
        1 => (1_u32..6).prop_map(Step::Resize),
    ]
}

/// A simple model of a bulkhead and its queue.
struct Model {
    limit: i64,
    free: i64,
    now: u64,
    /// (number, cost, since, give up), in order of arrival.
    queue: Vec<(usize, u32, u64, u64)>,
    ended: Vec<(usize, Result<u32, Reason>)>,
}

const MAX_QUEUE: usize = 4;
const LIFO_AFTER: u64 = 20;

impl Model {
    fn next(&self) -> Option<usize> {
        let (_, _, oldest, _) = self.queue.first()?;
        Some(if self.now - oldest > LIFO_AFTER { self.queue.len() - 1 } else { 0 })
    }

    fn serve(&mut self) {
        while let Some(next) = self.next() {
            let (number, cost, _, give_up) = self.queue[next];
            let end = if self.now >= give_up {
                Err(Reason::QueueTimeout)
            } else if i64::from(cost) > self.limit {
                Err(Reason::ConcurrencyLimited)
            } else if i64::from(cost) <= self.free {
                self.free -= i64::from(cost);
                Ok(cost)
            } else {
                return;
            };
            self.queue.remove(next);
            self.ended.push((number, end));
        }
    }

    fn take(&mut self, cost: u32) -> bool {
        let takes = self.queue.is_empty() && i64::from(cost) <= self.free;
        self.free -= if takes { i64::from(cost) } else { 0 };
        takes
    }

    fn enter(&mut self, number: usize, cost: u32, timeout: u64) {
        let end = if self.take(cost) {
            Ok(cost)
        } else if i64::from(cost) > self.limit {
            Err(Reason::ConcurrencyLimited)
        } else if timeout == 0 {
            Err(Reason::QueueTimeout)
        } else if self.queue.len() == MAX_QUEUE {
            Err(Reason::QueueFull)
        } else {
            self.queue.push((number, cost, self.now, self.now + timeout));
            if self.queue.len() > 1 && self.next() == Some(self.queue.len() - 1) {
                self.serve();
            }
            return;
        };
        self.ended.push((number, end));
    }

    /// Polls a waiter, which is rejected if its timeout has passed. Returns how its wait ended.
    fn poll(&mut self, number: usize) -> Option<Result<u32, Reason>> {
        let expired = |waiter: &&(usize, u32, u64, u64)| waiter.0 == number && waiter.3 <= self.now;
        if self.queue.iter().any(|waiter| expired(&waiter)) {
            self.queue.retain(|waiter| waiter.0 != number);
            self.ended.push((number, Err(Reason::QueueTimeout)));
            self.serve();
        }
        let index = self.ended.iter().position(|(ended, _)| *ended == number)?;
        Some(self.ended.remove(index).1)
    }

    fn drop_wait(&mut self, number: usize) {
        if let Some(index) = self.queue.iter().position(|waiter| waiter.0 == number) {
            self.queue.remove(index);
            self.serve();
        } else if let Some(index) = self.ended.iter().position(|(ended, _)| *ended == number)
            && let (_, Ok(cost)) = self.ended.remove(index)
        {
            self.free += i64::from(cost);
            self.serve();
        }
    }
}

proptest! {
    #[test]
    fn the_bulkhead_behaves_as_its_model(steps in proptest::collection::vec(step(), 0..200)) {
        let time = ManualClock::new();
        let settings = |limit| {
            let queue = Bulkhead::builder().max_concurrent(limit).max_queue(MAX_QUEUE as u32);
            queue.lifo_after(LIFO_AFTER as u32 * MS).clock(time.clock())
        };
        let bulkhead = settings(3).build().unwrap();
        let mut model = Model { limit: 3, free: 3, now: 0, queue: Vec::new(), ended: Vec::new() };
        let mut waits: Vec<(usize, Wait)> = Vec::new();
        let mut permits: Vec<OwnedBulkheadPermit> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Try(cost) => {
                    let permit = bulkhead.cost(cost).try_acquire_owned();
                    prop_assert_eq!(permit.is_ok(), model.take(cost));
                    permits.extend(permit);
                }
                Step::Enter { cost, timeout } => {
                    let view = bulkhead.cost(cost);
                    let timeout_of = Duration::from_millis(timeout);
                    let mut wait = Box::pin(view.acquire_owned_timeout(timeout_of));
                    let polled = poll(&mut wait);
                    model.enter(number, cost, timeout);
                    match (polled, model.poll(number)) {
                        (Poll::Pending, None) => waits.push((number, wait)),
                        (Poll::Ready(Ok(permit)), Some(Ok(_))) => permits.push(permit),
                        (Poll::Ready(Err(rejection)), Some(Err(reason))) => {
                            prop_assert_eq!(rejection.reason(), reason);
                        }
                        (polled, model) => prop_assert!(false, "{:?} {:?}", polled, model),
                    }
                }
                Step::PollAll => {
                    for (number, mut wait) in std::mem::take(&mut waits) {
                        match (poll(&mut wait), model.poll(number)) {
                            (Poll::Pending, None) => waits.push((number, wait)),
                            (Poll::Ready(Ok(permit)), Some(Ok(_))) => permits.push(permit),
                            (Poll::Ready(Err(rejection)), Some(Err(reason))) => {
                                prop_assert_eq!(rejection.reason(), reason);
                            }
                            (polled, model) => prop_assert!(false, "{:?} {:?}", polled, model),
                        }
                    }
                }
                Step::DropWait(index) if !waits.is_empty() => {
                    let (number, wait) = waits.remove(index % waits.len());
                    drop(wait);
                    model.drop_wait(number);
                }
                Step::Release(index) if !permits.is_empty() => {
                    let permit = permits.remove(index % permits.len());
                    model.free += i64::from(permit.cost());
                    drop(permit);
                    model.serve();
                }
                Step::DropWait(_) | Step::Release(_) => {}
                Step::Advance(millis) => {
                    time.advance(Duration::from_millis(millis));
                    model.now += millis;
                }
                Step::Resize(limit) => {
                    bulkhead.reconfigure(&settings(limit)).unwrap();
                    model.free += i64::from(limit) - model.limit;
                    model.limit = limit.into();
                    model.serve();
                }
            }
            let snapshot = bulkhead.snapshot();
            prop_assert_eq!(snapshot.queued as usize, model.queue.len());
            prop_assert_eq!(i64::from(snapshot.in_flight), (model.limit - model.free).max(0));
        }
        drop((waits, permits));
        let snapshot = bulkhead.snapshot();
        prop_assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0));
    }
}

#[test]
fn dropping_a_borrowed_permit_serves_the_next_caller() {
    let time = ManualClock::new();
    let bulkhead = bulkhead(&time).build().unwrap();
    let permit: BulkheadPermit<'_> = bulkhead.try_acquire().unwrap();
    let mut callers = Callers::default();
    callers.enter(&bulkhead, 0);
    drop(permit);
    assert_eq!(callers.ended(), [(0, None)]);
}
