use crate::sync::PlainArc;
use crate::sync::atomic::Ordering;
use crate::sync::{PlainAtomicBool, plain_thread};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

/// Wakes a thread, and remembers that it did.
#[derive(Debug)]
pub(super) struct ThreadWaker {
    thread: plain_thread::Thread,
    woken: PlainAtomicBool,
}

impl ThreadWaker {
    pub(super) fn current() -> PlainArc<Self> {
        PlainArc::new(Self { thread: plain_thread::current(), woken: PlainAtomicBool::new(false) })
    }

    /// Whether a wake-up came since the last question.
    pub(super) fn take(&self) -> bool {
        // Ordering: acquire, with the release in `wake`: what the waker did is seen by the next poll.
        self.woken.swap(false, Ordering::Acquire)
    }

    /// Returns once a wake-up has come.
    pub(super) fn wait(&self) {
        while !self.take() {
            plain_thread::park();
        }
    }
}

impl Wake for ThreadWaker {
    fn wake(self: PlainArc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Drives `future` on the calling thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let thread = ThreadWaker::current();
    let waker = Waker::from(thread.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread.wait();
    }
}
