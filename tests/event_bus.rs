//! The event bus: delivery, isolation of tenants, slow and panicking subscribers, bounds, the end.
#![cfg(not(mainstay_loom))]

use futures::StreamExt;
use futures::executor::block_on;
use mainstay::error::{Reason, Rejection};
use mainstay::event_bus::{Bus, BusSubscription};
use mainstay::ring::{BroadcastMissed, BroadcastRecvError, BroadcastTryRecvError};
use proptest::prelude::*;
use std::future::Future;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

type TestBus = Bus<String, u64>;

fn bus(capacity: usize, max_topics: usize) -> TestBus {
    Bus::builder().capacity(capacity).max_topics(max_topics).build().unwrap()
}

fn received(subscription: &mut BusSubscription<String, u64>) -> Vec<(String, u64)> {
    let mut events = Vec::new();
    while let Ok(event) = subscription.try_recv() {
        events.push((event.topic().clone(), *event.event()));
    }
    events
}

fn reason<T>(result: Result<T, Rejection>) -> Option<Reason> {
    result.err().map(|rejection| rejection.reason())
}

#[test]
fn an_event_is_delivered_to_its_topic_and_to_all_topics_of_its_tenant() {
    let bus = bus(8, 10);
    let mut one = bus.subscribe("acme", "a").unwrap();
    let mut same = bus.subscribe("acme", "a").unwrap();
    let mut all = bus.subscribe_all("acme").unwrap();
    let mut other = bus.subscribe("acme", "b").unwrap();
    assert_eq!(bus.publish("acme", "a", 1), Ok(3));
    assert_eq!(bus.publish("acme", "c", 2), Ok(1));
    assert_eq!(bus.publish("globex", "a", 3), Ok(0));
    assert_eq!(received(&mut one), [("a".to_owned(), 1)]);
    assert_eq!(received(&mut same), [("a".to_owned(), 1)]);
    assert_eq!(received(&mut all), [("a".to_owned(), 1), ("c".to_owned(), 2)]);
    assert_eq!(received(&mut other), []);
    let snapshot = bus.snapshot();
    assert_eq!((snapshot.published, snapshot.undelivered), (3, 1));
    assert_eq!((snapshot.topics, snapshot.max_topics, snapshot.rejected), (3, 10, 0));
}

/// The topic that stands for all topics cannot be addressed by a name.
#[test]
fn a_topic_with_an_empty_name_is_an_ordinary_topic() {
    let bus = bus(8, 10);
    let mut all = bus.subscribe_all("").unwrap();
    let mut empty = bus.subscribe("", "").unwrap();
    assert_eq!(bus.publish("", "x", 1), Ok(1));
    assert_eq!(bus.publish("", "", 2), Ok(2));
    assert_eq!(received(&mut all).len(), 2);
    assert_eq!(received(&mut empty), [(String::new(), 2)]);
}

#[test]
fn a_slow_subscriber_misses_events_and_does_not_delay_a_publisher() {
    let bus = bus(4, 10);
    let mut slow = bus.subscribe("acme", "a").unwrap();
    for event in 0..1000 {
        assert_eq!(bus.publish("acme", "a", event), Ok(1));
    }
    assert_eq!(slow.try_recv().unwrap_err(), BroadcastTryRecvError::Missed(996));
    assert_eq!(received(&mut slow).len(), 4);
}

#[test]
fn a_handler_that_panics_is_counted_and_called_with_the_next_event() {
    for blocking in [true, false] {
        let bus = bus(4, 10);
        let subscription = bus.subscribe("acme", "a").unwrap();
        (0..10).for_each(|event| assert_eq!(bus.publish("acme", "a", event), Ok(1)));
        bus.close();
        let mut calls = Vec::new();
        let handler = |event: Result<_, BroadcastMissed>| {
            let event = event.map(mainstay::BusEvent::<String, u64>::into_event);
            calls.push(event);
            if event == Ok(7) {
                resume_unwind(Box::new("handler"));
            }
            ControlFlow::Continue(())
        };
        let report = match blocking {
            true => subscription.handle_blocking(handler),
            false => block_on(subscription.handle(handler)),
        };
        assert_eq!((report.handled, report.panicked, report.missed), (4, 1, 6));
        assert_eq!(calls, [Err(BroadcastMissed(6)), Ok(6), Ok(7), Ok(8), Ok(9)]);
    }
}

#[test]
fn a_handler_that_breaks_ends_its_subscription() {
    let bus = bus(4, 10);
    let subscription = bus.subscribe("acme", "a").unwrap();
    (0..3).for_each(|event| assert_eq!(bus.publish("acme", "a", event), Ok(1)));
    let report = subscription.handle_blocking(|_| ControlFlow::Break(()));
    assert_eq!((report.handled, report.panicked, report.missed), (1, 0, 0));
    assert_eq!(bus.publish("acme", "a", 3), Ok(0));
}

#[test]
fn a_subscription_ends_when_it_is_dropped_and_its_topic_makes_room() {
    let bus = bus(4, 2);
    let one = bus.subscribe("acme", "a").unwrap();
    let two = bus.subscribe("acme", "b").unwrap();
    let same = bus.subscribe("acme", "a").unwrap();
    assert_eq!(reason(bus.subscribe("acme", "c")), Some(Reason::Exhausted));
    assert_eq!(reason(bus.subscribe_all("acme")), Some(Reason::Exhausted));
    assert_eq!(bus.snapshot().rejected, 2);
    drop(one);
    assert_eq!(reason(bus.subscribe("acme", "c")), Some(Reason::Exhausted), "`same` remains");
    drop(same);
    assert_eq!(bus.publish("acme", "a", 1), Ok(0));
    let _all = bus.subscribe_all("acme").unwrap();
    drop(two);
    let _three = bus.subscribe("acme", "c").unwrap();
    assert_eq!(bus.snapshot().topics, 2);
}

#[test]
fn closing_ends_subscriptions_after_the_events_that_are_kept() {
    let bus = bus(4, 10);
    let mut one = bus.subscribe("acme", "a").unwrap();
    let waiting = bus.subscribe_all("globex").unwrap();
    let thread = thread::spawn(move || {
        let mut waiting = waiting;
        waiting.recv_blocking().unwrap_err()
    });
    assert_eq!(bus.publish("acme", "a", 1), Ok(1));
    bus.close();
    assert!(bus.is_closed());
    assert_eq!(thread.join().unwrap(), BroadcastRecvError::Closed);
    assert_eq!(one.recv_blocking().unwrap().into_event(), 1);
    assert_eq!(one.recv_blocking().unwrap_err(), BroadcastRecvError::Closed);
    assert_eq!(reason(bus.publish("acme", "a", 2)), Some(Reason::ShutDown));
    assert_eq!(reason(bus.subscribe("acme", "a")), Some(Reason::ShutDown));
    assert_eq!(reason(bus.subscribe_all("acme")), Some(Reason::ShutDown));
}

#[test]
fn the_last_handle_of_a_bus_closes_it() {
    let bus = bus(4, 10);
    let mut stream = bus.subscribe("acme", "a").unwrap().into_stream();
    let clone = bus.clone();
    drop(bus);
    clone.publish("acme", "a", 1).unwrap();
    drop(clone);
    assert_eq!(block_on(stream.next()).unwrap().unwrap().into_event(), 1);
    assert!(block_on(stream.next()).is_none());
}

#[test]
fn settings_out_of_range_are_rejected() {
    let field = |capacity, max_topics| {
        let built = TestBus::builder().capacity(capacity).max_topics(max_topics).build();
        built.err().map(|error| error.field())
    };
    assert_eq!(field(1, 1), None);
    assert_eq!(field(0, 1), Some("capacity"));
    assert_eq!(field(1, 0), Some("max_topics"));
    assert_eq!(TestBus::builder().name("").build().unwrap_err().field(), "name");
    assert_eq!(TestBus::builder().name("events").build().unwrap().name(), "events");
}

#[test]
fn concurrent_publishers_deliver_every_event_or_count_it() {
    const EVENTS: u64 = 2_000;
    let bus: Bus<u8, Arc<u64>> = Bus::builder().capacity(64).build().unwrap();
    let subscriptions: Vec<_> = (0..4_u8)
        .map(|id| match id % 2 {
            0 => bus.subscribe(&(id / 2), &0).unwrap(),
            _ => bus.subscribe_all(&(id / 2)).unwrap(),
        })
        .collect();
    thread::scope(|scope| {
        let receiving: Vec<_> = subscriptions
            .into_iter()
            .map(|subscription| {
                scope.spawn(move || subscription.handle_blocking(|_| ControlFlow::Continue(())))
            })
            .collect();
        let publishing: Vec<_> = (0..4_u8)
            .map(|id| {
                let bus = &bus;
                scope.spawn(move || {
                    for event in 0..EVENTS {
                        assert_eq!(bus.publish(&(id / 2), &0, Arc::new(event)), Ok(2));
                    }
                })
            })
            .collect();
        // Topics of other tenants come and go meanwhile.
        for id in 0..500_u64 {
            let mut other = bus.subscribe(&9, &(id as u8)).unwrap();
            assert!(other.try_recv().is_err());
            assert!(block_on(other.recv_timeout(Duration::ZERO)).is_err());
        }
        publishing.into_iter().for_each(|thread| thread.join().unwrap());
        bus.close();
        for thread in receiving {
            let report = thread.join().unwrap();
            // A call with missed events counts as handled too.
            assert!(report.missed + report.handled >= 2 * EVENTS);
            assert_eq!(report.panicked, 0);
        }
    });
}

#[derive(Debug, Clone)]
enum Step {
    Publish(u8, u8),
    Subscribe(u8, Option<u8>),
    Drop(usize),
    Receive(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u8..3, 0_u8..3).prop_map(|(tenant, topic)| Step::Publish(tenant, topic)),
        3 => (0_u8..3, prop::option::of(0_u8..3)).prop_map(|(tenant, topic)| {
            Step::Subscribe(tenant, topic)
        }),
        1 => (0_usize..8).prop_map(Step::Drop),
        4 => (0_usize..8).prop_map(Step::Receive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The event carries the tenant to which it was published. A subscription receives exactly the
    /// events of its tenant and topic, in order, or the number of those it missed.
    #[test]
    fn a_subscriber_never_receives_an_event_of_another_tenant(
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let bus: Bus<u8, (u8, u8, usize)> = Bus::builder().capacity(3).build().unwrap();
        let mut subscriptions: Vec<(u8, Option<u8>, BusSubscription<_, _>, Vec<_>)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Publish(tenant, topic) => {
                    let event = (tenant, topic, number);
                    let mut count = 0;
                    for (of_tenant, of_topic, _, expected) in &mut subscriptions {
                        if *of_tenant == tenant && of_topic.is_none_or(|of| of == topic) {
                            expected.push(event);
                            count += 1;
                        }
                    }
                    prop_assert_eq!(bus.publish(&tenant, &topic, event), Ok(count));
                }
                Step::Subscribe(tenant, topic) if subscriptions.len() < 8 => {
                    let subscription = match topic {
                        Some(topic) => bus.subscribe(&tenant, &topic),
                        None => bus.subscribe_all(&tenant),
                    };
                    subscriptions.push((tenant, topic, subscription.unwrap(), Vec::new()));
                }
                Step::Drop(who) if who < subscriptions.len() => {
                    subscriptions.swap_remove(who);
                }
                Step::Receive(who) if who < subscriptions.len() => {
                    let (tenant, _, subscription, expected) = &mut subscriptions[who];
                    loop {
                        match subscription.try_recv() {
                            Ok(event) => {
                                prop_assert_eq!(event.event().0, *tenant);
                                prop_assert_eq!(*event.topic(), event.event().1);
                                prop_assert_eq!(*event.event(), expected.remove(0));
                            }
                            Err(BroadcastTryRecvError::Missed(count)) => {
                                expected.drain(..count as usize);
                            }
                            Err(error) => {
                                prop_assert_eq!(error, BroadcastTryRecvError::Empty);
                                prop_assert!(expected.is_empty());
                                break;
                            }
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// A waker that panics.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker");
    }
}

#[test]
fn a_waker_that_panics_keeps_no_subscriber_from_an_event_or_from_the_end() {
    let bus = bus(4, 100);
    let mut waiting: Vec<_> =
        ["a", "b", "c"].into_iter().map(|topic| bus.subscribe("acme", topic).unwrap()).collect();
    let mut everything = bus.subscribe_all("acme").unwrap();
    let waker = Waker::from(Arc::new(PanickingWaker));
    let panics = |act: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(act)).is_err());

    let mut future = Box::pin(waiting[0].recv());
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    panics(&|| _ = bus.publish("acme", "a", 1));
    drop(future);
    assert_eq!(received(&mut everything), [("a".to_owned(), 1)]);

    assert_eq!(received(&mut waiting[0]), [("a".to_owned(), 1)]);
    let (first, rest) = waiting.split_first_mut().unwrap();
    let mut future = Box::pin(first.recv());
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    panics(&|| bus.close());
    for subscription in rest {
        assert_eq!(subscription.try_recv().err(), Some(BroadcastTryRecvError::Closed));
    }
}

#[test]
fn a_handler_lets_other_futures_of_its_task_run_while_events_keep_coming() {
    let bus = bus(4, 100);
    let subscription = bus.subscribe("acme", "orders").unwrap();
    bus.publish("acme", "orders", 0).unwrap();
    let mut handled = 0;
    let handling = subscription.handle(|_| {
        handled += 1;
        bus.publish("acme", "orders", handled).unwrap();
        // Ends a test that fails.
        if handled < 10_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let polled = pin!(handling).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    assert!((1..1_000).contains(&handled), "{handled}");
}
