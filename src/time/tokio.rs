use super::{Clock, TimeSource};
use crate::sync::OnceLock;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

#[derive(Debug)]
struct TokioTime {
    origin: tokio::time::Instant,
}

impl TimeSource for TokioTime {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn sleep_blocking(&self, duration: Duration) {
        // A thread outside the runtime cannot drive tokio's timer, one inside must not.
        std::thread::sleep(duration);
    }
}

impl Clock {
    /// tokio's time and tokio's timer, so that `tokio::time::pause` and `advance` hold here too.
    ///
    /// A sleep must be polled inside a tokio runtime with its timer enabled; tokio panics otherwise.
    /// All tokio clocks share one origin.
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    #[must_use]
    pub fn tokio() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        CLOCK
            .get_or_init(|| Clock::custom(TokioTime { origin: tokio::time::Instant::now() }))
            .clone()
    }
}
