//! Loom models of the pool.

use super::queue::Queue;
use super::queue::priority_queue::PriorityQueue;
use super::workers::idle::Worker;
use crate::ring::PushError;
use crate::sync::Arc;
use loom::thread;

mod handle_loom;
mod queue_loom;
mod resize_loom;
mod submit_loom;

/// Runs a model with at most `preemptions` preemptions.
fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(body);
}

type Jobs = Arc<Queue<u32>>;

fn elastic_queue(queues: usize, min_workers: usize, max_workers: usize) -> Jobs {
    Arc::new(Queue::new(PriorityQueue::try_new(queues, 2).unwrap(), min_workers, max_workers))
}

/// Creates a queue with `workers` workers, which the model starts.
fn fixed_queue(queues: usize, workers: usize) -> Jobs {
    let queue = elastic_queue(queues, workers, workers);
    assert_eq!(queue.idle.reserve_starts(workers), workers);
    queue
}

/// Pushes a job. Returns whether the caller must start a thread, or an error if the queue is
/// closed.
fn push(queue: &Jobs, index: usize, job: u32) -> Result<bool, ()> {
    match queue.jobs.queue(index).ring().push_with(job, |job| job) {
        Ok(flag_was_set) => Ok(flag_was_set && queue.wake_after_push()),
        Err(PushError::Closed(_)) => Err(()),
        Err(_) => panic!("the queue is not full"),
    }
}

/// Submits to a pool that starts no threads; returns `false` if the queue is closed.
fn submit(queue: &Jobs, index: usize, job: u32) -> bool {
    push(queue, index, job).map(|start| assert!(!start, "no thread may be started")).is_ok()
}

fn no_start() {
    panic!("no thread may be started");
}

/// Waits for the next job; `None` if the worker must end.
fn next(queue: &Jobs, worker: &Worker) -> Option<u32> {
    let mut next = None;
    let found = queue.run_next(worker, 0, no_start, |job, _| next = Some(job));
    assert_eq!(found, next.is_some());
    next
}

/// Starts a worker that runs `count` jobs and returns their sum.
fn worker(queue: &Jobs, count: usize) -> thread::JoinHandle<u32> {
    let queue = queue.clone();
    thread::spawn(move || {
        let worker = Worker::new(None);
        (0..count).map(|_| next(&queue, &worker).expect("the queue is open")).sum()
    })
}

/// Starts a worker that runs jobs until it must end, and returns their sum.
fn worker_to_the_end(queue: &Jobs) -> thread::JoinHandle<u32> {
    let queue = queue.clone();
    thread::spawn(move || {
        let worker = Worker::new(None);
        let sum = std::iter::from_fn(|| next(&queue, &worker)).sum();
        queue.idle.thread_ended();
        sum
    })
}
