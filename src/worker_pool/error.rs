//! The errors of submitting a job and of a job without a result.

use super::panics::{Payload, message};
use crate::error::{Reason, Rejection};
use crate::sync::PlainMutex;
use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// The error of submitting: the pool did not accept the job, which is returned inside.
///
/// ```
/// use mainstay::error::Reason;
/// use mainstay::worker_pool::{WorkerPoolShutdown, WorkerPool};
///
/// let pool = WorkerPool::new();
/// pool.shutdown(WorkerPoolShutdown::drain());
/// let error = pool.try_submit(|| println!("hello")).unwrap_err();
/// assert_eq!(error.reason(), Reason::ShutDown);
/// let job = error.into_job();
/// job();
/// ```
pub struct SubmitError<F> {
    job: F,
    rejection: Rejection,
}

impl<F> SubmitError<F> {
    pub(crate) const fn new(job: F, rejection: Rejection) -> Self {
        Self { job, rejection }
    }

    /// Returns the job.
    pub fn into_job(self) -> F {
        self.job
    }

    /// Returns the name of the pool and the reason why it did not accept the job.
    pub const fn rejection(&self) -> Rejection {
        self.rejection
    }

    /// Returns the reason: [`Reason::QueueFull`], [`Reason::QueueTimeout`] or [`Reason::ShutDown`].
    pub const fn reason(&self) -> Reason {
        self.rejection.reason()
    }
}

impl<F> From<SubmitError<F>> for Rejection {
    fn from(error: SubmitError<F>) -> Self {
        error.rejection
    }
}

// A closure is not `Debug`.
impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitError").field("rejection", &self.rejection).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rejection.fmt(f)
    }
}

impl<F> Error for SubmitError<F> {}

/// The reason why a job returned no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum JobError {
    /// The job panicked.
    Panicked(JobPanic),
    /// The job was [cancelled](super::JobHandle::cancel) before it began, or the pool's
    /// [clock](super::WorkerPoolBuilder::clock) panicked.
    Cancelled,
    /// The job's deadline passed before it began.
    Expired,
    /// The job was shed under overload because it had waited too long.
    Shed,
    /// The queue was full, or the job was evicted from it to make room for a newer one.
    QueueFull,
    /// The pool was shut down before the job began.
    ShutDown,
}

impl JobError {
    /// Returns the limit that kept the job from running; `None` if it panicked or was cancelled.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Panicked(_) | Self::Cancelled => None,
            Self::Expired => Some(Reason::QueueTimeout),
            Self::Shed => Some(Reason::Shed),
            Self::QueueFull => Some(Reason::QueueFull),
            Self::ShutDown => Some(Reason::ShutDown),
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "the job panicked: {panic}"),
            Self::Cancelled => f.write_str("the job was cancelled"),
            Self::Expired => f.write_str("the job's deadline passed before it began"),
            Self::Shed => f.write_str("the job was shed under overload"),
            Self::QueueFull => f.write_str("there was no room in the queue for the job"),
            Self::ShutDown => f.write_str("the pool was shut down before the job began"),
        }
    }
}

impl Error for JobError {}

/// The number of characters of a panic's text in its debug output. `unwrap` on a [`JobError`]
/// panics with that output, and escapes it. Without a limit, the text doubles with every job that
/// joins another one.
const MAX_DEBUG_CHARS: usize = 200;

/// The panic of a job.
///
/// Its debug output shows the first 200 characters of the text.
pub struct JobPanic {
    // A payload is not `Sync`; an error should be.
    payload: PlainMutex<Payload>,
}

// The payload is only read or moved out.
impl UnwindSafe for JobPanic {}
impl RefUnwindSafe for JobPanic {}

impl JobPanic {
    pub(crate) fn new(payload: Payload) -> Self {
        Self { payload: PlainMutex::new(payload) }
    }

    /// Returns the payload, for example to pass it to
    /// [`resume_unwind`](std::panic::resume_unwind).
    pub fn into_payload(self) -> Payload {
        self.payload.into_inner()
    }

    /// Returns the panic's text; `"no message"` if the payload is not a text.
    pub fn message(&self) -> String {
        message(&**self.payload.lock()).to_owned()
    }
}

impl fmt::Display for JobPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(message(&**self.payload.lock()))
    }
}

impl fmt::Debug for JobPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = self.payload.lock();
        let text = message(&**payload);
        match text.char_indices().nth(MAX_DEBUG_CHARS) {
            None => f.debug_tuple("JobPanic").field(&text).finish(),
            Some((end, _)) => write!(f, "JobPanic({:?}…)", &text[..end]),
        }
    }
}
