//! Generated sequences of joins, polls and cancellations, and calls from many threads.

use crate::support::*;
use mainstay::coalesce::Coalesce;
use mainstay::error::Error;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// An action of a test on one of its calls, or on the operation.
#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    Poll(usize),
    Drop(usize),
    Wake,
    Complete,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Join),
        3 => (0_usize..6).prop_map(Step::Poll),
        2 => (0_usize..6).prop_map(Step::Drop),
        2 => Just(Step::Wake),
        1 => Just(Step::Complete),
    ]
}

/// Runs `steps`, then polls the calls that are woken, as an executor does, until all have ended.
fn run(steps: &[Step]) {
    let users = group();
    let remotes = RefCell::new(Vec::<Arc<Remote>>::new());
    let current = || remotes.borrow().last().cloned();
    let mut tasks = VecDeque::<Task<'_>>::new();
    let answered = |task: &mut Task<'_>| match task.poll() {
        Poll::Ready(result) => {
            assert_eq!(result, Ok(7));
            true
        }
        Poll::Pending => false,
    };
    let mut flights = 0;
    for step in steps {
        match *step {
            Step::Join => {
                let known = users.snapshot().keys;
                flights += 1 - known as u32;
                let remote = match known {
                    0 => Remote::new(),
                    _ => current().unwrap(),
                };
                if known == 0 {
                    remotes.borrow_mut().push(remote.clone());
                }
                let mut task = Task::new(users.call("a", move || remote.start()));
                if !answered(&mut task) {
                    tasks.push_back(task);
                }
            }
            Step::Poll(i) if i < tasks.len() => {
                if answered(&mut tasks[i]) {
                    tasks.remove(i);
                }
            }
            Step::Drop(i) if i < tasks.len() => drop(tasks.remove(i)),
            Step::Wake => current().iter().for_each(|remote| remote.wake()),
            Step::Complete => current().iter().for_each(|remote| remote.complete(Ok(7))),
            Step::Poll(_) | Step::Drop(_) => {}
        }
    }
    current().iter().for_each(|remote| remote.complete(Ok(7)));
    while !tasks.is_empty() {
        let i = tasks.iter().position(|task| task.woken.take() > 0);
        let i = i.expect("calls wait, but none was woken");
        if answered(&mut tasks[i]) {
            tasks.remove(i);
        }
    }
    for remote in remotes.borrow().iter() {
        let counts = (remote.started.load(SeqCst), remote.dropped.load(SeqCst));
        assert_eq!(counts, (1, 1), "each operation is started once and dropped once");
    }
    let snapshot = users.snapshot();
    assert_eq!((snapshot.started, snapshot.keys), (u64::from(flights), 0));
}

proptest! {
    #[test]
    fn every_call_that_is_not_dropped_is_answered(
        steps in proptest::collection::vec(step(), 0..40)
    ) {
        run(&steps);
    }
}

#[test]
fn every_call_is_answered_after_all_short_sequences_of_steps() {
    const STEPS: [Step; 7] = [
        Step::Drop(0),
        Step::Drop(1),
        Step::Drop(2),
        Step::Poll(0),
        Step::Poll(1),
        Step::Wake,
        Step::Complete,
    ];
    for script in 0..7_usize.pow(5) {
        let rest = (0..5).map(|digit| STEPS[script / 7_usize.pow(digit) % 7]);
        let steps: Vec<_> = [Step::Join; 3].into_iter().chain(rest).collect();
        run(&steps);
    }
}

#[test]
fn a_leader_dropped_after_any_number_of_polls_hands_over_or_removes_its_key() {
    for polls in 0..6 {
        let users = group();
        let started = AtomicU32::new(0);
        let operation = || {
            started.fetch_add(1, SeqCst);
            let mut left = 3;
            poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                match left {
                    0 => Poll::Ready(Ok(7)),
                    _ => {
                        left -= 1;
                        Poll::Pending
                    }
                }
            })
        };
        let mut leader = Task::new(users.call("a", operation));
        let mut follower = None;
        for poll in 0..polls {
            if leader.poll().is_ready() {
                break;
            }
            if poll == 0 {
                follower = Some(Task::new(users.call("a", operation)).polled());
            }
        }
        drop(leader);
        if let Some(follower) = follower {
            assert_eq!(futures::executor::block_on(follower.call), Ok(7));
        }
        assert_eq!((users.snapshot().keys, started.load(SeqCst)), (0, polls.min(1)));
    }
}

#[test]
fn blocking_calls_share_one_execution() {
    const THREADS: u32 = 8;
    let users = group();
    let (started, inside) = (AtomicU32::new(0), Barrier::new(2));
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            users.call_blocking("a", || {
                inside.wait();
                while users.snapshot().joined < u64::from(THREADS) {
                    thread::yield_now();
                }
                Ok(started.fetch_add(1, SeqCst))
            })
        });
        inside.wait();
        let followers: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| users.call_blocking("a", || Ok(99)))).collect();
        assert_eq!(leader.join().unwrap(), Ok(0));
        followers.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), Ok(0)));
    });
    let short = Duration::from_millis(1);
    let running = Task::new(users.call("a", pending)).polled();
    let result = users.call_blocking_timeout("a", || Ok(99), short);
    assert!(matches!(result, Err(Error::Timeout(_))));
    drop(running);
    assert_eq!(users.call_blocking_timeout("a", || Ok(99), short), Ok(99));
}

#[test]
fn calls_of_eight_threads_are_all_counted_and_never_poll_an_operation_at_once() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 3000;
    let users = Coalesce::<u64, u64, ()>::builder().build().unwrap();
    let [executions, answered, cancelled, running] = [const { AtomicUsize::new(0) }; 4];
    let running = Arc::new([running, AtomicUsize::new(0)]);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (users, executions, answered) = (&users, &executions, &answered);
            let (cancelled, running) = (&cancelled, &running);
            scope.spawn(move || {
                for call in 0..CALLS {
                    let key = call % 2;
                    let operation = || {
                        executions.fetch_add(1, SeqCst);
                        let (running, mut left) = (running.clone(), 2);
                        poll_fn(move |cx| {
                            let now = running[key as usize].fetch_add(1, SeqCst);
                            assert_eq!(now, 0, "two threads poll the operation");
                            running[key as usize].fetch_sub(1, SeqCst);
                            cx.waker().wake_by_ref();
                            match left {
                                0 => Poll::Ready(Ok(key)),
                                _ => {
                                    left -= 1;
                                    Poll::Pending
                                }
                            }
                        })
                    };
                    let mut future = Box::pin(users.call(&key, operation));
                    if (thread + call) % 3 == 0 {
                        let mut cx = Context::from_waker(Waker::noop());
                        if future.as_mut().poll(&mut cx).is_pending() {
                            cancelled.fetch_add(1, SeqCst);
                            continue;
                        }
                    } else {
                        assert_eq!(futures::executor::block_on(future), Ok(key));
                    }
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
    });
    let snapshot = users.snapshot();
    let (answered, cancelled) = (answered.into_inner() as u64, cancelled.into_inner() as u64);
    assert_eq!(answered + cancelled, THREADS * CALLS);
    assert_eq!(snapshot.started, executions.into_inner() as u64);
    assert_eq!((snapshot.started + snapshot.joined, snapshot.keys), (THREADS * CALLS, 0));
}
