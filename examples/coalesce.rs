//! Coalesce: a hundred concurrent requests for the same user send one query.

use mainstay::{Coalesce, ConfigError};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

fn main() -> Result<(), ConfigError> {
    let users = Coalesce::<String, u32, String>::builder().name("users").build()?;
    let queries = AtomicU32::new(0);
    let query = || {
        queries.fetch_add(1, Ordering::Relaxed);
        while users.snapshot().joined < 99 {
            thread::sleep(Duration::from_millis(1)); // a slow database
        }
        Ok(42)
    };
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| assert_eq!(users.call_blocking("ada", query), Ok(42)));
        }
    });
    println!("100 requests, {} query: {:?}", queries.load(Ordering::Relaxed), users.snapshot());
    assert_eq!(queries.into_inner(), 1);
    Ok(())
}
