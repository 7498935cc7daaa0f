//! The limiter as a policy.

use super::{Acquire, Admitting, POLICY, RateLimiter, Shared};
use crate::error::{Error, Rejection};
use crate::policy::{self, Context, Facts, Guard, OwnedGuard, Policy, kind};
use crate::time::Instant;
use std::time::Duration;

/// How a pipeline asks a limiter: for how many tokens a call, and how long it waits for them. Made by
/// [`RateLimiter::costing`] and [`RateLimiter::waiting_at_most`]; a plain limiter asks for one, and rejects
/// at once.
///
/// ```
/// use mainstay::{pipeline::Pipeline, rate::{Quota, RateLimiter}};
/// use std::time::Duration;
///
/// let limiter = RateLimiter::new(Quota::per_second(100))?;
/// let search = Pipeline::builder().rate_limit(&limiter).build();
/// let export = Pipeline::builder()
///     .rate_limit(limiter.costing(20).waiting_at_most(Duration::from_millis(500)))
///     .build();
/// # let ok: Result<u32, mainstay::error::Error<()>> = search.call_blocking(|| Ok(1));
/// # assert_eq!((ok, export.call_blocking(|| Ok::<_, ()>(2))), (Ok(1), Ok(2)));
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Admission {
    limiter: RateLimiter,
    cost: u32,
    patience: Duration,
}

impl RateLimiter {
    /// A view of this limiter, for a pipeline, by which each call costs `tokens`.
    #[must_use]
    pub fn costing(&self, tokens: u32) -> Admission {
        Admission { cost: tokens, ..self.into() }
    }

    /// A view of this limiter, for a pipeline, by which a call waits its turn for up to `patience`, and no
    /// longer than until the call's own deadline; it is rejected at once if that cannot suffice.
    #[must_use]
    pub fn waiting_at_most(&self, patience: Duration) -> Admission {
        Admission { patience, ..self.into() }
    }
}

impl Admission {
    /// The same, by which each call costs `tokens`.
    #[must_use]
    pub const fn costing(mut self, tokens: u32) -> Self {
        self.cost = tokens;
        self
    }

    /// The same, by which a call waits for up to `patience`; see [`RateLimiter::waiting_at_most`].
    #[must_use]
    pub const fn waiting_at_most(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The limiter itself.
    #[must_use]
    pub const fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    fn shared(&self) -> &Shared {
        self.limiter.shared()
    }

    #[inline]
    fn admit_at_once(&self, now: Instant) -> Result<(), Rejection> {
        let shared = self.shared();
        shared.admit(self.cost, shared.nanos(now)).map(drop).map_err(Into::into)
    }

    /// When a call that came now gives up.
    fn deadline(&self, cx: Context) -> (Instant, Instant) {
        let cx = cx.on(&self.shared().clock);
        let own = cx.now() + self.patience;
        (cx.now(), cx.deadline().instant().map_or(own, |deadline| deadline.min(own)))
    }
}

impl From<&RateLimiter> for Admission {
    fn from(limiter: &RateLimiter) -> Self {
        limiter.clone().into()
    }
}

impl From<RateLimiter> for Admission {
    fn from(limiter: RateLimiter) -> Self {
        Self { limiter, cost: 1, patience: Duration::ZERO }
    }
}

impl From<&Admission> for Admission {
    fn from(admission: &Admission) -> Self {
        admission.clone()
    }
}

impl Policy for Admission {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        let identity = std::ptr::from_ref(self.shared()).addr();
        Facts { identity, ..Facts::new(POLICY, self.limiter.name()) }
    }
}

impl<T: Send, E: Send> Guard<T, E> for Admission {
    type Permit<'a> = ();

    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        if self.patience.is_zero() {
            return self.admit_at_once(cx.reading(&self.shared().clock).now());
        }
        let (_, deadline) = self.deadline(cx);
        Acquire::new(self.shared(), self.cost, Some(deadline)).await.map(drop).map_err(Into::into)
    }

    #[inline]
    fn admit_blocking(&self, cx: Context) -> Result<(), Rejection> {
        if self.patience.is_zero() {
            return self.admit_at_once(cx.reading(&self.shared().clock).now());
        }
        let (now, deadline) = self.deadline(cx);
        self.shared().acquire_blocking(self.cost, Some(deadline), now).map(drop).map_err(Into::into)
    }

    fn record(&self, (): (), _: &Result<T, Error<E>>) {}
}

impl<T, E> OwnedGuard<T, E> for Admission {
    type OwnedPermit = ();
    type AdmitFuture = Admitting;

    fn admit_owned(&self, cx: Context) -> policy::Admission<(), Admitting> {
        let shared = self.shared();
        let cx = cx.on(&shared.clock);
        if self.patience.is_zero() {
            return self
                .admit_at_once(cx.now())
                .map_or_else(policy::Admission::Rejected, policy::Admission::Admitted);
        }
        // Not yet a refusal, of which an observer would be told.
        match shared.core.take_at_once(self.cost, shared.nanos(cx.now())) {
            Some(Ok(_)) => policy::Admission::Admitted(()),
            _ => {
                let (_, deadline) = self.deadline(cx);
                policy::Admission::Waiting(Admitting::new(
                    self.limiter.clone(),
                    self.cost,
                    deadline,
                ))
            }
        }
    }

    fn record_owned((): (), _: &Result<T, Error<E>>) {}
}
