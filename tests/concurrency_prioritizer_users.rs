//! The prioritizer: fairness among users of one priority, and callers of pipelines.
#![cfg(not(mainstay_loom))]

mod prioritizer_support;

use mainstay::concurrency::{BulkheadPermit, Prioritizer};
use mainstay::pipeline::Pipeline;
use mainstay::policy::{Caller, Context, Guard, PriorityClass};
use mainstay::time::{Deadline, Instant};
use prioritizer_support::{Counts, Server};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: u32 = 1000;

impl Server {
    /// Offers two calls every millisecond, which is twice the capacity. `next` returns the caller
    /// of a call and the name under which the call is counted.
    fn offer(
        &self,
        millis: u32,
        mut next: impl FnMut(u32) -> (&'static str, Caller),
    ) -> HashMap<&'static str, Counts> {
        let mut counts: HashMap<_, Counts> = HashMap::new();
        let mut running: VecDeque<(Instant, _, BulkheadPermit<'_>)> = VecDeque::new();
        for call in 0..2 * millis {
            self.time.advance(MS / 2);
            let now = self.time.now();
            while running.front().is_some_and(|(done, ..)| *done <= now) {
                running.pop_front();
            }
            let (name, caller) = next(call);
            let counts = counts.entry(name).or_default();
            counts.offered += 1;
            let Ok(permit) = self.prioritizer.try_acquire(caller) else { continue };
            match self.bulkhead.try_acquire() {
                Ok(slot) => {
                    counts.served += 1;
                    running.push_back((now + 10 * MS, permit, slot));
                }
                Err(_) => permit.rejected(),
            }
        }
        counts
    }
}

fn user(name: &'static str) -> (&'static str, Caller) {
    (name, Caller::default().with_user(name))
}

/// Returns the caller of a call: one of three light users for every tenth call, otherwise the heavy
/// user.
fn one_heavy(call: u32) -> (&'static str, Caller) {
    match call % 30 {
        0 => user("light 1"),
        10 => user("light 2"),
        20 => user("light 3"),
        _ => user("heavy"),
    }
}

#[test]
fn a_user_with_many_calls_does_not_displace_users_with_few() {
    let server = Server::new();
    server.offer(5 * SECOND, one_heavy);
    let counts = server.offer(20 * SECOND, one_heavy);
    for light in ["light 1", "light 2", "light 3"] {
        // The limiter rejects some calls in bursts, whichever user makes them.
        assert!(counts[light].share() > 0.97, "{counts:?}");
    }
    // The heavy user receives the rest of the capacity, except for random gaps.
    let served: u32 = counts.values().map(|counts| counts.served).sum();
    assert!(served > 16_000 && counts["heavy"].share() < 0.5, "{counts:?}");
}

#[test]
fn calls_without_users_are_rejected_at_the_same_rate() {
    let server = Server::new();
    let anonymous = |call| (one_heavy(call).0, Caller::default());
    server.offer(5 * SECOND, anonymous);
    let counts = server.offer(20 * SECOND, anonymous);
    assert!(counts.values().all(|counts| (0.35..0.6).contains(&counts.share())), "{counts:?}");
    assert_eq!(server.prioritizer.snapshot().users, 0);
}

#[test]
fn users_whose_calls_are_rejected_receive_equal_shares_of_the_rest() {
    let server = Server::new();
    let four_users = |call| match call % 10 {
        0..5 => user("five"),
        5..8 => user("three"),
        8 => user("one"),
        _ => user("other"),
    };
    server.offer(20 * SECOND, four_users);
    let counts = server.offer(60 * SECOND, four_users);
    // The light users need a fifth of the capacity each and receive all of it. The other two would
    // receive 62 and 37 per cent of the rest if they were rejected at the same rate.
    assert!(counts["one"].share() > 0.9 && counts["other"].share() > 0.9, "{counts:?}");
    let ratio = f64::from(counts["five"].served) / f64::from(counts["three"].served);
    assert!((0.8..1.25).contains(&ratio), "{ratio}: {counts:?}");
}

#[test]
fn a_higher_priority_takes_precedence_over_a_lower_usage() {
    let server = Server::new();
    let callers = |call| match call % 20 {
        0..9 => ("busy", Caller::new(PriorityClass::High).with_user("busy")),
        9 => ("idle", Caller::new(PriorityClass::Low).with_user("idle")),
        _ => ("batch", Caller::new(PriorityClass::Low).with_user("batch")),
    };
    server.offer(10 * SECOND, callers);
    let counts = server.offer(20 * SECOND, callers);
    assert!(counts["busy"].share() > 0.95, "{counts:?}");
    assert!(counts["batch"].share() < 0.1, "{counts:?}");
}

#[test]
fn usage_decays_while_a_user_makes_no_calls() {
    let server = Server::new();
    server.offer(20 * SECOND, one_heavy);
    // After two minutes without calls, the user that was heavy is treated like any other.
    server.time.advance(120_000 * MS);
    let two = |call| if call % 2 == 0 { user("heavy") } else { user("light 1") };
    server.offer(10 * SECOND, two);
    let counts = server.offer(20 * SECOND, two);
    let ratio = f64::from(counts["heavy"].served) / f64::from(counts["light 1"].served);
    assert!((0.9..1.1).contains(&ratio), "{counts:?}");
}

/// With a half-life of ten minutes, two minutes without calls do not balance the usage.
#[test]
fn the_half_life_of_usage_is_a_setting() {
    let server = Server::with(|builder| builder.usage_half_life(Duration::from_secs(600)));
    server.offer(20 * SECOND, one_heavy);
    server.time.advance(120_000 * MS);
    let two = |call| if call % 2 == 0 { user("heavy") } else { user("light 1") };
    server.offer(2 * SECOND, two);
    let counts = server.offer(5 * SECOND, two);
    let ratio = f64::from(counts["heavy"].served) / f64::from(counts["light 1"].served);
    assert!(ratio < 0.5, "{counts:?}");
    let seconds = Duration::from_secs;
    for (half_life, accepted) in
        [(999 * MS, false), (seconds(1), true), (seconds(86_400), true), (seconds(86_401), false)]
    {
        let builder = Prioritizer::builder().limiter(server.bulkhead.clone());
        let built = builder.usage_half_life(half_life).build();
        let field = built.err().map(|error| error.field());
        assert_eq!(field, (!accepted).then_some("usage_half_life"), "{half_life:?}");
    }
}

#[test]
fn the_half_life_can_be_changed_while_the_prioritizer_is_in_use() {
    let server = Server::with(|builder| builder.usage_half_life(Duration::from_secs(600)));
    server.offer(20 * SECOND, one_heavy);
    let settings = Prioritizer::builder();
    server.prioritizer.reconfigure(&settings.usage_half_life(Duration::from_secs(5))).unwrap();
    // Two minutes are 24 half-lives.
    server.time.advance(120_000 * MS);
    let two = |call| if call % 2 == 0 { user("heavy") } else { user("light 1") };
    server.offer(10 * SECOND, two);
    let counts = server.offer(20 * SECOND, two);
    let ratio = f64::from(counts["heavy"].served) / f64::from(counts["light 1"].served);
    assert!((0.9..1.1).contains(&ratio), "{counts:?}");
    for (builder, field) in [
        (Prioritizer::builder().usage_half_life(MS), "usage_half_life"),
        (Prioritizer::builder().update_interval(MS), "update_interval"),
        (Prioritizer::builder().max_users(0), "max_users"),
        (Prioritizer::builder().name(""), "name"),
    ] {
        assert_eq!(server.prioritizer.reconfigure(&builder).unwrap_err().field(), field);
    }
}

#[test]
fn the_update_interval_can_be_changed_while_the_prioritizer_is_in_use() {
    let server = Server::with(|builder| builder.update_interval(Duration::from_secs(60)));
    server.offer(5 * SECOND, one_heavy);
    assert_eq!(server.prioritizer.snapshot().rejection_rate, 0.0, "not updated yet");
    let settings = Prioritizer::builder().update_interval(100 * MS);
    server.prioritizer.reconfigure(&settings).unwrap();
    // The update that is due after a minute is the first with the new interval.
    server.time.advance(60_000 * MS);
    server.offer(2 * SECOND, one_heavy);
    assert!(server.prioritizer.snapshot().rejection_rate > 0.3);
}

#[test]
fn the_number_of_users_is_bounded() {
    let server = Server::with(|builder| builder.max_users(100));
    let mut users = 0;
    let counts = server.offer(20 * SECOND, |_| {
        users += 1;
        ("new", Caller::default().with_user(&users))
    });
    // Calls of new users are rejected like any others.
    assert!((0.4..0.6).contains(&counts["new"].share()), "{counts:?}");
    let stored = server.prioritizer.snapshot().users;
    assert!((1..=100).contains(&stored), "{stored}");
    for (max_users, accepted) in [(0, false), (1, true), (1_000_000, true), (1_000_001, false)] {
        let built = Prioritizer::builder().limiter(server.bulkhead.clone()).max_users(max_users);
        let field = built.build().err().map(|error| error.field());
        assert_eq!(field, (!accepted).then_some("max_users"));
    }
}

#[test]
fn the_guard_reads_the_user_of_the_context() {
    let server = Server::new();
    let cx = Context::new().with_caller(Caller::default().with_user("a"));
    drop(Guard::<(), ()>::admit_blocking(&server.prioritizer, cx).unwrap());
    assert_eq!(server.prioritizer.snapshot().users, 1);
    assert_eq!(cx.with_priority(PriorityClass::Low).caller().user(), cx.caller().user());
}

#[test]
fn a_pipeline_passes_the_caller_to_its_policies_and_its_operation() {
    let server = Server::new();
    let pipeline = Pipeline::builder().prioritizer(&server.prioritizer).build();
    let caller = Caller::new(PriorityClass::High).with_user("a");
    let view = pipeline.with_caller(caller);
    let expected = Ok::<_, mainstay::error::Error<()>>(caller);
    assert_eq!(view.call_with_blocking(|cx| Ok(cx.caller())), expected);
    assert_eq!(view.call_once_with_blocking(|cx| Ok(cx.caller())), expected);
    assert_eq!(futures::executor::block_on(view.call_with(async |cx| Ok(cx.caller()))), expected);
    let once = view.call_once_with(async |cx| Ok(cx.caller()));
    assert_eq!(futures::executor::block_on(once), expected);
    assert_eq!(server.prioritizer.snapshot().users, 1);
    assert_eq!(view.facts().len(), 1);

    let erased = pipeline.clone().boxed();
    let boxed = erased.with_caller(caller);
    assert_eq!(boxed.call_with_blocking(|cx| Ok(cx.caller())), expected);
    assert_eq!(futures::executor::block_on(boxed.call_with(async |cx| Ok(cx.caller()))), expected);

    // With a deadline, in either order.
    let clock = server.time.clock();
    let deadline = Deadline::after(clock.now(), 5 * MS);
    let both = |cx: Context| Ok::<_, ()>((cx.caller(), cx.remaining()));
    let expected = Ok((caller, Some(5 * MS)));
    assert_eq!(view.with_deadline(deadline, &clock).call_with_blocking(both), expected);
    let timed = pipeline.with_deadline(deadline, &clock);
    assert_eq!(timed.with_caller(caller).call_with_blocking(both), expected);
}
