//! One rule's pattern, made ready to be asked often.

use std::sync::Arc;

use carillon_wire::{Pattern, PatternBuf, Topic};

/// A pattern with what is worth knowing before a topic comes. Most rules have no wildcard, or only `>` at the end, and
/// are then one comparison of bytes; no token is looked for.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    pattern: PatternBuf,
    shape: Shape,
    /// What the rule said before an identity's values were filled in.
    template: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// No wildcard.
    Topic,
    /// `>` and nothing else.
    Everything,
    /// The only wildcard is `>`, after literal tokens.
    Prefix,
    /// `*` somewhere, after so many bytes.
    Mixed { literal_bytes: usize },
}

impl Matcher {
    pub(super) fn new(pattern: PatternBuf) -> Self {
        let text = pattern.as_str();
        let shape = match text.find(['*', '>']) {
            None => Shape::Topic,
            Some(0) if text == ">" => Shape::Everything,
            Some(_) if !text.contains('*') => Shape::Prefix,
            Some(literal_bytes) => Shape::Mixed { literal_bytes },
        };
        Self { pattern, shape, template: None }
    }

    pub(super) fn from_template(pattern: PatternBuf, template: Arc<str>) -> Self {
        Self { template: Some(template), ..Self::new(pattern) }
    }

    pub(super) fn pattern(&self) -> Pattern<'_> {
        self.pattern.as_pattern()
    }

    pub(super) fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// The same answer as [`Pattern::matches`].
    pub(super) fn matches(&self, topic: Topic<'_>) -> bool {
        let (pattern, name) = (self.pattern.as_str(), topic.as_str());
        match self.shape {
            Shape::Topic => pattern == name,
            Shape::Everything => !topic.is_reserved(),
            // Up to and with the dot; a topic does not end in a dot, so what starts with it has a token more.
            Shape::Prefix => pattern.strip_suffix('>').is_some_and(|prefix| name.starts_with(prefix)),
            // Most topics differ before the first `*`, and then no token is looked for here either.
            Shape::Mixed { literal_bytes } => {
                name.as_bytes().get(..literal_bytes) == pattern.as_bytes().get(..literal_bytes)
                    && self.pattern().matches(topic)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn name(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
        vec(select(tokens), 1..5).prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn shapes_match_what_the_pattern_matches(
            start in name(&["a", "aa", "*", "$a"]),
            rest in select(&["", ".>"]),
            topic in name(&["a", "aa", "b", "$a"]),
        ) {
            for pattern in [start + rest, ">".to_owned()] {
                let pattern = PatternBuf::new(&pattern).unwrap();
                let topic = Topic::new(&topic).unwrap();
                let expected = pattern.as_pattern().matches(topic);
                prop_assert_eq!(Matcher::new(pattern.clone()).matches(topic), expected, "{} {}", pattern, topic);
            }
        }
    }
}
