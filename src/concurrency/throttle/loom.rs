//! A model of the throttle: the call that is let through in any case is one.

use super::Throttle;
use crate::time::ManualClock;
use loom::thread;
use std::time::Duration;

#[test]
fn one_call_per_interval_is_let_through_in_any_case() {
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
