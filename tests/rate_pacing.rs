//! Waiters whose timers fire late receive the full rate, and no token before it is available.

use mainstay::rate::{Quota, RateLimiter, RateLimiterAcquireFuture};
use mainstay::time::{Clock, ManualClock};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn limiter(time: &ManualClock, quota: Quota) -> RateLimiter {
    RateLimiter::builder(quota).clock(time.clock()).build().unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Several tasks that call `acquire` again and again, polled only when the clock ticks.
struct Tasks<'a> {
    limiter: &'a RateLimiter,
    waiting: Vec<Pin<Box<RateLimiterAcquireFuture<'a>>>>,
}

impl<'a> Tasks<'a> {
    fn new(limiter: &'a RateLimiter, tasks: usize) -> Self {
        let waiting = (0..tasks).map(|_| Box::pin(limiter.acquire())).collect();
        Self { limiter, waiting }
    }

    /// Polls until no task makes progress; returns how many tokens were granted.
    fn poll(&mut self) -> u32 {
        let mut granted = 0;
        loop {
            let before = granted;
            for waiting in &mut self.waiting {
                while let Poll::Ready(result) = poll(waiting.as_mut()) {
                    result.unwrap();
                    granted += 1;
                    *waiting = Box::pin(self.limiter.acquire());
                }
            }
            if granted == before {
                return granted;
            }
        }
    }
}

/// Without catching up, a burst of 1 and a tick of 1 ms would reduce 10,000 a second to 1,000.
#[test]
fn waiters_receive_the_full_rate_although_their_timers_tick_coarsely() {
    for tasks in [1, 3, 16] {
        for (rate, burst, tick) in [(1_000, 1, 1), (10_000, 1, 1), (10_000, 5, 3), (333, 1, 10)] {
            let time = ManualClock::new();
            let limiter = limiter(&time, Quota::per_second(rate).burst(burst));
            let mut tasks = Tasks::new(&limiter, tasks);
            let start = time.now();
            let (mut granted, mut most) = (0, 0);
            for ticks in 0..=1000 / tick {
                time.set(start + ticks * tick * MS);
                let now = tasks.poll();
                granted += now;
                most = most.max(now);
                // No waiter is granted tokens before they are available.
                let elapsed = u64::from(ticks * tick);
                assert!(
                    u64::from(granted) * 1000
                        <= u64::from(burst) * 1000 + u64::from(rate) * elapsed
                );
            }
            let full = rate * (1000 / tick * tick) / 1000 + burst;
            assert!(granted + burst >= full, "{granted} of {full}");
            assert!(most <= burst + rate * tick / 1000 + 1, "{most} at once");
        }
    }
}

#[test]
fn waiters_catch_up_on_at_most_20_ms_of_a_delay() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1_000).burst(1));
    let mut tasks = Tasks::new(&limiter, 500);
    assert_eq!(tasks.poll(), 1);
    time.advance(200 * MS);
    assert_eq!(tasks.poll(), 21, "the tokens of 20 ms and of the burst");
}

#[test]
fn no_request_catches_up_after_a_pause() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1_000).burst(1));
    let mut tasks = Tasks::new(&limiter, 1);
    assert_eq!(tasks.poll(), 1);
    time.advance(5 * MS);
    drop(tasks);
    // The waiter was dropped: the tokens that it did not take are lost.
    assert!(limiter.try_acquire().is_ok() && limiter.try_acquire().is_err());
    // A waiter that was granted its token late, and then no request for more than 20 ms.
    let mut first = Box::pin(limiter.acquire());
    assert!(poll(first.as_mut()).is_pending());
    time.advance(5 * MS);
    assert!(poll(first.as_mut()).is_ready());
    time.advance(30 * MS);
    assert_eq!(limiter.try_acquire_up_to(10).unwrap().granted(), 1);
    assert!(limiter.try_acquire().is_err());
}

#[test]
fn a_request_that_does_not_wait_may_take_tokens_that_a_late_waiter_left() {
    let time = ManualClock::new();
    let limiter = limiter(&time, Quota::per_second(1_000).burst(1));
    limiter.try_acquire().unwrap();
    let mut first = Box::pin(limiter.acquire());
    assert!(poll(first.as_mut()).is_pending());
    time.advance(5 * MS);
    assert!(poll(first.as_mut()).is_ready());
    // 5 tokens have become available since the first, and the waiter took one of them.
    let granted = (0..10).filter(|_| limiter.try_acquire().is_ok()).count();
    assert_eq!(granted, 4);
}

/// On real clocks; prints the share of the rate that waiters receive. Not a check, because it
/// depends on the machine: `cargo test --release --all-features --test rate_pacing -- --ignored
/// --nocapture`.
#[test]
#[ignore = "takes seconds, and prints figures"]
fn figures_on_real_clocks() {
    fn share(rate: u32, granted: u32, elapsed: Duration) -> f64 {
        f64::from(granted) / (f64::from(rate) * elapsed.as_secs_f64()) * 100.0
    }
    for rate in [100, 1_000, 10_000, 100_000] {
        let limiter = RateLimiter::new(Quota::per_second(rate).burst(1)).unwrap();
        let clock = Clock::system();
        for threads in [1, 4] {
            let start = clock.now();
            let granted: u32 = thread::scope(|scope| {
                let run = || {
                    let mut granted = 0;
                    while clock.now() - start < SECOND {
                        limiter.acquire_blocking().unwrap();
                        granted += 1;
                    }
                    granted
                };
                let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
                handles.into_iter().map(|handle| handle.join().unwrap()).sum()
            });
            let share = share(rate, granted, clock.now() - start);
            println!("{rate} a second, {threads} threads: {share:.1} %");
        }
        let start = clock.now();
        let granted = futures::executor::block_on(async {
            let mut granted = 0;
            while clock.now() - start < SECOND {
                limiter.acquire().await.unwrap();
                granted += 1;
            }
            granted
        });
        let system = share(rate, granted, clock.now() - start);
        #[cfg(feature = "tokio")]
        {
            let builder = RateLimiter::builder(Quota::per_second(rate).burst(1));
            let limiter = builder.clock(Clock::tokio()).build().unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let start = clock.now();
            let granted = runtime.block_on(async {
                let mut granted = 0;
                while clock.now() - start < SECOND {
                    limiter.acquire().await.unwrap();
                    granted += 1;
                }
                granted
            });
            let tokio = share(rate, granted, clock.now() - start);
            println!("{rate} a second, one task of tokio: {tokio:.1} %");
        }
        println!("{rate} a second, one task: {system:.1} %");
    }
}
