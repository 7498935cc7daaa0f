//! Batches: several consecutive slots claimed by one compare-and-swap.
//!
//! A batch of one item uses the code of a single push or pop, which needs no runs.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use super::{Claim, Core};
use crate::ring::batch_source::BatchSource;
use crate::ring::error::{PopError, PushError};
use crate::ring::position::{FREE, FULL, Run};

impl<T> Core<T> {
    /// Claims up to `max` consecutive free slots, at least one. `max` is at least 1.
    #[inline]
    pub(in crate::ring) fn claim_push_batch(&self, max: usize) -> Result<Claim, PushError<()>> {
        if max == 1 {
            return self.claim_push();
        }
        self.claim_free(|position| self.count(position, max, FREE))
    }

    /// Claims up to `max` consecutive full slots, at least one. `max` is at least 1. Calls
    /// `prepare` with the number of slots before each attempt to claim them.
    #[inline]
    pub(in crate::ring) fn claim_pop_batch(
        &self,
        max: usize,
        mut prepare: impl FnMut(usize),
    ) -> Result<Claim, PopError> {
        if max == 1 {
            return self.claim_full(|position| {
                let count = usize::from(self.is_stamped(position, FULL));
                prepare(count);
                count
            });
        }
        self.claim_full(|position| {
            let count = self.count(position, max, FULL);
            prepare(count);
            count
        })
    }

    /// Returns the number of consecutive slots from `position` on that are in `state`, at most
    /// `max`.
    #[inline(always)]
    pub(super) fn count(&self, position: u64, max: usize, state: u64) -> usize {
        let run = self.geometry.run(position, max);
        let count = self.slots.count(run, state);
        if count < run.count || count == max {
            count
        } else {
            self.count_from_start(position, count, max, state)
        }
    }

    /// Continues the count at the first slot of the ring, after `count` slots at its end.
    #[cold]
    #[inline(never)]
    fn count_from_start(&self, position: u64, count: usize, max: usize, state: u64) -> usize {
        let left = max.min(self.capacity()) - count;
        let position = self.geometry.advance(position, count);
        count + self.slots.count(self.geometry.run(position, left), state)
    }

    /// Fills the claimed slots, in order.
    #[inline]
    pub(in crate::ring) fn publish_batch(&self, claim: &Claim, batch: &mut impl BatchSource<T>) {
        if claim.count == 1 {
            let Some(value) = batch.next() else { unreachable!("the length of a batch is exact") };
            return self.publish(claim, value);
        }
        let run = self.geometry.run(claim.position, claim.count);
        self.slots.fill_run(run, batch);
        if run.count < claim.count {
            self.publish_rest(self.rest(claim, run), batch);
        }
    }

    #[cold]
    #[inline(never)]
    fn publish_rest(&self, rest: Run, batch: &mut impl BatchSource<T>) {
        self.slots.fill_run(rest, batch);
    }

    /// Returns the claimed slots that follow `run`; they begin at the first slot of the ring.
    fn rest(&self, claim: &Claim, run: Run) -> Run {
        self.geometry.run(self.geometry.advance(claim.position, run.count), claim.count - run.count)
    }

    /// Moves the items of the claimed slots, in order, into memory that was reserved before the
    /// claim.
    #[inline]
    pub(in crate::ring) fn take_batch(&self, claim: &Claim, into: &mut Vec<T>) {
        if claim.count == 1 {
            return into.push(self.take(claim));
        }
        let run = self.geometry.run(claim.position, claim.count);
        let free = into.spare_capacity_mut();
        // Checked before an item is moved: a panic here stalls other consumers and producers. A
        // later panic would also lose items.
        assert!(claim.count <= free.len(), "memory was reserved before the claim");
        let (free, free_for_rest) = free.split_at_mut(run.count);
        self.slots.empty_run(run, self.geometry, free);
        if run.count < claim.count {
            self.take_rest(self.rest(claim, run), free_for_rest);
        }
        // SAFETY: the `claim.count` elements after the end were just initialized.
        unsafe { into.set_len(into.len() + claim.count) };
    }

    #[cold]
    #[inline(never)]
    fn take_rest(&self, rest: Run, free: &mut [MaybeUninit<T>]) {
        self.slots.empty_run(rest, self.geometry, &mut free[..rest.count]);
    }
}
