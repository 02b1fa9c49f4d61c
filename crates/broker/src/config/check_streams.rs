//! Whether `[store]` and `[streams.NAME]` make sense: each key in its range, and all streams together.

use std::{sync::Arc, time::Duration};

use carillon_streams::stream::{Durability, MAX_PATTERNS, Routes, RoutesError};

use super::{
    Config, StreamKeys,
    check::{Checker, QUEUE_OVERHEAD_BYTES},
};

/// Each has its state in memory, and its series in the metrics.
const MAX_STREAMS: usize = 1_000;
/// What a record of the log holds, with room for topic and ids.
const LARGEST_PAYLOAD_ON_DISK_BYTES: usize = 63 << 20;
/// The finest that retention is looked at.
const SHORTEST_TIME: Duration = Duration::from_millis(1);
/// 100 years; whoever means longer leaves the bound out.
const LONGEST_TIME: Duration = Duration::from_hours(100 * 365 * 24);

pub(super) fn check(checker: &mut Checker<'_>, config: &Config) {
    check_store(checker, config);
    if config.streams.len() > MAX_STREAMS {
        let first_too_many = config.streams.keys().nth(MAX_STREAMS);
        let key = first_too_many.map_or_else(|| "streams".to_owned(), |name| format!("streams.{name}"));
        let message = format!(
            "found {} streams, allowed: up to {MAX_STREAMS}. One stream can keep many topics: give it several patterns, or \
             one with wildcards",
            config.streams.len()
        );
        checker.fail(&key, message);
        return;
    }
    let before = checker.problem_count();
    for (name, keys) in &config.streams {
        check_stream(checker, config, name, keys);
    }
    check_disk(checker, config);
    // Overlaps are looked for among streams that are right for themselves.
    if checker.problem_count() == before {
        check_overlaps(checker, config);
    }
}

fn check_store(checker: &mut Checker<'_>, config: &Config) {
    let store = &config.store;
    let number = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    checker.range("store.segment_bytes", number(store.segment_bytes), 64 << 10, 1 << 30);
    checker.range("store.reserve_bytes", number(store.reserve_bytes), 0, 1 << 30);
    let least = config.limits.max_message_bytes.saturating_add(QUEUE_OVERHEAD_BYTES);
    checker.require("store.queue_bytes", store.queue_bytes >= least, || {
        format!(
            "found {}, allowed: at least {least}, which is limits.max_message_bytes and {QUEUE_OVERHEAD_BYTES}: the \
             largest message must fit",
            store.queue_bytes
        )
    });
    checker.range("store.cache_bytes", store.cache_bytes, 1 << 20, 1 << 40);
}

fn check_stream(checker: &mut Checker<'_>, config: &Config, name: &str, keys: &StreamKeys) {
    let section = format!("streams.{name}");
    let key = |key: &str| format!("{section}.{key}");
    if keys.topics.is_empty() {
        let message = format!("name the topics that it keeps, such as topics = [\"{name}.>\"]{}", twin(config, name));
        // Where the stream comes from; an empty list comes from there too, or else from nowhere.
        checker.fail_from(&key("topics"), &section, message);
    }
    checker.require(&key("topics"), keys.topics.len() <= MAX_PATTERNS, || {
        format!(
            "found {} patterns, allowed: up to {MAX_PATTERNS}; wildcards name many topics at once",
            keys.topics.len()
        )
    });
    for (name, time) in [("max_age_seconds", keys.max_age), ("dedup_seconds", keys.dedup_window)] {
        let is_right = time.is_zero() || (SHORTEST_TIME..=LONGEST_TIME).contains(&time);
        checker.require(&key(name), is_right, || {
            let what = if name == "dedup_seconds" { "remembers nothing" } else { "is no bound" };
            format!(
                "found {}, allowed: 0, which {what}, or {} to {}",
                time.as_secs_f64(),
                SHORTEST_TIME.as_secs_f64(),
                LONGEST_TIME.as_secs()
            )
        });
    }
    checker.require(&key("max_bytes"), keys.durability == Durability::Disk || keys.max_bytes > 0, || {
        "it is needed, because durability is \"memory\": how much of the broker's memory the stream may take".to_owned()
    });
    checker.range(&key("dedup_ids"), keys.dedup_ids, 0, 100_000_000);
    checker.range(&key("max_topics"), keys.max_topics as usize, 1, 100_000_000);
}

/// Says so where the stream seems to be half of another one.
fn twin(config: &Config, name: &str) -> String {
    let twin = config.streams.keys().find(|other| *other != name && other.eq_ignore_ascii_case(name));
    twin.map_or_else(String::new, |twin| {
        format!(". It is not [streams.{twin}]: case counts, and variables set streams with names in lower case only")
    })
}

fn check_disk(checker: &mut Checker<'_>, config: &Config) {
    // It would be the working directory, wherever the broker is started.
    let is_empty = config.data_dir.as_ref().is_some_and(|path| path.as_os_str().is_empty());
    checker.require("data_dir", !is_empty, || "found an empty path, allowed: a directory; or leave it out".to_owned());
    let mut on_disk = config.streams.iter().filter(|(_, keys)| keys.durability == Durability::Disk);
    let Some((first, _)) = on_disk.next() else { return };
    let others = match on_disk.count() {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    checker.require("data_dir", config.data_dir.is_some(), || {
        format!(
            "it is needed, because there are streams with durability = \"disk\" ({first}{others}): set it, or --data-dir, to \
             a directory on a disk that stays; or set their durability to \"memory\", and what they keep is lost when the \
             broker ends"
        )
    });
    let payload = config.limits.max_payload_bytes;
    checker.require("limits.max_payload_bytes", payload <= LARGEST_PAYLOAD_ON_DISK_BYTES, || {
        format!(
            "found {payload}, allowed: at most {LARGEST_PAYLOAD_ON_DISK_BYTES}, because there are streams with durability \
             = \"disk\" ({first}{others}), which must take the largest publication"
        )
    });
}

/// One problem for each stream that would keep another one's topics.
fn check_overlaps(checker: &mut Checker<'_>, config: &Config) {
    let mut definitions: Vec<_> =
        config.streams.iter().filter_map(|(name, keys)| keys.definition(name)).map(Arc::new).collect();
    while let Err(error) = Routes::new(definitions.clone()) {
        let (stream, key) = match &error {
            RoutesError::Overlap(overlap) => (overlap.stream.clone(), ".topics"),
            RoutesError::Definition(definition) => (definition.stream.clone(), ""),
            RoutesError::SameName { stream } => (stream.clone(), ""),
            // There is no other reason yet; one that is not understood is told, and ends the search.
            _ => return checker.fail("streams", error.to_string()),
        };
        checker.fail(&format!("streams.{stream}{key}"), error.to_string());
        definitions.retain(|definition| definition.name != stream);
    }
}
