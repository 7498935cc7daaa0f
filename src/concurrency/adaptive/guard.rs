//! The limiter as a policy, and the classification of results by load.

use super::permit::{AdaptiveLimiterPermit, OwnedAdaptiveLimiterPermit};
use super::shared::CallEnd;
use super::{AdaptiveLimiter, OwnedAdaptiveLimiterAcquireFuture, POLICY};
use crate::error::{Error, Rejection};
use crate::outcome::{Classify, Outcome};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::time::Instant;
use std::time::Duration;

/// The default classifier of an adaptive limiter: it records a success as a success and a timeout
/// as an overload, and ignores every other result.
///
/// It ignores an error of the operation itself, because the operation may have ended quickly. To
/// count a server's rejections as overload, set another classifier with
/// [`classified_by`](AdaptiveLimiter::classified_by).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverloadOnTimeout;

impl<T, E> Classify<T, E> for OverloadOnTimeout {
    #[inline]
    fn classify(&self, result: &Result<T, Error<E>>, _: Option<Duration>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(Error::Timeout(_)) => Outcome::Failure,
            Err(_) => Outcome::Ignore,
        }
    }
}

/// A view of an [`AdaptiveLimiter`] that classifies results by `C`; made by
/// [`AdaptiveLimiter::classified_by`]. It implements [`Guard`] and [`OwnedGuard`].
#[derive(Clone, Debug)]
pub struct ClassifiedAdaptiveLimiter<C> {
    limiter: AdaptiveLimiter,
    classify: C,
}

impl<C> ClassifiedAdaptiveLimiter<C> {
    pub(super) const fn new(limiter: AdaptiveLimiter, classify: C) -> Self {
        Self { limiter, classify }
    }

    /// Returns the limiter.
    #[must_use]
    pub const fn limiter(&self) -> &AdaptiveLimiter {
        &self.limiter
    }

    /// Returns how the limiter counts the end of a call; `None` if it ignores the call.
    fn end<T, E>(classify: &C, result: &Result<T, Error<E>>) -> Option<CallEnd>
    where
        C: Classify<T, E>,
    {
        Self::end_of(classify.classify(result, None))
    }

    fn end_of(outcome: Outcome) -> Option<CallEnd> {
        match outcome {
            Outcome::Success | Outcome::Slow => Some(CallEnd::Success),
            outcome if outcome.is_failure() => Some(CallEnd::Overload),
            _ => None,
        }
    }

    /// Returns when a call with the context `cx` stops waiting; `None` if it does not wait at all.
    fn deadline(&self, cx: Context) -> Option<Instant> {
        let settings = &self.limiter.shared().settings;
        if settings.max_wait.is_zero() {
            return None;
        }
        let own = cx.now() + settings.max_wait;
        Some(cx.deadline().instant().map_or(own, |deadline| deadline.min(own)))
    }
}

impl From<&AdaptiveLimiter> for ClassifiedAdaptiveLimiter<OverloadOnTimeout> {
    fn from(limiter: &AdaptiveLimiter) -> Self {
        limiter.clone().into()
    }
}

impl From<AdaptiveLimiter> for ClassifiedAdaptiveLimiter<OverloadOnTimeout> {
    fn from(limiter: AdaptiveLimiter) -> Self {
        Self::new(limiter, OverloadOnTimeout)
    }
}

impl<C: Clone> From<&ClassifiedAdaptiveLimiter<C>> for ClassifiedAdaptiveLimiter<C> {
    fn from(limiter: &ClassifiedAdaptiveLimiter<C>) -> Self {
        limiter.clone()
    }
}

impl<C: Send + Sync> Policy for ClassifiedAdaptiveLimiter<C> {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(self.limiter.shared()).addr();
        let facts = Facts::new(POLICY, self.limiter.name())
            .records_outcomes()
            .limits_concurrency()
            .adapts_limit()
            .identity(identity);
        match self.limiter.shared().settings.max_wait {
            Duration::ZERO => facts,
            max_wait => facts.max_queue_wait(max_wait),
        }
    }
}

impl<T: Send, E: Send, C: Classify<T, E>> Guard<T, E> for ClassifiedAdaptiveLimiter<C> {
    type Permit<'a>
        = AdaptiveLimiterPermit<'a>
    where
        Self: 'a;

    async fn admit(&self, cx: Context) -> Result<AdaptiveLimiterPermit<'_>, Rejection> {
        let cx = cx.on(&self.limiter.shared().settings.clock);
        match self.deadline(cx) {
            None => self.limiter.try_acquire_at(cx.now()),
            Some(deadline) => self.limiter.acquire_until(deadline).await,
        }
    }

    fn admit_blocking(&self, cx: Context) -> Result<AdaptiveLimiterPermit<'_>, Rejection> {
        let cx = cx.on(&self.limiter.shared().settings.clock);
        match self.deadline(cx) {
            None => self.limiter.try_acquire_at(cx.now()),
            Some(deadline) => self.limiter.acquire_until(deadline).block(),
        }
    }

    #[inline]
    fn record<'a>(&'a self, permit: AdaptiveLimiterPermit<'a>, result: &Result<T, Error<E>>) {
        if let Some(end) = Self::end(&self.classify, result) {
            permit.end(end);
        }
    }
}

impl<T, E, C: Classify<T, E> + Clone> OwnedGuard<T, E> for ClassifiedAdaptiveLimiter<C> {
    type OwnedPermit = (OwnedAdaptiveLimiterPermit, C);
    type AdmitFuture = AdmitFuture<C>;

    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, AdmitFuture<C>> {
        let cx = cx.on(&self.limiter.shared().settings.clock);
        let Some(deadline) = self.deadline(cx) else {
            return match self.limiter.try_acquire_owned_at(cx.now()) {
                Ok(permit) => Admission::Admitted((permit, self.classify.clone())),
                Err(rejection) => Admission::Rejected(rejection),
            };
        };
        let acquire = OwnedAdaptiveLimiterAcquireFuture::new(self.limiter.clone(), deadline);
        Admission::Waiting(AdmitFuture { acquire, classify: Some(self.classify.clone()) })
    }

    fn record_owned((permit, classify): Self::OwnedPermit, result: &Result<T, Error<E>>) {
        if let Some(end) = Self::end(&classify, result) {
            permit.end(end);
        }
    }

    fn record_outcome_owned((permit, _): Self::OwnedPermit, outcome: Outcome) {
        if let Some(end) = Self::end_of(outcome) {
            permit.end(end);
        }
    }
}

/// The future that waits for the permit of an owned call.
#[pin_project::pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
#[allow(unreachable_pub)] // an associated type names it
pub struct AdmitFuture<C> {
    #[pin]
    acquire: OwnedAdaptiveLimiterAcquireFuture,
    classify: Option<C>,
}

impl<C> Future for AdmitFuture<C> {
    type Output = Result<(OwnedAdaptiveLimiterPermit, C), Rejection>;

    fn poll(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let this = self.project();
        this.acquire.poll(cx).map_ok(|permit| {
            (permit, this.classify.take().expect("a future is not polled after it has returned"))
        })
    }
}
