//! Custom policy: a guard of your own, next to mainstay's in one pipeline.

use mainstay::policy::{Context, Facts, Guard, Policy, kind};
use mainstay::{Error, Pipeline, Reason, Rejection};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Rejects calls during maintenance.
#[derive(Default)]
struct Maintenance(AtomicBool);

impl Policy for Maintenance {
    type Kind = kind::Guard;
    fn facts(&self) -> Facts {
        Facts::new("maintenance", "maintenance")
    }
}

impl<T: Send, E: Send> Guard<T, E> for Maintenance {
    type Permit<'a> = ();
    async fn admit(&self, cx: Context) -> Result<(), Rejection> {
        Guard::<T, E>::admit_blocking(self, cx)
    }
    fn admit_blocking(&self, _: Context) -> Result<(), Rejection> {
        match self.0.load(Relaxed) {
            true => Err(Rejection::new(Reason::Custom, "maintenance")),
            false => Ok(()),
        }
    }
    fn record(&self, _permit: (), _result: &Result<T, Error<E>>) {}
}

fn main() {
    let maintenance = Maintenance::default();
    let pipeline = Pipeline::builder().guard(&maintenance).build();
    let call = || pipeline.call_blocking(|| Ok::<_, std::io::Error>("served"));
    println!("{:?}", call());
    maintenance.0.store(true, Relaxed);
    println!("{}", call().unwrap_err());
}
