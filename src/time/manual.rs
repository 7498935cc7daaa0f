use super::block_on::ThreadWaker;
use super::{Clock, Instant, TimeSource};
use crate::sync::atomic::Ordering;
use crate::sync::{PlainArc, PlainAtomicU64, PlainMutex};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A clock that moves only when told: timing tests without waiting and without chance.
///
/// It goes from deadline to deadline: whoever sleeps until 3 s wakes when the clock says 3 s, even if
/// the test advances by an hour, so that a task that sleeps again counts from the right instant.
/// [`drive`](Self::drive) runs a future to its end and jumps to the next deadline whenever the future
/// waits for nothing but time.
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
/// assert_eq!(clock.now() - start, Duration::from_secs(3600)); // an hour in no time
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    time: PlainArc<ManualTime>,
    clock: Clock,
}

#[derive(Debug)]
struct ManualTime {
    now: PlainAtomicU64,
    sleepers: PlainMutex<Sleepers>,
}

#[derive(Debug, Default)]
struct Sleepers {
    /// By deadline, then by order of arrival.
    by_deadline: BTreeMap<(Instant, u64), Waker>,
    arrivals: u64,
}

impl ManualClock {
    /// A clock that stands one hour after its origin, so that a test can look back as well as ahead.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Instant::ORIGIN + Duration::from_secs(3600))
    }

    /// A clock that stands at `instant`.
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        let time = PlainArc::new(ManualTime {
            now: PlainAtomicU64::new(instant.as_nanos()),
            sleepers: PlainMutex::default(),
        });
        let clock = Clock::from_source(PlainArc::new(ManualHandle(time.clone())));
        Self { time, clock }
    }

    /// The clock to give to policies.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Where the clock stands.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.time.now()
    }

    /// Moves the clock forward, stopping at each deadline on the way to wake who sleeps until then.
    pub fn advance(&self, duration: Duration) {
        self.advance_to(self.now() + duration);
    }

    /// As [`advance`](Self::advance), to an instant; does nothing if that is past.
    pub fn advance_to(&self, instant: Instant) {
        while self.time.wake_next(instant) {}
        self.time.now.fetch_max(instant.as_nanos(), Ordering::AcqRel);
    }

    /// Puts the clock at `instant`, also backwards, to show what a policy makes of it. Wakes nobody.
    pub fn set(&self, instant: Instant) {
        self.time.now.store(instant.as_nanos(), Ordering::Release);
    }

    /// The next instant somebody sleeps until.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.time.sleepers.lock().by_deadline.first_key_value().map(|((at, _), _)| *at)
    }

    /// Runs `future` to its end on this thread; whenever it waits for nothing but time, jumps to the
    /// next deadline. Waits if there is none: another thread may yet wake the future.
    pub fn drive<F: Future>(&self, future: F) -> F::Output {
        match self.drive_to(Instant::FAR_FUTURE, pin!(future)) {
            Poll::Ready(output) => output,
            Poll::Pending => unreachable!("without a limit, only the end returns"),
        }
    }

    /// Runs `future` for `duration` of this clock. `Pending` if it has not ended by then; it can be
    /// driven on.
    pub fn drive_for<F: Future>(&self, duration: Duration, future: Pin<&mut F>) -> Poll<F::Output> {
        self.drive_to(self.now() + duration, future)
    }

    fn drive_to<F: Future>(&self, limit: Instant, mut future: Pin<&mut F>) -> Poll<F::Output> {
        let thread = ThreadWaker::current();
        let waker = Waker::from(thread.clone());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(output);
            }
            while !thread.take() {
                if self.time.wake_next(limit) {
                    continue;
                }
                if limit != Instant::FAR_FUTURE {
                    self.advance_to(limit);
                    return Poll::Pending;
                }
                thread.wait();
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

    /// Moves to the next deadline that is not after `limit` and wakes one who sleeps until then.
    fn wake_next(&self, limit: Instant) -> bool {
        let mut sleepers = self.sleepers.lock();
        let Some(next) = sleepers.by_deadline.first_entry().filter(|next| next.key().0 <= limit)
        else {
            return false;
        };
        let ((deadline, _), waker) = next.remove_entry();
        self.now.fetch_max(deadline.as_nanos(), Ordering::AcqRel);
        drop(sleepers);
        waker.wake();
        true
    }
}

/// The face towards [`Clock`]; a type of its own, because a `sleep` must keep the time alive.
#[derive(Debug)]
struct ManualHandle(PlainArc<ManualTime>);

impl TimeSource for ManualHandle {
    fn now(&self) -> Duration {
        self.0.now().since(Instant::ORIGIN)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let until = self.0.now() + duration;
        Box::pin(ManualSleep { time: self.0.clone(), until, ticket: None })
    }

    /// A thread that sleeps does nothing else, so the clock moves on by itself.
    fn sleep_blocking(&self, duration: Duration) {
        let until = self.0.now() + duration;
        while self.0.wake_next(until) {}
        self.0.now.fetch_max(until.as_nanos(), Ordering::AcqRel);
    }
}

struct ManualSleep {
    time: PlainArc<ManualTime>,
    until: Instant,
    ticket: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Outside the lock, as is dropping the one before: it may run anything.
        let waker = cx.waker().clone();
        let mut sleepers = this.time.sleepers.lock();
        if this.time.now() >= this.until {
            return Poll::Ready(());
        }
        let ticket = *this.ticket.get_or_insert_with(|| {
            sleepers.arrivals += 1;
            sleepers.arrivals
        });
        let before = sleepers.by_deadline.insert((this.until, ticket), waker);
        drop(sleepers);
        drop(before);
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = self.time.sleepers.lock().by_deadline.remove(&(self.until, ticket));
            drop(waker); // outside the lock: it may run anything
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
    fn moves_from_deadline_to_deadline() {
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
    fn driving_stops_at_its_limit_and_goes_on_later() {
        let time = ManualClock::at(Instant::ORIGIN);
        let clock = time.clock();
        let mut sleep = pin!(clock.sleep(3 * SECOND));
        assert!(time.drive_for(2 * SECOND, sleep.as_mut()).is_pending());
        assert_eq!(time.now(), Instant::ORIGIN + 2 * SECOND);
        assert!(time.drive_for(2 * SECOND, sleep.as_mut()).is_ready());
        assert_eq!(time.now(), Instant::ORIGIN + 3 * SECOND);
    }

    #[test]
    fn dropping_a_sleep_disarms_it() {
        let time = ManualClock::new();
        let clock = time.clock();
        {
            let mut sleep = pin!(clock.sleep(SECOND));
            assert!(time.drive_for(Duration::ZERO, sleep.as_mut()).is_pending());
            assert_eq!(time.next_deadline(), Some(time.now() + SECOND));
        }
        assert_eq!(time.next_deadline(), None);
    }

    /// The last waker of a task may drop the task, and with it other sleeps.
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
    fn a_clock_set_back_makes_sleepers_sleep_longer() {
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
    fn a_blocking_sleep_moves_the_clock_by_itself() {
        let time = ManualClock::new();
        let before = time.now();
        time.clock().sleep_blocking(SECOND);
        assert_eq!(time.now() - before, SECOND);
    }
}
