//! Table tests of the rules, and property tests that compare the windows with models that store
//! every grant.

use super::super::turn::Attempt;
use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Instant = Instant::from_nanos(3_600_000_000_000);

fn state(rule: RateRule) -> State {
    State::new(rule, HOUR, Duration::ZERO)
}

fn take(state: &mut State, now: Instant, n: u32) -> Result<(), Shortage> {
    state.take(now, n, Attempt::First)
}

/// Steps of milliseconds, tokens and the expected result: `Ok`, or the milliseconds to wait.
fn assert_steps(rule: RateRule, steps: &[(i64, u32, Result<(), u64>)]) {
    let mut state = state(rule);
    for (at, n, expected) in steps {
        let now = match u64::try_from(*at) {
            Ok(at) => HOUR + Duration::from_millis(at),
            Err(_) => HOUR - Duration::from_millis(at.unsigned_abs()),
        };
        let expected = expected.map_err(|wait| Shortage::Until(Duration::from_millis(wait)));
        assert_eq!(take(&mut state, now, *n), expected, "{n} at {at} ms: {state:?}");
    }
}

#[test]
fn a_log_grants_a_token_exactly_one_period_after_it_was_taken() {
    assert_steps(
        RateRule::sliding_log(3, SECOND),
        &[
            (0, 1, Ok(())),
            (400, 2, Ok(())),
            (400, 1, Err(600)),
            (400, 2, Err(1_000)),
            (999, 1, Err(1)),
            (1_000, 1, Ok(())),
            (1_000, 1, Err(400)),
            (1_000, 3, Err(1_000)),
            (300, 1, Err(400)), // the clock was set back; counted from the last grant
            (1_400, 2, Ok(())),
            (5_000, 3, Ok(())),
        ],
    );
}

#[test]
fn a_counter_counts_the_part_of_the_previous_window_that_overlaps() {
    assert_steps(
        RateRule::sliding_counter(10, SECOND),
        &[
            (0, 10, Ok(())),
            (999, 1, Err(101)),
            (1_099, 1, Err(1)),
            (1_100, 1, Ok(())), // 10 × 0.9 + 1
            (1_100, 2, Err(200)),
            (1_500, 4, Ok(())),     // 10 × 0.5 + 5
            (1_500, 9, Err(1_300)), // in the next window, when 5 × 0.2 are counted
            (900, 1, Err(600)),     // set back to the start of the window
            (3_999, 10, Ok(())),    // two windows later
        ],
    );
}

#[test]
fn a_calendar_grants_the_limit_in_each_period() {
    // The Unix time at the start is 0.
    assert_steps(
        RateRule::calendar(3, CalendarPeriod::Minute),
        &[
            (0, 2, Ok(())),
            (59_999, 1, Ok(())),
            (59_999, 1, Err(1)),
            (60_000, 3, Ok(())),
            (70_000, 1, Err(50_000)),
            (50_000, 1, Err(70_000)), // the clock was set back: the same window
            (600_000, 3, Ok(())),
        ],
    );
}

#[test]
fn a_request_above_the_limit_is_never_granted() {
    for rule in [
        RateRule::sliding_log(3, SECOND),
        RateRule::sliding_counter(3, SECOND),
        RateRule::calendar(3, CalendarPeriod::Day),
    ] {
        let mut state = state(rule);
        assert_eq!(take(&mut state, HOUR, 4), Err(Shortage::Forever));
        assert_eq!(take(&mut state, HOUR, u32::MAX), Err(Shortage::Forever));
        assert_eq!(take(&mut state, HOUR, 3), Ok(()));
        assert_eq!(take(&mut state, HOUR, 4), Err(Shortage::Forever));
    }
}

#[test]
fn the_standing_has_the_remaining_tokens_and_the_time_until_the_reset() {
    let day = Duration::from_secs(86_400);
    for (rule, full, after_two, later) in [
        (RateRule::sliding_log(3, SECOND), (3, Duration::ZERO), (1, SECOND), (1, 750 * MS)),
        (
            RateRule::sliding_counter(3, SECOND),
            (3, Duration::ZERO),
            (1, 2 * SECOND),
            (1, 1_750 * MS),
        ),
        (RateRule::calendar(3, CalendarPeriod::Day), (3, day), (1, day), (1, day - 250 * MS)),
        // Cold: 2 tokens take about 6 intervals of 10 ms.
        (
            RateRule::warm_up(100, 60 * SECOND),
            (1, Duration::ZERO),
            (0, 60 * MS),
            (1, Duration::ZERO),
        ),
    ] {
        let mut state = state(rule);
        let standing = |state: &mut State, after: Duration| {
            let Standing { remaining, reset_after } = state.standing(HOUR + after);
            // Rounded up: a cold limiter is slightly faster than three intervals.
            (remaining, Duration::from_millis(reset_after.as_micros().div_ceil(1000) as u64))
        };
        assert_eq!(standing(&mut state, Duration::ZERO), full, "{rule:?}");
        take(&mut state, HOUR, 2).unwrap();
        assert_eq!(standing(&mut state, Duration::ZERO), after_two, "{rule:?}");
        assert_eq!(standing(&mut state, 250 * MS), later, "{rule:?}");
    }
}

#[test]
fn a_counter_is_empty_after_two_windows() {
    let mut state = state(RateRule::sliding_counter(3, SECOND));
    take(&mut state, HOUR, 3).unwrap();
    for (millis, remaining, reset) in
        [(999, 0, 1_001), (1_000, 0, 1_000), (1_700, 2, 300), (2_000, 3, 0)]
    {
        let standing = state.standing(HOUR + millis * MS);
        assert_eq!(standing, Standing { remaining, reset_after: reset * MS }, "{millis} ms");
    }
}

/// Takes tokens one after the other, each as soon as it is available; returns the waits in ms.
fn waits(state: &mut State, now: &mut Instant, tokens: u32) -> Vec<u128> {
    (0..tokens)
        .map(|_| {
            let wait = match take(state, *now, 1) {
                Ok(()) => return 0,
                Err(Shortage::Until(wait)) => wait,
                Err(other) => panic!("{other:?}"),
            };
            *now += wait;
            take(state, *now, 1).unwrap();
            wait.as_millis()
        })
        .collect()
}

/// The numbers are those of Guava's documentation of `SmoothWarmingUp`: 2 a second, warm after 4 s.
#[test]
fn a_limiter_warms_up_and_cools_down() {
    let mut state = state(RateRule::warm_up(2, 4 * SECOND));
    let mut now = HOUR;
    let cold = [0, 1375, 1125, 875, 625, 500, 500, 500];
    assert_eq!(waits(&mut state, &mut now, 8), cold);
    now += 4_500 * MS; // 500 ms for the last token, and 4 s in which the limiter becomes cold
    assert_eq!(waits(&mut state, &mut now, 8), cold);
    now += 2_500 * MS; // 500 ms for the last token, and half of the time to cool down
    assert_eq!(waits(&mut state, &mut now, 8), [0, 500, 500, 500, 500, 500, 500, 500]);
    now += 3_500 * MS;
    assert_eq!(waits(&mut state, &mut now, 4), [0, 875, 625, 500], "a pause of 3 s");
}

#[test]
fn a_request_for_many_tokens_delays_the_next_one() {
    let mut state = state(RateRule::warm_up(2, 4 * SECOND));
    assert_eq!(take(&mut state, HOUR, 4), Ok(()));
    assert_eq!(take(&mut state, HOUR, 1), Err(Shortage::Until(4_000 * MS)));
    assert_eq!(take(&mut state, HOUR + 4 * SECOND, 10), Ok(()));
    assert_eq!(take(&mut state, HOUR + 4 * SECOND, 1), Err(Shortage::Until(5 * SECOND)));
}

/// The intervals are not whole nanoseconds; rounding errors must not accumulate.
#[test]
fn a_warm_limiter_keeps_its_rate_exactly() {
    for per_second in [3, 7_000, 333_333] {
        let mut state = state(RateRule::warm_up(per_second, MS));
        let mut now = HOUR;
        waits(&mut state, &mut now, 2 * per_second / 1000 + 2);
        let start = now;
        waits(&mut state, &mut now, per_second);
        let error = (now - start).abs_diff(SECOND);
        assert!(error <= Duration::from_nanos(2), "{per_second}: {error:?}");
    }
}

#[test]
fn a_late_waiter_is_counted_from_the_time_at_which_its_token_was_available() {
    let mut state = state(RateRule::warm_up(1_000, SECOND));
    let mut now = HOUR;
    waits(&mut state, &mut now, 1_500); // warm
    for _ in 0..100 {
        now += 10 * MS; // a timer with a resolution of 10 ms, in which 10 tokens become available
        for _ in 0..10 {
            assert_eq!(state.take(now, 1, Attempt::AfterWaiting), Ok(()));
        }
    }
    // A pause of more than 20 ms is not compensated.
    now += 50 * MS;
    let granted = (0..50).filter(|_| state.take(now, 1, Attempt::AfterWaiting).is_ok()).count();
    assert_eq!(granted, 21);
}

#[test]
fn the_error_of_a_rule_out_of_range_names_the_field() {
    let day = Duration::from_secs(86_400);
    for (rule, field) in [
        (RateRule::sliding_log(0, SECOND), "limit"),
        (RateRule::sliding_counter(0, SECOND), "limit"),
        (RateRule::calendar(0, CalendarPeriod::Day), "limit"),
        (RateRule::sliding_log(1, Duration::ZERO), "period"),
        (RateRule::sliding_log(1, 367 * day), "period"),
        (RateRule::sliding_counter(1, Duration::ZERO), "period"),
        (RateRule::sliding_counter(1, Duration::MAX), "period"),
        (RateRule::warm_up(0, SECOND), "per_second"),
        (RateRule::warm_up(1_000_000_001, SECOND), "per_second"),
        (RateRule::warm_up(1, Duration::ZERO), "duration"),
        (RateRule::warm_up(1, 367 * day), "duration"),
    ] {
        assert_eq!(rule.validate().unwrap_err().field(), field, "{rule:?}");
    }
    for rule in [
        RateRule::sliding_log(1, 366 * day),
        RateRule::sliding_counter(u32::MAX, 366 * day),
        RateRule::warm_up(1_000_000_000, 366 * day),
        RateRule::warm_up(1, Duration::from_nanos(1)),
    ] {
        assert_eq!(rule.validate(), Ok(()), "{rule:?}");
    }
}

/// Asserts that a denied request would be granted after its wait, and not a nanosecond earlier.
fn assert_exact(state: &State, now: Instant, n: u32, shortage: Shortage) {
    let Shortage::Until(wait) = shortage else { return };
    let at = |wait: Duration| take(&mut state.clone(), now + wait, n);
    assert_eq!(at(wait), Ok(()), "{state:?} after {wait:?}");
    assert!(at(wait - Duration::from_nanos(1)).is_err(), "{state:?} before {wait:?}");
}

/// Times between requests in nanoseconds, and the numbers of tokens.
fn requests() -> impl Strategy<Value = Vec<(u64, u32)>> {
    prop::collection::vec((prop_oneof![Just(0), 0..40_u64, 0..400_u64], 1..7_u32), 1..60)
}

const PERIOD: u64 = 100;

proptest! {
    #[test]
    fn a_log_agrees_with_a_list_of_all_grants(limit in 1..6_u32, requests in requests()) {
        let period = Duration::from_nanos(PERIOD);
        let mut state = state(RateRule::sliding_log(limit, period));
        let mut grants: Vec<(Instant, u32)> = Vec::new();
        let mut now = HOUR;
        for (pause, n) in requests {
            now += Duration::from_nanos(pause);
            let used: u32 =
                grants.iter().filter(|(at, _)| now - *at < period).map(|(_, n)| n).sum();
            let expected = used + n <= limit;
            let before = state.clone();
            match take(&mut state, now, n) {
                Ok(()) => {
                    prop_assert!(expected);
                    grants.push((now, n));
                }
                Err(shortage) => {
                    prop_assert!(!expected);
                    prop_assert_eq!(shortage == Shortage::Forever, n > limit);
                    assert_exact(&before, now, n, shortage);
                }
            }
            prop_assert!(state.standing(now).remaining <= limit);
        }
    }

    #[test]
    fn a_counter_agrees_with_its_formula_over_all_grants(
        limit in 1..6_u32,
        requests in requests(),
    ) {
        let mut state = state(RateRule::sliding_counter(limit, Duration::from_nanos(PERIOD)));
        let mut grants: Vec<(u64, u32)> = Vec::new();
        let mut now = 0;
        for (pause, n) in requests {
            now += pause;
            let in_window = |window: u64| {
                let grants = grants.iter().filter(|(at, _)| at / PERIOD == window);
                grants.map(|(_, n)| u64::from(*n)).sum::<u64>()
            };
            let window = now / PERIOD;
            let previous = window.checked_sub(1).map_or(0, in_window);
            let used = previous * (PERIOD - now % PERIOD) + in_window(window) * PERIOD;
            let expected = used + u64::from(n) * PERIOD <= u64::from(limit) * PERIOD;
            let (before, at) = (state.clone(), HOUR + Duration::from_nanos(now));
            match take(&mut state, at, n) {
                Ok(()) => {
                    prop_assert!(expected);
                    grants.push((now, n));
                }
                Err(shortage) => {
                    prop_assert!(!expected);
                    prop_assert_eq!(shortage == Shortage::Forever, n > limit);
                    assert_exact(&before, at, n, shortage);
                }
            }
            // In any period, less than twice the limit.
            let recent = grants.iter().filter(|(at, _)| now - at < PERIOD);
            let recent: u32 = recent.map(|(_, n)| n).sum();
            prop_assert!(recent < 2 * limit || recent == limit);
        }
    }

    #[test]
    fn a_calendar_grants_the_limit_per_period(limit in 1..6_u32, requests in requests()) {
        const MINUTE: u64 = 60_000_000_000;
        let mut state = state(RateRule::calendar(limit, CalendarPeriod::Minute));
        let (mut now, mut window, mut used) = (0, 0, 0);
        for (pause, n) in requests {
            now += pause * 1_000_000_007;
            if now / MINUTE > window {
                (window, used) = (now / MINUTE, 0);
            }
            let (before, at) = (state.clone(), HOUR + Duration::from_nanos(now));
            match take(&mut state, at, n) {
                Ok(()) => {
                    used += n;
                    prop_assert!(used <= limit);
                }
                Err(shortage) => {
                    prop_assert!(used + n > limit);
                    assert_exact(&before, at, n, shortage);
                }
            }
        }
    }

    /// At most one token per warm interval, plus the first; and at least a third of the rate.
    #[test]
    fn a_limiter_that_warms_up_stays_within_its_rates(
        pauses in prop::collection::vec(0..5_000_u64, 1..60),
    ) {
        let mut state = state(RateRule::warm_up(2, 4 * SECOND));
        let mut now = HOUR;
        let mut last: Option<Instant> = None;
        for pause in pauses {
            now += Duration::from_millis(pause);
            while let Err(shortage) = take(&mut state, now, 1) {
                let Shortage::Until(wait) = shortage else { panic!("{shortage:?}") };
                prop_assert!(wait <= 1500 * MS);
                assert_exact(&state, now, 1, shortage);
                now += wait;
            }
            if let Some(last) = last.replace(now) {
                prop_assert!(now - last >= 500 * MS);
            }
        }
    }
}
