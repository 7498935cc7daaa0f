//! What can be pushed in one go.

use std::{array, collections::vec_deque, vec};

/// The owning iterators of the standard library's collections, from whose front
/// [`Ring::push_batch`](super::Ring::push_batch) takes.
///
/// No others: between claiming slots and publishing items a batch must run no code that could panic or
/// take its time, because every peer would be held up. Collect first what comes from elsewhere. What
/// was not pushed stays in the iterator.
pub trait Batch<T>: ExactSizeIterator<Item = T> + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! batches {
    ($([$($generics:tt)*] $iterator:ty;)*) => {$(
        impl<$($generics)*> sealed::Sealed for $iterator {}
        impl<$($generics)*> Batch<T> for $iterator {}
    )*};
}

batches! {
    [T] vec::IntoIter<T>;
    [T] vec::Drain<'_, T>;
    [T] vec_deque::IntoIter<T>;
    [T] vec_deque::Drain<'_, T>;
    [T, const N: usize] array::IntoIter<T, N>;
}
