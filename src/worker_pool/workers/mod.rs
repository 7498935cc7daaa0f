//! Worker threads: how they start, run jobs and end.

pub(crate) mod current;
pub(crate) mod idle;
pub(crate) mod pool_id;

use super::events::PoolEvent;
use super::job::Job;
use super::panics::quietly;
use super::run::RunContext;
use super::shared::{Shared, wake_worker};
use super::stats::{Recorder, Stats};
use crate::sync::PlainArc;
use crate::sync::plain_thread::{self, Builder};
use idle::Worker;
use std::io;

/// Starts the threads of a new pool.
///
/// # Errors
///
/// Returns an error if none of the threads can be started.
pub(crate) fn start_first(pool: &PlainArc<Shared>, min_workers: usize) -> io::Result<()> {
    let started = start(pool, pool.queue.idle.reserve_starts(min_workers));
    // Sets the flags, if more threads may be started.
    wake_worker(pool);
    started
}

/// Starts `count` threads that have been reserved.
///
/// # Errors
///
/// Returns an error if none of the threads can be started.
pub(crate) fn start(pool: &PlainArc<Shared>, count: usize) -> io::Result<()> {
    for started in 0..count {
        if let Err(error) = spawn(pool, false) {
            (started..count).for_each(|_| pool.queue.idle.start_failed());
            pool.emit(PoolEvent::SpawnFailed);
            return if started == 0 { Err(error) } else { Ok(()) };
        }
    }
    Ok(())
}

/// Starts a reserved thread as the searcher. If that fails, another worker searches.
pub(crate) fn start_searcher(pool: &PlainArc<Shared>) {
    if spawn(pool, true).is_err() {
        pool.queue.idle.start_failed();
        pool.emit(PoolEvent::SpawnFailed);
        if pool.queue.idle.end_search() {
            wake_worker(pool);
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
    // Under the lock, so that a shutdown finds the thread.
    let mut threads = pool.threads.lock();
    let thread = builder.spawn(move || run_worker(&shared, searching))?;
    threads.retain(|thread| !thread.is_finished());
    threads.push(thread);
    Ok(())
}

/// Runs a worker thread from its start to its end.
fn run_worker(pool: &PlainArc<Shared>, searching: bool) {
    /// Unregisters the worker. A shutdown waits for this, so it must happen even if the thread
    /// unwinds.
    struct Leave<'a>(&'a Shared, &'a PlainArc<Stats>);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            let Self(pool, stats) = self;
            current::leave();
            {
                let mut worker_stats = pool.worker_stats.lock();
                pool.outside.absorb(stats);
                worker_stats.retain(|known| !PlainArc::ptr_eq(known, stats));
            }
            pool.queue.idle.thread_ended();
        }
    }
    let stats = PlainArc::new(Stats::default());
    pool.worker_stats.lock().push(PlainArc::clone(&stats));
    current::enter(pool, &stats);
    let _leave = Leave(pool, &stats);
    let searching = run_start_hook(pool, searching);
    run_jobs(pool, &stats, searching);
    if let Some(hook) = &pool.config.on_thread_stop {
        quietly(hook);
    }
}

/// Runs the start hook, if there is one. It may take long, so another worker may have to search in
/// the meantime. Returns whether this worker is the searcher afterwards.
fn run_start_hook(pool: &PlainArc<Shared>, searching: bool) -> bool {
    let Some(hook) = &pool.config.on_thread_start else { return searching };
    if searching {
        pool.queue.pause_search();
    }
    quietly(hook);
    searching && pool.queue.idle.begin_search()
}

fn run_jobs(pool: &PlainArc<Shared>, stats: &Stats, searching: bool) {
    let worker = Worker::new(Some(pool.config.idle_timeout));
    let start_searcher = || start_searcher(pool);
    let run = |job: Job, queue| {
        let context = RunContext { pool, recorder: Recorder::Worker(stats), queue: Some(queue) };
        context.run_counted(|| job.run(&context));
    };
    let mut turn = 0;
    let mut goes_on =
        !searching || pool.queue.search(&worker, searching, turn, start_searcher, run);
    while goes_on {
        turn = turn.wrapping_add(1);
        goes_on = pool.queue.run_next(&worker, turn, start_searcher, run);
    }
}

/// Joins the threads of a pool whose workers have ended, so that the operating system has released
/// them too.
pub(crate) fn join_all(pool: &Shared) {
    let threads = std::mem::take(&mut *pool.threads.lock());
    for thread in threads {
        // The last handle of the pool may have been dropped by a worker's own thread.
        if thread.thread().id() != plain_thread::current().id() {
            // The thread has not panicked: `run_worker` catches panics.
            let _ = thread.join();
        }
    }
}
