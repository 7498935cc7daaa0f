//! Many callers at the same time: a server that restarts, and callers that give up.

use crate::server::{MS, SECOND, Server, Task, assert_settled, builder};
use mainstay::resource_pool::{
    RecycleDecision, ResourceCloseReason, ResourceManager, ResourcePool,
};
use mainstay::time::{Clock, Instant, ManualClock};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// A server to which a connection takes 100 ms, and which can be down.
#[derive(Clone)]
struct Slow(Arc<Log>);

struct Log {
    clock: Clock,
    is_up: AtomicBool,
    opening: AtomicUsize,
    max_opening: AtomicUsize,
    /// When each attempt began.
    attempts: Mutex<Vec<Instant>>,
}

const CONNECT: Duration = Duration::from_millis(100);

impl Slow {
    fn new(time: &ManualClock) -> Self {
        Self(Arc::new(Log {
            clock: time.clock(),
            is_up: AtomicBool::new(true),
            opening: AtomicUsize::new(0),
            max_opening: AtomicUsize::new(0),
            attempts: Mutex::new(Vec::new()),
        }))
    }

    /// Returns the largest number of attempts within one second, from the instant `from`.
    fn max_per_second(&self, from: Instant) -> usize {
        let attempts = self.0.attempts.lock().unwrap();
        let within = |start: &Instant| {
            attempts.iter().filter(|at| *at >= start && **at < *start + SECOND).count()
        };
        attempts.iter().filter(|at| **at >= from).map(within).max().unwrap_or(0)
    }

    fn attempts(&self) -> usize {
        self.0.attempts.lock().unwrap().len()
    }
}

impl ResourceManager for Slow {
    type Resource = ();
    type Error = &'static str;

    async fn create(&self) -> Result<(), &'static str> {
        self.0.attempts.lock().unwrap().push(self.0.clock.now());
        let opening = self.0.opening.fetch_add(1, SeqCst) + 1;
        self.0.max_opening.fetch_max(opening, SeqCst);
        self.0.clock.sleep(CONNECT).await;
        self.0.opening.fetch_sub(1, SeqCst);
        if self.0.is_up.load(SeqCst) { Ok(()) } else { Err("refused") }
    }

    fn recycle(&self, (): &mut ()) -> RecycleDecision {
        match self.0.is_up.load(SeqCst) {
            true => RecycleDecision::Keep,
            false => RecycleDecision::Close,
        }
    }
}

/// Go#57248, Hikari#379: all callers connect again at the moment when the server returns.
#[test]
fn a_server_that_restarts_receives_two_connections_at_a_time() {
    let time = ManualClock::new();
    let server = Slow::new(&time);
    let pool = ResourcePool::builder(server.clone())
        .max_size(50)
        .acquire_timeout(3600 * SECOND)
        .clock(time.clock())
        .random(mainstay::random::Random::seeded(1))
        .build()
        .unwrap();
    let mut callers: Vec<_> = (0..200).map(|_| Task::new(pool.acquire())).collect();
    let mut held = Vec::new();
    let mut served = 0;
    let mut run = |held: &mut Vec<_>, until: &dyn Fn(usize) -> bool| {
        while !until(served) {
            let mut progressed = false;
            callers.retain_mut(|caller| {
                if !caller.is_woken() {
                    return true;
                }
                progressed = true;
                let Poll::Ready(resource) = caller.poll() else { return true };
                held.push(resource.unwrap());
                served += 1;
                false
            });
            if !progressed {
                time.advance_to(time.next_deadline().unwrap());
            }
        }
    };
    run(&mut held, &|served| served == 50);
    assert_eq!((server.attempts(), server.max_per_second(Instant::ORIGIN)), (50, 20));

    // The server is down for a minute, and all connections break.
    server.0.is_up.store(false, SeqCst);
    held.clear();
    assert_eq!(pool.snapshot().closed.of(ResourceCloseReason::Broken), 50);
    let down_at = time.now();
    run(&mut held, &|_| time.now() >= down_at + 60 * SECOND);
    let failed = pool.snapshot().create_failures;
    assert!(failed <= 30, "the waits between attempts grow: {failed} attempts in a minute");

    server.0.is_up.store(true, SeqCst);
    let up_at = time.now();
    run(&mut held, &|served| served == 100);
    assert!(server.max_per_second(up_at) <= 20, "{}", server.max_per_second(up_at));
    assert_eq!(server.0.max_opening.load(SeqCst), 2);
    // The other callers receive the connections that are returned.
    for target in 101..=200 {
        held.remove(0);
        run(&mut held, &|served| served == target);
    }
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.created, snapshot.size), (100, 50));
    assert_eq!(server.attempts() as u64, snapshot.created + snapshot.create_failures);
    assert_eq!((snapshot.acquired, snapshot.timed_out, snapshot.waiting), (200, 0, 0));
}

/// Polls the acquisition, and drops it, 100,000 times, in groups of 100 that wait together.
#[test]
fn a_hundred_thousand_callers_that_give_up_leave_nothing_behind() {
    let (server, time) = (Server::new(2), ManualClock::new());
    let pool = builder(&server, &time).max_size(2).build().unwrap();
    let held = [pool.acquire_blocking().unwrap(), pool.acquire_blocking().unwrap()];
    let mut patient = Task::new(pool.acquire_timeout(3600 * SECOND));
    assert!(patient.run().is_pending());
    for _ in 0..1_000 {
        let mut group: Vec<_> = (0..100).map(|_| Task::new(pool.acquire())).collect();
        assert!(group.iter_mut().all(|caller| caller.poll().is_pending()));
        assert_eq!(pool.snapshot().waiting, 101);
    }
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.waiting, snapshot.in_use, snapshot.size), (1, 2, 2));
    assert_eq!((snapshot.acquired, snapshot.timed_out, server.attempts()), (2, 0, 2));
    // No timer is left of the callers that gave up.
    assert_eq!(time.next_deadline(), Some(time.now() + 3600 * SECOND));
    drop(held);
    assert!(matches!(patient.run(), Poll::Ready(Ok(_))));
    time.advance(MS);
    assert_settled(&server, &pool.snapshot());
}
