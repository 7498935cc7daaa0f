//! Batch: two hundred concurrent inserts become a few statements, and a bad row fails alone.

use mainstay::batch::{Batch, Batcher};
use mainstay::{ConfigError, Error};
use std::thread;
use std::time::Duration;

/// Inserts all rows with one statement, or none. Returns their ids.
fn insert(rows: &Batch<u32>) -> Result<Vec<u32>, &'static str> {
    thread::sleep(Duration::from_millis(5)); // the round trip
    match rows.contains(&100) {
        true => Err("constraint"),
        false => Ok(rows.iter().map(|row| row + 1000).collect()),
    }
}

fn main() -> Result<(), ConfigError> {
    let rows = Batcher::builder(|rows| std::future::ready(insert(&rows)))
        .name("rows")
        .split_when(|error| *error == "constraint")
        .build()?;
    thread::scope(|scope| {
        for row in 0..200 {
            let rows = &rows;
            scope.spawn(move || match rows.call_blocking(row) {
                Ok(id) => assert_eq!(id, row + 1000),
                Err(error) => {
                    assert_eq!((row, error), (100, Error::Operation("constraint")));
                }
            });
        }
    });
    println!("{:?}", rows.snapshot());
    assert_eq!((rows.snapshot().succeeded, rows.snapshot().failed), (199, 1));
    Ok(())
}
