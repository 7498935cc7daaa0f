//! Submission of jobs with a priority and a start timeout.

mod enqueue;
mod futures;
mod overflow;

pub use futures::{CallFuture, SpawnFuture, SubmitFuture};
pub use overflow::OverflowRule;

use super::error::{JobError, SubmitError};
use super::handle::{JobCell, JobHandle, TrackedJob};
use super::inline::Ticket;
use super::run::Closure;
use super::shared::Shared;
use crate::error::Reason;
use crate::sync::PlainArc;
use crate::time::Deadline;
use enqueue::{BlockingLimit, Envelope};
use futures::Enqueue;
use std::fmt;
use std::time::Duration;

/// How urgent a job is, in a pool with [priorities](super::WorkerPoolBuilder::priorities).
///
/// More urgent jobs run first. No job starves: of 16 jobs that a worker takes, at least three are
/// of normal priority and one is of low priority, if there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobPriority {
    /// For jobs whose result a client waits for.
    High = 0,
    /// The default.
    #[default]
    Normal = 1,
    /// For maintenance that can be done at any time.
    Low = 2,
}

/// A view of a [`WorkerPool`](super::WorkerPool) whose jobs have a priority and a start timeout.
///
/// ```
/// use mainstay::worker_pool::{JobPriority, WorkerPool};
/// use std::time::Duration;
///
/// let pool = WorkerPool::builder().priorities().build()?;
/// let urgent = pool.priority(JobPriority::High).start_timeout(Duration::from_secs(1));
/// assert_eq!(urgent.call_blocking(|| 6 * 7)?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct WorkerPoolSubmitter<'a> {
    pool: &'a PlainArc<Shared>,
    priority: JobPriority,
    start_limit: StartLimit,
}

/// The time by which a job must have begun.
#[derive(Clone, Copy, Debug)]
enum StartLimit {
    None,
    Timeout(Duration),
    Deadline(Deadline),
}

impl<'a> WorkerPoolSubmitter<'a> {
    #[inline(always)]
    pub(crate) fn new(pool: &'a PlainArc<Shared>) -> Self {
        Self { pool, priority: JobPriority::default(), start_limit: StartLimit::None }
    }

    /// Sets the priority. See [`WorkerPool::priority`](super::WorkerPool::priority).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # use std::time::Duration;
    /// # let pool = WorkerPool::new();
    /// let urgent = pool.start_timeout(Duration::from_secs(1)).priority(JobPriority::High);
    /// urgent.try_submit(|| println!("urgent"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn priority(mut self, priority: JobPriority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the maximum time between the submission of a job and its start. See
    /// [`WorkerPool::start_timeout`](super::WorkerPool::start_timeout).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// # use std::time::Duration;
    /// let urgent = urgent.start_timeout(Duration::from_secs(1));
    /// assert_eq!(urgent.call_blocking(|| 6 * 7).unwrap(), 42);
    /// ```
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_limit = StartLimit::Timeout(timeout);
        self
    }

    /// Sets the instant by which a job must have begun. See
    /// [`WorkerPool::start_deadline`](super::WorkerPool::start_deadline).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// use mainstay::time::{Clock, Deadline};
    ///
    /// let now = Clock::system().now();
    /// let deadline = Deadline::after(now, std::time::Duration::from_secs(1));
    /// assert_eq!(urgent.start_deadline(deadline).call_blocking(|| 6 * 7).unwrap(), 42);
    /// ```
    #[must_use]
    pub fn start_deadline(mut self, deadline: Deadline) -> Self {
        self.start_limit = StartLimit::Deadline(deadline);
        self
    }

    /// Submits a job if the queue is not full. See
    /// [`WorkerPool::try_submit`](super::WorkerPool::try_submit).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// urgent.try_submit(|| println!("urgent"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the job with `QueueFull` or `ShutDown`.
    #[inline]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        self.try_enqueue(self.envelope(Closure(job)))
            .map_err(|(reason, envelope)| self.submit_error(reason, envelope.into_work().0))
    }

    /// Submits a job, waiting while the queue is full. See
    /// [`WorkerPool::submit`](super::WorkerPool::submit).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// # futures::executor::block_on(async {
    /// urgent.submit(|| println!("urgent")).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn submit<F: FnOnce() + Send + 'static>(&self, job: F) -> SubmitFuture<'a, F> {
        SubmitFuture::new(Enqueue::new(*self, self.envelope(Closure(job))))
    }

    /// Submits a job, waiting for at most `timeout`. See
    /// [`WorkerPool::submit_timeout`](super::WorkerPool::submit_timeout).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// # use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// urgent.submit_timeout(|| println!("urgent"), Duration::from_secs(1)).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn submit_timeout<F>(&self, job: F, timeout: Duration) -> SubmitFuture<'a, F>
    where
        F: FnOnce() + Send + 'static,
    {
        SubmitFuture::new(Enqueue::with_timeout(*self, self.envelope(Closure(job)), timeout))
    }

    /// Submits a job, blocking the thread while the queue is full. See
    /// [`WorkerPool::submit_blocking`](super::WorkerPool::submit_blocking).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// urgent.submit_blocking(|| println!("urgent"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the job with `ShutDown`; on a worker of the pool also with `QueueFull`, if calls are
    /// nested too deep.
    pub fn submit_blocking<F>(&self, job: F) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enqueue_closure(job, BlockingLimit::Unlimited)
    }

    /// Submits a job, blocking the thread for at most `timeout`. See
    /// [`WorkerPool::submit_blocking_timeout`](super::WorkerPool::submit_blocking_timeout).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// # use std::time::Duration;
    /// urgent.submit_blocking_timeout(|| println!("urgent"), Duration::from_secs(1))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the job with `QueueTimeout` or `ShutDown`; on a worker of the pool also with
    /// `QueueFull`, if calls are nested too deep.
    pub fn submit_blocking_timeout<F>(
        &self,
        job: F,
        timeout: Duration,
    ) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enqueue_closure(job, BlockingLimit::Timeout(timeout))
    }

    /// Spawns a job if the queue is not full. See
    /// [`WorkerPool::try_spawn`](super::WorkerPool::try_spawn).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// let handle = urgent.try_spawn(|| 6 * 7)?;
    /// assert_eq!(handle.join_blocking()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the job with `QueueFull` or `ShutDown`.
    #[inline]
    pub fn try_spawn<F, T>(&self, job: F) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (envelope, handle) = self.tracked(job);
        match self.try_enqueue(envelope) {
            Ok(()) => Ok(handle),
            Err((reason, envelope)) => Err(self.spawn_error(reason, envelope)),
        }
    }

    /// Spawns a job, waiting while the queue is full. See
    /// [`WorkerPool::spawn`](super::WorkerPool::spawn).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// # futures::executor::block_on(async {
    /// let handle = urgent.spawn(|| 6 * 7).await?;
    /// assert_eq!(handle.await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn spawn<F, T>(&self, job: F) -> SpawnFuture<'a, F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (envelope, handle) = self.tracked(job);
        SpawnFuture::new(Enqueue::new(*self, envelope), handle)
    }

    /// Spawns a job, waiting for at most `timeout`. See
    /// [`WorkerPool::spawn_timeout`](super::WorkerPool::spawn_timeout).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// # use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// let handle = urgent.spawn_timeout(|| 6 * 7, Duration::from_secs(1)).await?;
    /// assert_eq!(handle.await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn spawn_timeout<F, T>(&self, job: F, timeout: Duration) -> SpawnFuture<'a, F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (envelope, handle) = self.tracked(job);
        SpawnFuture::new(Enqueue::with_timeout(*self, envelope, timeout), handle)
    }

    /// Spawns a job, blocking the thread while the queue is full. See
    /// [`WorkerPool::spawn_blocking`](super::WorkerPool::spawn_blocking).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// let handle = urgent.spawn_blocking(|| 6 * 7)?;
    /// assert_eq!(handle.join_blocking()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the job with `ShutDown`; on a worker of the pool also with `QueueFull`, if calls are
    /// nested too deep.
    pub fn spawn_blocking<F, T>(&self, job: F) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.enqueue_tracked(job, BlockingLimit::Unlimited)
    }

    /// Spawns a job, blocking the thread for at most `timeout`. See
    /// [`WorkerPool::spawn_blocking_timeout`](super::WorkerPool::spawn_blocking_timeout).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// # use std::time::Duration;
    /// let handle = urgent.spawn_blocking_timeout(|| 6 * 7, Duration::from_secs(1))?;
    /// assert_eq!(handle.join_blocking()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the job with `QueueTimeout` or `ShutDown`; on a worker of the pool also with
    /// `QueueFull`, if calls are nested too deep.
    pub fn spawn_blocking_timeout<F, T>(
        &self,
        job: F,
        timeout: Duration,
    ) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.enqueue_tracked(job, BlockingLimit::Timeout(timeout))
    }

    /// Submits a job and applies the pool's overflow rule if the queue is full. See
    /// [`WorkerPool::execute`](super::WorkerPool::execute).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// urgent.execute(|| println!("urgent"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the job with `QueueFull` or `ShutDown`.
    #[inline]
    pub fn execute<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        self.enqueue_by_rule(self.envelope(Closure(job)))
            .map_err(|(reason, envelope)| self.submit_error(reason, envelope.into_work().0))
    }

    /// Spawns a job and waits for its result. See [`WorkerPool::call`](super::WorkerPool::call).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// # futures::executor::block_on(async {
    /// assert_eq!(urgent.call(|| 6 * 7).await.unwrap(), 42);
    /// # });
    /// ```
    pub fn call<F, T>(&self, job: F) -> CallFuture<'a, F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (envelope, handle) = self.tracked(job);
        CallFuture::new(Enqueue::new(*self, envelope), handle)
    }

    /// Spawns a job and blocks the thread until it has ended. See
    /// [`WorkerPool::call_blocking`](super::WorkerPool::call_blocking).
    ///
    /// ```
    /// # use mainstay::worker_pool::{JobPriority, WorkerPool};
    /// # let pool = WorkerPool::new();
    /// # let urgent = pool.priority(JobPriority::High);
    /// assert_eq!(urgent.call_blocking(|| 6 * 7).unwrap(), 42);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the reason why there is no result.
    pub fn call_blocking<F, T>(&self, job: F) -> Result<T, JobError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (envelope, handle) = self.tracked(job);
        if let Err((reason, envelope)) = self.enqueue_blocking(envelope, BlockingLimit::Unlimited) {
            self.fail(reason, envelope);
        }
        handle.join_blocking()
    }

    pub(crate) fn try_queue_ticket(&self, ticket: Ticket) -> Result<(), (Reason, Ticket)> {
        self.try_enqueue(self.envelope(ticket))
            .map_err(|(reason, envelope)| (reason, envelope.into_work()))
    }

    fn enqueue_closure<F>(&self, job: F, limit: BlockingLimit) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.enqueue_blocking(self.envelope(Closure(job)), limit)
            .map_err(|(reason, envelope)| self.submit_error(reason, envelope.into_work().0))
    }

    fn enqueue_tracked<F, T>(
        &self,
        job: F,
        limit: BlockingLimit,
    ) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (envelope, handle) = self.tracked(job);
        match self.enqueue_blocking(envelope, limit) {
            Ok(()) => Ok(handle),
            Err((reason, envelope)) => Err(self.spawn_error(reason, envelope)),
        }
    }

    #[inline(always)]
    fn tracked<F, T>(&self, job: F) -> (Envelope<TrackedJob<F, T>>, JobHandle<T>)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let limits = self.limits();
        let cell = JobCell::new(job, limits.map_or(Deadline::NEVER, |(_, deadline)| deadline));
        let handle = JobHandle::new(PlainArc::clone(&cell), self.pool.id);
        (self.envelope_with(limits, TrackedJob::new(cell)), handle)
    }
}

impl fmt::Debug for WorkerPoolSubmitter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPoolSubmitter")
            .field("pool", &self.pool.name)
            .field("priority", &self.priority)
            .field("start_limit", &self.start_limit)
            .finish()
    }
}
