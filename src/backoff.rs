//! How long to wait before trying again: [`Backoff`], [`Jitter`].
//!
//! One formula for everyone who waits between tries: a retry between its attempts, a breaker between
//! its openings.
//!
//! # Why jitter?
//!
//! Callers that failed together would otherwise come back together, and the server that just fell
//! over gets them all in the same millisecond. Jitter spreads them out. The three kinds, and their
//! comparison, are those of Marc Brooker, *Exponential Backoff And Jitter* (AWS Architecture Blog,
//! 2015); full jitter, the default, does the least work in total.

use crate::error::ConfigError;
use crate::random::Random;
use crate::sync::PlainArc;
use crate::time::nanos;
use std::fmt;
use std::time::Duration;

/// A sequence of waits: how it grows, where it is cut off, how it is spread.
///
/// ```
/// use mainstay::backoff::{Backoff, Jitter};
/// use mainstay::random::Random;
/// use std::time::Duration;
///
/// let backoff = Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::None);
/// let random = Random::system();
/// let mut delays = backoff.delays(&random);
/// assert_eq!(delays.next(), Some(Duration::from_millis(100)));
/// assert_eq!(delays.next(), Some(Duration::from_millis(200)));
/// assert_eq!(delays.next(), Some(Duration::from_millis(400)));
/// ```
#[derive(Clone)]
pub struct Backoff {
    formula: Formula,
    custom: Option<Custom>,
    /// Whether jitter was left to whoever waits.
    unspread: bool,
}

pub(crate) type Custom = PlainArc<dyn Fn(u32) -> Duration + Send + Sync>;

/// How a wait is spread; `d` is what the growth says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// Exactly `d`. For tests, and for a single caller.
    None,
    /// Between nothing and `d`. Spreads best.
    #[default]
    Full,
    /// Between half of `d` and `d`: never hammers at once.
    Equal,
    /// Between the initial wait (of a custom backoff: `d`) and three times the wait before, whatever the
    /// growth says.
    Decorrelated,
}

/// What of a backoff is plain data, so that it can be swapped while it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Formula {
    growth: Growth,
    jitter: Jitter,
    initial: Duration,
    cap: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Growth {
    Constant,
    Exponential { factor: f64 },
    Fibonacci,
    Custom,
}

impl Backoff {
    /// No wait grows beyond this unless told: half a minute is as long as a caller may be left in the
    /// dark about a dependency that came back.
    const CAP: Duration = Duration::from_secs(30);

    const fn new(growth: Growth, initial: Duration) -> Self {
        let formula = Formula { growth, jitter: Jitter::Full, initial, cap: Self::CAP };
        Self { formula, custom: None, unspread: true }
    }

    /// `initial`, and each time twice as long, up to 30 s.
    #[must_use]
    pub const fn exponential(initial: Duration) -> Self {
        Self::new(Growth::Exponential { factor: 2.0 }, initial)
    }

    /// `initial` times 1, 1, 2, 3, 5, …, up to 30 s: grows more gently.
    #[must_use]
    pub const fn fibonacci(initial: Duration) -> Self {
        Self::new(Growth::Fibonacci, initial)
    }

    /// Always `wait`, without jitter and without cap: what it says is what you get.
    #[must_use]
    pub const fn constant(wait: Duration) -> Self {
        Self::new(Growth::Constant, wait).jitter(Jitter::None).cap(Duration::MAX)
    }

    /// `wait(n)` before the `n`th try after the first, counted from 1, without jitter and without cap
    /// unless they are asked for.
    ///
    /// A panic of `wait` unwinds through the call that waits, and leaves its policy as it was.
    #[must_use]
    pub fn custom(wait: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        let formula = Formula {
            growth: Growth::Custom,
            jitter: Jitter::None,
            initial: Duration::ZERO,
            cap: Duration::MAX,
        };
        Self { formula, custom: Some(PlainArc::new(wait)), unspread: false }
    }

    /// By how much an exponential wait grows each time: 2 by default. Others take no notice.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        if let Growth::Exponential { .. } = self.formula.growth {
            self.formula.growth = Growth::Exponential { factor };
        }
        self
    }

    /// No wait is longer than `cap`.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.formula.cap = cap;
        self
    }

    /// How waits are spread. Default: as it suits the policy that waits, full jitter for a retry, equal
    /// jitter for a breaker.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.formula.jitter = jitter;
        self.unspread = false;
        self
    }

    /// The same, with `jitter` unless one was asked for.
    #[must_use]
    pub(crate) const fn or_jitter(self, jitter: Jitter) -> Self {
        if self.unspread { self.jitter(jitter) } else { self }
    }

    /// The waits one after the other; endless.
    pub fn delays<'a>(&'a self, random: &'a Random) -> impl Iterator<Item = Duration> + 'a {
        let mut previous = Duration::ZERO;
        (1..).map(move |n| {
            previous = self.delay(n, previous, random);
            previous
        })
    }

    /// The `n`th wait, counted from 1, where the one before it was `previous`.
    #[must_use]
    pub fn delay(&self, n: u32, previous: Duration, random: &Random) -> Duration {
        self.formula.delay(n, previous, random, self.custom.as_ref())
    }

    /// What the first `n` waits come to at most; `None` if they have no bound.
    pub(crate) fn at_most(&self, n: u32) -> Option<Duration> {
        /// So many are added up; of those after them, each is taken for as long as the last.
        const ONE_BY_ONE: u32 = 64;

        let Formula { growth, jitter, cap, .. } = self.formula;
        if growth == Growth::Custom || jitter == Jitter::Decorrelated {
            return cap.checked_mul(n);
        }
        let wait = |n| self.formula.grown(n, None).min(cap);
        let first =
            (1..=n.min(ONE_BY_ONE)).try_fold(Duration::ZERO, |sum, n| sum.checked_add(wait(n)));
        first?.checked_add(wait(n).checked_mul(n.saturating_sub(ONE_BY_ONE))?)
    }

    pub(crate) fn into_parts(self) -> (Formula, Option<Custom>) {
        (self.formula, self.custom)
    }

    /// # Errors
    /// Names the factor, the one thing about a backoff that can be wrong.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match self.formula.growth {
            Growth::Exponential { factor } if !(factor.is_finite() && factor >= 1.0) => {
                Err(ConfigError::new("backoff.factor", factor, "a number of at least 1"))
            }
            _ => Ok(()),
        }
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
                Growth::Custom => self.grown(n, custom),
                _ => self.initial,
            };
            let upper = previous.max(lower).saturating_mul(3);
            return random.between(lower, upper).min(self.cap);
        }
        let grown = self.grown(n, custom).min(self.cap);
        match self.jitter {
            Jitter::Full => random.between(Duration::ZERO, grown),
            Jitter::Equal => random.between(grown / 2, grown),
            Jitter::None | Jitter::Decorrelated => grown,
        }
    }

    fn grown(&self, n: u32, custom: Option<&Custom>) -> Duration {
        match self.growth {
            Growth::Constant => self.initial,
            Growth::Exponential { factor } => {
                let steps = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
                let seconds = self.initial.as_secs_f64() * factor.powi(steps);
                // Zero times infinity is not a number; it means zero here.
                Duration::try_from_secs_f64(if seconds.is_nan() { 0.0 } else { seconds })
                    .unwrap_or(Duration::MAX)
            }
            Growth::Fibonacci => {
                let (mut this, mut next) = (1_u32, 1_u32);
                for _ in 1..n.min(64) {
                    (this, next) = (next, this.saturating_add(next));
                }
                self.initial.saturating_mul(this)
            }
            Growth::Custom => custom.map_or(Duration::ZERO, |wait| wait(n)),
        }
    }

    /// Four words, for a policy that keeps it among its live settings.
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
        };
        [growth << 8 | jitter, f64::to_bits(factor), nanos(self.initial), nanos(self.cap)]
    }

    pub(crate) fn from_words([shape, factor, initial, cap]: [u64; 4]) -> Self {
        let growth = match shape >> 8 {
            1 => Growth::Exponential { factor: f64::from_bits(factor) },
            2 => Growth::Fibonacci,
            3 => Growth::Custom,
            _ => Growth::Constant,
        };
        let jitter = match shape & 0xff {
            1 => Jitter::Full,
            2 => Jitter::Equal,
            3 => Jitter::Decorrelated,
            _ => Jitter::None,
        };
        Self {
            growth,
            jitter,
            initial: Duration::from_nanos(initial),
            cap: Duration::from_nanos(cap),
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn first(backoff: &Backoff, n: usize) -> Vec<u128> {
        backoff.delays(&Random::seeded(1)).take(n).map(|d| d.as_millis()).collect()
    }

    #[test]
    fn waits_come_to_no_more_than_is_said() {
        let forever = Backoff::custom(|_| MS);
        let table = [
            (Backoff::exponential(100 * MS), 3, Some(700 * MS)),
            (Backoff::exponential(100 * MS).cap(250 * MS), 4, Some(800 * MS)),
            (Backoff::exponential(100 * MS), 0, Some(Duration::ZERO)),
            (Backoff::exponential(100 * MS).factor(1.0), 1000, Some(100_000 * MS)),
            (Backoff::exponential(100 * MS).cap(Duration::MAX), 1000, None),
            (Backoff::fibonacci(10 * MS), 4, Some(70 * MS)),
            (Backoff::constant(MS), u32::MAX, Some(u32::MAX * MS)),
            (Backoff::constant(Duration::from_secs(u64::MAX)), 2, None),
            (Backoff::exponential(MS).cap(5 * MS).jitter(Jitter::Decorrelated), 3, Some(15 * MS)),
            (forever.clone(), 2, None),
            (forever.cap(5 * MS), 2, Some(10 * MS)),
        ];
        for (backoff, n, expected) in table {
            assert_eq!(backoff.at_most(n), expected, "{n} of {backoff:?}");
        }
    }

    #[test]
    fn waits_grow_as_their_formula_says() {
        let table: [(Backoff, &[u128]); 5] = [
            (Backoff::exponential(100 * MS), &[100, 200, 400, 800, 1600]),
            (Backoff::exponential(100 * MS).factor(1.5).cap(300 * MS), &[100, 150, 225, 300, 300]),
            (Backoff::fibonacci(10 * MS), &[10, 10, 20, 30, 50, 80]),
            (Backoff::constant(7 * MS), &[7, 7, 7]),
            (Backoff::custom(|n| n * MS), &[1, 2, 3]),
        ];
        for (backoff, expected) in table {
            assert_eq!(first(&backoff.jitter(Jitter::None), expected.len()), expected);
        }
    }

    #[test]
    fn jitter_keeps_to_its_range_and_fills_it() {
        let random = Random::seeded(3);
        let base = Backoff::constant(1000 * MS).cap(2000 * MS);
        for (jitter, low, high) in [
            (Jitter::Full, 0, 1000),
            (Jitter::Equal, 500, 1000),
            (Jitter::Decorrelated, 1000, 2000),
        ] {
            let backoff = base.clone().jitter(jitter);
            let drawn: Vec<_> = backoff.delays(&random).take(2000).map(|d| d.as_millis()).collect();
            let (least, most) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
            assert!(least >= low && most <= high, "{jitter:?}: {least}..{most}");
            assert!(least < low + 50 && most > high - 50, "{jitter:?}: {least}..{most}");
        }
    }

    #[test]
    fn decorrelated_jitter_of_a_custom_wait_starts_from_it() {
        let backoff = Backoff::custom(|n| n * 10 * MS).jitter(Jitter::Decorrelated);
        for (n, wait) in (1..).zip(first(&backoff, 5)) {
            assert!(wait >= n * 10, "{wait}");
        }
    }

    #[test]
    fn extremes_are_defined() {
        let random = Random::seeded(1);
        for backoff in [
            Backoff::exponential(Duration::MAX),
            Backoff::exponential(Duration::ZERO).factor(f64::MAX),
            Backoff::exponential(Duration::ZERO).factor(f64::NAN),
            Backoff::fibonacci(Duration::MAX).cap(Duration::MAX),
            Backoff::constant(Duration::MAX),
        ] {
            for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
                let backoff = backoff.clone().jitter(jitter);
                for n in [0, 1, 2, 100, u32::MAX] {
                    let _ = backoff.delay(n, Duration::MAX, &random);
                }
            }
        }
        for factor in [f64::NAN, f64::INFINITY, 0.5, -1.0] {
            let error = Backoff::exponential(MS).factor(factor).validate().unwrap_err();
            assert_eq!(error.field(), "backoff.factor");
        }
    }

    #[test]
    fn words_give_the_formula_back() {
        for backoff in [
            Backoff::exponential(MS).factor(3.0).jitter(Jitter::Equal),
            Backoff::fibonacci(MS).jitter(Jitter::Decorrelated),
            Backoff::constant(MS).cap(MS),
            Backoff::custom(|_| MS).cap(MS),
        ] {
            let (formula, _) = backoff.into_parts();
            assert_eq!(Formula::from_words(formula.to_words()), formula);
        }
    }
}
