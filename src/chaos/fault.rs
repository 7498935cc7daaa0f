//! The faults that a chaos policy injects: [`Fault`].

use crate::error::ConfigError;
use crate::random;
use crate::sync::PlainArc;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A fault, and the calls that it affects: a share of all calls, calls with a share of the keys,
/// and calls in a time window.
///
/// If several faults affect a call, the call is delayed by the sum of their latencies. Of the other
/// faults that affect it, only the one that was added first is then applied.
///
/// ```
/// use mainstay::chaos::Fault;
/// use std::time::Duration;
///
/// // One call in ten takes 200 ms longer.
/// let slow = Fault::latency(Duration::from_millis(200)).probability(0.1);
/// // From the second minute on, 5 % of the tenants receive no response.
/// let dead = Fault::hang().key_share(0.05).starts_after(Duration::from_secs(60));
/// # let _ = (slow, dead);
/// ```
#[derive(Clone)]
#[must_use = "a fault does nothing until it is added to a chaos policy"]
pub struct Fault {
    pub(super) kind: FaultKind,
    pub(super) probability: f64,
    pub(super) key_share: f64,
    /// The window in which the fault is active, as times since the start of a run.
    pub(super) starts: Duration,
    pub(super) ends: Duration,
}

#[derive(Clone, Debug)]
pub(super) enum FaultKind {
    Latency(Latency),
    Hang,
    Panic,
    Error,
    Rejection,
}

/// The distribution of an added latency.
#[derive(Clone)]
pub(super) enum Latency {
    Fixed(Duration),
    Between(Duration, Duration),
    /// The field is the mean.
    Exponential(Duration),
    Quantiles(PlainArc<dyn Fn(f64) -> Duration + Send + Sync>),
}

// The function of the user is called through a shared reference, and a panic in it leaves no state
// inconsistent.
impl UnwindSafe for Fault {}
impl RefUnwindSafe for Fault {}

impl Fault {
    const fn new(kind: FaultKind) -> Self {
        Self { kind, probability: 1.0, key_share: 1.0, starts: Duration::ZERO, ends: Duration::MAX }
    }

    /// Creates a fault that delays a call by `latency`. The operation then runs.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// # use std::time::Duration;
    /// let fault = Fault::latency(Duration::from_millis(200));
    /// ```
    pub const fn latency(latency: Duration) -> Self {
        Self::new(FaultKind::Latency(Latency::Fixed(latency)))
    }

    /// Creates a fault that delays a call by a duration from `min` up to, but not including, `max`,
    /// uniformly distributed; by `min` if `max` is not greater.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// # use std::time::Duration;
    /// let ms = Duration::from_millis;
    /// let fault = Fault::latency_between(ms(100), ms(300));
    /// ```
    pub const fn latency_between(min: Duration, max: Duration) -> Self {
        Self::new(FaultKind::Latency(Latency::Between(min, max)))
    }

    /// Creates a fault that delays a call by an exponentially distributed duration with this mean.
    /// The delay is longer than 4.6 times the mean for one call in a hundred, and never longer than
    /// 37 times the mean.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// # use std::time::Duration;
    /// let fault = Fault::latency_exponential(Duration::from_millis(50));
    /// ```
    pub const fn latency_exponential(mean: Duration) -> Self {
        Self::new(FaultKind::Latency(Latency::Exponential(mean)))
    }

    /// Creates a fault that delays a call by a random duration with the quantile function
    /// `quantile`, such as that of a measured distribution.
    ///
    /// The delay is the result of `quantile` for a uniformly distributed number from 0 up to, but
    /// not including, 1.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// # use std::time::Duration;
    /// // 10 ms, and a pause of a second for one call in a thousand.
    /// let fault = Fault::latency_by(|share| match share < 0.999 {
    ///     true => Duration::from_millis(10),
    ///     false => Duration::from_secs(1),
    /// });
    /// ```
    pub fn latency_by(quantile: impl Fn(f64) -> Duration + Send + Sync + 'static) -> Self {
        Self::new(FaultKind::Latency(Latency::Quantiles(PlainArc::new(quantile))))
    }

    /// Creates a fault that makes a call hang until the fault or the run ends. Then the operation
    /// runs, as a connection continues after a network failure.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// let fault = Fault::hang().probability(0.01);
    /// ```
    pub const fn hang() -> Self {
        Self::new(FaultKind::Hang)
    }

    /// Creates a fault that panics instead of running the operation.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// let fault = Fault::panic().probability(0.01);
    /// ```
    pub const fn panic() -> Self {
        Self::new(FaultKind::Panic)
    }

    /// Creates a fault that returns a result instead of running the operation: an error from the
    /// function given to [`Chaos::errors`](super::Chaos::errors), or any result from the function
    /// given to [`Chaos::results`](super::Chaos::results). Without such a function, the fault
    /// rejects the call as [`rejection`](Self::rejection) does.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// let fault = Fault::error().probability(0.2);
    /// ```
    pub const fn error() -> Self {
        Self::new(FaultKind::Error)
    }

    /// Creates a fault that rejects a call with
    /// [`Reason::Injected`](crate::error::Reason::Injected). A retry does not repeat a rejected
    /// call, and a breaker does not count it.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// let fault = Fault::rejection().probability(0.2);
    /// ```
    pub const fn rejection() -> Self {
        Self::new(FaultKind::Rejection)
    }

    /// Sets the probability with which the fault affects a call, above 0 and at most 1. Default: 1.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// let fault = Fault::error().probability(0.2);
    /// ```
    pub const fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Sets the share of the keys whose calls the fault can affect, above 0 and at most 1. Default:
    /// 1, which includes calls without a key.
    ///
    /// Keys are selected by a hash of the key and the seed. In all faults of one policy, a larger
    /// share contains the keys of every smaller one. With a share below 1, calls without a key are
    /// not affected. The key of a call is that of [`Chaos::key`](super::Chaos::key), or else the
    /// user of its [caller](crate::policy::Caller::with_user).
    ///
    /// ```
    /// # use mainstay::Fault;
    /// let fault = Fault::error().key_share(0.05);
    /// ```
    pub const fn key_share(mut self, share: f64) -> Self {
        self.key_share = share;
        self
    }

    /// Sets the time from the start of a run, or of the step that contains the fault, to the start
    /// of the fault. Default: zero.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// # use std::time::Duration;
    /// let fault = Fault::hang().starts_after(Duration::from_secs(10));
    /// ```
    pub const fn starts_after(mut self, delay: Duration) -> Self {
        // The duration of the fault stays the same.
        self.ends = match self.ends.saturating_sub(self.starts).checked_add(delay) {
            Some(ends) => ends,
            None => Duration::MAX,
        };
        self.starts = delay;
        self
    }

    /// Sets the duration of the fault from its start, longer than zero. Default: until the end of
    /// the run, or of the step that contains the fault.
    ///
    /// ```
    /// # use mainstay::Fault;
    /// # use std::time::Duration;
    /// let seconds = Duration::from_secs;
    /// // From 10 s to 15 s after the start of the run.
    /// let fault = Fault::hang().starts_after(seconds(10)).lasts_for(seconds(5));
    /// ```
    pub const fn lasts_for(mut self, duration: Duration) -> Self {
        self.ends = self.starts.saturating_add(duration);
        self
    }

    /// Moves the window of the fault into the step from `start` to `end`.
    pub(super) fn within(mut self, start: Duration, end: Duration) -> Self {
        self.starts = self.starts.saturating_add(start);
        self.ends = self.ends.saturating_add(start).min(end);
        self
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let accepted = "a share above 0 and at most 1";
        for (field, share) in [("probability", self.probability), ("key_share", self.key_share)] {
            if !(share > 0.0 && share <= 1.0) {
                return Err(ConfigError::new(field, share, accepted));
            }
        }
        match self.ends > self.starts {
            true => Ok(()),
            false => Err(ConfigError::new(
                "lasts_for",
                self.ends.saturating_sub(self.starts),
                "longer than zero, and a start before the end of the step",
            )),
        }
    }

    pub(super) fn is_active(&self, elapsed: Duration) -> bool {
        (self.starts..self.ends).contains(&elapsed)
    }
}

impl Latency {
    /// Returns the latency of the quantile `unit`, from 0 up to, but not including, 1.
    pub(super) fn at(&self, unit: f64) -> Duration {
        match self {
            Self::Fixed(latency) => *latency,
            Self::Between(min, max) => random::scale(*min, *max, unit),
            Self::Exponential(mean) => {
                let seconds = -mean.as_secs_f64() * (1.0 - unit).ln();
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }
            Self::Quantiles(quantile) => quantile(unit),
        }
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(latency) => write!(f, "{latency:?}"),
            Self::Between(min, max) => write!(f, "{min:?} to {max:?}"),
            Self::Exponential(mean) => write!(f, "exponential, mean {mean:?}"),
            Self::Quantiles(_) => f.write_str("by a function"),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fault = f.debug_struct("Fault");
        fault.field("kind", &self.kind).field("probability", &self.probability);
        if self.key_share < 1.0 {
            fault.field("key_share", &self.key_share);
        }
        if self.starts > Duration::ZERO {
            fault.field("starts", &self.starts);
        }
        if self.ends < Duration::MAX {
            fault.field("ends", &self.ends);
        }
        fault.finish()
    }
}
