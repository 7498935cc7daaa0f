//! A property test against a simple model: random callers, faults and changes on a manual clock.

use crate::server::*;
use mainstay::backoff::Backoff;
use mainstay::resource_pool::{
    PooledResource, ResourcePool, ResourcePoolAcquireFuture, ResourcePoolError,
};
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::task::Poll;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    TryAcquire,
    /// Runs the n-th waiter if it is woken.
    Run(usize),
    Cancel(usize),
    Return(usize),
    Discard(usize),
    Advance(u64),
    Serve,
    Refuse,
    Hang,
    Unhealthy(bool),
    Resize(usize),
    Evict,
    Pause,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Acquire),
        2 => Just(Step::TryAcquire),
        3 => (0usize..8).prop_map(Step::Run),
        3 => (0usize..8).prop_map(Step::Cancel),
        6 => (0usize..8).prop_map(Step::Return),
        1 => (0usize..8).prop_map(Step::Discard),
        3 => (1u64..3_000).prop_map(Step::Advance),
        1 => (600_000u64..2_000_000).prop_map(Step::Advance),
        2 => Just(Step::Serve),
        1 => Just(Step::Refuse),
        1 => Just(Step::Hang),
        1 => any::<bool>().prop_map(Step::Unhealthy),
        1 => (1usize..5).prop_map(Step::Resize),
        1 => Just(Step::Evict),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
    ]
}

struct Model<'a> {
    server: Server,
    time: ManualClock,
    pool: &'a ResourcePool<Server>,
    waiters: Vec<(u32, Task<ResourcePoolAcquireFuture<'a, Server>>)>,
    held: Vec<PooledResource<Server>>,
    next: u32,
    last_served: u32,
    /// The largest size that is allowed now. Above `max_size` only after a resize.
    allowed: usize,
    max_size: usize,
    refuses: bool,
    hangs: bool,
    paused: bool,
}

impl<'a> Model<'a> {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Acquire => {
                let task = Task::new(self.pool.acquire_timeout(Duration::from_secs(3600)));
                self.waiters.push((self.next, task));
                self.next += 1;
                self.run(self.waiters.len() - 1);
            }
            Step::TryAcquire => self.held.extend(self.pool.try_acquire()),
            Step::Run(n) if n < self.waiters.len() => self.run(n),
            Step::Cancel(n) if n < self.waiters.len() => drop(self.waiters.remove(n)),
            Step::Return(n) if n < self.held.len() => drop(self.held.swap_remove(n)),
            Step::Discard(n) if n < self.held.len() => {
                PooledResource::discard(self.held.swap_remove(n));
            }
            Step::Advance(ms) => self.time.advance(Duration::from_millis(ms)),
            Step::Serve => {
                (self.refuses, self.hangs) = (false, false);
                self.server.set_mode(Mode::Serve);
                self.server.resume();
            }
            Step::Refuse => {
                self.refuses = true;
                self.server.set_mode(Mode::Refuse);
            }
            Step::Hang => {
                self.hangs = true;
                self.server.hang();
            }
            Step::Unhealthy(unhealthy) => self.server.faults().unhealthy = unhealthy,
            Step::Resize(size) => {
                self.max_size = size;
                self.pool.resize(size).unwrap();
                self.allowed = self.pool.snapshot().size.max(size);
            }
            Step::Evict => self.pool.evict(),
            Step::Pause => {
                self.paused = true;
                self.pool.pause();
            }
            Step::Resume => {
                self.paused = false;
                self.pool.resume();
            }
            _ => {}
        }
    }

    /// Polls the n-th waiter while it is woken.
    fn run(&mut self, n: usize) {
        match self.waiters[n].1.run() {
            Poll::Pending => {}
            Poll::Ready(result) => {
                let (number, _) = self.waiters.remove(n);
                match result {
                    Ok(resource) => {
                        self.last_served = self.last_served.max(number);
                        self.held.push(resource);
                    }
                    Err(ResourcePoolError::TimedOut(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Runs all woken waiters until none is woken.
    fn run_all(&mut self) {
        while let Some(n) = self.waiters.iter().position(|(_, task)| task.is_woken()) {
            self.run(n);
        }
    }

    fn check(&mut self) {
        let before = self.pool.snapshot();
        assert!(before.size <= self.allowed, "{before:?}, allowed {}", self.allowed);
        self.run_all();
        let snapshot = self.pool.snapshot();
        self.allowed = self.allowed.min(snapshot.size.max(self.max_size));
        assert!(snapshot.size <= self.allowed, "{snapshot:?}, allowed {}", self.allowed);
        assert_eq!(snapshot.in_use, self.held.len(), "{snapshot:?}");
        assert_eq!(snapshot.waiting, self.waiters.len(), "{snapshot:?}");
        assert!(snapshot.creating <= 2, "{snapshot:?}");
        assert!(self.server.open() <= snapshot.size, "{snapshot:?}");
        // FIFO order: every waiter came after the last one that was served.
        assert!(self.waiters.iter().all(|(number, _)| *number > self.last_served));
        if !self.waiters.is_empty() && !self.paused {
            // No resource is idle while callers wait, unless its check is under way.
            assert!(snapshot.idle == 0 || snapshot.checking > 0, "{snapshot:?}");
            let under_way = snapshot.creating + snapshot.checking;
            assert!(
                under_way > 0 || snapshot.size >= self.max_size,
                "nothing is under way for the callers: {snapshot:?}"
            );
            let healthy = !self.refuses && !self.hangs;
            if healthy && snapshot.create_failures == 0 {
                assert_eq!(snapshot.in_use, snapshot.size, "{snapshot:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_pool_behaves_like_the_model(steps in proptest::collection::vec(step(), 0..120)) {
        let (server, time) = (Server::new(usize::MAX), ManualClock::new());
        let pool = builder(&server, &time)
            .max_size(3)
            .creation_backoff(Backoff::constant(SECOND))
            .build()
            .unwrap();
        let mut model = Model {
            server: server.clone(),
            time: time.clone(),
            pool: &pool,
            waiters: Vec::new(),
            held: Vec::new(),
            next: 1,
            last_served: 0,
            allowed: 3,
            max_size: 3,
            refuses: false,
            hangs: false,
            paused: false,
        };
        for step in &steps {
            model.apply(step);
            model.check();
        }
        // When the server is healthy again, every remaining waiter is served, in order.
        for step in [Step::Resume, Step::Unhealthy(false), Step::Serve] {
            model.apply(&step);
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
        prop_assert_eq!(server.open(), 0);
        let snapshot = pool.snapshot();
        prop_assert_eq!(snapshot.created, snapshot.closed.total());
    }
}
