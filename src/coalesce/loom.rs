//! Loom models of the hand-over: the operation is not lost if its leader is dropped.

use super::Coalesce;
use crate::error::Error;
use crate::sync::block_on;
use crate::wait::{OneshotReceiver, oneshot};
use loom::thread::spawn;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

type Group = Coalesce<u8, u8, ()>;
type Call = Pin<Box<dyn Future<Output = Result<u8, Error<()>>> + Send>>;

fn group() -> Group {
    // One more than the number of keys in use, because a key that is being removed counts.
    Coalesce::builder().max_keys(2).build().unwrap()
}

/// Starts a call with key 1 and polls it once. Its operation receives its value from `receiver`.
fn call(group: &Group, receiver: Option<OneshotReceiver<u8>>) -> Call {
    let group = group.clone();
    let op = || {
        let receiver = receiver.expect("the operation starts once");
        async { receiver.await.map_err(|_| ()) }
    };
    let mut call: Call = Box::pin(async move { group.call(&1, op).await });
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending);
    call
}

#[test]
fn a_leader_dropped_while_the_operation_is_woken_hands_it_over() {
    loom::model(|| {
        let group = group();
        let (sender, receiver) = oneshot();
        let leader = call(&group, Some(receiver));
        let follower = call(&group, None);
        let sends = spawn(move || sender.send(7).unwrap());
        let drops = spawn(move || drop(leader));
        assert_eq!(block_on(follower), Ok(7));
        sends.join().unwrap();
        drops.join().unwrap();
        assert_eq!(group.snapshot().keys, 0);
    });
}

#[test]
fn two_participants_poll_an_operation_one_after_the_other() {
    loom::model(|| {
        let group = group();
        let (sender, receiver) = oneshot();
        let leader = call(&group, Some(receiver));
        let follower = call(&group, None);
        let other = spawn(move || block_on(follower));
        sender.send(7).unwrap();
        assert_eq!(block_on(leader), Ok(7));
        assert_eq!(other.join().unwrap(), Ok(7));
    });
}

#[test]
fn a_call_that_races_with_the_drop_of_the_leader_joins_the_flight_or_starts_another() {
    loom::model(|| {
        let group = group();
        let (sender, receiver) = oneshot();
        let leader = call(&group, Some(receiver));
        let drops = spawn(move || drop(leader));
        // The call starts an operation, or joins the first flight. In that case its closure is
        // dropped with the sender, and the first operation fails.
        let own = block_on(group.call(&1, || {
            drop(sender);
            std::future::ready(Ok(9))
        }));
        drops.join().unwrap();
        match group.snapshot().started {
            1 => assert_eq!(own, Err(Error::Operation(()))),
            _ => assert_eq!(own, Ok(9)),
        }
        assert_eq!(group.snapshot().keys, 0);
    });
}
