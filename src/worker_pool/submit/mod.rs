//! Ways into the queue.

use crate::error::{Reason, Rejection};
use crate::random::one_in;
use crate::ring::{PopError, PushError};
use crate::sync::PlainArc;
use crate::sync::hint::spin_loop;
use crate::sync::thread::yield_now;
use crate::time::{Deadline, Instant};
use crate::wait::{Attempt, Wait};
use crate::worker_pool::Shared;
#[cfg(doc)]
use crate::worker_pool::WorkerPool;
use crate::worker_pool::config::OverflowRule;
use crate::worker_pool::error::{JobError, SubmitError};
use crate::worker_pool::handle::{Cell, JobHandle, Tracked};
use crate::worker_pool::job::{Job, fits};
use crate::worker_pool::queue::priority_queue::{Lane, Room};
use crate::worker_pool::run::{
    Closure, Discard, JobEnd, Run, RunContext, Stamped, Timed, discard_at,
};
use crate::worker_pool::stats::SAMPLE;
use crate::worker_pool::workers::current::{self, PoolId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How urgent a job is, in a pool with [priorities](crate::worker_pool::WorkerPoolBuilder::priorities).
///
/// Urgent jobs go first, but nothing starves: of sixteen jobs that a worker takes at least three are normal ones
/// and one is a low one, if there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobPriority {
    /// Somebody waits for it.
    High = 0,
    /// The rest.
    #[default]
    Normal = 1,
    /// What can be done at any time.
    Low = 2,
}

/// A view of a pool that submits with a priority and a deadline.
///
/// ```
/// use mainstay::worker_pool::{Priority, WorkerPool};
/// use std::time::Duration;
///
/// let pool = WorkerPool::builder().priorities(true).build()?;
/// let urgent = pool.priority(Priority::High).within(Duration::from_millis(50));
/// let answer = urgent.spawn(|| 6 * 7).join_blocking();
/// # let _ = answer;
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Submitter<'a> {
    pool: &'a PlainArc<Shared>,
    priority: JobPriority,
    patience: Patience,
}

#[derive(Clone, Copy)]
enum Patience {
    Endless,
    Within(Duration),
    Until(Deadline),
}

/// Work with what the pool needs to know about it.
pub(crate) enum Wrapped<W> {
    Bare(W),
    Stamped(Stamped<W>),
    Timed(Timed<W>),
}

impl<W: Run> Wrapped<W> {
    fn into_work(self) -> W {
        match self {
            Self::Bare(work) => work,
            Self::Stamped(Stamped { work, .. }) | Self::Timed(Timed { work, .. }) => work,
        }
    }

    /// Stats the wait in the queue from now on: waiting for room is not part of it.
    fn stamp(&mut self, now: impl FnOnce() -> Instant) {
        match self {
            Self::Bare(_) => {}
            Self::Stamped(Stamped { entered, .. }) | Self::Timed(Timed { entered, .. }) => {
                *entered = now();
            }
        }
    }

    fn run(self, context: &RunContext<'_>) -> JobEnd {
        match self {
            Self::Bare(work) => work.run(context),
            Self::Stamped(work) => work.run(context),
            Self::Timed(work) => work.run(context),
        }
    }
}

/// Straight into a slot; what is too large for it is boxed before a slot is claimed, for the allocator may
/// take its time.
#[inline(always)]
fn push<W: Run + 'static>(lane: &Lane<Job>, work: W) -> Result<bool, PushError<W>> {
    if const { fits::<W>() } {
        lane.ring().push_with(work, Job::new)
    } else {
        push_boxed(lane, work)
    }
}

#[cold]
fn push_boxed<W: Run + 'static>(lane: &Lane<Job>, work: W) -> Result<bool, PushError<W>> {
    lane.ring().push_with(Box::new(work), Job::new).map_err(|refusal| about(refusal, |work| *work))
}

fn about<A, B>(refusal: PushError<A>, map: impl FnOnce(A) -> B) -> PushError<B> {
    match refusal {
        PushError::Full(work) => PushError::Full(map(work)),
        PushError::Busy(work) => PushError::Busy(map(work)),
        PushError::Closed(work) => PushError::Closed(map(work)),
    }
}

/// How often a submitter that does not wait looks whether a peer has finished with the slot. Longer it is
/// not in the middle of something, but without a processor.
const LOOKS: u32 = 64;

impl<'a> Submitter<'a> {
    pub(crate) fn new(pool: &'a PlainArc<Shared>) -> Self {
        Self { pool, priority: JobPriority::default(), patience: Patience::Endless }
    }

    /// The same with a priority.
    #[must_use]
    pub fn priority(mut self, priority: JobPriority) -> Self {
        self.priority = priority;
        self
    }

    /// The same with a deadline: jobs that have not begun after `patience`, counted from when they are
    /// submitted, are dropped unrun. Nothing interrupts a job that has begun.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = Patience::Within(patience);
        self
    }

    /// The same with a deadline at an instant of the pool's clock.
    #[must_use]
    pub fn until(mut self, deadline: Deadline) -> Self {
        self.patience = Patience::Until(deadline);
        self
    }

    /// See [`WorkerPool::try_submit`].
    ///
    /// # Errors
    /// Gives the job back and says why.
    #[inline]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        self.try_enter(self.wrap(Closure(job)))
            .map_err(|(reason, work)| self.refused(reason, work.into_work().0))
    }

    /// See [`WorkerPool::submit`].
    pub fn submit<F: FnOnce() + Send + 'static>(&self, job: F) -> SubmitFuture<'a, F> {
        SubmitFuture { entry: Entry::new(*self, self.wrap(Closure(job))) }
    }

    /// See [`WorkerPool::submit_blocking`].
    ///
    /// # Errors
    /// Gives the job back and says why.
    pub fn submit_blocking<F: FnOnce() + Send + 'static>(
        &self,
        job: F,
    ) -> Result<(), SubmitError<F>> {
        let entered = self.enter_blocking(self.wrap(Closure(job)), for_as_long_as_it_takes);
        entered.map_err(|(reason, work)| self.refused(reason, work.into_work().0))
    }

    /// See [`WorkerPool::submit_blocking_timeout`].
    ///
    /// # Errors
    /// Gives the job back and says why.
    pub fn submit_blocking_timeout<F>(
        &self,
        job: F,
        patience: Duration,
    ) -> Result<(), SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let entered = self.enter_blocking(self.wrap(Closure(job)), |wait, attempt| {
            wait.block_timeout(patience, attempt)
        });
        entered.map_err(|(reason, work)| self.refused(reason, work.into_work().0))
    }

    /// See [`WorkerPool::execute`].
    ///
    /// # Errors
    /// Gives the job back and says why.
    #[inline]
    pub fn execute<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        self.enter(self.wrap(Closure(job)))
            .map_err(|(reason, work)| self.refused(reason, work.into_work().0))
    }

    /// See [`WorkerPool::spawn`].
    #[inline]
    pub fn spawn<F, T>(&self, job: F) -> JobHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (work, handle) = self.tracked(job);
        if let Err((reason, work)) = self.enter(work) {
            self.give_up(reason, work);
        }
        handle
    }

    /// See [`WorkerPool::try_spawn`].
    ///
    /// # Errors
    /// Gives the job back and says why.
    pub fn try_spawn<F, T>(&self, job: F) -> Result<JobHandle<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (work, handle) = self.tracked(job);
        match self.try_enter(work) {
            Ok(()) => Ok(handle),
            Err((reason, work)) => Err(self.refused(reason, work.into_work().0.into_body())),
        }
    }

    /// See [`WorkerPool::call`].
    pub fn call<F, T>(&self, job: F) -> CallFuture<'a, F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (work, handle) = self.tracked(job);
        CallFuture { entry: Some(Entry::new(*self, work)), handle }
    }

    /// See [`WorkerPool::call_blocking`].
    ///
    /// # Errors
    /// Says why there is no result.
    pub fn call_blocking<F, T>(&self, job: F) -> Result<T, JobError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (work, handle) = self.tracked(job);
        if let Err((reason, work)) = self.enter_blocking(work, for_as_long_as_it_takes) {
            self.give_up(reason, work);
        }
        handle.join_blocking()
    }

    /// A ticket for [inline_jobs](crate::worker_pool::inline_jobs), whose loss does no harm.
    pub(crate) fn try_enter_ticket<W: Run + 'static>(&self, ticket: W) -> Result<(), (Reason, W)> {
        self.try_enter(self.wrap(ticket)).map_err(|(reason, work)| (reason, work.into_work()))
    }

    #[inline(always)]
    fn tracked<F, T>(&self, job: F) -> (Wrapped<Tracked<F, T>>, JobHandle<T>)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let limits = self.limits();
        let cell = Cell::new(job, limits.map_or(Deadline::NEVER, |(_, deadline)| deadline));
        let handle = JobHandle::new(PlainArc::clone(&cell), PoolId::of(self.pool));
        (self.wrap_with(limits, Tracked(cell)), handle)
    }

    /// Lets the handle know that the job was not taken.
    #[cold]
    fn give_up<W: Run>(&self, reason: Reason, work: Wrapped<W>) {
        let why = if reason == Reason::ShutDown { Discard::ShutDown } else { Discard::QueueFull };
        self.pool.outside.rejected.add(1);
        work.into_work().discard(why);
    }

    #[cold]
    fn refused<F>(&self, reason: Reason, job: F) -> SubmitError<F> {
        self.pool.outside.rejected.add(1);
        SubmitError::new(job, Rejection::new(reason, self.pool.name))
    }

    #[inline(always)]
    fn wrap<W: Run>(&self, work: W) -> Wrapped<W> {
        self.wrap_with(self.limits(), work)
    }

    #[inline(always)]
    fn wrap_with<W: Run>(&self, limits: Option<(Instant, Deadline)>, work: W) -> Wrapped<W> {
        if let Some((entered, deadline)) = limits {
            return Wrapped::Timed(Timed { work, entered, deadline });
        }
        // A stamp shall not drive into a box what fits without. By chance, for a thread that submits to two pools by
        // turns would give all samples to one of them, if it counted.
        if const { fits::<Stamped<W>>() || !fits::<W>() } && one_in(SAMPLE) {
            return Wrapped::Stamped(Stamped { work, entered: self.pool.clock.now() });
        }
        Wrapped::Bare(work)
    }

    /// Now, and how long it may take, if a job's wait can become too long.
    #[inline(always)]
    fn limits(&self) -> Option<(Instant, Deadline)> {
        let limited = self.pool.codel.is_some() || !matches!(self.patience, Patience::Endless);
        limited.then(|| self.deadline())
    }

    fn deadline(&self) -> (Instant, Deadline) {
        let now = self.pool.clock.now();
        let deadline = match self.patience {
            Patience::Endless => Deadline::NEVER,
            Patience::Within(patience) => Deadline::after(now, patience),
            Patience::Until(deadline) => deadline,
        };
        (now, deadline)
    }

    #[inline(always)]
    fn lane(&self) -> &'a Lane<Job> {
        self.pool.queue.lanes.lane(self.priority as usize)
    }

    /// One attempt.
    #[inline(always)]
    fn push<W: Run + 'static>(&self, work: Wrapped<W>) -> Result<(), PushError<Wrapped<W>>> {
        let pushed = match work {
            Wrapped::Bare(work) => {
                push(self.lane(), work).map_err(|refusal| about(refusal, Wrapped::Bare))
            }
            Wrapped::Stamped(work) => {
                push(self.lane(), work).map_err(|refusal| about(refusal, Wrapped::Stamped))
            }
            Wrapped::Timed(work) => {
                push(self.lane(), work).map_err(|refusal| about(refusal, Wrapped::Timed))
            }
        };
        if pushed? {
            crate::worker_pool::called(self.pool);
        }
        Ok(())
    }

    #[inline(always)]
    fn try_enter<W: Run + 'static>(&self, work: Wrapped<W>) -> Result<(), (Reason, Wrapped<W>)> {
        match self.push(work) {
            Ok(()) => Ok(()),
            Err(refusal) => self.try_again(refusal),
        }
    }

    #[cold]
    fn try_again<W: Run + 'static>(
        &self,
        mut refusal: PushError<Wrapped<W>>,
    ) -> Result<(), (Reason, Wrapped<W>)> {
        for _ in 0..LOOKS {
            let PushError::Busy(work) = refusal else { break };
            spin_loop();
            refusal = match self.push(work) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            };
        }
        Err(match refusal {
            PushError::Closed(work) => (Reason::ShutDown, work),
            PushError::Full(work) | PushError::Busy(work) => (Reason::QueueFull, work),
        })
    }

    /// By the pool's rule.
    #[inline(always)]
    fn enter<W: Run + 'static>(&self, work: Wrapped<W>) -> Result<(), (Reason, Wrapped<W>)> {
        match self.try_enter(work) {
            Err((Reason::QueueFull, work)) => self.enter_when_full(work),
            other => other,
        }
    }

    #[cold]
    fn enter_when_full<W: Run + 'static>(
        &self,
        work: Wrapped<W>,
    ) -> Result<(), (Reason, Wrapped<W>)> {
        match self.pool.config.when_full {
            OverflowRule::Reject => Err((Reason::QueueFull, work)),
            OverflowRule::Block => self.enter_blocking(work, for_as_long_as_it_takes),
            OverflowRule::CallerRuns => {
                let mut work = Some(work);
                current::on_worker_of(PoolId::of(self.pool), |context| {
                    self.run_here(work.take(), context)
                })
                .unwrap_or_else(|| self.run_here(work.take(), &self.pool.outside_desk()))
            }
            OverflowRule::DropNewest => {
                self.pool.outside.rejected.add(1);
                work.into_work().discard(Discard::QueueFull);
                Ok(())
            }
            OverflowRule::DropOldest => self.enter_over_the_oldest(work),
        }
    }

    fn enter_over_the_oldest<W: Run + 'static>(
        &self,
        mut work: Wrapped<W>,
    ) -> Result<(), (Reason, Wrapped<W>)> {
        loop {
            work = match self.push(work) {
                Ok(()) => return Ok(()),
                Err(PushError::Closed(work)) => return Err((Reason::ShutDown, work)),
                Err(PushError::Full(work)) => {
                    if self.evict_the_oldest().is_err() {
                        yield_now();
                    }
                    work
                }
                // Not full: whoever is in the middle of taking a job out has no processor.
                Err(PushError::Busy(work)) => {
                    yield_now();
                    work
                }
            };
        }
    }

    fn evict_the_oldest(&self) -> Result<(), PopError> {
        self.lane().pop(|oldest| {
            let context = self.pool.outside_desk();
            context.stats.note(discard_at(&context, Discard::QueueFull, |why| oldest.discard(why)));
        })
    }

    /// Waits for room as `wait` does; a worker of this pool does not, for all of them might.
    #[inline(always)]
    fn enter_blocking<W: Run + 'static>(
        &self,
        work: Wrapped<W>,
        wait: impl FnOnce(ForRoom<'a>, &mut dyn FnMut() -> Attempt<Entered>) -> Option<Entered>,
    ) -> Result<(), (Reason, Wrapped<W>)> {
        let work = match self.try_enter(work) {
            Err((Reason::QueueFull, work)) => work,
            other => return other,
        };
        let mut work = Some(work);
        let here = current::on_worker_of(PoolId::of(self.pool), |context| {
            self.run_here(work.take(), context)
        });
        if let Some(ended) = here {
            return ended;
        }
        let entered = wait(self.lane().wait_for_room(), &mut || self.attempt(&mut work));
        match (entered, work) {
            (Some(Entered::Closed), Some(work)) => Err((Reason::ShutDown, work)),
            (None, Some(work)) => Err((Reason::QueueTimeout, work)),
            _ => Ok(()),
        }
    }

    /// One attempt of a submission that waits; takes the work only if it succeeds.
    fn attempt<W: Run + 'static>(&self, slot: &mut Option<Wrapped<W>>) -> Attempt<Entered> {
        let Some(mut work) = slot.take() else {
            unreachable!("a submission ends when its work is taken")
        };
        work.stamp(|| self.pool.clock.now());
        let (answer, work) = match self.push(work) {
            Ok(()) => return Attempt::Done(Entered::Queued),
            Err(PushError::Closed(work)) => (Attempt::Done(Entered::Closed), work),
            Err(PushError::Full(work)) => (Attempt::NotReady, work),
            Err(PushError::Busy(work)) => (Attempt::Busy, work),
        };
        *slot = Some(work);
        answer
    }

    /// Runs the job instead of queueing it, unless that is nested too deep.
    fn run_here<W: Run>(
        &self,
        work: Option<Wrapped<W>>,
        context: &RunContext<'_>,
    ) -> Result<(), (Reason, Wrapped<W>)> {
        let Some(work) = work else { unreachable!("given by every caller") };
        if current::depth() >= self.pool.config.inline_depth {
            return Err((Reason::QueueFull, work));
        }
        current::deeper(|| self.pool.count(context, || work.run(context)));
        Ok(())
    }
}

type ForRoom<'a> = Wait<'a, Room<'a, Job>>;

/// The first attempt found the queue full.
fn for_as_long_as_it_takes(
    wait: ForRoom<'_>,
    attempt: &mut dyn FnMut() -> Attempt<Entered>,
) -> Option<Entered> {
    Some(wait.block_after(Attempt::NotReady, attempt))
}

/// How a wait for room ended.
#[derive(Clone, Copy, Debug)]
enum Entered {
    Queued,
    Closed,
}

impl fmt::Debug for Submitter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitter").field("priority", &self.priority).finish_non_exhaustive()
    }
}

/// A submission that waits for room as a task does.
struct Entry<'a, W> {
    submitter: Submitter<'a>,
    wait: ForRoom<'a>,
    work: Option<Wrapped<W>>,
}

impl<'a, W: Run + 'static> Entry<'a, W> {
    fn new(submitter: Submitter<'a>, work: Wrapped<W>) -> Self {
        Self { submitter, wait: submitter.lane().wait_for_room(), work: Some(work) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), (Reason, Wrapped<W>)>> {
        let Self { submitter, wait, work } = self;
        if current::is_worker_of(PoolId::of(submitter.pool)) {
            // As in `enter_blocking`: whoever polls here may hold the worker until this is ready. It may have
            // waited elsewhere: its place, and a hint that came to it, go to others.
            *wait = submitter.lane().wait_for_room();
            let Some(work) = work.take() else { panic!("polled after it was ready") };
            return Poll::Ready(submitter.enter_blocking(work, |_, _| None));
        }
        assert!(work.is_some(), "polled after it was ready");
        wait.poll(cx, || submitter.attempt(work)).map(|_| match work.take() {
            Some(work) => Err((Reason::ShutDown, work)),
            None => Ok(()),
        })
    }
}

/// The future of [`WorkerPool::submit`].
#[must_use = "futures do nothing unless polled"]
pub struct SubmitFuture<'a, F> {
    entry: Entry<'a, Closure<F>>,
}

// The job is not pinned: it is only moved out.
impl<F> Unpin for SubmitFuture<'_, F> {}

impl<F: FnOnce() + Send + 'static> Future for SubmitFuture<'_, F> {
    type Output = Result<(), SubmitError<F>>;

    /// # Panics
    ///
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let submitter = self.entry.submitter;
        let entered = self.entry.poll(cx);
        entered.map_err(|(reason, work)| submitter.refused(reason, work.into_work().0))
    }
}

impl<F> fmt::Debug for SubmitFuture<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitFuture").finish_non_exhaustive()
    }
}

/// The future of [`WorkerPool::call`]. Dropped before it is ready, it cancels the job unless that has begun.
#[must_use = "futures do nothing unless polled"]
pub struct CallFuture<'a, F, T> {
    /// `None`: in the queue.
    entry: Option<Entry<'a, Tracked<F, T>>>,
    handle: JobHandle<T>,
}

impl<F, T> Unpin for CallFuture<'_, F, T> {}

impl<F, T> Future for CallFuture<'_, F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T, JobError>;

    /// # Panics
    ///
    /// If polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(entry) = &mut self.entry {
            match entry.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err((reason, work))) => entry.submitter.give_up(reason, work),
            }
            self.entry = None;
        }
        Pin::new(&mut self.handle).poll(cx)
    }
}

impl<F, T> Drop for CallFuture<'_, F, T> {
    fn drop(&mut self) {
        self.handle.cancel();
    }
}

impl<F, T> fmt::Debug for CallFuture<'_, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").field("queued", &self.entry.is_none()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::super::{OverflowRule, WorkerPool};
    use std::sync::mpsc;
    use std::thread;

    /// The place at the end of the queue is still in the hands of who takes the job before out of it: there is
    /// no room, and yet the queue is not full.
    #[test]
    fn none_is_evicted_while_somebody_makes_room() {
        let pool = WorkerPool::builder()
            .workers(1)
            .queue_capacity(3)
            .when_full(OverflowRule::DropOldest)
            .build()
            .unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        pool.execute(move || {
            begin.send(()).unwrap();
            let _ = held.recv();
        })
        .unwrap();
        begun.recv().unwrap();
        (0..3).for_each(|_| pool.execute(|| ()).unwrap());
        let finish = pool.shared().queue.lanes.lane(0).ring().stall_pop().unwrap();
        thread::scope(|scope| {
            let submitter = scope.spawn(|| pool.execute(|| ()));
            // Long enough for it to get it wrong.
            (0..10_000).for_each(|_| thread::yield_now());
            drop(finish());
            submitter.join().unwrap().unwrap();
        });
        assert_eq!((pool.snapshot().rejected, pool.snapshot().queued), (0, 3));
        drop(hold);
    }
}
