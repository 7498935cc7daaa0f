//! Loom models of a pool that shrinks.

use super::{Jobs, fixed_queue, model, next, submit, worker_to_the_end};
use crate::worker_pool::workers::idle::Worker;
use loom::thread;

/// One of two workers must retire, in any state; the other runs the job. The submitting thread is
/// the second worker.
#[test]
fn a_job_submitted_while_the_pool_shrinks_runs() {
    model(2, || {
        let queue = fixed_queue(1, 2);
        let other = worker_to_the_end(&queue);
        assert_eq!(queue.resize(1, 1), 0);
        assert!(!queue.wake_worker());
        submit(&queue, 0, 1);
        queue.close();
        let worker = Worker::new(None);
        let ran: u32 = std::iter::from_fn(|| next(&queue, &worker)).sum();
        assert_eq!(ran + other.join().unwrap(), 1);
    });
}

/// The worker that runs the job closes the queue: if both workers retired, the model would not end.
#[test]
fn shrinking_leaves_one_worker() {
    model(2, || {
        let queue = fixed_queue(1, 2);
        fn run_to_the_end(queue: &Jobs) {
            let worker = Worker::new(None);
            while next(queue, &worker).is_some() {
                queue.close();
            }
            queue.idle.thread_ended();
        }
        let other = {
            let queue = queue.clone();
            thread::spawn(move || run_to_the_end(&queue))
        };
        assert_eq!(queue.resize(1, 1), 0);
        submit(&queue, 0, 1);
        run_to_the_end(&queue);
        other.join().unwrap();
        assert!(queue.jobs.is_closed());
    });
}
