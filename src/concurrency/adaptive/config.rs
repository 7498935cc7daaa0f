//! The builder of an adaptive limiter.

use super::events::Emitter;
use super::shared::{OverloadSignal, Settings, Shared};
use super::{AdaptiveLimiter, POLICY};
use crate::concurrency::controller::{BaselineController, LearnedLimit, LimitController};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy;
use crate::random::Random;
use crate::sync::PlainArc;
use crate::time::Clock;
use crate::wait::{QueueOrder, Semaphore};
use std::fmt;
use std::time::Duration;

/// A builder of an [`AdaptiveLimiter`].
#[must_use = "a builder does nothing until `build`"]
pub struct AdaptiveLimiterBuilder {
    name: String,
    controller: Box<dyn LimitController>,
    learned: Option<LearnedLimit>,
    clock: Clock,
    max_wait: Duration,
    queue_order: QueueOrder,
    queue: (f64, f64),
    overload_signal: Option<OverloadSignal>,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
}

impl AdaptiveLimiterBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: POLICY.into(),
            controller: Box::new(BaselineController::new()),
            learned: None,
            clock: Clock::system(),
            max_wait: Duration::ZERO,
            queue_order: QueueOrder::Fifo,
            queue: (2.0, 3.0),
            overload_signal: None,
            random: Random::system(),
            observer: None,
        }
    }

    /// Sets the name that rejections and events carry. Default: `adaptive_limiter`.
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// let built = AdaptiveLimiter::builder().name("search").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the controller, which adjusts the limit. Default: [`BaselineController`], which needs
    /// no tuning.
    ///
    /// ```
    /// use mainstay::concurrency::{AdaptiveLimiter, AimdController};
    ///
    /// let limiter = AdaptiveLimiter::builder()
    ///     .controller(AimdController::new().initial_limit(10.0))
    ///     .build()?;
    /// assert_eq!(limiter.limit(), 10.0);
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    pub fn controller(mut self, controller: impl LimitController + 'static) -> Self {
        self.controller = Box::new(controller);
        self
    }

    /// Sets the initial limit to one that was [learned](AdaptiveLimiter::learned) earlier.
    ///
    /// Default: the controller's initial limit.
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// let before = AdaptiveLimiter::builder().build()?;
    /// // After a restart:
    /// let after = AdaptiveLimiter::builder().learned(before.learned()).build()?;
    /// assert_eq!(after.limit(), before.limit());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn learned(mut self, learned: LearnedLimit) -> Self {
        self.learned = Some(learned);
        self
    }

    /// Sets how long [`call`](AdaptiveLimiter::call) and a pipeline wait for a permit. Default
    /// zero: a call beyond the limit is rejected immediately, because waiting callers add to the
    /// overload.
    ///
    /// A call never waits beyond its own deadline.
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// # use std::time::Duration;
    /// let built = AdaptiveLimiter::builder()
    ///     .max_wait(Duration::from_millis(50))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Sets the order in which waiting calls receive permits. Default: [`QueueOrder::Fifo`].
    ///
    /// ```
    /// # use mainstay::{AdaptiveLimiter, QueueOrder};
    /// let built = AdaptiveLimiter::builder()
    ///     .queue_order(QueueOrder::Lifo)
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn queue_order(mut self, order: QueueOrder) -> Self {
        self.queue_order = order;
        self
    }

    /// Sets how many calls may wait, as multiples of the limit. All calls may wait up to `free`
    /// times the limit, and none beyond `full` times. In between, the share of rejected calls grows
    /// linearly. Default: 2 and 3, so that a short burst can wait and the queue never holds more
    /// work than the server completes in three latencies.
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// let built = AdaptiveLimiter::builder().queue_factors(1.0, 2.0).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn queue_factors(mut self, free: f64, full: f64) -> Self {
        self.queue = (free, full);
        self
    }

    /// Sets a function that returns true while the server is overloaded, for example while its
    /// processor is busy or its run queue is long. The function is called once per window, by the
    /// thread that closes the window. Default: none.
    ///
    /// [`BbrController`](crate::concurrency::BbrController) requires this function. For a server in
    /// this process, use [`CpuLoad`](crate::concurrency::CpuLoad).
    ///
    /// ```
    /// # use mainstay::AdaptiveLimiter;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static CPU_IS_BUSY: AtomicBool = AtomicBool::new(false);
    ///
    /// let limiter = AdaptiveLimiter::builder()
    ///     .overload_signal(|| CPU_IS_BUSY.load(Ordering::Relaxed))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn overload_signal(mut self, signal: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.overload_signal = Some(PlainArc::new(signal));
        self
    }

    /// Sets the source of randomness for rejections from the queue. Default: [`Random::system`].
    ///
    /// ```
    /// # use mainstay::{AdaptiveLimiter, Random};
    /// let built = AdaptiveLimiter::builder().random(Random::seeded(1)).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{AdaptiveLimiter, ManualClock};
    /// let time = ManualClock::new();
    /// let built = AdaptiveLimiter::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the observer of rejections (events of kind `rejected`, with `reason` and `limit`) and
    /// of new limits (`limit_changed`, with `from`, `limit` and `reason`). Default: none.
    ///
    /// ```
    /// # use mainstay::{AdaptiveLimiter, Event};
    /// let built = AdaptiveLimiter::builder()
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the limiter.
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting of the limiter or its controller that is out
    /// of range.
    pub fn build(self) -> Result<AdaptiveLimiter, ConfigError> {
        let name = policy::name(&self.name)?;
        let mut controller = self.controller;
        controller.validate()?;
        let (free, full) = self.queue;
        let accepted = "0 to 1000, the second at least the first";
        if !(0.0..=1000.0).contains(&free) || !(free..=1000.0).contains(&full) {
            return Err(ConfigError::new("queue_factors", self.queue, accepted));
        }
        if let Some(learned) = self.learned {
            controller.adopt(learned);
        }
        let limit = controller.limit();
        if !(limit > 0.0 && limit <= 1e6) {
            return Err(ConfigError::new("controller", limit, "a limit above 0, up to 1000000"));
        }
        let semaphore = Semaphore::with_order(limit.max(1.0) as u32, self.queue_order);
        let settings = Settings {
            clock: self.clock,
            max_wait: self.max_wait,
            queue: self.queue,
            overload_signal: self.overload_signal,
            random: self.random,
        };
        let emitter = Emitter::new(name, self.observer);
        Ok(AdaptiveLimiter::from_shared(Shared::new(controller, semaphore, settings, emitter)))
    }
}

impl fmt::Debug for AdaptiveLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiterBuilder")
            .field("name", &self.name)
            .field("limit", &self.controller.limit())
            .field("max_wait", &self.max_wait)
            .field("queue_order", &self.queue_order)
            .field("queue_factors", &self.queue)
            .finish_non_exhaustive()
    }
}
