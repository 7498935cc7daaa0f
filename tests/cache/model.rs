//! Sequential calls, compared with a simple model.

use crate::support::*;
use mainstay::error::Error;
use mainstay::time::ManualClock;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u32),
    Call(Outcome),
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u32..12).prop_map(Step::Advance),
        4 => (0_u32..100).prop_map(|value| Step::Call(Ok(value))),
        2 => Just(Step::Call(Err(Error::Operation("down")))),
        1 => Just(Step::Call(Err(rejected()))),
        1 => Just(Step::Call(Err(timed_out()))),
        1 => Just(Step::Remove),
    ]
}

/// A cache that stores the last value and the last error separately. All times are in seconds.
#[derive(Default)]
struct Model {
    now: u32,
    /// The last value, and the time at which it was stored.
    value: Option<(u32, u32)>,
    /// The time of the last error, and whether a value replaced it. Such an error is not stored: it
    /// suppresses operations only while the value may be used.
    error: Option<(u32, bool)>,
}

impl Model {
    /// Returns the result of a call, and whether the operation runs.
    fn call(&mut self, result: Outcome, negative_ttl: u32, on_error: u32) -> (Outcome, bool) {
        let down = Err(Error::Operation("down"));
        let old =
            self.value.filter(|(_, at)| self.now < at + 10 + on_error).map(|(value, _)| value);
        if let Some((value, at)) = self.value
            && self.now < at + 10
        {
            return (Ok(value), false);
        }
        let suppressed = |(at, replaced): (u32, bool)| {
            self.now < at + negative_ttl && (!replaced || old.is_some())
        };
        if self.error.is_some_and(suppressed) {
            return (old.map_or(down, Ok), false);
        }
        match result {
            Ok(value) => (self.value, self.error) = (Some((value, self.now)), None),
            Err(Error::Operation(_)) => {
                self.error = Some((self.now, old.is_some()));
            }
            Err(_) => {}
        }
        (result.or_else(|error| old.ok_or(error)), true)
    }
}

proptest! {
    #[test]
    fn sequential_calls_behave_as_the_model(
        steps in proptest::collection::vec(step(), 0..60),
        negative_ttl in 0_u32..4,
        on_error in 0_u32..30,
    ) {
        let time = ManualClock::new();
        let cache = builder(&time)
            .negative_ttl(negative_ttl * S)
            .stale_on_error(on_error * S)
            .build()
            .unwrap();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Advance(seconds) => {
                    time.advance(seconds * S);
                    model.now += seconds;
                }
                Step::Call(result) => {
                    let expected = model.call(result, negative_ttl, on_error);
                    prop_assert_eq!(call(&cache, result), expected);
                }
                Step::Remove => {
                    cache.remove(&());
                    (model.value, model.error) = (None, None);
                }
            }
        }
    }
}
