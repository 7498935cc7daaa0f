//! Overload: overflow rules, shedding, priorities.

use super::{Hold, pool};
use mainstay::error::Reason;
use mainstay::event::Event;
use mainstay::time::ManualClock;
use mainstay::worker_pool::{JobError, JobPriority, OverflowRule, WorkerPool, WorkerPoolShutdown};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn pool_with(rule: OverflowRule) -> WorkerPool {
    WorkerPool::builder().workers(1).queue_capacity(2).when_full(rule).build().unwrap()
}

/// Executes jobs 0, 1 and 2 while the worker is occupied and the queue has a capacity of two.
/// Returns whether each was accepted, and the numbers of the jobs that ran, in order. The number of
/// a job that ran on the calling thread is increased by 10.
fn execute_three(rule: OverflowRule) -> (Vec<bool>, Vec<u32>) {
    let pool = pool_with(rule);
    let hold = Hold::one(&pool);
    let caller = thread::current().id();
    let (sender, ran) = channel();
    let accepted = (0..3).map(|number| {
        let sender = sender.clone();
        let job = move || {
            let on_caller = thread::current().id() == caller;
            sender.send(if on_caller { number + 10 } else { number }).unwrap();
        };
        pool.execute(job).is_ok()
    });
    let accepted = accepted.collect();
    hold.release();
    pool.shutdown(WorkerPoolShutdown::drain());
    (accepted, ran.try_iter().collect())
}

#[test]
fn each_overflow_rule_rejects_runs_or_evicts_the_documented_job() {
    assert_eq!(execute_three(OverflowRule::Reject), (vec![true, true, false], vec![0, 1]));
    assert_eq!(execute_three(OverflowRule::CallerRuns), (vec![true; 3], vec![12, 0, 1]));
    assert_eq!(execute_three(OverflowRule::DropOldest), (vec![true; 3], vec![1, 2]));
}

#[test]
fn the_block_rule_waits_until_the_queue_is_not_full() {
    let pool = pool_with(OverflowRule::Block);
    let hold = Hold::one(&pool);
    let (sender, ran) = channel();
    let execute = |number: u32| {
        let sender = sender.clone();
        pool.execute(move || sender.send(number).unwrap()).unwrap();
    };
    execute(0);
    execute(1);
    thread::scope(|scope| {
        scope.spawn(|| execute(2));
        hold.release();
    });
    pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn only_execute_applies_the_overflow_rule() {
    for rule in [OverflowRule::CallerRuns, OverflowRule::DropOldest, OverflowRule::Block] {
        let pool = pool_with(rule);
        let hold = Hold::one(&pool);
        (0..2).for_each(|_| pool.try_submit(|| ()).unwrap());
        assert_eq!(pool.try_submit(|| ()).unwrap_err().reason(), Reason::QueueFull);
        assert_eq!(pool.try_spawn(|| ()).unwrap_err().reason(), Reason::QueueFull);
        let short = Duration::from_millis(1);
        let error = pool.submit_blocking_timeout(|| (), short).unwrap_err();
        assert_eq!(error.reason(), Reason::QueueTimeout);
        hold.release();
    }
}

#[test]
fn an_evicted_job_ends_its_handle_and_is_counted_and_reported() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let events = Arc::clone(&events);
        move |event: &Event<'_>| events.lock().unwrap().push((event.kind, event.sequence))
    };
    let pool = WorkerPool::builder()
        .workers(1)
        .queue_capacity(2)
        .when_full(OverflowRule::DropOldest)
        .observer(observer)
        .build()
        .unwrap();
    let hold = Hold::one(&pool);
    let with_handle = pool.try_spawn(|| 1).unwrap();
    (0..3).for_each(|_| pool.execute(|| ()).unwrap());
    assert!(matches!(with_handle.join_blocking(), Err(JobError::QueueFull)));
    assert_eq!(pool.snapshot().rejected, 2);
    assert_eq!(*events.lock().unwrap(), [("evicted", 1), ("evicted", 2)]);
    hold.release();
}

#[test]
fn a_standing_queue_is_shed() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let events = Arc::clone(&events);
        move |event: &Event<'_>| events.lock().unwrap().push((event.kind, event.sequence))
    };
    let pool = WorkerPool::builder()
        .workers(1)
        .shed_standing_queue()
        .clock(time.clock())
        .observer(observer)
        .build()
        .unwrap();
    let ms = Duration::from_millis;
    // Each job takes 20 ms of the manual clock, and another is queued behind it.
    let hold = Hold::one(&pool);
    let jobs: Vec<_> = (0..12)
        .map(|_| {
            let time = time.clone();
            pool.try_spawn(move || time.advance(ms(20))).unwrap()
        })
        .collect();
    time.advance(ms(20));
    hold.release();
    let ran: Vec<bool> = jobs.into_iter().map(|job| job.join_blocking().is_ok()).collect();
    // The jobs leave the queue after 20, 40, … ms. From the sixth on they are shed, because the
    // wait has been above the target for 100 ms. The last job is not shed, because it leaves the
    // queue empty.
    let expected = [true, true, true, true, true, false, false, false, false, false, false, true];
    assert_eq!(ran, expected);
    pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!(pool.snapshot().shed, 6);
    assert_eq!(*events.lock().unwrap(), [("overloaded", 1), ("recovered", 1), ("shut_down", 1)]);
}

#[test]
fn high_priority_jobs_run_first_and_low_priority_jobs_do_not_starve() {
    let pool = WorkerPool::builder().workers(1).priorities().build().unwrap();
    let hold = Hold::one(&pool);
    let order = Arc::new(Mutex::new(Vec::new()));
    for priority in [JobPriority::Low, JobPriority::Normal, JobPriority::High] {
        for _ in 0..32 {
            let order = Arc::clone(&order);
            let job = move || order.lock().unwrap().push(priority);
            pool.priority(priority).try_submit(job).unwrap();
        }
    }
    hold.release();
    pool.shutdown(WorkerPoolShutdown::drain());
    let order = order.lock().unwrap();
    let first = |priority| order.iter().position(|ran| *ran == priority).unwrap();
    assert_eq!(order.len(), 96);
    assert_eq!(order[0], JobPriority::High);
    assert!(first(JobPriority::Normal) < 4 && first(JobPriority::Low) < 16, "{order:?}");
    assert!(order[..32].iter().filter(|ran| **ran == JobPriority::High).count() >= 23);
}

#[test]
fn a_worker_runs_a_job_that_it_submits_to_a_full_queue() {
    for rule in [OverflowRule::Block, OverflowRule::CallerRuns] {
        let pool = WorkerPool::builder().workers(1).queue_capacity(1).when_full(rule);
        let pool = pool.build().unwrap();
        let inner = pool.clone();
        pool.call_blocking(move || (0..10).for_each(|_| inner.execute(|| ()).unwrap())).unwrap();
        assert_eq!(pool.shutdown(WorkerPoolShutdown::drain()).completed, 11);
    }
}

#[test]
fn jobs_nested_too_deep_are_rejected() {
    fn submit(pool: &WorkerPool, depth: u32, deepest: &Arc<Mutex<(u32, Option<Reason>)>>) {
        deepest.lock().unwrap().0 = depth;
        let (inner, deeper) = (pool.clone(), Arc::clone(deepest));
        if let Err(error) = pool.submit_blocking(move || submit(&inner, depth + 1, &deeper)) {
            deepest.lock().unwrap().1 = Some(error.reason());
        }
    }
    for depth in [0, 5, 128] {
        let pool = WorkerPool::builder().workers(1).queue_capacity(1).max_inline_depth(depth);
        let pool = pool.build().unwrap();
        let deepest = Arc::new(Mutex::new((0, None)));
        let (inner, recorded) = (pool.clone(), Arc::clone(&deepest));
        pool.call_blocking(move || {
            inner.try_submit(|| ()).unwrap();
            submit(&inner, 0, &recorded);
        })
        .unwrap();
        assert_eq!(*deepest.lock().unwrap(), (depth, Some(Reason::QueueFull)));
    }
}

#[test]
fn two_pools_used_in_turn_both_measure_queue_waits() {
    let pools = [pool(1, 1), pool(1, 1)];
    for _ in 0..2_000 {
        pools.iter().for_each(|pool| pool.call_blocking(|| ()).unwrap());
    }
    assert!(pools.iter().all(|pool| pool.snapshot().queue_wait.is_some()));
}
