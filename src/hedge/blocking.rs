//! Hedged calls whose attempts are closures on other threads.

use super::Hedge;
use super::future::HedgeFuture;
use crate::error::{Error, Reason, Rejection};
use crate::outcome::FailOnError;
use crate::policy::{Context, SpawnJob};
use crate::sync::{PlainArc, block_on};
use crate::wait::oneshot;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

impl Hedge {
    /// Runs the closure `op` on another thread, and again on a further one if it has not returned
    /// after the delay. Blocks the calling thread until the first success. `op` receives the
    /// [`Context`] of its attempt.
    ///
    /// `threads` is a [`WorkerPool`](crate::worker_pool::WorkerPool), or a closure that starts a
    /// job on another thread; it needs a thread for each attempt. A closure cannot be interrupted:
    /// an attempt that has not won runs to its end, and its result is dropped. An attempt that has
    /// not begun when the call ends does not run.
    ///
    /// ```
    /// # use mainstay::{Hedge, worker_pool::WorkerPool};
    /// let pool = WorkerPool::new();
    /// let hedge = Hedge::builder().build()?;
    /// let result = hedge.call_blocking_on(&pool, |cx| Ok::<_, ()>(cx.attempt()));
    /// assert_eq!(result, Ok(1));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the first attempt, if all attempts fail. An attempt that `threads` does
    /// not accept fails with its rejection; if `threads` drops the job of an attempt, the rejection
    /// has [`Reason::ShutDown`].
    ///
    /// # Panics
    ///
    /// Panics if an attempt panics before another one has won.
    pub fn call_blocking_on<S, Op, T, E>(&self, threads: &S, op: Op) -> Result<T, Error<E>>
    where
        S: SpawnJob + ?Sized,
        Op: Fn(Context) -> Result<T, E> + Send + Sync + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let op = PlainArc::new(op);
        let attempt = |cx| {
            let (sender, receiver) = oneshot();
            let op = PlainArc::clone(&op);
            let spawned = threads.spawn_job(Box::new(move || {
                if sender.is_closed() {
                    return; // the call has ended
                }
                let result = catch_unwind(AssertUnwindSafe(|| op(cx)));
                // The operation may own what the call waits for, so it is dropped first.
                drop(op);
                // An error means that the call has ended.
                _ = sender.send(result);
            }));
            async move {
                spawned?;
                match receiver.await {
                    Ok(Ok(result)) => result.map_err(Error::Operation),
                    Ok(Err(panic)) => resume_unwind(panic),
                    Err(_) => Err(Rejection::new(Reason::ShutDown, self.name()).into()),
                }
            }
        };
        let hedge = self.classified_by(FailOnError);
        block_on(HedgeFuture::new(hedge, Context::new(), attempt))
    }
}
