//! Implementations of the policy traits for `&P` and `Arc<P>`, which forward to `P`.

use super::{
    Admission, Attempt, Context, Facts, Guard, OwnedGuard, OwnedRepeat, Policy, Repeat, TimeLimit,
};
use crate::error::{Error, Rejection};
use crate::outcome::Outcome;
use crate::sync::PlainArc;
use crate::time::Clock;
use std::future::Future;
use std::time::Duration;

macro_rules! forward {
    ($P:ident, $Pointer:ty) => {
        impl<$P: Policy + ?Sized> Policy for $Pointer {
            type Kind = $P::Kind;

            #[inline]
            fn facts(&self) -> Facts {
                (**self).facts()
            }
        }

        impl<T, E, $P: Guard<T, E> + ?Sized> Guard<T, E> for $Pointer {
            type Permit<'a>
                = $P::Permit<'a>
            where
                Self: 'a;

            #[inline]
            fn admit(
                &self,
                cx: Context,
            ) -> impl Future<Output = Result<Self::Permit<'_>, Rejection>> + Send {
                Guard::<T, E>::admit(&**self, cx)
            }

            #[inline]
            fn admit_blocking(&self, cx: Context) -> Result<Self::Permit<'_>, Rejection> {
                Guard::<T, E>::admit_blocking(&**self, cx)
            }

            #[inline(always)]
            fn record<'a>(&'a self, permit: Self::Permit<'a>, result: &Result<T, Error<E>>) {
                (**self).record(permit, result);
            }
        }

        impl<T, E, $P: OwnedGuard<T, E>> OwnedGuard<T, E> for $Pointer {
            type OwnedPermit = $P::OwnedPermit;
            type AdmitFuture = $P::AdmitFuture;

            #[inline]
            fn admit_owned(&self, cx: Context) -> Admission<Self::OwnedPermit, Self::AdmitFuture> {
                OwnedGuard::<T, E>::admit_owned(&**self, cx)
            }

            #[inline]
            fn record_owned(permit: Self::OwnedPermit, result: &Result<T, Error<E>>) {
                $P::record_owned(permit, result);
            }

            #[inline]
            fn record_outcome_owned(permit: Self::OwnedPermit, outcome: Outcome) {
                $P::record_outcome_owned(permit, outcome);
            }
        }

        impl<T: Send, E: Send, $P: Repeat<T, E> + ?Sized> Repeat<T, E> for $Pointer {
            #[inline]
            fn call<Op, Fut>(
                &self,
                cx: Context,
                op: Op,
            ) -> impl Future<Output = Result<T, Error<E>>> + Send
            where
                Op: Fn(Context) -> Fut + Send + Sync,
                Fut: Future<Output = Result<T, Error<E>>> + Send,
            {
                (**self).call(cx, op)
            }

            #[inline]
            fn call_blocking<Op>(&self, cx: Context, op: Op) -> Result<T, Error<E>>
            where
                Op: Fn(Context) -> Result<T, Error<E>>,
            {
                (**self).call_blocking(cx, op)
            }
        }

        impl<T, E, $P: OwnedRepeat<T, E>> OwnedRepeat<T, E> for $Pointer {
            type CallFuture<A: Attempt<T, E>> = $P::CallFuture<A>;

            #[inline]
            fn call_owned<A: Attempt<T, E>>(&self, cx: Context, attempt: A) -> Self::CallFuture<A> {
                (**self).call_owned(cx, attempt)
            }
        }

        impl<$P: TimeLimit + ?Sized> TimeLimit for $Pointer {
            #[inline]
            fn duration(&self) -> Duration {
                (**self).duration()
            }

            #[inline]
            fn clock(&self) -> &Clock {
                (**self).clock()
            }

            #[inline]
            fn deadline_margin(&self) -> Duration {
                (**self).deadline_margin()
            }
        }
    };
}

forward!(P, &P);
forward!(P, PlainArc<P>);
