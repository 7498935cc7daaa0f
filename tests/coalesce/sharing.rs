//! Which call runs the operation, and what each call receives.

use crate::support::*;
use mainstay::coalesce::Coalesce;
use mainstay::error::{Error, Reason};
use mainstay::time::ManualClock;
use std::cell::RefCell;
use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

#[test]
fn concurrent_calls_share_one_execution() {
    let (users, remote) = (group(), Remote::new());
    let call = || Task::new(users.call("a", || remote.start())).polled();
    let mut tasks = [call(), call(), call()];
    assert_eq!(remote.started.load(SeqCst), 1);
    remote.complete(Ok(7));
    for task in &mut tasks {
        assert_eq!(task.woken.take(), 1);
        assert_eq!(task.poll(), Poll::Ready(Ok(7)));
    }
    let snapshot = users.snapshot();
    assert_eq!((snapshot.started, snapshot.joined, snapshot.keys), (1, 2, 0));
}

#[test]
fn calls_with_different_keys_and_later_calls_start_their_own_operations() {
    let users = group();
    let first = futures::executor::block_on(users.call("a", || ready(Ok(1))));
    let second = futures::executor::block_on(users.call("a", || ready(Ok(2))));
    let other = futures::executor::block_on(users.call("b", || ready(Ok(3))));
    assert_eq!((first, second, other), (Ok(1), Ok(2), Ok(3)));
    assert_eq!(users.snapshot().started, 3);
}

#[test]
fn an_error_reaches_every_call() {
    let (users, remote) = (group(), Remote::new());
    let call = || Task::new(users.call("a", || remote.start())).polled();
    let mut tasks = [call(), call()];
    remote.complete(Err("down"));
    for task in &mut tasks {
        assert_eq!(task.poll(), Poll::Ready(Err(Error::Operation("down".into()))));
    }
}

// async_singleflight#12: when a leader was dropped, several followers became leaders, and each
// started the operation again.
#[test]
fn a_dropped_leader_hands_the_same_future_to_one_follower() {
    let (users, remote) = (group(), Remote::new());
    let call = || Task::new(users.call("a", || remote.start())).polled();
    let (leader, mut followers) = (call(), [call(), call(), call()]);
    drop(leader);
    assert_eq!(followers.each_ref().map(|task| task.woken.take()), [0, 0, 0], "nothing to do yet");

    remote.wake();
    assert_eq!(followers.each_ref().map(|task| task.woken.take()), [1, 0, 0]);
    assert!(followers[0].poll().is_pending());
    assert_eq!((remote.started.load(SeqCst), remote.polls.load(SeqCst)), (1, 2));

    remote.complete(Ok(7));
    assert_eq!(followers[0].poll(), Poll::Ready(Ok(7)));
    assert_eq!(followers[1].poll(), Poll::Ready(Ok(7)));
    assert_eq!(followers[2].poll(), Poll::Ready(Ok(7)));
    assert_eq!((remote.started.load(SeqCst), remote.dropped.load(SeqCst)), (1, 1));
}

// async_singleflight#8: followers of a leader that was cancelled waited forever.
#[test]
fn a_leader_dropped_after_it_was_woken_passes_the_wake_up_on() {
    let (users, remote) = (group(), Remote::new());
    let call = || Task::new(users.call("a", || remote.start())).polled();
    let (leader, first, mut second) = (call(), call(), call());
    remote.complete(Ok(7));
    assert_eq!(leader.woken.take(), 1);
    assert_eq!(first.woken.take(), 0);
    drop(leader);
    assert_eq!((first.woken.take(), second.woken.take()), (1, 0));
    drop(first);
    assert_eq!(second.woken.take(), 1);
    assert_eq!(second.poll(), Poll::Ready(Ok(7)));
    assert_eq!(remote.started.load(SeqCst), 1);
}

// talon#162: an entry whose leader was cancelled stayed in the map and blocked its key.
#[test]
fn when_the_last_call_is_dropped_the_operation_and_the_key_are_dropped() {
    let (users, remote) = (group(), Remote::new());
    let call = || Task::new(users.call("a", || remote.start())).polled();
    let calls = [call(), call()];
    assert_eq!(users.snapshot().keys, 1);
    drop(calls);
    assert_eq!((users.snapshot().keys, remote.dropped.load(SeqCst)), (0, 1));
    remote.wake(); // its waker is still valid

    let mut next = call();
    assert_eq!(remote.started.load(SeqCst), 2);
    remote.complete(Ok(1));
    assert_eq!(next.poll(), Poll::Ready(Ok(1)));
}

// moka#467: after a panic of the initializer, the callers that waited for it hung.
#[test]
fn a_panic_unwinds_the_leader_and_reaches_every_follower_as_an_error() {
    let users = group();
    let gate = Arc::new(AtomicBool::new(false));
    let woken = Arc::new(Mutex::new(None::<Waker>));
    let operation = {
        let (gate, woken) = (gate.clone(), woken.clone());
        move || {
            poll_fn(move |cx| match gate.load(SeqCst) {
                true => panic!("of the operation"),
                false => {
                    *woken.lock().unwrap() = Some(cx.waker().clone());
                    Poll::Pending
                }
            })
        }
    };
    let call = || Task::new(users.call("a", operation.clone())).polled();
    let (mut leader, mut first, mut second) = (call(), call(), call());
    gate.store(true, SeqCst);
    woken.lock().unwrap().take().unwrap().wake();
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll())).is_err());
    for task in [&mut first, &mut second] {
        assert_eq!(task.woken.take(), 1);
        assert!(matches!(task.poll(), Poll::Ready(result) if panicked(&result)));
    }
    assert_eq!(users.snapshot().keys, 0);
    assert_eq!(futures::executor::block_on(users.call("a", || ready(Ok(1)))), Ok(1));
}

#[test]
fn a_panic_while_a_follower_polls_the_operation_reaches_every_follower_as_an_error() {
    let users = group();
    let remote = Remote::new();
    let operation = || {
        let future = remote.start();
        async move { future.await.map(|_| -> u32 { panic!("of the operation") }) }
    };
    let call = || Task::new(users.call("a", operation)).polled();
    let (leader, mut first, mut second) = (call(), call(), call());
    drop(leader);
    remote.complete(Ok(7));
    for task in [&mut first, &mut second] {
        assert!(matches!(task.poll(), Poll::Ready(result) if panicked(&result)));
    }
}

#[test]
fn a_closure_that_panics_removes_its_key() {
    let users = group();
    let call =
        users.call("a", || -> std::future::Ready<Result<u32, String>> { panic!("starting") });
    assert!(catch_unwind(AssertUnwindSafe(|| futures::executor::block_on(call))).is_err());
    let call = || users.call_blocking("a", || panic!("running"));
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert_eq!(users.snapshot().keys, 0);
    assert_eq!(users.call_blocking("a", || Ok(1)), Ok(1));
}

#[test]
fn a_blocking_closure_that_panics_reaches_its_followers_as_an_error() {
    let users = group();
    let follower = RefCell::new(None);
    let leader = || {
        users.call_blocking("a", || {
            *follower.borrow_mut() = Some(Task::new(users.call("a", || ready(Ok(9)))).polled());
            panic!("running")
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(leader)).is_err());
    let mut follower = follower.into_inner().unwrap();
    assert_eq!(follower.woken.take(), 1);
    assert!(matches!(follower.poll(), Poll::Ready(result) if panicked(&result)));
    assert_eq!(users.snapshot().keys, 0);
}

#[test]
fn each_call_has_its_own_timeout() {
    let time = ManualClock::new();
    let users: Group = Coalesce::builder().clock(time.clock()).build().unwrap();
    let remote = Remote::new();
    let second = Duration::from_secs(1);
    let call = |limit| Task::new(users.call_timeout("a", || remote.start(), limit)).polled();
    let (mut short, mut long) = (call(second), call(5 * second));
    time.advance(2 * second);
    assert!(matches!(short.poll(), Poll::Ready(Err(Error::Timeout(_)))));
    drop(short);
    assert!(long.poll().is_pending());
    remote.complete(Ok(7));
    assert_eq!(long.poll(), Poll::Ready(Ok(7)));
    assert_eq!(remote.started.load(SeqCst), 1);
}

#[test]
fn results_are_reused_for_the_reuse_duration() {
    let second = Duration::from_secs(1);
    //     errors are kept, first result, seconds, second result
    let table = [
        (false, Ok(1), 0, Ok(1)),
        (false, Ok(1), 1, Ok(1)),
        (false, Ok(1), 2, Ok(9)),
        (false, Err("down"), 0, Ok(9)),
        (true, Err("down"), 1, Err("down")),
        (true, Err("down"), 2, Ok(9)),
    ];
    for (errors, first, at, expected) in table {
        let time = ManualClock::new();
        let builder = Coalesce::builder().clock(time.clock()).reuse_duration(2 * second);
        let builder = if errors { builder.reuse_errors() } else { builder };
        let users: Group = builder.build().unwrap();
        let own = |result: Result<u32, &str>| result.map_err(String::from);
        let as_error = |result: Result<u32, &str>| own(result).map_err(Error::Operation);
        assert_eq!(users.call_blocking("a", || own(first)), as_error(first));
        time.advance(at * second);
        assert_eq!(users.call_blocking("a", || Ok(9)), as_error(expected), "{errors} {at}");
    }
}

#[test]
fn a_removed_flight_still_answers_its_calls() {
    let (users, old, new) = (group(), Remote::new(), Remote::new());
    let mut first = Task::new(users.call("a", || old.start())).polled();
    assert!(users.remove("a") && !users.remove("a"));
    let mut second = Task::new(users.call("a", || new.start())).polled();
    old.complete(Ok(1));
    assert_eq!(first.poll(), Poll::Ready(Ok(1)));
    assert_eq!(users.snapshot().keys, 1, "the end of the old flight does not remove the new one");
    new.complete(Ok(2));
    assert_eq!(second.poll(), Poll::Ready(Ok(2)));
}

#[test]
fn a_new_key_is_rejected_while_max_keys_are_running() {
    let users: Group = Coalesce::builder().max_keys(1).build().unwrap();
    let running = Task::new(users.call("a", pending)).polled();
    let rejected = users.call_blocking("b", || Ok(1)).unwrap_err();
    assert!(matches!(rejected, Error::Rejected(error) if error.reason() == Reason::Exhausted));
    drop(running);
    assert_eq!(users.call_blocking("b", || Ok(1)), Ok(1));
}

#[test]
fn ten_thousand_followers_are_not_polled_while_they_wait() {
    let (users, remote) = (group(), Remote::new());
    let call = || Task::new(users.call("a", || remote.start())).polled();
    let mut leader = call();
    let mut followers: Vec<_> = (0..10_000).map(|_| call()).collect();
    for _ in 0..100 {
        remote.wake();
        assert_eq!(leader.woken.take(), 1);
        assert!(leader.poll().is_pending());
    }
    assert!(followers.iter().all(|task| task.woken.take() == 0));
    remote.complete(Ok(7));
    assert_eq!(leader.poll(), Poll::Ready(Ok(7)));
    for task in &mut followers {
        assert_eq!(task.woken.take(), 1);
        assert_eq!((task.poll(), task.polls), (Poll::Ready(Ok(7)), 2));
    }
    assert_eq!(remote.started.load(SeqCst), 1);
}

#[test]
fn an_operation_that_wakes_itself_is_polled_again() {
    let users = group();
    let mut left = 5;
    let operation = poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(Ok(7));
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    assert_eq!(futures::executor::block_on(users.call("a", || operation)), Ok(7));
}

#[test]
fn any_call_that_is_polled_continues_an_operation_that_was_woken() {
    // The leader is held by a task that does not poll it.
    let (users, remote) = (group(), Remote::new());
    let call = || Task::new(users.call("a", || remote.start())).polled();
    let (mut leader, mut follower) = (call(), call());
    remote.complete(Ok(7));
    assert_eq!(follower.poll(), Poll::Ready(Ok(7)));
    assert_eq!(leader.poll(), Poll::Ready(Ok(7)));
}
