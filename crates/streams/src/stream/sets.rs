//! Patterns as sets of topics: whether two meet, and in which topic; whether one contains the other.

use std::iter;

use carillon_wire::{Pattern, Topic, TopicBuf, topic::MAX_TOKENS};

/// What stands where both patterns leave a token open: as short as a token can be.
const FREE: &str = "x";

/// A topic that both patterns match, or `None` if there is none. The decision is exact, the bounds of a topic's tokens
/// and bytes included.
///
/// A longer topic has to satisfy all that a shorter one has, and more bytes only hurt. So the shortest common length
/// with the shortest free tokens decides, and is the witness.
pub fn shared_topic(one: Pattern<'_>, other: Pattern<'_>) -> Option<TopicBuf> {
    let tokens = shortest(one).max(shortest(other));
    if !can_have(one, tokens) || !can_have(other, tokens) {
        return None;
    }
    let mut shared = Vec::with_capacity(tokens);
    for pair in iter::zip(places(one), places(other)).take(tokens) {
        shared.push(match pair {
            (Some(one), Some(other)) if one != other => return None,
            (Some(literal), _) | (None, Some(literal)) => literal,
            (None, None) => FREE,
        });
    }
    let shared = shared.join(".");
    // The tokens were valid before, so this is about their bytes together; `matches` knows what `$` means.
    let topic = Topic::new(&shared).ok()?;
    (one.matches(topic) && other.matches(topic)).then(|| topic.into())
}

/// Whether `outer` matches every topic that `inner` matches.
///
/// Exact but for the bound of a topic's bytes: a pattern so long that its wildcards have room for a few bytes only may
/// be called not contained although nothing that fits is outside, never the other way.
pub fn contains(outer: Pattern<'_>, inner: Pattern<'_>) -> bool {
    if starts_with_wildcard(outer) && inner.as_str().starts_with('$') {
        return false;
    }
    let mut tokens = inner.tokens().enumerate();
    for expected in outer.tokens() {
        match (expected, tokens.next()) {
            (">", Some(_)) => return true,
            // The last of the tokens that a topic can have: more than one cannot follow, so `>` is `*` there.
            ("*", Some((index, token))) if token != ">" || index + 1 == MAX_TOKENS => {}
            (literal, Some((_, token))) if literal == token && literal != "*" => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// The tokens of the shortest topic that a pattern matches. `>` stands for one or more, so it counts as one.
fn shortest(pattern: Pattern<'_>) -> usize {
    pattern.tokens().count()
}

fn can_have(pattern: Pattern<'_>, tokens: usize) -> bool {
    shortest(pattern) == tokens || has_rest(pattern) && tokens <= MAX_TOKENS
}

/// What a pattern asks of each token, in order: a literal, or nothing. Without end if it has a `>`.
fn places(pattern: Pattern<'_>) -> impl Iterator<Item = Option<&str>> {
    let places = pattern.tokens().map(|token| (!matches!(token, "*" | ">")).then_some(token));
    let rest = has_rest(pattern).then(|| iter::repeat(None));
    places.chain(rest.into_iter().flatten())
}

/// A valid pattern has `>` only as its last token.
fn has_rest(pattern: Pattern<'_>) -> bool {
    pattern.as_str().ends_with('>')
}

fn starts_with_wildcard(pattern: Pattern<'_>) -> bool {
    pattern.as_str().starts_with(['*', '>'])
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn pattern(name: &str) -> Pattern<'_> {
        Pattern::new(name).unwrap()
    }

    fn patterns() -> impl Strategy<Value = String> {
        (vec(select(&["a", "b", "*", "$a"][..]), 0..4), any::<bool>()).prop_map(|(mut tokens, rest)| {
            if rest || tokens.is_empty() {
                tokens.push(">");
            }
            tokens.join(".")
        })
    }

    /// Every topic of up to 5 tokens over an alphabet that has a token which no pattern names.
    fn all_topics() -> Vec<String> {
        let alphabet = ["a", "b", "c", "$a"];
        let mut all: Vec<String> = Vec::new();
        let mut longest: Vec<String> = alphabet.map(String::from).to_vec();
        for _ in 0..5 {
            all.extend(longest.iter().cloned());
            longest = longest.iter().flat_map(|it| alphabet.map(|token| format!("{it}.{token}"))).collect();
        }
        all
    }

    proptest! {
        #[test]
        fn what_two_patterns_share_is_what_brute_force_finds(pairs in vec((patterns(), patterns()), 8)) {
            let topics = all_topics();
            for (one, other) in &pairs {
                let (one, other) = (pattern(one), pattern(other));
                let both = |topic: &String| {
                    let topic = Topic::new(topic).unwrap();
                    one.matches(topic) && other.matches(topic)
                };
                let found = shared_topic(one, other);
                prop_assert_eq!(found.is_some(), topics.iter().any(both), "{} {}", one, other);
                if let Some(topic) = found {
                    prop_assert!(one.matches(topic.as_topic()) && other.matches(topic.as_topic()));
                }
                let outside = |topic: &String| {
                    let topic = Topic::new(topic).unwrap();
                    other.matches(topic) && !one.matches(topic)
                };
                prop_assert_eq!(contains(one, other), !topics.iter().any(outside), "{} in {}", other, one);
            }
        }
    }

    #[test]
    fn patterns_whose_shared_topics_would_all_be_too_long_do_not_meet() {
        let (one, other) = (format!("{}.*", "a".repeat(200)), format!("*.{}", "b".repeat(200)));
        assert_eq!(shared_topic(pattern(&one), pattern(&other)), None);
        let (one, other) = (format!("{}.*", "a".repeat(127)), format!("*.{}", "b".repeat(127)));
        assert_eq!(shared_topic(pattern(&one), pattern(&other)).unwrap().as_str().len(), 255);
    }

    #[test]
    fn the_sixteenth_token_ends_a_topic() {
        let prefix = ["a"; 15].join(".");
        assert!(contains(pattern(&format!("{prefix}.*")), pattern(&format!("{prefix}.>"))));
        let sixteen = ["a"; 16].join(".");
        assert_eq!(shared_topic(pattern(&sixteen), pattern(">")).unwrap().as_str(), sixteen);
        assert_eq!(shared_topic(pattern(&sixteen), pattern("b.>")), None);
    }
}
