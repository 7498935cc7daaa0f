//! What is wrong with a stack, as far as the policies' facts visit.

use crate::policy::{Facts, RepeatSafety};
use std::fmt;
use std::time::Duration;

/// Two policies that do not go together, or one that is not fit for its place; found by
/// [`Pipeline::check`](super::Pipeline::check).
///
/// It displays as the name of its rule and a sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lint {
    /// What is broken.
    pub rule: LintRule,
    /// The policy at fault; of two, the outer.
    pub outer: Facts,
    /// The inner of two.
    pub inner: Option<Facts>,
    /// How long what is at fault may take, where the rule is about time.
    pub takes: Option<Duration>,
}

/// What a [`Lint`] is about. Names do not change from release to release; there may come more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintRule {
    /// `attempt-outlives-call`: a timeout within a shorter one. It never ends anything.
    AttemptOutlivesCall,
    /// `equal-timeouts`: a timeout within one of the same length. The outer began earlier, so the inner
    /// never ends anything, and what stands between sees no timeout.
    EqualTimeouts,
    /// `attempts-exceed-call`: all attempts and waits come to more than the timeout around them. The last
    /// attempts are cut short or are never made.
    AttemptsExceedCall,
    /// `unlimited-attempt`: a timeout around a retry, and none around its attempts. One attempt that hangs
    /// takes all the time, and there is no second.
    UnlimitedAttempt,
    /// `retries-multiply`: a retry within a retry. Three attempts of three are nine.
    RetriesMultiply,
    /// `blind-retry`: it repeats whatever failed, and nobody has said that this is safe.
    BlindRetry,
    /// `retry-inside-breaker`: the breaker sees a call only after its last attempt. It opens late, and
    /// does not stop the attempts of a call that it has let in.
    RetryInsideBreaker,
    /// `one-call-trips`: a retry around a breaker makes enough attempts to open it with a single call.
    OneCallTrips,
    /// `unseen-timeout`: a timeout around a breaker, and none within. Calls that hang are dropped from
    /// outside, so the breaker never hears of them, unless it watches calls under way.
    UnseenTimeout,
    /// `short-window`: a window shorter than the time that what it counts may take. Of a dependency that
    /// hangs, it forgets one timeout before the next can come in.
    ShortWindow,
    /// `same-twice`: one policy in two places, or two that were given one name. Each call is counted or
    /// charged twice, or nobody can visit by whom.
    SameTwice,
}

impl LintRule {
    /// Its name: what a log line, or a list of rules to be passed over, calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptOutlivesCall => "attempt-outlives-call",
            Self::EqualTimeouts => "equal-timeouts",
            Self::AttemptsExceedCall => "attempts-exceed-call",
            Self::UnlimitedAttempt => "unlimited-attempt",
            Self::RetriesMultiply => "retries-multiply",
            Self::BlindRetry => "blind-retry",
            Self::RetryInsideBreaker => "retry-inside-breaker",
            Self::OneCallTrips => "one-call-trips",
            Self::UnseenTimeout => "unseen-timeout",
            Self::ShortWindow => "short-window",
            Self::SameTwice => "same-twice",
        }
    }
}

impl fmt::Display for LintRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All that is wrong with `stack`, outermost policy first.
pub(super) fn check(stack: &[Facts]) -> Vec<Lint> {
    let mut lints = Vec::new();
    for (at, &policy) in stack.iter().enumerate() {
        let place = Place { policy, above: &stack[..at], below: &stack[at + 1..] };
        lints.extend(place.limit());
        lints.extend(place.repeat());
        lints.extend(place.breaker());
        lints.extend(place.twice());
    }
    lints
}

/// A policy, and what stands around it.
struct Place<'a> {
    policy: Facts,
    above: &'a [Facts],
    below: &'a [Facts],
}

impl Place<'_> {
    fn limit(&self) -> Option<Lint> {
        let (limit, around) = (self.policy.timeout?, self.limit_around()?);
        let rule = match limit.cmp(&around.timeout?) {
            std::cmp::Ordering::Less => return None,
            std::cmp::Ordering::Equal => LintRule::EqualTimeouts,
            std::cmp::Ordering::Greater => LintRule::AttemptOutlivesCall,
        };
        Some(Lint { inner: Some(self.policy), ..Lint::new(rule, around) })
    }

    fn repeat(&self) -> Vec<Lint> {
        let mut lints = Vec::new();
        if !repeats(&self.policy) {
            return lints;
        }
        let own = self.policy;
        if let Some(around) = self.limit_around() {
            let limit = around.timeout;
            let below = longest(self.below);
            let lint = |rule| Lint { inner: Some(own), ..Lint::new(rule, around) };
            match (below, longest_of(&own, below)) {
                (None, _) => lints.push(lint(LintRule::UnlimitedAttempt)),
                // Else the attempt alone takes too long, which is another rule's affair.
                (Some(_), takes)
                    if below < limit && takes.is_none_or(|takes| Some(takes) > limit) =>
                {
                    lints.push(Lint { takes, ..lint(LintRule::AttemptsExceedCall) });
                }
                _ => {}
            }
        }
        if let Some(outer) = self.above.iter().rfind(|above| repeats(above)) {
            lints.push(Lint { inner: Some(own), ..Lint::new(LintRule::RetriesMultiply, *outer) });
        }
        if own.repeat_safety == Some(RepeatSafety::Unknown) {
            lints.push(Lint::new(LintRule::BlindRetry, own));
        }
        let soon =
            |below: &&Facts| below.trips_after.is_some_and(|calls| own.max_attempts >= Some(calls));
        if let Some(breaker) = self.below.iter().find(soon) {
            lints.push(Lint { inner: Some(*breaker), ..Lint::new(LintRule::OneCallTrips, own) });
        }
        lints
    }

    fn breaker(&self) -> Vec<Lint> {
        let mut lints = Vec::new();
        let own = self.policy;
        let within = |rule, inner: &Facts| Lint { inner: Some(*inner), ..Lint::new(rule, own) };
        if own.records_outcomes {
            lints.extend(
                self.below
                    .iter()
                    .find(|below| repeats(below))
                    .map(|retry| within(LintRule::RetryInsideBreaker, retry)),
            );
            if let Some(around) = self.limit_around()
                && longest(self.below).is_none()
                && !own.detects_hangs
            {
                lints.push(Lint { inner: Some(own), ..Lint::new(LintRule::UnseenTimeout, around) });
            }
        }
        if let Some(limit) = self.below.iter().find(|below| below.timeout.is_some())
            && own.window.is_some_and(|window| longest(self.below) > Some(window))
        {
            lints.push(Lint { takes: longest(self.below), ..within(LintRule::ShortWindow, limit) });
        }
        lints
    }

    fn twice(&self) -> Option<Lint> {
        let own = self.policy;
        // Two of one name cannot be told apart, unless nobody has given them that name.
        let same = |above: &&Facts| {
            (above.policy, above.name) == (own.policy, own.name)
                && (above.identity == own.identity || own.name != own.policy)
        };
        // Two timeouts, and two retries, are looked at by rules of their own.
        let counts = own.timeout.is_none() && own.max_attempts.is_none();
        let outer = self.above.iter().rfind(same).filter(|_| counts)?;
        Some(Lint { inner: Some(own), ..Lint::new(LintRule::SameTwice, *outer) })
    }

    /// The shortest time limit above.
    fn limit_around(&self) -> Option<Facts> {
        self.above
            .iter()
            .filter(|above| above.timeout.is_some())
            .min_by_key(|above| above.timeout)
            .copied()
    }
}

fn repeats(facts: &Facts) -> bool {
    facts.max_attempts.is_some_and(|attempts| attempts > 1)
}

/// How long `stack` takes at most, waits for admission left out; `None` if nothing limits it.
fn longest(stack: &[Facts]) -> Option<Duration> {
    let (outermost, below) = stack.split_first()?;
    longest_of(outermost, longest(below))
}

/// The same of `policy` alone, where what stands below takes `below`.
fn longest_of(policy: &Facts, below: Option<Duration>) -> Option<Duration> {
    if let Some(limit) = policy.timeout {
        return Some(below.map_or(limit, |below| below.min(limit)));
    }
    let Some(attempts) = policy.max_attempts else { return below };
    let by_count = || below?.checked_mul(attempts)?.checked_add(policy.max_wait?);
    let by_time = || below?.checked_add(policy.max_elapsed?);
    by_count().into_iter().chain(by_time()).min()
}

impl Lint {
    const fn new(rule: LintRule, outer: Facts) -> Self {
        Self { rule, outer, inner: None, takes: None }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (outer, inner) = (Who(self.outer), Who(self.inner.unwrap_or(self.outer)));
        let limit = |who: &Who| Or(who.0.timeout, "no time");
        let attempts = |who: &Who| who.0.max_attempts.unwrap_or(1);
        let takes = Or(self.takes, "any time");
        write!(f, "{}: ", self.rule)?;
        match self.rule {
            LintRule::AttemptOutlivesCall => {
                write!(f, "{inner} gives {} inside {outer}, which gives ", limit(&inner))?;
                write!(f, "{}: the inner one never ends anything", limit(&outer))
            }
            LintRule::EqualTimeouts => {
                write!(
                    f,
                    "{inner} gives {} inside {outer}, which gives as much and ",
                    limit(&inner)
                )?;
                f.write_str("began earlier: the inner one never ends anything")
            }
            LintRule::AttemptsExceedCall => {
                write!(f, "{inner} makes {} attempts that may take {takes} ", attempts(&inner))?;
                write!(
                    f,
                    "with their waits, but {outer} gives {}: the last are cut short",
                    limit(&outer)
                )
            }
            LintRule::UnlimitedAttempt => {
                write!(f, "one attempt of {inner} may take all of the {} that ", limit(&outer))?;
                write!(f, "{outer} gives: put a shorter timeout below the {}", inner.0.policy)
            }
            LintRule::RetriesMultiply => {
                let all = u64::from(attempts(&outer)) * u64::from(attempts(&inner));
                write!(f, "{outer} around {inner} makes {all} attempts: keep one of them")
            }
            LintRule::BlindRetry => {
                write!(
                    f,
                    "{outer} repeats whatever failed, also what may have been done: say that "
                )?;
                f.write_str("the operation is idempotent, or pick what is repeated")
            }
            LintRule::RetryInsideBreaker => {
                write!(
                    f,
                    "{outer} counts a call once, after all {} attempts of ",
                    attempts(&inner)
                )?;
                write!(f, "{inner}, and stops none of them: put it below the {}", inner.0.policy)
            }
            LintRule::OneCallTrips => {
                write!(
                    f,
                    "the {} attempts of one call by {outer} are enough to ",
                    attempts(&outer)
                )?;
                write!(f, "open {inner}: let it count more calls, or make fewer attempts")
            }
            LintRule::UnseenTimeout => {
                write!(f, "{inner} does not see what {outer} ends after {}: a ", limit(&outer))?;
                write!(
                    f,
                    "dependency that hangs never opens it; put a timeout below the {}",
                    inner.0.policy
                )
            }
            LintRule::ShortWindow => {
                write!(
                    f,
                    "{outer} looks back {}, but what it counts ",
                    Or(self.outer.window, "at nothing")
                )?;
                write!(f, "may take {takes}: it forgets the timeouts of {inner} as they come in")
            }
            LintRule::SameTwice => {
                write!(f, "{outer} stands in two places, and takes each call for two")
            }
        }
    }
}

/// A policy by its kind, and by its name if it was given one.
struct Who(Facts);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.name == self.0.policy {
            true => f.write_str(self.0.policy),
            false => write!(f, "{} {:?}", self.0.policy, self.0.name),
        }
    }
}

/// A time, or what to say where there is none.
struct Or(Option<Duration>, &'static str);

impl fmt::Display for Or {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "{time:?}"),
            None => f.write_str(self.1),
        }
    }
}

impl fmt::Debug for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
