//! Panics of jobs, captures, hooks and wakers.

use super::{Bomb, CountingWaker, Hold, LONG, pool, quiet_panic, wait_until};
use mainstay::event::Event;
use mainstay::time::{Clock, TimeSource};
use mainstay::worker_pool::{JobError, JobPriority, WorkerPool, WorkerPoolShutdown};
use std::any::Any;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

#[test]
fn a_panic_ends_the_job_and_not_the_worker() {
    let payloads = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let payloads = Arc::clone(&payloads);
        move |payload: &(dyn Any + Send)| {
            payloads.lock().unwrap().push(payload.downcast_ref::<&str>().copied());
            quiet_panic("the hook panics too");
        }
    };
    let pool = WorkerPool::builder().workers(1).on_panic(hook).build().unwrap();
    let error = pool.call_blocking(|| -> u32 { quiet_panic("first") }).unwrap_err();
    assert_eq!(error.to_string(), "the job panicked: first");
    let JobError::Panicked(panic) = error else { panic!("{error:?}") };
    assert_eq!(panic.message(), "first");
    assert_eq!(panic.into_payload().downcast_ref::<&str>(), Some(&"first"));
    pool.try_submit(|| quiet_panic("second")).unwrap();

    // A capture, the result of a detached job, and the payload of a panic.
    let bomb = Bomb;
    pool.try_submit(move || drop(bomb)).unwrap();
    drop(pool.try_spawn(|| Bomb).unwrap());
    pool.try_submit(|| resume_unwind(Box::new(Bomb))).unwrap();
    let bomb = Bomb;
    let capture_of_spawned = pool.call_blocking(move || {
        let _bomb = bomb;
        1
    });
    assert!(matches!(capture_of_spawned, Err(JobError::Panicked(_))));
    assert_eq!(pool.call_blocking(|| 5).unwrap(), 5, "the worker is alive");
    let report = pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!((report.completed, report.panicked), (1, 6));
    assert_eq!(payloads.lock().unwrap()[..2], [Some("first"), Some("second")]);
}

struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        quiet_panic("the waker");
    }
}

#[test]
fn a_waker_that_panics_ends_neither_worker_nor_job() {
    let pool = pool(1, 1);
    let hold = Hold::one(&pool);
    let queued = pool.try_spawn(|| 7).unwrap();
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut cx = Context::from_waker(&waker);
    let mut waiting = Box::pin(pool.submit(|| ()));
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    hold.release();
    let result = queued.join_blocking_timeout(LONG).unwrap();
    assert_eq!(result.unwrap(), 7, "removing it from the queue woke the waiting submission");
    drop(waiting);

    let hold = Hold::one(&pool);
    let mut polled = pool.try_spawn(|| ()).unwrap();
    assert!(pin!(&mut polled).poll(&mut cx).is_pending());
    hold.release();
    polled.join_blocking_timeout(LONG).unwrap().unwrap();
    assert_eq!(pool.call_blocking(|| 5).unwrap(), 5, "the worker is alive");
    assert_eq!(pool.snapshot().panicked, 0);
}

#[test]
fn a_waker_that_panics_does_not_prevent_other_wake_ups_of_a_shutdown() {
    let pool = WorkerPool::builder().workers(1).queue_capacity(1).priorities().build().unwrap();
    let hold = Hold::one(&pool);
    let (high, low) = (pool.priority(JobPriority::High), pool.priority(JobPriority::Low));
    high.try_submit(|| ()).unwrap();
    low.try_submit(|| ()).unwrap();
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut first = Box::pin(high.submit(|| ()));
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let woken = Arc::new(CountingWaker::default());
    let mut second = Box::pin(low.submit(|| ()));
    assert!(second.as_mut().poll(&mut Context::from_waker(&woken.clone().into())).is_pending());
    let report = pool.shutdown(WorkerPoolShutdown::cancel().timeout(Duration::ZERO));
    assert_eq!((report.running, report.unrun_jobs.len()), (1, 2));
    assert_eq!(woken.count(), 1);
    hold.release();
}

#[test]
fn the_text_of_nested_panics_does_not_grow_exponentially() {
    fn nest(pool: &WorkerPool, depth: u32) {
        if depth == 0 {
            quiet_panic("the cause");
        }
        let inner = pool.clone();
        if let Err(error) = pool.call_blocking(move || nest(&inner, depth - 1)) {
            // The message with which `unwrap` would panic.
            resume_unwind(Box::new(format!("{error:?}")));
        }
    }
    let pool = WorkerPool::builder().workers(1).build().unwrap();
    let inner = pool.clone();
    let JobError::Panicked(panic) = pool.call_blocking(move || nest(&inner, 16)).unwrap_err()
    else {
        panic!("the job panicked")
    };
    assert!(panic.message().len() < 2_000, "{} bytes", panic.message().len());
    assert!(format!("{panic:?}").len() < 4_000);
}

/// A clock that panics while its flag is set.
#[derive(Clone, Debug, Default)]
struct PanickingClock(Arc<AtomicBool>);

impl TimeSource for PanickingClock {
    fn now(&self) -> Duration {
        if self.0.load(Ordering::Relaxed) {
            quiet_panic("the clock");
        }
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

fn pool_with_clock(clock: &PanickingClock) -> WorkerPool {
    // With shedding every job reads the clock.
    WorkerPool::builder()
        .workers(1)
        .shed_standing_queue()
        .clock(Clock::custom(clock.clone()))
        .observer(|_: &Event<'_>| ())
        .build()
        .unwrap()
}

#[test]
fn a_job_dropped_by_a_panicking_clock_ends_its_handle() {
    let clock = PanickingClock::default();
    let pool = pool_with_clock(&clock);
    let hold = Hold::one(&pool);
    let job = pool.try_spawn(|| 1).unwrap();
    let mut map = pool.map(0..2, |n| n).concurrency(1);
    let mapping = thread::scope(|scope| {
        let mapping = scope.spawn(move || map.next());
        wait_until(|| pool.snapshot().queued == 2);
        clock.0.store(true, Ordering::Relaxed);
        hold.release();
        wait_until(|| mapping.is_finished());
        mapping.join().unwrap()
    });
    let result = job.join_blocking_timeout(LONG).expect("it has ended");
    assert!(matches!(result, Err(JobError::Cancelled)), "{result:?}");
    assert!(matches!(mapping, Some(Err(JobError::Cancelled))), "{mapping:?}");
    clock.0.store(false, Ordering::Relaxed);
    assert_eq!(pool.call_blocking(|| 5).unwrap(), 5, "the worker is alive");
}

#[test]
fn a_panic_is_reported_to_the_handle_even_if_the_clock_panics() {
    let clock = PanickingClock::default();
    let pool = pool_with_clock(&clock);
    let broken = clock.clone();
    let job = pool
        .try_spawn(move || {
            broken.0.store(true, Ordering::Relaxed);
            quiet_panic("the job");
        })
        .unwrap();
    let result = job.join_blocking_timeout(Duration::from_secs(1)).expect("it has ended");
    assert_eq!(result.unwrap_err().to_string(), "the job panicked: the job");
    clock.0.store(false, Ordering::Relaxed);
    let broken = clock.clone();
    let mut map = pool.map([()], move |()| -> u32 {
        broken.0.store(true, Ordering::Relaxed);
        quiet_panic("the item");
    });
    assert_eq!(map.next().unwrap().unwrap_err().to_string(), "the job panicked: the item");
}
