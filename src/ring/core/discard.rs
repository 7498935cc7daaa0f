//! Dropping the items that no consumer will pop.
//!
//! When the last consumer leaves, it closes the ring, sets `abandoned`, and discards the items. A
//! producer may be between its claim and its publication at that moment: its item cannot be popped
//! yet. Such a producer finds `abandoned` set after it has published, and discards what is in the
//! ring. So the last thread to finish, consumer or producer, drops the last item. Discarding pops
//! items in the usual way, so several threads can do it at the same time.
//!
//! This needs the store of one side to come before the load of the other: either the consumer sees
//! the published item, or the producer sees `abandoned`. A full fence after each publication would
//! nearly double the cost of a send. Instead, the fence is asymmetric. The producer only keeps its
//! store and its load in program order (`light_fence`). The consumer does not leave a busy slot
//! before it has retried for a few microseconds. That is far longer than a processor delays a store
//! that it has executed; so if the slot is still busy, the producer has yet to publish, and will
//! then load `abandoned` after it was set. If a processor did delay a store for so long, the items
//! would be dropped with the last sender: late, but safely. In the loom models `light_fence` is a
//! full fence.

use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Core;
use crate::ring::error::PopError;
use crate::sync::atomic::{Ordering, fence, light_fence};
use crate::sync::{SpinWait, thread};

impl<T> Core<T> {
    /// Discards all items, now and later. Called by the last consumer, after `close`.
    pub(in crate::ring) fn abandon(&self) {
        debug_assert!(self.is_closed());
        // Ordering: release, so that a producer that sees the flag also sees the ring closed. The
        // fence is the heavy half of the asymmetric fence: see the module documentation.
        self.abandoned.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        // A model does not retry: a thread that yields there lets the producer finish first.
        let mut spin = SpinWait::new();
        self.discard_while(|| thread::LOOKS_AGAIN && spin.spin());
    }

    /// Discards all items if no consumer is left. Called by a producer after it has published.
    #[inline(always)]
    pub(in crate::ring) fn discard_if_abandoned(&self) {
        if needs_drop::<T>() {
            light_fence();
            // Ordering: acquire, with the release in `abandon`.
            if self.abandoned.load(Ordering::Acquire) {
                self.discard_published();
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn discard_published(&self) {
        // Two producers that publish now must not both see the slot of the other one busy. In the
        // loom models, `light_fence` has this effect already.
        fence(Ordering::SeqCst);
        self.discard_items();
    }

    /// Pops and drops items until there is none, or a peer owns the slot of the next one.
    pub(super) fn discard_items(&self) {
        self.discard_while(|| false);
    }

    /// Pops and drops items until there is none. While a peer owns the slot of the next item,
    /// retries as long as `retry` returns true.
    ///
    /// An item whose destructor panics does not keep the others alive. The first panic continues
    /// when all items are dropped, unless the thread is already unwinding.
    fn discard_while(&self, mut retry: impl FnMut() -> bool) {
        let mut first_panic = None;
        loop {
            match self.claim_pop() {
                Ok(claim) => {
                    let item = self.take(&claim);
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(item))) {
                        first_panic.get_or_insert(panic);
                    }
                }
                Err(PopError::Busy) if retry() => {}
                Err(_) => break,
            }
        }
        if let Some(panic) = first_panic
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
