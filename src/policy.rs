//! What a policy is to a pipeline: a [`Guard`], a [`Repeat`] or a [`Limit`]; the [`Context`] it passes on;
//! the [`Facts`] it states about itself.
//!
//! A *guard* admits an operation or refuses it, and hears how it ended: breakers, limiters, bulkheads.
//! A *repeat* may run the operation again: retry, hedge, fallback. A *limit* gives it so much time:
//! timeouts. Write one of these traits, and the policy works around futures, around closures, and in a
//! pipeline next to mainstay's own. [`OwnedGuard`] and [`OwnedRepeat`] are the same for futures that borrow
//! nothing: with them it works as a Tower layer too.

use crate::error::{Error, Rejection};
use crate::time::{Clock, ClockId, Deadline, Instant, Reading};
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// What a call knows of itself: which attempt this is, when to give up, what time it is.
///
/// Small and `Copy`; each policy passes it on to what stands below, adjusted. An operation gets it
/// through `call_with`, and can tell its server how much time is left.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The latest reading, by the clock `clock`.
    now: Instant,
    deadline: Deadline,
    clock: ClockId,
    attempt: u32,
    /// Whether no time has passed since `now` was read that a policy would have to know of.
    fresh: bool,
}

impl Context {
    /// A first attempt without a deadline.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            now: Instant::ORIGIN,
            deadline: Deadline::NEVER,
            clock: ClockId::SYSTEM,
            attempt: 1,
            fresh: false,
        }
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How much time this attempt has in all, counted from its start; `None` if it has no limit.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.remaining(self.now)
    }

    /// When to give up, by the clock of the policy that set it.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The same call by `clock`, with its present instant.
    ///
    /// The clock is read only if nobody has read it for this step, so that a stack of policies reads
    /// it once. Policies on different clocks do not share a reading; what is left until the deadline
    /// is carried over, as of the latest reading by the clock before.
    #[inline]
    #[must_use]
    pub fn on(mut self, clock: &Clock) -> Self {
        if !self.fresh || self.clock != clock.id() {
            self.read(clock);
        }
        self
    }

    /// The time by `clock`, to be read only if it is needed and has not been read.
    #[inline]
    pub(crate) fn reading<'a>(&self, clock: &'a Clock) -> Reading<'a> {
        match self.fresh && self.clock == clock.id() {
            true => Reading::known(clock, self.now),
            false => Reading::of(clock),
        }
    }

    #[inline]
    fn read(&mut self, clock: &Clock) {
        let now = clock.now();
        if self.clock != clock.id() {
            if let Some(remaining) = self.remaining() {
                self.deadline = Deadline::after(now, remaining);
            }
            self.clock = clock.id();
        }
        self.now = now;
        self.fresh = true;
    }

    /// The latest reading; ask for it [`on`](Self::on) a clock.
    #[inline]
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The same call after a wait of unknown length: whoever needs the time reads it again.
    ///
    /// By another clock than that of the latest reading the wait is not known, and does not count against
    /// the deadline. Whoever waited by a clock of its own passes the call on with the time
    /// [by it](Self::on).
    #[inline]
    #[must_use]
    pub fn after_waiting(mut self) -> Self {
        self.fresh = false;
        self
    }

    /// The same call as attempt number `attempt`.
    #[inline]
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The same call, to be given up at `deadline` at the latest; an earlier deadline stands.
    #[inline]
    #[must_use]
    pub fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = self.deadline.earlier(deadline);
        self
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// Any policy.
pub trait Policy: Send + Sync {
    /// What it says of itself.
    fn facts(&self) -> Facts;
}

/// A policy that admits operations: one source for its three faces, around a future, around a
/// closure, and as a layer.
///
/// ```
/// use mainstay::error::{Error, Reason, Rejection};
/// use mainstay::pipeline::Pipeline;
/// use mainstay::policy::{Context, Facts, Guard, Policy};
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// /// Refuses everything while the house is being cleaned.
/// #[derive(Default)]
/// struct Maintenance(AtomicBool);
///
/// impl<T: Send, E: Send> Guard<T, E> for Maintenance {
///     type Permit<'a> = ();
///     async fn admit(&self, cx: Context) -> Result<(), Rejection> {
///         Guard::<T, E>::admit_blocking(self, cx)
///     }
///     fn admit_blocking(&self, _: Context) -> Result<(), Rejection> {
///         match self.0.load(Ordering::Relaxed) {
///             true => Err(Rejection::new(Reason::ShutDown, "maintenance")),
///             false => Ok(()),
///         }
///     }
///     fn settle(&self, _: (), _: &Result<T, Error<E>>) {}
/// }
///
/// impl Policy for Maintenance {
///     fn facts(&self) -> Facts {
///         Facts::new("maintenance", "maintenance")
///     }
/// }
///
/// let pipeline = Pipeline::builder().guard(Maintenance::default()).build();
/// let answer: Result<u8, Error<()>> = pipeline.call_blocking(|| Ok(1));
/// assert_eq!(answer, Ok(1));
/// ```
pub trait Guard<T, E>: Policy {
    /// What an admitted operation holds. Dropping it gives it back without counting: that is how a
    /// cancelled call ends.
    type Permit<'a>: Send
    where
        Self: 'a;

    /// Waits for admission, or refuses.
    fn admit(
        &self,
        cx: Context,
    ) -> impl Future<Output = Result<Self::Permit<'_>, Rejection>> + Send;

    /// The same, holding the thread.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    fn admit_blocking(&self, cx: Context) -> Result<Self::Permit<'_>, Rejection>;

    /// Hears how the operation ended.
    fn settle<'a>(&'a self, permit: Self::Permit<'a>, result: &Result<T, Error<E>>);
}

/// A policy that may run the operation more than once, or something else in its place.
///
/// The operation comes as `Fn(Context) -> Future`; the policy calls it with the context of each
/// attempt. The `+ Send` bounds are what lets nested stacks be spawned.
pub trait Repeat<T: Send, E: Send>: Policy {
    /// Runs `op` as often as the policy sees fit. A further attempt is told so by
    /// [`with_attempt`](Context::with_attempt), and if time has passed before it, by
    /// [`after_waiting`](Context::after_waiting): or the policies below would count from the first.
    fn call<Op, Fut>(
        &self,
        cx: Context,
        op: Op,
    ) -> impl Future<Output = Result<T, Error<E>>> + Send
    where
        Op: Fn(Context) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, Error<E>>> + Send;

    /// The same around a closure.
    ///
    /// # Errors
    /// Those of `op` and of the policy.
    fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
    where
        Op: Fn(Context) -> Result<T, Error<E>>;
}

/// A [`Guard`] for a future that owns all it needs, as a Tower service's must: its permits keep the guard
/// alive, and its wait has a name.
///
/// Nothing has to be `Send` here that the guard does not send itself.
pub trait OwnedGuard<T, E>: Policy + Clone {
    /// As [`Guard::Permit`], with a hold of its own on the guard.
    type OwnedPermit;

    /// A wait for admission. A guard that decides at once puts `std::future::Ready` here, and makes none.
    type Waiting: Future<Output = Result<Self::OwnedPermit, Rejection>>;

    /// Admits, refuses, or says what is to be waited for. As [`Guard::admit`], in two steps, because most
    /// calls need not wait.
    fn admit_owned(&self, cx: Context) -> Decision<Self::OwnedPermit, Self::Waiting>;

    /// Hears how the operation ended.
    fn settle_owned(permit: Self::OwnedPermit, result: &Result<T, Error<E>>);
}

/// A guard's first answer.
#[derive(Clone, Copy, Debug)]
pub enum Decision<P, W> {
    /// Go ahead.
    Granted(P),
    /// Not now.
    Refused(Rejection),
    /// Wait for this.
    Waiting(W),
}

/// A [`Repeat`] for a future that owns all it needs: its future has a name.
pub trait OwnedRepeat<T, E>: Policy + Clone {
    /// A call under way.
    type Running<A: Attempt<T, E>>: Future<Output = Result<T, Error<E>>>;

    /// As [`Repeat::call`].
    fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::Running<A>;
}

/// An operation that can be begun again. Closures that take a [`Context`] and return a future are; a type
/// that implements it can be named where a closure cannot.
pub trait Attempt<T, E> {
    /// An attempt under way.
    type Future: Future<Output = Result<T, Error<E>>>;

    /// Begins an attempt.
    fn begin(&mut self, cx: Context) -> Self::Future;
}

impl<Op, Fut, T, E> Attempt<T, E> for Op
where
    Op: FnMut(Context) -> Fut,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Future = Fut;

    #[inline]
    fn begin(&mut self, cx: Context) -> Fut {
        self(cx)
    }
}

/// A policy that gives the operation so much time.
///
/// Around a future it drops the operation when the time is over. Around a closure nothing can be
/// interrupted: the limit is a deadline in the closure's [`Context`], and what comes late still comes.
pub trait Limit: Policy {
    /// How much time the operation is given now.
    fn limit(&self) -> Duration;

    /// Whose time that is.
    fn clock(&self) -> &Clock;
}

impl<P: Policy + ?Sized> Policy for &P {
    fn facts(&self) -> Facts {
        (**self).facts()
    }
}

impl<L: Limit + ?Sized> Limit for &L {
    #[inline]
    fn limit(&self) -> Duration {
        (**self).limit()
    }

    #[inline]
    fn clock(&self) -> &Clock {
        (**self).clock()
    }
}

/// What a policy states about itself, for whoever looks at a whole stack of them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The kind of policy: `circuit_breaker`, say.
    pub policy: &'static str,
    /// Its own name.
    pub name: &'static str,
    /// The time it gives to what stands below it.
    pub timeout: Option<Duration>,
    /// How often it runs what stands below it, at most.
    pub attempts: Option<u32>,
    /// How long it waits by itself between attempts, at most and in all; `None` if without bound.
    pub waits: Option<Duration>,
    /// Begins no attempt later than this after the first.
    pub elapsed: Option<Duration>,
    /// What makes a further attempt safe, if it makes any.
    pub repeats: Option<Repeats>,
    /// How far back it looks.
    pub window: Option<Duration>,
    /// After how many failures in a row it refuses, at the soonest.
    pub trips_after: Option<u32>,
    /// Whether it learns from how what stands below it ends.
    pub learns: bool,
    /// Whether it notices what does not end at all.
    pub sees_hanging: bool,
    /// Tells this one from others of its kind and name, and not from its clones; 0 if it cannot be told.
    /// Without a meaning beyond that, and another in each run.
    pub identity: usize,
}

/// Why a policy that runs an operation again may do so. An attempt that failed may still have done its
/// work: of a timeout, nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeats {
    /// Nobody has said: it repeats whatever failed.
    AnyFailure,
    /// A rule of the user's picks what is repeated.
    ByRule,
    /// The user has said that the operation may run twice.
    Idempotent,
}

impl Facts {
    /// A policy of which nothing is known but its kind and its name.
    #[must_use]
    pub const fn new(policy: &'static str, name: &'static str) -> Self {
        Self {
            policy,
            name,
            timeout: None,
            attempts: None,
            waits: None,
            elapsed: None,
            repeats: None,
            window: None,
            trips_after: None,
            learns: false,
            sees_hanging: false,
            identity: 0,
        }
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.policy)?;
        if self.name != self.policy {
            write!(f, " {:?}", self.name)?;
        }
        let durations = [("limit", self.timeout), ("waits", self.waits), ("window", self.window)];
        for (name, duration) in durations {
            if let Some(duration) = duration {
                write!(f, " {name}={duration:?}")?;
            }
        }
        self.attempts.map_or(Ok(()), |attempts| write!(f, " attempts={attempts}"))
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_reading_is_shared_until_somebody_waits() {
        let time = ManualClock::new();
        let clock = time.clock();
        let cx = Context::new().on(&clock);
        time.advance(SECOND);
        assert_eq!(cx.on(&clock).now(), time.now() - SECOND);
        assert_eq!(cx.after_waiting().on(&clock).now(), time.now());
    }

    #[test]
    fn a_deadline_is_carried_from_clock_to_clock() {
        let (here, there) = (ManualClock::new(), ManualClock::at(Instant::from_nanos(7)));
        let cx = Context::new().on(&here.clock());
        let cx = cx.with_deadline(Deadline::after(cx.now(), SECOND)).on(&there.clock());
        assert_eq!(cx.remaining(), Some(SECOND));
        assert_eq!(cx.deadline(), Deadline::at(Instant::from_nanos(1_000_000_007)));
    }
}
