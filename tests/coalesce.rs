//! Calls with the same key share one execution, whichever of them is cancelled.
#![cfg(not(mainstay_loom))]

use mainstay::coalesce::Coalesce;
use mainstay::error::{Error, Reason};
use mainstay::time::ManualClock;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

type Group = Coalesce<String, u32, String>;
type Call<'a> = Pin<Box<dyn Future<Output = Result<u32, Error<String>>> + Send + 'a>>;

fn group() -> Group {
    Coalesce::builder().name("users").build().unwrap()
}

/// A waker that counts.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Woken {
    fn take(&self) -> usize {
        self.0.swap(0, SeqCst)
    }
}

/// An operation that the test steps: each step is one pending poll that is woken.
#[derive(Default)]
struct Remote {
    started: AtomicU32,
    polls: AtomicU32,
    dropped: AtomicU32,
    wakers: Mutex<Vec<Waker>>,
    result: Mutex<Option<Result<u32, String>>>,
}

struct RemoteFuture(Arc<Remote>);

impl Remote {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn start(self: &Arc<Self>) -> RemoteFuture {
        self.started.fetch_add(1, SeqCst);
        RemoteFuture(self.clone())
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }

    fn complete(&self, result: Result<u32, &str>) {
        *self.result.lock().unwrap() = Some(result.map_err(String::from));
        self.wake();
    }
}

impl Future for RemoteFuture {
    type Output = Result<u32, String>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.polls.fetch_add(1, SeqCst);
        let result = self.0.result.lock().unwrap().clone();
        match result {
            Some(result) => Poll::Ready(result),
            None => {
                self.0.wakers.lock().unwrap().push(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for RemoteFuture {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

/// A call with a waker of its own.
struct Task<'a> {
    call: Call<'a>,
    woken: Arc<Woken>,
    polls: usize,
}

impl<'a> Task<'a> {
    fn new(call: impl Future<Output = Result<u32, Error<String>>> + Send + 'a) -> Self {
        Self { call: Box::pin(call), woken: Arc::default(), polls: 0 }
    }

    fn poll(&mut self) -> Poll<Result<u32, Error<String>>> {
        self.polls += 1;
        let waker = Waker::from(self.woken.clone());
        self.call.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn polled(mut self) -> Self {
        assert!(self.poll().is_pending());
        self
    }
}

fn panicked(result: &Result<u32, Error<String>>) -> bool {
    matches!(result, Err(Error::Rejected(rejection)) if rejection.reason() == Reason::Panicked)
}

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
    assert_eq!((snapshot.started, snapshot.shared, snapshot.keys), (1, 2, 0));
}

#[test]
fn calls_with_different_keys_and_later_calls_start_their_own() {
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

// async_singleflight#12: a dropped leader elected several leaders, each of which started the work
// again.
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

// moka#467: a panic of the initializer reached the callers that waited for it as a hang.
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
fn a_panic_in_a_follower_that_continues_the_operation_is_an_error_too() {
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
fn a_closure_that_panics_leaves_the_key_free() {
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
fn each_call_has_its_own_time_limit() {
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
fn results_are_reused_for_as_long_as_configured() {
    let second = Duration::from_secs(1);
    //     errors kept, first result, at, second result
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
fn a_new_key_is_rejected_while_as_many_as_allowed_are_running() {
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

/// What a test does to one of several calls, or to the operation.
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

/// Runs `steps`, then polls only the calls that were woken until none is left, as an executor does.
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
        let i = i.expect("a call waits and none was woken");
        if answered(&mut tasks[i]) {
            tasks.remove(i);
        }
    }
    for remote in remotes.borrow().iter() {
        let counts = (remote.started.load(SeqCst), remote.dropped.load(SeqCst));
        assert_eq!(counts, (1, 1), "one execution per flight, and none is lost");
    }
    let snapshot = users.snapshot();
    assert_eq!((snapshot.started, snapshot.keys), (u64::from(flights), 0));
}

proptest! {
    #[test]
    fn every_call_is_answered_once_whichever_are_cancelled(
        steps in proptest::collection::vec(step(), 0..40)
    ) {
        run(&steps);
    }
}

#[test]
fn all_short_scripts_of_cancellation_end_with_every_call_answered() {
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
fn a_call_dropped_after_any_number_of_polls_hands_over_or_cleans_up() {
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
                while users.snapshot().shared < u64::from(THREADS) {
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
fn eight_threads_account_for_every_call_and_every_execution() {
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
    assert_eq!((snapshot.started + snapshot.shared, snapshot.keys), (THREADS * CALLS, 0));
}
