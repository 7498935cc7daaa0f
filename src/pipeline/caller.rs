//! A stack whose calls have a caller, that is, a priority and a user: [`CallerLayer`].

use super::stack::{Describe, PipelineLayer, PipelineOnceLayer};
use crate::error::Error;
use crate::policy::{Caller, Context, Facts};
use std::future::Future;

/// A pipeline stack whose calls have a caller. Created by
/// [`Pipeline::with_caller`](super::Pipeline::with_caller).
#[derive(Clone, Copy, Debug)]
pub struct CallerLayer<'a, S> {
    pub(super) stack: &'a S,
    pub(super) caller: Caller,
}

impl<S: Describe> Describe for CallerLayer<'_, S> {
    fn describe(&self, visit: &mut dyn FnMut(Facts)) {
        self.stack.describe(visit);
    }
}

impl<T: Send, E: Send, S: PipelineLayer<T, E>> PipelineLayer<T, E> for CallerLayer<'_, S> {
    fn call<Op, Fut>(&self, cx: Context, op: Op) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.stack.call(cx.with_caller(self.caller), op)
    }

    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>,
    {
        self.stack.call_blocking(cx.with_caller(self.caller), op)
    }
}

impl<T: Send, E: Send, S> PipelineOnceLayer<T, E> for CallerLayer<'_, S>
where
    S: PipelineOnceLayer<T, E>,
{
    fn call_once<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: FnOnce(Context) -> Fut + Send,
        Fut: Future<Output = Result<T, Error<E>>> + Send,
    {
        self.stack.call_once(cx.with_caller(self.caller), op)
    }

    fn call_once_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: FnOnce(Context) -> Result<T, Error<E>>,
    {
        self.stack.call_once_blocking(cx.with_caller(self.caller), op)
    }
}
