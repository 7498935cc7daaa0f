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

/// A builder of a [`CircuitBreaker`].
///
/// The [module documentation](crate::breaker) explains how the settings work together. Every
/// setting has a default that suits a production service. [`build`](Self::build) returns an error
/// if a setting is out of range.
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

/// The default jitter of the open duration. With full jitter, a breaker could admit a probe
/// immediately after it has opened.
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
    /// The default of [`min_calls`](Self::min_calls), unless a count window holds fewer calls.
    pub(super) const MIN_CALLS: u32 = 20;

    /// Sets the name that rejections and events carry. Default: `circuit_breaker`.
    ///
    /// Names are interned and never freed: name a breaker after its dependency, not after a
    /// request.
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
    /// `buckets` is 1 to 1024, and each bucket lasts at least one millisecond.
    ///
    /// Ten buckets of one second (Hystrix) suit a busy service. A service with fewer calls needs a
    /// span that is long enough for [`min_calls`](Self::min_calls) calls.
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
    /// With `None`, the failure rate never opens the breaker. A failed probe then reopens it only
    /// if [`consecutive_failures`](Self::consecutive_failures) or [`trip_when`](Self::trip_when) is
    /// set.
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
    /// A rate over fewer calls is mostly chance. The 100 calls of resilience4j and Polly leave a
    /// service with little traffic unprotected.
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

    /// Removes the rule for [slow calls](Self::slow_calls), for use with
    /// [`reconfigure`](CircuitBreaker::reconfigure).
    #[must_use]
    pub fn without_slow_calls(mut self) -> Self {
        self.slow_calls = None;
        self
    }

    /// Sets the number of calls in the window below which the rate of slow calls is not evaluated.
    /// Default: the value of [`min_calls`](Self::min_calls).
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

    /// Opens the breaker after `calls` consecutive failures, 1 to 268,435,455, independently of the
    /// rates. Default: `None`, off.
    ///
    /// This rule detects an unreachable dependency soonest. With concurrent calls, a run of
    /// failures can also occur by chance.
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

    /// Sets how long the breaker stays open. Default: 5 s (Hystrix, Polly), doubling up to 60 s
    /// (resilience4j).
    ///
    /// The first opening lasts for the first delay of `duration`, and each opening after a failed
    /// trial for the next delay. The delays restart after the breaker has closed.
    ///
    /// A growing backoff without an explicit jitter gets equal jitter: clients of one dependency
    /// then retry at different times, and none of them immediately.
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

    /// Sets the maximum open duration that a dependency can request with
    /// [`Outcome::Unavailable`](crate::outcome::Outcome::Unavailable). Default: one hour, the
    /// longest pause that common rate limits request.
    ///
    /// A longer pause is usually a mistake of the server, and only a
    /// [`reset`](CircuitBreaker::reset) would close the breaker sooner.
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
    /// Default: 3, which a recovering dependency can serve; a single slow probe does not delay the
    /// others.
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
    /// Default: 5; at a failure rate of 0.5, three failures or three successes decide.
    ///
    /// The rates that open a closed breaker also decide about the probes. The trial ends early once
    /// the remaining outcomes cannot change the result.
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

    /// Sets the time after which a probe that has not ended counts as failed and frees its slot.
    /// Default: 30 s, a common client timeout.
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

    /// Sets the duration over which the share of admitted calls grows from 10 % to 100 % after a
    /// successful trial. Default: zero, no ramp, because most dependencies need none and every
    /// rejection fails a call.
    ///
    /// A ramp protects a dependency with cold caches and empty connection pools. Admitted calls are
    /// spread evenly, not chosen at random, so that even a short run of calls is admitted in about
    /// that share. A breaker that opens during the ramp continues with the next, longer open
    /// duration; the delays restart only when the ramp has ended.
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

    /// Opens the breaker when `rule` returns true, in addition to the other rules. Default: no
    /// rule.
    ///
    /// The rule is called after each failed or slow call; with
    /// [`track_in_flight`](Self::track_in_flight), also when a call is admitted while others are
    /// overdue. It is called outside every lock. [`min_calls`](Self::min_calls) does not apply to
    /// it, so the rule must itself require a minimum number of calls. If no failure rate is set, a
    /// single failed probe opens the breaker again. A panic in the rule unwinds through the call,
    /// whose outcome has already been counted.
    ///
    /// ```
    /// use mainstay::breaker::CircuitBreaker;
    ///
    /// // Opens at more than 50 failures, or at 10 % of at least 200 calls.
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

    /// Counts a call in flight as slow as soon as it has taken as long as a [slow
    /// call](Self::slow_calls), before it ends. Default: off.
    ///
    /// A dependency that hangs opens the breaker shortly after the threshold, even if the callers'
    /// timeouts are much longer. The rules are evaluated when a call is admitted, at most once per
    /// eighth of the threshold, if calls are overdue. A call becomes overdue up to two eighths of
    /// the threshold late (two milliseconds for thresholds below 8 ms), never early.
    ///
    /// Requires `slow_calls`. Costs two atomic additions per call, to words that all callers share,
    /// and 1.5 KiB of memory.
    #[must_use]
    pub fn track_in_flight(mut self) -> Self {
        self.track_in_flight = true;
        self
    }

    /// Records the latencies of successful calls in a histogram over the same window. Default: off.
    ///
    /// The histogram is read by [`latency`](CircuitBreaker::latency), the snapshot and a
    /// [rule](Self::trip_when). Failed calls are not recorded, because immediate failures would
    /// make the dependency appear fast. Costs two clock readings and an atomic addition per call,
    /// and 8 KiB of memory.
    #[must_use]
    pub fn record_latency(mut self) -> Self {
        self.record_latency = true;
        self
    }

    /// Attaches the breaker to `control`, which sets the mode of many breakers. Default: none.
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

    /// Sets the source of the jitter of [`open_duration`](Self::open_duration). Default:
    /// [`Random::system`].
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

    /// Sets the observer that receives all events of the breaker. Default: none. See
    /// [`CircuitBreakerTransition`](crate::breaker::CircuitBreakerTransition) and [`event`](crate::event).
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

    /// Builds the breaker. It starts closed, or in the mode of its [`control`](Self::control).
    ///
    /// # Errors
    ///
    /// Returns an error that names the first setting out of range, its value and the accepted
    /// range.
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
