//! Compares the clocks with real time. The tests sleep for a few milliseconds.
#![cfg(not(mainstay_loom))]

use mainstay::time::{Clock, Instant, ManualClock, TimeSource};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);

/// Checks that `sleep` takes at least [`SHORT`] by `clock` and in real time.
fn assert_sleeps(clock: &Clock, sleep: impl FnOnce(&Clock)) {
    let (before, began) = (clock.now(), std::time::Instant::now());
    sleep(clock);
    assert!(clock.now() - before >= SHORT);
    // Two clocks may differ by some microseconds.
    assert!(began.elapsed() >= SHORT - Duration::from_micros(100));
}

#[test]
fn the_system_clock_sleeps_for_the_duration() {
    assert_sleeps(&Clock::system(), |clock| futures::executor::block_on(clock.sleep(SHORT)));
    assert_sleeps(&Clock::system(), |clock| clock.sleep_blocking(SHORT));
}

#[test]
fn all_system_clocks_share_one_origin() {
    let early = Clock::system().now();
    let late = Clock::system().now();
    assert!(late >= early && late - early < Duration::from_secs(60));
}

#[cfg(feature = "quanta")]
#[test]
fn the_quanta_clock_sleeps_for_the_duration() {
    assert_sleeps(&Clock::quanta(), |clock| futures::executor::block_on(clock.sleep(SHORT)));
    assert_sleeps(&Clock::quanta(), |clock| clock.sleep_blocking(SHORT));
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn the_tokio_clock_follows_tokios_paused_time() {
    let clock = Clock::tokio();
    let (before, began) = (clock.now(), std::time::Instant::now());
    clock.sleep(Duration::from_secs(3600)).await;
    assert!(clock.now() - before >= Duration::from_secs(3600));
    assert!(began.elapsed() < Duration::from_secs(60));
    tokio::time::advance(Duration::from_secs(7)).await;
    assert!(clock.now() - before >= Duration::from_secs(3607));
}

/// A source whose timers fire early, as those with a coarse tick may.
#[derive(Debug)]
struct Early(ManualClock);

impl TimeSource for Early {
    fn now(&self) -> Duration {
        self.0.now() - Instant::ORIGIN
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.0.clock().sleep(duration / 2 + Duration::from_nanos(1)))
    }
}

#[test]
fn a_sleep_does_not_end_early_even_if_its_timer_does() {
    let time = ManualClock::new();
    let clock = Clock::custom(Early(time.clone()));
    let before = clock.now();
    time.drive(clock.sleep(Duration::from_secs(1)));
    assert!(clock.now() - before >= Duration::from_secs(1));
}

/// A source whose time stands still and whose timers fire immediately.
#[derive(Debug)]
struct Still;

impl TimeSource for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn a_source_that_stands_still_does_not_block_the_thread() {
    let clock = Clock::custom(Still);
    let mut sleep = pin!(clock.sleep(Duration::from_secs(1)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!((0..100).all(|_| sleep.as_mut().poll(&mut cx).is_pending()));
}

/// tokio makes a task yield after a number of operations, by reporting that its own futures are
/// pending. tokio's timers do the same, so a timer that has elapsed may not fire in the same poll.
#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_timeout_fires_around_an_operation_that_is_always_ready() {
    let began = std::time::Instant::now();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let timeout = mainstay::timeout::Timeout::new(SHORT).clock(Clock::tokio());
    let result = timeout
        .call(async || {
            while began.elapsed() < Duration::from_secs(5) {
                sender.send(()).await.unwrap();
                receiver.recv().await.unwrap();
            }
            Ok::<_, ()>(())
        })
        .await;
    assert!(result.unwrap_err().is_timeout());
}

// Wakers that panic.

struct PanicsOnWake;

impl Wake for PanicsOnWake {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_waker_that_panics_does_not_stop_the_timer_thread() {
    let clocks = [
        Clock::system(),
        #[cfg(feature = "quanta")]
        Clock::quanta(),
    ];
    for clock in clocks {
        let mut sleep = pin!(clock.sleep(SHORT));
        let waker = Waker::from(Arc::new(PanicsOnWake));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        std::thread::sleep(2 * SHORT);
        assert_sleeps(&clock, |clock| futures::executor::block_on(clock.sleep(SHORT)));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}

#[test]
fn a_manual_clock_wakes_the_others_if_a_waker_panics() {
    const SECOND: Duration = Duration::from_secs(1);
    let time = ManualClock::new();
    let start = time.now();
    let woken = Arc::new(Count::default());
    let mut sleeps: Vec<_> =
        (1..=4).map(|seconds| Box::pin(time.clock().sleep(seconds * SECOND))).collect();
    for (n, sleep) in sleeps.iter_mut().enumerate() {
        let waker = match n {
            1 => Waker::from(Arc::new(PanicsOnWake)),
            _ => Waker::from(Arc::clone(&woken)),
        };
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    catch_unwind(AssertUnwindSafe(|| time.advance(3 * SECOND))).unwrap_err();
    assert_eq!(time.now() - start, 3 * SECOND);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert_eq!(time.next_deadline(), Some(start + 4 * SECOND));
    time.advance(SECOND);
    assert_eq!(woken.0.load(Ordering::SeqCst), 3);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sleeps.iter_mut().all(|sleep| sleep.as_mut().poll(&mut cx).is_ready()));
}

#[test]
fn types_are_send_and_unwind_safe() {
    use mainstay::{random::Random, time::Deadline};
    use std::panic::{RefUnwindSafe, UnwindSafe};
    fn check<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    check::<(Clock, ManualClock, Instant, Deadline, Random)>();
}
