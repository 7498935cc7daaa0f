//! The state that is passed from policy to policy during a call: [`Context`].

use super::{Caller, Priority, PriorityClass};
use crate::time::{Clock, ClockId, Deadline, Instant, Reading};
use std::num::NonZeroU32;
use std::time::Duration;

/// The state of one call: its attempt number, its deadline, its caller and the last reading of the
/// clock.
///
/// A `Context` is small and `Copy`. Each policy passes an adjusted copy to the policies below it.
/// An operation receives it through `call_with`, for example to forward the remaining time to a
/// server.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The last reading of the clock `clock`.
    now: Instant,
    deadline: Deadline,
    clock: ClockId,
    attempt: u32,
    user: Option<NonZeroU32>,
    priority: Priority,
    /// Whether `now` is current: no policy has waited since the clock was read.
    fresh: bool,
}

impl Context {
    /// Creates the context of a first attempt without a deadline.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            now: Instant::ORIGIN,
            deadline: Deadline::NEVER,
            clock: ClockId::SYSTEM,
            attempt: 1,
            user: None,
            priority: Priority::new(PriorityClass::Medium, 50),
            fresh: false,
        }
    }

    /// Returns the number of this attempt. The first is 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the priority of the call.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// Returns the priority and the user of the call.
    #[must_use]
    pub const fn caller(&self) -> Caller {
        Caller::from_parts(self.priority, self.user)
    }

    /// Returns the time from the last reading of the clock to the deadline, or `None` if there is
    /// no deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.remaining(self.now)
    }

    /// Returns the deadline, as an instant of the clock that was read last.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Returns the context with the current time by `clock`.
    ///
    /// The clock is read only if the last reading is out of date or comes from another clock.
    /// Policies that share a clock therefore read it once per call. If `clock` differs from the
    /// last clock, the deadline is converted: the remaining time as of the last reading stays the
    /// same.
    ///
    /// ```
    /// # use mainstay::{Clock, policy::Context};
    /// let clock = Clock::system();
    /// let cx = Context::new().on(&clock);
    /// assert!(cx.now() <= clock.now());
    /// ```
    #[inline]
    #[must_use]
    pub fn on(mut self, clock: &Clock) -> Self {
        if !self.fresh || self.clock != clock.id() {
            self.read(clock);
        }
        self
    }

    /// Returns a [`Reading`] of `clock` that reads the clock on first use, unless the last reading
    /// is still current.
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

    /// Returns the last reading of the clock. For the current time, call [`on`](Self::on) first.
    #[inline]
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Returns the context with its clock reading marked as out of date. The next policy that needs
    /// the time reads the clock again.
    ///
    /// A policy that waits must call this method before it passes the context on. If other policies
    /// may use other clocks, the policy should also call [`on`](Self::on) with its own clock before
    /// the wait and again after it. Otherwise the wait may not be subtracted from the remaining
    /// time.
    #[inline]
    #[must_use]
    pub fn after_waiting(mut self) -> Self {
        self.fresh = false;
        self
    }

    /// Returns the context with the attempt number `attempt`.
    ///
    /// ```
    /// # use mainstay::policy::Context;
    /// assert_eq!(Context::new().with_attempt(2).attempt(), 2);
    /// ```
    #[inline]
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// Returns the context with the priority `priority`.
    ///
    /// ```
    /// # use mainstay::policy::{Context, PriorityClass};
    /// let cx = Context::new().with_priority(PriorityClass::High);
    /// assert_eq!(cx.priority(), PriorityClass::High.into());
    /// ```
    #[inline]
    #[must_use]
    pub fn with_priority(mut self, priority: impl Into<Priority>) -> Self {
        self.priority = priority.into();
        self
    }

    /// Returns the context with the priority and the user of `caller`.
    ///
    /// ```
    /// # use mainstay::policy::{Caller, Context, PriorityClass};
    /// let caller = Caller::new(PriorityClass::High).with_user("tenant-7");
    /// assert_eq!(Context::new().with_caller(caller).caller(), caller);
    /// ```
    #[inline]
    #[must_use]
    pub fn with_caller(mut self, caller: impl Into<Caller>) -> Self {
        let caller = caller.into();
        (self.priority, self.user) = (caller.priority(), caller.user());
        self
    }

    /// Returns the context with the earlier of `deadline` and its current deadline.
    ///
    /// ```
    /// # use mainstay::{Clock, Deadline, policy::Context};
    /// # use std::time::Duration;
    /// let cx = Context::new().on(&Clock::system());
    /// let cx = cx.with_deadline(Deadline::after(cx.now(), Duration::from_secs(1)));
    /// assert_eq!(cx.remaining(), Some(Duration::from_secs(1)));
    /// ```
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

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_context_takes_32_bytes() {
        assert_eq!(size_of::<Context>(), 32);
    }

    #[test]
    fn a_reading_is_reused_only_for_its_own_clock() {
        let (one, other) = (ManualClock::new(), ManualClock::new());
        other.advance(5 * SECOND);
        let (one, other) = (one.clock(), other.clock());
        let cx = Context::new().on(&one);
        assert_eq!(cx.reading(&other).now(), other.now());
        assert_eq!(cx.reading(&one).now(), cx.now());
    }

    #[test]
    fn the_clock_is_read_again_only_after_a_policy_waits() {
        let time = ManualClock::new();
        let clock = time.clock();
        let cx = Context::new().on(&clock);
        time.advance(SECOND);
        assert_eq!(cx.on(&clock).now(), time.now() - SECOND);
        assert_eq!(cx.after_waiting().on(&clock).now(), time.now());
    }

    #[test]
    fn a_call_has_the_default_priority_until_another_one_is_set() {
        let cx = Context::new();
        assert_eq!(cx.priority(), Priority::default());
        let high = Priority::new(PriorityClass::High, 7);
        assert_eq!(cx.with_attempt(2).with_priority(high).priority(), high);
        assert_eq!(cx.with_attempt(2).with_priority(high).attempt(), 2);
    }

    #[test]
    fn the_remaining_time_stays_the_same_on_another_clock() {
        let (first, second) = (ManualClock::new(), ManualClock::at(Instant::from_nanos(7)));
        let cx = Context::new().on(&first.clock());
        let cx = cx.with_deadline(Deadline::after(cx.now(), SECOND)).on(&second.clock());
        assert_eq!(cx.remaining(), Some(SECOND));
        assert_eq!(cx.deadline(), Deadline::at(Instant::from_nanos(1_000_000_007)));
    }
}
