//! Drops the items that no consumer will pop.
//!
//! When the last consumer is dropped, it closes the ring, sets `abandoned`, and discards the items.
//! A producer may then have claimed a slot and not published it: its item cannot be popped yet.
//! After this producer has published, it finds `abandoned` set and discards the items in the ring.
//! Therefore the last thread to finish, consumer or producer, drops the last item. Several threads
//! can discard at the same time, because they pop the items in the usual way.
//!
//! Each side stores, then loads what the other side stores. At least one must see the store of the
//! other: either the consumer sees the published item, or the producer sees `abandoned`. A full
//! fence after each publication would nearly double the cost of a send. Instead, the fence is
//! asymmetric. The producer only keeps its store and its load in program order (`light_fence`). The
//! consumer retries a busy slot for about as long as a [`SpinWait`] spins, a few microseconds. That
//! is far longer than a processor delays a store that it has executed. If the slot is still busy
//! afterwards, the producer has not published yet, and will load `abandoned` after it was set. If a
//! processor delayed a store for longer, the items would be dropped with the last sender: late, but
//! safely. In the loom models, `light_fence` is a full fence.

use std::mem::needs_drop;
use std::panic::resume_unwind;

use super::Core;
use crate::ring::error::PopError;
use crate::sync::atomic::{Ordering, fence, light_fence};
use crate::sync::{SpinWait, keep_panic, thread};

impl<T> Core<T> {
    /// Discards all items in the ring, and makes producers discard later ones. Called by the last
    /// consumer, after `close`.
    pub(in crate::ring) fn abandon(&self) {
        debug_assert!(self.is_closed());
        // Ordering: release, so that a producer that sees the flag also sees the ring closed. The
        // fence is the heavy half of the asymmetric fence: see the module documentation.
        self.abandoned.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        // A loom model does not retry: each retry yields, so the producer would always finish
        // first, and the model would never explore the case in which the slot stays busy.
        let mut spin = SpinWait::new();
        self.discard_while(|| thread::RETRIES && spin.spin());
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
        // Two producers that publish at the same time must not each find the slot of the other one
        // busy. In the loom models, `light_fence` already prevents this.
        fence(Ordering::SeqCst);
        self.discard_items();
    }

    /// Pops and drops items until the ring is empty or a peer owns the slot of the next item.
    pub(super) fn discard_items(&self) {
        self.discard_while(|| false);
    }

    /// Pops and drops items until the ring is empty. While a peer owns the slot of the next item,
    /// retries as long as `retry` returns true.
    ///
    /// If the destructor of an item panics, the other items are still dropped. The first panic is
    /// resumed afterwards, unless the thread is already unwinding.
    fn discard_while(&self, mut retry: impl FnMut() -> bool) {
        let mut first_panic = None;
        loop {
            match self.claim_pop() {
                Ok(claim) => {
                    let item = self.take(&claim);
                    keep_panic(&mut first_panic, || drop(item));
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
