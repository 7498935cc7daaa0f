//! The threads.

use super::crew::Worker;
use super::events::Happening;
use super::job::Job;
use super::panics::quietly;
use super::tally::Tally;
use super::work::Desk;
use super::{Shared, here};
use crate::sync::PlainArc;
use crate::sync::plain_thread::{Builder, current};
use std::io;

/// Starts the threads that a new pool begins with.
///
/// # Errors
/// If not even one can be started.
pub(super) fn start_all(pool: &PlainArc<Shared>, least: usize) -> io::Result<()> {
    let started = start(pool, pool.queue.crew.hire(least));
    // Raises the flags, if more may be hired.
    super::call(pool);
    started
}

/// Starts `count` threads for which there is a place; an error if none could be.
pub(super) fn start(pool: &PlainArc<Shared>, count: usize) -> io::Result<()> {
    let mut fault = None;
    for left in (0..count).rev() {
        if let Err(error) = spawn(pool, false) {
            for _ in 0..=left {
                pool.queue.crew.not_hired();
            }
            pool.tell(Happening::SpawnFailed);
            fault = (left + 1 == count).then_some(error);
            break;
        }
    }
    fault.map_or(Ok(()), Err)
}

/// Starts a thread as the searcher, or sees to it that another searches.
pub(super) fn hire(pool: &PlainArc<Shared>) {
    if spawn(pool, true).is_err() {
        pool.queue.crew.not_hired();
        pool.tell(Happening::SpawnFailed);
        if pool.queue.crew.end_search() {
            super::call(pool);
        }
    }
}

fn spawn(pool: &PlainArc<Shared>, searching: bool) -> io::Result<()> {
    let number = pool.thread_number.add(1) - 1;
    let mut builder = Builder::new().name(format!("{}-{number}", pool.name));
    if let Some(bytes) = pool.settings.stack_size {
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
    struct Leave<'a>(&'a Shared, &'a PlainArc<Tally>);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            let Self(pool, tally) = self;
            here::leave();
            {
                let mut tallies = pool.tallies.lock();
                pool.outside.absorb(tally);
                tallies.retain(|known| !PlainArc::ptr_eq(known, tally));
            }
            pool.queue.crew.depart();
        }
    }
    let tally = PlainArc::new(Tally::default());
    pool.tallies.lock().push(PlainArc::clone(&tally));
    here::enter(pool, &tally);
    let _leave = Leave(pool, &tally);
    let searching = prepare(pool, searching);
    run_jobs(pool, &tally, searching);
    run_hook(pool.settings.on_stop.as_deref());
}

/// Runs the hook, which may take its time: meanwhile another may have to look for the job. Whether this worker
/// is the searcher afterwards.
fn prepare(pool: &PlainArc<Shared>, searching: bool) -> bool {
    let Some(hook) = pool.settings.on_start.as_deref() else { return searching };
    if searching {
        pool.queue.interrupt_search();
    }
    quietly(hook);
    searching && pool.queue.crew.begin_search()
}

fn run_jobs(pool: &PlainArc<Shared>, tally: &Tally, searching: bool) {
    let worker = Worker::new(Some(pool.settings.keep_alive));
    let hire = || hire(pool);
    let run = |job: Job, lane| {
        let desk = Desk { pool, tally, lane: Some(lane) };
        pool.count(&desk, || job.run(&desk));
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
pub(super) fn join_all(pool: &Shared) {
    let threads = std::mem::take(&mut *pool.threads.lock());
    for thread in threads {
        // The last handle may have been dropped by a worker's own last breath.
        if thread.thread().id() != current().id() {
            // It has not panicked: nothing gets out of `work`.
            let _ = thread.join();
        }
    }
}
