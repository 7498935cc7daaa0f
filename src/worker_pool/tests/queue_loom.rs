//! Models of a job's path from a submitter to a worker.
//!
//! A lost job leaves a worker asleep forever. Loom reports this as a deadlock, so the models need
//! few assertions.

use super::worker_to_the_end;
use super::{Jobs, elastic_queue, fixed_queue, model, next, no_start, push, submit, worker};
use crate::sync::block_on;
use crate::worker_pool::workers::idle::Worker;
use loom::sync::Notify;
use loom::thread;
use std::future::poll_fn;
use std::sync::Arc as StdArc;
use std::task::Poll;

#[test]
fn a_job_submitted_while_the_worker_falls_asleep_runs() {
    model(3, || {
        let queue = fixed_queue(1, 1);
        let worker = worker(&queue, 1);
        submit(&queue, 0, 1);
        assert_eq!(worker.join().unwrap(), 1);
    });
}

#[test]
fn two_jobs_submitted_while_the_worker_falls_asleep_run() {
    model(2, || {
        let queue = fixed_queue(1, 1);
        let worker = worker(&queue, 2);
        submit(&queue, 0, 1);
        submit(&queue, 0, 2);
        assert_eq!(worker.join().unwrap(), 3);
    });
}

/// With priorities each queue has a flag. A worker sets the flags one after the other before it
/// sleeps.
#[test]
fn a_job_of_any_priority_submitted_while_the_worker_falls_asleep_runs() {
    for index in [0, 2] {
        model(2, move || {
            let queue = fixed_queue(3, 1);
            let worker = worker(&queue, 1);
            submit(&queue, index, 1);
            assert_eq!(worker.join().unwrap(), 1);
        });
    }
}

#[test]
fn the_jobs_of_two_submitters_run_on_one_worker() {
    model(2, || {
        let queue = fixed_queue(1, 1);
        let worker = worker(&queue, 2);
        let other = {
            let queue = queue.clone();
            thread::spawn(move || submit(&queue, 0, 1))
        };
        submit(&queue, 0, 2);
        assert!(other.join().unwrap());
        assert_eq!(worker.join().unwrap(), 3);
    });
}

/// Runs one of two jobs, of which the first lasts until the second has run.
fn run_dependent_job(job: u32, second_has_run: &Notify) {
    match job {
        1 => second_has_run.wait(),
        2 => second_has_run.notify(),
        other => panic!("unknown job {other}"),
    }
}

/// A worker that takes one job must ensure that another worker takes the other. The submitter is
/// the second worker.
#[test]
fn two_dependent_jobs_run_on_two_workers() {
    model(2, || {
        let queue = fixed_queue(1, 2);
        let second_has_run = StdArc::new(Notify::new());
        fn run_one(queue: &Jobs, second_has_run: &Notify) {
            let job = next(queue, &Worker::new(None)).expect("the queue is open");
            run_dependent_job(job, second_has_run);
        }
        let other = {
            let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
            thread::spawn(move || run_one(&queue, &second_has_run))
        };
        submit(&queue, 0, 1);
        submit(&queue, 0, 2);
        run_one(&queue, &second_has_run);
        other.join().unwrap();
    });
}

/// A submitter and two workers, both of which may sleep. If one worker falls asleep while the other
/// searches, the flags stay clear until the searching worker finds the first job.
#[test]
fn a_searcher_that_finds_a_job_wakes_the_next_worker() {
    model(1, || {
        let queue = fixed_queue(1, 2);
        let second_has_run = StdArc::new(Notify::new());
        let workers = [(); 2].map(|()| {
            let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
            thread::spawn(move || {
                queue.run_next(&Worker::new(None), 0, no_start, |job, _| {
                    run_dependent_job(job, &second_has_run);
                });
            })
        });
        submit(&queue, 0, 1);
        submit(&queue, 0, 2);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

/// The second worker is started for the second job.
#[test]
fn a_worker_is_started_for_a_job() {
    model(1, || {
        let queue = elastic_queue(1, 1, 2);
        assert_eq!(queue.idle.reserve_starts(1), 1);
        assert!(!queue.wake_worker(), "the queue is empty");
        let second_has_run = StdArc::new(Notify::new());
        fn run_one(queue: &Jobs, second_has_run: &StdArc<Notify>, searching: bool) {
            let worker = Worker::new(None);
            let start_searcher = || start(queue, second_has_run);
            let run = |job, _: usize| run_dependent_job(job, second_has_run);
            match searching {
                true => queue.search(&worker, true, 0, start_searcher, run),
                false => queue.run_next(&worker, 0, start_searcher, run),
            };
        }
        fn start(queue: &Jobs, second_has_run: &StdArc<Notify>) {
            let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
            thread::spawn(move || run_one(&queue, &second_has_run, true));
        }
        let first = {
            let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
            thread::spawn(move || run_one(&queue, &second_has_run, false))
        };
        for job in [1, 2] {
            if push(&queue, 0, job).unwrap() {
                start(&queue, &second_has_run);
            }
        }
        first.join().unwrap();
    });
}

/// A new thread runs a hook before it looks for a job, and the hook lasts until both jobs have run:
/// the other worker runs them, even if it slept in between.
#[test]
fn a_worker_runs_the_jobs_while_a_new_thread_is_not_ready() {
    model(2, || {
        let queue = elastic_queue(1, 1, 2);
        assert_eq!(queue.idle.reserve_starts(1), 1);
        assert!(!queue.wake_worker(), "the queue is empty");
        let both_have_run = StdArc::new(Notify::new());
        fn start(queue: &Jobs, both_have_run: &StdArc<Notify>) {
            let (queue, both_have_run) = (queue.clone(), both_have_run.clone());
            thread::spawn(move || {
                queue.pause_search();
                both_have_run.wait();
            });
        }
        let worker = {
            let (queue, both_have_run) = (queue.clone(), both_have_run.clone());
            thread::spawn(move || {
                let worker = Worker::new(None);
                for _ in 0..2 {
                    let start_searcher = || start(&queue, &both_have_run);
                    assert!(queue.run_next(&worker, 0, start_searcher, |_, _| ()));
                }
                both_have_run.notify();
            })
        };
        for job in [1, 2] {
            if push(&queue, 0, job).unwrap() {
                start(&queue, &both_have_run);
            }
        }
        worker.join().unwrap();
    });
}

/// An accepted job is run, a rejected job is not, and all workers end.
#[test]
fn a_job_submitted_during_a_close_runs_or_is_rejected() {
    model(2, || {
        let queue = fixed_queue(1, 1);
        let worker = worker_to_the_end(&queue);
        let closing = {
            let queue = queue.clone();
            thread::spawn(move || queue.close())
        };
        let accepted = u32::from(submit(&queue, 0, 1));
        assert!(closing.join().unwrap(), "closed by one call");
        block_on(poll_fn(|cx| match queue.idle.all_ended(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }));
        assert_eq!(worker.join().unwrap(), accepted);
    });
}
