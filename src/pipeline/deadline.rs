//! A stack whose calls have a deadline: [`DeadlineLayer`].

use super::stack::{Describe, PipelineLayer, PipelineOnceLayer};
use crate::error::{Error, Reason, Rejection, TimedOut};
use crate::policy::{Context, Facts};
use crate::time::{Clock, Deadline, Expire};
use std::future::Future;
use std::time::Duration;

/// The policy name in the errors of this layer.
const POLICY: &str = "deadline";

/// A pipeline stack whose calls have a deadline. Created by
/// [`Pipeline::with_deadline`](super::Pipeline::with_deadline).
#[derive(Clone, Debug)]
pub struct DeadlineLayer<'a, S> {
    pub(super) stack: &'a S,
    pub(super) deadline: Deadline,
    pub(super) clock: Clock,
}

impl<S> DeadlineLayer<'_, S> {
    /// Returns the context of a call that starts now, and the time until its deadline. Rejects the
    /// call if the deadline has passed.
    pub(super) fn start(&self, cx: Context) -> Result<(Context, Duration), Rejection> {
        if self.deadline == Deadline::NEVER {
            return Ok((cx, Duration::MAX));
        }
        let cx = cx.on(&self.clock);
        match self.deadline.has_passed(cx.now()) {
            true => Err(Rejection::new(Reason::DeadlineExceeded, POLICY)),
            false => {
                let remaining = self.deadline.remaining(cx.now()).unwrap_or(Duration::MAX);
                Ok((cx.with_deadline(self.deadline), remaining))
            }
        }
    }

    /// Runs `call` until the deadline.
    pub(super) async fn limit<T, E>(
        &self,
        remaining: Duration,
        call: impl Future<Output = Result<T, Error<E>>>,
    ) -> Result<T, Error<E>> {
        match self.deadline.instant() {
            None => call.await,
            Some(until) => {
                let result = Expire::new(&self.clock, until, call).await;
                result.unwrap_or_else(|| Err(TimedOut::new(POLICY, remaining).into()))
            }
        }
    }
}

impl<S: Describe> Describe for DeadlineLayer<'_, S> {
    fn describe(&self, visit: &mut dyn FnMut(Facts)) {
        self.stack.describe(visit);
    }
}

impl<T: Send, E: Send, S: PipelineLayer<T, E>> PipelineLayer<T, E> for DeadlineLayer<'_, S> {
    async fn call<Op, Fut>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        let (cx, remaining) = self.start(cx)?;
        self.limit(remaining, self.stack.call(cx, op)).await
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        let (cx, _) = self.start(cx)?;
        self.stack.call_blocking(cx, op)
    }
}

impl<T: Send, E: Send, S> PipelineOnceLayer<T, E> for DeadlineLayer<'_, S>
where
    S: PipelineOnceLayer<T, E>,
{
    async fn call_once<Op, Fut>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        let (cx, remaining) = self.start(cx)?;
        self.limit(remaining, self.stack.call_once(cx, op)).await
    }

    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        let (cx, _) = self.start(cx)?;
        self.stack.call_once_blocking(cx, op)
    }
}
