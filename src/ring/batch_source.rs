//! The iterators from which a batch can be sent.

use std::{array, collections::vec_deque, vec};

/// The owning iterators of the standard library's collections: `vec::IntoIter`, `vec::Drain`,
/// `array::IntoIter`, `vec_deque::IntoIter` and `vec_deque::Drain`.
///
/// A batch operation takes items from the front of its source and leaves the rest in it. The trait
/// is sealed: between claiming the slots and publishing the items, a producer must not run code
/// that can panic or take long, because that would block other producers and consumers. Collect
/// items from other iterators first.
///
/// The items of a vector or an array are contiguous in memory and are moved fastest.
pub trait BatchSource<T>: ExactSizeIterator<Item = T> + sealed::Sealed<T> {}

mod sealed {
    pub trait Sealed<T> {
        /// Returns all remaining items as a slice, or an empty slice if the iterator has no
        /// `as_slice`.
        fn front(&self) -> &[T];
    }
}

macro_rules! batch_sources {
    ($([$($generics:tt)*] $iterator:ty: $front:expr;)*) => {$(
        impl<$($generics)*> sealed::Sealed<T> for $iterator {
            #[inline(always)]
            fn front(&self) -> &[T] {
                let front: fn(&Self) -> &[T] = $front;
                front(self)
            }
        }
        impl<$($generics)*> BatchSource<T> for $iterator {}
    )*};
}

batch_sources! {
    [T] vec::IntoIter<T>: Self::as_slice;
    [T] vec::Drain<'_, T>: Self::as_slice;
    [T, const N: usize] array::IntoIter<T, N>: Self::as_slice;
    // These have no `as_slice`.
    [T] vec_deque::IntoIter<T>: |_| &[];
    [T] vec_deque::Drain<'_, T>: |_| &[];
}
