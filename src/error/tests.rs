//! Unit tests of the errors.

use super::*;

#[test]
fn a_rejection_takes_32_bytes() {
    assert_eq!(size_of::<Rejection>(), 32);
    assert_eq!(size_of::<Result<(), Rejection>>(), 32);
}

#[test]
fn a_rejection_displays_policy_reason_and_time() {
    let rejection =
        Rejection::new(Reason::CircuitOpen, "search").with_retry_after(Duration::from_millis(1500));
    assert_eq!(rejection.to_string(), "rejected by search: circuit open; retry after 1.5s");
    assert_eq!(Error::<()>::from(rejection).retry_after(), Some(Duration::from_millis(1500)));
    assert_eq!(Rejection::new(Reason::ShutDown, "search").retry_after(), None);
}

#[test]
fn the_operations_error_is_displayed_unchanged() {
    let error = Error::Operation(std::io::Error::other("no route"));
    assert_eq!(error.to_string(), "no route");
    assert_eq!(error.map_operation(|e| e.kind()).operation(), Some(&std::io::ErrorKind::Other));
}

#[test]
fn a_long_value_is_shortened_and_control_characters_are_escaped() {
    let error = ConfigError::new("name", "x".repeat(1 << 20), "a short name");
    assert_eq!(error.value(), format!("\"{}…", "x".repeat(127)));
    let full = "é".repeat(126);
    assert_eq!(ConfigError::new("name", &full, "").value(), format!("\"{full}\""));

    struct Raw(&'static str);
    impl fmt::Debug for Raw {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }
    let error = ConfigError::new("name", Raw("a\nb\u{1b}[31m"), "");
    assert_eq!(error.value(), "a\\nb\\u{1b}[31m");
}

#[test]
fn is_rejected_and_is_timeout_identify_the_kind_of_error() {
    let timed_out = TimedOut::new("fetch", Duration::from_millis(1500));
    let rejection = Rejection::new(Reason::ShutDown, "search");
    for (error, is_rejected, is_timeout) in [
        (Error::Operation(()), false, false),
        (Error::Timeout(timed_out), false, true),
        (Error::Rejected(rejection), true, false),
    ] {
        assert_eq!((error.is_rejected(), error.is_timeout()), (is_rejected, is_timeout));
    }
    assert_eq!(timed_out.to_string(), "timed out after 1.5s (fetch)");
}

#[test]
fn the_retry_time_of_a_rejection_is_rounded_up_to_seconds() {
    let rejection = Rejection::new(Reason::CircuitOpen, "search");
    assert_eq!(rejection.retry_after_secs(), None);
    for (nanos, seconds) in [(0, 0), (1, 1), (1_000_000_000, 1), (1_000_000_001, 2)] {
        let rejection = rejection.with_retry_after(Duration::from_nanos(nanos));
        assert_eq!(rejection.retry_after_secs(), Some(seconds), "{nanos} ns");
        assert_eq!(Error::<()>::from(rejection).retry_after_secs(), Some(seconds), "{nanos} ns");
    }
}

#[test]
fn debug_of_a_rejection_shows_the_time_as_a_duration() {
    let rejection =
        Rejection::new(Reason::ShutDown, "search").with_retry_after(Duration::from_secs(2));
    let expected = r#"Rejection { reason: ShutDown, policy: "search", retry_after: Some(2s) }"#;
    assert_eq!(format!("{rejection:?}"), expected);
}

#[test]
fn a_config_error_displays_the_setting_its_value_and_the_accepted_values() {
    let error = ConfigError::new("max_idle", 0, "at least 1");
    assert_eq!(error.accepted(), "at least 1");
    assert_eq!(error.to_string(), "max_idle is 0; accepted: at least 1");
}

#[test]
fn the_cause_of_an_error_is_its_kind_or_the_reason_of_the_rejection() {
    for (error, cause) in [
        (Error::Operation(()), "operation"),
        (Error::Timeout(TimedOut::new("search", Duration::from_secs(1))), "timeout"),
        (Error::Rejected(Rejection::new(Reason::Shed, "search")), Reason::Shed.as_str()),
    ] {
        assert_eq!(error.cause(), cause);
    }
}
