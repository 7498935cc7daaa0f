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

#[derive(Clone, Copy, Debug)]
enum Step {
    Try(usize),
    Acquire(usize),
    /// Drops the permit with this number, modulo the number of permits.
    Release(usize),
    /// Drops the waiting caller with this number, modulo the number of waiting callers.
    Cancel(usize),
    Reconfigure(Limits),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..3_usize).prop_map(Step::Try),
        5 => (0..3_usize).prop_map(Step::Acquire),
        5 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => limits().prop_map(Step::Reconfigure),
    ]
}

struct Waiting {
    partition: usize,
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

    fn in_use(&self, partition: usize) -> u32 {
        self.permits.iter().filter(|(owner, _)| *owner == partition).count() as u32
    }

    fn has_room(&self, partition: usize) -> bool {
        (self.permits.len() as u32) < self.limits.all
            && self.in_use(partition) < self.limits.partitions[partition].1
    }

    /// Returns the waiting caller that the documented rule serves next.
    fn next(&self) -> Option<usize> {
        let mut callers = self.waiting.iter().map(|waiting| waiting.partition).enumerate();
        let guaranteed = |(_, partition): &(usize, usize)| {
            self.has_room(*partition)
                && self.in_use(*partition) < self.limits.partitions[*partition].0
        };
        callers
            .clone()
            .find(guaranteed)
            .or_else(|| callers.find(|(_, partition)| self.has_room(*partition)))
            .map(|(caller, _)| caller)
    }

    /// Asserts that exactly the callers that the rule serves have received permits.
    fn settle(&mut self) {
        while let Some(caller) = self.next() {
            let Waiting { partition, mut future } = self.waiting.remove(caller);
            let Poll::Ready(Ok(permit)) = poll(&mut future) else {
                panic!("caller {caller} of partition {partition} is not served")
            };
            self.permits.push((partition, permit));
        }
        for waiting in &mut self.waiting {
            assert!(poll(&mut waiting.future).is_pending(), "served too early");
        }
        let snapshot = self.bulkhead.snapshot();
        assert_eq!(snapshot.in_flight as usize, self.permits.len());
        for (partition, figures) in snapshot.partitions.iter().enumerate() {
            let queued = self.waiting.iter().filter(|one| one.partition == partition).count();
            assert_eq!(
                (figures.in_flight, figures.queued),
                (self.in_use(partition), queued as u32)
            );
        }
    }

    fn step(&mut self, step: Step) {
        // Only a change of the limits can leave more permits in use than the limit of all.
        let before = self.permits.len();
        match step {
            Step::Try(partition) => {
                let room = self.has_room(partition);
                let result = self.partitions[partition].try_acquire_owned();
                assert_eq!(result.is_ok(), room);
                self.permits.extend(result.map(|permit| (partition, permit)));
            }
            Step::Acquire(partition) => {
                let mut future = Box::pin(self.partitions[partition].acquire_owned());
                match poll(&mut future) {
                    Poll::Ready(result) => self.permits.push((partition, result.unwrap())),
                    Poll::Pending => self.waiting.push(Waiting { partition, future }),
                }
            }
            Step::Release(number) if before > 0 => drop(self.permits.swap_remove(number % before)),
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
        assert!(self.permits.len() <= before.max(self.limits.all as usize));
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

proptest! {
    /// After every step the callers with permits are exactly those that the rule serves. In
    /// particular, no permit is free that a waiting caller may use, and none is granted beyond a
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
        (0..2 * all).for_each(|number| load.step(Step::Acquire(1 + number as usize % 2)));
        (0..min).for_each(|_| load.step(Step::Acquire(0)));
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
