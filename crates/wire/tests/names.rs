//! Properties of topics and patterns that hold for every name, not only for the test vectors.

#![allow(clippy::indexing_slicing, reason = "a test that indexes beyond the end fails, as it shall")]

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "support/generate.rs"]
mod generate;

use carillon_wire::{
    Pattern, Topic,
    topic::{MAX_BYTES, MAX_TOKENS},
};
use generate::{patterns, topics};
use proptest::prelude::*;

/// Matching as the specification words it, by recursion over what is left of both, with none of the crate's code.
fn matches_naively(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) | ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, topic @ ..]) => matches_naively(pattern, topic),
        ([token, pattern @ ..], [other, topic @ ..]) => token == other && matches_naively(pattern, topic),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_match_as_a_naive_matcher_does(pattern in patterns(), topic in topics()) {
        let expected = {
            let tokens: Vec<_> = pattern.split('.').collect();
            let of_topic: Vec<_> = topic.split('.').collect();
            let hidden = topic.starts_with('$') && matches!(tokens[0], "*" | ">");
            !hidden && matches_naively(&tokens, &of_topic)
        };
        let pattern = Pattern::new(&pattern).expect("made to be one");
        prop_assert_eq!(pattern.matches(Topic::new(&topic).expect("made to be one")), expected);
    }

    #[test]
    fn a_topic_is_a_pattern_that_matches_only_itself(topic in topics(), other in topics()) {
        let (topic, other) = (Topic::new(&topic).expect("made to be one"), Topic::new(&other).expect("made to be one"));
        prop_assert_eq!(Pattern::from(topic).matches(other), topic == other);
        prop_assert_eq!(Pattern::from(topic).as_topic(), Some(topic));
    }

    #[test]
    fn a_text_is_a_topic_when_it_is_a_pattern_without_wildcards(text in "[a.*>$ é\u{a0}]{0,12}|\\PC{0,12}") {
        let expected = Pattern::new(&text).is_ok() && !text.contains(['*', '>']);
        prop_assert_eq!(Topic::new(&text).is_ok(), expected);
    }
}

#[test]
fn names_end_at_16_tokens_and_255_bytes() {
    for (tokens, bytes, expected) in [
        (MAX_TOKENS, 40, true),
        (MAX_TOKENS + 1, 40, false),
        (2, MAX_BYTES, true),
        (2, MAX_BYTES + 1, false),
        (MAX_TOKENS, MAX_BYTES, true),
    ] {
        let dots = ".t".repeat(tokens - 1);
        let name = format!("{}{dots}", "t".repeat(bytes - dots.len()));
        assert_eq!((name.split('.').count(), name.len()), (tokens, bytes));
        assert_eq!(Topic::new(&name).is_ok(), expected, "{tokens} tokens, {bytes} bytes");
        assert_eq!(Pattern::new(&name).is_ok(), expected, "{tokens} tokens, {bytes} bytes");
    }
    assert_eq!((MAX_TOKENS, MAX_BYTES), (16, 255));
}
