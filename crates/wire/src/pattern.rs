//! Patterns: what subscriptions name.

use std::{fmt, sync::Arc};

use crate::topic::{NameError, Topic, check_name};

/// A valid pattern, borrowed: a topic in which `*` may stand for exactly one token, and `>`, as the last token, for
/// one or more.
///
/// | pattern | matches | does not match |
/// |---|---|---|
/// | `a.b` | `a.b` | `a`, `a.b.c`, `a.B` |
/// | `a.*` | `a.b` | `a`, `a.b.c` |
/// | `a.>` | `a.b`, `a.b.c` | `a` |
/// | `*.b` | `a.b` | `$a.b`: a leading wildcard never matches what is the broker's own |
/// | `>` | `a`, `a.b` | `$a`, `$a.b` |
/// | `$a.>` | `$a.b` | `a.b` |
///
/// ```
/// use carillon_wire::{Pattern, Topic};
///
/// let pattern = Pattern::new("orders.*.created")?;
/// assert!(pattern.matches(Topic::new("orders.eu.created")?));
/// # Ok::<(), carillon_wire::topic::NameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern<'a>(&'a str);

impl<'a> Pattern<'a> {
    /// Checks a pattern.
    pub fn new(name: &'a str) -> Result<Self, NameError> {
        check_name(name, |token, last| match token {
            "*" => Ok(()),
            ">" if last => Ok(()),
            ">" => Err(NameError::RestNotLast),
            _ if token.contains(['*', '>']) => Err(NameError::WildcardInToken),
            _ => Ok(()),
        })?;
        Ok(Self(name))
    }

    /// The pattern as text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The tokens between the dots, in order; at least one.
    pub fn tokens(self) -> impl DoubleEndedIterator<Item = &'a str> + Clone {
        self.0.split('.')
    }

    /// The topic that the pattern is, when it has no wildcard.
    pub fn as_topic(self) -> Option<Topic<'a>> {
        if self.0.contains(['*', '>']) { None } else { Topic::new(self.0).ok() }
    }

    /// How many tokens are `*`.
    pub fn wildcards(self) -> usize {
        self.tokens().filter(|token| *token == "*").count()
    }

    /// Whether the pattern matches the topic. This compares one pair; the router's table finds all that match.
    pub fn matches(self, topic: Topic<'_>) -> bool {
        if topic.is_reserved() && self.0.starts_with(['*', '>']) {
            return false;
        }
        let mut tokens = topic.tokens();
        for expected in self.tokens() {
            match (expected, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl<'a> From<Topic<'a>> for Pattern<'a> {
    fn from(topic: Topic<'a>) -> Self {
        Self(topic.as_str())
    }
}

impl fmt::Display for Pattern<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A valid pattern, owned; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PatternBuf(Arc<str>);

impl PatternBuf {
    /// Checks a pattern.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Pattern::new(name).map(Into::into)
    }

    /// The pattern, borrowed.
    pub fn as_pattern(&self) -> Pattern<'_> {
        Pattern(&self.0)
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Pattern<'_>> for PatternBuf {
    fn from(pattern: Pattern<'_>) -> Self {
        Self(pattern.0.into())
    }
}

impl std::str::FromStr for PatternBuf {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl fmt::Display for PatternBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
