//! Small histories of the ring under real concurrency, each checked against a sequential queue.
//!
//! Every operation is noted with the ticks of a shared counter around it. The history is accepted if the
//! operations can be put into one order that respects those intervals and in which a plain bounded queue
//! gives the same answers (Wing and Gong's search, exhaustive). `Busy` claims nothing, so it is left out;
//! everything else is held to its word, `Full`, `Empty` and `Closed` included.

use std::collections::{HashSet, VecDeque};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay::ring::{ForcePushError, PopError, PushError, Ring};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    Push(u64, Result<(), Refused>),
    ForcePush(u64, Result<Option<u64>, Refused>),
    Pop(Result<u64, Refused>),
    /// What was pushed, in one piece; `Full` is told by an empty list.
    PushBatch(Vec<u64>, Result<(), Refused>),
    PopBatch(Vec<u64>, Result<(), Refused>),
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Refused {
    NoRoomOrItem,
    Closed,
}

#[derive(Debug, Clone)]
struct Event {
    start: u64,
    end: u64,
    action: Action,
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
                && matches!(action, Action::Push(..) | Action::ForcePush(..) | Action::PushBatch(..)) =>
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

fn linearizable(events: &[Event], capacity: usize) -> bool {
    fn search(events: &[Event], done: u32, model: &Model, seen: &mut HashSet<(u32, Model)>) -> bool {
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

fn act(ring: &Ring<u64>, choice: u8, value: u64) -> Option<Action> {
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
    Some(match choice {
        0..=29 => match ring.try_push(value) {
            Ok(()) => Action::Push(value, Ok(())),
            Err(PushError::Full(_)) => Action::Push(value, Err(Refused::NoRoomOrItem)),
            Err(PushError::Closed(_)) => Action::Push(value, Err(Refused::Closed)),
            Err(PushError::Busy(_)) => return None,
        },
        30..=59 => match ring.try_pop() {
            Ok(value) => Action::Pop(Ok(value)),
            Err(refusal) => Action::Pop(Err(pop_refused(refusal)?)),
        },
        60..=71 => match ring.force_push(value) {
            Ok(evicted) => Action::ForcePush(value, Ok(evicted)),
            Err(ForcePushError::Closed(_)) => Action::ForcePush(value, Err(Refused::Closed)),
            Err(ForcePushError::Busy(_)) => return None,
        },
        72..=84 => {
            let values = [value, value + 1, value + 2];
            match ring.push_batch(&mut values.into_iter()) {
                Ok(count) => Action::PushBatch(values[..count].to_vec(), Ok(())),
                Err(refusal) => Action::PushBatch(Vec::new(), Err(push_refused(refusal)?)),
            }
        }
        85..=97 => {
            let mut got = Vec::new();
            match ring.pop_batch(&mut got, 2) {
                Ok(_) => Action::PopBatch(got, Ok(())),
                Err(refusal) => Action::PopBatch(Vec::new(), Err(pop_refused(refusal)?)),
            }
        }
        _ => {
            ring.close();
            Action::Close
        }
    })
}

#[test]
fn random_histories_are_linearizable() {
    const THREADS: usize = 3;
    const STEPS: u64 = 6;
    const HISTORIES: u64 = 6_000;

    let seed = std::env::var("MAINSTAY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let history: [std::sync::Mutex<Vec<Event>>; THREADS] = Default::default();
    let ring = std::sync::RwLock::new(Ring::new(1));
    let gate = Barrier::new(THREADS);
    let clock = AtomicU64::new(0);

    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (history, ring, gate, clock) = (&history, &ring, &gate, &clock);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ (thread as u64 * 0x9E37_79B9));
                for round in 0..HISTORIES {
                    let capacity = (round % 3 + 1) as usize;
                    if gate.wait().is_leader() {
                        *ring.write().unwrap() = Ring::new(capacity);
                    }
                    gate.wait();
                    let mut events = Vec::new();
                    {
                        let ring = ring.read().unwrap();
                        for step in 0..STEPS {
                            let value = (thread as u64 * STEPS + step) * 10;
                            let choice = random.u8(0..100);
                            let start = clock.fetch_add(1, Ordering::SeqCst);
                            let action = act(&ring, choice, value);
                            let end = clock.fetch_add(1, Ordering::SeqCst);
                            if let Some(action) = action {
                                events.push(Event { start, end, action });
                            }
                        }
                    }
                    *history[thread].lock().unwrap() = events;
                    if gate.wait().is_leader() {
                        let events: Vec<Event> =
                            history.iter().flat_map(|events| events.lock().unwrap().clone()).collect();
                        if !linearizable(&events, capacity) {
                            // The others stand at the next gate, so there is no way on but out.
                            eprintln!("MAINSTAY_SEED={seed}, capacity {capacity}: {events:#?}");
                            std::process::exit(101);
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn the_checker_refuses_what_no_queue_does() {
    let event = |start, end, action| Event { start, end, action };
    let one = || event(0, 1, Action::Push(1, Ok(())));
    // Popped twice.
    let twice = [one(), event(2, 5, Action::Pop(Ok(1))), event(3, 4, Action::Pop(Ok(1)))];
    assert!(!linearizable(&twice, 2));
    // Empty after a push that had ended, and before any pop.
    assert!(!linearizable(&[one(), event(2, 3, Action::Pop(Err(Refused::NoRoomOrItem)))], 2));
    // The same while the push was under way.
    assert!(linearizable(&[one(), event(0, 3, Action::Pop(Err(Refused::NoRoomOrItem)))], 2));
    // Out of order.
    let overtaken = [one(), event(2, 3, Action::Push(2, Ok(()))), event(4, 5, Action::Pop(Ok(2)))];
    assert!(!linearizable(&overtaken, 2));
    // Full with room.
    assert!(!linearizable(&[one(), event(2, 3, Action::Push(2, Err(Refused::NoRoomOrItem)))], 2));
    // An item after the end.
    let late = [event(0, 1, Action::Close), event(2, 3, Action::Push(1, Ok(())))];
    assert!(!linearizable(&late, 1));
}
