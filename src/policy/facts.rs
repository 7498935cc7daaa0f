//! The static description of a policy: [`Facts`].

use std::fmt;
use std::time::Duration;

/// The static description of a policy. [`Pipeline::check`](crate::pipeline::Pipeline::check) reads
/// the facts of all policies in a stack.
///
/// A policy sets the facts that apply to it and leaves the others at their defaults:
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
    /// The name of this policy. It equals `policy` if the user set no name.
    pub name: &'static str,
    /// The time limit of the operation and of all policies below this one.
    pub timeout: Option<Duration>,
    /// The maximum number of times that the policy runs the operation.
    pub max_attempts: Option<u32>,
    /// The maximum total time that the policy waits between attempts. `None` if it is unbounded.
    pub max_wait: Option<Duration>,
    /// The maximum time from the start of the first attempt to the start of the last.
    pub max_elapsed: Option<Duration>,
    /// Why a repeated attempt is safe. `None` for a policy that makes only one attempt.
    pub repeat_safety: Option<RepeatSafety>,
    /// The length of the time window over which the policy counts calls.
    pub window: Option<Duration>,
    /// The minimum number of consecutive failures after which the policy rejects calls.
    pub trips_after: Option<u32>,
    /// Whether the policy records the outcomes of operations.
    pub records_outcomes: bool,
    /// Whether the policy detects operations that never complete.
    pub detects_hangs: bool,
    /// Whether the policy rejects calls to limit their rate, or sheds them under overload.
    pub limits_load: bool,
    /// Whether the policy replaces every error with a value.
    pub replaces_errors: bool,
    /// Whether the attempts of the policy run at the same time, not one after another.
    pub has_concurrent_attempts: bool,
    /// Whether a [budget](crate::budget) bounds the repeated attempts of the policy.
    pub has_budget: bool,
    /// Whether the policy limits how many calls run at the same time, and so holds a permit while
    /// everything below it runs.
    pub limits_concurrency: bool,
    /// Whether the policy adapts its limit to what it measures below it.
    pub adapts_limit: bool,
    /// Whether the policy injects faults, as if the dependency failed.
    pub injects_faults: bool,
    /// The maximum time that a call waits in the policy's queue. `None` if it has no queue.
    pub max_queue_wait: Option<Duration>,
    /// A number that identifies the policy: all clones share it, and no other policy has it. 0 if
    /// unknown. The number is not stable between runs of the program.
    pub identity: usize,
}

/// The reason why a policy may safely run an operation again. A failed attempt may have taken
/// effect; after a timeout, the caller cannot determine whether it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RepeatSafety {
    /// Unknown: the policy repeats the operation after every failure by default.
    Unknown,
    /// A rule written by the user selects the results after which the operation is repeated.
    ByRule,
    /// The user has declared the operation idempotent.
    Idempotent,
}

impl Facts {
    /// Creates the facts of a policy of type `policy` with the name `name`. All other facts are
    /// unset.
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
            limits_load: false,
            replaces_errors: false,
            has_concurrent_attempts: false,
            has_budget: false,
            limits_concurrency: false,
            adapts_limit: false,
            injects_faults: false,
            max_queue_wait: None,
            identity: 0,
        }
    }

    /// Sets the time limit of the operation and of all policies below this one.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the maximum number of times that the policy runs the operation.
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets the maximum total time that the policy waits between attempts.
    #[must_use]
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets the maximum time from the start of the first attempt to the start of the last.
    #[must_use]
    pub const fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = Some(elapsed);
        self
    }

    /// Sets why a repeated attempt is safe.
    #[must_use]
    pub const fn repeat_safety(mut self, safety: RepeatSafety) -> Self {
        self.repeat_safety = Some(safety);
        self
    }

    /// Sets the length of the time window over which the policy counts calls.
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// Sets the minimum number of consecutive failures after which the policy rejects calls.
    #[must_use]
    pub const fn trips_after(mut self, failures: u32) -> Self {
        self.trips_after = Some(failures);
        self
    }

    /// Declares that the policy records the outcomes of operations.
    #[must_use]
    pub const fn records_outcomes(mut self) -> Self {
        self.records_outcomes = true;
        self
    }

    /// Declares that the policy detects operations that never complete.
    #[must_use]
    pub const fn detects_hangs(mut self) -> Self {
        self.detects_hangs = true;
        self
    }

    /// Declares that the policy rejects calls to limit their rate, or sheds them under overload.
    #[must_use]
    pub const fn limits_load(mut self) -> Self {
        self.limits_load = true;
        self
    }

    /// Declares that the policy replaces every error with a value.
    #[must_use]
    pub const fn replaces_errors(mut self) -> Self {
        self.replaces_errors = true;
        self
    }

    /// Declares that the attempts of the policy run at the same time, not one after another.
    #[must_use]
    pub const fn concurrent_attempts(mut self) -> Self {
        self.has_concurrent_attempts = true;
        self
    }

    /// Declares that a [budget](crate::budget) bounds the repeated attempts of the policy.
    #[must_use]
    pub const fn budget(mut self) -> Self {
        self.has_budget = true;
        self
    }

    /// Declares that the policy limits how many calls run at the same time.
    #[must_use]
    pub const fn limits_concurrency(mut self) -> Self {
        self.limits_concurrency = true;
        self
    }

    /// Declares that the policy adapts its limit to what it measures below it.
    #[must_use]
    pub const fn adapts_limit(mut self) -> Self {
        self.adapts_limit = true;
        self
    }

    /// Declares that the policy injects faults, as if the dependency failed.
    #[must_use]
    pub const fn injects_faults(mut self) -> Self {
        self.injects_faults = true;
        self
    }

    /// Sets the maximum time that a call waits in the policy's queue.
    #[must_use]
    pub const fn max_queue_wait(mut self, wait: Duration) -> Self {
        self.max_queue_wait = Some(wait);
        self
    }

    /// Sets the number that identifies this policy and its clones, such as the address of their
    /// shared state.
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
            [("timeout", self.timeout), ("max_wait", self.max_wait), ("window", self.window)];
        for (name, duration) in durations {
            if let Some(duration) = duration {
                write!(f, " {name}={duration:?}")?;
            }
        }
        self.max_attempts.map_or(Ok(()), |attempts| write!(f, " max_attempts={attempts}"))
    }
}
