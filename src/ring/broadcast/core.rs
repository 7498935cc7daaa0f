//! The core of a broadcast ring: the tail, the slots and the gate, without waiting.
//!
//! A send goes through these steps:
//!
//! 1. It reads the position at the tail and, if senders wait for subscribers, checks that the gate
//!    admits it.
//! 2. It claims the slot of that position. If readers pin the slot, the position gets no item, and
//!    the send continues with the next position. A send therefore does not wait for a reader that
//!    was suspended while it cloned an item, unless every slot has such a reader.
//! 3. It stores the item and publishes it with the state of the slot. The send takes effect here.
//! 4. It advances the tail. Until then, the attempts of other senders find that the position is
//!    owned.
//!
//! There is one slot more than the capacity. The slot at the tail therefore never holds an item
//! that must be kept, and `close` can mark it as the end.

use super::error::BroadcastTryRecvError;
use super::gate::{Cursor, Gate};
use super::slots::{Claim, Read, Slots};
use super::{BroadcastOverflow, BroadcastStart};
use crate::error::ConfigError;
use crate::ring::error::PushError;
use crate::ring::position::{CLOSED, Geometry, WAITING, invalid_capacity, position_of};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, CachePadded};

pub(super) struct Core<T> {
    /// The position of the next item, and two flags: CLOSED if the ring is closed, WAITING if
    /// subscribers wait for an item.
    tail: CachePadded<AtomicU64>,
    slots: Slots<T>,
    /// Present if senders wait for the slowest subscriber.
    gate: Option<Gate>,
}

impl<T> Core<T> {
    pub(super) fn try_new(
        capacity: usize,
        overflow: BroadcastOverflow,
    ) -> Result<Self, ConfigError> {
        let slots = capacity.checked_add(1).filter(|_| capacity > 0);
        let geometry = slots
            .and_then(|slots| Geometry::new(slots).ok())
            .ok_or_else(|| invalid_capacity(capacity))?;
        let start = start(geometry);
        Ok(Self {
            tail: CachePadded::new(AtomicU64::new(start)),
            slots: Slots::try_new(geometry)?,
            gate: match overflow {
                BroadcastOverflow::OverwriteOldest => None,
                BroadcastOverflow::WaitForSlowest => Some(Gate::new(start)),
            },
        })
    }

    fn geometry(&self) -> Geometry {
        self.slots.geometry
    }

    pub(super) fn capacity(&self) -> usize {
        self.geometry().capacity() - 1
    }

    #[inline(always)]
    pub(super) fn tail(&self) -> u64 {
        position_of(self.tail.load(Ordering::Acquire))
    }

    /// Sends `value` unless the ring is full. Returns the item that was overwritten, so that the
    /// caller can drop it, which runs user code. Sets `has_waiters` if the caller must wake waiting
    /// subscribers, which may also be necessary after an error.
    #[inline(always)]
    pub(super) fn try_send(
        &self,
        value: T,
        has_waiters: &mut bool,
    ) -> Result<Option<T>, PushError<T>> {
        let mut skipped = 0;
        loop {
            // Ordering: acquire, with the release in `advance`: the previous owner has finished.
            let tail = self.tail.load(Ordering::Acquire);
            let position = position_of(tail);
            if tail & CLOSED != 0 {
                return Err(PushError::Closed(value));
            }
            if let Some(gate) = &self.gate
                && !gate.admits(self.geometry(), position)
            {
                return Err(PushError::Full(value));
            }
            match self.slots.claim(position) {
                Claim::Owned => {
                    let evicted = self.slots.fill(position, value);
                    *has_waiters |= self.advance(position);
                    return Ok(evicted);
                }
                Claim::Skipped => {
                    self.slots.skip(position);
                    let step = self.geometry().next(position) - position;
                    let tail = self.tail.fetch_add(step, Ordering::AcqRel);
                    if tail & CLOSED != 0 {
                        self.slots.end(position + step);
                    }
                    // Without a gate, the flag stays set until the next item is sent. With a gate,
                    // waiting subscribers must first pass this position, because the ring can be
                    // full for the next one until they do.
                    if tail & WAITING != 0 && self.gate.is_some() {
                        self.tail.fetch_and(!WAITING, Ordering::AcqRel);
                        *has_waiters = true;
                    }
                    skipped += 1;
                    if skipped == self.geometry().capacity() {
                        // Each slot was pinned by readers when it was tried.
                        return Err(PushError::Busy(value));
                    }
                }
                Claim::Taken => {
                    // Ordering: acquire, with the release of `close`, which has marked the slot if
                    // the tail is closed now.
                    let now = self.tail.load(Ordering::Acquire);
                    if position_of(now) == position && now & CLOSED == 0 {
                        return Err(PushError::Busy(value));
                    }
                }
            }
        }
    }

    /// Advances the tail past `position`, whose item has been published. Returns whether
    /// subscribers wait for it.
    #[inline(always)]
    fn advance(&self, position: u64) -> bool {
        let step = self.geometry().next(position) - position;
        // Ordering: release, for the next owner; acquire, for the flags.
        let tail = self.tail.fetch_add(step, Ordering::AcqRel);
        match tail & (WAITING | CLOSED) {
            0 => false,
            flags => self.advanced_with(flags, position + step),
        }
    }

    #[cold]
    fn advanced_with(&self, flags: u64, next: u64) -> bool {
        if flags & CLOSED != 0 {
            // `close` found that this position was owned, and left it to the owner to mark the end.
            self.slots.end(next);
        }
        self.tail.fetch_and(!WAITING, Ordering::AcqRel);
        true
    }

    /// Closes the ring. Returns whether it was open before.
    pub(super) fn close(&self) -> bool {
        let tail = self.tail.fetch_or(CLOSED, Ordering::AcqRel);
        if tail & CLOSED == 0 {
            self.slots.end(position_of(tail));
        }
        tail & CLOSED == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.tail.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Sets the flag of waiting subscribers, for a subscriber that waits for the item of
    /// `position`. Returns `false` if the item may have been sent or the ring may have been closed.
    pub(super) fn flag_waiting_subscriber(&self, position: u64) -> bool {
        let mut tail = self.tail.load(Ordering::Acquire);
        loop {
            // The tail is one behind if the sender of the last item has not advanced it yet. That
            // sender will find the flag and wake the subscriber, which tries again.
            if position_of(tail) > position || self.slots.is_ended(position) {
                return false;
            }
            if tail & WAITING != 0 {
                return true;
            }
            match self.tail.compare_exchange_weak(
                tail,
                tail | WAITING,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => tail = now,
            }
        }
    }

    /// Sets the flag of waiting senders. Returns `false` if a send may succeed now, or if the ring
    /// is closed.
    pub(super) fn flag_waiting_sender(&self) -> bool {
        let position = self.tail();
        match &self.gate {
            Some(gate) => gate.flag_waiting_sender(self.geometry(), position) && !self.is_closed(),
            None => false,
        }
    }

    /// Returns the position of the oldest item that is kept while the tail is at `tail`.
    fn oldest(&self, tail: u64) -> u64 {
        let geometry = self.geometry();
        geometry.next(tail - geometry.next_lap(0)).max(start(geometry))
    }

    /// Returns the position of the first item of a subscriber that is added now.
    fn select(&self, start: BroadcastStart) -> u64 {
        match start {
            BroadcastStart::Now => match self.tail() {
                // The item at the tail was already sent, but its sender has not advanced the tail
                // yet.
                tail if self.slots.is_sent(tail) => self.geometry().next(tail),
                tail => tail,
            },
            BroadcastStart::OldestKept => self.oldest(self.tail()),
        }
    }

    /// Returns the number of items that were sent before `position`, or `None` if the position has
    /// been overwritten meanwhile.
    fn sequence_before(&self, position: u64) -> Option<u64> {
        if position < self.tail() {
            self.slots.sequence_before(position)
        } else {
            self.slots.sequence_through(self.geometry().previous(position))
        }
    }

    /// Returns a new reader. Senders wait for it if the ring has a gate.
    pub(super) fn reader(&self, start: BroadcastStart) -> Reader {
        let gated = self.gate.as_ref().map(|gate| gate.add(|| self.select(start)));
        loop {
            // A reader with a cursor keeps its position: the sequence number is available at the
            // latest when the tail has passed the position.
            let position = gated.as_ref().map_or_else(|| self.select(start), |(_, at)| *at);
            if let Some(sequence) = self.sequence_before(position) {
                return Reader {
                    position,
                    sequence,
                    missed: 0,
                    cursor: gated.map(|(cursor, at)| (at, cursor)),
                };
            }
        }
    }

    /// Returns a reader at the same position.
    pub(super) fn clone_reader(&self, reader: &Reader) -> Reader {
        let cursor = match (&reader.cursor, &self.gate) {
            // The bound cannot pass the position while the cursor of `reader` is in the gate.
            (Some(_), Some(gate)) => {
                let (cursor, position) = gate.add(|| reader.position);
                Some((position, cursor))
            }
            _ => None,
        };
        Reader { cursor, ..*reader }
    }

    /// Removes a reader from the gate: senders no longer wait for it. Returns whether a sender was
    /// waiting for it.
    pub(super) fn release(&self, reader: &mut Reader) -> bool {
        match (reader.cursor.take(), &self.gate) {
            (Some((_, cursor)), Some(gate)) => gate.remove(&cursor),
            _ => false,
        }
    }

    /// Makes one attempt to receive the next item of `reader`. Sets `has_waiters` if the caller has
    /// to wake waiting senders.
    #[inline(always)]
    pub(super) fn try_recv(
        &self,
        reader: &mut Reader,
        has_waiters: &mut bool,
    ) -> Result<T, BroadcastTryRecvError>
    where
        T: Clone,
    {
        let publish = Publish(reader, has_waiters);
        self.try_read(publish.0)
    }

    /// Receives up to `max` items, at least one, and appends them to `into`. Returns an error only
    /// if it has received no item. Sets `has_waiters` as [`try_recv`](Self::try_recv) does.
    pub(super) fn try_recv_batch(
        &self,
        reader: &mut Reader,
        has_waiters: &mut bool,
        into: &mut Vec<T>,
        max: usize,
    ) -> Result<usize, BroadcastTryRecvError>
    where
        T: Clone,
    {
        // The position of the reader is published once, after the last item.
        let publish = Publish(reader, has_waiters);
        let before = into.len();
        while into.len() - before < max {
            match self.try_read(publish.0) {
                Ok(item) => into.push(item),
                Err(error) if into.len() == before => return Err(error),
                Err(error) => {
                    // Missed items are reported before the items that follow them.
                    if let BroadcastTryRecvError::Missed(count) = error {
                        publish.0.missed = count;
                    }
                    break;
                }
            }
        }
        Ok(into.len() - before)
    }

    /// Reads the next item and advances `reader`, without publishing its position.
    #[inline(always)]
    fn try_read(&self, reader: &mut Reader) -> Result<T, BroadcastTryRecvError>
    where
        T: Clone,
    {
        /// Advances the reader when dropped, so that an item whose clone panics counts as received.
        struct Passed<'a>(&'a mut Reader, Geometry);
        impl Drop for Passed<'_> {
            #[inline(always)]
            fn drop(&mut self) {
                self.0.sequence += 1;
                self.0.position = self.1.next(self.0.position);
            }
        }
        if reader.missed > 0 {
            return Err(BroadcastTryRecvError::Missed(std::mem::take(&mut reader.missed)));
        }
        let geometry = self.geometry();
        loop {
            let position = reader.position;
            let gated = reader.cursor.is_some();
            let read = |item: &T| {
                let _passed = Passed(reader, geometry);
                item.clone()
            };
            let result = match gated {
                true => self.slots.read_gated(position, read),
                false => self.slots.read_pinned(position, read),
            };
            match result {
                Read::Item(item) => return Ok(item),
                // The sequence number of the position is stored only when the tail has passed it.
                Read::Skipped if self.tail() > position => {
                    reader.position = geometry.next(position);
                }
                Read::Skipped | Read::NotSent => match self.closing(position) {
                    Closing::No => return Err(BroadcastTryRecvError::Empty),
                    // The unfinished send takes effect before the end of the ring.
                    Closing::Sending => return Err(BroadcastTryRecvError::Busy),
                    Closing::Decided => {}
                },
                Read::Busy => return Err(BroadcastTryRecvError::Busy),
                Read::Ended => return Err(BroadcastTryRecvError::Closed),
                Read::Overwritten => match self.catch_up(reader) {
                    0 => {} // the overwritten positions had no items
                    missed => return Err(BroadcastTryRecvError::Missed(missed)),
                },
            }
        }
    }

    /// Returns whether the ring is closed, for a reader that has found no item at `position`. If
    /// the tail is closed but the end is not marked yet, this marks it. Otherwise, a reader could
    /// report an empty ring after a send was rejected because the ring is closed.
    fn closing(&self, position: u64) -> Closing {
        // Ordering: acquire, with the release of `close`.
        let tail = self.tail.load(Ordering::Acquire);
        if tail & CLOSED == 0 {
            return Closing::No;
        }
        if position_of(tail) > position {
            return Closing::Decided;
        }
        self.slots.end(position_of(tail));
        match self.slots.is_ended(position) {
            true => Closing::Decided,
            false => Closing::Sending,
        }
    }

    /// Moves a reader whose next item was overwritten to the oldest item that is kept. Returns the
    /// number of items that it has missed.
    #[cold]
    fn catch_up(&self, reader: &mut Reader) -> u64 {
        loop {
            let oldest = self.oldest(self.tail());
            if let Some(sequence) = self.slots.sequence_before(oldest) {
                let missed = sequence - reader.sequence;
                (reader.position, reader.sequence) = (oldest, sequence);
                return missed;
            }
        }
    }

    /// Returns the number of positions from that of `reader` up to the tail.
    pub(super) fn len(&self, reader: &Reader) -> usize {
        self.geometry().distance(reader.position, self.tail()).min(self.capacity())
    }
}

/// The read position of one subscriber.
pub(super) struct Reader {
    /// The position of the next item.
    pub(super) position: u64,
    /// The number of items that were sent before that position.
    sequence: u64,
    /// The number of items that the next attempt reports as missed.
    pub(super) missed: u64,
    /// Present if senders wait for this reader: the position that was last published, and the
    /// cursor that publishes it.
    cursor: Option<(u64, Arc<Cursor>)>,
}

/// The state of the closing of a ring, as seen from one position.
enum Closing {
    No,
    /// A send that began before the ring was closed owns the position.
    Sending,
    /// The position holds an item or the mark of the end.
    Decided,
}

/// A guard that publishes the position of a reader when it is dropped, also if the clone of an item
/// panics. Sets the flag if senders wait for the reader.
struct Publish<'a>(&'a mut Reader, &'a mut bool);

impl Drop for Publish<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        let position = self.0.position;
        if let Some(cursor) = &mut self.0.cursor
            && cursor.0 != position
        {
            cursor.0 = position;
            *self.1 |= cursor.1.move_to(position);
        }
    }
}

/// Returns the first position. It has a predecessor, in lap 0, with the sequence number 0.
fn start(geometry: Geometry) -> u64 {
    geometry.next_lap(0)
}
