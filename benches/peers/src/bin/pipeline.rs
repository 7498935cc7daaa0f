//! Measures the cost of composition: a ready future called through a whole pipeline.

use layered::{Execute, Service, Stack};
use mainstay::breaker::CircuitBreaker;
use mainstay::pipeline::Pipeline;
use mainstay::retry::Retry;
use peers::{Race, ready};
use seatbelt::{RecoveryInfo, ResilienceContext};
use std::hint::black_box;
use std::time::Duration;

async fn ok() -> Result<u64, ()> {
    black_box(Ok(1))
}

fn main() {
    let second = Duration::from_secs(1);
    let breaker = CircuitBreaker::builder().build().unwrap();
    let retry = Retry::builder().build().unwrap();
    let only_breaker = Pipeline::builder().breaker(&breaker).build();
    let three = Pipeline::builder().timeout(second).retry(&retry).breaker(&breaker).build();
    let four =
        Pipeline::builder().timeout(second).retry(&retry).breaker(&breaker).timeout(second).build();
    let boxed = four.clone().boxed::<u64, ()>();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let clock = tick::Clock::new_tokio();
    let context = ResilienceContext::new(&clock);
    let recovery = |result: &Result<u64, ()>| match result {
        Ok(_) => RecoveryInfo::never(),
        Err(()) => RecoveryInfo::retry(),
    };
    let seatbelt = (
        seatbelt::timeout::Timeout::layer("timeout", &context)
            .timeout_error(|_| ())
            .timeout(second),
        seatbelt::retry::Retry::layer("retry", &context)
            .clone_input()
            .recovery_with(move |result: &Result<u64, ()>, _| recovery(result)),
        seatbelt::breaker::Breaker::layer("breaker", &context)
            .recovery_with(move |result: &Result<u64, ()>, _| recovery(result))
            .rejected_input_error(|(), _| ()),
        Execute::new(|(): ()| ok()),
    )
        .into_service();

    Race::new("a ready future through a pipeline, 1 thread")
        .each("mainstay timeout+retry+breaker", || _ = black_box(ready(three.call(ok))))
        .each("… + attempt timeout", || _ = black_box(ready(four.call(ok))))
        .each("… boxed", || _ = black_box(ready(boxed.call(ok))))
        .each("breaker alone", || _ = black_box(ready(only_breaker.call(ok))))
        .each("the future alone", || _ = black_box(ready(ok())))
        .each("one reading of the clock", || drop(black_box(std::time::Instant::now())))
        .each("seatbelt timeout+retry+breaker", || {
            drop(black_box(ready(seatbelt.execute(()))));
        })
        .run();
}
