//! The three kinds of policy, as types. A policy states its own in [`Policy::Kind`](super::Policy::Kind).

/// Marks a policy that admits or rejects operations; see [`Guard`](super::Guard).
#[derive(Clone, Copy, Debug)]
pub enum Guard {}

/// Marks a policy that may run its operation more than once; see [`Repeat`](super::Repeat).
#[derive(Clone, Copy, Debug)]
pub enum Repeat {}

/// Marks a policy that bounds the time of its operation; see [`Limit`](super::Limit).
#[derive(Clone, Copy, Debug)]
pub enum Limit {}

/// A kind that equals `Expected`. Every type matches itself.
///
/// The verbs of a pipeline's builder require it, so that a policy of the wrong kind is reported where
/// it is added.
#[diagnostic::on_unimplemented(
    message = "this policy is of kind `{Self}`, but kind `{Expected}` is required here",
    label = "not of kind `{Expected}`",
    note = "`.guard(..)` takes policies that admit or reject operations, such as circuit breakers",
    note = "`.repeat(..)` takes policies that run an operation again, such as retries",
    note = "`.limit(..)` takes policies that bound the time of an operation, such as timeouts"
)]
pub trait Matches<Expected> {}

impl<K> Matches<K> for K {}
