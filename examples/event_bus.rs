//! Event bus: publish typed events to the subscribers of a tenant and topic.

use mainstay::{Bus, BusEvent};
use std::ops::ControlFlow;
use std::thread;

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Paid { cents: u64 },
    Shipped,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::<String, Event>::builder().capacity(128).build()?;

    // A handler on a thread of its own: a slow or panicking handler never delays a publisher.
    let payments = bus.subscribe("acme", "payments")?;
    let handler = thread::spawn(move || {
        let mut total = 0;
        let report = payments.handle_blocking(|event| {
            if let Ok(Event::Paid { cents }) = event.map(BusEvent::into_event) {
                total += cents;
            }
            ControlFlow::Continue(())
        });
        (total, report)
    });
    let mut audit = bus.subscribe_all("acme")?; // all topics of one tenant

    bus.publish("acme", "payments", Event::Paid { cents: 1999 })?;
    bus.publish("acme", "parcels", Event::Shipped)?;
    assert_eq!(bus.publish("globex", "payments", Event::Paid { cents: 1 })?, 0);
    bus.close();

    let (total, report) = handler.join().expect("the handler's panics are counted");
    println!("acme was paid {total} cents; {report:?}");
    assert_eq!((total, audit.recv_blocking()?.topic().as_str()), (1999, "payments"));
    assert_eq!(audit.recv_blocking()?.into_event(), Event::Shipped);
    Ok(())
}
