//! Panics of user code that must not spread.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f` and discards its panic, which the panic hook has reported by then. A payload that
/// panics when it is dropped is leaked.
pub(crate) fn discard_panic(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        mem::forget(second);
    }
}
