//! A property test against a simple model: random callers of several keys, faults and removals.

use crate::hosts::*;
use mainstay::backoff::Backoff;
use mainstay::resource_pool::{
    KeyedResourcePool, PooledResource, ResourcePoolError, ResourcePoolSettings,
};
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Poll;
use std::time::Duration;

const TOTAL: usize = 3;
const EACH: usize = 2;
const KEYS: u8 = 4;

#[derive(Clone, Debug)]
enum Step {
    Acquire(u8),
    TryAcquire(u8),
    Run(usize),
    Cancel(usize),
    Return(usize),
    Discard(usize),
    Remove(u8),
    Advance(u64),
    /// 0: serves. 1: refuses. 2: hangs.
    Fault(u8, usize),
    Slow(u8, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KEYS).prop_map(Step::Acquire),
        1 => (0..KEYS).prop_map(Step::TryAcquire),
        3 => (0usize..8).prop_map(Step::Run),
        3 => (0usize..8).prop_map(Step::Cancel),
        6 => (0usize..8).prop_map(Step::Return),
        1 => (0usize..8).prop_map(Step::Discard),
        1 => (0..KEYS).prop_map(Step::Remove),
        3 => (1u64..3_000).prop_map(Step::Advance),
        2 => ((0..KEYS), (0usize..3)).prop_map(|(key, fault)| Step::Fault(key, fault)),
        1 => ((0..KEYS), (0usize..3)).prop_map(|(key, steps)| Step::Slow(key, steps)),
    ]
}

type Acquired = Result<PooledResource<Host>, ResourcePoolError<&'static str>>;
type Waiter<'a> = Task<Pin<Box<dyn Future<Output = Acquired> + 'a>>>;

struct Model<'a> {
    hosts: Hosts,
    time: ManualClock,
    pool: &'a KeyedResourcePool<u8, Host>,
    waiters: Vec<(u8, Waiter<'a>)>,
    held: Vec<PooledResource<Host>>,
    /// Keys that were removed while their resources were in use can exceed their limit.
    removed: [bool; KEYS as usize],
}

impl Model<'_> {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Acquire(key) => {
                let pool = self.pool;
                let future: Pin<Box<dyn Future<Output = Acquired>>> =
                    Box::pin(
                        async move { pool.acquire_timeout(&key, Duration::from_secs(3600)).await },
                    );
                self.waiters.push((key, Task::new(future)));
                self.run(self.waiters.len() - 1);
            }
            Step::TryAcquire(key) => self.held.extend(self.pool.try_acquire(&key)),
            Step::Run(n) if n < self.waiters.len() => self.run(n),
            Step::Cancel(n) if n < self.waiters.len() => drop(self.waiters.remove(n)),
            Step::Return(n) if n < self.held.len() => drop(self.held.swap_remove(n)),
            Step::Discard(n) if n < self.held.len() => {
                PooledResource::discard(self.held.swap_remove(n));
            }
            Step::Remove(key) => {
                self.pool.remove(&key);
                self.removed[usize::from(key)] = true;
            }
            Step::Advance(ms) => self.time.advance(Duration::from_millis(ms)),
            Step::Fault(key, fault) => self.hosts.counts(key).fault.store(fault, SeqCst),
            Step::Slow(key, steps) => {
                self.hosts.counts(key).steps.store(steps, SeqCst);
                self.hosts.counts(key).close_steps.store(steps, SeqCst);
            }
            _ => {}
        }
    }

    fn run(&mut self, n: usize) {
        if let Poll::Ready(result) = self.waiters[n].1.run() {
            let (key, _) = self.waiters.remove(n);
            match result {
                Ok(resource) => {
                    assert_eq!(resource.0.key, key);
                    self.held.push(resource);
                }
                Err(ResourcePoolError::TimedOut(_) | ResourcePoolError::Closed) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn run_all(&mut self) {
        while let Some(n) = self.waiters.iter().position(|(_, task)| task.is_woken()) {
            self.run(n);
        }
    }

    fn check(&mut self) {
        let before = self.pool.snapshot();
        assert!(before.total_size <= TOTAL, "{before:?}");
        self.run_all();
        let snapshot = self.pool.snapshot();
        assert!(self.hosts.open() <= snapshot.total_size, "{snapshot:?}");
        assert!(snapshot.total_size <= TOTAL, "{snapshot:?}");
        assert_eq!(snapshot.in_use, self.held.len(), "{snapshot:?}");
        assert_eq!(snapshot.waiting, self.waiters.len(), "{snapshot:?}");
        for key in 0..KEYS {
            let max_open = self.hosts.counts(key).max_open.load(SeqCst);
            assert!(max_open <= EACH || self.removed[usize::from(key)], "{max_open}");
        }
        if snapshot.waiting_keys > 0 {
            // No resource is idle while a key waits for a place, and all places are in use.
            assert_eq!((snapshot.idle, snapshot.total_size), (0, TOTAL), "{snapshot:?}");
        }
        // Each key with callers has a resource in use, or something under way, or waits for a place
        // that another key uses.
        for key in 0..KEYS {
            if self.waiters.iter().any(|(waiting, _)| *waiting == key) {
                let pool = self.pool.pool(&key).unwrap().snapshot();
                let is_served = pool.creating + pool.checking + pool.in_use > 0;
                assert!(is_served || snapshot.waiting_keys > 0, "{key}: {pool:?} {snapshot:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_keyed_pool_behaves_like_the_model(
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let (hosts, time) = (Hosts::new(TOTAL), ManualClock::new());
        let pool = hosts
            .builder(&time)
            .settings(ResourcePoolSettings::new().max_size(EACH))
            .creation_backoff(Backoff::constant(SECOND))
            .build()
            .unwrap();
        let mut model = Model {
            hosts: hosts.clone(),
            time: time.clone(),
            pool: &pool,
            waiters: Vec::new(),
            held: Vec::new(),
            removed: [false; KEYS as usize],
        };
        for step in &steps {
            model.apply(step);
            model.check();
        }
        // When all hosts are healthy again, every waiter is served.
        for key in 0..KEYS {
            model.apply(&Step::Fault(key, 0));
        }
        let mut rounds = 0;
        while !model.waiters.is_empty() {
            model.held.clear();
            time.advance(SECOND);
            model.check();
            rounds += 1;
            prop_assert!(rounds < 500, "{:?}", pool.snapshot());
        }
        model.held.clear();
        let report = time.drive(pool.drain_timeout(60 * SECOND));
        prop_assert!(report.is_complete(), "{:?}", pool.snapshot());
        let snapshot = pool.snapshot();
        prop_assert_eq!((hosts.open(), snapshot.total_size), (0, 0));
        prop_assert_eq!(snapshot.created, snapshot.closed.total());
    }
}
