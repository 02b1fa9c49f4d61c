//! Routing and the checks of definitions, against brute force.

use std::sync::Arc;

use carillon_wire::{Pattern, Topic};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{definition, shared};
use crate::stream::{
    ChangeFault, DedupWindow, DefinitionFault, Durability, EpochReason, Publication, Retention, Routes, RoutesError,
    Stream, check_change, shared_topic,
};

fn patterns() -> impl Strategy<Value = String> {
    (vec(select(&["a", "b", "*", "$a"][..]), 0..4), any::<bool>()).prop_map(|(mut tokens, rest)| {
        if rest || tokens.is_empty() {
            tokens.push(">");
        }
        tokens.join(".")
    })
}

fn topics() -> impl Strategy<Value = String> {
    vec(select(&["a", "b", "c", "$a"][..]), 1..5).prop_map(|tokens| tokens.join("."))
}

fn meet(one: &[String], other: &[String]) -> bool {
    let shared = |a: &String, b: &String| shared_topic(Pattern::new(a).unwrap(), Pattern::new(b).unwrap());
    one.iter().any(|a| other.iter().any(|b| shared(a, b).is_some()))
}

fn routes(streams: &[Vec<String>]) -> Result<Routes, RoutesError> {
    let definition = |(n, patterns): (usize, &Vec<String>)| {
        shared(definition(&format!("s{n}"), &patterns.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    Routes::new(streams.iter().enumerate().map(definition).collect())
}

proptest! {
    #[test]
    fn definitions_are_refused_exactly_if_two_share_a_topic(streams in vec(vec(patterns(), 1..3), 1..5)) {
        let overlaps = (0..streams.len()).any(|n| streams[..n].iter().any(|it| meet(it, &streams[n])));
        match routes(&streams) {
            Ok(_) => prop_assert!(!overlaps),
            Err(RoutesError::Overlap(it)) => {
                prop_assert!(it.pattern.as_pattern().matches(it.topic.as_topic()));
                prop_assert!(it.other_pattern.as_pattern().matches(it.topic.as_topic()));
                prop_assert_ne!(it.stream, it.other);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn a_topic_goes_to_the_stream_whose_pattern_matches_it(
        candidates in vec(vec(patterns(), 1..3), 1..12),
        topics in vec(topics(), 32),
        asked in vec(patterns(), 8),
    ) {
        let mut streams: Vec<Vec<String>> = Vec::new();
        for candidate in candidates {
            if !streams.iter().any(|it| meet(it, &candidate)) {
                streams.push(candidate);
            }
        }
        let routes = routes(&streams).unwrap();
        for topic in &topics {
            let topic = Topic::new(topic).unwrap();
            let matches = |patterns: &Vec<String>| patterns.iter().any(|it| Pattern::new(it).unwrap().matches(topic));
            prop_assert_eq!(routes.stream_of(topic), streams.iter().position(matches), "{}", topic);
        }
        for asked in &asked {
            let pattern = Pattern::new(asked).unwrap();
            let met: Vec<_> = (0..streams.len())
                .filter(|n| meet(&streams[*n], std::slice::from_ref(asked)))
                .collect();
            prop_assert_eq!(routes.streams_meeting(pattern), met, "{}", asked);
            let holds = |it: &String| crate::stream::contains(Pattern::new(it).unwrap(), pattern);
            let containing = streams.iter().position(|patterns| patterns.iter().any(holds));
            prop_assert_eq!(routes.stream_containing(pattern), containing, "{}", asked);
        }
    }
}

#[test]
fn the_refusal_names_both_patterns_and_a_topic() {
    let definitions = [("orders", "orders.>"), ("created", "*.*.created")];
    let definitions = definitions.map(|(name, pattern)| shared(definition(name, &[pattern])));
    let refused = Routes::new(definitions.to_vec()).unwrap_err().to_string();
    assert_eq!(
        refused,
        "stream `created` (pattern `*.*.created`) and stream `orders` (pattern `orders.>`) would both keep topic \
         `orders.x.created`; a topic belongs to at most one stream: narrow one of the patterns"
    );
    let twice = vec![shared(definition("a", &["a"])), shared(definition("a", &["b"]))];
    assert!(matches!(Routes::new(twice), Err(RoutesError::SameName { .. })));
}

#[test]
fn a_definition_without_bounds_is_refused() {
    let fault = |change: fn(&mut crate::stream::Definition)| {
        let mut it = definition("a", &["a"]);
        change(&mut it);
        it.check().unwrap_err().fault
    };
    assert_eq!(fault(|it| it.retention = Retention::default()), DefinitionFault::UnboundedMemory);
    assert_eq!(fault(|it| it.patterns.clear()), DefinitionFault::Patterns { count: 0 });
    assert_eq!(fault(|it| it.max_topics = 0), DefinitionFault::MaxTopics { max: 0 });
    assert_eq!(fault(|it| it.retention.max_age_us = u64::MAX.try_into().ok()), DefinitionFault::AgeTooLong);
}

#[test]
fn a_change_that_would_lose_kept_messages_is_refused_and_others_are_not() {
    let old = shared(definition("s", &["a.>", "b"]));
    let mut stream = Stream::new(Arc::clone(&old), super::epoch("e"), EpochReason::Created);
    let disk = crate::stream::Definition { durability: Durability::Disk, ..(*old).clone() };
    let narrower = definition("s", &["a.*"]);
    for change in [None, Some(&disk), Some(&narrower)] {
        assert_eq!(check_change(&stream, change), Ok(()), "an empty stream has nothing to lose");
    }
    for name in ["a.b", "a.b.c"] {
        let topic = Topic::new(name).unwrap();
        stream.publish(1, &Publication { topic, message_id: None, expected_last: None, bytes: 1 });
    }
    let fault = |change| check_change(&stream, change).unwrap_err().fault;
    assert_eq!(fault(None), ChangeFault::Removed);
    assert_eq!(fault(Some(&disk)), ChangeFault::Durability { from: Durability::Memory, to: Durability::Disk });
    assert_eq!(fault(Some(&narrower)), ChangeFault::Topic { topic: super::topic("a.b.c") });
    let tighter = crate::stream::Definition {
        retention: Retention { max_messages: 1.try_into().ok(), ..old.retention },
        dedup: DedupWindow { time_us: 5, ids: 5 },
        max_topics: 1,
        ..definition("s", &["a.>"])
    };
    assert_eq!(check_change(&stream, Some(&tighter)), Ok(()));
}
