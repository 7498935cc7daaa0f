//! A hedge with its classifier, and the implementation of the repeat traits: [`ClassifiedHedge`].

use super::future::HedgeFuture;
use super::words::DelayConfig;
use super::{Hedge, POLICY};
use crate::error::Error;
use crate::outcome::{Classify, FailOnError};
use crate::policy::{Attempt, Context, Facts, OwnedRepeat, Policy, Repeat, RepeatSafety, kind};
use std::future::Future;

/// A view of a [`Hedge`] that classifies results by `C`.
///
/// Created by [`Hedge::classified_by`]. It implements [`Repeat`] and [`OwnedRepeat`].
#[derive(Clone, Debug)]
pub struct ClassifiedHedge<C> {
    pub(super) hedge: Hedge,
    pub(super) classify: C,
}

impl<C> ClassifiedHedge<C> {
    /// Returns the hedge.
    #[must_use]
    pub const fn hedge(&self) -> &Hedge {
        &self.hedge
    }
}

impl From<&Hedge> for ClassifiedHedge<FailOnError> {
    fn from(hedge: &Hedge) -> Self {
        hedge.clone().into()
    }
}

impl From<Hedge> for ClassifiedHedge<FailOnError> {
    fn from(hedge: Hedge) -> Self {
        Self { hedge, classify: FailOnError }
    }
}

impl<C: Clone> From<&ClassifiedHedge<C>> for ClassifiedHedge<C> {
    fn from(hedge: &Self) -> Self {
        hedge.clone()
    }
}

impl<C: Send + Sync> Policy for ClassifiedHedge<C> {
    type Kind = kind::Repeat;

    fn facts(&self) -> Facts {
        let shared = self.hedge.shared();
        let config = shared.delay.config();
        let safety = match config.is_idempotent {
            true => RepeatSafety::Idempotent,
            false => RepeatSafety::Unknown,
        };
        let facts = Facts::new(POLICY, self.hedge.name())
            .max_attempts(config.max_attempts)
            .concurrent_attempts()
            .repeat_safety(safety)
            .identity(std::ptr::from_ref(shared).addr());
        let facts = Facts { has_budget: shared.budget.is_some(), ..facts };
        match config.delay {
            DelayConfig::Fixed(delay) => facts.max_elapsed(delay * (config.max_attempts - 1)),
            DelayConfig::Quantile { .. } => facts,
        }
    }
}

impl<T: Send, E: Send, C: Classify<T, E>> Repeat<T, E> for ClassifiedHedge<C> {
    #[inline]
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        HedgeFuture::new(self, cx, op)
    }

    /// Runs `op` once: two closures cannot run at the same time on one thread.
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        op(cx.with_attempt(1))
    }
}

impl<T, E, C: Classify<T, E> + Clone> OwnedRepeat<T, E> for ClassifiedHedge<C> {
    type CallFuture<A: Attempt<T, E>> = HedgeFuture<Self, A, A::Future, T, E>;

    #[inline]
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::CallFuture<A> {
        HedgeFuture::new(self.clone(), cx, attempt)
    }
}
