//! The items of one batch, as the operation receives them, and the results that it returns:
//! [`Batch`], [`BatchResults`].

use super::run::Outcome;
use crate::time::Deadline;
use std::fmt;
use std::ops::Deref;
use std::vec;

/// The items of one batch, in the order in which they were queued.
///
/// Dereferences to a slice, and converts into a vector.
pub struct Batch<T> {
    items: Vec<T>,
    sequences: Vec<u64>,
    nonce: u64,
    deadline: Deadline,
}

impl<T> Batch<T> {
    pub(super) fn new(items: Vec<T>, sequences: Vec<u64>, nonce: u64, deadline: Deadline) -> Self {
        Self { items, sequences, nonce, deadline }
    }

    /// Returns the idempotency key of each item, in the order of the items.
    ///
    /// The key of an item is the same in every batch that contains it. If a batch is
    /// [split](super::BatcherBuilder::split_when) or sent again, the database can recognize by
    /// their keys the items that it has already stored, and ignore them. Different items have
    /// different keys, even in other batchers and processes: a key consists of a random number of
    /// the batcher and the sequence number of the item.
    ///
    /// ```
    /// # use mainstay::batch::Batcher;
    /// # use std::future::ready;
    /// let sink = Batcher::<&str, u128, ()>::builder(|batch| {
    ///     ready(Ok(batch.keys().collect()))
    /// })
    /// .build()?;
    /// assert_ne!(sink.call_blocking("a"), sink.call_blocking("b"));
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn keys(&self) -> impl ExactSizeIterator<Item = u128> + '_ {
        let nonce = u128::from(self.nonce) << 64;
        self.sequences.iter().map(move |sequence| nonce | u128::from(*sequence))
    }

    /// Returns the earliest deadline of the items, by the clock of the batcher. Only items of calls
    /// with a timeout have a deadline.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Returns the items.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.items
    }
}

impl<T> Deref for Batch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.items).finish()
    }
}

/// The results of one batch: `Result<Vec<R>, E>`, a value for each item or one error for all, or
/// `Vec<Result<R, E>>`, a result for each item. The results are in the order of the items.
///
/// It is implemented for these two types only.
#[diagnostic::on_unimplemented(
    message = "the operation returns `{Self}` in place of `Result<Vec<{R}>, {E}>`",
    note = "the operation of a batcher returns `Result<Vec<{R}>, {E}>` or `Vec<Result<{R}, {E}>>`"
)]
pub trait BatchResults<R, E>: sealed::Sealed<R, E> {}

pub(super) mod sealed {
    use super::Outcome;

    #[allow(private_interfaces)] // The trait cannot be named outside of the crate.
    pub trait Sealed<R, E> {
        fn into_outcome(self) -> Outcome<R, E>;
    }
}

impl<R, E> BatchResults<R, E> for Result<Vec<R>, E> {}
impl<R, E> BatchResults<R, E> for Vec<Result<R, E>> {}

#[allow(private_interfaces)]
impl<R, E> sealed::Sealed<R, E> for Result<Vec<R>, E> {
    fn into_outcome(self) -> Outcome<R, E> {
        match self {
            Ok(values) => Outcome::Values(values),
            Err(error) => Outcome::Failed(error),
        }
    }
}

#[allow(private_interfaces)]
impl<R, E> sealed::Sealed<R, E> for Vec<Result<R, E>> {
    fn into_outcome(self) -> Outcome<R, E> {
        Outcome::Each(self)
    }
}
