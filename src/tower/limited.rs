//! The service of a limit: calls the inner service with a time limit.

use super::serve::Serve;
use crate::pipeline::TimeLimitFuture;
use crate::policy::{Context, TimeLimit};
use std::task::{self, Poll};

/// A [`TimeLimit`] around a service.
#[derive(Clone)]
pub struct LimitService<L, S> {
    pub(super) limit: L,
    pub(super) service: S,
}

impl<L, S, Request> Serve<Request> for LimitService<L, S>
where
    L: TimeLimit + Clone,
    S: Serve<Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeLimitFuture<L, S::Future>;

    #[inline]
    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(task)
    }

    #[inline]
    fn serve(&mut self, cx: Context, request: Request) -> Self::Future {
        TimeLimitFuture::new(self.limit.clone(), cx, |cx| self.service.serve(cx, request))
    }
}
