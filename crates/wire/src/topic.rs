//! Topics: the names that messages are published to.

use std::{fmt, sync::Arc};

/// The most tokens that a topic or pattern has.
pub const MAX_TOKENS: usize = 16;
/// The most bytes that a topic or pattern has, dots included.
pub const MAX_BYTES: usize = 255;

/// A valid topic, borrowed: 1 to [`MAX_TOKENS`] tokens joined by dots, at most [`MAX_BYTES`] bytes of UTF-8. A token
/// is not empty and has no white space, no control character, no `*` and no `>`.
///
/// A topic whose first character is `$` is the broker's own; see [`Topic::is_reserved`].
///
/// ```
/// use carillon_wire::Topic;
///
/// let topic = Topic::new("orders.eu.created")?;
/// assert_eq!(topic.tokens().count(), 3);
/// assert!(Topic::new("orders..created").is_err());
/// # Ok::<(), carillon_wire::topic::NameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic<'a>(&'a str);

impl<'a> Topic<'a> {
    /// Checks a name.
    pub fn new(name: &'a str) -> Result<Self, NameError> {
        // Each publication comes by here, and nearly all are for such a topic.
        if name.len() > MAX_BYTES || !is_plain_topic(name.as_bytes()) {
            check_topic(name)?;
        }
        Ok(Self(name))
    }

    /// The name.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The tokens between the dots, in order; at least one.
    pub fn tokens(self) -> impl DoubleEndedIterator<Item = &'a str> + Clone {
        self.0.split('.')
    }

    /// Whether the topic is the broker's own: it starts with `$`. Clients may not publish to it, and no pattern that
    /// starts with a wildcard matches it.
    pub fn is_reserved(self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A valid topic, owned; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicBuf(Arc<str>);

impl TopicBuf {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Topic::new(name).map(Into::into)
    }

    /// The topic, borrowed.
    pub fn as_topic(&self) -> Topic<'_> {
        Topic(&self.0)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Topic<'_>> for TopicBuf {
    fn from(topic: Topic<'_>) -> Self {
        Self(topic.0.into())
    }
}

impl std::str::FromStr for TopicBuf {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl fmt::Display for TopicBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a topic, or not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No text at all.
    #[error("it is empty; a name has 1 to {MAX_TOKENS} tokens joined by dots")]
    Empty,
    /// Longer than [`MAX_BYTES`].
    #[error("it has {0} bytes; a name has at most {MAX_BYTES}")]
    TooLong(usize),
    /// More tokens than [`MAX_TOKENS`].
    #[error("it has more than {MAX_TOKENS} tokens")]
    TooManyTokens,
    /// Nothing before, between or after a dot.
    #[error("it has an empty token: a dot stands first, last or beside another dot")]
    EmptyToken,
    /// White space or a control character.
    #[error("it has white space or a control character (U+{:04X})", u32::from(*.0))]
    ForbiddenCharacter(char),
    /// A wildcard where only a topic may stand.
    #[error("it has a wildcard (`*` or `>`); a topic has none, only patterns do")]
    WildcardInTopic,
    /// `*` or `>` beside other characters in a token.
    #[error("a wildcard (`*` or `>`) shares its token with other characters; it must be a whole token")]
    WildcardInToken,
    /// `>` before the last token.
    #[error("`>` stands before the last token; it matches the rest of a topic, so it must be last")]
    RestNotLast,
}

/// Whether a name is a topic at first sight: of ASCII characters of which none could be wrong. In one pass without
/// branches, as the whole check was half of what decoding a publication costs.
fn is_plain_topic(name: &[u8]) -> bool {
    let (mut is_wrong, mut dots, mut before) = (false, 0, b'.');
    for &byte in name {
        let is_dot = byte == b'.';
        is_wrong |= !byte.is_ascii_graphic() || matches!(byte, b'*' | b'>') || is_dot && before == b'.';
        dots += usize::from(is_dot);
        before = byte;
    }
    // The empty name ends as it begins, behind a dot.
    !is_wrong && before != b'.' && dots < MAX_TOKENS
}

fn check_topic(name: &str) -> Result<(), NameError> {
    check_name(name, |token, _last| match token.bytes().find(|b| matches!(b, b'*' | b'>')) {
        Some(_) => Err(NameError::WildcardInTopic),
        None => Ok(()),
    })
}

/// What topics and patterns have in common; `check_token` gets each token and whether it is the last.
pub(crate) fn check_name(
    name: &str,
    mut check_token: impl FnMut(&str, bool) -> Result<(), NameError>,
) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_BYTES {
        return Err(NameError::TooLong(name.len()));
    }
    // Nearly all names are printable ASCII; the slow walk is for the others.
    if !name.bytes().all(|b| matches!(b, 0x21..=0x7e))
        && let Some(bad) = name.chars().find(|c| c.is_whitespace() || c.is_control())
    {
        return Err(NameError::ForbiddenCharacter(bad));
    }
    let mut tokens = name.split('.').enumerate().peekable();
    while let Some((index, token)) = tokens.next() {
        if index >= MAX_TOKENS {
            return Err(NameError::TooManyTokens);
        }
        if token.is_empty() {
            return Err(NameError::EmptyToken);
        }
        check_token(token, tokens.peek().is_none())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_sight_of_a_name_is_right(name in "[a-z.*> \u{0}\u{7f}~!$é]{0,24}|(a\\.){10,18}a?") {
            let is_topic = check_topic(&name).is_ok();
            prop_assert_eq!(is_plain_topic(name.as_bytes()), is_topic && name.is_ascii());
        }
    }
}
