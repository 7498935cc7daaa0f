//! Timeout: limit the duration of an operation; its future is dropped when the timeout elapses.

use mainstay::{Error, Timeout};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), mainstay::ConfigError> {
    let timeout = Timeout::new(Duration::from_millis(50)).name("search")?;

    let fast = timeout.call(|| async { Ok::<_, std::io::Error>("found") }).await;
    println!("fast: {fast:?}");

    let slow = timeout.call(std::future::pending::<Result<(), std::io::Error>>).await;
    match slow {
        Err(Error::Timeout(timed_out)) => println!("slow: {timed_out}"),
        other => panic!("a future that never ends must time out: {other:?}"),
    }
    Ok(())
}
