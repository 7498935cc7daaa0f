//! How submitting, or a job, can end otherwise.

use super::panics::{Payload, message};
use crate::error::{Reason, Rejection};
use crate::sync::PlainMutex;
use std::error::Error;
use std::fmt;

/// A job was not taken; it comes back inside.
pub struct SubmitError<F> {
    job: F,
    rejection: Rejection,
}

impl<F> SubmitError<F> {
    pub(crate) const fn new(job: F, rejection: Rejection) -> Self {
        Self { job, rejection }
    }

    /// The job, as it was given.
    pub fn into_job(self) -> F {
        self.job
    }

    /// Who refused and why: [`Reason::QueueFull`], [`Reason::QueueTimeout`] or [`Reason::ShutDown`].
    pub const fn rejection(&self) -> Rejection {
        self.rejection
    }

    /// Why.
    pub const fn reason(&self) -> Reason {
        self.rejection.reason()
    }
}

impl<F> From<SubmitError<F>> for Rejection {
    fn from(refused: SubmitError<F>) -> Self {
        refused.rejection
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

/// Why a job gave no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum JobError {
    /// It panicked.
    Panicked(JobPanic),
    /// It was [cancelled](super::JobHandle::cancel) before it began.
    Cancelled,
    /// Its deadline passed before it began.
    Expired,
    /// It was shed under overload, having waited too long.
    Shed,
    /// There was no room for it in the queue, or it had to make room for a newer one.
    QueueFull,
    /// The pool was shut down before it began.
    Shutdown,
}

impl JobError {
    /// Which limit kept the job from being run; `None` if it panicked or was cancelled.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Panicked(_) | Self::Cancelled => None,
            Self::Expired => Some(Reason::QueueTimeout),
            Self::Shed => Some(Reason::Shed),
            Self::QueueFull => Some(Reason::QueueFull),
            Self::Shutdown => Some(Reason::ShutDown),
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
            Self::Shutdown => f.write_str("the pool was shut down before the job began"),
        }
    }
}

impl Error for JobError {}

/// What a job panicked with.
pub struct JobPanic {
    // A payload is not `Sync`; errors should be.
    payload: PlainMutex<Payload>,
}

impl JobPanic {
    pub(crate) fn new(payload: Payload) -> Self {
        Self { payload: PlainMutex::new(payload) }
    }

    /// The payload, as of [`catch_unwind`](std::panic::catch_unwind); for
    /// [`resume_unwind`](std::panic::resume_unwind), say.
    pub fn into_payload(self) -> Payload {
        self.payload.into_inner()
    }

    /// What it says, if it is a text.
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
        f.debug_tuple("JobPanic").field(&message(&**self.payload.lock())).finish()
    }
}
