//! Scenario: an event bus of 100 tenants. Each tenant has a publisher, a handler, and a stream of
//! all its topics. One tenant has a slow handler, and one has a handler that panics.
//!
//! ```text
//! cargo run --release --example tenant_events -- [events of a tenant]
//! ```
//!
//! Prints how long the publishers took, and what each kind of subscriber handled and missed. Checks
//! that no event reached another tenant, and that the slow and the panicking handler delayed no
//! publisher.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt;
use mainstay::event_bus::{Bus, BusHandlerReport};

const TENANTS: u32 = 100;
const PUBLISHERS: u32 = 4;
const SLOW: u32 = 13;
const PANICKING: u32 = 42;
const TOPICS: [&str; 3] = ["orders", "payments", "parcels"];

#[derive(Clone)]
struct Event {
    tenant: u32,
    number: u64,
}

type Report = Result<(u32, BusHandlerReport), Box<dyn std::error::Error + Send + Sync>>;

/// Handles the orders of a tenant until the bus is closed.
fn handle_orders(bus: &Bus<String, Event>, tenant: u32) -> Report {
    let orders = bus.subscribe(tenant_name(tenant).as_str(), TOPICS[0])?;
    let mut foreign = 0;
    let report = orders.handle_blocking(|event| {
        let Ok(event) = event else { return ControlFlow::Continue(()) };
        foreign += u64::from(event.event().tenant != tenant);
        if tenant == SLOW {
            thread::sleep(Duration::from_millis(5));
        }
        if tenant == PANICKING && event.event().number % 7 == 0 {
            std::panic::resume_unwind(Box::new("a bug in a handler"));
        }
        ControlFlow::Continue(())
    });
    assert_eq!(foreign, 0, "an event of another tenant was received");
    Ok((tenant, report))
}

/// Receives the events of all topics of a tenant as a stream. Returns the numbers of received and
/// missed events.
async fn audit(bus: Bus<String, Event>, tenant: u32) -> (u64, u64) {
    let subscription = bus.subscribe_all(tenant_name(tenant).as_str());
    drop(bus);
    let mut events = subscription.expect("there is room for all tenants").into_stream();
    let (mut received, mut missed) = (0, 0);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                assert_eq!(event.event().tenant, tenant);
                received += 1;
            }
            Err(error) => missed += error.0,
        }
    }
    (received, missed)
}

fn tenant_name(tenant: u32) -> String {
    format!("tenant-{tenant}")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let events: u64 = std::env::args().nth(1).map_or(Ok(3_000), |arg| arg.parse())?;
    let bus = Bus::<String, Event>::builder().capacity(256).build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let audits: Vec<_> =
        (0..TENANTS).map(|tenant| runtime.spawn(audit(bus.clone(), tenant))).collect();
    println!("{TENANTS} tenants, {events} events each, {PUBLISHERS} publishers");

    let mut reports = Vec::new();
    let mut publishing = Duration::ZERO;
    thread::scope(|scope| {
        let handlers: Vec<_> = (0..TENANTS)
            .map(|tenant| {
                let bus = &bus;
                scope.spawn(move || handle_orders(bus, tenant))
            })
            .collect();
        // Waits until every tenant has its two subscriptions.
        while bus.snapshot().topics < 2 * TENANTS as usize {
            thread::yield_now();
        }
        let start = Instant::now();
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let bus = &bus;
                scope.spawn(move || {
                    for number in 0..events {
                        for tenant in (publisher..TENANTS).step_by(PUBLISHERS as usize) {
                            let topic = TOPICS[(number % 3) as usize];
                            let event = Event { tenant, number };
                            bus.publish(tenant_name(tenant).as_str(), topic, event)
                                .expect("the bus is open");
                        }
                    }
                })
            })
            .collect();
        for publisher in publishers {
            publisher.join().expect("publishers do not panic");
        }
        publishing = start.elapsed();
        bus.close();
        for handler in handlers {
            reports.push(handler.join().expect("the panics of handlers are counted"));
        }
    });

    let total = events * u64::from(TENANTS);
    println!(
        "  published   {total} events in {publishing:?}, {:.0} ns each",
        publishing.as_nanos() as f64 / total as f64
    );
    let mut others = BusHandlerReport::default();
    for report in reports {
        let (tenant, report) = report.map_err(|error| error.to_string())?;
        match tenant {
            SLOW => println!("  slow        {report:?}"),
            PANICKING => {
                println!("  panicking   {report:?}");
                assert!(report.panicked > 0, "the handler panicked");
            }
            _ => {
                others.handled += report.handled;
                others.missed += report.missed;
            }
        }
    }
    println!("  others      {} handled, {} missed", others.handled, others.missed);
    let (mut received, mut missed) = (0, 0);
    for audit in audits {
        let (of_received, of_missed) = runtime.block_on(audit)?;
        assert_eq!(of_received + of_missed, events, "every event is received or counted");
        received += of_received;
        missed += of_missed;
    }
    println!("  streams     {received} received, {missed} missed");
    println!("  {:?}", bus.snapshot());
    Ok(())
}
