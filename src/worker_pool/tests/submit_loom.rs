//! Models of submitters that wait while the queue is full. A submitter that is never woken is a
//! deadlock.

use super::{Jobs, fixed_queue, model, submit, worker};
use crate::ring::PushError;
use crate::sync::block_on;
use crate::wait::Attempt;
use loom::thread;
use std::future::poll_fn;

/// Submits a job, waiting while the queue is full.
fn submit_waiting(queue: &Jobs, job: u32) {
    let bounded = queue.jobs.queue(0);
    let mut wait = bounded.wait_until_not_full();
    block_on(poll_fn(|cx| {
        wait.poll(cx, || match bounded.ring().push_with(job, |job| job) {
            Ok(flag_was_set) => {
                assert!(!(flag_was_set && queue.wake_after_push()), "no thread may be started");
                Attempt::Done(())
            }
            Err(PushError::Full(_)) => Attempt::NotReady,
            Err(PushError::Busy(_)) => Attempt::Busy,
            Err(PushError::Closed(_)) => panic!("the queue is open"),
        })
    }));
}

#[test]
fn a_submitter_that_waits_for_a_slot_is_woken() {
    model(3, || {
        let queue = fixed_queue(1, 1);
        submit(&queue, 0, 1);
        submit(&queue, 0, 2);
        let worker = worker(&queue, 3);
        submit_waiting(&queue, 4);
        assert_eq!(worker.join().unwrap(), 7);
    });
}

#[test]
fn two_submitters_that_wait_for_a_slot_are_woken() {
    model(1, || {
        let queue = fixed_queue(1, 1);
        submit(&queue, 0, 1);
        submit(&queue, 0, 2);
        let other = {
            let queue = queue.clone();
            thread::spawn(move || submit_waiting(&queue, 4))
        };
        let worker = worker(&queue, 4);
        submit_waiting(&queue, 8);
        other.join().unwrap();
        assert_eq!(worker.join().unwrap(), 15);
    });
}
