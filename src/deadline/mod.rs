//! Deadlines between services: the header fields that carry them, and [`DeadlineGuard`], with which
//! a server rejects calls that cannot be served in time.
//!
//! # Examples
//!
//! A server reads the deadline of a request, rejects the request if too little time is left, and
//! bounds the call:
//!
//! ```
//! use mainstay::deadline::{self, DeadlineGuard};
//! use mainstay::{Clock, Deadline, Pipeline};
//! use std::time::Duration;
//!
//! let clock = Clock::system();
//! let guard =
//!     DeadlineGuard::builder().min_remaining(Duration::from_millis(20)).build()?;
//! let pipeline = Pipeline::builder().guard(&guard).build();
//!
//! let serve = |grpc_timeout: &str| {
//!     let remaining = deadline::from_grpc_timeout(grpc_timeout);
//!     let deadline = remaining.map_or(Deadline::NEVER, |remaining| {
//!         Deadline::after(clock.now(), remaining)
//!     });
//!     let call = pipeline.with_deadline(deadline, &clock);
//!     call.call_with_blocking(|cx| {
//!         // The field for the request to the next service.
//!         Ok::<_, ()>(cx.remaining().map(deadline::to_grpc_timeout))
//!     })
//! };
//! assert!(serve("5S").is_ok());
//! assert!(serve("1m").unwrap_err().is_rejected());
//! # Ok::<(), mainstay::ConfigError>(())
//! ```
//!
//! # How it works
//!
//! A field with a duration (`grpc-timeout`, `X-Request-Timeout`) becomes a [`Deadline`] when the
//! request arrives, so the transit time of the request does not count. With a field that states an
//! instant (`X-Timeout-At`) it counts, but the result depends on the clocks of both machines.
//!
//! `Pipeline::with_deadline` starts one call of a built pipeline with a deadline. Retries start no
//! attempt after the deadline, and the operation reads the remaining time from its [`Context`].

mod headers;
mod limit;

pub use headers::{
    from_grpc_timeout, from_request_timeout, from_timeout_at, to_grpc_timeout, to_request_timeout,
    to_timeout_at,
};

use crate::error::{ConfigError, Error, Reason, Rejection};
use crate::policy::{self, Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::sync::{Counter, PlainArc};
use crate::time::{Clock, Deadline, Instant};
use limit::RejectionLimit;
use std::fmt;
use std::future::{Ready, ready};
use std::time::Duration;

const POLICY: &str = "deadline";

/// A guard that rejects calls whose deadline has passed or cannot be met.
///
/// An overloaded server spends its time on requests whose clients have given up. Such a request
/// costs almost nothing if it is rejected before it starts. The guard rejects a call if less than
/// [`min_remaining`](DeadlineGuardBuilder::min_remaining) is left. Calls without a deadline are
/// admitted.
///
/// Cloning is cheap, and all clones share their counters. The
/// [module documentation](crate::deadline) has an example.
///
/// # Performance
///
/// A call with a deadline reads the clock once, unless an outer policy has just read it. With a
/// [maximum share](DeadlineGuardBuilder::max_rejection_rate) of rejections, it also changes one
/// shared word.
#[derive(Clone)]
pub struct DeadlineGuard(PlainArc<Shared>);

/// Configures a [`DeadlineGuard`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct DeadlineGuardBuilder {
    name: String,
    min_remaining: Duration,
    max_rejection_rate: f64,
    clock: Clock,
    is_shadow: bool,
}

/// The counters of a [`DeadlineGuard`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlineGuardSnapshot {
    /// The number of calls whose deadline had passed.
    pub expired: u64,
    /// The number of calls whose deadline had not passed, but left too little time.
    pub too_short: u64,
    /// The number of these calls that were admitted because the
    /// [maximum share](DeadlineGuardBuilder::max_rejection_rate) had been rejected.
    pub exempted: u64,
}

struct Shared {
    name: &'static str,
    min_remaining: Duration,
    clock: Clock,
    is_shadow: bool,
    limit: RejectionLimit,
    expired: Counter,
    too_short: Counter,
    exempted: Counter,
}

/// Whether a call can meet its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    InTime,
    TooShort,
    Passed,
}

impl Verdict {
    fn of(deadline: Deadline, now: Instant, min_remaining: Duration) -> Self {
        match deadline.remaining(now) {
            Some(Duration::ZERO) => Self::Passed,
            Some(remaining) if remaining < min_remaining => Self::TooShort,
            _ => Self::InTime,
        }
    }
}

impl DeadlineGuard {
    /// Creates a builder.
    pub fn builder() -> DeadlineGuardBuilder {
        DeadlineGuardBuilder {
            name: POLICY.into(),
            min_remaining: Duration::ZERO,
            max_rejection_rate: 1.0,
            clock: Clock::system(),
            is_shadow: false,
        }
    }

    /// Returns an error if a call with `deadline` cannot be served in time.
    ///
    /// ```
    /// use mainstay::deadline::DeadlineGuard;
    /// use mainstay::{Clock, Deadline};
    ///
    /// let guard = DeadlineGuard::builder().build()?;
    /// assert!(guard.try_acquire(Deadline::NEVER).is_ok());
    /// assert!(guard.try_acquire(Deadline::at(Clock::system().now())).is_err());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a rejection with [`Reason::DeadlineExceeded`].
    pub fn try_acquire(&self, deadline: Deadline) -> Result<(), Rejection> {
        match deadline {
            Deadline::NEVER => Ok(()),
            _ => self.0.admit(deadline, self.0.clock.now()),
        }
    }

    /// Returns the name that was given to the builder.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Returns the current counters. In shadow mode, they count the calls that would have been
    /// rejected.
    #[must_use]
    pub fn snapshot(&self) -> DeadlineGuardSnapshot {
        DeadlineGuardSnapshot {
            expired: self.0.expired.get(),
            too_short: self.0.too_short.get(),
            exempted: self.0.exempted.get(),
        }
    }

    fn admit(&self, cx: Context) -> Result<(), Rejection> {
        if cx.deadline() == Deadline::NEVER {
            return Ok(());
        }
        let cx = cx.on(&self.0.clock);
        self.0.admit(cx.deadline(), cx.now())
    }
}

impl Shared {
    fn admit(&self, deadline: Deadline, now: Instant) -> Result<(), Rejection> {
        let verdict = Verdict::of(deadline, now, self.min_remaining);
        let rejects = self.limit.rejects(now, verdict != Verdict::InTime);
        match verdict {
            Verdict::InTime => return Ok(()),
            Verdict::TooShort => self.too_short.add(1),
            Verdict::Passed => self.expired.add(1),
        };
        if !rejects {
            self.exempted.add(1);
        }
        match rejects && !self.is_shadow {
            true => Err(Rejection::new(Reason::DeadlineExceeded, self.name)),
            false => Ok(()),
        }
    }
}

impl DeadlineGuardBuilder {
    /// Sets the name that rejections carry. Default: `deadline`.
    ///
    /// ```
    /// # use mainstay::DeadlineGuard;
    /// let built = DeadlineGuard::builder().name("search").build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the least time that must be left when a call starts. Default: zero, so that only calls
    /// whose deadline has passed are rejected. A good value is the time that the fastest calls
    /// take.
    ///
    /// ```
    /// # use mainstay::DeadlineGuard;
    /// # use std::time::Duration;
    /// let built = DeadlineGuard::builder()
    ///     .min_remaining(Duration::from_millis(20))
    ///     .build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn min_remaining(mut self, remaining: Duration) -> Self {
        self.min_remaining = remaining;
        self
    }

    /// Sets the largest share of the calls with a deadline that may be rejected, from 0 to 1, in each
    /// period of 10 s. Default: 1, no limit.
    ///
    /// If the clocks of the clients are wrong, every deadline may seem to have passed. With a
    /// limit, some calls are then still served.
    ///
    /// ```
    /// # use mainstay::DeadlineGuard;
    /// let built = DeadlineGuard::builder().max_rejection_rate(0.8).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn max_rejection_rate(mut self, share: f64) -> Self {
        self.max_rejection_rate = share;
        self
    }

    /// Admits every call, and only counts those that would be rejected. Default: off. Use it to
    /// check the deadlines of clients before they are enforced.
    ///
    /// ```
    /// # use mainstay::DeadlineGuard;
    /// let built = DeadlineGuard::builder().shadow().build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub const fn shadow(mut self) -> Self {
        self.is_shadow = true;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::{DeadlineGuard, ManualClock};
    /// let time = ManualClock::new();
    /// let built = DeadlineGuard::builder().clock(time.clock()).build()?;
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the guard.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is empty, longer than 128 bytes, or contains a control
    /// character, or if the share is not between 0 and 1.
    pub fn build(self) -> Result<DeadlineGuard, ConfigError> {
        if !(0.0..=1.0).contains(&self.max_rejection_rate) {
            let (rate, accepted) = (self.max_rejection_rate, "a share from 0 to 1");
            return Err(ConfigError::new("max_rejection_rate", rate, accepted));
        }
        Ok(DeadlineGuard(PlainArc::new(Shared {
            name: policy::name(&self.name)?,
            min_remaining: self.min_remaining,
            clock: self.clock,
            is_shadow: self.is_shadow,
            limit: RejectionLimit::new(self.max_rejection_rate),
            expired: Counter::default(),
            too_short: Counter::default(),
            exempted: Counter::default(),
        })))
    }
}

impl fmt::Debug for DeadlineGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineGuard")
            .field("name", &self.0.name)
            .field("min_remaining", &self.0.min_remaining)
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

impl Policy for DeadlineGuard {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, self.0.name).identity(PlainArc::as_ptr(&self.0).addr())
    }
}

impl<T: Send, E: Send> Guard<T, E> for DeadlineGuard {
    type Permit<'a> = ();

    fn admit(&self, cx: Context) -> impl Future<Output = Result<(), Rejection>> + Send {
        ready(DeadlineGuard::admit(self, cx))
    }

    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        DeadlineGuard::admit(self, cx)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E> OwnedGuard<T, E> for DeadlineGuard {
    type OwnedPermit = ();
    type AdmitFuture = Ready<Result<(), Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<(), Self::AdmitFuture> {
        match self.admit(cx) {
            Ok(()) => Admission::Admitted(()),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn a_call_needs_the_minimum_of_time_before_its_deadline() {
        use Verdict::{InTime, Passed, TooShort};
        let at = |millis| Instant::ORIGIN + Duration::from_millis(millis);
        //     now, deadline, minimum, verdict
        let table = [
            (0, 10, 0, InTime),
            (9, 10, 0, InTime),
            (10, 10, 0, Passed),
            (11, 10, 0, Passed),
            (5, 10, 5, InTime),
            (6, 10, 5, TooShort),
            (10, 10, 5, Passed),
        ];
        for (now, deadline, min, expected) in table {
            let verdict =
                Verdict::of(Deadline::at(at(deadline)), at(now), Duration::from_millis(min));
            assert_eq!(verdict, expected, "now {now}, deadline {deadline}, minimum {min}");
        }
        assert_eq!(Verdict::of(Deadline::NEVER, Instant::FAR_FUTURE, Duration::MAX), InTime);
    }
}
