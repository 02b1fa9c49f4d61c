//! Streams, for people.

use std::fmt::Write as _;

use crate::{
    admin::documents::{Store, Stream, StreamAndStore, StreamList},
    commands::subscribe::format::rfc3339,
};

const HEADS: [&str; 8] = ["STREAM", "KEPT ON", "MESSAGES", "BYTES", "FIRST", "LAST", "TOPICS", "NEWEST"];
/// These are words; what is between them are numbers.
const WORDS: [usize; 3] = [0, 1, 7];

/// All streams, one on each line.
pub(super) fn list(list: &StreamList) -> String {
    if list.streams.is_empty() {
        return "no stream is defined\n".to_owned();
    }
    let rows: Vec<[String; 8]> = list.streams.iter().map(row).collect();
    let heads = HEADS.map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&heads]).filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..HEADS.len()).map(width).collect();
    let mut out = String::new();
    for row in [&heads].into_iter().chain(&rows) {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if WORDS.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    if let Some(store) = &list.store {
        out += &trouble(store);
    }
    out
}

fn row(stream: &Stream) -> [String; 8] {
    [
        stream.name.clone(),
        stream.definition.durability.clone(),
        stream.messages.to_string(),
        bytes(stream.bytes),
        stream.first_sequence.to_string(),
        stream.last_sequence.to_string(),
        stream.topics.to_string(),
        time(stream.last_time_us),
    ]
}

/// One stream, with all that is known of it.
pub(super) fn info(info: &StreamAndStore) -> String {
    let StreamAndStore { stream, store } = info;
    let definition = &stream.definition;
    let past = stream.past_epochs.iter().map(|past| format!("{} (the same up to {})", past.epoch, past.same_through));
    let mut lines = vec![
        ("stream", stream.name.clone()),
        ("kept on", definition.durability.clone()),
        ("topics", definition.topics.join(", ")),
        ("bounds", bounds(stream)),
        ("ids", format!("remembered for {} s, up to {}", definition.dedup_seconds, definition.dedup_ids)),
        ("messages", format!("{}, {}", stream.messages, bytes(stream.bytes))),
        ("sequences", format!("{} to {}", stream.first_sequence, stream.last_sequence)),
        ("newest", time(stream.last_time_us)),
        ("with topics", format!("{} of at most {}", stream.topics, definition.max_topics)),
        ("with ids", stream.remembered_ids.to_string()),
        ("epoch", format!("{} ({})", stream.epoch, stream.epoch_reason)),
    ];
    if stream.first_sequence > stream.last_sequence {
        lines.retain(|(head, _)| *head != "sequences");
        lines.push(("sequences", format!("none is kept; the next is {}", stream.last_sequence.saturating_add(1))));
    }
    if stream.purged_through > 0 {
        lines.push(("purged", format!("up to {}", stream.purged_through)));
    }
    lines.extend(past.map(|past| ("epoch before", past)));
    if let Some(store) = store {
        let (segments, damaged) = (store.segments, store.damaged_messages);
        lines.push(("store", format!("{} in {segments} segments, {damaged} messages damaged", bytes(store.bytes))));
    }
    let mut out = String::new();
    for (head, value) in lines {
        let _ = writeln!(out, "{:<13} {value}", format!("{head}:"));
    }
    out + &store.as_ref().map(trouble).unwrap_or_default()
}

/// What an operator should see to.
fn trouble(store: &Store) -> String {
    let mut out = String::new();
    if let Some(reason) = &store.failed {
        let _ = writeln!(
            out,
            "\nThe store has failed, and streams on disk take nothing: {reason}\nOnce the cause is gone, `carillon stream reopen` \
             opens it again."
        );
    }
    if let Some(reason) = &store.compaction_failed {
        let _ = writeln!(
            out,
            "\nThe store does not give back the room of messages that are gone, and tries again: {reason}"
        );
    }
    if store.damaged_messages > 0 {
        let _ = writeln!(
            out,
            "\n{} messages in the store cannot be read any more; readers are told which.",
            store.damaged_messages
        );
    }
    out
}

fn bounds(stream: &Stream) -> String {
    let definition = &stream.definition;
    let bounds = [
        (definition.max_age_seconds > 0.0, format!("{} s", definition.max_age_seconds)),
        (definition.max_bytes > 0, bytes(definition.max_bytes)),
        (definition.max_messages > 0, format!("{} messages", definition.max_messages)),
        (definition.max_messages_per_topic > 0, format!("{} of each topic", definition.max_messages_per_topic)),
    ];
    let set: Vec<_> = bounds.into_iter().filter_map(|(is_set, text)| is_set.then_some(text)).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

fn time(time_us: u64) -> String {
    if time_us == 0 { "-".to_owned() } else { rfc3339(time_us) }
}

/// A size, in the unit that makes it short.
fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.into_iter().find(|(_, bits)| bytes >> bits > 0);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(unit, bits)| {
            // Tenths, cut off: never more than there is.
            let tenths = (u128::from(bytes) * 10) >> bits;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_never_more_than_there_is() {
        for (size, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(size), expected);
        }
    }
}
