//! Small histories of the ring, each checked against a sequential queue.
//!
//! Every operation is recorded with the ticks of a shared counter before and after it. A history is
//! accepted if there is an order of its operations that respects these intervals and in which a
//! plain bounded queue returns the same results. The search is that of Wing and Gong, and is
//! exhaustive. `Busy` says nothing about the state of the queue, so operations that return it are
//! left out. All other results are checked, including `Full`, `Empty` and `Closed`.
//!
//! `histories/loom.rs` generates all histories of a given size, under every schedule within loom's
//! bound. `tests/linearizable.rs` includes this file, and generates larger random histories under
//! real concurrency.

#[cfg(mainstay_loom)]
mod loom;

use std::collections::{HashSet, VecDeque};

use super::{ForcePushError, PopError, PushError, Ring};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Push,
    Pop,
    ForcePush,
    PushBatch,
    PopBatch,
    Close,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Push(u64, Result<(), Failure>),
    ForcePush(u64, Result<Option<u64>, Failure>),
    Pop(Result<u64, Failure>),
    /// The items that were pushed as one batch; empty if the push failed.
    PushBatch(Vec<u64>, Result<(), Failure>),
    PopBatch(Vec<u64>, Result<(), Failure>),
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Failure {
    FullOrEmpty,
    Closed,
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Model {
    items: VecDeque<u64>,
    capacity: usize,
    closed: bool,
}

impl Model {
    /// Applies `action`, and returns whether a queue in this state returns the same result.
    fn allows(&mut self, action: &Action) -> bool {
        let full = self.items.len() == self.capacity;
        let empty_failure = if self.closed { Failure::Closed } else { Failure::FullOrEmpty };
        match action {
            Action::Push(_, Err(Failure::Closed))
            | Action::ForcePush(_, Err(Failure::Closed))
            | Action::PushBatch(_, Err(Failure::Closed)) => self.closed,
            _ if self.closed
                && matches!(
                    action,
                    Action::Push(..) | Action::ForcePush(..) | Action::PushBatch(..)
                ) =>
            {
                false
            }
            Action::Push(_, Err(Failure::FullOrEmpty))
            | Action::PushBatch(_, Err(Failure::FullOrEmpty)) => full,
            Action::Push(value, Ok(())) => {
                self.items.push_back(*value);
                !full
            }
            Action::PushBatch(values, Ok(())) => {
                self.items.extend(values);
                self.items.len() <= self.capacity
            }
            Action::ForcePush(_, Err(Failure::FullOrEmpty)) => false,
            Action::ForcePush(value, Ok(evicted)) => {
                let expected = if full { self.items.pop_front() } else { None };
                self.items.push_back(*value);
                *evicted == expected
            }
            Action::Pop(Ok(value)) => self.items.pop_front() == Some(*value),
            Action::Pop(Err(failure)) => self.items.is_empty() && *failure == empty_failure,
            Action::PopBatch(values, Ok(())) => {
                values.iter().all(|value| self.items.pop_front() == Some(*value))
            }
            Action::PopBatch(_, Err(failure)) => self.items.is_empty() && *failure == empty_failure,
            Action::Close => {
                self.closed = true;
                true
            }
        }
    }
}

pub(super) fn is_linearizable(events: &[Event], capacity: usize) -> bool {
    fn search(
        events: &[Event],
        done: u32,
        model: &Model,
        seen: &mut HashSet<(u32, Model)>,
    ) -> bool {
        if done.count_ones() as usize == events.len() {
            return true;
        }
        if !seen.insert((done, model.clone())) {
            return false;
        }
        let remaining = || (0..events.len()).filter(|i| done & (1 << i) == 0);
        // The next operation must have started before any of the remaining ones ended.
        let first_end = remaining().map(|i| events[i].end).min().unwrap_or(u64::MAX);
        remaining().any(|i| {
            let mut model = model.clone();
            events[i].start < first_end
                && model.allows(&events[i].action)
                && search(events, done | (1 << i), &model, seen)
        })
    }
    let model = Model { items: VecDeque::new(), capacity, closed: false };
    search(events, 0, &model, &mut HashSet::new())
}

/// Runs the operation. It pushes `value`, or a batch of three consecutive numbers from `value` on.
/// Returns `None` if the ring was busy.
pub(super) fn act(ring: &Ring<u64>, kind: Kind, value: u64) -> Option<Action> {
    let push_failure = |error: PushError<()>| match error {
        PushError::Full(()) => Some(Failure::FullOrEmpty),
        PushError::Closed(()) => Some(Failure::Closed),
        PushError::Busy(()) => None,
    };
    let pop_failure = |error: PopError| match error {
        PopError::Empty => Some(Failure::FullOrEmpty),
        PopError::Closed => Some(Failure::Closed),
        PopError::Busy => None,
    };
    Some(match kind {
        Kind::Push => match ring.try_push(value) {
            Ok(()) => Action::Push(value, Ok(())),
            Err(PushError::Full(_)) => Action::Push(value, Err(Failure::FullOrEmpty)),
            Err(PushError::Closed(_)) => Action::Push(value, Err(Failure::Closed)),
            Err(PushError::Busy(_)) => return None,
        },
        Kind::Pop => match ring.try_pop() {
            Ok(value) => Action::Pop(Ok(value)),
            Err(error) => Action::Pop(Err(pop_failure(error)?)),
        },
        Kind::ForcePush => match ring.force_push(value) {
            Ok(evicted) => Action::ForcePush(value, Ok(evicted)),
            Err(ForcePushError::Closed(_)) => Action::ForcePush(value, Err(Failure::Closed)),
            Err(ForcePushError::Busy(_)) => return None,
        },
        Kind::PushBatch => {
            let values = [value, value + 1, value + 2];
            match ring.try_push_batch(&mut values.into_iter()) {
                Ok(count) => Action::PushBatch(values[..count].to_vec(), Ok(())),
                Err(error) => Action::PushBatch(Vec::new(), Err(push_failure(error)?)),
            }
        }
        Kind::PopBatch => {
            let mut got = Vec::new();
            match ring.try_pop_batch(&mut got, 2) {
                Ok(_) => Action::PopBatch(got, Ok(())),
                Err(error) => Action::PopBatch(Vec::new(), Err(pop_failure(error)?)),
            }
        }
        Kind::Close => {
            ring.close();
            Action::Close
        }
    })
}
