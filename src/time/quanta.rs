use super::{Clock, TimeSource, block_on};
use crate::sync::OnceLock;
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
        Box::pin(futures_timer::Delay::new(duration))
    }

    fn sleep_blocking(&self, duration: Duration) {
        block_on::block_on(Clock::system().sleep(duration));
    }
}

impl Clock {
    /// Time from the processor's own counter by way of the `quanta` crate: cheaper to read than the
    /// system clock, for those who trust their machines' counters to run alike on every core. Sleeps
    /// as the system clock does. The first call calibrates, which takes some milliseconds.
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
