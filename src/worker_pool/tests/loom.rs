//! Models of the way of a job from a submitter to a worker, and of its result back.
//!
//! A job that is forgotten leaves a worker asleep for ever, which loom reports as a deadlock: these models
//! need few assertions.

use crate::ring::PushError;
use crate::sync::block_on;
use crate::sync::{Arc, PlainArc};
use crate::time::Deadline;
use crate::worker_pool::error::JobError;
use crate::worker_pool::handle::{Cell, JobHandle, Ran};
use crate::worker_pool::queue::Queue;
use crate::worker_pool::workers::current::PoolId;
use crate::worker_pool::workers::idle::Worker;
use loom::sync::Notify;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(body);
}

type Jobs = Arc<Queue<u32>>;

/// A queue with `workers` places taken.
fn queue(lanes: usize, workers: usize) -> Jobs {
    let queue = Queue::new(lanes, 2, workers, workers);
    assert_eq!(queue.idle.hire(workers), workers);
    Arc::new(queue)
}

/// Submits; false if the queue is closed.
fn submit(queue: &Jobs, lane: usize, job: u32) -> bool {
    match queue.lanes.lane(lane).ring().push_with(job, |job| job) {
        Ok(waited_for) => {
            if waited_for {
                assert!(!queue.called(), "there is nobody to hire");
            }
            true
        }
        Err(PushError::Closed(_)) => false,
        Err(_) => panic!("there is room"),
    }
}

fn no_hire() {
    panic!("there is nobody to hire");
}

fn next(queue: &Jobs, worker: &Worker) -> Option<u32> {
    let mut next = None;
    let found = queue.next(worker, 0, no_hire, |job, _| next = Some(job));
    assert_eq!(found, next.is_some());
    next
}

/// A worker that runs `count` jobs, then is not seen again; says what they add up to.
fn worker(queue: &Jobs, count: usize) -> thread::JoinHandle<u32> {
    let queue = queue.clone();
    thread::spawn(move || {
        let worker = Worker::new(None);
        (0..count).map(|_| next(&queue, &worker).expect("the queue is open")).sum()
    })
}

/// A worker that runs jobs until it may leave.
fn worker_to_the_end(queue: &Jobs) -> thread::JoinHandle<u32> {
    let queue = queue.clone();
    thread::spawn(move || {
        let worker = Worker::new(None);
        let sum = std::iter::from_fn(|| next(&queue, &worker)).sum();
        queue.idle.depart();
        sum
    })
}

#[test]
fn submit_against_park() {
    model(3, || {
        let queue = queue(1, 1);
        let worker = worker(&queue, 1);
        submit(&queue, 0, 1);
        assert_eq!(worker.join().unwrap(), 1);
    });
}

#[test]
fn submit_again_against_park() {
    model(2, || {
        let queue = queue(1, 1);
        let worker = worker(&queue, 2);
        submit(&queue, 0, 1);
        submit(&queue, 0, 2);
        assert_eq!(worker.join().unwrap(), 3);
    });
}

/// With a queue for each priority, whose flags go up one after another.
#[test]
fn submit_against_park_with_priorities() {
    for lane in [0, 2] {
        model(2, move || {
            let queue = queue(3, 1);
            let worker = worker(&queue, 1);
            submit(&queue, lane, 1);
            assert_eq!(worker.join().unwrap(), 1);
        });
    }
}

#[test]
fn two_submitters_and_one_sleeper() {
    model(2, || {
        let queue = queue(1, 1);
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

/// The first job lasts until the second has been run: whoever takes one must see to it that the other is
/// not left to it. The submitter is the second worker.
#[test]
fn jobs_that_need_two_workers() {
    model(2, || {
        let queue = queue(1, 2);
        let second_has_run = std::sync::Arc::new(Notify::new());
        fn work(queue: &Jobs, second_has_run: &Notify) {
            match next(queue, &Worker::new(None)) {
                Some(1) => second_has_run.wait(),
                Some(2) => second_has_run.notify(),
                other => panic!("{other:?}"),
            }
        }
        let other = {
            let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
            thread::spawn(move || work(&queue, &second_has_run))
        };
        submit(&queue, 0, 1);
        submit(&queue, 0, 2);
        work(&queue, &second_has_run);
        other.join().unwrap();
    });
}

/// The same with a submitter beside two workers, who may both sleep: one of them while the other searches,
/// and then the flags are down until that one has found the first job.
#[test]
fn the_searcher_hands_over() {
    model(1, || {
        let queue = queue(1, 2);
        let second_has_run = std::sync::Arc::new(Notify::new());
        let workers = [(); 2].map(|()| {
            let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
            thread::spawn(move || {
                queue.next(&Worker::new(None), 0, no_hire, |job, _| match job {
                    1 => second_has_run.wait(),
                    _ => second_has_run.notify(),
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

/// The same with a second worker who is hired for it.
#[test]
fn a_job_that_needs_a_worker_more() {
    model(1, || {
        let queue: Jobs = Arc::new(Queue::new(1, 2, 1, 2));
        assert_eq!(queue.idle.hire(1), 1);
        assert!(!queue.call(), "nothing to do yet");
        let second_has_run = std::sync::Arc::new(Notify::new());
        fn work(queue: &Jobs, second_has_run: &std::sync::Arc<Notify>, searching: bool) {
            let worker = Worker::new(None);
            let hire = || {
                let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
                thread::spawn(move || work(&queue, &second_has_run, true));
            };
            let mut next = None;
            let run = |job, _: usize| next = Some(job);
            match searching {
                true => queue.search(&worker, true, 0, hire, run),
                false => queue.next(&worker, 0, hire, run),
            };
            match next {
                Some(1) => second_has_run.wait(),
                Some(2) => second_has_run.notify(),
                other => panic!("{other:?}"),
            }
        }
        let first = {
            let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
            thread::spawn(move || work(&queue, &second_has_run, false))
        };
        for job in [1, 2] {
            if queue.lanes.lane(0).ring().push_with(job, |job| job).unwrap() && queue.called() {
                let (queue, second_has_run) = (queue.clone(), second_has_run.clone());
                thread::spawn(move || work(&queue, &second_has_run, true));
            }
        }
        first.join().unwrap();
    });
}

/// A thread is hired that has something to do before it looks for a job, and that lasts until both jobs have
/// been run: the other worker runs them, even if it slept in between.
#[test]
fn a_search_put_off() {
    model(2, || {
        let queue: Jobs = Arc::new(Queue::new(1, 2, 1, 2));
        assert_eq!(queue.idle.hire(1), 1);
        assert!(!queue.call(), "nothing to do yet");
        let all_have_run = std::sync::Arc::new(Notify::new());
        fn hire(queue: &Jobs, all_have_run: &std::sync::Arc<Notify>) {
            let (queue, all_have_run) = (queue.clone(), all_have_run.clone());
            thread::spawn(move || {
                queue.interrupt_search();
                all_have_run.wait();
            });
        }
        let worker = {
            let (queue, all_have_run) = (queue.clone(), all_have_run.clone());
            thread::spawn(move || {
                let worker = Worker::new(None);
                for _ in 0..2 {
                    assert!(queue.next(&worker, 0, || hire(&queue, &all_have_run), |_, _| ()));
                }
                all_have_run.notify();
            })
        };
        for job in [1, 2] {
            if queue.lanes.lane(0).ring().push_with(job, |job| job).unwrap() && queue.called() {
                hire(&queue, &all_have_run);
            }
        }
        worker.join().unwrap();
    });
}

/// A job that was accepted is run, one that was not is not, and everybody leaves.
#[test]
fn submit_against_shutdown() {
    model(2, || {
        let queue = queue(1, 1);
        let worker = worker_to_the_end(&queue);
        let closing = {
            let queue = queue.clone();
            thread::spawn(move || queue.close())
        };
        let accepted = u32::from(submit(&queue, 0, 1));
        assert!(closing.join().unwrap(), "closed by one");
        block_on(std::future::poll_fn(|cx| match queue.idle.all_gone(cx.waker()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }));
        assert_eq!(worker.join().unwrap(), accepted);
    });
}

/// One of two workers is to go, in whatever it is: the other stays, and runs the job. The submitter is the
/// second worker.
#[test]
fn submit_against_shrinking() {
    model(2, || {
        let queue = queue(1, 2);
        let other = worker_to_the_end(&queue);
        assert_eq!(queue.resize(1, 1), 0);
        assert!(!queue.call());
        submit(&queue, 0, 1);
        queue.close();
        let worker = Worker::new(None);
        let ran: u32 = std::iter::from_fn(|| next(&queue, &worker)).sum();
        assert_eq!(ran + other.join().unwrap(), 1);
    });
}

/// As before, but the end comes only with the job: whoever runs it closes the queue.
#[test]
fn shrinking_leaves_one_who_works() {
    model(2, || {
        let queue = queue(1, 2);
        fn work(queue: &Jobs) {
            let worker = Worker::new(None);
            while next(queue, &worker).is_some() {
                queue.close();
            }
            queue.idle.depart();
        }
        let other = {
            let queue = queue.clone();
            thread::spawn(move || work(&queue))
        };
        assert_eq!(queue.resize(1, 1), 0);
        submit(&queue, 0, 1);
        work(&queue);
        other.join().unwrap();
        assert!(queue.lanes.is_closed());
    });
}

/// Stats what of it is alive.
struct Alive(PlainArc<AtomicUsize>);

impl Alive {
    fn new(count: &PlainArc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The job is run or cancelled, and both sides agree on which.
#[test]
fn cancel_against_start() {
    model(3, || {
        let alive = PlainArc::new(AtomicUsize::new(0));
        let capture = Alive::new(&alive);
        let cell = Cell::new(
            move || {
                drop(capture);
                7
            },
            Deadline::NEVER,
        );
        let handle = JobHandle::new(cell.clone(), PoolId::NONE);
        let worker = thread::spawn(move || cell.run(|_| panic!("no panic")));
        let cancelled = handle.cancel();
        let result = handle.join_blocking();
        let ran = worker.join().unwrap();
        assert_eq!(ran, if cancelled { Ran::Cancelled } else { Ran::Here });
        match result {
            Ok(seven) => assert!(!cancelled && seven == 7),
            Err(error) => assert!(cancelled && matches!(error, JobError::Cancelled)),
        }
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    });
}

/// The result goes to the handle, or is dropped if that is gone; once.
#[test]
fn handle_drop_against_completion() {
    for join in [true, false] {
        model(3, move || {
            let alive = PlainArc::new(AtomicUsize::new(0));
            let result = Alive::new(&alive);
            let cell = Cell::new(move || result, Deadline::NEVER);
            let handle = JobHandle::new(cell.clone(), PoolId::NONE);
            let worker = thread::spawn(move || cell.run(|_| panic!("no panic")));
            match join {
                true => drop(handle.join_blocking().unwrap()),
                false => drop(handle),
            }
            assert_eq!(worker.join().unwrap(), Ran::Here);
            assert_eq!(alive.load(Ordering::Relaxed), 0);
        });
    }
}

/// A worker that waits for a job takes it away from the queue, or waits for whoever was quicker.
#[test]
fn helping_against_start() {
    model(3, || {
        let cell = Cell::new(|| 7, Deadline::NEVER);
        let handle = JobHandle::new(cell.clone(), PoolId::NONE);
        let other = cell.clone();
        let worker = thread::spawn(move || cell.run(|_| panic!("no panic")));
        let helped = other.run(|_| panic!("no panic"));
        assert_eq!(handle.join_blocking().unwrap(), 7);
        let ran = worker.join().unwrap();
        assert_ne!(ran == Ran::Here, helped == Ran::Here, "once");
    });
}
