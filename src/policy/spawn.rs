//! Threads on which blocking operations run: [`SpawnJob`].

use crate::error::Rejection;

/// A job for another thread.
pub type BoxedJob = Box<dyn FnOnce() + Send>;

/// Runs jobs on other threads.
///
/// A policy that runs several blocking operations at the same time takes an implementation, such as
/// a [`WorkerPool`](crate::worker_pool::WorkerPool). Closures implement the trait:
///
/// ```
/// use mainstay::policy::{BoxedJob, SpawnJob};
///
/// let threads = |job: BoxedJob| {
///     std::thread::spawn(job);
/// };
/// let (sender, receiver) = std::sync::mpsc::channel();
/// threads.spawn_job(Box::new(move || sender.send(7).unwrap()))?;
/// assert_eq!(receiver.recv(), Ok(7));
/// # Ok::<(), mainstay::Rejection>(())
/// ```
pub trait SpawnJob {
    /// Starts `job` on another thread. Does not wait for it.
    ///
    /// # Errors
    ///
    /// Returns a rejection if the job was not accepted. The job is then dropped.
    fn spawn_job(&self, job: BoxedJob) -> Result<(), Rejection>;
}

impl<F: Fn(BoxedJob)> SpawnJob for F {
    fn spawn_job(&self, job: BoxedJob) -> Result<(), Rejection> {
        self(job);
        Ok(())
    }
}
