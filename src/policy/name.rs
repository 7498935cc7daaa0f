//! Validation and interning of policy names.

use crate::error::ConfigError;
use crate::sync::intern;

/// The maximum length of a name, in bytes.
const MAX_BYTES: usize = 128;

/// Returns `name` as a `&'static str`, for a policy's errors, events and [`Facts`](super::Facts).
///
/// Names appear in error messages, logs and metrics, so every builder applies the same rule: 1 to
/// 128 bytes without control characters. Each distinct name is allocated once and never freed.
/// Names should come from configuration, never from requests.
///
/// ```
/// use mainstay::policy;
///
/// let name = policy::name("maintenance")?;
/// assert_eq!(name, "maintenance");
/// assert_eq!(policy::name("two\nlines").unwrap_err().field(), "name");
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
///
/// # Errors
/// Returns an error if `name` is empty, is longer than 128 bytes, or contains a control character.
pub fn name(name: &str) -> Result<&'static str, ConfigError> {
    if name.is_empty() || name.len() > MAX_BYTES || name.chars().any(char::is_control) {
        return Err(ConfigError::new("name", name, "1 to 128 bytes without control characters"));
    }
    Ok(intern(name))
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;

    #[test]
    fn empty_names_long_names_and_control_characters_are_rejected() {
        let longest = "n".repeat(MAX_BYTES);
        for accepted in ["a", "orders-db", "größe", "two words", longest.as_str()] {
            assert_eq!(name(accepted), Ok(accepted));
        }
        let too_long = "n".repeat(MAX_BYTES + 1);
        for rejected in ["", "a\nb", "a\tb", "\u{1b}[31m", "a\u{7f}", "a\u{85}", &too_long] {
            assert_eq!(name(rejected).unwrap_err().field(), "name", "{rejected:?}");
        }
    }

    #[test]
    fn equal_names_share_one_allocation() {
        let again = String::from("search");
        assert!(std::ptr::eq(name("search").unwrap(), name(&again).unwrap()));
    }
}
