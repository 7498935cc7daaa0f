//! The timers of the system clock: [`SystemTimer`].
//!
//! One thread of the process, the driver, fires all timers. A timer is armed and removed under the
//! lock of its shard. The driver is woken only for a timer that is earlier than all others.

mod heap;
#[cfg(all(test, mainstay_loom))]
mod loom;
mod queue;

use super::{Instant, system_now};
use crate::sync::{OnceLock, PlainArc, plain_thread};
use queue::{TimerKey, TimerQueue};
use std::task::{Context, Poll};

/// A timer of the system clock, which is armed when it is first polled.
#[derive(Debug, Default)]
pub(crate) struct SystemTimer(Option<TimerKey>);

impl SystemTimer {
    /// Polls the timer, which fires at the instant `at`.
    pub(crate) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let driver = Driver::get();
        match self.0 {
            Some(key) if driver.queue.has_fired(key, cx.waker()) => return Poll::Ready(()),
            Some(_) => {}
            None => {
                let (key, is_earliest) = driver.queue.insert(at, cx.waker().clone());
                self.0 = Some(key);
                if is_earliest {
                    driver.thread.unpark();
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for SystemTimer {
    fn drop(&mut self) {
        if let Some(key) = self.0 {
            Driver::get().queue.remove(key);
        }
    }
}

/// The thread that fires the timers.
struct Driver {
    queue: PlainArc<TimerQueue>,
    thread: plain_thread::Thread,
}

impl Driver {
    const SHARDS: usize = 8;

    /// Returns the driver, and starts its thread at the first call.
    ///
    /// # Panics
    ///
    /// Panics if the thread cannot be started. The next call tries again.
    fn get() -> &'static Self {
        static DRIVER: OnceLock<Driver> = OnceLock::new();
        DRIVER.get_or_init(|| {
            let queue = PlainArc::new(TimerQueue::new(Self::SHARDS));
            let thread = plain_thread::Builder::new()
                .name("mainstay-timer".into())
                .spawn({
                    let queue = PlainArc::clone(&queue);
                    move || Self::run(&queue)
                })
                .expect("the operating system can start the timer thread");
            Self { queue, thread: thread.thread().clone() }
        })
    }

    fn run(queue: &TimerQueue) {
        loop {
            match queue.fire(system_now()) {
                Instant::FAR_FUTURE => plain_thread::park(),
                next => plain_thread::park_timeout(next - system_now()),
            }
        }
    }
}
