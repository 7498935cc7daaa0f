//! What can be pushed in one go.

use std::{array, collections::vec_deque, vec};

/// The owning iterators of the standard library's collections, from whose front
/// [`Ring::push_batch`](super::Ring::push_batch) takes.
///
/// No others: between claiming slots and publishing items a batch must run no code that could panic or
/// take its time, because every peer would be held up. Collect first what comes from elsewhere. What
/// was not pushed stays in the iterator. Items of a vector or an array, which stand in one piece, are moved
/// fastest.
pub trait Batch<T>: ExactSizeIterator<Item = T> + sealed::Sealed<T> {}

mod sealed {
    pub trait Sealed<T> {
        /// Items from the front that stand next to each other in memory: all of them, or none if that
        /// cannot be told.
        fn front(&self) -> &[T];
    }
}

macro_rules! batches {
    ($([$($generics:tt)*] $iterator:ty: $front:expr;)*) => {$(
        impl<$($generics)*> sealed::Sealed<T> for $iterator {
            #[inline(always)]
            fn front(&self) -> &[T] {
                let front: fn(&Self) -> &[T] = $front;
                front(self)
            }
        }
        impl<$($generics)*> Batch<T> for $iterator {}
    )*};
}

batches! {
    [T] vec::IntoIter<T>: Self::as_slice;
    [T] vec::Drain<'_, T>: Self::as_slice;
    [T, const N: usize] array::IntoIter<T, N>: Self::as_slice;
    // The standard library does not show these.
    [T] vec_deque::IntoIter<T>: |_| &[];
    [T] vec_deque::Drain<'_, T>: |_| &[];
}
