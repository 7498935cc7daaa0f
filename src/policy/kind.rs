//! The three kinds of policy, as marker types. Each policy names its kind in
//! [`Policy::Kind`](super::Policy::Kind).

/// The kind of a policy that admits or rejects operations; see [`Guard`](super::Guard).
#[derive(Clone, Copy, Debug)]
pub enum Guard {}

/// The kind of a policy that may run its operation more than once; see [`Repeat`](super::Repeat).
#[derive(Clone, Copy, Debug)]
pub enum Repeat {}

/// The kind of a policy that limits the duration of its operation; see
/// [`TimeLimit`](super::TimeLimit).
#[derive(Clone, Copy, Debug)]
pub enum TimeLimit {}

/// A bound that is satisfied only if the kind equals `Expected`: every type matches itself.
///
/// The methods of the pipeline builder require this bound, so that the compiler reports a policy of
/// the wrong kind at the call that adds it.
#[diagnostic::on_unimplemented(
    message = "this policy is of kind `{Self}`, but kind `{Expected}` is required here",
    label = "not of kind `{Expected}`",
    note = "`.guard(..)` takes policies that admit or reject operations, such as circuit breakers",
    note = "`.repeat(..)` takes policies that run an operation again, such as retries",
    note = "`.time_limit(..)` takes policies that bound the time of an operation, such as timeouts"
)]
pub trait Matches<Expected> {}

impl<K> Matches<K> for K {}
