//! Batch: two hundred concurrent inserts become a few statements, and a bad row fails alone.

use mainstay::batch::{Batch, Batcher};
use mainstay::{ConfigError, Error};
use std::thread;
use std::time::Duration;

/// Inserts all rows with one statement, or none. Returns their ids.
fn insert(rows: &Batch<String>) -> Result<Vec<usize>, &'static str> {
    thread::sleep(Duration::from_millis(5)); // the round trip
    match rows.iter().any(String::is_empty) {
        true => Err("a name is empty"),
        false => Ok(rows.iter().map(String::len).collect()),
    }
}

fn main() -> Result<(), ConfigError> {
    let rows = Batcher::builder(|rows| std::future::ready(insert(&rows)))
        .name("rows")
        .split_when(|error| *error == "a name is empty")
        .build()?;
    thread::scope(|scope| {
        for n in 0..200 {
            let rows = &rows;
            scope.spawn(move || match rows.call_blocking("x".repeat(n)) {
                Ok(id) => assert_eq!(id, n),
                Err(error) => assert_eq!((n, error), (0, Error::Operation("a name is empty"))),
            });
        }
    });
    let snapshot = rows.snapshot();
    println!("{} rows in {} batches: {snapshot:?}", snapshot.accepted, snapshot.batches);
    assert!(snapshot.batches < 50);
    Ok(())
}
