//! A breaker configuration and scripts of calls, shared by the tests of the circuit breaker.

use mainstay::backoff::{Backoff, Jitter};
use mainstay::breaker::{CircuitBreaker, CircuitBreakerBuilder};
use mainstay::error::Reason;
use mainstay::time::ManualClock;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Returns a configuration that opens for 10 s, then for twice as long each time, up to 60 s. It
/// admits two probes at a time, and four outcomes end a trial.
pub(crate) fn builder(time: &ManualClock) -> CircuitBreakerBuilder {
    CircuitBreaker::builder()
        .clock(time.clock())
        .count_window(10)
        .min_calls(4)
        .open_duration(
            Backoff::exponential(10 * SECOND).max_delay(60 * SECOND).jitter(Jitter::None),
        )
        .half_open_concurrency(2)
        .half_open_calls(4)
        .probe_timeout(100 * SECOND)
}

/// Makes calls: `.` succeeds, `x` fails, `i` is ignored, `d` is dropped, `r` is rejected.
pub(crate) fn calls(breaker: &CircuitBreaker, script: &str) {
    for (i, call) in script.chars().filter(|c| !c.is_whitespace()).enumerate() {
        let permit = breaker.try_acquire();
        match (call, permit) {
            ('.', Ok(permit)) => permit.success(),
            ('x', Ok(permit)) => permit.failure(),
            ('i', Ok(permit)) => permit.ignore(),
            ('d', Ok(permit)) => drop(permit),
            ('r', Err(rejection)) => assert_eq!(rejection.reason(), Reason::CircuitOpen),
            (call, permit) => panic!("call {i} {call:?} of {script:?}: {permit:?} {breaker:?}"),
        }
    }
}
