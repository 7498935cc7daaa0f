//! Permits that keep their breaker alive: for tasks, and for Tower's futures.

use super::admit::Ticket;
use super::guard::{Judge, settle};
use super::{CircuitBreaker, CircuitBreakerPermit, ClassifiedCircuitBreaker};
use crate::error::{Error, Rejection};
use crate::outcome::Classify;
use crate::policy::{Admission, Context, OwnedGuard};
use std::fmt;
use std::future::Ready;

/// As [`CircuitBreakerPermit`], with a hold of its own on the breaker, so that it can be kept where no breaker is
/// borrowed; made by [`CircuitBreaker::try_acquire_owned`].
///
/// It costs two writes to the breaker's reference count more, which threads that share the breaker
/// contend for.
#[must_use = "a permit that is dropped counts as no call at all"]
pub struct OwnedCircuitBreakerPermit {
    breaker: CircuitBreaker,
    /// `None`: settled.
    ticket: Option<Ticket>,
}

impl CircuitBreaker {
    /// As [`try_acquire`](Self::try_acquire), with a permit that borrows nothing.
    ///
    /// ```
    /// # use mainstay::breaker::CircuitBreaker;
    /// # let breaker = CircuitBreaker::builder().build()?;
    /// let permit = breaker.try_acquire_owned()?;
    /// std::thread::spawn(move || permit.success()).join().unwrap();
    /// assert_eq!(breaker.snapshot().counts.total, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_owned(&self) -> Result<OwnedCircuitBreakerPermit, Rejection> {
        self.try_acquire().map(|permit| OwnedCircuitBreakerPermit::of(self, permit))
    }
}

impl OwnedCircuitBreakerPermit {
    #[inline]
    fn of(breaker: &CircuitBreaker, permit: CircuitBreakerPermit<'_>) -> Self {
        let ticket = Some(permit.into_ticket());
        Self { breaker: breaker.clone(), ticket }
    }

    /// As [`CircuitBreakerPermit::success`].
    pub fn success(mut self) {
        if let Some(permit) = self.take() {
            permit.success();
        }
    }

    /// As [`CircuitBreakerPermit::failure`].
    pub fn failure(mut self) {
        if let Some(permit) = self.take() {
            permit.failure();
        }
    }

    /// As [`CircuitBreakerPermit::ignore`].
    pub fn ignore(self) {
        drop(self);
    }

    /// As [`CircuitBreakerPermit::record`].
    pub fn record<T, E>(mut self, result: &Result<T, E>) {
        if let Some(permit) = self.take() {
            permit.record(result);
        }
    }

    /// What it holds, as a permit that borrows it.
    #[inline(always)]
    fn take(&mut self) -> Option<CircuitBreakerPermit<'_>> {
        let ticket = self.ticket.take()?;
        Some(CircuitBreakerPermit::new(&self.breaker.0, ticket))
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

impl<T, E, C: Classify<T, E> + Clone> OwnedGuard<T, E> for ClassifiedCircuitBreaker<C> {
    type OwnedPermit = (OwnedCircuitBreakerPermit, Judge<C>);
    type AdmitFuture = Ready<Result<Self::OwnedPermit, Rejection>>;

    #[inline]
    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        let breaker = self.breaker.shared();
        match breaker.admit(C::TIMED, cx.reading(&breaker.family.clock)) {
            Ok(permit) => Admission::Admitted((
                OwnedCircuitBreakerPermit::of(&self.breaker, permit),
                self.judge.clone(),
            )),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    #[inline]
    fn record_owned((mut permit, judge): Self::OwnedPermit, result: &Result<T, Error<E>>) {
        if let Some(permit) = permit.take() {
            settle(permit, &judge, result);
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use crate::breaker::CircuitBreakerState;
    use crate::time::ManualClock;
    use std::time::Duration;

    #[test]
    fn an_owned_permit_counts_as_a_borrowed_one_does() {
        let breaker = CircuitBreaker::builder().min_calls(5).build().unwrap();
        let acquire = || breaker.try_acquire_owned().unwrap();
        acquire().success();
        acquire().failure();
        acquire().record(&Err::<(), ()>(()));
        acquire().ignore();
        drop(acquire());
        let counts = breaker.snapshot().counts;
        assert_eq!((counts.total, counts.failed), (3, 2));
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
        assert_eq!(
            (snapshot.state, snapshot.probes, snapshot.trial.total),
            (CircuitBreakerState::HalfOpen, 0, 0)
        );
        breaker.try_acquire_owned().unwrap().success();
        assert_eq!(breaker.snapshot().trial.total, 1);
    }
}
