//! Panics of jobs, captures, hooks and wakers.

use super::{Bomb, CountingWaker, Hold, LONG, pool, quiet_panic};
use mainstay::worker_pool::{JobError, JobPriority, Shutdown, WorkerPool};
use std::any::Any;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
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
    let report = pool.shutdown(Shutdown::drain());
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
    assert_eq!(result.unwrap(), 7, "taking it out woke the waiting submission");
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
fn a_waker_that_panics_does_not_keep_others_from_learning_of_the_shutdown() {
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
    let report = pool.shutdown(Shutdown::cancel().timeout(Duration::ZERO));
    assert_eq!((report.running, report.jobs.len()), (1, 2));
    assert_eq!(woken.count(), 1);
    hold.release();
}
