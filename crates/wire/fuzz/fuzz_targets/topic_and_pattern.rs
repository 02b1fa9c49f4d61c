//! Names from outside: a pattern and a topic, with a line feed (which no name has) in between, are checked and matched
//! as the specification words it.
#![no_main]

use carillon_wire::{
    Pattern, Topic,
    topic::{MAX_BYTES, MAX_TOKENS},
};
use libfuzzer_sys::fuzz_target;

fn matches_naively(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) | ([">"], [_, ..]) => true,
        (["*", pattern @ ..], [_, topic @ ..]) => matches_naively(pattern, topic),
        ([token, pattern @ ..], [other, topic @ ..]) => token == other && matches_naively(pattern, topic),
        _ => false,
    }
}

fuzz_target!(|text: &str| {
    let (pattern_name, topic_name) = text.split_once('\n').unwrap_or((text, text));
    for name in [pattern_name, topic_name] {
        let has_wildcard = name.contains(['*', '>']);
        assert_eq!(Topic::new(name).is_ok(), Pattern::new(name).is_ok() && !has_wildcard);
    }
    let Ok(pattern) = Pattern::new(pattern_name) else { return };
    assert!(pattern.as_str().len() <= MAX_BYTES && pattern.tokens().count() <= MAX_TOKENS);
    assert!(pattern.wildcards() <= pattern.tokens().count());
    let Ok(topic) = Topic::new(topic_name) else { return };
    let tokens: Vec<_> = pattern_name.split('.').collect();
    let is_hidden = topic_name.starts_with('$') && matches!(tokens.first(), Some(&("*" | ">")));
    let expected = !is_hidden && matches_naively(&tokens, &topic_name.split('.').collect::<Vec<_>>());
    assert_eq!(pattern.matches(topic), expected);
});
