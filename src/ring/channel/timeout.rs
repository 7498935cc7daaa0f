//! The time limit of a send or receive future.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::time::{Clock, Expiry};

/// A time limit that starts when the future first has to wait. The clock is not read earlier.
pub(in crate::ring) struct Timeout {
    limit: Duration,
    expiry: Option<Expiry>,
}

impl Timeout {
    #[inline]
    pub(in crate::ring) fn new(limit: Duration) -> Self {
        Self { limit, expiry: None }
    }

    /// Polls the limit. Called only after the operation has returned `Pending`.
    #[cold]
    pub(in crate::ring) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let clock = Clock::system();
        let limit = self.limit;
        let expiry = self.expiry.get_or_insert_with(|| Expiry::new(clock.now() + limit));
        expiry.poll(&clock, cx)
    }
}
