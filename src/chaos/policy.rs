//! The implementation of the guard traits for [`Chaos`].

use super::inject::{Continuation, Injection};
use super::{Chaos, POLICY};
use crate::error::{Error, Reason, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};

/// The future of a call that waits because of a fault; `P` is the policy, borrowed or owned.
///
/// # Cancel safety
///
/// Dropping the future ends the wait. The fault stays counted.
#[must_use = "futures do nothing unless polled"]
pub struct ChaosAdmitFuture<P = Chaos>(Option<(P, Box<Injection>)>);

impl Chaos {
    /// Decides about the call. The future of a call without a fault is ready.
    #[inline(always)]
    pub(super) fn inject(&self, cx: Context) -> ChaosAdmitFuture<&Self> {
        ChaosAdmitFuture(self.shared.inject(self.key, cx).map(|injection| (self, injection)))
    }

    #[inline(always)]
    pub(super) fn inject_blocking(&self, cx: Context) -> Result<(), Rejection> {
        self.admission(self.shared.inject_blocking(self.key, cx))
    }

    /// Converts a continuation into an admission. A guard cannot return a result of the operation's
    /// type, so an error fault rejects the call.
    #[inline(always)]
    fn admission(&self, continuation: Continuation) -> Result<(), Rejection> {
        let reason = match continuation {
            Continuation::Run => return Ok(()),
            Continuation::Error(_) | Continuation::Reject => Reason::Injected,
            Continuation::TimedOut(_) => Reason::DeadlineExceeded,
        };
        Err(Rejection::new(reason, self.name()))
    }
}

impl<P: Borrow<Chaos>> ChaosAdmitFuture<P> {
    #[cold]
    fn poll_injection(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Rejection>> {
        let Some((chaos, injection)) = &mut self.0 else { return Poll::Ready(Ok(())) };
        let chaos = (*chaos).borrow();
        let continuation = ready!(injection.poll(&chaos.shared, task));
        let admission = chaos.admission(continuation);
        self.0 = None;
        Poll::Ready(admission)
    }
}

impl<P: Borrow<Chaos> + Unpin> Future for ChaosAdmitFuture<P> {
    type Output = Result<(), Rejection>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.0 {
            None => Poll::Ready(Ok(())),
            Some(_) => self.poll_injection(task),
        }
    }
}

impl Policy for Chaos {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(&*self.shared).addr();
        Facts::new(POLICY, self.name()).injects_faults().identity(identity)
    }
}

impl<T, E> Guard<T, E> for Chaos {
    type Permit<'a> = ();

    #[inline(always)]
    fn admit(&self, cx: Context) -> impl Future<Output = Result<(), Rejection>> + Send {
        self.inject(cx)
    }

    #[inline]
    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        self.inject_blocking(cx)
    }

    #[inline(always)]
    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E> OwnedGuard<T, E> for Chaos {
    type OwnedPermit = ();
    type AdmitFuture = ChaosAdmitFuture;

    #[inline]
    fn admit_owned(&self, cx: Context) -> Admission<(), ChaosAdmitFuture> {
        match self.shared.inject(self.key, cx) {
            None => Admission::Admitted(()),
            Some(injection) => {
                Admission::Waiting(ChaosAdmitFuture(Some((self.clone(), injection))))
            }
        }
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}

impl<P> fmt::Debug for ChaosAdmitFuture<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosAdmitFuture").finish_non_exhaustive()
    }
}
