//! Panics of user code that are discarded, or are resumed later.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f` and discards its panic, which the panic hook has already reported. If the
/// destructor of the payload panics too, the payload of the second panic is leaked.
pub(crate) fn discard_panic(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        mem::forget(second);
    }
}

/// Runs `f`. If it panics, keeps the payload in `first`, or discards it if there is one already.
pub(crate) fn keep_panic(first: &mut Option<Box<dyn Any + Send>>, f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        match first {
            None => *first = Some(payload),
            Some(_) => discard_panic(|| drop(payload)),
        }
    }
}
