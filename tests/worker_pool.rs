//! What the worker pool does, through its public face. Threads meet at barriers and channels; nothing sleeps.

use mainstay::error::Reason;
use mainstay::event::Event;
use mainstay::time::{Deadline, ManualClock};
use mainstay::worker_pool::{
    JobError, JobPriority, OverflowRule, Shutdown, SubmitFuture, WorkerPool,
};
use std::collections::HashSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn pool(workers: usize, capacity: usize) -> WorkerPool {
    WorkerPool::builder().workers(workers).queue_capacity(capacity).build().unwrap()
}

/// Holds a worker until told to let it go.
struct Hold {
    release: Sender<()>,
}

impl Hold {
    /// Returns once the worker is held.
    fn one(pool: &WorkerPool) -> Self {
        let (release, released) = channel::<()>();
        let (begun, has_begun) = channel();
        pool.submit_blocking(move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        })
        .unwrap();
        has_begun.recv().unwrap();
        Self { release }
    }

    fn release(self) {
        let _ = self.release.send(());
    }
}

/// A panic that prints nothing.
fn quiet_panic(text: &'static str) -> ! {
    resume_unwind(Box::new(text))
}

#[test]
fn every_way_in_runs_the_job() {
    let pool = pool(2, 4);
    let (sender, ran) = channel();
    let job = |number: u32| {
        let sender = sender.clone();
        move || sender.send(number).unwrap()
    };
    pool.try_submit(job(1)).unwrap();
    futures::executor::block_on(pool.submit(job(2))).unwrap();
    pool.submit_blocking(job(3)).unwrap();
    pool.submit_blocking_timeout(job(4), LONG).unwrap();
    pool.submit_blocking(|| ()).unwrap();
    pool.spawn(job(5)).join_blocking().unwrap();
    pool.try_spawn(job(6)).unwrap().join_blocking().unwrap();
    futures::executor::block_on(pool.call(job(7))).unwrap();
    pool.call_blocking(job(8)).unwrap();
    pool.execute(job(9)).unwrap();
    pool.scope(|scope| scope.spawn(job(10)));
    let report = pool.shutdown(Shutdown::drain());
    assert_eq!((report.panicked, report.running, report.queued, report.jobs.len()), (0, 0, 0, 0));
    assert_eq!(ran.try_iter().collect::<HashSet<_>>(), (1..=10).collect());
}

#[test]
fn a_full_queue_gives_the_job_back() {
    let pool = pool(1, 1);
    let hold = Hold::one(&pool);
    pool.try_submit(|| ()).unwrap();
    let text = String::from("mine");
    let refused = pool.try_submit(move || drop(text)).unwrap_err();
    assert_eq!(
        (refused.reason(), refused.rejection().policy()),
        (Reason::QueueFull, "worker_pool")
    );
    refused.into_job()();
    let refused = pool.try_spawn(|| 5).unwrap_err();
    assert_eq!((refused.into_job())(), 5, "a job with a result comes back as well");
    let refused = pool.submit_blocking_timeout(|| (), Duration::from_millis(1)).unwrap_err();
    assert_eq!(refused.reason(), Reason::QueueTimeout);
    let big = [7u8; 200];
    assert_eq!(
        (pool.try_spawn(move || big[199]).unwrap_err().into_job())(),
        7,
        "and one that is boxed"
    );
    assert!(matches!(pool.spawn(|| ()).join_blocking(), Err(JobError::QueueFull)));
    assert_eq!(pool.snapshot().rejected, 5);
    hold.release();
}

#[test]
fn waiting_for_room_is_in_order_and_cancel_safe() {
    let pool = pool(1, 1);
    let hold = Hold::one(&pool);
    let (sender, ran) = channel();
    let job = |number: u32| {
        let sender = sender.clone();
        move || sender.send(number).unwrap()
    };
    pool.try_submit(job(0)).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = pin!(pool.submit(job(1)));
    let mut dropped = Box::pin(pool.submit(job(2)));
    let mut third = pin!(pool.submit(job(3)));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(dropped.as_mut().poll(&mut cx).is_pending());
    assert!(third.as_mut().poll(&mut cx).is_pending());
    drop(dropped);
    hold.release();
    futures::executor::block_on(async {
        first.await.unwrap();
        third.await.unwrap();
    });
    pool.shutdown(Shutdown::drain());
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), [0, 1, 3]);
}

#[test]
fn a_dropped_call_cancels_its_job() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    let ran = Arc::new(AtomicUsize::new(0));
    let mut cx = Context::from_waker(Waker::noop());
    for polls in 0..2 {
        let count = Arc::clone(&ran);
        let mut call = Box::pin(pool.call(move || count.fetch_add(1, Ordering::Relaxed)));
        for _ in 0..polls {
            assert!(call.as_mut().poll(&mut cx).is_pending());
        }
        drop(call);
        assert_eq!(Arc::strong_count(&ran), 1, "what it captured is gone");
    }
    hold.release();
    pool.shutdown(Shutdown::drain());
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(pool.snapshot().cancelled, 1);
}

#[test]
fn what_happens_when_full() {
    let build = |when_full| {
        WorkerPool::builder().workers(1).queue_capacity(2).when_full(when_full).build().unwrap()
    };
    // Three jobs into two places, while the worker is held.
    let three = |pool: &WorkerPool| {
        let hold = Hold::one(pool);
        let here = thread::current().id();
        let handles: Vec<_> = (0..3)
            .map(|number| {
                pool.spawn(move || if thread::current().id() == here { 10 } else { number })
            })
            .collect();
        hold.release();
        handles.into_iter().map(|handle| handle.join_blocking().ok()).collect::<Vec<_>>()
    };
    assert_eq!(three(&build(OverflowRule::Reject)), [Some(0), Some(1), None]);
    assert_eq!(three(&build(OverflowRule::CallerRuns)), [Some(0), Some(1), Some(10)]);
    assert_eq!(three(&build(OverflowRule::DropOldest)), [None, Some(1), Some(2)]);
    assert_eq!(three(&build(OverflowRule::DropNewest)), [Some(0), Some(1), None]);

    let pool = build(OverflowRule::Block);
    let hold = Hold::one(&pool);
    let handles = [pool.spawn(|| 0), pool.spawn(|| 1)];
    thread::scope(|scope| {
        let blocked = scope.spawn(|| pool.spawn(|| 2).join_blocking().unwrap());
        hold.release();
        assert_eq!(blocked.join().unwrap(), 2);
    });
    assert_eq!(handles.map(|handle| handle.join_blocking().unwrap()), [0, 1]);
}

#[test]
fn a_panic_ends_the_job_and_not_the_worker() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let heard = Arc::clone(&heard);
        move |payload: &(dyn std::any::Any + Send)| {
            heard.lock().unwrap().push(payload.downcast_ref::<&str>().copied());
            quiet_panic("the hook panics too");
        }
    };
    let pool = WorkerPool::builder().workers(1).on_panic(hook).build().unwrap();
    let error = pool.spawn(|| -> u32 { quiet_panic("first") }).join_blocking().unwrap_err();
    assert_eq!(error.to_string(), "the job panicked: first");
    let JobError::Panicked(panic) = error else { panic!("{error:?}") };
    assert_eq!(panic.message(), "first");
    assert_eq!(panic.into_payload().downcast_ref::<&str>(), Some(&"first"));
    pool.execute(|| quiet_panic("second")).unwrap();

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            quiet_panic("dropped");
        }
    }
    // A capture, a result of a detached job, and the payload of a panic.
    let bomb = Bomb;
    pool.execute(move || drop(bomb)).unwrap();
    drop(pool.spawn(|| Bomb));
    pool.execute(|| resume_unwind(Box::new(Bomb))).unwrap();
    let bomb = Bomb;
    let hold_after = pool.spawn(move || {
        let _bomb = bomb;
        1
    });
    assert!(matches!(hold_after.join_blocking(), Err(JobError::Panicked(_))));
    assert_eq!(pool.spawn(|| 5).join_blocking().unwrap(), 5, "the worker lives");
    let report = pool.shutdown(Shutdown::drain());
    assert_eq!((report.completed, report.panicked), (1, 6));
    assert_eq!(heard.lock().unwrap()[..2], [Some("first"), Some("second")]);
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        quiet_panic("the waker");
    }
}

#[test]
fn a_waker_that_panics_costs_no_worker_and_no_job() {
    let pool = pool(1, 1);
    let hold = Hold::one(&pool);
    let queued = pool.try_spawn(|| 7).unwrap();
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut cx = Context::from_waker(&waker);
    let mut waiting = Box::pin(pool.submit(|| ()));
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    hold.release();
    assert_eq!(
        queued.join_blocking_timeout(LONG).unwrap().unwrap(),
        7,
        "taking it out woke the one that waited"
    );
    drop(waiting);

    let hold = Hold::one(&pool);
    let mut polled = pool.spawn(|| ());
    assert!(pin!(&mut polled).poll(&mut cx).is_pending());
    hold.release();
    polled.join_blocking_timeout(LONG).unwrap().unwrap();
    assert_eq!(pool.call_blocking(|| 5).unwrap(), 5, "the worker lives");
    assert_eq!(pool.snapshot().panicked, 0);
}

#[test]
fn a_waker_that_panics_keeps_nobody_from_hearing_of_the_end() {
    let pool = WorkerPool::builder().workers(1).queue_capacity(1).priorities(true).build().unwrap();
    let hold = Hold::one(&pool);
    let (high, low) = (pool.priority(JobPriority::High), pool.priority(JobPriority::Low));
    high.try_submit(|| ()).unwrap();
    low.try_submit(|| ()).unwrap();
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut first = Box::pin(high.submit(|| ()));
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let woken = Arc::new(Woken::default());
    let mut second = Box::pin(low.submit(|| ()));
    assert!(
        second.as_mut().poll(&mut Context::from_waker(&Arc::clone(&woken).into())).is_pending()
    );
    let report = pool.shutdown(Shutdown::cancel().within(Duration::ZERO));
    assert_eq!((report.running, report.jobs.len()), (1, 2));
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    hold.release();
}

/// How often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_submission_that_ends_on_a_worker_waits_no_more() {
    type Moved = Pin<Box<SubmitFuture<'static, fn()>>>;
    let pool: &'static WorkerPool = Box::leak(Box::new(pool(1, 1)));
    let (to_worker, on_worker) = channel();
    let (to_us, from_worker) = channel();
    pool.submit_blocking(move || {
        let mut moved: Moved = on_worker.recv().unwrap();
        let polled = moved.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        to_us.send((moved, polled.is_ready())).unwrap();
    })
    .unwrap();
    while pool.snapshot().running == 0 {
        thread::yield_now();
    }
    pool.try_submit(|| ()).unwrap();
    let mut moved = Box::pin(pool.submit((|| ()) as fn()));
    assert!(moved.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let woken = Arc::new(Woken::default());
    let mut behind = Box::pin(pool.submit(|| ()));
    assert!(
        behind.as_mut().poll(&mut Context::from_waker(&Arc::clone(&woken).into())).is_pending()
    );
    to_worker.send(moved).unwrap();
    // Kept alive, as a part of a larger future is.
    let (_moved, ready) = from_worker.recv().unwrap();
    assert!(ready);
    while pool.snapshot().completed < 3 {
        thread::yield_now();
    }
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "there was room");
}

#[test]
fn a_job_is_cancelled_before_it_begins_or_not_at_all() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    let capture = Arc::new(());
    let job = {
        let capture = Arc::clone(&capture);
        pool.spawn(move || drop(capture))
    };
    assert!(!job.is_finished());
    assert!(job.cancel());
    assert!(!job.cancel(), "once");
    assert_eq!(Arc::strong_count(&capture), 1, "what it captured is gone at once");
    assert!(matches!(job.try_join(), Ok(Err(JobError::Cancelled))));
    hold.release();
    let job = pool.spawn(|| 1);
    let done = pool.spawn(|| ());
    done.join_blocking().unwrap();
    assert!(!job.cancel(), "too late");
    assert_eq!(job.join_blocking().unwrap(), 1);
}

#[test]
fn handles_are_joined_by_threads_and_tasks() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    let job = pool.spawn(|| 3);
    let job = job.try_join().unwrap_err();
    let mut job = job.join_blocking_timeout(Duration::from_millis(1)).unwrap_err();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(std::pin::Pin::new(&mut job).poll(&mut cx), Poll::Pending));
    hold.release();
    assert_eq!(futures::executor::block_on(&mut job).unwrap(), 3);
    let again = catch_unwind(AssertUnwindSafe(|| futures::executor::block_on(&mut job)));
    assert!(again.is_err(), "a result is taken once");
}

#[test]
fn a_deadline_drops_the_job_unrun() {
    let time = ManualClock::new();
    let pool = WorkerPool::builder().workers(1).clock(time.clock()).build().unwrap();
    let hold = Hold::one(&pool);
    let late = pool.within(Duration::from_secs(1)).spawn(|| "late");
    let in_time = pool.within(Duration::from_secs(3)).spawn(|| "in time");
    let at = pool.until(Deadline::at(time.now() + Duration::from_secs(2))).spawn(|| "at");
    let free = pool.spawn(|| "free");
    time.advance(Duration::from_secs(2));
    hold.release();
    assert!(matches!(late.join_blocking(), Err(JobError::Expired)));
    assert!(matches!(at.join_blocking(), Err(JobError::Expired)));
    assert_eq!(in_time.join_blocking().unwrap(), "in time");
    assert_eq!(free.join_blocking().unwrap(), "free");
    pool.shutdown(Shutdown::drain());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.expired, snapshot.completed), (2, 3));
}

#[test]
fn a_standing_queue_is_shed() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let events = Arc::clone(&events);
        move |event: &Event<'_>| events.lock().unwrap().push((event.kind, event.sequence))
    };
    let pool = WorkerPool::builder()
        .workers(1)
        .shed_standing_queue()
        .clock(time.clock())
        .observer(observer)
        .build()
        .unwrap();
    let ms = Duration::from_millis;
    // Each job takes 20 ms of the manual clock, and there is always one more behind it.
    let hold = Hold::one(&pool);
    let jobs: Vec<_> = (0..12)
        .map(|_| {
            let time = time.clone();
            pool.spawn(move || time.advance(ms(20)))
        })
        .collect();
    time.advance(ms(20));
    hold.release();
    let ran: Vec<bool> = jobs.into_iter().map(|job| job.join_blocking().is_ok()).collect();
    // They come out after 20, 40, … ms: above the target for 100 ms from the first on. The last finds the
    // queue empty behind it.
    let expected = [true, true, true, true, true, false, false, false, false, false, false, true];
    assert_eq!(ran, expected);
    pool.shutdown(Shutdown::drain());
    assert_eq!(pool.snapshot().shed, 6);
    assert_eq!(*events.lock().unwrap(), [("overloaded", 1), ("recovered", 1), ("shut_down", 1)]);
}

#[test]
fn urgent_jobs_go_first_and_low_ones_go_too() {
    let pool = WorkerPool::builder().workers(1).priorities(true).build().unwrap();
    let hold = Hold::one(&pool);
    let order = Arc::new(Mutex::new(Vec::new()));
    for priority in [JobPriority::Low, JobPriority::Normal, JobPriority::High] {
        for _ in 0..32 {
            let order = Arc::clone(&order);
            pool.priority(priority)
                .try_submit(move || order.lock().unwrap().push(priority))
                .unwrap();
        }
    }
    hold.release();
    pool.shutdown(Shutdown::drain());
    let order = order.lock().unwrap();
    let first = |priority| order.iter().position(|ran| *ran == priority).unwrap();
    assert_eq!(order.len(), 96);
    assert_eq!(order[0], JobPriority::High);
    assert!(first(JobPriority::Normal) < 4 && first(JobPriority::Low) < 16, "{order:?}");
    assert!(order[..32].iter().filter(|ran| **ran == JobPriority::High).count() >= 23);
}

#[test]
fn submitting_from_a_worker_never_deadlocks() {
    for when_full in [OverflowRule::Block, OverflowRule::CallerRuns] {
        let pool = WorkerPool::builder()
            .workers(1)
            .queue_capacity(1)
            .when_full(when_full)
            .build()
            .unwrap();
        let inner = pool.clone();
        let sum = pool.spawn(move || {
            // One fits into the queue; the rest runs here. Joining runs the queued one here, too.
            let jobs: Vec<_> = (1..=10).map(|number| inner.spawn(move || number)).collect();
            jobs.into_iter().map(|job| job.join_blocking().unwrap()).sum::<u32>()
        });
        assert_eq!(sum.join_blocking().unwrap(), 55);
    }
    let pool = pool(1, 1);
    let inner = pool.clone();
    let ran = pool.spawn(move || {
        let mut ran = 0;
        for number in 0..5 {
            ran += u32::from(inner.submit_blocking(|| ()).is_ok());
            ran += u32::from(inner.submit_blocking_timeout(|| (), LONG).is_ok());
            ran += u32::from(futures::executor::block_on(inner.submit(|| ())).is_ok());
            ran += u32::from(inner.call_blocking(move || number).unwrap() == number);
            ran += u32::from(futures::executor::block_on(inner.call(move || number)).is_ok());
        }
        ran
    });
    // The last one's job stands in the queue when the queue is not full: an executor on a worker waits for
    // another worker. Here the queue is full from the first submission on.
    assert_eq!(ran.join_blocking().unwrap(), 25);
}

#[test]
fn nesting_has_an_end() {
    fn submit(pool: &WorkerPool, depth: u32, deepest: &Arc<Mutex<(u32, Option<Reason>)>>) {
        deepest.lock().unwrap().0 = depth;
        let (inner, deeper) = (pool.clone(), Arc::clone(deepest));
        if let Err(refused) = pool.submit_blocking(move || submit(&inner, depth + 1, &deeper)) {
            deepest.lock().unwrap().1 = Some(refused.reason());
        }
    }
    for depth in [0, 5, 128] {
        let pool =
            WorkerPool::builder().workers(1).queue_capacity(1).inline_depth(depth).build().unwrap();
        let deepest = Arc::new(Mutex::new((0, None)));
        let (inner, recorded) = (pool.clone(), Arc::clone(&deepest));
        let job = pool.spawn(move || {
            inner.try_submit(|| ()).unwrap();
            submit(&inner, 0, &recorded);
        });
        job.join_blocking().unwrap();
        assert_eq!(*deepest.lock().unwrap(), (depth, Some(Reason::QueueFull)));
    }
}

#[test]
fn scopes_borrow_and_nest() {
    for workers in [1, 3] {
        let pool = pool(workers, 2);
        let counter = AtomicUsize::new(0);
        let mut squares = [0; 20];
        let answer = pool.scope(|scope| {
            for (number, square) in squares.iter_mut().enumerate() {
                let (pool, counter) = (&pool, &counter);
                scope.spawn(move || {
                    *square = number * number;
                    scope.spawn(move || {
                        counter.fetch_add(1, Ordering::Relaxed);
                    });
                    // A scope of its own, on the worker.
                    pool.scope(|inner| {
                        inner.spawn(|| {
                            counter.fetch_add(100, Ordering::Relaxed);
                        });
                    });
                });
            }
            "done"
        });
        assert_eq!(answer, "done");
        assert_eq!(counter.into_inner(), 2020);
        assert!(squares.iter().enumerate().all(|(number, square)| *square == number * number));
    }
}

#[test]
fn a_scope_outlives_every_panic_in_it() {
    let pool = pool(2, 64);
    let ran = AtomicUsize::new(0);
    let body = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            for number in 0..20 {
                let ran = &ran;
                scope.spawn(move || {
                    ran.fetch_add(1, Ordering::Relaxed);
                    if number == 7 {
                        quiet_panic("seven");
                    }
                });
            }
        });
    }));
    assert_eq!(body.unwrap_err().downcast_ref::<&str>(), Some(&"seven"));
    assert_eq!(ran.load(Ordering::Relaxed), 20, "the others ran all the same");
    let body = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            scope.spawn(|| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            quiet_panic("the body");
        })
    }));
    assert_eq!(body.unwrap_err().downcast_ref::<&str>(), Some(&"the body"));
    assert_eq!(ran.into_inner(), 21, "what was spawned before has ended");
}

#[test]
fn a_scope_runs_its_jobs_on_a_dead_pool() {
    let pool = pool(2, 1);
    pool.shutdown(Shutdown::cancel());
    let mut sum = 0;
    pool.scope(|scope| scope.spawn(|| sum = 7));
    assert_eq!(sum, 7);
}

#[test]
fn a_map_keeps_its_order_and_its_bound() {
    let pool = pool(3, 64);
    let at_once = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let count = Arc::clone(&at_once);
    let doubled = pool
        .map(0..500usize, move |number| {
            let now = count.0.fetch_add(1, Ordering::SeqCst) + 1;
            count.1.fetch_max(now, Ordering::SeqCst);
            thread::yield_now();
            count.0.fetch_sub(1, Ordering::SeqCst);
            number * 2
        })
        .concurrency(2);
    let doubled: Vec<usize> = doubled.map(Result::unwrap).collect();
    assert_eq!(doubled, (0..500).map(|number| number * 2).collect::<Vec<_>>());
    assert!(at_once.1.load(Ordering::SeqCst) <= 2);

    let unordered = pool.map(0..500usize, |number| number).unordered();
    assert_eq!(unordered.map(Result::unwrap).collect::<HashSet<_>>(), (0..500).collect());

    // From a worker, and when there is no room.
    let inner = pool.clone();
    let sum = pool.spawn(move || {
        inner.map(0..100u32, |n| n).concurrency(300).map(Result::unwrap).sum::<u32>()
    });
    assert_eq!(sum.join_blocking().unwrap(), 4950);
    let tiny = WorkerPool::builder().workers(1).queue_capacity(1).build().unwrap();
    assert_eq!(tiny.map(0..100u32, |n| n).concurrency(50).map(Result::unwrap).sum::<u32>(), 4950);
}

#[test]
fn a_map_tells_what_went_wrong() {
    let pool = pool(2, 16);
    let results: Vec<_> = pool
        .map(0..4, |number| if number == 2 { quiet_panic("two") } else { number })
        .map(|result| result.map_err(|error| error.to_string()))
        .collect();
    assert_eq!(results, [Ok(0), Ok(1), Err("the job panicked: two".to_owned()), Ok(3)]);

    let mut half_taken = pool.map(0..1000, |number| number);
    assert_eq!(half_taken.next().unwrap().unwrap(), 0);
    drop(half_taken);
    pool.shutdown(Shutdown::drain());
    assert!(matches!(pool.map([1], |number| number).next(), Some(Err(JobError::Shutdown))));
}

#[test]
fn shutdown_drains() {
    let pool = pool(2, 256);
    let handles: Vec<_> = (0..200).map(|number| pool.spawn(move || number)).collect();
    let report = pool.shutdown(Shutdown::drain());
    assert_eq!((report.completed, report.running, report.jobs.len()), (200, 0, 0));
    assert!(
        handles.into_iter().enumerate().all(|(number, job)| job.join_blocking().unwrap() == number)
    );
    assert_eq!(pool.try_submit(|| ()).unwrap_err().reason(), Reason::ShutDown);
    assert_eq!(pool.submit_blocking(|| ()).unwrap_err().reason(), Reason::ShutDown);
    assert_eq!(pool.execute(|| ()).unwrap_err().reason(), Reason::ShutDown);
    assert!(matches!(pool.spawn(|| ()).join_blocking(), Err(JobError::Shutdown)));
    assert!(matches!(pool.call_blocking(|| ()), Err(JobError::Shutdown)));
    assert!(pool.is_shut_down());
    assert_eq!(pool.snapshot().workers, 0);
    assert_eq!(pool.shutdown(Shutdown::drain()).completed, 200, "again");
}

#[test]
fn shutdown_hands_queued_jobs_back() {
    let pool = pool(1, 16);
    let hold = Hold::one(&pool);
    let [run, dropped, cancelled] = [1, 2, 3].map(|number| pool.spawn(move || number));
    assert!(cancelled.cancel());
    let mut report = pool.shutdown(Shutdown::cancel().within(Duration::ZERO));
    assert_eq!((report.completed, report.running, report.jobs.len()), (0, 1, 3));
    report.jobs.remove(0).run();
    assert_eq!(run.join_blocking().unwrap(), 1);
    report.jobs.clear();
    assert!(matches!(dropped.join_blocking(), Err(JobError::Shutdown)));
    assert!(matches!(cancelled.join_blocking(), Err(JobError::Cancelled)));
    hold.release();
    let report = pool.shutdown(Shutdown::drain());
    assert_eq!((report.completed, report.running), (2, 0));
}

#[test]
fn draining_has_a_deadline() {
    let pool = pool(1, 16);
    let hold = Hold::one(&pool);
    let job = pool.spawn(|| ());
    let report = pool.shutdown(Shutdown::drain().within(Duration::from_millis(5)));
    assert_eq!((report.running, report.jobs.len()), (1, 1));
    drop(report);
    assert!(matches!(job.join_blocking(), Err(JobError::Shutdown)));
    hold.release();
    assert_eq!(pool.shutdown(Shutdown::drain()).running, 0);
}

#[test]
fn a_worker_can_shut_its_pool_down() {
    let pool = pool(2, 16);
    let inner = pool.clone();
    let report = pool.spawn(move || {
        let report = inner.shutdown(Shutdown::drain());
        (report.running, report.jobs.len())
    });
    assert_eq!(report.join_blocking().unwrap(), (1, 0));
    assert_eq!(pool.shutdown(Shutdown::drain()).running, 0);
}

#[test]
fn dropping_the_last_handle_ends_the_pool() {
    let ran = Arc::new(AtomicUsize::new(0));
    let pool = pool(2, 256);
    for _ in 0..100 {
        let ran = Arc::clone(&ran);
        pool.execute(move || {
            ran.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    }
    let other = pool.clone();
    drop(pool);
    other.execute(|| ()).unwrap();
    drop(other);
    assert_eq!(ran.load(Ordering::Relaxed), 100, "what was queued has run");

    let cancelling = WorkerPool::builder()
        .workers(1)
        .on_drop(Shutdown::cancel().within(Duration::ZERO))
        .build()
        .unwrap();
    let hold = Hold::one(&cancelling);
    let job = cancelling.spawn(|| ());
    drop(cancelling);
    assert!(matches!(job.join_blocking(), Err(JobError::Shutdown)));
    hold.release();
}

#[test]
fn a_job_may_drop_the_last_handle() {
    let (sender, dropped) = channel();
    let pool = pool(1, 4);
    let inner = pool.clone();
    let (go, gone): (Sender<()>, Receiver<()>) = channel();
    pool.execute(move || {
        let _ = gone.recv();
        drop(inner);
        sender.send(()).unwrap();
    })
    .unwrap();
    drop(pool);
    go.send(()).unwrap();
    dropped.recv_timeout(LONG).unwrap();
}

#[test]
fn an_elastic_pool_grows_before_it_queues_and_shrinks_again() {
    let pool = WorkerPool::builder()
        .workers(1..=3)
        .idle_timeout(Duration::from_millis(5))
        .queue_capacity(8)
        .build()
        .unwrap();
    assert_eq!(pool.snapshot().workers, 1);
    let holds: Vec<_> = (0..3).map(|_| Hold::one(&pool)).collect();
    assert_eq!(pool.snapshot().workers, 3, "held jobs each have a worker");
    pool.try_submit(|| ()).unwrap();
    holds.into_iter().for_each(Hold::release);
    while pool.snapshot().workers > 1 {
        thread::yield_now();
    }
    assert_eq!(pool.spawn(|| 1).join_blocking().unwrap(), 1);
}

#[test]
fn a_thread_that_starts_slowly_keeps_nobody_asleep() {
    let (begun, has_begun) = channel();
    let (release, released) = channel::<()>();
    let hook = Mutex::new((0, begun, released));
    let pool = WorkerPool::builder()
        .workers(1..=2)
        .on_start(move || {
            let (number, begun, released) = &mut *hook.lock().unwrap();
            *number += 1;
            if *number == 2 {
                begun.send(()).unwrap();
                let _ = released.recv();
            }
        })
        .build()
        .unwrap();
    let hold = Hold::one(&pool);
    let second = pool.spawn(|| 2);
    has_begun.recv().unwrap();
    hold.release();
    assert_eq!(second.join_blocking_timeout(LONG).unwrap().unwrap(), 2, "run by the first worker");
    while pool.snapshot().idle == 0 {
        thread::yield_now();
    }
    let third = pool.spawn(|| 3).join_blocking_timeout(LONG);
    release.send(()).unwrap();
    assert_eq!(third.expect("in time").unwrap(), 3);
}

#[test]
fn a_pool_is_resized() {
    let pool = pool(1, 64);
    let first = Hold::one(&pool);
    pool.resize(3).unwrap();
    let others = [Hold::one(&pool), Hold::one(&pool)];
    assert_eq!(pool.snapshot().workers, 3);
    pool.resize(1).unwrap();
    pool.resize(2).unwrap();
    others.into_iter().for_each(Hold::release);
    first.release();
    while pool.snapshot().workers > 2 {
        thread::yield_now();
    }
    let holds = [Hold::one(&pool), Hold::one(&pool)];
    pool.resize(1..=4).unwrap();
    let more = [Hold::one(&pool), Hold::one(&pool)];
    assert_eq!(pool.snapshot().workers, 4);
    holds.into_iter().chain(more).for_each(Hold::release);
    assert_eq!(pool.resize(0).unwrap_err().field(), "workers");
    assert_eq!(pool.shutdown(Shutdown::drain()).running, 0);
    pool.resize(5).unwrap();
    assert_eq!(pool.snapshot().workers, 0, "what is shut down stays so");
}

#[test]
fn who_sleeps_hears_that_fewer_are_needed() {
    let pool =
        WorkerPool::builder().workers(4).idle_timeout(Duration::from_millis(1)).build().unwrap();
    while pool.snapshot().idle < 4 {
        thread::yield_now();
    }
    pool.resize(1..=4).unwrap();
    let end = Instant::now() + LONG;
    while pool.snapshot().workers > 1 && Instant::now() < end {
        thread::yield_now();
    }
    assert_eq!(pool.snapshot().workers, 1);
}

#[test]
fn two_pools_by_turns_get_samples_each() {
    let pools = [pool(1, 1), pool(1, 1)];
    for _ in 0..2_000 {
        pools.iter().for_each(|pool| pool.call_blocking(|| ()).unwrap());
    }
    assert!(pools.iter().all(|pool| pool.snapshot().queue_wait.is_some()));
}

#[test]
fn hooks_and_names() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let record = |names: &Arc<Mutex<Vec<String>>>, what: &'static str| {
        let names = Arc::clone(names);
        move || {
            names.lock().unwrap().push(format!("{what} {}", thread::current().name().unwrap()));
            quiet_panic("a hook");
        }
    };
    let pool = WorkerPool::builder()
        .name("resize")
        .workers(1)
        .stack_size(256 * 1024)
        .on_start(record(&names, "start"))
        .on_stop(record(&names, "stop"))
        .build()
        .unwrap();
    assert_eq!(pool.name(), "resize");
    assert_eq!(pool.spawn(|| 1).join_blocking().unwrap(), 1);
    pool.shutdown(Shutdown::drain());
    assert_eq!(*names.lock().unwrap(), ["start resize-0", "stop resize-0"]);
}

#[test]
fn what_the_builder_does_not_accept() {
    let field =
        |builder: mainstay::worker_pool::WorkerPoolBuilder| builder.build().unwrap_err().field();
    let builder = WorkerPool::builder;
    assert_eq!(field(builder().name("a\0b")), "name");
    assert_eq!(field(builder().workers(0)), "workers");
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 3..=2;
    assert_eq!(field(builder().workers(reversed)), "workers");
    assert_eq!(field(builder().workers(1 << 20)), "workers");
    assert_eq!(field(builder().queue_capacity(0)), "queue_capacity");
    assert_eq!(field(builder().queue_capacity(usize::MAX)), "queue_capacity");
    assert_eq!(field(builder().idle_timeout(Duration::ZERO)), "idle_timeout");
    assert_eq!(field(builder().inline_depth(129)), "inline_depth");
    assert_eq!(field(builder().codel(Duration::ZERO, LONG)), "codel");
    assert_eq!(field(builder().codel(LONG, Duration::from_secs(1))), "codel");
    assert_eq!(field(builder().codel(LONG, Duration::MAX)), "codel");
    let error = builder().workers(2).stack_size(1 << 46).build().unwrap_err();
    assert_eq!(error.field(), "workers", "{error}: no thread can be started");
}

#[test]
fn a_worker_that_joins_its_job_late_does_not_run_it() {
    let time = ManualClock::new();
    let pool = WorkerPool::builder().workers(1).clock(time.clock()).build().unwrap();
    let (inner, clock) = (pool.clone(), time);
    let joined = pool.call_blocking(move || {
        let in_time = inner.within(Duration::from_secs(1)).spawn(|| 1).join_blocking();
        let late = inner.within(Duration::from_secs(1)).spawn(|| 2);
        clock.advance(Duration::from_secs(2));
        (in_time, late.join_blocking())
    });
    assert!(matches!(joined, Ok((Ok(1), Err(JobError::Expired)))), "{joined:?}");
    pool.shutdown(Shutdown::drain());
    let snapshot = pool.snapshot();
    assert_eq!(
        (snapshot.completed, snapshot.expired),
        (2, 1),
        "each once, their places in the queue not"
    );
}

/// Panics when dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        quiet_panic("the capture");
    }
}

#[test]
fn each_job_is_counted_once_for_what_became_of_it() {
    let time = ManualClock::new();
    let heard = Arc::new(AtomicUsize::new(0));
    let hearing = Arc::clone(&heard);
    let pool = WorkerPool::builder().workers(1).clock(time.clock());
    let pool = pool
        .on_panic(move |_| {
            hearing.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let counts = || {
        let snapshot = pool.snapshot();
        (snapshot.completed, snapshot.panicked, snapshot.cancelled, snapshot.expired)
    };

    // Cancelled, then its deadline passes; expired, with captures that panic.
    let hold = Hold::one(&pool);
    let soon = pool.within(Duration::from_secs(1));
    assert!(soon.spawn(|| ()).cancel());
    let bomb = Bomb;
    soon.try_submit(move || drop(bomb)).unwrap();
    time.advance(Duration::from_secs(2));
    hold.release();
    pool.call_blocking(|| ()).unwrap();
    while pool.snapshot().running > 0 {
        thread::yield_now();
    }
    assert_eq!(counts(), (2, 1, 1, 1));

    // Of a scope and a map, on a worker and by who waits for them.
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.scope(|scope| {
            let (begun, has_begun) = channel();
            scope.spawn(move || {
                begun.send(()).unwrap();
                quiet_panic("scoped");
            });
            has_begun.recv().unwrap();
        });
    }));
    assert!(panicked.is_err());
    let hold = Hold::one(&pool);
    pool.scope(|scope| scope.spawn(|| ()));
    hold.release();
    let inner = pool.clone();
    pool.call_blocking(move || {
        inner
            .map(0..3, |n| {
                if n == 1 {
                    quiet_panic("item")
                }
            })
            .count()
    })
    .unwrap();
    pool.call_blocking(|| ()).unwrap();
    pool.shutdown(Shutdown::drain());
    assert_eq!(counts(), (2 + 1 + 1 + 2 + 1 + 1, 1 + 1 + 1, 1, 1));
    assert_eq!((pool.snapshot().running, heard.load(Ordering::Relaxed)), (0, 3));
}

#[test]
fn what_is_handed_back_is_counted_when_its_fate_is_known() {
    let pool = pool(1, 8);
    let hold = Hold::one(&pool);
    pool.try_submit(|| ()).unwrap();
    pool.try_submit(|| ()).unwrap();
    for bomb in [Bomb, Bomb] {
        pool.try_submit(move || drop(bomb)).unwrap();
    }
    // Its ticket stays in the queue.
    pool.scope(|scope| scope.spawn(|| ()));
    let mut report = pool.shutdown(Shutdown::cancel().within(Duration::ZERO));
    assert_eq!(pool.snapshot().cancelled, 0);
    report.jobs.remove(0).run();
    // Two panics on the way.
    drop(report);
    hold.release();
    pool.shutdown(Shutdown::drain());
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.completed, snapshot.cancelled, snapshot.panicked), (3, 3, 2));
}

#[test]
fn the_concurrency_of_a_map_can_be_anything() {
    let pool = pool(1, 8);
    assert_eq!(pool.map(0..3, |n| n).concurrency(usize::MAX).count(), 3);
    let inner = pool.clone();
    let job = pool.spawn(move || {
        let mut map = inner.map(0..10, |n| n).concurrency(1);
        let first = map.next().unwrap().unwrap();
        let rest = map.concurrency(4).map(Result::unwrap);
        first + rest.sum::<u32>()
    });
    assert_eq!(job.join_blocking_timeout(LONG).unwrap().unwrap(), 45);
}

#[test]
fn the_snapshot_adds_up() {
    let pool = pool(2, 4096);
    for number in 0..2000 {
        pool.submit_blocking(move || {
            if number % 10 == 0 {
                quiet_panic("tenth")
            }
        })
        .unwrap();
    }
    pool.shutdown(Shutdown::drain());
    let snapshot = pool.snapshot();
    assert_eq!(
        (snapshot.completed, snapshot.panicked, snapshot.queued, snapshot.running),
        (1800, 200, 0, 0)
    );
    let waits = snapshot.queue_wait.expect("one in 64 is a sample");
    assert!(waits.p50 <= waits.p90 && waits.p90 <= waits.p99);
}

#[test]
fn what_is_public_can_be_sent_and_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<WorkerPool>();
    shared::<JobError>();
    shared::<mainstay::worker_pool::JobHandle<u32>>();
    shared::<mainstay::worker_pool::SubmitError<u32>>();
}
