//! The clocks against the world they stand for. Here alone tests let real time pass, a few milliseconds.
#![cfg(not(mainstay_loom))]

use mainstay::time::{Clock, Instant, ManualClock, TimeSource};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(5);

fn sleeps(clock: &Clock, sleep: impl FnOnce(&Clock)) {
    let (before, began) = (clock.now(), std::time::Instant::now());
    sleep(clock);
    assert!(clock.now() - before >= SHORT);
    // Different clocks need not agree to the last microsecond.
    assert!(began.elapsed() >= SHORT - Duration::from_micros(100));
}

#[test]
fn the_system_clock_sleeps_as_long_as_it_says() {
    sleeps(&Clock::system(), |clock| futures::executor::block_on(clock.sleep(SHORT)));
    sleeps(&Clock::system(), |clock| clock.sleep_blocking(SHORT));
}

#[test]
fn all_system_clocks_share_one_origin() {
    let early = Clock::system().now();
    let late = Clock::system().now();
    assert!(late >= early && late - early < Duration::from_secs(60));
}

#[cfg(feature = "quanta")]
#[test]
fn the_quanta_clock_sleeps_as_long_as_it_says() {
    sleeps(&Clock::quanta(), |clock| futures::executor::block_on(clock.sleep(SHORT)));
    sleeps(&Clock::quanta(), |clock| clock.sleep_blocking(SHORT));
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

/// A source whose timers come early, as those of a coarser tick may.
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
fn a_sleep_is_never_shorter_than_asked_even_if_its_timer_is() {
    let time = ManualClock::new();
    let clock = Clock::custom(Early(time.clone()));
    let before = clock.now();
    time.drive(clock.sleep(Duration::from_secs(1)));
    assert!(clock.now() - before >= Duration::from_secs(1));
}

/// A source that stands still and whose timers are over at once.
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
fn a_source_that_does_nothing_does_not_hold_the_thread() {
    let clock = Clock::custom(Still);
    let mut sleep = std::pin::pin!(clock.sleep(Duration::from_secs(1)));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!((0..100).all(|_| sleep.as_mut().poll(&mut cx).is_pending()));
}
