//! Which errors are stored, and which are replaced by a stored value.

use crate::support::*;
use mainstay::error::{Error, Reason};
use mainstay::event::{Event, EventValue};
use mainstay::time::ManualClock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn an_expired_value_replaces_every_kind_of_error_for_a_limited_time() {
    let down = Error::Operation("down");
    for error in [down, timed_out(), rejected()] {
        for (age, replaced) in [(10, true), (29, true), (30, false)] {
            let time = ManualClock::new();
            let cache = builder(&time).stale_on_error(20 * S).build().unwrap();
            call(&cache, Ok(1)).0.unwrap();
            time.advance(age * S);
            let expected = if replaced { Ok(1) } else { Err(error) };
            assert_eq!(call(&cache, Err(error)), (expected, true), "{error:?} after {age} s");
            assert_eq!(cache.snapshot().errors_replaced, u64::from(replaced));
            // The error was not stored, so the next call runs its operation.
            assert_eq!(call(&cache, Ok(2)), (Ok(2), true));
        }
    }
}

#[test]
fn without_stale_on_error_no_error_is_replaced() {
    let time = ManualClock::new();
    let cache = builder(&time).build().unwrap();
    call(&cache, Ok(1)).0.unwrap();
    time.advance(10 * S);
    assert_eq!(call(&cache, Err(rejected())), (Err(rejected()), true));
}

// A rejected call did not run the operation. If the rejection were stored, it would fail all calls
// of the next seconds.
#[test]
fn only_errors_of_the_operation_are_stored_and_only_with_a_negative_ttl() {
    let down = Error::Operation("down");
    for (ttl, error, stored) in
        [(0, down, false), (2, down, true), (2, timed_out(), false), (2, rejected(), false)]
    {
        let time = ManualClock::new();
        let cache = builder(&time).negative_ttl(ttl * S).build().unwrap();
        assert_eq!(call(&cache, Err(error)), (Err(error), true));
        let expected = if stored { (Err(error), false) } else { (Ok(1), true) };
        assert_eq!(call(&cache, Ok(1)), expected, "{error:?} for {ttl} s");
        time.advance(2 * S);
        assert_eq!(call(&cache, Ok(1)).0, Ok(1));
    }
}

#[test]
fn a_failed_refresh_is_not_repeated_during_the_negative_ttl() {
    let time = ManualClock::new();
    let cache = builder(&time).stale_on_error(20 * S).negative_ttl(3 * S).build().unwrap();
    call(&cache, Ok(1)).0.unwrap();
    time.advance(10 * S);
    assert_eq!(call(&cache, Err(Error::Operation("down"))), (Ok(1), true));
    time.advance(2 * S);
    assert_eq!(call(&cache, Ok(2)), (Ok(1), false), "no second refresh");
    time.advance(S);
    // A rejected refresh does not suppress the next one.
    assert_eq!(call(&cache, Err(rejected())), (Ok(1), true));
    assert_eq!(call(&cache, Ok(2)), (Ok(2), true));
    let snapshot = cache.snapshot();
    assert_eq!((snapshot.stale, snapshot.errors_replaced), (1, 2));
}

#[test]
fn an_error_is_stored_once_the_value_is_too_old_to_replace_it() {
    let time = ManualClock::new();
    let cache = builder(&time).stale_on_error(20 * S).negative_ttl(3 * S).build().unwrap();
    call(&cache, Ok(1)).0.unwrap();
    time.advance(30 * S);
    let down = Err(Error::Operation("down"));
    assert_eq!(call(&cache, down), (down, true));
    assert_eq!(call(&cache, Ok(2)), (down, false));
}

#[test]
fn an_expired_value_replaces_the_timeout_of_a_call() {
    let time = ManualClock::new();
    let cache = builder(&time).stale_on_error(20 * S).build().unwrap();
    let never = || std::future::pending::<Result<u32, &str>>();
    let call_timeout = || {
        let mut call = Box::pin(cache.call_timeout(&(), never, S));
        assert!(poll(&mut call).is_pending());
        time.advance(S);
        ready(call)
    };
    assert!(matches!(call_timeout(), Err(Error::Timeout(_))));
    call(&cache, Ok(1)).0.unwrap();
    time.advance(10 * S);
    assert_eq!(call_timeout(), Ok(1));

    let mut leader = Box::pin(cache.call(&(), never));
    assert!(poll(&mut leader).is_pending());
    let call_of_follower = || cache.call_blocking_timeout(&(), || Ok::<_, &str>(9), S);
    assert_eq!(call_of_follower(), Ok(1));
    time.advance(20 * S);
    assert!(matches!(call_of_follower(), Err(Error::Timeout(_))));
}

/// moka#43: after a panic of the operation, a later call with the key reached unreachable code.
#[test]
fn a_panic_unwinds_and_leaves_the_key_usable() {
    let time = ManualClock::new();
    let cache = builder(&time).build().unwrap();
    let panics = [
        catch_unwind(AssertUnwindSafe(|| {
            ready(cache.call(&(), || -> std::future::Ready<Outcome> { panic!("start") }))
        })),
        catch_unwind(AssertUnwindSafe(|| {
            ready(
                cache.call(&(), || async { if true { panic!("poll") } else { Ok::<_, &str>(1) } }),
            )
        })),
        catch_unwind(AssertUnwindSafe(|| {
            cache.call_blocking(&(), || -> Outcome { panic!("closure") })
        })),
    ];
    assert!(panics.iter().all(Result::is_err));
    assert_eq!(call(&cache, Ok(1)), (Ok(1), true));
    assert_eq!(call(&cache, Ok(2)), (Ok(1), false));
}

#[test]
fn an_expired_value_replaces_the_rejection_after_a_panic_in_another_call() {
    let time = ManualClock::new();
    let cache = builder(&time).stale_on_error(5 * S).build().unwrap();
    call(&cache, Ok(1)).0.unwrap();
    for (age, replaced) in [(14, true), (15, false)] {
        let cache = builder(&time).stale_on_error(5 * S).build().unwrap();
        call(&cache, Ok(1)).0.unwrap();
        time.advance(age * S);
        let mut follower = None;
        let leader = catch_unwind(AssertUnwindSafe(|| {
            cache.call_blocking(&(), || -> Outcome {
                let mut call = Box::pin(cache.call(&(), || async { Ok::<_, &str>(9) }));
                assert!(poll(&mut call).is_pending());
                follower = Some(call);
                panic!("closure")
            })
        }));
        assert!(leader.is_err());
        match ready(follower.unwrap()) {
            Ok(value) => assert_eq!((value, replaced), (1, true)),
            Err(Error::Rejected(rejection)) => {
                assert_eq!((rejection.reason(), replaced), (Reason::Panicked, false));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_replaced_error_is_reported_with_its_cause_and_the_age_of_the_value() {
    let time = ManualClock::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let events = seen.clone();
    let cache = builder(&time)
        .stale_on_error(20 * S)
        .observer(move |event: &Event<'_>| {
            let (cause, age) = (event.field("cause"), event.field("age"));
            assert_eq!((event.policy, event.name), ("cache", "prices"));
            events.lock().unwrap().push((event.kind, event.sequence, cause, age));
        })
        .build()
        .unwrap();
    call(&cache, Ok(1)).0.unwrap();
    time.advance(12 * S);
    call(&cache, Err(Error::Operation("down"))).0.unwrap();
    time.advance(S);
    call(&cache, Err(rejected())).0.unwrap();
    let expected = |sequence, cause, age: u64| {
        let age = EventValue::Duration(Duration::from_secs(age));
        ("stale_on_error", sequence, Some(EventValue::Label(cause)), Some(age))
    };
    let expected = [expected(1, "operation", 12), expected(2, "circuit open", 13)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn an_observer_that_panics_leaves_the_cache_usable() {
    let time = ManualClock::new();
    let observer = |_: &Event<'_>| panic!("observer");
    let cache = builder(&time).stale_on_error(20 * S).observer(observer).build().unwrap();
    call(&cache, Ok(1)).0.unwrap();
    time.advance(10 * S);
    let fails = AssertUnwindSafe(|| call(&cache, Err(rejected())));
    assert!(catch_unwind(fails).is_err());
    assert_eq!(call(&cache, Ok(2)), (Ok(2), true));
}
