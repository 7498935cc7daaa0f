//! Delays before another attempt: [`Backoff`], [`Jitter`].
//!
//! A retry uses a backoff for the waits between its attempts. A breaker uses one for the time that
//! it stays open.
//!
//! Jitter spreads callers that failed at the same time. Without it they retry at the same time, and
//! the server that has just recovered receives all of them in the same millisecond. The kinds of
//! jitter are those of Marc Brooker, *Exponential Backoff And Jitter* (AWS Architecture Blog,
//! 2015), who also compares them; full jitter causes the least work in total.
//!
//! # Examples
//!
//! ```
//! use mainstay::backoff::{Backoff, Jitter};
//! use mainstay::random::Random;
//! use std::time::Duration;
//!
//! let initial = Duration::from_millis(100);
//! let backoff = Backoff::exponential(initial).jitter(Jitter::None);
//! let random = Random::system();
//! let mut delays = backoff.delays(&random);
//! assert_eq!(delays.next(), Some(Duration::from_millis(100)));
//! assert_eq!(delays.next(), Some(Duration::from_millis(200)));
//! assert_eq!(delays.next(), Some(Duration::from_millis(400)));
//! ```
//!
//! # Defaults
//!
//! | backoff | `max_delay` | `jitter` |
//! |---|---|---|
//! | [`exponential`](Backoff::exponential), factor 2 | 30 s | full; in a breaker equal |
//! | [`fibonacci`](Backoff::fibonacci) | 30 s | full; in a breaker equal |
//! | [`constant`](Backoff::constant) | none | none |
//! | [`custom`](Backoff::custom) | none | none |

#[cfg(all(test, not(mainstay_loom)))]
mod tests;

use crate::error::ConfigError;
use crate::random::Random;
use crate::sync::PlainArc;
use crate::time::nanos;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// A sequence of delays: its growth, its longest delay and its jitter.
///
/// The builder of the policy that uses the backoff checks its settings.
#[derive(Clone)]
pub struct Backoff {
    formula: Formula,
    custom: Option<Custom>,
    /// Whether the policy that uses the backoff may choose the jitter.
    has_default_jitter: bool,
    /// A factor that was set on a backoff other than exponential.
    unused_factor: Option<f64>,
}

pub(crate) type Custom = PlainArc<dyn Fn(u32) -> Duration + Send + Sync>;

/// The randomization of a delay. `d` is the delay without jitter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Exactly `d`: for tests, and for a single caller.
    None,
    /// Between zero and `d`: the widest spread.
    #[default]
    Full,
    /// Between half of `d` and `d`: never an immediate retry.
    Equal,
    /// Between `d` less and plus this percentage of `d`, from 1 to 100: the average stays `d`.
    Percent(u8),
    /// Between the initial delay (`d` for a custom backoff) and three times the previous delay,
    /// regardless of the growth of `d`.
    Decorrelated,
}

/// The part of a backoff that is plain data, so that it can be replaced while it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Formula {
    growth: Growth,
    jitter: Jitter,
    initial: Duration,
    max_delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Growth {
    Constant,
    Exponential { factor: f64 },
    Fibonacci,
    Custom,
}

// A panic in the user's closure leaves the backoff unchanged.
impl UnwindSafe for Backoff {}
impl RefUnwindSafe for Backoff {}

impl Backoff {
    /// Bounds the time for which a caller does not use a dependency that has recovered.
    const MAX_DELAY: Duration = Duration::from_secs(30);

    const fn new(growth: Growth, initial: Duration) -> Self {
        let formula = Formula { growth, jitter: Jitter::Full, initial, max_delay: Self::MAX_DELAY };
        Self { formula, custom: None, has_default_jitter: true, unused_factor: None }
    }

    /// Creates a backoff that starts at `initial`, which must be above zero, and doubles each time,
    /// up to 30 s.
    ///
    /// ```
    /// use mainstay::{backoff::Backoff, retry::Retry};
    /// use std::time::Duration;
    ///
    /// let backoff = Backoff::exponential(Duration::from_millis(50));
    /// let retry = Retry::builder().backoff(backoff).build()?;
    /// # let _ = retry;
    /// # Ok::<(), mainstay::error::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn exponential(initial: Duration) -> Self {
        Self::new(Growth::Exponential { factor: 2.0 }, initial)
    }

    /// Creates a backoff of `initial`, which must be above zero, times 1, 1, 2, 3, 5, …, up to
    /// 30 s. It grows more slowly than an exponential backoff.
    ///
    /// ```
    /// # use mainstay::backoff::{Backoff, Jitter};
    /// # use mainstay::random::Random;
    /// # use std::time::Duration;
    /// let initial = Duration::from_millis(10);
    /// let backoff = Backoff::fibonacci(initial).jitter(Jitter::None);
    /// let random = Random::system();
    /// let delays: Vec<_> = backoff.delays(&random).take(5).collect();
    /// assert_eq!(delays, [1, 1, 2, 3, 5].map(|n| n * initial));
    /// ```
    #[must_use]
    pub const fn fibonacci(initial: Duration) -> Self {
        Self::new(Growth::Fibonacci, initial)
    }

    /// Creates a backoff that is always `delay`, which may be zero.
    ///
    /// ```
    /// # use mainstay::Backoff;
    /// # use std::time::Duration;
    /// let backoff = Backoff::constant(Duration::from_millis(250));
    /// ```
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self::new(Growth::Constant, delay).jitter(Jitter::None).max_delay(Duration::MAX)
    }

    /// Creates a backoff of `delay(n)` before the `n`th attempt after the first, counted from 1.
    ///
    /// ```
    /// # use mainstay::backoff::Backoff;
    /// # use std::time::Duration;
    /// let backoff = Backoff::custom(|n| Duration::from_millis(10) * n);
    /// # let _ = backoff;
    /// ```
    ///
    /// # Panics
    ///
    /// A panic of `delay` unwinds through the call that waits, and leaves its policy unchanged.
    #[must_use]
    pub fn custom(delay: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        let backoff = Self::new(Growth::Custom, Duration::ZERO);
        let backoff = backoff.jitter(Jitter::None).max_delay(Duration::MAX);
        Self { custom: Some(PlainArc::new(delay)), ..backoff }
    }

    /// Sets the factor by which an exponential delay grows each time, at least 1. Default: 2.
    ///
    /// The builder of a policy rejects a factor on any other kind of backoff.
    ///
    /// ```
    /// # use mainstay::Backoff;
    /// # use std::time::Duration;
    /// let backoff = Backoff::exponential(Duration::from_millis(100)).factor(1.5);
    /// ```
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        match self.formula.growth {
            Growth::Exponential { .. } => self.formula.growth = Growth::Exponential { factor },
            _ => self.unused_factor = Some(factor),
        }
        self
    }

    /// Sets the longest delay. Default: 30 s if delays grow, otherwise none.
    ///
    /// ```
    /// # use mainstay::Backoff;
    /// # use std::time::Duration;
    /// let backoff = Backoff::exponential(Duration::from_millis(100))
    ///     .max_delay(Duration::from_secs(5));
    /// ```
    #[must_use]
    pub const fn max_delay(mut self, max_delay: Duration) -> Self {
        self.formula.max_delay = max_delay;
        self
    }

    /// Sets the jitter. Default: full jitter, which a breaker replaces by equal jitter; none for
    /// constant and custom delays.
    ///
    /// ```
    /// # use mainstay::{Backoff, Jitter};
    /// # use std::time::Duration;
    /// let backoff = Backoff::constant(Duration::from_secs(1)).jitter(Jitter::Equal);
    /// ```
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.formula.jitter = jitter;
        self.has_default_jitter = false;
        self
    }

    /// Sets the jitter, unless it has been set.
    #[must_use]
    pub(crate) const fn default_jitter(self, jitter: Jitter) -> Self {
        if self.has_default_jitter { self.jitter(jitter) } else { self }
    }

    /// Returns an endless iterator over the delays.
    ///
    /// ```
    /// # use mainstay::backoff::Backoff;
    /// # use mainstay::random::Random;
    /// # use std::time::Duration;
    /// let backoff = Backoff::constant(Duration::from_secs(1));
    /// let random = Random::system();
    /// assert_eq!(backoff.delays(&random).nth(99), Some(Duration::from_secs(1)));
    /// ```
    pub fn delays<'a>(&'a self, random: &'a Random) -> impl Iterator<Item = Duration> + 'a {
        let mut previous = Duration::ZERO;
        (1..).map(move |n| {
            previous = self.delay(n, previous, random);
            previous
        })
    }

    /// Returns the `n`th delay, counted from 1. `previous` is the delay before it.
    ///
    /// ```
    /// # use mainstay::backoff::{Backoff, Jitter};
    /// # use mainstay::random::Random;
    /// # use std::time::Duration;
    /// let backoff = Backoff::exponential(Duration::from_secs(1)).jitter(Jitter::None);
    /// let delay = backoff.delay(3, Duration::from_secs(2), &Random::system());
    /// assert_eq!(delay, Duration::from_secs(4));
    /// ```
    #[must_use]
    pub fn delay(&self, n: u32, previous: Duration, random: &Random) -> Duration {
        self.formula.delay(n, previous, random, self.custom.as_ref())
    }

    /// Returns an upper bound of the sum of the first `n` delays, or `None` if it exceeds
    /// [`Duration::MAX`].
    pub(crate) fn max_total(&self, n: u32) -> Option<Duration> {
        /// The number of delays that are added one by one. All later delays are taken to be as
        /// long as the last.
        const ONE_BY_ONE: u32 = 64;

        let Formula { growth, jitter, max_delay, .. } = self.formula;
        if growth == Growth::Custom || jitter == Jitter::Decorrelated {
            return max_delay.checked_mul(n);
        }
        let longest = |d: Duration| match jitter {
            Jitter::Percent(percent) => d.saturating_add(share_of(d, percent)),
            _ => d,
        };
        let delay = |n| longest(self.formula.without_jitter(n, None)).min(max_delay);
        let first =
            (1..=n.min(ONE_BY_ONE)).try_fold(Duration::ZERO, |sum, n| sum.checked_add(delay(n)));
        first?.checked_add(delay(n).checked_mul(n.saturating_sub(ONE_BY_ONE))?)
    }

    pub(crate) fn into_parts(self) -> (Formula, Option<Custom>) {
        (self.formula, self.custom)
    }

    /// Checks the settings, for the builder whose method `field` takes this backoff.
    pub(crate) fn validate(&self, field: &'static str) -> Result<(), ConfigError> {
        let Formula { growth, jitter, initial, max_delay } = self.formula;
        if let Some(factor) = self.unused_factor {
            let accepted = "a factor only for an exponential backoff";
            return Err(ConfigError::new(field, factor, accepted));
        }
        if let Jitter::Percent(percent) = jitter
            && !(1..=100).contains(&percent)
        {
            return Err(ConfigError::new(field, percent, "a jitter of 1 to 100 percent"));
        }
        if let Growth::Exponential { factor } = growth
            && !(factor.is_finite() && factor >= 1.0)
        {
            return Err(ConfigError::new(field, factor, "a factor that is a number of at least 1"));
        }
        if let Growth::Exponential { .. } | Growth::Fibonacci = growth {
            if initial.is_zero() {
                return Err(ConfigError::new(field, initial, "an initial delay above zero"));
            }
            if max_delay.is_zero() {
                return Err(ConfigError::new(field, max_delay, "a longest delay above zero"));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.formula.fmt(f)
    }
}

impl Formula {
    pub(crate) fn delay(
        &self,
        n: u32,
        previous: Duration,
        random: &Random,
        custom: Option<&Custom>,
    ) -> Duration {
        if self.jitter == Jitter::Decorrelated {
            let lower = match self.growth {
                Growth::Custom => self.without_jitter(n, custom),
                _ => self.initial,
            };
            let upper = previous.max(lower).saturating_mul(3);
            return random.between(lower, upper).min(self.max_delay);
        }
        let delay = self.without_jitter(n, custom).min(self.max_delay);
        match self.jitter {
            Jitter::Full => random.between(Duration::ZERO, delay),
            Jitter::Equal => random.between(delay / 2, delay),
            Jitter::Percent(percent) => {
                let share = share_of(delay, percent);
                let highest = delay.saturating_add(share).min(self.max_delay);
                random.between(delay.saturating_sub(share), highest)
            }
            Jitter::None | Jitter::Decorrelated => delay,
        }
    }

    /// Returns the `n`th delay, without jitter and without `max_delay`.
    fn without_jitter(&self, n: u32, custom: Option<&Custom>) -> Duration {
        match self.growth {
            Growth::Constant => self.initial,
            Growth::Exponential { factor } => {
                let steps = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
                let seconds = self.initial.as_secs_f64() * factor.powi(steps);
                // Zero times infinity is not a number; here it means zero.
                Duration::try_from_secs_f64(if seconds.is_nan() { 0.0 } else { seconds })
                    .unwrap_or(Duration::MAX)
            }
            Growth::Fibonacci => {
                let nanos = self.initial.as_nanos().saturating_mul(fibonacci(n));
                if nanos > Duration::MAX.as_nanos() {
                    return Duration::MAX;
                }
                let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
                Duration::new(seconds as u64, nanos as u32)
            }
            Growth::Custom => custom.map_or(Duration::ZERO, |delay| delay(n)),
        }
    }

    /// Encodes the formula in four words, for a policy that keeps it in its live configuration.
    pub(crate) fn to_words(self) -> [u64; 4] {
        let (growth, factor) = match self.growth {
            Growth::Constant => (0, 0.0),
            Growth::Exponential { factor } => (1, factor),
            Growth::Fibonacci => (2, 0.0),
            Growth::Custom => (3, 0.0),
        };
        let jitter = match self.jitter {
            Jitter::None => 0,
            Jitter::Full => 1,
            Jitter::Equal => 2,
            Jitter::Decorrelated => 3,
            Jitter::Percent(percent) => u64::from(percent) << 32 | 4,
        };
        [growth << 8 | jitter, f64::to_bits(factor), nanos(self.initial), nanos(self.max_delay)]
    }

    pub(crate) fn from_words([shape, factor, initial, max_delay]: [u64; 4]) -> Self {
        let growth = match shape >> 8 & 0xff {
            1 => Growth::Exponential { factor: f64::from_bits(factor) },
            2 => Growth::Fibonacci,
            3 => Growth::Custom,
            _ => Growth::Constant,
        };
        let jitter = match shape & 0xff {
            1 => Jitter::Full,
            2 => Jitter::Equal,
            3 => Jitter::Decorrelated,
            4 => Jitter::Percent((shape >> 32) as u8),
            _ => Jitter::None,
        };
        Self {
            growth,
            jitter,
            initial: Duration::from_nanos(initial),
            max_delay: Duration::from_nanos(max_delay),
        }
    }
}

/// Returns `percent` % of `delay`.
fn share_of(delay: Duration, percent: u8) -> Duration {
    (delay / 100).saturating_mul(percent.into())
}

/// Returns the `n`th Fibonacci number, counted from 1, or `u128::MAX` if it does not fit.
fn fibonacci(n: u32) -> u128 {
    /// The index of the last number that fits.
    const LAST: u32 = 186;

    let (mut this, mut next) = (1_u128, 1_u128);
    for _ in 1..n.min(LAST + 1) {
        (this, next) = (next, this.saturating_add(next));
    }
    this
}
