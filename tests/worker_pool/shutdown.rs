//! Shutting down: draining, handing back, timeouts, dropping the last handle.

use super::{Hold, LONG, pool};
use mainstay::worker_pool::{JobError, WorkerPool, WorkerPoolShutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn draining_runs_all_queued_jobs() {
    let pool = pool(2, 256);
    assert!(!pool.is_shut_down());
    let handles: Vec<_> = (0..200).map(|number| pool.try_spawn(move || number).unwrap()).collect();
    let report = pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!((report.completed, report.running, report.unrun_jobs.len()), (200, 0, 0));
    for (number, job) in handles.into_iter().enumerate() {
        assert_eq!(job.join_blocking().unwrap(), number);
    }
    assert!(pool.is_shut_down());
    assert_eq!(pool.snapshot().workers, 0);
    assert_eq!(pool.shutdown(WorkerPoolShutdown::drain()).completed, 200, "a second call");
}

#[test]
fn jobs_without_a_handle_are_handed_back_and_handles_end() {
    let pool = pool(1, 16);
    let hold = Hold::one(&pool);
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        let ran = Arc::clone(&ran);
        let job = move || {
            ran.fetch_add(1, Ordering::Relaxed);
        };
        pool.try_submit(job).unwrap();
    }
    let [spawned, cancelled] = [1, 2].map(|number| pool.try_spawn(move || number).unwrap());
    assert!(cancelled.cancel());
    let mut report = pool.shutdown(WorkerPoolShutdown::cancel().timeout(Duration::ZERO));
    let counts = (report.completed, report.running, report.cancelled, report.unrun_jobs.len());
    assert_eq!(counts, (0, 1, 1, 2));
    assert_eq!(format!("{:?}", report.unrun_jobs[0]), "QueuedJob { .. }");
    assert!(matches!(spawned.join_blocking(), Err(JobError::ShutDown)));
    assert!(matches!(cancelled.join_blocking(), Err(JobError::Cancelled)));
    report.unrun_jobs.remove(0).run();
    drop(report);
    assert_eq!(Arc::strong_count(&ran), 1, "the other job was dropped");
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    hold.release();
    let report = pool.shutdown(WorkerPoolShutdown::drain());
    assert_eq!((report.completed, report.running), (2, 0));
}

#[test]
fn draining_ends_at_its_timeout() {
    let pool = pool(1, 16);
    let hold = Hold::one(&pool);
    let job = pool.try_spawn(|| ()).unwrap();
    let report = pool.shutdown(WorkerPoolShutdown::drain().timeout(Duration::from_millis(5)));
    assert_eq!((report.running, report.cancelled, report.unrun_jobs.len()), (1, 1, 0));
    assert!(matches!(job.join_blocking(), Err(JobError::ShutDown)));
    hold.release();
    assert_eq!(pool.shutdown(WorkerPoolShutdown::drain()).running, 0);
}

#[test]
fn a_worker_can_shut_its_pool_down() {
    let pool = pool(2, 16);
    let inner = pool.clone();
    let report = pool.call_blocking(move || {
        let report = inner.shutdown(WorkerPoolShutdown::drain());
        (report.running, report.unrun_jobs.len())
    });
    assert_eq!(report.unwrap(), (1, 0));
    assert_eq!(pool.shutdown(WorkerPoolShutdown::drain()).running, 0);
}

#[test]
fn dropping_the_last_handle_shuts_the_pool_down() {
    let ran = Arc::new(AtomicUsize::new(0));
    let draining = pool(2, 256);
    for _ in 0..100 {
        let ran = Arc::clone(&ran);
        draining
            .try_submit(move || {
                ran.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
    }
    let other = draining.clone();
    drop(draining);
    other.try_submit(|| ()).unwrap();
    drop(other);
    assert_eq!(ran.load(Ordering::Relaxed), 100, "queued jobs have run");

    let cancelling = WorkerPool::builder()
        .workers(1)
        .on_drop(WorkerPoolShutdown::cancel().timeout(Duration::ZERO))
        .build()
        .unwrap();
    let hold = Hold::one(&cancelling);
    let job = cancelling.try_spawn(|| ()).unwrap();
    drop(cancelling);
    assert!(matches!(job.join_blocking(), Err(JobError::ShutDown)));
    hold.release();
}

#[test]
fn a_job_may_drop_the_last_handle() {
    let (sender, dropped) = channel();
    let pool = pool(1, 4);
    let inner = pool.clone();
    let (go, gone) = channel::<()>();
    pool.try_submit(move || {
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
fn handles_end_while_the_report_is_alive() {
    let pool = pool(1, 16);
    let hold = Hold::one(&pool);
    let job = pool.try_spawn(|| ()).unwrap();
    let mut map = pool.map(0..3, |n| n);
    let report = pool.shutdown(WorkerPoolShutdown::cancel().timeout(Duration::ZERO));
    let result = job.join_blocking_timeout(Duration::from_millis(100));
    assert!(matches!(result, Ok(Err(JobError::ShutDown))), "{result:?}");
    assert!(matches!(map.next(), Some(Err(JobError::ShutDown))));
    drop(report);
    hold.release();
}
