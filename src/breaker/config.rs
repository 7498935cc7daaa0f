use super::core::Core;
use super::manual::{CircuitBreakerControl, Follow};
use super::rule::{Closures, Laws, Rule, TripStats};
pub(super) use super::settings::Settings;
use super::word::{LONGEST_STREAK, MOST_PROBES};
use super::{CircuitBreaker, Family, Listener, Shared, to_observer};
use crate::backoff::{Backoff, Jitter};
use crate::error::ConfigError;
use crate::event::{Observer, Subscribers};
use crate::random::Random;
use crate::sync::{Arc, PlainArc, PlainMutex, intern};
use crate::time::Clock;
use crate::window::Window;
use std::fmt;
use std::time::Duration;

/// Sets up a [`CircuitBreaker`]; see there for what the settings do together.
///
/// Every setting has a default that is fit for service; what is out of range is told by
/// [`build`](Self::build).
#[derive(Clone)]
pub struct CircuitBreakerBuilder {
    name: String,
    window: WindowSize,
    failure_rate: Option<f64>,
    min_calls: Option<u32>,
    slow_calls: Option<(Duration, f64)>,
    slow_min_calls: Option<u32>,
    consecutive_failures: Option<u32>,
    wait: Backoff,
    max_retry_after: Duration,
    probes: u32,
    half_open_calls: u32,
    probe_timeout: Duration,
    ramp_up: Duration,
    rule: Option<Rule>,
    in_flight: bool,
    latency: bool,
    control: Option<CircuitBreakerControl>,
    clock: Clock,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum WindowSize {
    Count(u32),
    Time(Duration, u32),
}

const MINIMUM_CALLS: u32 = 20;

/// A breaker that asks again at once, as full jitter allows, might as well not have opened.
const JITTER: Jitter = Jitter::Equal;

impl Default for CircuitBreakerBuilder {
    fn default() -> Self {
        Self {
            name: "circuit_breaker".into(),
            window: WindowSize::Count(100),
            failure_rate: Some(0.5),
            min_calls: None,
            slow_calls: None,
            slow_min_calls: None,
            consecutive_failures: None,
            wait: Backoff::exponential(Duration::from_secs(5))
                .cap(Duration::from_secs(60))
                .or_jitter(JITTER),
            max_retry_after: Duration::from_secs(3600),
            probes: 3,
            half_open_calls: 5,
            probe_timeout: Duration::from_secs(30),
            ramp_up: Duration::ZERO,
            rule: None,
            in_flight: false,
            latency: false,
            control: None,
            clock: Clock::system(),
            random: Random::system(),
            observer: None,
        }
    }
}

impl CircuitBreakerBuilder {
    /// What rejections and events call this breaker. Default: `circuit_breaker`.
    ///
    /// Names are kept for the life of the process: name dependencies, not requests.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Looks at the last `calls` calls, 1 to 32,768. Default: 100, as resilience4j; a window that needs
    /// no clock.
    ///
    /// With few calls a second, a count window remembers failures of long ago: then take a
    /// [`time_window`](Self::time_window).
    #[must_use]
    pub fn count_window(mut self, calls: u32) -> Self {
        self.window = WindowSize::Count(calls);
        self
    }

    /// Looks at the calls of the last `span`, in steps of `span / buckets`. Ten seconds in ten buckets
    /// (Hystrix) suit a busy service; a longer span one that is called less often, for
    /// [`min_calls`](Self::min_calls) must come together within it.
    #[must_use]
    pub fn time_window(mut self, span: Duration, buckets: u32) -> Self {
        self.window = WindowSize::Time(span, buckets);
        self
    }

    /// Opens when at least this share of the calls in the window failed; `None` never opens for that, and
    /// then failed probes do not keep it open either, unless runs of failures do.
    /// Default: 0.5 (resilience4j, Hystrix): a dependency that fails every other call is of little use.
    #[must_use]
    pub fn failure_rate(mut self, rate: impl Into<Option<f64>>) -> Self {
        self.failure_rate = rate.into();
        self
    }

    /// Judges no rate before so many calls are in the window. Default: 20 (Hystrix), or all that a smaller
    /// count window holds: fewer say little about a rate, and resilience4j's and Polly's 100 leave a quiet
    /// service unprotected.
    #[must_use]
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = Some(calls);
        self
    }

    /// Opens when at least the share `rate` of the calls in the window took `threshold` or longer,
    /// whether they failed or not; `None` takes no time. Default: `None`, for no threshold fits all. It
    /// costs two readings of the clock per call.
    #[must_use]
    pub fn slow_calls(mut self, threshold: Duration, rate: f64) -> Self {
        self.slow_calls = Some((threshold, rate));
        self
    }

    /// A minimum of its own for the rate of slow calls. Default: as [`min_calls`](Self::min_calls).
    #[must_use]
    pub fn slow_min_calls(mut self, calls: u32) -> Self {
        self.slow_min_calls = Some(calls);
        self
    }

    /// Opens when so many calls failed one after the other, whatever the window says; `None` never opens
    /// for that. Default: `None`, for under concurrency a run of failures is also a matter of chance;
    /// it notices a dead dependency soonest.
    #[must_use]
    pub fn consecutive_failures(mut self, calls: impl Into<Option<u32>>) -> Self {
        self.consecutive_failures = calls.into();
        self
    }

    /// How long it stays open: the first wait after the first opening, the second if the trial after
    /// that fails, and so on; from the start when it has closed. Default: 5 s (Hystrix, Polly), doubling
    /// up to 60 s (resilience4j). Unless the backoff says otherwise it has equal jitter: many clients of
    /// one dependency do not return as one, and none returns at once.
    #[must_use]
    pub fn open_duration(mut self, wait: Backoff) -> Self {
        self.wait = wait.or_jitter(JITTER);
        self
    }

    /// Opens for no longer than that, however long a dependency asks to be left alone by
    /// [`Outcome::Unavailable`](crate::outcome::Outcome::Unavailable). Default: an hour, the longest for which
    /// common rate limits turn one away; a server that says more is mistaken more often than it means it, and
    /// nothing but a [`reset`](CircuitBreaker::reset) would end it sooner.
    #[must_use]
    pub fn max_retry_after(mut self, pause: Duration) -> Self {
        self.max_retry_after = pause;
        self
    }

    /// Half-open, so many probes may be under way at once, 1 to 127. Default: 3: a dependency that is
    /// just coming back is not to be pushed over, and one slow probe does not hold up the rest.
    #[must_use]
    pub fn half_open_concurrency(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// Half-open, decides after so many outcomes, 1 to 127, by the same rates as a closed breaker; and
    /// sooner if those to come cannot change the verdict. Default: 5, of which three decide when they
    /// agree.
    #[must_use]
    pub fn half_open_calls(mut self, calls: u32) -> Self {
        self.half_open_calls = calls;
        self
    }

    /// Half-open, probes that have not come back by then are given up and count as failed. Default:
    /// 30 s, a common time limit of clients. Should be longer than the time limit of your calls.
    #[must_use]
    pub fn probe_timeout(mut self, lease: Duration) -> Self {
        self.probe_timeout = lease;
        self
    }

    /// After a trial that went well, admits a share of the calls that grows from a tenth to all of them within
    /// `length`, rather than everything at once: caches are cold and pools are empty on the other side. Which
    /// calls those are is not left to chance: of any few, about the share. Until the ramp is over the breaker
    /// has not closed for good, and waits longer if it opens again. Default: zero, no ramp, for a dependency
    /// that needs one is the exception, and each rejection costs a caller.
    #[must_use]
    pub fn ramp_up_duration(mut self, length: Duration) -> Self {
        self.ramp_up = length;
        self
    }

    /// Opens when `rule` says so, besides its other rules; `None` for no rule. It is asked after each failed
    /// or slow call, outside every lock, and has to mind for itself how many calls are enough. If no rate is
    /// set, a single failed probe opens the breaker again. If it panics, that unwinds through the call, which
    /// has been counted. Default: `None`.
    ///
    /// ```
    /// use mainstay::breaker::{CircuitBreaker, TripStats};
    ///
    /// // More than fifty failures, whatever else happens; or a tenth of many calls.
    /// let breaker = CircuitBreaker::builder()
    ///     .count_window(1000)
    ///     .failure_rate(None)
    ///     .trip_when(|figures: &TripStats| {
    ///         let counts = figures.counts;
    ///         counts.failed > 50 || counts.total >= 200 && counts.failure_rate() >= 0.1
    ///     })
    ///     .build()?;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn trip_when(mut self, rule: impl Fn(&TripStats) -> bool + Send + Sync + 'static) -> Self {
        self.rule = Some(PlainArc::new(rule));
        self
    }

    /// Counts calls under way that have taken as long as a [slow call](Self::slow_calls) as slow ones, before
    /// they come back: so a dependency that hangs trips the breaker within little more than the threshold,
    /// however long callers are willing to wait. Looked at when a call comes in, once an eighth of the
    /// threshold; a call counts at most two eighths too late (with thresholds below 8 ms, two milliseconds),
    /// never too early. Needs `slow_calls`. Default: off; it costs two atomic additions a call, to words that
    /// all callers share, and 1.5 KiB.
    #[must_use]
    pub fn track_in_flight(mut self) -> Self {
        self.in_flight = true;
        self
    }

    /// Keeps a histogram of how long successful calls took, over the same window: for
    /// [`record_latency`](CircuitBreaker::latency), the snapshot, and a [rule](Self::trip_when). Failed calls stay
    /// out, for those that fail at once would say that all is quick. Default: off; it costs two readings of the
    /// clock and an atomic addition a call, and 8 KiB.
    #[must_use]
    pub fn record_latency(mut self) -> Self {
        self.latency = true;
        self
    }

    /// Follows `control`, which says who decides. Default: nobody's.
    #[must_use]
    pub fn control(mut self, control: &CircuitBreakerControl) -> Self {
        self.control = Some(control.clone());
        self
    }

    /// Whose time it goes by. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Where the jitter of [`open_duration`](Self::open_duration) comes from. Default: the system's.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Who hears of transitions; see [`Transition`](super::Transition) and [`event`](crate::event).
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Makes the breaker, closed.
    ///
    /// # Errors
    /// Names the first setting that is out of range, its value, and what is accepted.
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        let (settings, window) = (self.settings()?, self.window(false)?);
        let laws = Arc::new(self.laws(&settings));
        let family = PlainArc::new(self.family());
        let core = Core::new(window, &settings, family.control.mode(), laws);
        let shared = PlainArc::new(Shared { core, family, subject: None });
        let follower: PlainArc<dyn Follow> = shared.clone();
        shared.family.control.enlist(&follower);
        Ok(CircuitBreaker::from_shared(shared))
    }

    /// `many`: one of very many.
    pub(super) fn window(&self, many: bool) -> Result<Window, ConfigError> {
        let window = match self.window {
            WindowSize::Count(calls) if many => Window::sparse_count_window(calls),
            WindowSize::Count(calls) => Window::count_window(calls),
            WindowSize::Time(span, buckets) => Window::time_window(span, buckets),
        }?;
        Ok(if self.latency { window.with_latency() } else { window })
    }

    pub(super) fn laws(&self, settings: &Settings) -> Laws {
        Laws::new(settings, self.closures(), self.random.clone())
    }

    pub(super) fn family(self) -> Family {
        let name = intern(&self.name);
        let listener = self
            .observer
            .clone()
            .map(|observer| PlainArc::new(to_observer(name, observer)) as Listener);
        Family {
            name,
            clock: self.clock.clone(),
            listeners: PlainArc::new(Subscribers::new(listener)),
            control: self.control.clone().unwrap_or_default(),
            idle_timeout: Duration::MAX,
            config: PlainMutex::new(self),
        }
    }

    pub(super) fn closures(&self) -> Closures {
        Closures { wait: self.wait.clone().into_parts().1, rule: self.rule.clone() }
    }

    /// How many failures in a row open it at the soonest.
    pub(super) fn trips_after(&self) -> Option<u32> {
        let Settings { failure_rate, min_calls, failures_in_a_row, .. } = self.settings().ok()?;
        let by_rate = if failure_rate.is_finite() { min_calls } else { u32::MAX };
        Some(by_rate.min(failures_in_a_row)).filter(|calls| *calls < u32::MAX)
    }

    /// # Errors
    /// A setting is out of range.
    pub(super) fn settings(&self) -> Result<Settings, ConfigError> {
        let min_calls = self.min_calls.unwrap_or(match self.window {
            WindowSize::Count(size) => MINIMUM_CALLS.min(size),
            WindowSize::Time(..) => MINIMUM_CALLS,
        });
        let slow_min_calls = self.slow_min_calls.unwrap_or(min_calls);
        let rate = |field, rate: f64| match rate > 0.0 && rate <= 1.0 {
            true => Ok(()),
            false => Err(ConfigError::new(field, rate, "a share above 0 and at most 1")),
        };
        let within = |field, value: u32, most: u32, accepted| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(ConfigError::new(field, value, accepted)),
        };
        let minimum = |field, calls: u32| match self.window {
            WindowSize::Count(size) if calls > size => {
                Err(ConfigError::new(field, calls, "at most as many calls as the window holds"))
            }
            _ => within(field, calls, u32::MAX, "at least 1 call"),
        };
        if let Some(share) = self.failure_rate {
            rate("failure_rate", share)?;
            minimum("min_calls", min_calls)?;
        }
        if let Some((threshold, share)) = self.slow_calls {
            rate("slow_calls", share)?;
            if threshold.is_zero() {
                return Err(ConfigError::new(
                    "slow_calls",
                    threshold,
                    "a threshold longer than nothing",
                ));
            }
            minimum("slow_min_calls", slow_min_calls)?;
        }
        if let Some(calls) = self.consecutive_failures {
            within("consecutive_failures", calls, LONGEST_STREAK, "1 to 268435455 calls")?;
        }
        let no_rate = (self.failure_rate, self.slow_calls) == (None, None);
        if no_rate && self.consecutive_failures.is_none() && self.rule.is_none() {
            let accepted =
                "at least one of failure_rate, slow_calls, consecutive_failures, trip_when";
            return Err(ConfigError::new("failure_rate", self.failure_rate, accepted));
        }
        if self.in_flight && self.slow_calls.is_none() {
            return Err(ConfigError::new(
                "track_in_flight",
                true,
                "only with slow_calls, whose threshold it needs",
            ));
        }
        self.wait.validate()?;
        if self.max_retry_after.is_zero() {
            return Err(ConfigError::new(
                "max_retry_after",
                self.max_retry_after,
                "longer than nothing",
            ));
        }
        within("half_open_concurrency", self.probes, MOST_PROBES, "1 to 127 probes")?;
        within("half_open_calls", self.half_open_calls, MOST_PROBES, "1 to 127 calls")?;
        if self.probe_timeout.is_zero() {
            return Err(ConfigError::new(
                "probe_timeout",
                self.probe_timeout,
                "longer than nothing",
            ));
        }
        let (slow_after, slow_rate) = self.slow_calls.unwrap_or((Duration::MAX, f64::INFINITY));
        Ok(Settings {
            failure_rate: self.failure_rate.unwrap_or(f64::INFINITY),
            min_calls,
            slow_rate,
            slow_min_calls,
            slow_after,
            failures_in_a_row: self.consecutive_failures.unwrap_or(u32::MAX),
            probes: self.probes,
            half_open_calls: self.half_open_calls,
            probe_timeout: self.probe_timeout,
            wait: self.wait.clone().into_parts().0,
            max_retry_after: self.max_retry_after,
            ramp_up: self.ramp_up,
            has_rule: self.rule.is_some(),
            in_flight: self.in_flight,
            latency: self.latency,
        })
    }

    /// What a breaker that was built by `self` becomes by `new`: what is fixed at build must be equal.
    ///
    /// # Errors
    /// Names the setting that cannot be changed.
    pub(super) fn reconfigured(&self, new: &Self) -> Result<Settings, ConfigError> {
        if self.window != new.window {
            return Err(ConfigError::new("window", new.window, "the window it was built with"));
        }
        if self.name != new.name {
            return Err(ConfigError::new("name", &new.name, "the name it was built with"));
        }
        if (self.in_flight, self.latency) != (new.in_flight, new.latency) {
            let (field, value) = match self.latency == new.latency {
                true => ("track_in_flight", new.in_flight),
                false => ("record_latency", new.latency),
            };
            return Err(ConfigError::new(field, value, "what it was built with"));
        }
        if self.clock.id() != new.clock.id() {
            return Err(ConfigError::new("clock", "another clock", "the clock it was built with"));
        }
        new.settings()
    }
}

impl fmt::Debug for CircuitBreakerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder")
            .field("name", &self.name)
            .field("window", &self.window)
            .field("failure_rate", &self.failure_rate)
            .field("min_calls", &self.min_calls)
            .field("slow_calls", &self.slow_calls)
            .field("slow_min_calls", &self.slow_min_calls)
            .field("consecutive_failures", &self.consecutive_failures)
            .field("open_duration", &self.wait)
            .field("max_retry_after", &self.max_retry_after)
            .field("half_open_concurrency", &self.probes)
            .field("half_open_calls", &self.half_open_calls)
            .field("probe_timeout", &self.probe_timeout)
            .field("ramp_up_duration", &self.ramp_up)
            .field("trip_when", &self.rule.is_some())
            .field("track_in_flight", &self.in_flight)
            .field("record_latency", &self.latency)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    /// Defaults stand in `CircuitBreakerBuilder::default` alone; the table in the documentation is held against them.
    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let CircuitBreakerBuilder {
            window,
            failure_rate,
            slow_calls,
            consecutive_failures,
            wait,
            ..
        } = CircuitBreakerBuilder::default();
        let CircuitBreakerBuilder { probes, half_open_calls, probe_timeout, ramp_up, .. } =
            CircuitBreakerBuilder::default();
        let CircuitBreakerBuilder { rule, in_flight, latency, max_retry_after, .. } =
            CircuitBreakerBuilder::default();
        let WindowSize::Count(calls) = window else { panic!("{window:?}") };
        assert_eq!((slow_calls, consecutive_failures), (None, None));
        let expected =
            Backoff::exponential(5 * Duration::from_secs(1)).cap(Duration::from_secs(60));
        assert_eq!(wait.into_parts().0, expected.jitter(Jitter::Equal).into_parts().0);
        let rows = [
            ("count_window", format!("{calls} calls")),
            ("failure_rate", format!("{}", failure_rate.unwrap())),
            (
                "min_calls",
                CircuitBreakerBuilder::default().settings().unwrap().min_calls.to_string(),
            ),
            ("slow_calls", "none".into()),
            ("consecutive_failures", "none".into()),
            ("open_duration", "5 s, doubling up to 60 s, equal jitter".into()),
            ("max_retry_after", format!("{} s", max_retry_after.as_secs())),
            ("half_open_concurrency", probes.to_string()),
            ("half_open_calls", half_open_calls.to_string()),
            ("probe_timeout", format!("{} s", probe_timeout.as_secs())),
            ("ramp_up_duration", if ramp_up.is_zero() { "none" } else { "some" }.into()),
            ("trip_when", if rule.is_none() { "none" } else { "some" }.into()),
            ("track_in_flight", if in_flight { "on" } else { "off" }.into()),
            ("record_latency", if latency { "on" } else { "off" }.into()),
        ];
        for (setting, default) in rows {
            let row =
                format!("//! | [`{setting}`](CircuitBreakerBuilder::{setting}) | {default} |");
            assert!(include_str!("mod.rs").contains(&row), "{row}");
        }
    }
}
