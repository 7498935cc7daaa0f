//! The traits that policies implement: [`Guard`], [`Repeat`] and [`TimeLimit`].
//!
//! - A *guard* admits or rejects an operation and records its outcome: circuit breakers, rate
//!   limiters, bulkheads.
//! - A *repeat* may run the operation more than once: retries, hedges, fallbacks.
//! - A *limit* limits the duration of the operation: timeouts.
//!
//! Every policy passes a [`Context`] to the policies below it, and describes itself in [`Facts`].
//! The primitives of this crate implement these traits, and users can implement them for their own
//! policies. A policy that implements one of them applies to futures and to blocking closures, and
//! can be combined with the policies of this crate in a pipeline. To be used in a Tower layer, a
//! policy must also implement [`OwnedGuard`] or [`OwnedRepeat`].
//!
//! # Examples
//!
//! A guard that rejects every call during maintenance:
//!
//! ```
//! use mainstay::error::{ConfigError, Error, Reason, Rejection};
//! use mainstay::pipeline::Pipeline;
//! use mainstay::policy::{self, Context, Facts, Guard, Policy, kind};
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::time::Duration;
//!
//! struct Maintenance {
//!     name: &'static str,
//!     active: AtomicBool,
//! }
//!
//! impl Maintenance {
//!     fn new(name: &str) -> Result<Self, ConfigError> {
//!         Ok(Self { name: policy::name(name)?, active: AtomicBool::new(false) })
//!     }
//! }
//!
//! impl Policy for Maintenance {
//!     type Kind = kind::Guard;
//!
//!     fn facts(&self) -> Facts {
//!         Facts::new("maintenance", self.name)
//!     }
//! }
//!
//! impl<T: Send, E: Send> Guard<T, E> for Maintenance {
//!     type Permit<'a> = ();
//!
//!     async fn admit(&self, cx: Context) -> Result<(), Rejection> {
//!         Guard::<T, E>::admit_blocking(self, cx)
//!     }
//!
//!     fn admit_blocking(&self, _: Context) -> Result<(), Rejection> {
//!         if self.active.load(Ordering::Relaxed) {
//!             let rejection = Rejection::new(Reason::Custom, self.name);
//!             return Err(rejection.with_retry_after(Duration::from_secs(60)));
//!         }
//!         Ok(())
//!     }
//!
//!     fn record(&self, (): (), _: &Result<T, Error<E>>) {}
//! }
//!
//! let maintenance = Maintenance::new("nightly backup")?;
//! let pipeline = Pipeline::builder().guard(&maintenance).build();
//! assert_eq!(pipeline.call_blocking(|| Ok::<_, ()>(1)), Ok(1));
//!
//! maintenance.active.store(true, Ordering::Relaxed);
//! let error = pipeline.call_blocking(|| Ok::<_, ()>(1)).unwrap_err();
//! assert!(error.is_rejected());
//! assert_eq!(error.retry_after_secs(), Some(60));
//! # Ok::<(), ConfigError>(())
//! ```

mod caller;
mod context;
mod facts;
mod guard;
pub(crate) mod guarded;
pub mod kind;
mod name;
mod priority;
mod repeat;
mod shared;
mod spawn;
mod stream;
mod time_limit;

pub use caller::Caller;
pub use context::Context;
pub use facts::{Facts, RepeatSafety};
pub use guard::{Admission, Guard, OwnedGuard};
pub use name::name;
pub use priority::{Priority, PriorityClass};
pub use repeat::{Attempt, OwnedRepeat, Repeat};
pub use spawn::{BoxedJob, SpawnJob};
pub use stream::{PermitStream, StreamAdmitFuture, StreamGuard, StreamPermits};
pub use time_limit::TimeLimit;
pub(crate) use time_limit::end_of_limit;

/// A policy of any kind.
///
/// `&P` and `Arc<P>` are policies of the same kind if `P` is a policy, so a pipeline can borrow or
/// share its policies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a policy",
    note = "a policy implements `Policy` and one of `Guard`, `Repeat` and `TimeLimit`"
)]
pub trait Policy: Send + Sync {
    /// The kind of policy: [`kind::Guard`], [`kind::Repeat`] or [`kind::TimeLimit`]. It must match
    /// the trait that the policy implements.
    type Kind;

    /// Returns the static description of the policy.
    fn facts(&self) -> Facts;
}
