//! A clock for tests.

use super::{Clock, Instant, TimeSource};
use crate::sync::atomic::Ordering;
use crate::sync::{PlainArc, PlainAtomicBool, PlainAtomicU64, PlainMutex, Wakers, plain_thread};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A clock that moves only when the test moves it.
///
/// [`clock`](Self::clock) returns the [`Clock`] to give to the policies under test. The test then
/// moves time in one of two ways: [`advance`](Self::advance) moves it by a duration, and
/// [`drive`](Self::drive) runs a future and moves time to the next deadline whenever the future
/// waits.
///
/// Both stop at each deadline on the way. A task that sleeps until 3 s is woken when the clock
/// reads 3 s, even if the test advances by an hour, so its next sleep starts at that instant.
///
/// # Examples
///
/// A timing rule as a table of steps:
///
/// ```
/// use mainstay::rate::{Quota, RateLimiter};
/// use mainstay::time::ManualClock;
/// use std::time::Duration;
///
/// let time = ManualClock::new();
/// let limiter = RateLimiter::builder(Quota::per_second(1))
///     .clock(time.clock())
///     .build()?;
/// for (advance_by, granted) in [(0, true), (999, false), (1, true), (0, false)] {
///     time.advance(Duration::from_millis(advance_by));
///     assert_eq!(limiter.try_acquire().is_ok(), granted);
/// }
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// An hour of sleeps, without waiting:
///
/// ```
/// use mainstay::time::ManualClock;
/// use std::time::Duration;
///
/// let time = ManualClock::new();
/// let clock = time.clock();
/// let start = clock.now();
/// time.drive(async {
///     for _ in 0..60 {
///         clock.sleep(Duration::from_secs(60)).await;
///     }
/// });
/// assert_eq!(clock.now() - start, Duration::from_secs(3600));
/// ```
///
/// # Panics
///
/// If a waker panics, [`advance`](Self::advance) wakes the remaining sleepers, and resumes the
/// panic after the clock has reached its target. [`drive`](Self::drive) propagates the panic
/// immediately; a later call wakes the remaining sleepers.
#[derive(Clone, Debug)]
pub struct ManualClock {
    time: PlainArc<ManualTime>,
    clock: Clock,
}

// No user code runs while the sleepers are locked.
impl UnwindSafe for ManualClock {}
impl RefUnwindSafe for ManualClock {}

#[derive(Debug)]
struct ManualTime {
    now: PlainAtomicU64,
    sleepers: PlainMutex<Sleepers>,
}

#[derive(Debug, Default)]
struct Sleepers {
    /// Ordered by deadline, then by the order in which the sleeps were first polled.
    by_deadline: BTreeMap<(Instant, u64), Waker>,
    /// The id of the last sleep that was added.
    count: u64,
}

impl ManualClock {
    /// Creates a clock that reads one hour after its origin, so that a test can also use earlier
    /// instants.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Instant::ORIGIN + Duration::from_secs(3600))
    }

    /// Creates a clock that reads `instant`.
    ///
    /// ```
    /// use mainstay::time::{Instant, ManualClock};
    ///
    /// let time = ManualClock::at(Instant::from_nanos(5));
    /// assert_eq!(time.now().as_nanos(), 5);
    /// ```
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        let time = PlainArc::new(ManualTime {
            now: PlainAtomicU64::new(instant.as_nanos()),
            sleepers: PlainMutex::default(),
        });
        let clock = Clock::from_source(PlainArc::new(ManualSource(time.clone())));
        Self { time, clock }
    }

    /// Returns the clock to give to policies.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Returns the current instant.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.time.now()
    }

    /// Moves the clock forward by `duration`, and wakes sleepers at their deadlines on the way.
    ///
    /// ```
    /// use mainstay::time::ManualClock;
    /// use std::time::Duration;
    ///
    /// let time = ManualClock::new();
    /// let before = time.now();
    /// time.advance(Duration::from_secs(5));
    /// assert_eq!(time.now() - before, Duration::from_secs(5));
    /// ```
    pub fn advance(&self, duration: Duration) {
        self.advance_to(self.now() + duration);
    }

    /// Moves the clock forward to `instant`, and wakes sleepers at their deadlines on the way. Does
    /// nothing if `instant` is in the past.
    ///
    /// ```
    /// use mainstay::time::ManualClock;
    /// use std::time::Duration;
    ///
    /// let time = ManualClock::new();
    /// let later = time.now() + Duration::from_secs(5);
    /// time.advance_to(later);
    /// assert_eq!(time.now(), later);
    /// ```
    pub fn advance_to(&self, instant: Instant) {
        self.time.advance_to(instant);
    }

    /// Sets the clock to `instant`, which may be in the past. Wakes no sleeper. Use this to test
    /// how a policy behaves when time moves backwards.
    ///
    /// ```
    /// use mainstay::time::{Instant, ManualClock};
    ///
    /// let time = ManualClock::new();
    /// time.set(Instant::ORIGIN);
    /// assert_eq!(time.now(), Instant::ORIGIN);
    /// ```
    pub fn set(&self, instant: Instant) {
        self.time.now.store(instant.as_nanos(), Ordering::Release);
    }

    /// Returns the earliest instant until which a future sleeps, if there is one.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.time.sleepers.lock().by_deadline.first_key_value().map(|((at, _), _)| *at)
    }

    /// Runs `future` to completion on the calling thread. Whenever the future is pending and not
    /// woken, moves the clock to the next deadline. If there is no deadline, blocks until another
    /// thread wakes the future.
    ///
    /// ```
    /// use mainstay::time::ManualClock;
    /// use std::time::Duration;
    ///
    /// let time = ManualClock::new();
    /// let clock = time.clock();
    /// time.drive(clock.sleep(Duration::from_secs(3600)));
    /// ```
    pub fn drive<F: Future>(&self, future: F) -> F::Output {
        match self.drive_to(Instant::FAR_FUTURE, pin!(future)) {
            Poll::Ready(output) => output,
            Poll::Pending => unreachable!("without a limit, only completion ends the loop"),
        }
    }

    /// Runs `future` for `duration` of this clock. Returns `Pending` if it has not completed by
    /// then; the future can be driven further.
    ///
    /// ```
    /// use mainstay::time::ManualClock;
    /// use std::{pin::pin, time::Duration};
    ///
    /// let time = ManualClock::new();
    /// let mut sleep = pin!(time.clock().sleep(Duration::from_secs(3)));
    /// let two_seconds = Duration::from_secs(2);
    /// assert!(time.drive_for(two_seconds, sleep.as_mut()).is_pending());
    /// assert!(time.drive_for(two_seconds, sleep.as_mut()).is_ready());
    /// ```
    pub fn drive_for<F: Future>(&self, duration: Duration, future: Pin<&mut F>) -> Poll<F::Output> {
        self.drive_to(self.now() + duration, future)
    }

    fn drive_to<F: Future>(&self, limit: Instant, mut future: Pin<&mut F>) -> Poll<F::Output> {
        let driver = Driver::current();
        let waker = Waker::from(driver.clone());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(output);
            }
            while !driver.take_woken() {
                if let Some(sleeper) = self.time.next_sleeper(limit) {
                    sleeper.wake();
                    continue;
                }
                if limit != Instant::FAR_FUTURE {
                    self.advance_to(limit);
                    return Poll::Pending;
                }
                driver.wait();
                break;
            }
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualTime {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Acquire))
    }

    fn advance_to(&self, instant: Instant) {
        let mut wakers = Wakers::new();
        while let Some(sleeper) = self.next_sleeper(instant) {
            // One at a time: the clock must read this sleeper's deadline when it is woken.
            wakers.push(sleeper);
            wakers.wake_all();
        }
        self.now.fetch_max(instant.as_nanos(), Ordering::AcqRel);
        wakers.finish();
    }

    /// Moves to the next deadline, if there is one up to `limit`, and removes its sleeper.
    fn next_sleeper(&self, limit: Instant) -> Option<Waker> {
        let mut sleepers = self.sleepers.lock();
        let next = sleepers.by_deadline.first_entry().filter(|next| next.key().0 <= limit)?;
        let ((deadline, _), waker) = next.remove_entry();
        self.now.fetch_max(deadline.as_nanos(), Ordering::AcqRel);
        Some(waker)
    }
}

/// A waker that unparks the driving thread and records that the future was woken.
#[derive(Debug)]
struct Driver {
    thread: plain_thread::Thread,
    woken: PlainAtomicBool,
}

impl Driver {
    fn current() -> PlainArc<Self> {
        PlainArc::new(Self { thread: plain_thread::current(), woken: PlainAtomicBool::new(false) })
    }

    /// Returns whether the future was woken since the last call.
    fn take_woken(&self) -> bool {
        // Ordering: acquire, with the release in `wake`, so that the next poll reads what was
        // written before the wake-up.
        self.woken.swap(false, Ordering::Acquire)
    }

    fn wait(&self) {
        while !self.take_woken() {
            plain_thread::park();
        }
    }
}

impl Wake for Driver {
    fn wake(self: PlainArc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The source of the [`Clock`]. It wraps an `Arc`, because each sleep holds a reference to the
/// shared [`ManualTime`].
#[derive(Debug)]
struct ManualSource(PlainArc<ManualTime>);

impl TimeSource for ManualSource {
    fn now(&self) -> Duration {
        self.0.now().since(Instant::ORIGIN)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let until = self.0.now() + duration;
        Box::pin(ManualSleep { time: self.0.clone(), until, id: None })
    }

    /// Advances the clock, because the calling thread cannot advance it while it sleeps.
    fn sleep_blocking(&self, duration: Duration) {
        let until = self.0.now() + duration;
        self.0.advance_to(until);
    }
}

struct ManualSleep {
    time: PlainArc<ManualTime>,
    until: Instant,
    /// Assigned when the sleep is first polled.
    id: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Cloning and dropping a waker runs user code, so both happen outside the lock.
        let waker = cx.waker().clone();
        let mut sleepers = this.time.sleepers.lock();
        if this.time.now() >= this.until {
            return Poll::Ready(());
        }
        let id = *this.id.get_or_insert_with(|| {
            sleepers.count += 1;
            sleepers.count
        });
        let before = sleepers.by_deadline.insert((this.until, id), waker);
        drop(sleepers);
        drop(before);
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = self.time.sleepers.lock().by_deadline.remove(&(self.until, id));
            // Dropping a waker runs user code, so it happens outside the lock.
            drop(waker);
        }
    }
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn driving_moves_the_clock_from_deadline_to_deadline() {
        let time = ManualClock::at(Instant::ORIGIN);
        let clock = time.clock();
        let seen = RefCell::new(Vec::new());
        let tick = |step: u64| {
            let (clock, seen) = (&clock, &seen);
            async move {
                for _ in 0..3 {
                    clock.sleep(SECOND * step as u32).await;
                    seen.borrow_mut().push((step, clock.now().as_nanos() / 1_000_000_000));
                }
            }
        };
        time.drive(futures::future::join(tick(2), tick(5)));
        assert_eq!(seen.into_inner(), [(2, 2), (2, 4), (5, 5), (2, 6), (5, 10), (5, 15)]);
    }

    #[test]
    fn driving_stops_at_its_limit_and_can_be_continued() {
        let time = ManualClock::at(Instant::ORIGIN);
        let clock = time.clock();
        let mut sleep = pin!(clock.sleep(3 * SECOND));
        assert!(time.drive_for(2 * SECOND, sleep.as_mut()).is_pending());
        assert_eq!(time.now(), Instant::ORIGIN + 2 * SECOND);
        assert!(time.drive_for(2 * SECOND, sleep.as_mut()).is_ready());
        assert_eq!(time.now(), Instant::ORIGIN + 3 * SECOND);
    }

    #[test]
    fn dropping_a_sleep_removes_its_deadline() {
        let time = ManualClock::new();
        let clock = time.clock();
        {
            let mut sleep = pin!(clock.sleep(SECOND));
            assert!(time.drive_for(Duration::ZERO, sleep.as_mut()).is_pending());
            assert_eq!(time.next_deadline(), Some(time.now() + SECOND));
        }
        assert_eq!(time.next_deadline(), None);
    }

    /// Dropping the last waker of a task may drop the task, and with it other sleeps.
    #[test]
    fn a_waker_is_dropped_outside_the_lock() {
        struct Probe(ManualClock);
        impl std::task::Wake for Probe {
            fn wake(self: PlainArc<Self>) {}
        }
        impl Drop for Probe {
            fn drop(&mut self) {
                assert!(self.0.time.sleepers.try_lock().is_some());
            }
        }
        let time = ManualClock::new();
        let mut sleep = pin!(time.clock().sleep(SECOND));
        for _ in 0..2 {
            let waker = Waker::from(PlainArc::new(Probe(time.clone())));
            assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }

    #[test]
    fn setting_the_clock_back_prolongs_sleeps() {
        let time = ManualClock::new();
        let clock = time.clock();
        let until = time.now() + SECOND;
        let mut sleep = pin!(clock.sleep_until(until));
        assert!(time.drive_for(Duration::ZERO, sleep.as_mut()).is_pending());
        time.set(Instant::ORIGIN);
        time.drive(sleep);
        assert_eq!(time.now(), until);
    }

    #[test]
    fn a_blocking_sleep_moves_the_clock() {
        let time = ManualClock::new();
        let before = time.now();
        time.clock().sleep_blocking(SECOND);
        assert_eq!(time.now() - before, SECOND);
    }
}
