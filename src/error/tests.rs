//! Unit tests of the errors.

use super::*;

#[test]
fn rejections_stay_small() {
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
