//! Loom models of the protocol between threads that arm timers and the driver.

use super::queue::TimerQueue;
use crate::sync::{Arc, block_on};
use crate::time::Instant;
use loom::sync::Notify;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A driver whose time is set by the test.
struct Driver {
    queue: TimerQueue,
    wake: Notify,
}

impl Driver {
    fn new() -> Arc<Self> {
        Arc::new(Self { queue: TimerQueue::new(1), wake: Notify::new() })
    }

    /// Waits for a timer at `at`, as a sleep does.
    fn sleep_until(&self, at: u64) {
        let mut key = None;
        block_on(poll_fn(|cx| match key {
            Some(key) if self.queue.has_fired(key, cx.waker()) => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                let at = Instant::from_nanos(at);
                let (new, is_earliest) = self.queue.insert(at, cx.waker().clone());
                key = Some(new);
                if is_earliest {
                    self.wake.notify();
                }
                Poll::Pending
            }
        }));
        self.queue.remove(key.expect("the timer was armed"));
    }

    /// Fires the timers that are due at `now`, sleeps until the timer at `at` is the next one, and
    /// fires it. The other timers are later. Loom has no time, so only a wake-up ends a sleep.
    fn fire_at(&self, now: Instant, at: u64) {
        let at = Instant::from_nanos(at);
        while self.queue.fire(now) != at {
            self.wake.wait();
        }
        let _next = self.queue.fire(at);
    }
}

#[test]
fn a_timer_that_is_armed_while_the_driver_examines_the_timers_fires() {
    loom::model(|| {
        let driver = Driver::new();
        let sleeper = Arc::clone(&driver);
        let sleeper = loom::thread::spawn(move || sleeper.sleep_until(7));
        driver.fire_at(Instant::ORIGIN, 7);
        sleeper.join().unwrap();
    });
}

#[test]
fn a_timer_that_is_earlier_than_the_next_one_wakes_the_driver() {
    loom::model(|| {
        let driver = Driver::new();
        let insert = |at| driver.queue.insert(Instant::from_nanos(at), Waker::noop().clone()).0;
        let (earlier, later) = (insert(3), insert(9));
        let next = driver.queue.fire(Instant::ORIGIN);
        assert_eq!(next, Instant::from_nanos(3));
        let sleeper = Arc::clone(&driver);
        let sleeper = loom::thread::spawn(move || sleeper.sleep_until(5));
        driver.fire_at(next, 5);
        sleeper.join().unwrap();
        for timer in [earlier, later] {
            driver.queue.remove(timer);
        }
    });
}

#[test]
fn a_timer_can_be_removed_while_it_fires() {
    loom::model(|| {
        let driver = Driver::new();
        let waker = Waker::noop().clone();
        let (key, _) = driver.queue.insert(Instant::from_nanos(3), waker);
        let remover = Arc::clone(&driver);
        let remover = loom::thread::spawn(move || remover.queue.remove(key));
        let _next = driver.queue.fire(Instant::from_nanos(3));
        remover.join().unwrap();
        assert_eq!(driver.queue.fire(Instant::from_nanos(3)), Instant::FAR_FUTURE);
    });
}
