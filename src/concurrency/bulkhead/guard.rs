//! The bulkhead as a policy, with a cost and a maximum wait: [`BulkheadPolicy`].

use super::future::{BulkheadAcquireFuture, OwnedBulkheadAcquireFuture};
use super::permit::{BulkheadPermit, OwnedBulkheadPermit};
use super::shared::Shared;
use super::{Bulkhead, POLICY};
use crate::concurrency::queue::{Limit, Request, block};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::time::Duration;

/// A view of a [`Bulkhead`] with the number of permits that each call takes and the maximum time
/// that it waits for them; returned by [`Bulkhead::cost`] and [`Bulkhead::max_wait`]. It implements
/// [`Guard`] and [`OwnedGuard`].
///
/// ```
/// use mainstay::concurrency::Bulkhead;
/// use mainstay::pipeline::Pipeline;
///
/// let bulkhead = Bulkhead::builder().max_concurrent(10).build()?;
/// let export = bulkhead.cost(4); // as expensive as four searches
/// let permit = export.try_acquire().expect("nothing else runs");
/// assert_eq!((permit.cost(), bulkhead.available()), (4, 6));
/// # drop(permit);
/// let exports = Pipeline::builder().bulkhead(export).build();
/// assert_eq!(exports.call_blocking(|| Ok::<_, ()>(7)), Ok(7));
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a view does nothing until it is used"]
pub struct BulkheadPolicy {
    bulkhead: Bulkhead,
    cost: u32,
    max_wait: Option<Duration>,
}

impl BulkheadPolicy {
    pub(super) const fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead, cost: 1, max_wait: None }
    }

    /// Sets the number of permits that each call takes. Default: 1. A call is rejected if it costs
    /// more than `max_concurrent` permits.
    pub const fn cost(mut self, permits: u32) -> Self {
        self.cost = permits;
        self
    }

    /// Sets the maximum time that a call waits for its permits, instead of the bulkhead's
    /// [`max_wait`](super::BulkheadBuilder::max_wait).
    pub const fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }

    /// Returns the bulkhead.
    #[must_use]
    pub const fn bulkhead(&self) -> &Bulkhead {
        &self.bulkhead
    }

    /// Acquires the permits; see [`Bulkhead::try_acquire`].
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`Bulkhead::try_acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Result<BulkheadPermit<'_>, Rejection> {
        self.bulkhead.shared().try_acquire(&self.request())
    }

    /// Waits for the permits; see [`Bulkhead::acquire`].
    ///
    /// # Errors
    ///
    /// The future returns the same rejection as [`Bulkhead::acquire`].
    #[inline]
    pub fn acquire(&self) -> BulkheadAcquireFuture<'_> {
        BulkheadAcquireFuture::new(self.bulkhead.shared(), self.request())
    }

    /// Waits for the permits for at most `timeout`; see [`Bulkhead::acquire_timeout`].
    ///
    /// # Errors
    ///
    /// The future returns the same rejection as [`Bulkhead::acquire`].
    pub fn acquire_timeout(&self, timeout: Duration) -> BulkheadAcquireFuture<'_> {
        let request = Request::new(self.cost, Some(timeout));
        BulkheadAcquireFuture::new(self.bulkhead.shared(), request)
    }

    /// Waits for the permits, blocking the thread; see [`Bulkhead::acquire_blocking`].
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`Bulkhead::acquire`].
    pub fn acquire_blocking(&self) -> Result<BulkheadPermit<'_>, Rejection> {
        self.bulkhead.shared().block(self.request())
    }

    /// Waits for the permits, blocking the thread for at most `timeout`; see
    /// [`Bulkhead::acquire_blocking_timeout`].
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`Bulkhead::acquire`].
    pub fn acquire_blocking_timeout(
        &self,
        timeout: Duration,
    ) -> Result<BulkheadPermit<'_>, Rejection> {
        self.bulkhead.shared().block(Request::new(self.cost, Some(timeout)))
    }

    /// Acquires permits that keep the bulkhead alive; see [`Bulkhead::try_acquire_owned`].
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`Bulkhead::try_acquire`].
    pub fn try_acquire_owned(&self) -> Result<OwnedBulkheadPermit, Rejection> {
        self.bulkhead.take_owned(&self.request())
    }

    /// Waits for permits that keep the bulkhead alive; see [`Bulkhead::acquire_owned`].
    ///
    /// # Errors
    ///
    /// The future returns the same rejection as [`Bulkhead::acquire`].
    pub fn acquire_owned(&self) -> OwnedBulkheadAcquireFuture {
        OwnedBulkheadAcquireFuture::new(self.bulkhead.clone(), self.request())
    }

    /// Waits for at most `timeout` for permits that keep the bulkhead alive.
    ///
    /// # Errors
    ///
    /// The future returns the same rejection as [`Bulkhead::acquire`].
    pub fn acquire_owned_timeout(&self, timeout: Duration) -> OwnedBulkheadAcquireFuture {
        let request = Request::new(self.cost, Some(timeout));
        OwnedBulkheadAcquireFuture::new(self.bulkhead.clone(), request)
    }

    /// Waits for permits that keep the bulkhead alive, blocking the thread.
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`Bulkhead::acquire`].
    pub fn acquire_owned_blocking(&self) -> Result<OwnedBulkheadPermit, Rejection> {
        self.bulkhead.block_owned(self.request())
    }

    /// Waits for permits that keep the bulkhead alive, blocking the thread for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Returns the same rejection as [`Bulkhead::acquire`].
    pub fn acquire_owned_blocking_timeout(
        &self,
        timeout: Duration,
    ) -> Result<OwnedBulkheadPermit, Rejection> {
        self.bulkhead.block_owned(Request::new(self.cost, Some(timeout)))
    }

    #[inline]
    const fn request(&self) -> Request {
        Request::new(self.cost, self.max_wait)
    }
}

impl Bulkhead {
    pub(super) fn take_owned(&self, request: &Request) -> Result<OwnedBulkheadPermit, Rejection> {
        match request.take(self.shared()) {
            Ok(granted) => Ok(OwnedBulkheadPermit::new(self.clone(), granted)),
            Err(reason) => Err(self.shared().reject(reason)),
        }
    }

    pub(super) fn block_owned(&self, request: Request) -> Result<OwnedBulkheadPermit, Rejection> {
        let granted = block(self.shared(), request)?;
        Ok(OwnedBulkheadPermit::new(self.clone(), granted))
    }
}

impl Shared {
    #[inline]
    pub(super) fn try_acquire(&self, request: &Request) -> Result<BulkheadPermit<'_>, Rejection> {
        match request.take(self) {
            Ok(granted) => Ok(BulkheadPermit::new(self, granted)),
            Err(reason) => Err(self.reject(reason)),
        }
    }

    #[inline]
    pub(super) fn block(&self, request: Request) -> Result<BulkheadPermit<'_>, Rejection> {
        block(self, request).map(|granted| BulkheadPermit::new(self, granted))
    }

    /// Returns the request of a call with the context `cx`.
    #[inline]
    pub(super) fn request(&self, cost: u32, max_wait: Option<Duration>, cx: Context) -> Request {
        Request::of(cost, max_wait, cx, &self.clock)
    }

    fn facts(&self, max_wait: Option<Duration>) -> Facts {
        let facts = Facts::new(POLICY, self.emitter.name)
            .limits_concurrency()
            .identity(std::ptr::from_ref(self).addr());
        match self.engine.max_queue() {
            0 => facts,
            _ => facts.max_queue_wait(max_wait.unwrap_or_else(|| self.engine.max_wait())),
        }
    }
}

impl From<&Bulkhead> for BulkheadPolicy {
    fn from(bulkhead: &Bulkhead) -> Self {
        Self::new(bulkhead.clone())
    }
}

impl From<Bulkhead> for BulkheadPolicy {
    fn from(bulkhead: Bulkhead) -> Self {
        Self::new(bulkhead)
    }
}

impl From<&BulkheadPolicy> for BulkheadPolicy {
    fn from(policy: &BulkheadPolicy) -> Self {
        policy.clone()
    }
}

/// Implements the policy traits for a type with a bulkhead, a cost and a maximum wait.
macro_rules! guards {
    ($($Type:ty, |$self:ident| ($bulkhead:expr, $cost:expr, $max_wait:expr);)+) => {$(
        impl Policy for $Type {
            type Kind = kind::Guard;

            fn facts(&self) -> Facts {
                let $self = self;
                $bulkhead.shared().facts($max_wait)
            }
        }

        impl<T: Send, E: Send> Guard<T, E> for $Type {
            type Permit<'a> = BulkheadPermit<'a>;

            #[inline]
            fn admit(
                &self,
                cx: Context,
            ) -> impl Future<Output = Result<BulkheadPermit<'_>, Rejection>> + Send {
                let $self = self;
                let shared = $bulkhead.shared();
                BulkheadAcquireFuture::new(shared, shared.request($cost, $max_wait, cx))
            }

            #[inline]
            fn admit_blocking(&self, cx: Context) -> Result<BulkheadPermit<'_>, Rejection> {
                let $self = self;
                let shared = $bulkhead.shared();
                shared.block(shared.request($cost, $max_wait, cx))
            }

            #[inline]
            fn record<'a>(&'a self, permit: BulkheadPermit<'a>, _: &Result<T, Error<E>>) {
                drop(permit);
            }
        }

        impl<T, E> OwnedGuard<T, E> for $Type {
            type OwnedPermit = OwnedBulkheadPermit;
            type AdmitFuture = OwnedBulkheadAcquireFuture;

            fn admit_owned(
                &self,
                cx: Context,
            ) -> Admission<OwnedBulkheadPermit, OwnedBulkheadAcquireFuture> {
                let $self = self;
                let shared = $bulkhead.shared();
                let request = shared.request($cost, $max_wait, cx);
                match request.take(shared) {
                    Ok(granted) => {
                        Admission::Admitted(OwnedBulkheadPermit::new($bulkhead.clone(), granted))
                    }
                    // The future rejects the call, or waits.
                    Err(_) => Admission::Waiting(OwnedBulkheadAcquireFuture::new(
                        $bulkhead.clone(),
                        request,
                    )),
                }
            }

            fn record_owned(permit: OwnedBulkheadPermit, _: &Result<T, Error<E>>) {
                drop(permit);
            }
        }
    )+};
}

guards! {
    Bulkhead, |this| (this, 1, None);
    BulkheadPolicy, |this| (this.bulkhead, this.cost, this.max_wait);
}
