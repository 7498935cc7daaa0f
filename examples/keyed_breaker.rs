//! Keyed circuit breaker: one breaker per host, with limits on the number of hosts and of open
//! breakers.

use mainstay::{CircuitBreaker, Error, KeyedCircuitBreaker};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let each = CircuitBreaker::builder().name("host").consecutive_failures(3);
    let hosts = KeyedCircuitBreaker::<String>::builder(each)
        .max_keys(10_000)
        .max_open_share(0.5) // an outage of our own network must not stop all calls
        .build()?;

    for round in 0..5 {
        for host in ["a.example", "b.example", "c.example"] {
            let result = hosts.call_blocking(host, || match host {
                "b.example" => Err("connection refused"),
                _ => Ok("page"),
            });
            if let Err(Error::Rejected(rejection)) = result {
                println!("round {round}: {host}: {rejection}");
            }
        }
    }
    let totals = hosts.totals();
    println!("{} hosts, {} of their breakers open", hosts.snapshot().keys, totals.open);
    assert_eq!(totals.open, 1);
    Ok(())
}
