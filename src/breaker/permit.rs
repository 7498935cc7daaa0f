//! Permits, each of which admits one call and records its outcome.

use super::CircuitBreaker;
use super::config::CallClass;
use super::engine::Ticket;
use super::shared::Shared;
use crate::outcome::Outcome;
use crate::time::{Instant, Reading};
use std::fmt;
use std::mem::ManuallyDrop;
use std::time::Duration;

/// A permit to make one call, whose outcome it records; returned by
/// [`try_acquire`](CircuitBreaker::try_acquire).
///
/// Consuming the permit records the outcome. Dropping it records no outcome, and releases what the
/// call held: the slot of a probe and its entry among the calls in flight. A call that is cancelled
/// or panics drops its permit and so records no outcome: a panic is usually a fault of the caller,
/// not of the dependency. If a panic does indicate a failure of the dependency, catch it and call
/// [`failure`](Self::failure).
///
/// A permit holds no lock.
#[must_use = "a permit that is dropped records no outcome"]
pub struct CircuitBreakerPermit<'a> {
    breaker: &'a Shared,
    ticket: Ticket,
}

impl<'a> CircuitBreakerPermit<'a> {
    #[inline]
    pub(super) const fn new(breaker: &'a Shared, ticket: Ticket) -> Self {
        Self { breaker, ticket }
    }

    /// Records a success, which counts as slow if the call took the slow threshold or longer.
    #[inline]
    pub fn success(self) {
        self.record_outcome(Outcome::Success);
    }

    /// Records a failure.
    #[inline]
    pub fn failure(self) {
        self.record_outcome(Outcome::Failure);
    }

    /// Records no outcome, for a call that gives no information about the dependency. Dropping the
    /// permit has the same effect.
    #[inline]
    pub fn ignore(self) {
        self.record_outcome(Outcome::Ignore);
    }

    /// Records a success if `result` is `Ok`, and a failure otherwise.
    ///
    /// If the error is a rejection by another policy, which gives no information about the
    /// dependency, call [`ignore`](Self::ignore) instead.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # let breaker = CircuitBreaker::new();
    /// let permit = breaker.try_acquire()?;
    /// let result: Result<u32, std::num::ParseIntError> = "42".parse();
    /// permit.record(&result);
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// ```
    #[inline]
    pub fn record<T, E>(self, result: &Result<T, E>) {
        self.record_outcome(if result.is_ok() { Outcome::Success } else { Outcome::Failure });
    }

    /// Records `outcome`.
    ///
    /// ```
    /// # use mainstay::{breaker::CircuitBreaker, outcome::Outcome};
    /// # use std::time::Duration;
    /// # let breaker = CircuitBreaker::new();
    /// // The server has answered 503 with `Retry-After: 30`.
    /// let outcome = Outcome::Unavailable(Duration::from_secs(30));
    /// breaker.try_acquire()?.record_outcome(outcome);
    /// # Ok::<(), mainstay::error::Rejection>(())
    /// ```
    #[inline]
    pub fn record_outcome(self, outcome: Outcome) {
        self.record_class(outcome, &CallClass::DEFAULT, None);
    }

    /// Returns true if the breaker would have rejected this call, had it not been in
    /// [shadow mode](super::CircuitBreakerMode::Shadow).
    #[must_use]
    pub const fn would_reject(&self) -> bool {
        self.shadow_sequence().is_some()
    }

    pub(super) const fn shadow_sequence(&self) -> Option<u64> {
        self.ticket.shadow_sequence()
    }

    /// Returns the time since the call started, if it is timed.
    pub(super) fn elapsed(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        self.ticket.elapsed(reading)
    }

    pub(super) fn reading(&self) -> Reading<'a> {
        self.breaker.reading()
    }

    /// Returns the ticket without releasing what it holds.
    #[inline]
    fn into_ticket(self) -> Ticket {
        ManuallyDrop::new(self).ticket
    }

    /// Records `outcome` with the thresholds of `class`. `now` is the current time if already read.
    #[inline(always)]
    pub(super) fn record_class(self, outcome: Outcome, class: &CallClass, now: Option<Instant>) {
        let permit = ManuallyDrop::new(self);
        let (breaker, ticket) = (permit.breaker, permit.ticket);
        if outcome == Outcome::Success && breaker.engine.try_record_success(ticket) {
            return;
        }
        record_slow_path(breaker, ticket, outcome, class, now);
    }
}

#[inline(never)]
fn record_slow_path(
    breaker: &Shared,
    ticket: Ticket,
    outcome: Outcome,
    class: &CallClass,
    now: Option<Instant>,
) {
    let clock = &breaker.group.clock;
    let mut reading = now.map_or(Reading::of(clock), |now| Reading::known(clock, now));
    if breaker.engine.complete(ticket, outcome, class, &mut reading).is_committed() {
        breaker.deliver();
    }
}

#[cold]
#[inline(never)]
fn abandon(breaker: &Shared, ticket: Ticket) {
    breaker.engine.abandon(&ticket);
}

impl Drop for CircuitBreakerPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        // A panic may be unwinding here. Without an outcome there is no transition, so no observer
        // runs.
        if !self.ticket.is_plain() {
            abandon(self.breaker, self.ticket);
        }
    }
}

impl fmt::Debug for CircuitBreakerPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerPermit")
            .field("breaker", &self.breaker.group.name)
            .finish_non_exhaustive()
    }
}

/// A [`CircuitBreakerPermit`] that owns a handle to the breaker instead of borrowing it; returned
/// by [`try_acquire_owned`](CircuitBreaker::try_acquire_owned).
///
/// Costs two more writes to the breaker's reference count, on which threads that share the breaker
/// contend.
#[must_use = "a permit that is dropped records no outcome"]
pub struct OwnedCircuitBreakerPermit {
    breaker: CircuitBreaker,
    /// `None` after the outcome was recorded.
    ticket: Option<Ticket>,
}

impl OwnedCircuitBreakerPermit {
    #[inline]
    pub(super) fn new(breaker: &CircuitBreaker, permit: CircuitBreakerPermit<'_>) -> Self {
        let ticket = Some(permit.into_ticket());
        Self { breaker: breaker.clone(), ticket }
    }

    /// Records a success, which counts as slow if the call took the slow threshold or longer.
    pub fn success(self) {
        self.record_outcome(Outcome::Success);
    }

    /// Records a failure.
    pub fn failure(self) {
        self.record_outcome(Outcome::Failure);
    }

    /// Records no outcome, for a call that gives no information about the dependency. Dropping the
    /// permit has the same effect.
    pub fn ignore(self) {
        drop(self);
    }

    /// Records a success if `result` is `Ok`, and a failure otherwise, as
    /// [`CircuitBreakerPermit::record`] does.
    ///
    /// ```
    /// # use mainstay::{CircuitBreaker, Outcome};
    /// # let breaker = CircuitBreaker::new();
    /// let permit = breaker.try_acquire_owned()?;
    /// permit.record(&"42".parse::<u32>());
    /// # Ok::<(), mainstay::Rejection>(())
    /// ```
    pub fn record<T, E>(self, result: &Result<T, E>) {
        self.record_outcome(if result.is_ok() { Outcome::Success } else { Outcome::Failure });
    }

    /// Records `outcome`, as [`CircuitBreakerPermit::record_outcome`] does.
    ///
    /// ```
    /// # use mainstay::{CircuitBreaker, Outcome};
    /// # let breaker = CircuitBreaker::new();
    /// let permit = breaker.try_acquire_owned()?;
    /// permit.record_outcome(Outcome::WeightedFailure(5));
    /// # Ok::<(), mainstay::Rejection>(())
    /// ```
    pub fn record_outcome(mut self, outcome: Outcome) {
        if let Some(permit) = self.take() {
            permit.record_outcome(outcome);
        }
    }

    /// Returns true if the breaker would have rejected this call, had it not been in
    /// [shadow mode](super::CircuitBreakerMode::Shadow).
    #[must_use]
    pub fn would_reject(&self) -> bool {
        self.ticket.is_some_and(|ticket| ticket.shadow_sequence().is_some())
    }

    /// Takes the ticket as a borrowed permit. Returns `None` if it has been taken before.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<CircuitBreakerPermit<'_>> {
        let ticket = self.ticket.take()?;
        Some(CircuitBreakerPermit::new(self.breaker.shared(), ticket))
    }
}

impl Drop for OwnedCircuitBreakerPermit {
    #[inline]
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl fmt::Debug for OwnedCircuitBreakerPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedCircuitBreakerPermit")
            .field("breaker", &self.breaker.name())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use crate::breaker::CircuitBreakerState;
    use crate::time::ManualClock;

    #[test]
    fn an_owned_permit_records_outcomes_like_a_borrowed_one() {
        let breaker = CircuitBreaker::builder().min_calls(5).build().unwrap();
        let acquire = || breaker.try_acquire_owned().unwrap();
        acquire().success();
        acquire().failure();
        acquire().record(&Err::<(), ()>(()));
        acquire().record_outcome(Outcome::Slow);
        acquire().ignore();
        drop(acquire());
        let counts = breaker.snapshot().counts;
        assert_eq!((counts.total, counts.failed, counts.slow), (4, 2, 1));
    }

    #[test]
    fn a_dropped_owned_probe_frees_its_slot() {
        let time = ManualClock::new();
        let breaker = CircuitBreaker::builder()
            .clock(time.clock())
            .min_calls(1)
            .open_duration(Backoff::constant(Duration::from_secs(1)))
            .half_open_concurrency(1)
            .build()
            .unwrap();
        breaker.try_acquire_owned().unwrap().failure();
        assert!(breaker.try_acquire_owned().is_err());
        time.advance(Duration::from_secs(1));
        let probe = breaker.try_acquire_owned().unwrap();
        assert!(breaker.try_acquire_owned().is_err());
        drop(probe);
        let snapshot = breaker.snapshot();
        let half_open = CircuitBreakerState::HalfOpen;
        assert_eq!(
            (snapshot.state, snapshot.active_probes, snapshot.trial.total),
            (half_open, 0, 0)
        );
        breaker.try_acquire_owned().unwrap().success();
        assert_eq!(breaker.snapshot().trial.total, 1);
    }
}
