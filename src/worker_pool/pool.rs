//! The type [`WorkerPool`].

use super::shared::{Shared, wake_worker};
use super::{
    CallFuture, JobError, JobHandle, JobPriority, SpawnFuture, SubmitError, SubmitFuture,
    WorkerCount, WorkerPoolBuilder, WorkerPoolMap, WorkerPoolScope, WorkerPoolShutdown,
    WorkerPoolShutdownReport, WorkerPoolSnapshot, WorkerPoolSubmitter,
};
use super::{config, inline, shutdown, workers};
use crate::error::{ConfigError, Rejection};
use crate::policy::{BoxedJob, SpawnJob};
use crate::sync::PlainArc;
use crate::time::Deadline;
use std::time::Duration;

/// A pool of threads with a bounded queue. See the [module documentation](super).
///
/// Cloning a `WorkerPool` creates another handle to the same pool. When the last handle is dropped,
/// the pool shuts down as [`on_drop`](WorkerPoolBuilder::on_drop) specifies. By default, dropping
/// the last handle blocks until all queued jobs have run, even in async code. To avoid this, [shut
/// the pool down](Self::shutdown) where blocking is allowed, or set a timeout in `on_drop`.
pub struct WorkerPool {
    pub(super) shared: PlainArc<Shared>,
}

impl WorkerPool {
    /// Creates a pool with the default settings.
    ///
    /// # Panics
    /// Panics if the system cannot start a thread.
    #[allow(clippy::new_without_default, clippy::must_use_candidate)] // Starts threads.
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are valid and a thread can be started")
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> WorkerPoolBuilder {
        WorkerPoolBuilder::default()
    }

    #[inline(always)]
    fn submitter(&self) -> WorkerPoolSubmitter<'_> {
        WorkerPoolSubmitter::new(&self.shared)
    }

    /// Returns a view of the pool whose jobs have a priority, if the pool has
    /// [priorities](WorkerPoolBuilder::priorities).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// let pool = WorkerPool::builder().priorities().build().unwrap();
    /// pool.priority(JobPriority::Low).try_submit(|| println!("clean up")).unwrap();
    /// ```
    #[must_use]
    pub fn priority(&self, priority: JobPriority) -> WorkerPoolSubmitter<'_> {
        self.submitter().priority(priority)
    }

    /// Returns a view of the pool whose jobs are dropped if they have not begun within `timeout` of
    /// their submission. A job that has begun is not interrupted.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// let in_time = pool.start_timeout(std::time::Duration::from_secs(5));
    /// assert_eq!(in_time.call_blocking(|| 6 * 7).unwrap(), 42);
    /// ```
    #[must_use]
    pub fn start_timeout(&self, timeout: Duration) -> WorkerPoolSubmitter<'_> {
        self.submitter().start_timeout(timeout)
    }

    /// Returns a view of the pool whose jobs are dropped if they have not begun by `deadline`,
    /// which is an instant of the pool's clock.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// # use mainstay::time::{Clock, Deadline};
    /// let deadline = Deadline::after(Clock::system().now(), std::time::Duration::from_secs(5));
    /// assert_eq!(pool.start_deadline(deadline).call_blocking(|| 6 * 7).unwrap(), 42);
    /// ```
    #[must_use]
    pub fn start_deadline(&self, deadline: Deadline) -> WorkerPoolSubmitter<'_> {
        self.submitter().start_deadline(deadline)
    }

    /// Submits a job if the queue is not full.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// pool.try_submit(|| println!("hello")).unwrap();
    /// ```
    ///
    /// # Errors
    /// Returns the job with [`QueueFull`](crate::error::Reason::QueueFull) if the queue is full, or
    /// if a thread was preempted while it took a job out of the queue. Returns the job with
    /// [`ShutDown`](crate::error::Reason::ShutDown) if the pool has been shut down.
    #[inline]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        self.submitter().try_submit(job)
    }

    /// Submits a job, waiting while the queue is full. Waiting submissions are woken in FIFO order.
    ///
    /// The future fails with [`ShutDown`](crate::error::Reason::ShutDown) and the job if the pool
    /// has been shut down. On a worker of this pool the future [runs the job](super#how-it-works),
    /// and fails with [`QueueFull`](crate::error::Reason::QueueFull) if such calls are nested too
    /// deeply.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// # futures::executor::block_on(async {
    /// pool.submit(|| println!("hello")).await.unwrap();
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the job is dropped and was not submitted.
    pub fn submit<F: FnOnce() + Send + 'static>(&self, job: F) -> SubmitFuture<'_, F> {
        self.submitter().submit(job)
    }

    /// Submits a job like [`submit`](Self::submit), but waits for at most `timeout`. The future
    /// then fails with [`QueueTimeout`](crate::error::Reason::QueueTimeout).
    ///
    /// ```
    /// # use mainstay::worker_pool::WorkerPool;
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// # futures::executor::block_on(async {
    /// pool.submit_timeout(|| println!("a job"), Duration::from_secs(1)).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn submit_timeout<F>(&self, job: F, timeout: Duration) -> SubmitFuture<'_, F>
    where
        F: FnOnce() + Send + 'static,
    {
        self.submitter().submit_timeout(job, timeout)
    }

    /// Submits a job, blocking the thread while the queue is full.
    ///
    /// The call waits even after the job's [deadline](Self::start_timeout) has passed; the job is
    /// then queued, and dropped when a worker takes it. On a worker of this pool the call does not
    /// wait but [runs the job](super#how-it-works).
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// pool.submit_blocking(|| println!("hello")).unwrap();
    /// ```
    ///
    /// # Errors
    /// Returns the job with [`ShutDown`](crate::error::Reason::ShutDown), or on a worker of this
    /// pool with [`QueueFull`](crate::error::Reason::QueueFull) if calls are nested too deeply.
    pub fn submit_blocking<F>(&self, job: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.submitter().submit_blocking(job)
    }

    /// Submits a job like [`submit_blocking`](Self::submit_blocking), but waits for at most
    /// `timeout`.
    ///
    /// ```
    /// # use mainstay::worker_pool::WorkerPool;
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// pool.submit_blocking_timeout(|| println!("a job"), Duration::from_secs(1))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`submit_blocking`](Self::submit_blocking), and
    /// [`QueueTimeout`](crate::error::Reason::QueueTimeout) after `timeout`.
    pub fn submit_blocking_timeout<F>(
        &self,
        job: F,
        timeout: Duration,
    ) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.submitter().submit_blocking_timeout(job, timeout)
    }

    /// Spawns a job if the queue is not full, and returns the handle to its result.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// let handle = pool.try_spawn(|| 6 * 7).unwrap();
    /// assert_eq!(handle.join_blocking().unwrap(), 42);
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`try_submit`](Self::try_submit).
    pub fn try_spawn<F, T>(&self, job: F) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submitter().try_spawn(job)
    }

    /// Spawns a job, waiting while the queue is full. The future yields the handle to the job's
    /// result. It has the errors of [`submit`](Self::submit).
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// # futures::executor::block_on(async {
    /// let handle = pool.spawn(|| 6 * 7).await.unwrap();
    /// assert_eq!(handle.await.unwrap(), 42);
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the job is dropped and was not spawned.
    pub fn spawn<F, T>(&self, job: F) -> SpawnFuture<'_, F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submitter().spawn(job)
    }

    /// Spawns a job like [`spawn`](Self::spawn), but waits for at most `timeout`. The future then
    /// fails with [`QueueTimeout`](crate::error::Reason::QueueTimeout).
    ///
    /// ```
    /// # use mainstay::worker_pool::WorkerPool;
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// # futures::executor::block_on(async {
    /// let handle = pool.spawn_timeout(|| 6 * 7, Duration::from_secs(1)).await?;
    /// assert_eq!(handle.await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn spawn_timeout<F, T>(&self, job: F, timeout: Duration) -> SpawnFuture<'_, F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submitter().spawn_timeout(job, timeout)
    }

    /// Spawns a job, blocking the thread while the queue is full, and returns the handle to its
    /// result.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// let handles = [1, 2, 3].map(|n| pool.spawn_blocking(move || n * n).unwrap());
    /// assert_eq!(handles.map(|handle| handle.join_blocking().unwrap()), [1, 4, 9]);
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`submit_blocking`](Self::submit_blocking).
    pub fn spawn_blocking<F, T>(&self, job: F) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submitter().spawn_blocking(job)
    }

    /// Spawns a job like [`spawn_blocking`](Self::spawn_blocking), but waits for at most `timeout`.
    ///
    /// ```
    /// # use mainstay::worker_pool::WorkerPool;
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// let handle = pool.spawn_blocking_timeout(|| 6 * 7, Duration::from_secs(1))?;
    /// assert_eq!(handle.join_blocking()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`spawn_blocking`](Self::spawn_blocking), and
    /// [`QueueTimeout`](crate::error::Reason::QueueTimeout) after `timeout`.
    pub fn spawn_blocking_timeout<F, T>(
        &self,
        job: F,
        timeout: Duration,
    ) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submitter().spawn_blocking_timeout(job, timeout)
    }

    /// Submits a job, and applies the pool's [overflow rule](WorkerPoolBuilder::when_full) if the
    /// queue is full. No other method applies it.
    ///
    /// ```
    /// # use mainstay::worker_pool::WorkerPool;
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// pool.execute(|| println!("a job"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns the job with [`QueueFull`](crate::error::Reason::QueueFull) if it was neither queued
    /// nor run, or with [`ShutDown`](crate::error::Reason::ShutDown).
    #[inline]
    pub fn execute<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        self.submitter().execute(job)
    }

    /// Spawns a job, waiting while the queue is full, and waits for its result.
    ///
    /// On a worker of this pool, do not block on the future: an executor that blocks the worker
    /// until the future is ready may wait forever. Use [`call_blocking`](Self::call_blocking)
    /// there, which runs the job if no worker has begun it.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// # futures::executor::block_on(async {
    /// assert_eq!(pool.call(|| 6 * 7).await.unwrap(), 42);
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, the job is cancelled, unless it has begun.
    pub fn call<F, T>(&self, job: F) -> CallFuture<'_, F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submitter().call(job)
    }

    /// Spawns a job, blocking the thread while the queue is full and until the job has ended, and
    /// returns its result.
    ///
    /// ```
    /// # use mainstay::worker_pool::WorkerPool;
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// assert_eq!(pool.call_blocking(|| 6 * 7)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns a [`JobError`] if the job was not run or panicked.
    pub fn call_blocking<F, T>(&self, job: F) -> Result<T, JobError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submitter().call_blocking(job)
    }

    /// Calls `body`, which may spawn jobs that borrow from its surroundings, and returns when all
    /// of them have ended. The calling thread runs jobs that no worker has begun.
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
    /// Panics if `body` or a job panics, after all jobs have ended, with the payload of the first
    /// panic.
    pub fn scope<'env, R>(
        &'env self,
        body: impl for<'scope> FnOnce(WorkerPoolScope<'scope, 'env>) -> R,
    ) -> R {
        inline::scope::scope(&self.shared, body)
    }

    /// Applies `function` to each item on the workers, and returns an iterator over the results in
    /// the order of the items.
    ///
    /// ```
    /// # let pool = mainstay::worker_pool::WorkerPool::new();
    /// let squares: Result<Vec<u64>, _> = pool.map(1..=4, |n| n * n).collect();
    /// assert_eq!(squares.unwrap(), [1, 4, 9, 16]);
    /// ```
    pub fn map<I, F, R>(&self, items: I, function: F) -> WorkerPoolMap<'_, I::IntoIter, F, R>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        WorkerPoolMap::new(&self.shared, items.into_iter(), function)
    }

    /// Changes the number of workers: `4` is a fixed number; with `1..=8` the pool adapts the
    /// number within the range. Surplus workers end after their current job.
    ///
    /// ```
    /// # use mainstay::worker_pool::WorkerPool;
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// pool.resize(2..=16)?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the number is out of range, or if workers must be started and no thread
    /// can be started.
    pub fn resize(&self, workers: impl Into<WorkerCount>) -> Result<(), ConfigError> {
        let workers = workers.into().validate()?;
        let WorkerCount { min, max } = workers;
        let started = workers::start(&self.shared, self.shared.queue.resize(min, max));
        wake_worker(&self.shared);
        started.map_err(|_| ConfigError::new("workers", workers, config::THREADS_ACCEPTED))
    }

    /// Shuts the pool down: no further job is accepted, and queued jobs are run or returned in the
    /// report. Waits until the workers have ended or the timeout has passed; on a worker of the
    /// pool it does not wait. Can be called again with another timeout.
    ///
    /// ```
    /// # use mainstay::worker_pool::{WorkerPool, WorkerPoolShutdown};
    /// # let pool = WorkerPool::new();
    /// let report = pool.shutdown(WorkerPoolShutdown::drain());
    /// assert_eq!((report.running, report.queued), (0, 0));
    /// ```
    pub fn shutdown(&self, shutdown: WorkerPoolShutdown) -> WorkerPoolShutdownReport {
        shutdown::shut_down(&self.shared, shutdown)
    }

    /// Returns `true` if the pool has been shut down.
    pub fn is_shut_down(&self) -> bool {
        self.shared.queue.jobs.is_closed()
    }

    /// Returns the current state of the pool and its counters. Takes two locks that idle workers
    /// also take.
    pub fn snapshot(&self) -> WorkerPoolSnapshot {
        WorkerPoolSnapshot::of(&self.shared)
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &'static str {
        self.shared.name
    }
}

/// Submits the job without waiting, as [`WorkerPool::try_submit`] does.
impl SpawnJob for WorkerPool {
    fn spawn_job(&self, job: BoxedJob) -> Result<(), Rejection> {
        self.try_submit(job).map_err(Rejection::from)
    }
}
