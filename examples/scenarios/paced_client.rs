//! Scenario: a client that keeps to its provider's limit. Several workers share one rate limiter
//! and are served in order of arrival; the limit changes at run time; and tokens taken for an
//! estimated cost are refunded when the true cost is known.
//!
//! ```text
//! cargo run --release --example paced_client -- [seconds]
//! ```

use mainstay::error::{Error, Rejection};
use mainstay::pipeline::Pipeline;
use mainstay::rate::{Quota, RateLimiter};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;
/// The provider's limits per second, in the first and in the second half of the run.
const LIMITS: [u32; 2] = [200, 50];
const BURST: u32 = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: f64 = std::env::args().nth(1).map_or(Ok(2.0), |argument| argument.parse())?;
    let run = Duration::from_secs_f64(seconds);

    let limiter =
        RateLimiter::builder(Quota::per_second(LIMITS[0]).burst(BURST)).name("provider").build()?;
    // A call waits for up to a second; one that cannot be served by then is rejected immediately.
    let calls = Pipeline::builder().rate_limit(limiter.max_wait(Duration::from_secs(1))).build();

    let provider = Provider::default();
    let served = [const { AtomicU64::new(0) }; WORKERS];
    let started = Instant::now();
    thread::scope(|scope| {
        for served in &served {
            let (calls, provider) = (&calls, &provider);
            scope.spawn(move || {
                while started.elapsed() < run {
                    match calls.call_blocking(|| provider.serve()) {
                        Ok(()) => _ = served.fetch_add(1, Ordering::Relaxed),
                        Err(Error::Rejected(rejection)) => back_off(&rejection),
                        Err(error) => println!("{error}"),
                    }
                }
            });
        }
        thread::sleep(run / 2);
        limiter.reconfigure(Quota::per_second(LIMITS[1]).burst(BURST)).expect("the quota is valid");
        provider.half.store(1, Ordering::Relaxed);
    });

    let elapsed = started.elapsed().as_secs_f64();
    println!("{WORKERS} workers, {elapsed:.2} s; {} per second, then {}\n", LIMITS[0], LIMITS[1]);
    println!("             calls     limit allows");
    for (half, limit) in provider.calls.iter().zip(LIMITS) {
        let max = f64::from(limit) * seconds / 2.0 + f64::from(BURST);
        println!("at {limit:>3}/s {:>10} {max:>16.0}", half.load(Ordering::Relaxed));
    }
    let served: Vec<u64> = served.iter().map(|served| served.load(Ordering::Relaxed)).collect();
    println!("\ncalls by worker, served in order of arrival: {served:?}");

    // The cost of a call is known only afterwards: take an estimate and refund the rest.
    let tokens = RateLimiter::new(Quota::per_minute(60_000).burst(4_000))?;
    let estimate = tokens.try_acquire_n(3_000)?;
    let used = 1_200;
    tokens.refund(&estimate, estimate.granted() - used);
    println!(
        "\nof 4,000 tokens 3,000 were taken and {used} used; {} remain",
        tokens.peek().remaining()
    );
    Ok(())
}

fn back_off(rejection: &Rejection) {
    thread::sleep(rejection.retry_after().unwrap_or(Duration::from_millis(100)));
}

/// The provider, which counts the calls of each half.
#[derive(Default)]
struct Provider {
    half: AtomicUsize,
    calls: [AtomicU64; 2],
}

impl Provider {
    fn serve(&self) -> Result<(), std::io::Error> {
        self.calls[self.half.load(Ordering::Relaxed)].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
