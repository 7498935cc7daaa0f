//! A worker pool: runs work on a fixed set of threads, behind a bounded queue.
//!
//! # Why
//!
//! A thread for every piece of work is dear, and without a bound it is no protection: under overload
//! everything becomes slow at once. A pool with a bound has an answer to overload, and has to have one to
//! every other way that this goes wrong: a job that panics, a job that waits for another behind it in the
//! queue, a queue that is so long that whatever comes out of it is too late, the end of the program.
//!
//! # Quick start
//!
//! ```
//! use mainstay::worker_pool::{JobError, WorkerPool};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = WorkerPool::builder().name("thumbnails").workers(2).queue_capacity(64).build()?;
//!
//! pool.execute(|| println!("nobody waits for this"))?;
//!
//! let answer = pool.spawn(|| 6 * 7);
//! assert_eq!(answer.join_blocking()?, 42); // or `.await` it
//!
//! let bad = pool.spawn(|| panic!("a bad picture"));
//! let error: JobError = bad.join_blocking().unwrap_err();
//! assert_eq!(error.to_string(), "the job panicked: a bad picture");
//!
//! let mut pictures = vec!["b", "c", "a"];
//! pool.scope(|scope| scope.spawn(|| pictures.sort()));
//! assert_eq!(pictures, ["a", "b", "c"]);
//!
//! let lengths: Result<Vec<_>, _> = pool.map(["a", "bb", "ccc"], str::len).collect();
//! assert_eq!(lengths?, [1, 2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! # Ways in
//!
//! | | waits for room | on a full queue | result |
//! |---|---|---|---|
//! | [`try_submit`](WorkerPool::try_submit) | no | gives the job back | none |
//! | [`submit`](WorkerPool::submit)`.await`, [`submit_blocking`](WorkerPool::submit_blocking), [`submit_blocking_timeout`](WorkerPool::submit_blocking_timeout) | yes, in order of arrival | | none |
//! | [`execute`](WorkerPool::execute) | as [`when_full`](WorkerPoolBuilder::when_full) says | as [`when_full`](WorkerPoolBuilder::when_full) says | none |
//! | [`try_spawn`](WorkerPool::try_spawn) | no | gives the job back | [`JobHandle`] |
//! | [`spawn`](WorkerPool::spawn) | as [`when_full`](WorkerPoolBuilder::when_full) says | as [`when_full`](WorkerPoolBuilder::when_full) says; the handle tells | [`JobHandle`] |
//! | [`call`](WorkerPool::call)`.await`, [`call_blocking`](WorkerPool::call_blocking) | yes | | yes, and waits for it |
//! | [`scope`](WorkerPool::scope), [`map`](WorkerPool::map) | no | runs it on the calling thread | yes |
//!
//! [`priority`](WorkerPool::priority) and [`within`](WorkerPool::within) give a view of the pool with the same
//! methods, whose jobs have a priority and a deadline.
//!
//! # Too much work
//!
//! The bound of the queue limits how many jobs wait, not for how long. Three means limit that, all applied
//! when a job's turn has come, so that what is dropped costs next to nothing:
//!
//! * a **deadline** for each job: nobody waits for the answer any more, so it is not computed;
//! * **shedding** ([`codel`](WorkerPoolBuilder::codel)): a queue that has not been short for 100 ms only adds delay.
//!   It is cut to twice the target, where deadlines alone would keep it at the length at which every job
//!   is run just too late;
//! * **priorities**: what somebody waits for goes first, and nothing starves.
//!
//! # Submitting from a job
//!
//! A job may submit to its own pool, and wait for what it submitted. Neither deadlocks, even with one worker:
//!
//! * A worker does not wait for room in its own pool's queue. What would wait runs then and there, on the
//!   worker, nested up to [`inline_depth`](WorkerPoolBuilder::inline_depth); beyond it is refused.
//! * [`join_blocking`](JobHandle::join_blocking) on a worker runs the job itself if nobody has begun it.
//!   [`scope`](WorkerPool::scope) and [`map`](WorkerPool::map) do the same with theirs.
//!
//! What is left is a job that holds a worker until *something else* happens: that is a worker less. An executor
//! that blocks a worker until a [`JobHandle`] wakes it is such a thing: `.await` handles in tasks, and on
//! workers use `join_blocking`. So are two pools with [`OverflowRule::Block`] whose jobs submit to each other: with
//! both queues full, each may wait for the other for ever. Let one of them reject.
//!
//! # Panics
//!
//! A panic ends its job, not its worker. The pool counts it, [`on_panic`](WorkerPoolBuilder::on_panic) hears of it, and the
//! handle or the scope gets the payload. Captures that panic when a worker drops them are counted and told as
//! well. Hooks, observers and wakers that panic are ignored.
//!
//! # The end
//!
//! [`shutdown`](WorkerPool::shutdown) drains the queue or hands back what is in it, with or without a limit to
//! its patience, from any thread, and tells what became of the jobs. Called by a worker of the pool it waits
//! for nothing. When the last handle of a pool is dropped the pool ends as [`on_drop`](WorkerPoolBuilder::on_drop)
//! says. In every case every job handle comes to its end.
//!
//! # How many workers
//!
//! A fixed number, or between two, see [`workers`](WorkerPoolBuilder::workers). [`resize`](WorkerPool::resize) changes it.
//! If the system refuses a thread, the pool goes on with those that it has, and tries again when it is
//! resized.
//!
//! Idle workers are woken last in, first out. Of all workers without work one at a time keeps looking for a
//! little while before it sleeps; as long as it looks, submitting makes no system call.
//!
//! # Emitter
//!
//! An [observer](WorkerPoolBuilder::observer) hears `panicked`, `spawn_failed`, `overloaded` and `recovered` (shedding
//! begins and ends), and `shut_down`, each with the fields `workers` and `queued`.
//!
//! # Cost
//!
//! | what | costs |
//! |---|---|
//! | a job of up to 48 bytes of captures, without a result | no allocation, no clock; one compare-and-swap to submit, one to take |
//! | a larger one | a box |
//! | a job with a result | one allocation, for the closure and the result |
//! | a deadline or shedding | two looks at the clock a job |
//! | waking a worker | a system call, by whoever submits when all workers sleep or work and one sleeps |
//! | the queue wait in [`snapshot`](WorkerPool::snapshot) | two looks at the clock for one in 64 jobs |
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`name`](WorkerPoolBuilder::name) | `worker_pool` |
//! | [`workers`](WorkerPoolBuilder::workers) | as many as the machine has processors |
//! | [`idle_timeout`](WorkerPoolBuilder::idle_timeout) | 10 s |
//! | [`queue_capacity`](WorkerPoolBuilder::queue_capacity) | 1024 jobs |
//! | [`when_full`](WorkerPoolBuilder::when_full) | `Reject` |
//! | [`inline_depth`](WorkerPoolBuilder::inline_depth) | 16 |
//! | [`priorities`](WorkerPoolBuilder::priorities) | false |
//! | [`codel`](WorkerPoolBuilder::codel) | off |
//! | [`stack_size`](WorkerPoolBuilder::stack_size) | the system's |
//! | [`on_drop`](WorkerPoolBuilder::on_drop) | drain |

mod config;
mod error;
mod events;
mod handle;
mod inline;
mod job;
mod panics;
mod queue;
mod run;
mod shutdown;
mod snapshot;
mod stats;
mod submit;
#[cfg(all(test, mainstay_loom))]
mod tests;
mod workers;

pub use config::{OverflowRule, WorkerCount, WorkerPoolBuilder};
pub use error::{JobError, JobPanic, SubmitError};
pub use handle::JobHandle;
pub use inline::map::WorkerPoolMap;
pub use inline::scope::WorkerPoolScope;
pub use queue::wait_times::QueueWaits;
pub use shutdown::{QueuedJob, Shutdown, ShutdownReport};
pub use snapshot::WorkerPoolSnapshot;
pub use submit::{CallFuture, JobPriority, SubmitFuture, Submitter};

use crate::error::ConfigError;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Counter, PlainArc, PlainMutex, plain_thread};
use crate::time::{Clock, Deadline, Instant};
use config::Config;
use events::{Emitter, PoolEvent};
use job::Job;
use panics::{Payload, drop_quietly};
use queue::Queue;
use queue::codel::{CoDel, Verdict};
use queue::wait_times::QueueWait;
use run::{JobEnd, RunContext};
use stats::{Stats, WorkerStats};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A pool of threads with a bounded queue; the [module](self) tells more.
///
/// Cloning it makes another handle of the same pool. When the last is dropped the pool ends as
/// [`on_drop`](WorkerPoolBuilder::on_drop) says. By default that waits until all jobs have been run, without limit, and
/// blocks the thread of an executor too: in async code [shut down](Self::shutdown) where blocking is allowed, or
/// set a limit, or cancel.
pub struct WorkerPool {
    shared: PlainArc<Shared>,
}

pub(crate) struct Shared {
    queue: Queue<Job>,
    config: Config,
    name: &'static str,
    clock: Clock,
    /// One for each lane, for an urgent one says nothing about another.
    codel: Option<[PlainMutex<CoDel>; 3]>,
    events: Emitter,
    queue_wait: QueueWait,
    /// What happens on other threads than workers, and what workers counted that are gone.
    outside: WorkerStats,
    worker_stats: PlainMutex<Vec<PlainArc<WorkerStats>>>,
    handles: AtomicU64,
    thread_number: Counter,
    threads: PlainMutex<Vec<plain_thread::JoinHandle<()>>>,
}

impl Shared {
    fn new(
        queue: Queue<Job>,
        config: Config,
        (name, clock, codel, events): (
            &'static str,
            Clock,
            Option<[PlainMutex<CoDel>; 3]>,
            Emitter,
        ),
    ) -> Self {
        Self {
            queue,
            config,
            name,
            clock,
            codel,
            events,
            queue_wait: QueueWait::new(),
            outside: WorkerStats::default(),
            worker_stats: PlainMutex::default(),
            handles: AtomicU64::new(0),
            thread_number: Counter::default(),
            threads: PlainMutex::default(),
        }
    }

    /// Runs a job, and counts it; its panic ends here.
    #[inline(always)]
    fn count(&self, context: &RunContext<'_>, job: impl FnOnce() -> JobEnd) {
        let own = !std::ptr::eq(context.stats, &raw const self.outside);
        let count = |counter: &Counter| {
            _ = if own { counter.increment() } else { counter.add(1) };
        };
        count(&context.stats.begun);
        match catch_unwind(AssertUnwindSafe(job)) {
            Ok(JobEnd::Completed) => return count(&context.stats.completed),
            Ok(other) => context.stats.note(other),
            Err(payload) => self.escaped(context, payload),
        }
        count(&context.stats.otherwise);
    }

    #[cold]
    fn escaped(&self, context: &RunContext<'_>, payload: Payload) {
        self.panicked(context, &*payload);
        drop_quietly(payload);
    }

    #[cold]
    fn panicked(&self, context: &RunContext<'_>, payload: &(dyn Any + Send)) {
        context.stats.panicked.add(1);
        if let Some(hook) = &self.config.on_panic {
            panics::quietly(|| hook(payload));
        }
        self.tell(PoolEvent::Panicked);
    }

    fn outside_desk(&self) -> RunContext<'_> {
        RunContext { pool: self, stats: &self.outside, lane: None }
    }

    /// What to do with a job that `waited` in a lane.
    fn verdict(&self, lane: usize, now: Instant, waited: Duration) -> Verdict {
        let Some(codel) = &self.codel else { return Verdict::Run };
        let last = self.queue.lanes.lane(lane).ring().is_empty();
        let (before, verdict, after) = {
            let mut codel = codel[lane].lock();
            (codel.is_standing(), codel.dequeue(now, waited, last), codel.is_standing())
        };
        if before != after {
            self.tell(if after { PoolEvent::Overloaded } else { PoolEvent::Recovered });
        }
        verdict
    }

    fn tell(&self, what: PoolEvent) {
        let figures = || (self.queue.idle.present().0, self.queue.lanes.len());
        self.events.tell(what, &self.clock, figures);
    }

    fn for_each_stats(&self, mut see: impl FnMut(&Stats)) {
        // Under the lock, so that a worker who leaves is not counted twice, nor missed.
        let worker_stats = self.worker_stats.lock();
        see(&self.outside);
        worker_stats.iter().for_each(|stats| see(stats));
    }
}

/// After a push that saw a flag: sees to it that somebody looks for the job.
#[cold]
fn called(pool: &PlainArc<Shared>) {
    if pool.queue.called() {
        workers::hire(pool);
    }
}

/// Sees to it that somebody looks for what is in the queue.
#[cold]
fn call(pool: &PlainArc<Shared>) {
    if pool.queue.call() {
        workers::hire(pool);
    }
}

impl WorkerPool {
    /// A pool with all config at their defaults.
    ///
    /// # Panics
    /// If the system cannot start a single thread.
    #[must_use]
    #[allow(clippy::new_without_default)] // Starting threads is no default.
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are accepted, and a thread can be started")
    }

    /// Says more about the pool than [`new`](Self::new) does.
    pub fn builder() -> WorkerPoolBuilder {
        WorkerPoolBuilder::default()
    }

    fn first(shared: PlainArc<Shared>) -> Self {
        shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared }
    }

    fn shared(&self) -> &PlainArc<Shared> {
        &self.shared
    }

    #[inline(always)]
    fn plainly(&self) -> Submitter<'_> {
        Submitter::new(&self.shared)
    }

    /// A view of the pool whose jobs have a priority, if the pool [has priorities](WorkerPoolBuilder::priorities).
    #[must_use]
    pub fn priority(&self, priority: JobPriority) -> Submitter<'_> {
        self.plainly().priority(priority)
    }

    /// A view of the pool whose jobs have a deadline: those that have not begun after `patience`, counted from
    /// when they are submitted, are dropped unrun. Nothing interrupts a job that has begun.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Submitter<'_> {
        self.plainly().within(patience)
    }

    /// A view of the pool whose jobs have a deadline at an instant of the pool's clock.
    #[must_use]
    pub fn until(&self, deadline: Deadline) -> Submitter<'_> {
        self.plainly().until(deadline)
    }

    /// Submits a job if there is room in the queue at this moment.
    ///
    /// # Errors
    /// Gives the job back: [`QueueFull`](crate::error::Reason::QueueFull), which is also said when the place
    /// belongs to a thread that has been interrupted in the middle of taking a job out; or
    /// [`ShutDown`](crate::error::Reason::ShutDown).
    #[inline]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        self.plainly().try_submit(job)
    }

    /// Submits a job, waiting for room. The future fails with the job if the pool is shut down.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it drops the job, and nothing was submitted.
    pub fn submit<F: FnOnce() + Send + 'static>(&self, job: F) -> SubmitFuture<'_, F> {
        self.plainly().submit(job)
    }

    /// [`submit`](Self::submit) for a thread. It waits for room even if the job's
    /// [deadline](Self::within) passes meanwhile: then the job is queued, and dropped when its turn comes;
    /// [`submit_blocking_timeout`](Self::submit_blocking_timeout) limits the wait. On a worker of this pool it does not wait but
    /// [runs the job](self#submitting-from-a-job).
    ///
    /// # Errors
    /// Gives the job back: [`ShutDown`](crate::error::Reason::ShutDown); on a worker of this pool also
    /// [`QueueFull`](crate::error::Reason::QueueFull), when nested too deep.
    pub fn submit_blocking<F: FnOnce() + Send + 'static>(
        &self,
        job: F,
    ) -> Result<(), SubmitError<F>> {
        self.plainly().submit_blocking(job)
    }

    /// [`submit_blocking`](Self::submit_blocking), but waits for no longer than `patience`.
    ///
    /// # Errors
    /// As there, and [`QueueTimeout`](crate::error::Reason::QueueTimeout) if there was no room until the end.
    pub fn submit_blocking_timeout<F>(
        &self,
        job: F,
        patience: Duration,
    ) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.plainly().submit_blocking_timeout(job, patience)
    }

    /// Submits a job; if the queue is full, does what [`when_full`](WorkerPoolBuilder::when_full) says.
    ///
    /// # Errors
    /// Gives the job back: [`QueueFull`](crate::error::Reason::QueueFull), if it is neither queued nor run nor
    /// dropped, or [`ShutDown`](crate::error::Reason::ShutDown).
    #[inline]
    pub fn execute<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        self.plainly().execute(job)
    }

    /// Submits a job whose result is wanted; if the queue is full, does what
    /// [`when_full`](WorkerPoolBuilder::when_full) says. A job that is not taken tells so by its handle.
    #[inline]
    pub fn spawn<F, T>(&self, job: F) -> JobHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.plainly().spawn(job)
    }

    /// Submits a job whose result is wanted, if there is room in the queue at this moment.
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_spawn<F, T>(&self, job: F) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.plainly().try_spawn(job)
    }

    /// Submits a job, waiting for room, and waits for its result.
    ///
    /// On a worker of this pool await it in a task only: an executor that blocks the worker until it is ready
    /// may wait for a job that nobody is left to run. [`call_blocking`](Self::call_blocking) runs it.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it cancels the job, unless that has begun.
    pub fn call<F, T>(&self, job: F) -> CallFuture<'_, F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.plainly().call(job)
    }

    /// [`call`](Self::call) for a thread.
    ///
    /// # Errors
    /// Says why there is no result.
    pub fn call_blocking<F, T>(&self, job: F) -> Result<T, JobError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.plainly().call_blocking(job)
    }

    /// Runs `body`, which can spawn jobs that borrow from outside of it, and returns when all of them have
    /// ended. The calling thread runs those that no worker has begun.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// let words = ["to", "be", "or", "not"];
    /// let mut lengths = [0; 4];
    /// pool.scope(|scope| {
    ///     for (word, length) in words.iter().zip(&mut lengths) {
    ///         scope.spawn(move || *length = word.len());
    ///     }
    /// });
    /// assert_eq!(lengths, [2, 2, 2, 3]);
    /// ```
    ///
    /// # Panics
    /// If `body` or a job does, once all jobs have ended; with the payload of the first.
    pub fn scope<'env, R>(
        &'env self,
        body: impl for<'scope> FnOnce(WorkerPoolScope<'scope, 'env>) -> R,
    ) -> R {
        inline::scope::scope(&self.shared, body)
    }

    /// Applies `function` to each item, on as many threads as the pool may have, and iterates over the
    /// results, in the order of the items. See [`WorkerPoolMap`] for other orders and numbers.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// let squares = pool.map(1..=100u64, |n| n * n).concurrency(4);
    /// assert_eq!(squares.map(Result::unwrap).sum::<u64>(), 338_350);
    /// ```
    pub fn map<I, F, R>(&self, items: I, function: F) -> WorkerPoolMap<'_, I::IntoIter, F, R>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        WorkerPoolMap::new(&self.shared, items.into_iter(), function)
    }

    /// Changes how many workers there are: always so many, or between two numbers. Who is one too many goes
    /// after the job at hand.
    ///
    /// # Errors
    /// If that is out of range; or if workers are to be started and not even one can be.
    pub fn resize(&self, workers: impl Into<WorkerCount>) -> Result<(), ConfigError> {
        let WorkerCount { least, most } = workers.into().validate()?;
        let started = workers::start(&self.shared, self.shared.queue.resize(least, most));
        call(&self.shared);
        started.map_err(|error| {
            ConfigError::new("workers", error, "threads that the system can start")
        })
    }

    /// Ends the pool: nothing is submitted any more, and what is queued is run or handed back. Waits for the
    /// workers to end, except on one of them. Can be called again, with more patience or with less.
    pub fn shutdown(&self, how: Shutdown) -> ShutdownReport {
        shutdown::shut_down(&self.shared, how)
    }

    /// Whether the pool has been shut down.
    pub fn is_shut_down(&self) -> bool {
        self.shared.queue.lanes.is_closed()
    }

    /// What the pool does, and did. Takes two locks that workers take when they fall asleep, wake or end.
    pub fn snapshot(&self) -> WorkerPoolSnapshot {
        WorkerPoolSnapshot::of(&self.shared)
    }

    /// The pool's name.
    pub fn name(&self) -> &'static str {
        self.shared.name
    }
}

impl Clone for WorkerPool {
    fn clone(&self) -> Self {
        // Ordering: relaxed; whoever clones a handle keeps the count above zero meanwhile.
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: PlainArc::clone(&self.shared) }
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        // Ordering: acquire and release, so that the last sees what the others did.
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(self.shutdown(self.shared.config.on_drop));
        }
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
