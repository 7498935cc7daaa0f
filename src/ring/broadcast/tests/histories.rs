//! Small histories of a broadcast, each checked against a sequential broadcast.
//!
//! Every operation is recorded with the ticks of a shared counter before and after it. A history is
//! accepted if there is an order of its operations that respects these intervals and in which the
//! sequential broadcast returns the same results. `Busy` and `Full` say nothing about the order of
//! the items, so operations that return them are left out.

use std::collections::HashSet;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread::spawn;

use super::{
    BroadcastOverflow, BroadcastSender, BroadcastSubscriber, BroadcastTryRecvError, broadcast,
};
use crate::ring::error::PushError;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Send,
    /// Receives twice as one of two subscribers; each receive is an event.
    Recv,
    Close,
}

#[derive(Debug, Clone)]
enum Action {
    Send(u64, bool),
    Recv(usize, Result<u64, BroadcastTryRecvError>),
    Close,
}

#[derive(Debug, Clone)]
struct Event {
    start: u64,
    end: u64,
    action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Model {
    sent: Vec<u64>,
    closed: bool,
    next: [usize; 2],
    capacity: usize,
}

impl Model {
    /// Applies `action`, and returns whether the result is allowed in this state.
    fn allows(&mut self, action: &Action) -> bool {
        let sent = self.sent.len();
        match *action {
            Action::Send(value, true) => {
                self.sent.push(value);
                !self.closed
            }
            Action::Send(_, false) => self.closed,
            Action::Close => {
                self.closed = true;
                true
            }
            Action::Recv(subscriber, result) => {
                let next = &mut self.next[subscriber];
                match result {
                    Ok(value) => {
                        *next += 1;
                        self.sent.get(*next - 1) == Some(&value)
                    }
                    Err(BroadcastTryRecvError::Empty) => *next == sent && !self.closed,
                    Err(BroadcastTryRecvError::Closed) => *next == sent && self.closed,
                    Err(BroadcastTryRecvError::Missed(count)) => {
                        let full = sent - *next > self.capacity;
                        *next += count as usize;
                        // One item more is readable, until the mark of the end takes its slot.
                        full && *next <= sent && *next + self.capacity + 1 >= sent
                    }
                    Err(BroadcastTryRecvError::Busy) => false,
                }
            }
        }
    }
}

fn is_linearizable(events: &[Event], model: &Model) -> bool {
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
        let first_end = remaining().map(|i| events[i].end).min().unwrap_or(u64::MAX);
        remaining().any(|i| {
            let mut model = model.clone();
            events[i].start < first_end
                && model.allows(&events[i].action)
                && search(events, done | (1 << i), &model, seen)
        })
    }
    search(events, 0, model, &mut HashSet::new())
}

/// One thread of a history, with a subscriber of its own.
struct Actor {
    clock: Arc<AtomicU64>,
    sender: BroadcastSender<u64>,
    subscriber: BroadcastSubscriber<u64>,
    index: usize,
    events: Vec<Event>,
}

impl Actor {
    fn record(&mut self, act: impl FnOnce(&mut Self) -> Option<Action>) {
        let start = self.clock.fetch_add(1, Ordering::AcqRel);
        let action = act(self);
        let end = self.clock.fetch_add(1, Ordering::AcqRel);
        self.events.extend(action.map(|action| Event { start, end, action }));
    }

    fn run(mut self, program: &[Kind]) -> Self {
        for (kind, value) in program.iter().zip(10 * (self.index as u64 + 1)..) {
            match kind {
                Kind::Send => self.record(|actor| match actor.sender.try_send(value) {
                    Ok(()) => Some(Action::Send(value, true)),
                    Err(PushError::Closed(_)) => Some(Action::Send(value, false)),
                    Err(PushError::Full(_) | PushError::Busy(_)) => None,
                }),
                Kind::Recv => {
                    for _ in 0..2 {
                        self.record(|actor| match actor.subscriber.try_recv() {
                            Err(BroadcastTryRecvError::Busy) => None,
                            result => Some(Action::Recv(actor.index, result)),
                        });
                    }
                }
                Kind::Close => self.record(|actor| {
                    actor.sender.close();
                    Some(Action::Close)
                }),
            }
        }
        self
    }
}

fn check(rule: BroadcastOverflow, capacity: usize, filled: u64, one: &[Kind], other: &[Kind]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    let programs = [Vec::from(one), Vec::from(other)];
    builder.check(move || {
        let clock = Arc::new(AtomicU64::new(0));
        let sender = broadcast(capacity, rule);
        let actor = |index| Actor {
            clock: clock.clone(),
            sender: sender.clone(),
            subscriber: sender.subscribe(),
            index,
            events: Vec::new(),
        };
        let (one, other) = (actor(0), actor(1));
        let sent: Vec<u64> = (0..filled).filter(|value| sender.try_send(*value).is_ok()).collect();
        let thread = spawn({
            let program = programs[1].clone();
            move || other.run(&program)
        });
        let one = one.run(&programs[0]);
        let other = thread.join().unwrap();
        // What is left shows the order of the sends to both subscribers.
        let rest = [Kind::Recv, Kind::Recv];
        let (one, other) = (one.run(&rest), other.run(&rest));
        let events = [one.events, other.events].concat();
        let model = Model { sent, closed: false, next: [0; 2], capacity };
        assert!(is_linearizable(&events, &model), "{rule:?} {capacity}\n{events:#?}");
    });
}

fn all_histories(rule: BroadcastOverflow, capacity: usize) {
    use Kind::{Close, Recv, Send};
    let programs: &[&[Kind]] =
        &[&[Send, Send], &[Send, Recv], &[Recv, Send], &[Recv], &[Send, Close], &[Close, Recv]];
    for filled in 0..=capacity as u64 {
        for (i, one) in programs.iter().enumerate() {
            for other in &programs[..=i] {
                check(rule, capacity, filled, one, other);
            }
        }
    }
}

#[test]
fn all_histories_of_an_overwriting_broadcast_are_linearizable() {
    all_histories(BroadcastOverflow::OverwriteOldest, 1);
    all_histories(BroadcastOverflow::OverwriteOldest, 2);
}

#[test]
fn all_histories_of_a_waiting_broadcast_are_linearizable() {
    all_histories(BroadcastOverflow::WaitForSlowest, 1);
    all_histories(BroadcastOverflow::WaitForSlowest, 2);
}
