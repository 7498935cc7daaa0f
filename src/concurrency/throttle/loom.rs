//! A loom model of the throttle: at most one call per interval is admitted as a probe.

use super::Throttle;
use crate::time::ManualClock;
use loom::thread;
use std::time::Duration;

#[test]
fn one_call_per_interval_is_admitted_as_a_probe() {
    loom::model(|| {
        let time = ManualClock::new();
        time.advance(Duration::from_secs(10));
        let throttle = Throttle::builder().clock(time.clock()).build().unwrap();
        let other = thread::spawn({
            let (throttle, now) = (throttle.clone(), time.now());
            move || throttle.0.take_probe(now)
        });
        let this = throttle.0.take_probe(time.now());
        assert!(this ^ other.join().unwrap());
        time.advance(Duration::from_secs(1));
        assert!(throttle.0.take_probe(time.now()));
    });
}
