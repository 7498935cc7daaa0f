//! Budget: limit the retries of all callers together to a fraction of their calls.

use mainstay::{Backoff, Budget, Retry};
use std::cell::Cell;
use std::time::Duration;

fn main() -> Result<(), mainstay::ConfigError> {
    // One retry for every five calls, plus ten.
    let budget = Budget::builder().name("search").percent(20).of_all_calls(10).build()?;
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::constant(Duration::ZERO))
        .budget(&budget)
        .assume_idempotent()
        .build()?;

    // The dependency is down: without a budget, 1,000 calls would send 3,000 requests.
    let requests = Cell::new(0);
    let search = || {
        requests.set(requests.get() + 1);
        Err::<(), _>("connection refused")
    };
    for _ in 0..1000 {
        // The caller receives the operation's own error, even if the budget is exhausted.
        assert_eq!(retry.call_blocking(search).unwrap_err().to_string(), "connection refused");
    }
    println!("1000 calls sent {} requests; {:?}", requests.get(), budget.snapshot());
    assert!(requests.get() <= 1210);
    Ok(())
}
