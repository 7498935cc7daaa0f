//! What a policy states about itself: [`Facts`].

use std::fmt;
use std::time::Duration;

/// What a policy states about itself. [`Pipeline::check`](crate::pipeline::Pipeline::check) reads the
/// facts of all policies in a stack.
///
/// A policy sets what applies to it and leaves the rest:
///
/// ```
/// use mainstay::policy::{Facts, RepeatSafety};
/// use std::time::Duration;
///
/// let facts = Facts::new("retry", "search")
///     .max_attempts(3)
///     .max_wait(Duration::from_secs(1))
///     .repeat_safety(RepeatSafety::Idempotent);
/// assert_eq!(facts.max_attempts, Some(3));
/// assert_eq!(facts.timeout, None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The type of policy, such as `circuit_breaker`.
    pub policy: &'static str,
    /// The name of this policy. It equals `policy` if the user gave no name.
    pub name: &'static str,
    /// The time limit for everything below the policy.
    pub timeout: Option<Duration>,
    /// The largest number of times that the policy runs what is below it.
    pub max_attempts: Option<u32>,
    /// The longest that the policy waits between attempts, in total. `None` if unbounded.
    pub max_wait: Option<Duration>,
    /// The longest time from the first attempt to the start of the last.
    pub max_elapsed: Option<Duration>,
    /// Why a further attempt is safe, for a policy that makes any.
    pub repeat_safety: Option<RepeatSafety>,
    /// The length of the time window over which the policy counts.
    pub window: Option<Duration>,
    /// The smallest number of consecutive failures after which the policy rejects calls.
    pub trips_after: Option<u32>,
    /// Whether the policy records how the operations below it end.
    pub records_outcomes: bool,
    /// Whether the policy detects operations that never end.
    pub detects_hangs: bool,
    /// A number shared by the clones of one policy and by no other policy, or 0 if unknown. It differs
    /// from run to run.
    pub identity: usize,
}

/// Why it is safe for a policy to run an operation again. A failed attempt may have done its work
/// already; after a timeout this cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RepeatSafety {
    /// Unknown: the policy repeats every failure by default.
    Unknown,
    /// A rule written by the user selects the results after which the operation is repeated.
    ByRule,
    /// The user has declared the operation idempotent.
    Idempotent,
}

impl Facts {
    /// Creates the facts of a policy of type `policy` with the name `name`, and nothing else known.
    ///
    /// [`policy::name`](super::name()) turns a name from configuration into a `&'static str`.
    #[must_use]
    pub const fn new(policy: &'static str, name: &'static str) -> Self {
        Self {
            policy,
            name,
            timeout: None,
            max_attempts: None,
            max_wait: None,
            max_elapsed: None,
            repeat_safety: None,
            window: None,
            trips_after: None,
            records_outcomes: false,
            detects_hangs: false,
            identity: 0,
        }
    }

    /// Sets the time limit for everything below the policy.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the largest number of times that the policy runs what is below it.
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets the longest that the policy waits between attempts, in total.
    #[must_use]
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets the longest time from the first attempt to the start of the last.
    #[must_use]
    pub const fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = Some(elapsed);
        self
    }

    /// Sets why a further attempt is safe.
    #[must_use]
    pub const fn repeat_safety(mut self, safety: RepeatSafety) -> Self {
        self.repeat_safety = Some(safety);
        self
    }

    /// Sets the length of the time window over which the policy counts.
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// Sets the smallest number of consecutive failures after which the policy rejects calls.
    #[must_use]
    pub const fn trips_after(mut self, failures: u32) -> Self {
        self.trips_after = Some(failures);
        self
    }

    /// States that the policy records how the operations below it end.
    #[must_use]
    pub const fn records_outcomes(mut self) -> Self {
        self.records_outcomes = true;
        self
    }

    /// States that the policy detects operations that never end.
    #[must_use]
    pub const fn detects_hangs(mut self) -> Self {
        self.detects_hangs = true;
        self
    }

    /// Sets the number that the clones of this policy share, such as the address of their state.
    #[must_use]
    pub const fn identity(mut self, identity: usize) -> Self {
        self.identity = identity;
        self
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.policy)?;
        if self.name != self.policy {
            write!(f, " {:?}", self.name)?;
        }
        let durations =
            [("limit", self.timeout), ("max_wait", self.max_wait), ("window", self.window)];
        for (name, duration) in durations {
            if let Some(duration) = duration {
                write!(f, " {name}={duration:?}")?;
            }
        }
        self.max_attempts.map_or(Ok(()), |attempts| write!(f, " max_attempts={attempts}"))
    }
}
