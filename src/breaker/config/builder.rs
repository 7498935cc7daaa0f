//! The builder of a circuit breaker, and its defaults.

use super::assemble::WindowMemory;
use super::trip_rule::{TripRule, TripStats};
use crate::backoff::{Backoff, Jitter};
use crate::breaker::engine::Engine;
use crate::breaker::mode::{CircuitBreakerControl, ModeTarget};
use crate::breaker::shared::Shared;
use crate::breaker::{CircuitBreaker, POLICY};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::random::Random;
use crate::sync::{Arc, PlainArc};
use crate::time::Clock;
use std::time::Duration;

/// Builds a [`CircuitBreaker`]; the [module](crate::breaker) explains what the settings do
/// together.
///
/// Every setting has a default that suits a production service. A setting that is out of range is
/// reported by [`build`](Self::build).
#[derive(Clone)]
pub struct CircuitBreakerBuilder {
    pub(super) name: String,
    pub(super) window: WindowKind,
    pub(super) failure_rate: Option<f64>,
    pub(super) min_calls: Option<u32>,
    pub(super) slow_calls: Option<(Duration, f64)>,
    pub(super) slow_min_calls: Option<u32>,
    pub(super) consecutive_failures: Option<u32>,
    pub(super) open_duration: Backoff,
    pub(super) max_retry_after: Duration,
    pub(super) half_open_concurrency: u32,
    pub(super) half_open_calls: u32,
    pub(super) probe_timeout: Duration,
    pub(super) ramp_up_duration: Duration,
    pub(super) trip_rule: Option<TripRule>,
    pub(super) track_in_flight: bool,
    pub(super) record_latency: bool,
    pub(super) control: Option<CircuitBreakerControl>,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) observer: Option<PlainArc<dyn Observer>>,
}

/// The kind and size of the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WindowKind {
    Count(u32),
    Time(Duration, u32),
}

/// With full jitter a breaker could admit a probe immediately after it has opened.
const JITTER: Jitter = Jitter::Equal;

impl Default for CircuitBreakerBuilder {
    fn default() -> Self {
        Self {
            name: POLICY.into(),
            window: WindowKind::Count(100),
            failure_rate: Some(0.5),
            min_calls: None,
            slow_calls: None,
            slow_min_calls: None,
            consecutive_failures: None,
            open_duration: Backoff::exponential(Duration::from_secs(5))
                .max_delay(Duration::from_secs(60))
                .default_jitter(JITTER),
            max_retry_after: Duration::from_secs(3600),
            half_open_concurrency: 3,
            half_open_calls: 5,
            probe_timeout: Duration::from_secs(30),
            ramp_up_duration: Duration::ZERO,
            trip_rule: None,
            track_in_flight: false,
            record_latency: false,
            control: None,
            clock: Clock::system(),
            random: Random::system(),
            observer: None,
        }
    }
}

impl CircuitBreakerBuilder {
    /// The default of [`min_calls`](Self::min_calls), if the window holds as many calls.
    pub(super) const MIN_CALLS: u32 = 20;

    /// Sets the name that rejections and events carry. Default: `circuit_breaker`.
    ///
    /// Names are kept for the life of the process: name dependencies, not requests.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().name("search").build()?;
    /// assert_eq!(breaker.name(), "search");
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the window to the last `calls` calls, 1 to 32,768. Default: 100 (resilience4j), a
    /// window that needs no clock.
    ///
    /// If a service makes few calls per second, a count window remembers failures for a long time;
    /// use a [`time_window`](Self::time_window) then.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().count_window(50).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn count_window(mut self, calls: u32) -> Self {
        self.window = WindowKind::Count(calls);
        self
    }

    /// Sets the window to the calls of the last `span`, which slides in steps of `span / buckets`.
    /// Buckets: 1 to 1024, of at least a millisecond.
    ///
    /// Ten seconds in ten buckets (Hystrix) suit a busy service. A service with fewer calls needs a
    /// longer span, in which [`min_calls`](Self::min_calls) calls occur.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # use std::time::Duration;
    /// let breaker = CircuitBreaker::builder()
    ///     .time_window(Duration::from_secs(10), 10)
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn time_window(mut self, span: Duration, buckets: u32) -> Self {
        self.window = WindowKind::Time(span, buckets);
        self
    }

    /// Sets the share of failed calls in the window, above 0 and at most 1, at which the breaker
    /// opens. Default: 0.5 (resilience4j, Hystrix), because a dependency that fails every second
    /// call is of little use.
    ///
    /// With `None` the failure rate never opens the breaker. Failed probes do not keep it open
    /// either then, unless [`consecutive_failures`](Self::consecutive_failures) or
    /// [`trip_when`](Self::trip_when) is set.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().failure_rate(0.3).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn failure_rate(mut self, rate: impl Into<Option<f64>>) -> Self {
        self.failure_rate = rate.into();
        self
    }

    /// Sets the number of calls in the window below which no rate is evaluated. Default: 20
    /// (Hystrix), or the size of a smaller count window.
    ///
    /// Fewer calls say little about a rate; the 100 calls of resilience4j and Polly leave a service
    /// with few calls unprotected.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().min_calls(10).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = Some(calls);
        self
    }

    /// Opens the breaker when at least the share `rate` of the calls in the window, above 0 and at
    /// most 1, took `threshold` or longer, whether they failed or not. Default: off, because no
    /// threshold suits every dependency.
    ///
    /// Costs two clock readings per call.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # use std::time::Duration;
    /// let breaker = CircuitBreaker::builder()
    ///     .slow_calls(Duration::from_millis(200), 0.5)
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn slow_calls(mut self, threshold: Duration, rate: f64) -> Self {
        self.slow_calls = Some((threshold, rate));
        self
    }

    /// Removes the rule for [slow calls](Self::slow_calls), for a configuration that is to be
    /// [replaced](CircuitBreaker::reconfigure).
    #[must_use]
    pub fn without_slow_calls(mut self) -> Self {
        self.slow_calls = None;
        self
    }

    /// Sets the number of calls in the window below which the rate of slow calls is not evaluated.
    /// Default: as [`min_calls`](Self::min_calls).
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # use std::time::Duration;
    /// let breaker = CircuitBreaker::builder()
    ///     .slow_calls(Duration::from_millis(200), 0.5)
    ///     .slow_min_calls(50)
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn slow_min_calls(mut self, calls: u32) -> Self {
        self.slow_min_calls = Some(calls);
        self
    }

    /// Opens the breaker after `calls` failures without a success in between, 1 to 268,435,455,
    /// whatever the window holds. Default: `None`, never.
    ///
    /// This rule notices a dead dependency soonest, but with concurrent calls a run of failures is
    /// also a matter of chance.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().consecutive_failures(5).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn consecutive_failures(mut self, calls: impl Into<Option<u32>>) -> Self {
        self.consecutive_failures = calls.into();
        self
    }

    /// Sets how long the breaker stays open: the first delay of `duration` after the first opening,
    /// the second if the trial that follows fails, and so on; from the start after it has closed.
    /// Default: 5 s (Hystrix, Polly), doubling up to 60 s (resilience4j).
    ///
    /// Unless the backoff sets another jitter, it has equal jitter, so that many clients of one
    /// dependency do not return at the same moment, and none immediately.
    ///
    /// ```
    /// # use mainstay::{backoff::Backoff, breaker::CircuitBreaker};
    /// # use std::time::Duration;
    /// let breaker = CircuitBreaker::builder()
    ///     .open_duration(Backoff::constant(Duration::from_secs(10)))
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn open_duration(mut self, duration: Backoff) -> Self {
        self.open_duration = duration.default_jitter(JITTER);
        self
    }

    /// Sets the longest time for which the breaker opens when the dependency asks for a pause by
    /// [`Outcome::Unavailable`](crate::outcome::Outcome::Unavailable). Default: one hour, the
    /// longest that common rate limits ask for.
    ///
    /// A server that asks for more is usually mistaken, and only a [`reset`](CircuitBreaker::reset)
    /// would close the breaker sooner.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # use std::time::Duration;
    /// let breaker = CircuitBreaker::builder()
    ///     .max_retry_after(Duration::from_secs(60))
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_retry_after(mut self, duration: Duration) -> Self {
        self.max_retry_after = duration;
        self
    }

    /// Sets the number of probes that a half-open breaker admits at the same time, 1 to 127.
    /// Default: 3, which a recovering dependency can take, and of which one slow probe does not
    /// delay the others.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().half_open_concurrency(1).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn half_open_concurrency(mut self, probes: u32) -> Self {
        self.half_open_concurrency = probes;
        self
    }

    /// Sets the number of outcomes after which a half-open breaker closes or opens, 1 to 127.
    /// Default: 5, of which three decide if they agree.
    ///
    /// The outcomes are judged by the same rates as those of a closed breaker. The trial ends
    /// earlier if the outcomes to come cannot change the verdict.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().half_open_calls(10).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn half_open_calls(mut self, calls: u32) -> Self {
        self.half_open_calls = calls;
        self
    }

    /// Sets the time after which a probe that has not ended counts as failed and its slot is free.
    /// Default: 30 s, a common timeout of clients.
    ///
    /// The timeout should be longer than that of the calls themselves. It is renewed for all active
    /// probes when another probe is admitted.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # use std::time::Duration;
    /// let breaker = CircuitBreaker::builder()
    ///     .probe_timeout(Duration::from_secs(5))
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.probe_timeout = timeout;
        self
    }

    /// Sets the time in which the admitted share of the calls grows from a tenth to all of them,
    /// after a trial that went well. Default: zero, no ramp, because every rejection costs a caller
    /// and most dependencies need none.
    ///
    /// A ramp protects a dependency whose caches are cold and whose pools are empty. The admitted
    /// calls are not chosen at random: of any few calls, about the share is admitted. The breaker
    /// is closed for good only when the ramp is over; if it opens before, it stays open for longer.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # use std::time::Duration;
    /// let breaker = CircuitBreaker::builder()
    ///     .ramp_up_duration(Duration::from_secs(10))
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn ramp_up_duration(mut self, duration: Duration) -> Self {
        self.ramp_up_duration = duration;
        self
    }

    /// Opens the breaker when `rule` returns true, besides its other rules. Default: no rule.
    ///
    /// The rule is called after each failed or slow call; with
    /// [`track_in_flight`](Self::track_in_flight), also when a call is admitted while others are
    /// overdue. It is called outside every lock, and has to decide for itself how many calls are
    /// enough. If no rate is set, a single failed probe opens the breaker
    /// again. A panic of the rule unwinds through the call, which has been counted.
    ///
    /// ```
    /// use mainstay::breaker::CircuitBreaker;
    ///
    /// // More than fifty failures, or a tenth of many calls.
    /// let breaker = CircuitBreaker::builder()
    ///     .count_window(1000)
    ///     .failure_rate(None)
    ///     .trip_when(|stats| {
    ///         let counts = stats.counts;
    ///         counts.failed > 50
    ///             || counts.total >= 200 && counts.failure_rate() >= 0.1
    ///     })
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn trip_when(mut self, rule: impl Fn(&TripStats) -> bool + Send + Sync + 'static) -> Self {
        self.trip_rule = Some(PlainArc::new(rule));
        self
    }

    /// Counts calls in flight that have taken as long as a [slow call](Self::slow_calls) as slow
    /// ones before they end. Default: off.
    ///
    /// A dependency that hangs trips the breaker within little more than the threshold, however
    /// long the timeouts of the callers are. The rules are evaluated when a call is admitted, once
    /// in an eighth of the threshold, if calls are overdue by then. A call becomes overdue at most
    /// two eighths of the threshold too late (for thresholds below 8 ms, two milliseconds), never
    /// too early.
    ///
    /// Requires `slow_calls`. Costs two atomic additions per call, to words that all callers share,
    /// and 1.5 KiB.
    #[must_use]
    pub fn track_in_flight(mut self) -> Self {
        self.track_in_flight = true;
        self
    }

    /// Records the latencies of successful calls in a histogram over the same window: for
    /// [`latency`](CircuitBreaker::latency), the snapshot, and a [rule](Self::trip_when). Default:
    /// off.
    ///
    /// Failed calls are not recorded, because calls that fail immediately would suggest a fast
    /// dependency. Costs two clock readings and an atomic addition per call, and 8 KiB.
    #[must_use]
    pub fn record_latency(mut self) -> Self {
        self.record_latency = true;
        self
    }

    /// Lets `control` set the mode of the breaker, together with that of others. Default: none.
    ///
    /// ```
    /// # use mainstay::breaker::{CircuitBreaker, CircuitBreakerControl};
    /// let europe = CircuitBreakerControl::new();
    /// let breaker = CircuitBreaker::builder().control(&europe).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn control(mut self, control: &CircuitBreakerControl) -> Self {
        self.control = Some(control.clone());
        self
    }

    /// Sets the clock that the breaker reads. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{breaker::CircuitBreaker, time::ManualClock};
    /// let time = ManualClock::new();
    /// let breaker = CircuitBreaker::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of the jitter of [`open_duration`](Self::open_duration). Default: the
    /// system's.
    ///
    /// ```
    /// # use mainstay::{breaker::CircuitBreaker, random::Random};
    /// let builder = CircuitBreaker::builder().random(Random::seeded(1));
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Sets the observer that receives the events of the breaker for as long as it lives. Default:
    /// none. See [`Transition`](crate::breaker::Transition) and [`event`](crate::event).
    ///
    /// ```
    /// # use mainstay::{breaker::CircuitBreaker, event::Event};
    /// let breaker = CircuitBreaker::builder()
    ///     .observer(|event: &Event<'_>| eprintln!("{event}"))
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Builds the breaker, closed.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of range, its value, and what is accepted.
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        let window = self.new_window(WindowMemory::Full)?;
        let config = self.validated()?;
        let shared_config = Arc::new(self.shared_config(&config));
        let group = PlainArc::new(self.group(Duration::MAX));
        let engine = Engine::new(window, &config, group.control.mode(), shared_config);
        let shared = PlainArc::new(Shared { engine, group, key: None });
        let target: PlainArc<dyn ModeTarget> = shared.clone();
        shared.group.control.attach(&target);
        Ok(CircuitBreaker::from_shared(shared))
    }
}
