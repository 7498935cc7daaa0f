//! Dropping the items that no consumer will pop.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Core;

impl<T> Core<T> {
    /// Pops and drops items until there is none, or a peer owns the slot of the next one.
    ///
    /// An item whose destructor panics does not keep the others alive. The first panic goes on when
    /// all of them are dropped, unless the thread is unwinding already.
    pub(in crate::ring) fn discard_items(&self) {
        let mut first_panic = None;
        while let Ok(claim) = self.claim_pop() {
            let item = self.take(&claim);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(item))) {
                first_panic.get_or_insert(panic);
            }
        }
        if let Some(panic) = first_panic
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
