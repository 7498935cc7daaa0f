//! The threads.

pub(crate) mod current;
pub(crate) mod idle;

use crate::sync::PlainArc;
use crate::sync::plain_thread::{self, Builder};
use crate::worker_pool::Shared;
use crate::worker_pool::events::PoolEvent;
use crate::worker_pool::job::Job;
use crate::worker_pool::panics::quietly;
use crate::worker_pool::run::RunContext;
use crate::worker_pool::stats::WorkerStats;
use idle::Worker;
use std::io;

/// Starts the threads that a new pool begins with.
///
/// # Errors
/// If not even one can be started.
pub(crate) fn start_all(pool: &PlainArc<Shared>, least: usize) -> io::Result<()> {
    let started = start(pool, pool.queue.idle.hire(least));
    // Raises the flags, if more may be hired.
    crate::worker_pool::call(pool);
    started
}

/// Starts `count` threads for which there is a place; an error if none could be.
pub(crate) fn start(pool: &PlainArc<Shared>, count: usize) -> io::Result<()> {
    let mut fault = None;
    for left in (0..count).rev() {
        if let Err(error) = spawn(pool, false) {
            for _ in 0..=left {
                pool.queue.idle.not_hired();
            }
            pool.tell(PoolEvent::SpawnFailed);
            fault = (left + 1 == count).then_some(error);
            break;
        }
    }
    fault.map_or(Ok(()), Err)
}

/// Starts a thread as the searcher, or sees to it that another searches.
pub(crate) fn hire(pool: &PlainArc<Shared>) {
    if spawn(pool, true).is_err() {
        pool.queue.idle.not_hired();
        pool.tell(PoolEvent::SpawnFailed);
        if pool.queue.idle.end_search() {
            crate::worker_pool::call(pool);
        }
    }
}

fn spawn(pool: &PlainArc<Shared>, searching: bool) -> io::Result<()> {
    let number = pool.thread_number.add(1) - 1;
    let mut builder = Builder::new().name(format!("{}-{number}", pool.name));
    if let Some(bytes) = pool.config.stack_size {
        builder = builder.stack_size(bytes);
    }
    let shared = PlainArc::clone(pool);
    // Under the lock, so that whoever ends the pool finds the thread.
    let mut threads = pool.threads.lock();
    let thread = builder.spawn(move || work(&shared, searching))?;
    threads.retain(|thread| !thread.is_finished());
    threads.push(thread);
    Ok(())
}

/// A thread's life.
fn work(pool: &PlainArc<Shared>, searching: bool) {
    /// Whoever waits for the last worker waits for this, whatever happens in between.
    struct Leave<'a>(&'a Shared, &'a PlainArc<WorkerStats>);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            let Self(pool, stats) = self;
            current::leave();
            {
                let mut worker_stats = pool.worker_stats.lock();
                pool.outside.absorb(stats);
                worker_stats.retain(|known| !PlainArc::ptr_eq(known, stats));
            }
            pool.queue.idle.depart();
        }
    }
    let stats = PlainArc::new(WorkerStats::default());
    pool.worker_stats.lock().push(PlainArc::clone(&stats));
    current::enter(pool, &stats);
    let _leave = Leave(pool, &stats);
    let searching = prepare(pool, searching);
    run_jobs(pool, &stats, searching);
    run_hook(pool.config.on_stop.as_deref());
}

/// Runs the hook, which may take its time: meanwhile another may have to look for the job. Whether this worker
/// is the searcher afterwards.
fn prepare(pool: &PlainArc<Shared>, searching: bool) -> bool {
    let Some(hook) = pool.config.on_start.as_deref() else { return searching };
    if searching {
        pool.queue.interrupt_search();
    }
    quietly(hook);
    searching && pool.queue.idle.begin_search()
}

fn run_jobs(pool: &PlainArc<Shared>, stats: &WorkerStats, searching: bool) {
    let worker = Worker::new(Some(pool.config.idle_timeout));
    let hire = || hire(pool);
    let run = |job: Job, lane| {
        let context = RunContext { pool, stats, lane: Some(lane) };
        pool.count(&context, || job.run(&context));
    };
    let mut turn = 0;
    let mut on = !searching || pool.queue.search(&worker, true, turn, hire, run);
    while on {
        turn = turn.wrapping_add(1);
        on = pool.queue.next(&worker, turn, hire, run);
    }
}

fn run_hook(hook: Option<&(dyn Fn() + Send + Sync)>) {
    if let Some(hook) = hook {
        quietly(hook);
    }
}

/// Waits until the threads of a pool that has ended are gone from the system as well.
pub(crate) fn join_all(pool: &Shared) {
    let threads = std::mem::take(&mut *pool.threads.lock());
    for thread in threads {
        // The last handle may have been dropped by a worker's own last breath.
        if thread.thread().id() != plain_thread::current().id() {
            // It has not panicked: nothing gets out of `work`.
            let _ = thread.join();
        }
    }
}
