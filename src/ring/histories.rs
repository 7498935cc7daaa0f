//! Small histories of the ring, each checked against a sequential queue.
//!
//! Every operation is noted with the ticks of a shared counter around it. The history is accepted if the
//! operations can be put into one order that respects those intervals and in which a plain bounded queue
//! gives the same answers (Wing and Gong's search, exhaustive). `Busy` claims nothing, so it is left out;
//! everything else is held to its word, `Full`, `Empty` and `Closed` included.
//!
//! `histories/loom.rs` makes all of a size, in every schedule within loom's bound; `tests/linearizable.rs`,
//! which includes this file, makes larger ones at random and under real concurrency.

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
    Push(u64, Result<(), Refused>),
    ForcePush(u64, Result<Option<u64>, Refused>),
    Pop(Result<u64, Refused>),
    /// What was pushed, in one piece; `Full` is told by an empty list.
    PushBatch(Vec<u64>, Result<(), Refused>),
    PopBatch(Vec<u64>, Result<(), Refused>),
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Refused {
    NoRoomOrItem,
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
    /// Whether the queue, as it is, could give that answer; it is then changed accordingly.
    fn allows(&mut self, action: &Action) -> bool {
        let full = self.items.len() == self.capacity;
        let nothing = if self.closed { Refused::Closed } else { Refused::NoRoomOrItem };
        match action {
            Action::Push(_, Err(Refused::Closed))
            | Action::ForcePush(_, Err(Refused::Closed))
            | Action::PushBatch(_, Err(Refused::Closed)) => self.closed,
            _ if self.closed
                && matches!(
                    action,
                    Action::Push(..) | Action::ForcePush(..) | Action::PushBatch(..)
                ) =>
            {
                false
            }
            Action::Push(_, Err(Refused::NoRoomOrItem))
            | Action::PushBatch(_, Err(Refused::NoRoomOrItem)) => full,
            Action::Push(value, Ok(())) => {
                self.items.push_back(*value);
                !full
            }
            Action::PushBatch(values, Ok(())) => {
                self.items.extend(values);
                self.items.len() <= self.capacity
            }
            Action::ForcePush(_, Err(Refused::NoRoomOrItem)) => false,
            Action::ForcePush(value, Ok(evicted)) => {
                let expected = if full { self.items.pop_front() } else { None };
                self.items.push_back(*value);
                *evicted == expected
            }
            Action::Pop(Ok(value)) => self.items.pop_front() == Some(*value),
            Action::Pop(Err(refused)) => self.items.is_empty() && *refused == nothing,
            Action::PopBatch(values, Ok(())) => {
                values.iter().all(|value| self.items.pop_front() == Some(*value))
            }
            Action::PopBatch(_, Err(refused)) => self.items.is_empty() && *refused == nothing,
            Action::Close => {
                self.closed = true;
                true
            }
        }
    }
}

pub(super) fn linearizable(events: &[Event], capacity: usize) -> bool {
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
        let open = || (0..events.len()).filter(|i| done & (1 << i) == 0);
        // Whatever comes next must have started before the first of the rest ended.
        let first_end = open().map(|i| events[i].end).min().unwrap_or(u64::MAX);
        open().any(|i| {
            let mut model = model.clone();
            events[i].start < first_end
                && model.allows(&events[i].action)
                && search(events, done | (1 << i), &model, seen)
        })
    }
    let model = Model { items: VecDeque::new(), capacity, closed: false };
    search(events, 0, &model, &mut HashSet::new())
}

/// Does it, with `value` and those after it; `None` if the ring was busy.
pub(super) fn act(ring: &Ring<u64>, kind: Kind, value: u64) -> Option<Action> {
    let push_refused = |refusal: PushError<()>| match refusal {
        PushError::Full(()) => Some(Refused::NoRoomOrItem),
        PushError::Closed(()) => Some(Refused::Closed),
        PushError::Busy(()) => None,
    };
    let pop_refused = |refusal: PopError| match refusal {
        PopError::Empty => Some(Refused::NoRoomOrItem),
        PopError::Closed => Some(Refused::Closed),
        PopError::Busy => None,
    };
    Some(match kind {
        Kind::Push => match ring.try_push(value) {
            Ok(()) => Action::Push(value, Ok(())),
            Err(PushError::Full(_)) => Action::Push(value, Err(Refused::NoRoomOrItem)),
            Err(PushError::Closed(_)) => Action::Push(value, Err(Refused::Closed)),
            Err(PushError::Busy(_)) => return None,
        },
        Kind::Pop => match ring.try_pop() {
            Ok(value) => Action::Pop(Ok(value)),
            Err(refusal) => Action::Pop(Err(pop_refused(refusal)?)),
        },
        Kind::ForcePush => match ring.force_push(value) {
            Ok(evicted) => Action::ForcePush(value, Ok(evicted)),
            Err(ForcePushError::Closed(_)) => Action::ForcePush(value, Err(Refused::Closed)),
            Err(ForcePushError::Busy(_)) => return None,
        },
        Kind::PushBatch => {
            let values = [value, value + 1, value + 2];
            match ring.push_batch(&mut values.into_iter()) {
                Ok(count) => Action::PushBatch(values[..count].to_vec(), Ok(())),
                Err(refusal) => Action::PushBatch(Vec::new(), Err(push_refused(refusal)?)),
            }
        }
        Kind::PopBatch => {
            let mut got = Vec::new();
            match ring.pop_batch(&mut got, 2) {
                Ok(_) => Action::PopBatch(got, Ok(())),
                Err(refusal) => Action::PopBatch(Vec::new(), Err(pop_refused(refusal)?)),
            }
        }
        Kind::Close => {
            ring.close();
            Action::Close
        }
    })
}
