//! Scenario: a live feed, as a channel and as a broadcast.
//!
//! ```text
//! cargo run --release --example live_feed -- [wait|reject|drop-oldest] [milliseconds] [work]
//! cargo run --release --example live_feed -- broadcast [milliseconds] [subscribers]
//! ```
//!
//! The first form sends each update from one of many producers to one of several consumers, through
//! a channel. The second form sends each update to every subscriber, 10,000 by default, through one
//! ring.

mod broadcast;
mod channel;

use channel::FullRule;

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "wait".to_owned());
    let mut number = |default| args.next().map_or(Ok(default), |arg| arg.parse());
    let (Ok(milliseconds), Ok(count)) =
        (number(1000), number(if name == "broadcast" { 10_000 } else { 50 }))
    else {
        eprintln!("milliseconds, work and subscribers are numbers");
        std::process::exit(2);
    };
    let when_full = match name.as_str() {
        "wait" => FullRule::Wait,
        "reject" => FullRule::Reject,
        "drop-oldest" => FullRule::DropOldest,
        "broadcast" => return broadcast::run(milliseconds, count as usize),
        other => {
            eprintln!("unknown rule `{other}`; use wait, reject, drop-oldest or broadcast");
            std::process::exit(2);
        }
    };
    channel::run(&name, when_full, milliseconds, count);
}
