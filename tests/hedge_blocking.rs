//! Hedged calls whose attempts are closures on other threads.
#![cfg(not(mainstay_loom))]

use mainstay::budget::Budget;
use mainstay::error::{Error, Reason, Rejection};
use mainstay::hedge::{Hedge, HedgeBuilder};
use mainstay::policy::{BoxedJob, SpawnJob};
use mainstay::time::ManualClock;
use mainstay::worker_pool::WorkerPool;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn builder(time: &ManualClock) -> HedgeBuilder {
    Hedge::builder().delay(10 * MS).without_budget().clock(time.clock())
}

fn threads(job: BoxedJob) {
    thread::spawn(job);
}

/// Advances the clock to its next deadline, when there is one.
fn advance(time: &ManualClock) {
    loop {
        match time.next_deadline() {
            Some(deadline) => return time.advance_to(deadline),
            None => thread::yield_now(),
        }
    }
}

/// Two attempts, each of which waits until the test sends its result.
struct Attempts {
    results: [Mutex<Receiver<Result<u32, &'static str>>>; 2],
    started: Sender<u32>,
}

/// The attempts that return, in order, with their results.
type Returns = &'static [(usize, Result<u32, &'static str>)];

type Results = [Sender<Result<u32, &'static str>>; 2];

impl Attempts {
    fn new() -> (Arc<Self>, Results, Receiver<u32>) {
        let ((first, one), (second, two)) = (channel(), channel());
        let (started, starts) = channel();
        let results = [Mutex::new(one), Mutex::new(two)];
        (Arc::new(Self { results, started }), [first, second], starts)
    }

    fn run(&self, attempt: u32) -> Result<u32, &'static str> {
        self.started.send(attempt).unwrap();
        let result = self.results[attempt as usize - 1].lock().unwrap().recv();
        result.unwrap_or(Err("the test has ended"))
    }
}

#[test]
fn a_second_closure_runs_while_the_first_has_not_returned() {
    //     the order in which the attempts return, the result
    let table: [(Returns, _); 3] = [
        (&[(1, Ok(2))], Ok(2)), // the first has not returned
        (&[(0, Ok(1))], Ok(1)),
        (&[(1, Err("two")), (0, Err("one"))], Err(Error::Operation("one"))),
    ];
    for (returns, expected) in table {
        let time = ManualClock::new();
        let hedge = builder(&time).build().unwrap();
        let (attempts, results, starts) = Attempts::new();
        let call = thread::spawn({
            let hedge = hedge.clone();
            move || hedge.call_blocking_on(&threads, move |cx| attempts.run(cx.attempt()))
        });
        assert_eq!(starts.recv(), Ok(1));
        advance(&time);
        assert_eq!(starts.recv(), Ok(2));
        for (attempt, result) in returns {
            results[*attempt].send(*result).unwrap();
        }
        assert_eq!(call.join().unwrap(), expected);
        assert_eq!(hedge.snapshot().hedges, 1);
        assert_eq!(hedge.snapshot().wins, u64::from(expected == Ok(2)));
    }
}

#[test]
fn a_fast_closure_runs_once() {
    let time = ManualClock::new();
    let pool = WorkerPool::new();
    let hedge = builder(&time).build().unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let result = hedge.call_blocking_on(&pool, {
        let calls = calls.clone();
        move |_| Ok::<_, ()>(calls.fetch_add(1, SeqCst))
    });
    assert_eq!((result, calls.load(SeqCst), hedge.snapshot().hedges), (Ok(0), 1, 0));
}

#[test]
fn a_failure_is_hedged_on_another_thread_if_asked_and_draws_from_the_budget() {
    let time = ManualClock::new();
    let budget = Budget::builder().of_all_calls(1).build().unwrap();
    let hedge = builder(&time).budget(&budget).hedge_failures().build().unwrap();
    let call = || {
        hedge.call_blocking_on(&threads, |cx| match cx.attempt() {
            1 => Err("down"),
            number => Ok(number),
        })
    };
    assert_eq!(call(), Ok(2));
    assert_eq!(call(), Err(Error::Operation("down")), "the budget is exhausted");
}

#[test]
fn an_attempt_that_is_not_accepted_fails_with_its_rejection() {
    struct Full;
    impl SpawnJob for Full {
        fn spawn_job(&self, _: BoxedJob) -> Result<(), Rejection> {
            Err(Rejection::new(Reason::QueueFull, "pool"))
        }
    }
    let time = ManualClock::new();
    let hedge = builder(&time).build().unwrap();
    let reason = |threads: &dyn SpawnJob| match hedge.call_blocking_on(threads, |_| Ok::<_, ()>(()))
    {
        Err(Error::Rejected(rejection)) => rejection.reason(),
        result => panic!("{result:?}"),
    };
    assert_eq!(reason(&Full), Reason::QueueFull);
    assert_eq!(reason(&|job: BoxedJob| drop(job)), Reason::ShutDown);
    // A worker pool without room.
    let (release, wait) = channel::<()>();
    let pool = WorkerPool::builder().workers(1).queue_capacity(1);
    let pool = pool.build().unwrap();
    let (started, start) = channel();
    pool.submit_blocking(move || {
        started.send(()).unwrap();
        wait.recv().unwrap();
    })
    .unwrap();
    start.recv().unwrap();
    while pool.try_submit(|| {}).is_ok() {}
    assert_eq!(reason(&pool), Reason::QueueFull);
    release.send(()).unwrap();
}

#[test]
fn an_attempt_that_has_not_begun_when_the_call_ends_does_not_run() {
    let time = ManualClock::new();
    let hedge = builder(&time).build().unwrap();
    let queued: Arc<Mutex<Vec<BoxedJob>>> = Arc::default();
    let calls = Arc::new(AtomicU32::new(0));
    let call = thread::spawn({
        let (hedge, queued, calls) = (hedge.clone(), queued.clone(), calls.clone());
        move || {
            let queue = |job| queued.lock().unwrap().push(job);
            hedge.call_blocking_on(&queue, move |cx| {
                calls.fetch_add(1, SeqCst);
                Ok::<_, ()>(cx.attempt())
            })
        }
    });
    advance(&time);
    while queued.lock().unwrap().len() < 2 {
        thread::yield_now();
    }
    let second = queued.lock().unwrap().pop().unwrap();
    second();
    assert_eq!(call.join().unwrap(), Ok(2));
    let first = queued.lock().unwrap().pop().unwrap();
    first();
    assert_eq!(calls.load(SeqCst), 1);
}

#[test]
fn a_panic_of_a_closure_unwinds_the_call() {
    let time = ManualClock::new();
    let hedge = builder(&time).build().unwrap();
    let call = || hedge.call_blocking_on(&threads, |_| -> Result<(), ()> { panic!("attempt") });
    let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"attempt"));
}
