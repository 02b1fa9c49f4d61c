use std::{fmt::Write as _, num::NonZero};

use carillon_streams::stream::{Durability, Retention, Routes};
use carillon_wire::PatternBuf;

use super::*;

/// Sources with a whole file, a data directory and this.
fn with(toml: &str) -> Given {
    file(&format!("data_dir = \"data\"\n{WHOLE}\n{toml}"))
}

#[test]
fn there_is_no_stream_by_default_nor_in_development() {
    let config = load(&file(WHOLE).sources).unwrap();
    let settings = config.stream_settings();
    assert!(settings.definitions.is_empty() && settings.directory.is_none());
    let config = load(&with_dev(file("")).sources).unwrap();
    assert!(config.streams.is_empty() && config.stream_warnings().is_empty());
}

#[test]
fn every_key_reaches_the_definition() {
    // Every number another one, so that no two can be mixed up unseen.
    let config = load(
        &with(
            "[streams.orders]\ntopics = [\"orders.>\", \"returns.*\"]\ndurability = \"memory\"\nmax_age_seconds = 1.5\n\
             max_bytes = 2000\nmax_messages = 300\nmax_messages_per_topic = 40\ndedup_seconds = 5\ndedup_ids = 6\n\
             max_topics = 7\n[streams.audit]\ntopics = [\"audit\"]\n[store]\nsegment_bytes = 100000\nreserve_bytes = 1\n\
             queue_bytes = 2000000\ncache_bytes = 3000000\n",
        )
        .sources,
    )
    .unwrap();
    let settings = config.stream_settings();
    assert_eq!(settings.directory.as_deref(), Some("data/streams".as_ref()));
    let store = settings.store;
    assert_eq!(
        (store.segment_bytes, store.reserve_bytes, store.queue_bytes, store.cache_bytes),
        (100_000, 1, 2_000_000, 3_000_000)
    );
    let [audit, orders] = settings.definitions.as_slice() else { panic!("{:?}", settings.definitions) };
    assert_eq!((orders.name.as_str(), orders.durability), ("orders", Durability::Memory));
    assert_eq!(orders.patterns.iter().map(PatternBuf::as_str).collect::<Vec<_>>(), ["orders.>", "returns.*"]);
    let retention = orders.retention;
    assert_eq!(retention.max_age_us.map(NonZero::get), Some(1_500_000));
    assert_eq!(retention.max_bytes.map(NonZero::get), Some(2_000));
    assert_eq!(retention.max_messages.map(NonZero::get), Some(300));
    assert_eq!(retention.max_messages_per_topic.map(NonZero::get), Some(40));
    assert_eq!((orders.dedup.time_us, orders.dedup.ids, orders.max_topics), (5_000_000, 6, 7));

    assert_eq!((audit.name.as_str(), audit.durability), ("audit", Durability::Disk));
    assert_eq!(audit.retention, Retention::default());
    assert_eq!((audit.dedup.time_us, audit.dedup.ids, audit.max_topics), (120_000_000, 100_000, 100_000));
}

#[test]
fn what_the_check_lets_through_makes_routes() {
    let least = "durability = \"memory\"\nmax_bytes = 1\nmax_age_seconds = 0.001\ndedup_seconds = 0\ndedup_ids = 0\n\
                 max_topics = 1\n";
    let most = "durability = \"memory\"\nmax_bytes = 9223372036854775807\nmax_age_seconds = 3153600000\n\
                max_messages = 9223372036854775807\nmax_messages_per_topic = 4294967295\ndedup_seconds = 3153600000\n\
                dedup_ids = 100000000\nmax_topics = 100000000\n";
    let toml = format!("[streams.least]\ntopics = [\"a\"]\n{least}[streams.most]\ntopics = [\"b\"]\n{most}");
    let definitions = load(&file(&format!("{WHOLE}\n{toml}")).sources).unwrap().stream_settings().definitions;
    Routes::new(definitions.into_iter().map(Into::into).collect()).unwrap();
}

#[test]
fn values_of_a_stream_that_make_no_sense_are_told_at_once() {
    let told = problems(&with(
        "[streams.a]\ntopics = []\nmax_age_seconds = 0.0001\ndedup_seconds = 4e9\ndedup_ids = 200000000\nmax_topics = 0\n\
         [streams.b]\ntopics = [\"b\"]\ndurability = \"memory\"\n[streams.c]\n\
         [store]\nsegment_bytes = 5\nreserve_bytes = 2000000000\nqueue_bytes = 6\ncache_bytes = 7\n",
    ));
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "store.segment_bytes",
        "store.reserve_bytes",
        "store.queue_bytes",
        "store.cache_bytes",
        "streams.a.topics",
        "streams.a.max_age_seconds",
        "streams.a.dedup_seconds",
        "streams.a.dedup_ids",
        "streams.a.max_topics",
        "streams.b.max_bytes",
        "streams.c.topics",
    ];
    assert_eq!(keys, expected, "{told:#?}");
    assert!(told[2].message.contains("limits.max_message_bytes"), "{}", told[2]);
    assert!(
        told[5].message.contains("found 0.0001, allowed: 0, which is no bound, or 0.001 to 3153600000"),
        "{}",
        told[5]
    );
    assert!(told[9].message.contains("durability is \"memory\""), "{}", told[9]);
    // Nobody wrote it; the section is what somebody wrote.
    assert!(told[10].origin.starts_with("file ") && told[10].message.contains("[\"c.>\"]"), "{}", told[10]);
}

#[test]
fn two_streams_of_one_topic_are_told_with_both_and_the_topic() {
    let told = problems(&with(
        "[streams.audit]\ntopics = [\"audit.>\"]\n[streams.eu]\ntopics = [\"*.eu\"]\n[streams.orders]\n\
         topics = [\"orders.>\", \"x\"]\n[streams.same]\ntopics = [\"x\"]\n",
    ));
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["streams.eu.topics", "streams.same.topics"], "{told:#?}");
    for part in ["`eu` (pattern `*.eu`)", "`audit` (pattern `audit.>`)", "topic `audit.eu`"] {
        assert!(told[0].message.contains(part), "{part}: {}", told[0]);
    }
    assert!(told.iter().all(|problem| problem.origin.starts_with("file ")), "{told:#?}");
}

#[test]
fn every_stream_that_overlaps_another_is_told() {
    let told = problems(&with(
        "[streams.a]\ntopics = [\"x.>\"]\n[streams.b]\ntopics = [\"x.b\"]\n[streams.c]\ntopics = [\"x.c\"]\n",
    ));
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["streams.b.topics", "streams.c.topics"]);
}

#[test]
fn stream_on_disk_needs_a_directory_and_one_in_memory_does_not() {
    let stream = "[streams.a]\ntopics = [\"a\"]\n[streams.b]\ntopics = [\"b\"]\n";
    let told = problem(&file(&format!("{WHOLE}\n{stream}")));
    assert!(told.starts_with("data_dir (default): it is needed"), "{told}");
    for part in ["durability = \"disk\" (a, and 1 more)", "--data-dir", "\"memory\""] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let memory = "[streams.a]\ntopics = [\"a\"]\ndurability = \"memory\"\nmax_bytes = 1000\n";
    load(&file(&format!("{WHOLE}\n{memory}")).sources).unwrap();
    let told = problem(&file(&format!("data_dir = \"\"\n{WHOLE}\n{stream}")));
    assert!(told.starts_with("data_dir (file ") && told.contains("found an empty path"), "{told}");
}

#[test]
fn largest_publication_must_fit_a_log_on_disk() {
    let limits = "[limits]\nmax_payload_bytes = 67108864\nmax_message_bytes = 70000000\noutbox_bytes = 80000000\n\
                  shard_queue_bytes = 80000000\n[quotas.connection]\nbytes = { per_second = 200000000 }\n";
    let queue = "[store]\nqueue_bytes = 80000000\n";
    let told = problem(&with(&format!("{limits}{queue}[streams.a]\ntopics = [\"a\"]\n")));
    assert!(told.starts_with("limits.max_payload_bytes (file ") && told.contains("at most 66060288"), "{told}");
    load(&with(&format!("{limits}{queue}")).sources).unwrap();
}

#[test]
fn keys_and_types_of_a_stream_are_told_with_what_is_allowed() {
    for (toml, expected) in [
        ("topics = [\"a\"]\nmax_byte = 5", "streams.a.max_byte (file "),
        ("topics = [\"a\"]\nmax_byte = 5", "did you mean streams.a.max_bytes?"),
        ("topics = [\"a\"]\nmax_byte = 5", "allowed here: topics, durability, max_age_seconds, max_bytes"),
        ("topics = [\"a\"]\nsegment_bytes = 5", "did you mean store.segment_bytes?"),
        ("topics = \"a\"", "streams.a.topics (file "),
        ("topics = \"a\"", "found the text \"a\", expected a list of texts"),
        ("topics = [\"a b\", \"ok\", \"a.>.b\"]", "\"a b\" is no pattern of topics: it has white space"),
        (
            "topics = [\"a b\", \"ok\", \"a.>.b\"]",
            "\"a.>.b\" is no pattern of topics: `>` stands before the last token",
        ),
        ("topics = [\"a\"]\ndurability = \"ram\"", "found \"ram\", allowed: disk, memory"),
        ("topics = [\"a\"]\nmax_messages = -1", "found -1, expected a whole number, 0 or more"),
        (
            "topics = [\"a\"]\nmax_messages_per_topic = 4294967296",
            "found 4294967296, expected a whole number, 0 to 4294967295",
        ),
        ("topics = [\"a\"]\nmax_age_seconds = \"7d\"", "found the text \"7d\", expected a number"),
    ] {
        let told = problem(&with(&format!("[streams.a]\n{toml}\n")));
        assert!(told.contains(expected), "{toml}: {told}");
    }
    let told = problem(&file(&format!("streams = 5\n{WHOLE}")));
    assert!(told.starts_with("streams (file ") && told.contains("found 5, expected a section for each"), "{told}");
    let told = problem(&with("[streams]\norders = 5\n"));
    assert!(told.starts_with("streams.orders (file ") && told.contains("expected a section, [streams.NAME]"), "{told}");
    let told = problem(&with("[limits]\nmax_messages_per_topic = 5\n"));
    assert!(told.contains("did you mean streams.NAME.max_messages_per_topic?"), "{told}");
}

#[test]
fn name_that_is_none_is_refused() {
    let long = "x".repeat(65);
    for name in ["a.b", "", "a b", "größe", &long] {
        let told = problem(&with(&format!("[streams.\"{name}\"]\ntopics = [\"a\"]\n")));
        assert!(
            told.starts_with("streams (file ") && told.contains("is no name of a stream; one has 1 to 64"),
            "{told}"
        );
    }
    load(&with("[streams.Az-_09]\ntopics = [\"a\"]\n").sources).unwrap();
}

#[test]
fn variables_set_streams_and_their_keys() {
    let mut given = with("[streams.orders]\ntopics = [\"orders.>\"]\n");
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    given.sources.variables = vec![
        set("CARILLON__STREAMS__ORDERS__MAX_BYTES", "5000"),
        set("CARILLON__STREAMS__AUDIT__TOPICS", "[\"audit.>\"]"),
        set("CARILLON__STREAMS__AUDIT__MAX_AGE_SECONDS", "60"),
    ];
    let config = load(&given.sources).unwrap();
    assert_eq!(config.streams["orders"].max_bytes, 5_000);
    assert_eq!(config.streams["audit"].max_age, Duration::from_mins(1));
    assert!(config.stream_warnings().is_empty());

    let mut given = with("[streams.Orders]\ntopics = [\"orders.>\"]\n");
    given.sources.variables = vec![set("CARILLON__STREAMS__ORDERS__MAX_BYTES", "5000")];
    let told = problem(&given);
    assert!(told.starts_with("streams.orders.topics (variable CARILLON__STREAMS__ORDERS__MAX_BYTES): "), "{told}");
    assert!(told.contains("It is not [streams.Orders]"), "{told}");
}

#[test]
fn a_thousand_streams_are_allowed_and_no_more() {
    let streams = |count: usize| {
        let mut toml = String::new();
        for number in 0..count {
            writeln!(toml, "[streams.s{number:04}]\ntopics = [\"s.{number}\"]\nmax_bytes = 1000").unwrap();
        }
        with(&toml)
    };
    assert_eq!(load(&streams(1_000).sources).unwrap().stream_settings().definitions.len(), 1_000);
    let told = problem(&streams(1_001));
    assert!(
        told.starts_with("streams.s1000 (file ") && told.contains("found 1001 streams, allowed: up to 1000"),
        "{told}"
    );
}

#[test]
fn disk_that_nothing_bounds_is_warned_of() {
    let bounded = ["max_age_seconds = 1", "max_bytes = 1", "max_messages = 1", "max_messages_per_topic = 1"];
    for bound in bounded {
        let config = load(&with(&format!("[streams.a]\ntopics = [\"a\"]\n{bound}\n")).sources).unwrap();
        assert_eq!(config.stream_warnings(), Vec::<String>::new(), "{bound}");
    }
    let toml =
        "[streams.a]\ntopics = [\"a\"]\n[streams.b]\ntopics = [\"b\"]\nmax_bytes = 5\n[streams.c]\ntopics = [\"c\"]\n";
    let told = load(&with(toml).sources).unwrap().stream_warnings();
    assert!(told.len() == 1 && told[0].contains("keep: a, c.") && told[0].contains("max_age_seconds"), "{told:?}");
}

#[test]
fn bounds_are_read_again_and_what_streams_are_waits_for_a_restart() {
    let running = load(
        &with(
            "[streams.gone]\ntopics = [\"gone\"]\n[streams.orders]\ntopics = [\"orders.>\"]\nmax_bytes = 1000\n\
             [streams.still]\ntopics = [\"still\"]\n",
        )
        .sources,
    )
    .unwrap();
    let again = with(
        "[store]\ncache_bytes = 2000000\n[streams.new]\ntopics = [\"new\"]\n[streams.orders]\ntopics = [\"orders.eu\"]\n\
         durability = \"memory\"\nmax_age_seconds = 1\nmax_bytes = 2000\nmax_messages = 3\nmax_messages_per_topic = 4\n\
         dedup_seconds = 5\ndedup_ids = 6\nmax_topics = 7\n[streams.still]\ntopics = [\"still\"]\n",
    );
    let (merged, unheeded) = load_again(&again.sources, &running).unwrap();
    let expected =
        ["store.cache_bytes", "streams.gone", "streams.orders.durability", "streams.orders.topics", "streams.new"];
    assert_eq!(unheeded, expected);
    assert_eq!(merged.streams.keys().collect::<Vec<_>>(), ["gone", "orders", "still"]);
    assert_eq!(merged.streams["still"], running.streams["still"]);
    assert_eq!(merged.streams["gone"], running.streams["gone"]);
    assert_eq!(merged.store, running.store);
    let (old, read) = (&running.streams["orders"], load(&again.sources).unwrap().streams["orders"].clone());
    let expected = StreamKeys { topics: old.topics.clone(), durability: old.durability, ..read };
    assert_eq!(merged.streams["orders"], expected);
    assert_eq!((merged.streams["orders"].max_bytes, merged.streams["orders"].max_topics), (2_000, 7));
}

#[test]
fn bounds_that_are_read_again_have_to_fit_the_durability_that_stays() {
    let running =
        load(&with("[streams.a]\ntopics = [\"a\"]\ndurability = \"memory\"\nmax_bytes = 5\n").sources).unwrap();
    let again = with("[streams.a]\ntopics = [\"a\"]\n");
    load(&again.sources).unwrap();
    let ConfigError::Problems(told) = load_again(&again.sources, &running).unwrap_err() else { panic!() };
    let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["streams.a.max_bytes", "streams.a.durability"]);
    assert!(told[1].message.contains("after a restart only"), "{}", told[1]);
}
