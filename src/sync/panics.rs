//! Panics of user code that must not propagate.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f` and discards its panic, which the panic hook has already reported. A payload that
/// panics when it is dropped is leaked.
pub(crate) fn discard_panic(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        mem::forget(second);
    }
}
