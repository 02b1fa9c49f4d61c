//! Holds the codec to the test vectors of `proto/vectors/`, which clients in other languages are held to as well.

#![allow(clippy::indexing_slicing, reason = "a test that indexes beyond the end fails, as it shall")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use carillon_wire::{
    Pattern, Topic,
    decode::{broker_messages, client_messages},
    topic::NameError,
};
use serde_json::{Value, json};
use support::{broker_json, broker_outcome, bytes, client_json, client_outcome, text, to_hex, vectors};

/// Decodes the one message that a vector holds, and gives its JSON form and the bytes that encoding it again gives.
fn client_message(vector: &Value) -> (Value, String) {
    let bytes = bytes(vector);
    let mut found = client_messages(&bytes);
    let message = found.next().expect("bytes").unwrap_or_else(|error| panic!("{}: {error}", vector["name"]));
    assert_eq!(found.next(), None, "{}", vector["name"]);
    let mut encoded = Vec::new();
    message.encode(&mut encoded);
    (client_json(&message), to_hex(&encoded))
}

fn broker_message(vector: &Value) -> (Value, String) {
    let bytes = bytes(vector);
    let mut found = broker_messages(&bytes);
    let message = found.next().expect("bytes").unwrap_or_else(|error| panic!("{}: {error}", vector["name"]));
    assert_eq!(found.next(), None, "{}", vector["name"]);
    let mut encoded = Vec::new();
    message.encode(&mut encoded);
    (broker_json(&message), to_hex(&encoded))
}

/// Canonical vectors are what encoding gives; the others are other forms of what encoding gives.
fn assert_messages(file: &str, read: impl Fn(&Value) -> (Value, String)) {
    for vector in vectors(file, "canonical") {
        let (message, encoded) = read(&vector);
        assert_eq!(message, vector["message"], "{}", vector["name"]);
        assert_eq!(encoded, text(&vector, "hex"), "{}", vector["name"]);
    }
    for vector in vectors(file, "decode_only") {
        let (message, encoded) = read(&vector);
        assert_eq!(message, vector["message"], "{}", vector["name"]);
        let again = json!({"name": vector["name"], "hex": encoded});
        assert_eq!(read(&again).0, vector["message"], "{}, encoded again", vector["name"]);
    }
}

#[test]
fn client_messages_say_what_the_vectors_say() {
    assert_messages("client_messages.json", client_message);
}

#[test]
fn broker_messages_say_what_the_vectors_say() {
    assert_messages("broker_messages.json", broker_message);
}

#[test]
fn requests_are_refused_with_the_code_and_id_of_the_vectors() {
    for vector in vectors("invalid.json", "refused_by_the_broker") {
        let bytes = bytes(&vector);
        let found: Vec<_> = client_messages(&bytes).map(|found| client_outcome(&found)).collect();
        let expected = json!({"refused": {"op": vector["op"], "code": vector["code"], "id": vector["id"]}});
        assert_eq!(found, [expected], "{}", vector["name"]);
    }
}

#[test]
fn clients_pass_over_what_the_vectors_say_they_do() {
    for (list, outcome) in [("skipped_by_a_client", "skipped"), ("invalid_for_a_client", "invalid")] {
        for vector in vectors("invalid.json", list) {
            let bytes = bytes(&vector);
            let found: Vec<_> = broker_messages(&bytes).map(|found| broker_outcome(&found)).collect();
            assert_eq!(found, [json!({outcome: {"op": vector["op"]}})], "{}", vector["name"]);
        }
    }
}

#[test]
fn malformed_bytes_end_both_directions() {
    for vector in vectors("invalid.json", "malformed") {
        let bytes = bytes(&vector);
        let expected = [json!({"malformed": vector["why"]})];
        let from_client: Vec<_> = client_messages(&bytes).map(|found| client_outcome(&found)).collect();
        assert_eq!(from_client, expected, "{}", vector["name"]);
        let from_broker: Vec<_> = broker_messages(&bytes).map(|found| broker_outcome(&found)).collect();
        assert_eq!(from_broker, expected, "{}", vector["name"]);
    }
}

#[test]
fn batches_give_their_outcomes_in_order() {
    for vector in vectors("batches.json", "batches") {
        let bytes = bytes(&vector);
        let found: Vec<_> = match text(&vector, "from") {
            "client" => client_messages(&bytes).map(|found| client_outcome(&found)).collect(),
            "broker" => broker_messages(&bytes).map(|found| broker_outcome(&found)).collect(),
            other => panic!("{}: nobody is called {other}", vector["name"]),
        };
        assert_eq!(Value::from(found), vector["outcomes"], "{}", vector["name"]);
    }
}

#[test]
fn vector_names_are_unique() {
    for (file, lists) in [
        ("client_messages.json", &["canonical", "decode_only"][..]),
        ("broker_messages.json", &["canonical", "decode_only"]),
        ("invalid.json", &["refused_by_the_broker", "skipped_by_a_client", "invalid_for_a_client", "malformed"]),
        ("batches.json", &["batches"]),
    ] {
        let all: Vec<_> = lists.iter().flat_map(|list| vectors(file, list)).collect();
        let mut seen = std::collections::HashSet::new();
        for vector in &all {
            assert!(seen.insert(text(vector, "name")), "{file} has two vectors {}", vector["name"]);
        }
    }
}

fn why(error: NameError) -> &'static str {
    match error {
        NameError::Empty => "empty",
        NameError::TooLong(_) => "too_long",
        NameError::TooManyTokens => "too_many_tokens",
        NameError::EmptyToken => "empty_token",
        NameError::ForbiddenCharacter(_) => "forbidden_character",
        NameError::WildcardInTopic => "wildcard_in_topic",
        NameError::WildcardInToken => "wildcard_in_token",
        NameError::RestNotLast => "rest_not_last",
        other => panic!("the vectors have no name for {other:?}"),
    }
}

#[test]
fn topics_follow_the_grammar_of_the_vectors() {
    for vector in vectors("topics.json", "valid") {
        let topic = Topic::new(text(&vector, "topic")).unwrap_or_else(|error| panic!("{vector}: {error}"));
        assert_eq!(Value::from(topic.tokens().collect::<Vec<_>>()), vector["tokens"], "{vector}");
        assert_eq!(Value::from(topic.is_reserved()), vector["reserved"], "{vector}");
    }
    for vector in vectors("topics.json", "invalid") {
        assert_eq!(Topic::new(text(&vector, "topic")).map_err(why), Err(text(&vector, "why")), "{vector}");
    }
}

#[test]
fn patterns_follow_the_grammar_of_the_vectors() {
    for vector in vectors("patterns.json", "valid") {
        let pattern = Pattern::new(text(&vector, "pattern")).unwrap_or_else(|error| panic!("{vector}: {error}"));
        assert_eq!(Value::from(pattern.wildcards()), vector["wildcards"], "{vector}");
        assert_eq!(Value::from(pattern.as_topic().is_some()), vector["is_topic"], "{vector}");
    }
    for vector in vectors("patterns.json", "invalid") {
        assert_eq!(Pattern::new(text(&vector, "pattern")).map_err(why), Err(text(&vector, "why")), "{vector}");
    }
}

#[test]
fn patterns_match_as_the_vectors_say() {
    for vector in vectors("patterns.json", "matching") {
        let pattern = Pattern::new(text(&vector, "pattern")).unwrap_or_else(|error| panic!("{vector}: {error}"));
        for (list, expected) in [("matches", true), ("does_not_match", false)] {
            for topic in vector[list].as_array().expect("a list of topics") {
                let topic = topic.as_str().and_then(|topic| Topic::new(topic).ok());
                let topic = topic.unwrap_or_else(|| panic!("{vector}: `{list}` holds something that is no topic"));
                assert_eq!(pattern.matches(topic), expected, "{pattern} {list} {topic}");
            }
        }
    }
}
