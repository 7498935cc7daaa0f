//! The implementation of the guard traits for [`Prioritizer`].

use super::{OwnedPrioritizerPermit, POLICY, Prioritizer, PrioritizerPermit};
use crate::error::{Error, Rejection};
use crate::policy::{Admission, Context, Facts, Guard, OwnedGuard, Policy, kind};
use std::future::Ready;

impl Policy for Prioritizer {
    type Kind = kind::Guard;

    fn facts(&self) -> Facts {
        Facts::new(POLICY, self.name()).identity(std::ptr::from_ref(&*self.0).addr())
    }
}

/// The priority and the user of a call are those of its [`Context`].
impl<T: Send, E: Send> Guard<T, E> for Prioritizer {
    type Permit<'a> = PrioritizerPermit<'a>;

    async fn admit(&self, cx: Context) -> Result<PrioritizerPermit<'_>, Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }

    fn admit_blocking(&self, cx: Context) -> Result<PrioritizerPermit<'_>, Rejection> {
        self.0.admit(cx.caller(), cx.on(&self.0.clock).now())?;
        Ok(PrioritizerPermit::new(&self.0))
    }

    fn record<'a>(&'a self, permit: PrioritizerPermit<'a>, result: &Result<T, Error<E>>) {
        if matches!(result, Err(Error::Rejected(_))) {
            permit.rejected();
        }
    }
}

impl<T, E> OwnedGuard<T, E> for Prioritizer {
    type OwnedPermit = OwnedPrioritizerPermit;
    type AdmitFuture = Ready<Result<Self::OwnedPermit, Rejection>>;

    fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
        match self.0.admit(cx.caller(), cx.on(&self.0.clock).now()) {
            Ok(()) => Admission::Admitted(OwnedPrioritizerPermit::new(self.clone())),
            Err(rejection) => Admission::Rejected(rejection),
        }
    }

    fn record_owned(permit: Self::OwnedPermit, result: &Result<T, Error<E>>) {
        if matches!(result, Err(Error::Rejected(_))) {
            permit.rejected();
        }
    }
}
