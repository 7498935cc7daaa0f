//! Tests of the formulas, the jitter and the validation of backoffs.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn millis(backoff: &Backoff, n: usize) -> Vec<u128> {
    backoff.delays(&Random::seeded(1)).take(n).map(|d| d.as_millis()).collect()
}

#[test]
fn max_total_bounds_the_sum_of_the_delays() {
    let unbounded = Backoff::custom(|_| MS);
    let table = [
        (Backoff::exponential(100 * MS), 3, Some(700 * MS)),
        (Backoff::exponential(100 * MS).max_delay(250 * MS), 4, Some(800 * MS)),
        (Backoff::exponential(100 * MS), 0, Some(Duration::ZERO)),
        (Backoff::exponential(100 * MS).factor(1.0), 64, Some(6_400 * MS)),
        (Backoff::exponential(100 * MS).factor(1.0), 65, Some(6_500 * MS)),
        (Backoff::exponential(100 * MS).factor(1.0), 1000, Some(100_000 * MS)),
        (Backoff::exponential(100 * MS).max_delay(Duration::MAX), 1000, None),
        (Backoff::fibonacci(10 * MS), 4, Some(70 * MS)),
        (Backoff::constant(MS), u32::MAX, Some(u32::MAX * MS)),
        (Backoff::constant(Duration::from_secs(u64::MAX)), 2, None),
        (Backoff::exponential(MS).max_delay(5 * MS).jitter(Jitter::Decorrelated), 3, Some(15 * MS)),
        (Backoff::constant(100 * MS).jitter(Jitter::Percent(10)), 2, Some(220 * MS)),
        (
            Backoff::constant(100 * MS).jitter(Jitter::Percent(10)).max_delay(105 * MS),
            2,
            Some(210 * MS),
        ),
        (unbounded.clone(), 2, None),
        (unbounded.max_delay(5 * MS), 2, Some(10 * MS)),
    ];
    for (backoff, n, expected) in table {
        assert_eq!(backoff.max_total(n), expected, "{n} of {backoff:?}");
    }
}

/// cockatiel#86: after many iterations, a delay with decorrelated jitter was not a number.
#[test]
fn decorrelated_delays_stay_in_range_after_any_number_of_iterations() {
    for backoff in [Backoff::exponential(MS), Backoff::fibonacci(MS), Backoff::constant(MS)] {
        for max_delay in [50 * MS, Duration::MAX] {
            let backoff = backoff.clone().jitter(Jitter::Decorrelated).max_delay(max_delay);
            let delays: Vec<_> = backoff.delays(&Random::seeded(1)).take(10_000).collect();
            assert!(delays.iter().all(|delay| (MS..=max_delay).contains(delay)), "{backoff:?}");
        }
    }
}

#[test]
fn delays_follow_their_formula() {
    let table: [(Backoff, &[u128]); 5] = [
        (Backoff::exponential(100 * MS), &[100, 200, 400, 800, 1600]),
        (
            Backoff::exponential(100 * MS).factor(1.5).max_delay(300 * MS),
            &[100, 150, 225, 300, 300],
        ),
        (Backoff::fibonacci(10 * MS), &[10, 10, 20, 30, 50, 80]),
        (Backoff::constant(7 * MS), &[7, 7, 7]),
        (Backoff::custom(|n| n * MS), &[1, 2, 3]),
    ];
    for (backoff, expected) in table {
        assert_eq!(millis(&backoff.jitter(Jitter::None), expected.len()), expected);
    }
}

#[test]
fn fibonacci_delays_grow_up_to_the_maximum_delay() {
    let backoff = Backoff::fibonacci(Duration::from_nanos(1)).jitter(Jitter::None);
    let random = Random::seeded(1);
    let delay = |n| backoff.clone().max_delay(Duration::MAX).delay(n, Duration::ZERO, &random);
    for n in 3..=90 {
        assert_eq!(delay(n), delay(n - 1) + delay(n - 2), "{n}");
    }
    assert_eq!(backoff.delay(60, Duration::ZERO, &random), Backoff::MAX_DELAY);
    for n in [200, u32::MAX] {
        assert_eq!(delay(n), Duration::MAX, "{n}");
    }
    assert_eq!(fibonacci(186).checked_add(fibonacci(185)), None);
    assert_eq!((fibonacci(187), fibonacci(u32::MAX)), (u128::MAX, u128::MAX));
}

#[test]
fn jitter_covers_its_whole_range_and_nothing_else() {
    let random = Random::seeded(3);
    let base = Backoff::constant(1000 * MS).max_delay(2000 * MS);
    for (jitter, low, high) in [
        (Jitter::None, 1000, 1000),
        (Jitter::Full, 0, 1000),
        (Jitter::Equal, 500, 1000),
        (Jitter::Percent(20), 800, 1200),
        (Jitter::Percent(100), 0, 2000),
        (Jitter::Decorrelated, 1000, 2000),
    ] {
        let backoff = base.clone().jitter(jitter);
        let drawn: Vec<_> = backoff.delays(&random).take(2000).map(|d| d.as_millis()).collect();
        let (least, most) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
        assert!(least >= low && most <= high, "{jitter:?}: {least}..{most}");
        assert!(least < low + 50 && most > high - 50, "{jitter:?}: {least}..{most}");
    }
}

#[test]
fn decorrelated_jitter_depends_on_the_previous_delay() {
    let random = Random::seeded(1);
    let backoff = Backoff::exponential(10 * MS).jitter(Jitter::Decorrelated);
    for (previous, upper) in [(Duration::ZERO, 30 * MS), (20 * MS, 60 * MS), (MS, 30 * MS)] {
        let drawn: Vec<_> = (0..500).map(|_| backoff.delay(9, previous, &random)).collect();
        let (least, most) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
        assert!(least >= 10 * MS && most <= upper, "{previous:?}: {least:?}..{most:?}");
        assert!(least < 11 * MS && most > upper.mul_f64(0.95), "{previous:?}: {least:?}..{most:?}");
    }
}

#[test]
fn decorrelated_jitter_is_never_below_the_custom_delay() {
    let backoff = Backoff::custom(|n| n * 10 * MS).jitter(Jitter::Decorrelated);
    for (n, delay) in (1..).zip(millis(&backoff, 5)) {
        assert!(delay >= n * 10, "{delay}");
    }
}

#[test]
fn the_default_jitter_applies_to_growing_delays_without_an_explicit_jitter() {
    let jitter = |backoff: Backoff| backoff.default_jitter(Jitter::Equal).formula.jitter;
    assert_eq!(jitter(Backoff::exponential(MS)), Jitter::Equal);
    assert_eq!(jitter(Backoff::fibonacci(MS)), Jitter::Equal);
    assert_eq!(jitter(Backoff::exponential(MS).jitter(Jitter::Full)), Jitter::Full);
    assert_eq!(jitter(Backoff::constant(MS)), Jitter::None);
    assert_eq!(jitter(Backoff::custom(|_| MS)), Jitter::None);
}

#[test]
fn extreme_settings_do_not_panic() {
    let random = Random::seeded(1);
    for backoff in [
        Backoff::exponential(Duration::MAX),
        Backoff::exponential(Duration::ZERO).factor(f64::MAX),
        Backoff::exponential(Duration::ZERO).factor(f64::NAN),
        Backoff::fibonacci(Duration::MAX).max_delay(Duration::MAX),
        Backoff::constant(Duration::MAX),
    ] {
        for jitter in
            [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Percent(100), Jitter::Decorrelated]
        {
            let backoff = backoff.clone().jitter(jitter);
            for n in [0, 1, 2, 100, u32::MAX] {
                let _ = backoff.delay(n, Duration::MAX, &random);
            }
        }
    }
}

#[test]
fn a_validation_error_names_the_field_of_the_policy() {
    const ZERO: Duration = Duration::ZERO;
    for (backoff, value) in [
        (Backoff::exponential(MS).factor(f64::NAN), "NaN"),
        (Backoff::exponential(MS).factor(f64::INFINITY), "inf"),
        (Backoff::exponential(MS).factor(0.5), "0.5"),
        (Backoff::exponential(MS).factor(-1.0), "-1.0"),
        (Backoff::exponential(ZERO), "0ns"),
        (Backoff::fibonacci(ZERO), "0ns"),
        (Backoff::exponential(MS).max_delay(ZERO), "0ns"),
        (Backoff::fibonacci(MS).max_delay(ZERO), "0ns"),
        (Backoff::fibonacci(MS).factor(2.0), "2.0"),
        (Backoff::constant(MS).factor(2.0), "2.0"),
        (Backoff::constant(MS).jitter(Jitter::Percent(0)), "0"),
        (Backoff::constant(MS).jitter(Jitter::Percent(101)), "101"),
        (Backoff::custom(|_| MS).factor(2.0), "2.0"),
    ] {
        let error = backoff.validate("open_duration").expect_err(value);
        assert_eq!((error.field(), error.value()), ("open_duration", value));
    }
    for backoff in [
        Backoff::exponential(MS).factor(1.0),
        Backoff::fibonacci(MS),
        Backoff::constant(ZERO),
        Backoff::custom(|_| ZERO),
    ] {
        assert_eq!(backoff.validate("backoff"), Ok(()));
    }
}

#[test]
fn a_formula_survives_a_round_trip_through_words() {
    for jitter in
        [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Percent(100), Jitter::Decorrelated]
    {
        for backoff in [
            Backoff::exponential(MS).factor(3.0),
            Backoff::fibonacci(MS),
            Backoff::constant(MS).max_delay(MS),
            Backoff::custom(|_| MS).max_delay(MS),
        ] {
            let (formula, _) = backoff.jitter(jitter).into_parts();
            assert_eq!(Formula::from_words(formula.to_words()), formula);
        }
    }
}

#[test]
fn debug_shows_the_settings() {
    let shown = format!("{:?}", Backoff::fibonacci(3 * MS).jitter(Jitter::Equal));
    assert!(
        ["Fibonacci", "Equal", "3ms", "30s"].iter().all(|part| shown.contains(part)),
        "{shown}"
    );
}
