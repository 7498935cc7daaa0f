//! A clock that reads the processor's counter.

use super::{Clock, TimeSource};
use crate::sync::{OnceLock, block_on};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

#[derive(Debug)]
struct QuantaTime {
    clock: quanta::Clock,
    origin: quanta::Instant,
}

impl TimeSource for QuantaTime {
    fn now(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.origin)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Clock::system().sleep(duration))
    }

    fn sleep_blocking(&self, duration: Duration) {
        block_on(self.sleep(duration));
    }
}

impl Clock {
    /// Returns a clock that reads the processor's counter through the `quanta` crate, and sleeps as
    /// the system clock does.
    ///
    /// It is cheaper to read than the system clock, but requires that the counters of all cores are
    /// synchronized. The first call calibrates the counter, which takes some milliseconds.
    #[cfg_attr(docsrs, doc(cfg(feature = "quanta")))]
    #[must_use]
    pub fn quanta() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        CLOCK
            .get_or_init(|| {
                let clock = quanta::Clock::new();
                let origin = clock.now();
                Clock::custom(QuantaTime { clock, origin })
            })
            .clone()
    }
}
