//! Names in credentials: which are ones, and how errors and logs show them.

/// The most bytes of a subject, a role, a token's id or a claim for templates: no topic's token is longer.
pub const MAX_NAME_BYTES: usize = 255;

/// The most characters of a name that an error repeats.
const MAX_CHARS: usize = 64;

/// A name that a stranger chose: quoted, with what could forge a log line or hide text escaped, and cut.
pub(super) fn shown(name: &str) -> String {
    let escaped = name.chars().take(MAX_CHARS).flat_map(char::escape_debug);
    let mut quoted: String = std::iter::once('"').chain(escaped).collect();
    if name.chars().nth(MAX_CHARS).is_some() {
        quoted.push('…');
    }
    quoted.push('"');
    quoted
}

/// Whether `name` can be one: not empty, not too long, and nothing in it that a line of a log or a list of revocations
/// could not hold, so that whoever has it can be named there.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.trim() == name && !name.chars().any(char::is_control)
}

/// What [`is_name`] asks, for errors.
pub(super) const NAME_FORM: &str =
    "a text of 1 to 255 bytes without control characters, and without white space at either end";

/// Configured names as a list.
pub(super) fn shown_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_quotes_and_direction_marks_are_escaped() {
        assert_eq!(shown("a\n\u{1b}[31m\"\u{202e}b"), r#""a\n\u{1b}[31m\"\u{202e}b""#);
    }

    #[test]
    fn what_a_list_of_revocations_cannot_hold_is_no_name() {
        for good in ["a", "spiffe://prod/api", "two words", &"x".repeat(255)] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in ["", " a", "a\u{a0}", "a\nsubject b", "a\0", &"x".repeat(256)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shown(&"é".repeat(64)), format!("\"{}\"", "é".repeat(64)));
        assert_eq!(shown(&"é".repeat(65)), format!("\"{}…\"", "é".repeat(64)));
    }
}
