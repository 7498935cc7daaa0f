//! The partitioned bulkhead under random load: it grants permits by the documented rule, and eight
//! threads exceed no limit and lose no permit.
#![cfg(not(mainstay_loom))]

use mainstay::concurrency::{
    BulkheadPartition, OwnedBulkheadPartitionAcquireFuture, OwnedBulkheadPartitionPermit,
    PartitionedBulkhead, PartitionedBulkheadBuilder,
};
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// The minimum and the maximum of each of three partitions, and the limit of all.
#[derive(Clone, Copy, Debug)]
struct Limits {
    all: u32,
    partitions: [(u32, u32); 3],
}

impl Limits {
    fn settings(self) -> PartitionedBulkheadBuilder {
        let builder = PartitionedBulkhead::builder().max_concurrent(self.all);
        self.partitions.into_iter().enumerate().fold(builder, |builder, (index, (min, max))| {
            builder.partition(index.to_string(), |one| {
                one.min_concurrent(min).max_concurrent(max).max_queue(100).max_wait(Duration::MAX)
            })
        })
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..8_u32, prop::array::uniform3((0..4_u32, 1..8_u32))).prop_map(|(all, partitions)| {
        let mut left = all;
        let partitions = partitions.map(|(min, max)| {
            let min = min.min(left);
            left -= min;
            (min, max.clamp(min.max(1), all.max(1)))
        });
        Limits { all, partitions }
    })
}

/// A caller: its partition and the number of permits that it needs.
type Caller = (usize, u32);

#[derive(Clone, Copy, Debug)]
enum Step {
    Try(Caller),
    Acquire(Caller),
    /// Drops the permit with this number, modulo the number of permits.
    Release(usize),
    /// Drops the waiting caller with this number, modulo the number of waiting callers.
    Cancel(usize),
    Reconfigure(Limits),
}

fn step() -> impl Strategy<Value = Step> {
    let caller = || (0..3_usize, prop_oneof![3 => Just(1_u32), 1 => 2..5_u32]);
    prop_oneof![
        2 => caller().prop_map(Step::Try),
        5 => caller().prop_map(Step::Acquire),
        5 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => limits().prop_map(Step::Reconfigure),
    ]
}

struct Waiting {
    caller: Caller,
    future: Pin<Box<OwnedBulkheadPartitionAcquireFuture>>,
}

/// The bulkhead, with the permits and the waiting callers in order of arrival.
struct Load {
    bulkhead: PartitionedBulkhead,
    partitions: [BulkheadPartition; 3],
    limits: Limits,
    permits: Vec<(usize, OwnedBulkheadPartitionPermit)>,
    waiting: Vec<Waiting>,
}

impl Load {
    fn new(limits: Limits) -> Self {
        let bulkhead = limits.settings().clock(ManualClock::new().clock()).build().unwrap();
        let partitions = ["0", "1", "2"].map(|name| bulkhead.partition(name).unwrap());
        Self { bulkhead, partitions, limits, permits: Vec::new(), waiting: Vec::new() }
    }

    fn all_in_use(&self) -> u32 {
        self.permits.iter().map(|(_, permit)| permit.cost()).sum()
    }

    fn in_use(&self, partition: usize) -> u32 {
        let own = self.permits.iter().filter(|(owner, _)| *owner == partition);
        own.map(|(_, permit)| permit.cost()).sum()
    }

    /// Returns whether the caller can never be served.
    fn is_too_expensive(&self, (partition, cost): Caller) -> bool {
        cost > self.limits.all.min(self.limits.partitions[partition].1)
    }

    /// Returns the callers that are the first to wait in their partitions, with their numbers.
    fn heads(&self) -> Vec<(usize, Caller)> {
        let head = |partition| {
            let number = self.waiting.iter().position(|one| one.caller.0 == partition)?;
            Some((number, self.waiting[number].caller))
        };
        (0..3).filter_map(head).collect()
    }

    /// Returns the caller that is next by the documented rule: callers within the guarantees of
    /// their partitions come before the others, in order of arrival.
    fn next(&self, callers: Vec<(usize, Caller)>) -> Option<(usize, Caller)> {
        let usage = |(partition, cost): Caller| self.in_use(partition) + cost;
        callers
            .into_iter()
            .filter(|(_, caller)| usage(*caller) <= self.limits.partitions[caller.0].1)
            .min_by_key(|(number, caller)| {
                (usage(*caller) > self.limits.partitions[caller.0].0, *number)
            })
    }

    fn is_free(&self, cost: u32) -> bool {
        self.all_in_use() + cost <= self.limits.all
    }

    /// Returns whether a new caller is served immediately: its permits are free, and no caller that
    /// waits comes first.
    fn is_served_immediately(&self, new: Caller) -> bool {
        let mut callers = self.heads();
        let waits = callers.iter().any(|(_, caller)| caller.0 == new.0);
        callers.push((usize::MAX, new));
        !waits && self.is_free(new.1) && self.next(callers) == Some((usize::MAX, new))
    }

    /// Asserts that exactly the callers that the rule serves have received permits.
    fn settle(&mut self) {
        loop {
            let heads = self.heads();
            let impossible = heads.iter().find(|(_, caller)| self.is_too_expensive(*caller));
            if let Some((number, _)) = impossible {
                let mut future = self.waiting.remove(*number).future;
                assert!(matches!(poll(&mut future), Poll::Ready(Err(_))), "can never be served");
                continue;
            }
            let Some((number, caller)) = self.next(heads).filter(|next| self.is_free(next.1.1))
            else {
                break;
            };
            let Poll::Ready(Ok(permit)) = poll(&mut self.waiting.remove(number).future) else {
                panic!("caller {number}, {caller:?}, is not served")
            };
            self.permits.push((caller.0, permit));
        }
        for waiting in &mut self.waiting {
            assert!(poll(&mut waiting.future).is_pending(), "served too early");
        }
        let snapshot = self.bulkhead.snapshot();
        assert_eq!(snapshot.in_flight, self.all_in_use());
        for (partition, figures) in snapshot.partitions.iter().enumerate() {
            let queued = self.waiting.iter().filter(|one| one.caller.0 == partition).count();
            assert_eq!(
                (figures.in_flight, figures.queued),
                (self.in_use(partition), queued as u32)
            );
        }
    }

    fn step(&mut self, step: Step) {
        // Only a change of the limits can leave more permits in use than the limit of all.
        let before = self.all_in_use();
        let permits = self.permits.len();
        match step {
            Step::Try(caller) => {
                let served = self.is_served_immediately(caller);
                let result = self.partitions[caller.0].cost(caller.1).try_acquire_owned();
                assert_eq!(result.is_ok(), served);
                self.permits.extend(result.map(|permit| (caller.0, permit)));
            }
            Step::Acquire(caller) => {
                let served = self.is_served_immediately(caller);
                let mut future = Box::pin(self.partitions[caller.0].cost(caller.1).acquire_owned());
                match poll(&mut future) {
                    Poll::Ready(Ok(permit)) => {
                        assert!(served, "{caller:?}");
                        self.permits.push((caller.0, permit));
                    }
                    Poll::Ready(Err(_)) => assert!(self.is_too_expensive(caller), "{caller:?}"),
                    Poll::Pending => {
                        assert!(!served, "{caller:?}");
                        self.waiting.push(Waiting { caller, future });
                    }
                }
            }
            Step::Release(number) if permits > 0 => {
                drop(self.permits.swap_remove(number % permits));
            }
            Step::Cancel(number) if !self.waiting.is_empty() => {
                drop(self.waiting.remove(number % self.waiting.len()));
            }
            Step::Release(_) | Step::Cancel(_) => {}
            Step::Reconfigure(limits) => {
                self.limits = limits;
                self.bulkhead.reconfigure(&limits.settings()).unwrap();
            }
        }
        self.settle();
        assert!(self.all_in_use() <= before.max(self.limits.all));
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

proptest! {
    /// After every step the callers with permits are exactly those that the rule serves. In
    /// particular, no permit is free that the next caller may use, and none is granted beyond a
    /// guarantee while a caller within a guarantee waits.
    #[test]
    fn permits_are_granted_by_the_documented_rule(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut load = Load::new(limits);
        steps.into_iter().for_each(|step| load.step(step));
        load.waiting.clear();
        load.permits.clear();
        prop_assert_eq!(load.bulkhead.in_flight(), 0);
    }

    /// While borrowers use every permit and more of them wait, a partition with a guarantee of `n`
    /// permits receives them in the next `n` releases, whichever permits are released.
    #[test]
    fn a_guarantee_of_n_permits_is_met_after_n_releases(
        all in 1..12_u32,
        min in 0..12_u32,
        releases in prop::collection::vec(any::<usize>(), 12),
    ) {
        let min = min.min(all);
        let limits = Limits { all, partitions: [(min, all), (0, all), (0, all)] };
        let mut load = Load::new(limits);
        (0..2 * all).for_each(|number| load.step(Step::Acquire((1 + number as usize % 2, 1))));
        (0..min).for_each(|_| load.step(Step::Acquire((0, 1))));
        for (number, release) in (0..min).zip(releases) {
            prop_assert_eq!(load.partitions[0].in_flight(), number);
            // One of the borrowed permits, which come first.
            drop(load.permits.remove(release % (all - number) as usize));
            load.settle();
        }
        prop_assert_eq!(load.partitions[0].in_flight(), min);
    }
}

const THREADS: usize = 8;
const CALLS: usize = 10_000;

#[test]
fn eight_threads_never_exceed_a_limit_and_release_every_permit() {
    let limits = Limits { all: 4, partitions: [(2, 4), (1, 2), (0, 3)] };
    let bulkhead = limits.settings().build().unwrap();
    let partitions = ["0", "1", "2"].map(|name| bulkhead.partition(name).unwrap());
    let (all, each) = (AtomicI64::new(0), [const { AtomicI64::new(0) }; 3]);
    let work = |partition: usize| {
        assert!(all.fetch_add(1, SeqCst) < i64::from(limits.all));
        let max = i64::from(limits.partitions[partition].1);
        assert!(each[partition].fetch_add(1, SeqCst) < max);
        std::hint::spin_loop();
        each[partition].fetch_sub(1, SeqCst);
        all.fetch_sub(1, SeqCst);
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (partitions, work) = (&partitions, &work);
            scope.spawn(move || {
                for call in 0..CALLS {
                    let partition = (thread + call) % 3;
                    let handle = &partitions[partition];
                    match (thread + call) % 7 {
                        0 | 1 => {
                            let _ = handle.try_acquire().map(|_permit| work(partition));
                        }
                        2 | 3 => {
                            let _permit = handle.acquire_blocking().unwrap();
                            work(partition);
                        }
                        4 => {
                            let wait = handle.acquire_blocking_timeout(Duration::from_micros(5));
                            let _ = wait.map(|_permit| work(partition));
                        }
                        5 => {
                            // Polled once, then dropped, granted or not.
                            let mut wait = Box::pin(handle.acquire_owned());
                            if let Poll::Ready(Ok(_permit)) = poll(&mut wait) {
                                work(partition);
                            }
                        }
                        _ => {
                            let call = || {
                                let _permit = handle.acquire_blocking().unwrap();
                                work(partition);
                                std::panic::resume_unwind(Box::new("operation"));
                            };
                            assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
                        }
                    }
                }
            });
        }
    });
    let snapshot = bulkhead.snapshot();
    assert_eq!(snapshot.in_flight, 0);
    assert!(snapshot.partitions.iter().all(|one| (one.in_flight, one.queued) == (0, 0)));
    let permits: Vec<_> = std::iter::from_fn(|| partitions[0].try_acquire().ok()).collect();
    assert_eq!(permits.len(), 4);
}
