//! The broadcast against a simple model: a list of all items, and the place of each subscriber.
#![cfg(not(mainstay_loom))]

use mainstay::ring::{
    BroadcastOverflow, BroadcastStart, BroadcastSubscriber, BroadcastTryRecvError, PushError,
    broadcast,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Recv(usize),
    RecvBatch(usize, usize),
    Subscribe(BroadcastStart),
    Clone(usize),
    IntoWeak(usize),
    Leave(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1_usize..8).prop_map(Step::Send),
        24 => (0_usize..8).prop_map(Step::Recv),
        4 => (0_usize..8, 0_usize..8).prop_map(|(who, max)| Step::RecvBatch(who, max)),
        2 => Just(Step::Subscribe(BroadcastStart::Now)),
        2 => Just(Step::Subscribe(BroadcastStart::OldestKept)),
        1 => (0_usize..8).prop_map(Step::Clone),
        2 => (0_usize..8).prop_map(Step::IntoWeak),
        1 => (0_usize..8).prop_map(Step::Leave),
        1 => Just(Step::Close),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Place {
    next: u64,
    holds_back: bool,
}

/// The items are the numbers from 0 to `sent`.
#[derive(Debug)]
struct Model {
    capacity: u64,
    waits: bool,
    sent: u64,
    closed: bool,
    /// No subscriber that holds senders back was before this place when the ring was last full.
    bound: u64,
}

impl Model {
    fn send(&mut self, places: &[Place]) -> Result<(), PushError<u64>> {
        let item = self.sent;
        if self.closed {
            return Err(PushError::Closed(item));
        }
        if self.waits && self.sent - self.bound == self.capacity {
            let slowest = places.iter().filter(|place| place.holds_back).map(|place| place.next);
            self.bound = slowest.min().unwrap_or(self.bound + 1);
            if self.sent - self.bound == self.capacity {
                return Err(PushError::Full(item));
            }
        }
        self.sent += 1;
        Ok(())
    }

    fn recv(&self, place: &mut Place) -> Result<u64, BroadcastTryRecvError> {
        // The slot at the tail still holds an item, until the mark of the end takes its place.
        let readable = self.capacity + u64::from(!self.closed);
        if place.next + readable < self.sent {
            let oldest = self.sent - self.capacity;
            let missed = oldest - place.next;
            place.next = oldest;
            return Err(BroadcastTryRecvError::Missed(missed));
        }
        if place.next < self.sent {
            place.next += 1;
            return Ok(place.next - 1);
        }
        Err(if self.closed { BroadcastTryRecvError::Closed } else { BroadcastTryRecvError::Empty })
    }

    fn start(&self, start: BroadcastStart) -> u64 {
        match start {
            BroadcastStart::Now => self.sent,
            BroadcastStart::OldestKept if self.waits => {
                self.bound.max(self.sent.saturating_sub(self.capacity))
            }
            BroadcastStart::OldestKept => self.sent.saturating_sub(self.capacity),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_broadcast_behaves_as_its_model(
        capacity in 1_usize..6,
        waits in any::<bool>(),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let overflow = match waits {
            true => BroadcastOverflow::WaitForSlowest,
            false => BroadcastOverflow::OverwriteOldest,
        };
        let sender = broadcast(capacity, overflow);
        let mut model =
            Model { capacity: capacity as u64, waits, sent: 0, closed: false, bound: 0 };
        let mut subscribers: Vec<BroadcastSubscriber<u64>> = vec![sender.subscribe()];
        let mut places = vec![Place { next: 0, holds_back: waits }];
        for step in steps {
            match step {
                Step::Send(count) => {
                    for _ in 0..count {
                        let sent = sender.try_send(model.sent);
                        prop_assert_eq!(sent, model.send(&places));
                    }
                }
                Step::Recv(who) if who < places.len() => {
                    let received = subscribers[who].try_recv();
                    prop_assert_eq!(received, model.recv(&mut places[who]));
                }
                Step::RecvBatch(who, max) if who < places.len() => {
                    let (mut items, mut expected) = (Vec::new(), Vec::new());
                    let received = subscribers[who].try_recv_batch(&mut items, max);
                    let mut result = Ok(0);
                    while expected.len() < max {
                        match model.recv(&mut places[who]) {
                            Ok(item) => expected.push(item),
                            Err(error) if expected.is_empty() => {
                                result = Err(error);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    prop_assert_eq!(received, result.map(|_| expected.len()));
                    prop_assert_eq!(items, expected);
                }
                Step::Subscribe(start) if places.len() < 8 => {
                    subscribers.push(sender.subscribe_from(start));
                    places.push(Place { next: model.start(start), holds_back: waits });
                }
                Step::Clone(who) if who < places.len() && places.len() < 8 => {
                    subscribers.push(subscribers[who].clone());
                    places.push(places[who]);
                }
                Step::IntoWeak(who) if who < places.len() => {
                    let weak = subscribers.swap_remove(who).into_weak();
                    subscribers.push(weak);
                    let place = Place { holds_back: false, ..places.swap_remove(who) };
                    places.push(place);
                }
                Step::Leave(who) if who < places.len() => {
                    drop(subscribers.swap_remove(who));
                    places.swap_remove(who);
                }
                Step::Close => {
                    prop_assert_eq!(sender.close(), !model.closed);
                    model.closed = true;
                }
                _ => {}
            }
            for (subscriber, place) in subscribers.iter().zip(&places) {
                let left = (model.sent - place.next).min(model.capacity);
                prop_assert_eq!(subscriber.len() as u64, left);
            }
            let strong = subscribers.iter().filter(|subscriber| !subscriber.is_weak()).count();
            prop_assert_eq!(sender.subscribers(), strong);
        }
    }
}
