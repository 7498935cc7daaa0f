//! Tests of the GCRA computations, without threads or clocks.

use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn quota(count: u32, period: u64, burst: u32) -> Quota {
    Quota::per(count, Duration::from_nanos(period)).burst(burst)
}

fn at(nanos: u64) -> Nanos {
    Nanos::new(nanos)
}

/// Returns the TAT after `n` tokens are taken at `now`, whether they are available or not.
fn used(gcra: &Gcra, tat: u64, now: u64, n: u32) -> u64 {
    Gcra::start(tat, now) + gcra.cost(n)
}

/// Generates accepted quotas.
fn quotas() -> impl Strategy<Value = (Quota, Gcra)> {
    let count = prop_oneof![1_u32..100, 1_u32..1_000_000_000];
    let period = prop_oneof![1_u64..1000, Just(1_000_000_000), 1_u64..100_000_000_000_000];
    let burst = prop_oneof![1_u32..20, any::<u32>()];
    (count, period, burst).prop_filter_map("out of range", |(count, period, burst)| {
        let quota = quota(count, period, burst);
        Gcra::new(&quota).ok().filter(|gcra| gcra.burst > 0).map(|gcra| (quota, gcra))
    })
}

#[test]
fn a_quotient_is_rounded_up_unless_it_is_exact() {
    let one = 1_u64 << FRACTION_BITS;
    for (above, below, expected) in [
        (0, 5, 0),
        (5, 5, one),
        (1, 2, one / 2),
        (3, 2, one / 2 * 3),
        (1, 3, one / 3 + 1),
        (2, 3, (one / 3) * 2 + 2),
        (u128::from(u64::MAX), 1 << 63, u64::MAX),
        (u128::from(u64::MAX), (1 << 63) + 1, u64::MAX - 1),
    ] {
        assert_eq!(fixed_point(above, below), expected, "{above} / {below}");
    }
}

#[test]
fn quotas_out_of_range_are_rejected() {
    let year = Duration::from_secs(365 * 24 * 3600);
    let table = [
        (Quota::per_second(1), None),
        (Quota::per_second(0), None),
        (Quota::unlimited(), None),
        (Quota::per_second(1_000_000_000), None),
        (Quota::per_second(1_000_000_001), Some("quota")),
        (Quota::per_second(u32::MAX), Some("quota")),
        (Quota::per_minute(u32::MAX), None),
        (Quota::per_second(10).burst(0), Some("burst")),
        (Quota::per_second(10).burst(u32::MAX), Some("quota")),
        (Quota::per_second(1_000).burst(u32::MAX), None),
        (Quota::per(1, Duration::ZERO), Some("period")),
        (Quota::with_period(4 * year), None),
        (Quota::with_period(10 * year), Some("quota")),
        (Quota::with_period(Duration::MAX), Some("quota")),
        (Quota::per_hour(1).burst(36_500), None),
        (Quota::per_hour(1).burst(u32::MAX), Some("quota")),
    ];
    for (quota, field) in table {
        assert_eq!(Gcra::new(&quota).err().map(|error| error.field()), field, "{quota:?}");
    }
}

/// An interval of 10.0000011 ns. Rounded up to nanoseconds, the rate would be 9 % too low.
#[test]
fn an_interval_is_not_rounded_to_nanoseconds() {
    // A burst of 2 compensates for the resolution of the clock.
    let gcra = Gcra::new(&Quota::per_second(99_999_989).burst(2)).unwrap();
    let start = 1_000_000_000;
    let (mut tat, mut granted) = (gcra.units(at(start)) + gcra.cost(2), 0_u64);
    for nanos in start..=start + 5_000_000 {
        let now = gcra.units(at(nanos));
        if let Some(next) = gcra.take(Gcra::start(tat, now), now, 1) {
            (tat, granted) = (next, granted + 1);
        }
    }
    assert_eq!(granted, 499_999);
}

#[test]
fn parameters_survive_conversion_to_words() {
    for quota in [Quota::per_minute(7).burst(3), Quota::unlimited(), Quota::per_second(0)] {
        let gcra = Gcra::new(&quota).unwrap();
        assert_eq!(Gcra::from_words(gcra.to_words()), gcra);
    }
    assert!(Gcra::INVALID.is_invalid());
    assert!(!Gcra::NOTHING.is_invalid() && !Gcra::UNLIMITED.is_invalid());
}

#[test]
fn the_scaled_clock_stops_at_its_end() {
    for gcra in [quota(1, 1 << 20, 1), quota(3, 1_000_000, 1)].map(|q| Gcra::new(&q).unwrap()) {
        let end = gcra.nanos(CLOCK_END).unwrap();
        assert_eq!(gcra.units(end), CLOCK_END);
        assert!(gcra.units(at(end.get() - 1)) < CLOCK_END);
        for later in [end.get() + 1, end.get() * 2, u64::MAX] {
            assert_eq!(gcra.units(at(later)), CLOCK_END);
        }
        assert_eq!(gcra.nanos(CLOCK_END + 1), None);
        // At the end of the clock, every TAT still fits into its bits.
        assert!(gcra.debit(u64::MAX >> 4, CLOCK_END, u32::MAX) < 1 << TAT_BITS);
        assert!(gcra.empty(CLOCK_END) < 1 << TAT_BITS);
    }
    // With a quota of zero, the scaled clock stays at 0.
    assert_eq!(Gcra::NOTHING.nanos(0), Some(at(0)));
    assert_eq!(Gcra::NOTHING.nanos(1), None);
    assert_eq!(Gcra::NOTHING.units(at(u64::MAX)), 0);
}

#[test]
fn the_first_nanosecond_of_a_unit_is_exact() {
    // Three units take two nanoseconds, so some units begin within a nanosecond.
    let gcra = Gcra::new(&quota(3, 4, 1)).unwrap();
    assert_eq!(gcra.cost(1), 2);
    let table = [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4)];
    for (units, nanos) in table {
        assert_eq!(gcra.nanos(units), Some(at(nanos)), "{units}");
        assert!(gcra.units(at(nanos)) >= units, "{units}");
        assert!(nanos == 0 || gcra.units(at(nanos - 1)) < units, "{units}");
    }
}

#[test]
fn a_debit_adds_to_the_debt_up_to_its_maximum() {
    let gcra = Gcra::new(&quota(1, 1024, 4)).unwrap();
    let token = gcra.cost(1);
    let now = 1000;
    let max = now + MAX_AHEAD;
    let table = [
        // TAT, tokens, next
        (0, 0, now),
        (0, 1, now + token),
        (now + token, 2, now + 3 * token),
        (max - token, 1, max),
        (max - token, 2, max),
        (max - 1, 0, max - 1),
        (max, 1, max),
        // An existing debt above the maximum is not reduced.
        (max + 1, 0, max + 1),
        (max + 7, 3, max + 7),
    ];
    for (tat, n, next) in table {
        assert_eq!(gcra.debit(tat, now, n), next, "{tat} {n}");
    }
    assert_eq!(Gcra::UNLIMITED.debit(7, now, 3), 7);
}

#[test]
fn a_late_waiter_is_counted_from_its_scheduled_time_for_up_to_20_ms() {
    // One unit per nanosecond.
    let gcra = Gcra::new(&quota(1, 1 << 20, 4)).unwrap();
    let (now, ms) = (1_000_000_000, 1_000_000);
    for (tat, start) in [
        (now + 5, now + 5),
        (now, now),
        (now - ms, now - ms),
        (now - 20 * ms, now - 20 * ms),
        (now - 20 * ms - 1, now - 20 * ms),
        (0, now - 20 * ms),
    ] {
        assert_eq!(gcra.paced_start(tat, now), start, "{tat}");
    }
    // A request more than 20 ms after the TAT is counted from now.
    for (tat, start) in [
        (now + 5, now + 5),
        (now - ms, now - ms),
        (now - 20 * ms, now - 20 * ms),
        (now - 20 * ms - 1, now),
        (0, now),
    ] {
        assert_eq!(gcra.catch_up_start(tat, now), start, "{tat}");
    }
    // The tokens of the burst are available at the scheduled time.
    assert_eq!(gcra.take(now - ms, now, 4), Some(now - ms + gcra.cost(4)));
    assert_eq!(gcra.take(now + 1, now, 4), None);
}

#[test]
fn a_clock_counts_as_set_back_only_beyond_the_burst_the_debt_and_two_seconds() {
    let gcra = Gcra::new(&quota(1, 1 << 20, 4)).unwrap();
    let (now, debt) = (7, 1000);
    let furthest = gcra.empty(now) + debt + MAX_CLOCK_SKEW;
    assert!(!gcra.is_ahead(furthest, now, debt));
    assert!(gcra.is_ahead(furthest + 1, now, debt));
    assert!(!gcra.is_ahead(0, now, 0));
    assert_eq!((gcra.debt(gcra.empty(now), now), gcra.debt(gcra.empty(now) + 3, now)), (0, 3));
}

proptest! {
    #[test]
    fn the_clock_is_scaled_to_units((quota, gcra) in quotas(), nanos in 0_u64..1 << 58) {
        let rate = quota.rate.unwrap();
        let (count, period) = (u128::from(rate.count), rate.period.as_nanos());
        // The scale is rounded up, by less than one unit in the last place.
        let scaled = count << (gcra.token_bits + FRACTION_BITS);
        let exact = u128::from(gcra.scale) * period;
        prop_assert!(exact >= scaled && exact - scaled < period);
        prop_assert!(gcra.scale >= 1 << FRACTION_BITS);
        // `nanos` is the first nanosecond at which the clock has reached the units.
        let units = gcra.units(at(nanos));
        let first = gcra.nanos(units).unwrap().get();
        prop_assert!(first <= nanos && gcra.units(at(first)) == units);
        prop_assert!(first == 0 || gcra.units(at(first - 1)) < units);
    }

    /// Windows are measured by the clock, which may go forward or back.
    #[test]
    fn no_window_holds_more_than_the_burst_and_the_rate(
        (quota, gcra) in quotas(),
        steps in proptest::collection::vec((-20_i64..40, 1_u32..6), 1..120),
        grain in 0_u32..40,
    ) {
        let mut nanos = 1_u64 << 50;
        let mut tat = 0;
        let mut granted = Vec::new();
        for (step, n) in steps {
            nanos = nanos.saturating_add_signed(step << grain >> 4);
            let n = n.saturating_mul((gcra.burst / 4).max(1));
            if !gcra.is_ordinary(n) {
                continue;
            }
            let now = gcra.units(at(nanos));
            if let Some(next) = gcra.take(Gcra::start(tat, now), now, n) {
                prop_assert!(next > tat, "the TAT went back");
                tat = next;
                granted.push((nanos, n));
            }
        }
        check_windows(&quota, &gcra, &granted, 0)?;
    }

    /// Mixes waiters that poll late, waiters that enter the queue, and other requests. Any window
    /// contains at most the tokens of 20 ms beyond the limit. A window from the start never exceeds
    /// the limit.
    #[test]
    fn late_waiters_are_granted_no_more_than_the_tokens_of_20_ms_beyond_the_limit(
        count in 1_u32..50_000,
        burst in 1_u32..6,
        steps in proptest::collection::vec((0_u64..60_000_000, 0_u8..8, 1_u32..4), 1..200),
    ) {
        let quota = Quota::per_second(count).burst(burst);
        let gcra = Gcra::new(&quota).unwrap();
        let start = 1 << 40;
        let (mut nanos, mut tat, mut catching_up) = (start, 0, false);
        let mut queue = std::collections::VecDeque::new();
        let mut granted: Vec<(u64, u32)> = Vec::new();
        for (step, action, n) in steps {
            // From 0 to 60 ms; most steps are short.
            nanos += step >> (4 * u32::from(action));
            let (now, n) = (gcra.units(at(nanos)), n.min(burst));
            match action {
                // The queue is polled.
                0..3 => {
                    while let Some(n) = queue.front().copied() {
                        let start = gcra.paced_start(tat, now);
                        let Some(next) = gcra.take(start, now, n) else { break };
                        queue.pop_front();
                        granted.push((nanos, n));
                        (tat, catching_up) = (next, next < now);
                    }
                }
                // A new request. Some requests wait if their tokens are not available, others do
                // not.
                _ if queue.is_empty() => {
                    let from = match catching_up {
                        true => gcra.catch_up_start(tat, now),
                        false => Gcra::start(tat, now),
                    };
                    match gcra.take(from, now, n) {
                        Some(next) => {
                            granted.push((nanos, n));
                            (tat, catching_up) = (next, next < now);
                        }
                        None if action < 6 => queue.push_back(n),
                        None => {}
                    }
                }
                _ => queue.push_back(n),
            }
        }
        check_windows(&quota, &gcra, &granted, MAX_CATCH_UP_NANOS)?;
        let mut sum = 0;
        for (at, n) in &granted {
            sum += u128::from(*n);
            let earned = u128::from(count) * u128::from(at - start + 1);
            prop_assert!(sum * 1_000_000_000 <= u128::from(burst) * 1_000_000_000 + earned);
        }
    }

    /// Compares the limiter with one that never granted the refunded tokens.
    #[test]
    fn a_refund_never_makes_the_limiter_fuller_than_without_the_grant(
        steps in proptest::collection::vec(
            (0_u64..30, 1_u32..6, any::<bool>(), 0_usize..8, 1_u32..6), 1..60,
        ),
    ) {
        let gcra = Gcra::new(&quota(1, 16, 8)).unwrap();
        let mut now = 0;
        let (mut tat, mut refunded) = (0, 0);
        // The time and the tokens of each grant, and its TAT and the refunds before it.
        let mut grants: Vec<(u64, u32)> = Vec::new();
        let mut grant_states: Vec<(u64, u64)> = Vec::new();
        for (step, n, refund, index, returned) in steps {
            now += step;
            if !refund {
                if let Some(next) = gcra.take(Gcra::start(tat, now), now, n) {
                    grant_states.push((next, refunded));
                    grants.push((now, n));
                    tat = next;
                }
            } else if let Some(index) = grant_states.len().checked_sub(1 + index) {
                let (granted_tat, before) = grant_states[index];
                let returned = returned.min(grants[index].1);
                let granted_tat = granted_tat.saturating_sub(refunded - before);
                let next = gcra.refund(tat, now, granted_tat, returned);
                refunded += tat - next;
                tat = next;
                grants[index].1 -= returned;
            }
            let without = grants.iter().fold(0, |tat, (when, n)| match n {
                0 => tat,
                n => used(&gcra, tat, *when, *n),
            });
            prop_assert!(tat.max(now) >= without.max(now), "{} is fuller than {}", tat, without);
        }
    }

    #[test]
    fn used_tokens_stay_used_when_the_quota_changes(
        (_, old) in quotas(), (_, new) in quotas(), nanos in 1_u64 << 40..1 << 50, n in 0_u32..50,
    ) {
        let n = n.min(old.burst).min(new.burst);
        let tat = used(&old, 0, old.units(at(nanos)), n);
        let converted = new.convert(&old, tat, at(nanos));
        prop_assert_eq!(converted, new.units(at(nanos)) + new.cost(n));
        prop_assert_eq!(new.remaining(converted, new.units(at(nanos))), new.burst - n);
    }
}

/// Checks that every window from one grant to another contains at most a burst plus the tokens of
/// the window, of one nanosecond and of `extra` nanoseconds.
fn check_windows(
    quota: &Quota,
    gcra: &Gcra,
    granted: &[(u64, u32)],
    extra: u64,
) -> Result<(), TestCaseError> {
    let rate = quota.rate.unwrap();
    let (count, period) = (u128::from(rate.count), rate.period.as_nanos());
    for from in granted.iter().map(|(at, _)| *at) {
        for to in granted.iter().map(|(at, _)| *at).filter(|to| *to >= from) {
            let within = granted.iter().filter(|(at, _)| (from..=to).contains(at));
            let sum: u128 = within.map(|(_, n)| u128::from(*n)).sum();
            let window = u128::from(to - from + 1 + extra);
            let bound = u128::from(gcra.burst) * period + count * window;
            prop_assert!(sum * period <= bound, "{} from {} to {}", sum, from, to);
        }
    }
    Ok(())
}
