//! Loom model of the hedge: new settings take effect together.

use super::Hedge;
use super::words::DelayConfig;
use loom::thread;
use std::time::Duration;

#[test]
fn a_decision_uses_one_version_of_the_settings() {
    loom::model(|| {
        let builder = |n: u32| {
            let delay = Duration::from_millis(n.into());
            Hedge::builder().without_budget().delay(delay).max_attempts(n)
        };
        let hedge = builder(1).build().unwrap();
        let other = thread::spawn({
            let hedge = hedge.clone();
            move || (2..4).for_each(|n| hedge.reconfigure(&builder(n)).unwrap())
        });
        let config = hedge.shared().delay.config();
        let delay = Duration::from_millis(config.max_attempts.into());
        assert_eq!(config.delay, DelayConfig::Fixed(delay));
        other.join().unwrap();
        assert_eq!(hedge.shared().delay.config().max_attempts, 3);
    });
}
