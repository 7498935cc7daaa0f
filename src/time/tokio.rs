//! A clock that reads tokio's time.

use super::{Clock, TimeSource};
use crate::sync::OnceLock;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// The time that the clock shows at `reference`.
///
/// A runtime whose time is paused or was advanced has its own time, which can be earlier than
/// `reference`. The origin must be earlier than the time of every runtime.
const LEAD: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Debug)]
struct TokioTime {
    /// An instant of the machine's clock. The time of a runtime may have been advanced by any
    /// duration.
    reference: std::time::Instant,
}

impl TimeSource for TokioTime {
    fn now(&self) -> Duration {
        let now = tokio::time::Instant::now().into_std();
        match now.checked_duration_since(self.reference) {
            Some(after) => LEAD.saturating_add(after),
            None => LEAD.saturating_sub(self.reference.duration_since(now)),
        }
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn sleep_blocking(&self, duration: Duration) {
        // A thread outside the runtime cannot drive tokio's timer, and a thread inside the runtime
        // must not block on it.
        std::thread::sleep(duration);
    }
}

impl Clock {
    /// Returns a clock that reads tokio's time and sleeps by tokio's timer, so that
    /// `tokio::time::pause` and `tokio::time::advance` affect it.
    ///
    /// tokio's timer counts milliseconds: a sleep may take up to about two milliseconds longer.
    ///
    /// All tokio clocks share one origin. A runtime whose time is paused has its own time, and
    /// [`now`](Self::now) reads the time of the runtime in which it is called. A policy that such a
    /// runtime shares with others therefore reads times that jump.
    ///
    /// # Panics
    ///
    /// The returned clock's sleeps panic if they are polled outside a tokio runtime with its timer
    /// enabled.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    #[must_use]
    pub fn tokio() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        CLOCK
            .get_or_init(|| Clock::custom(TokioTime { reference: std::time::Instant::now() }))
            .clone()
    }
}
