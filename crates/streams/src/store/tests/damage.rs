//! Damage never makes a wrong answer: bits of every file are flipped, and the last segment ends at every byte.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use carillon_wire::Pattern;

use super::super::IdWindow;
use super::super::faulty::FaultyDisk;
use super::super::header::SegmentId;
use super::super::{Damage, Log, Options, Reader, Recovered};
use super::{Message, append, bytes, last_of_topic, message, messages, open, read, read_topic};

const TOPICS: [&str; 3] = ["a", "b.c", "d"];
const PER_STREAM: u64 = 21;
/// Small, because every bit is a test of its own.
const TINY: Options = Options { segment_bytes: 800, reserve_bytes: 0 };

/// The ends of a file have everything that is of its own kind: the header and a whole record, what proves that a group was
/// synced, an index' footer. What lies between is more of the same.
const FIRST_BYTES: usize = 110;
const LAST_BYTES: usize = 40;
/// One of so many bits is flipped, at the ends and between: all in an optimized build, else some of each byte at the ends.
/// No divisor in common with the bits of a byte, so that it is not always the same one.
const ONE_OF_BITS: (usize, usize) = if cfg!(debug_assertions) { (3, 29) } else { (1, 1) };

/// What was appended, by stream.
type Kept = BTreeMap<u32, Vec<Message>>;

/// Sealed segments and one that goes on, in groups of a few messages of two streams.
fn filled_disk() -> (FaultyDisk, Kept) {
    let (disk, kept, log) = filled();
    log.close().unwrap();
    (disk, kept)
}

/// The same, and it goes on.
fn filled() -> (FaultyDisk, Kept, Log) {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, TINY).unwrap();
    let mut kept = Kept::new();
    for sequence in 1..=PER_STREAM {
        for stream in [1, 2] {
            let topic = TOPICS[usize::try_from(sequence + u64::from(stream)).unwrap() % TOPICS.len()];
            let message = message(stream, sequence, topic, 30);
            append(&mut log, stream, &message, format!("id-{stream}-{sequence}").as_bytes());
            kept.entry(stream).or_default().push(message);
        }
        if sequence % 3 == 0 {
            log.commit().unwrap();
        }
    }
    assert!(log_names(&disk).len() >= 3);
    (disk, kept, log)
}

fn log_names(disk: &FaultyDisk) -> Vec<String> {
    let names = super::super::Disk::list(disk).unwrap();
    names.into_iter().filter(|name| SegmentId::of_log_name(name).is_some()).collect()
}

/// Reads everything in every way; how many messages were not there. Panics at a wrong answer and at one that is missing
/// without being named.
fn missing(log: &Log, recovered: &Recovered, kept: &Kept) -> usize {
    let reader = log.reader();
    let mut missing = 0;
    for (stream, kept) in kept {
        let end = recovered.streams.get(stream).map_or(0, |stream| stream.last_sequence);
        let page = read(&reader, *stream);
        let is_damaged = |sequence| page.damaged().iter().any(|range| range.contains(&sequence));
        let is_gone = |sequence| {
            let uncertain = recovered.streams.get(stream).is_none_or(|stream| !stream.end_is_certain);
            sequence > end && (recovered.cut.is_some() || uncertain)
        };
        let read = messages(&page);
        assert!(read.iter().all(|message| kept.contains(message)), "a message that was never appended");
        for message in kept {
            if !read.contains(message) {
                assert!(is_damaged(message.sequence) || is_gone(message.sequence), "{message:?} is missing in silence");
                missing += 1;
            }
        }
        for topic in TOPICS {
            let expected: Vec<_> = read.iter().filter(|message| message.topic == topic).cloned().collect();
            let page = read_topic(&reader, *stream, topic);
            assert_eq!(messages(&page), expected);
            for message in kept.iter().filter(|message| message.topic == topic && !read.contains(message)) {
                let is_named = page.damaged().iter().any(|range| range.contains(&message.sequence));
                assert!(is_named || is_gone(message.sequence));
            }
            let last = last_of_topic(&reader, *stream, topic);
            let is_behind = |message: &&Message| expected.last().is_none_or(|last| message.sequence > last.sequence);
            let lost = kept.iter().filter(|message| message.topic == topic).filter(is_behind);
            let is_named = |sequence| last.damaged().iter().any(|range| range.contains(&sequence));
            assert!(
                messages(&last).last() == expected.last()
                    || (last.is_empty() && lost.clone().any(|message| is_named(message.sequence)))
            );
            assert!(lost.clone().all(|message| is_named(message.sequence) || is_gone(message.sequence)));
        }
        check_pattern(&reader, *stream, kept, &read, is_gone);
        for message in kept {
            let found = reader.sequence_at(*stream, message.time_us).unwrap();
            assert!(found == message.sequence || !read.contains(message));
        }
    }
    missing
}

/// The same by a pattern.
fn check_pattern(reader: &Reader, stream: u32, kept: &[Message], read: &[Message], is_gone: impl Fn(u64) -> bool) {
    let one_token = Pattern::new("*").unwrap();
    let pages = reader.read_matching(stream, one_token, 1, u64::MAX, &bytes(u64::MAX));
    let expected: Vec<_> = read.iter().filter(|message| !message.topic.contains('.')).cloned().collect();
    assert_eq!(messages(&pages), expected);
    for message in kept.iter().filter(|message| !message.topic.contains('.') && !read.contains(message)) {
        let is_named = pages.damaged().iter().any(|range| range.contains(&message.sequence));
        assert!(is_named || is_gone(message.sequence));
    }
    // One that is damaged may count as one of the newest.
    let (n, lost) = (4, kept.len() - read.len());
    let position = reader.position_before_newest(stream, one_token, n, u64::MAX).unwrap();
    let behind = expected.iter().filter(|message| message.sequence > position).count();
    assert!(behind <= n && behind + lost >= n.min(expected.len()));
}

/// Flips bits of a file, one at a time, and hands over what came of it.
fn for_each_flipped_bit(disk: &FaultyDisk, name: &str, check: impl Fn(FaultyDisk, usize)) {
    let bytes = disk.bytes(name).unwrap();
    let between = FIRST_BYTES..bytes.len().saturating_sub(LAST_BYTES);
    let one_of = |bit| if between.contains(&(bit / 8)) { ONE_OF_BITS.1 } else { ONE_OF_BITS.0 };
    for bit in (0..bytes.len() * 8).filter(|bit| bit.is_multiple_of(one_of(*bit))) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let disk = disk.copy();
        disk.set_bytes(name, &flipped);
        check(disk, bit);
    }
}

#[test]
fn a_flipped_bit_of_a_sealed_segment_costs_one_message_at_most() {
    let (disk, kept) = filled_disk();
    let name = log_names(&disk)[0].clone();
    for_each_flipped_bit(&disk, &name, |disk, bit| {
        let (log, recovered) = open(&disk, TINY).unwrap();
        assert!(recovered.cut.is_none());
        assert_eq!(missing(&log, &recovered, &kept), usize::from(bit / 8 >= super::super::header::BYTES), "bit {bit}");
    });
}

#[test]
fn a_flipped_bit_of_a_sealed_segment_without_index_is_named_at_the_start() {
    let (disk, kept) = filled_disk();
    let name = log_names(&disk)[0].clone();
    disk.set_bytes(&name.replace(".log", ".idx"), b"");
    for_each_flipped_bit(&disk, &name, |disk, bit| {
        let (log, recovered) = open(&disk, TINY).unwrap();
        let is_header = bit / 8 < super::super::header::BYTES;
        assert_eq!(missing(&log, &recovered, &kept), usize::from(!is_header), "bit {bit}");
        let names_messages = recovered.damage.iter().any(|damage| matches!(damage, Damage::Messages { .. }));
        assert_eq!(names_messages, !is_header, "bit {bit}: {:?}", recovered.damage);
    });
}

#[test]
fn a_flipped_bit_of_the_last_segment_is_damage_where_a_later_group_proves_it_was_synced() {
    let (disk, kept) = filled_disk();
    let name = log_names(&disk).pop().unwrap();
    let mark = disk.bytes(&name).unwrap().len() - super::super::record::FIXED_BYTES;
    for_each_flipped_bit(&disk, &name, |disk, bit| {
        let (log, recovered) = open(&disk, TINY).unwrap();
        let missing = missing(&log, &recovered, &kept);
        let is_header = bit / 8 < super::super::header::BYTES;
        if bit / 8 < mark {
            assert!(recovered.cut.is_none(), "bit {bit}");
            assert_eq!(missing, usize::from(!is_header), "bit {bit}");
        } else {
            // The last group looks torn. It had nothing but the mark.
            assert!(recovered.cut.is_some() && missing == 0, "bit {bit}");
        }
        assert_eq!(recovered.damage.is_empty(), is_header || bit / 8 >= mark, "bit {bit}");
    });
}

#[test]
fn a_flipped_bit_of_an_index_or_the_manifest_costs_nothing() {
    let (disk, kept) = filled_disk();
    for name in [log_names(&disk)[0].replace(".log", ".idx"), "manifest".to_owned()] {
        for_each_flipped_bit(&disk, &name, |disk, bit| {
            let (log, recovered) = open(&disk, TINY).unwrap();
            assert_eq!(missing(&log, &recovered, &kept), 0, "bit {bit} of {name}");
            assert_eq!(
                log.reader().message_ids(|_| Some(IdWindow { from_time_us: 0, max: usize::MAX })).unwrap().len(),
                kept.values().map(Vec::len).sum::<usize>()
            );
            assert_eq!((recovered.cut, recovered.damage), (None, Vec::new()));
        });
    }
}

#[test]
fn a_flipped_bit_of_a_compacted_segment_is_named_though_much_was_replaced() {
    let (disk, mut kept) = filled_disk();
    let (mut log, _) = open(&disk, TINY).unwrap();
    for stream in [1, 2] {
        log.replace_beyond(stream, NonZeroU32::MIN, TOPICS[1..].iter().copied());
    }
    while log.compact(u64::MAX, 1000).unwrap() {}
    log.close().unwrap();
    // What was replaced and stands in segments that were not worth it is read again until it is said again.
    let (log, _) = open(&disk, TINY).unwrap();
    for (stream, kept) in &mut kept {
        *kept = messages(&read(&log.reader(), *stream));
        assert!(kept.len() < usize::try_from(PER_STREAM).unwrap());
    }
    drop(log);
    let name = log_names(&disk)[0].clone();
    assert!(name.ends_with("-1.log"), "compacted once");
    for index in [true, false] {
        if !index {
            disk.set_bytes(&name.replace(".log", ".idx"), b"");
        }
        for_each_flipped_bit(&disk, &name, |disk, bit| {
            let (log, recovered) = open(&disk, TINY).unwrap();
            assert!(missing(&log, &recovered, &kept) <= 1, "bit {bit}");
            assert!(recovered.cut.is_none());
        });
    }
}

#[test]
fn a_last_segment_that_ends_anywhere_after_a_close_is_damage_and_every_message_is_named() {
    let (disk, kept) = filled_disk();
    let name = log_names(&disk).pop().unwrap();
    let bytes = disk.bytes(&name).unwrap();
    let without_mark = bytes.len() - super::super::record::FIXED_BYTES;
    for len in 0..bytes.len() {
        let disk = disk.copy();
        disk.set_bytes(&name, &bytes[..len]);
        let (log, recovered) = open(&disk, TINY).unwrap();
        let missing = missing(&log, &recovered, &kept);
        assert_eq!(missing == 0, len >= without_mark, "{len} bytes");
        assert_eq!(missing == 0, recovered.damage.is_empty(), "{len} bytes");
        for (stream, kept) in &kept {
            assert_eq!(recovered.streams[stream].last_sequence, kept.last().unwrap().sequence);
        }
    }
}

#[test]
fn a_last_segment_that_ends_anywhere_keeps_what_is_whole_and_goes_on() {
    let (disk, kept, log) = filled();
    drop(log);
    let name = log_names(&disk).pop().unwrap();
    let bytes = disk.bytes(&name).unwrap();
    for len in 0..bytes.len() {
        let disk = disk.copy();
        disk.set_bytes(&name, &bytes[..len]);
        let (mut log, recovered) = open(&disk, TINY).unwrap();
        assert_eq!(recovered.damage, []);
        for (stream, kept) in &kept {
            let last = recovered.streams[stream].last_sequence;
            let there: Vec<_> = kept.iter().filter(|message| message.sequence <= last).cloned().collect();
            assert_eq!(messages(&read(&log.reader(), *stream)), there);
            append(&mut log, *stream, &message(*stream, last + 1, "a", 0), b"");
        }
        log.commit().unwrap();
        let (_, again) = open(&disk, TINY).unwrap();
        assert_eq!((again.cut, again.damage), (None, Vec::new()), "{len} bytes");
        assert_eq!(again.streams[&1].last_sequence, recovered.streams[&1].last_sequence + 1);
    }
}

#[test]
fn a_segment_that_is_missing_or_unreadable_is_named_and_the_others_are_read() {
    let (disk, kept) = filled_disk();
    let names = log_names(&disk);
    for (name, unreadable) in [(&names[0], true), (&names[1], true), (&names[0], false), (&names[1], false)] {
        let disk = disk.copy();
        if unreadable {
            disk.set_bytes(name, &[0; 500]);
        } else {
            super::super::Disk::unlink(&disk, name).unwrap();
        }
        let (mut log, recovered) = open(&disk, TINY).unwrap();
        let lost = missing(&log, &recovered, &kept);
        assert!(lost > 0);
        assert!(recovered.damage.len() >= 3, "the segment, and a range of each stream: {:?}", recovered.damage);
        log.accept_damage().unwrap();
        drop(log);
        assert_eq!(disk.bytes(&format!("{name}.damaged")).is_some(), unreadable);
        let (log, again) = open(&disk, TINY).unwrap();
        assert_eq!(missing(&log, &again, &kept), lost);
        assert!(again.damage.iter().all(|damage| matches!(damage, Damage::Messages { .. })));
        assert!(again.absent_streams_are_empty);
    }
}

#[test]
fn a_stream_whose_last_messages_may_be_damaged_has_no_certain_end() {
    let (disk, _) = filled_disk();
    let (mut log, _) = open(&disk, TINY).unwrap();
    append(&mut log, 7, &message(7, 1, "a", 0), b"");
    log.commit().unwrap();
    append(&mut log, 1, &message(1, PER_STREAM + 1, "a", 0), b"");
    log.close().unwrap();
    let name = log_names(&disk).pop().unwrap();
    let mut bytes = disk.bytes(&name).unwrap();
    let only_of_seven = bytes.windows(6).position(|window| window == b"7/1/a/").unwrap();
    bytes[only_of_seven] ^= 1;
    disk.set_bytes(&name, &bytes);
    let (_, recovered) = open(&disk, TINY).unwrap();
    assert!(!recovered.absent_streams_are_empty, "stream 7 is gone");
    assert!(recovered.streams[&1].end_is_certain && !recovered.streams[&2].end_is_certain);
}

#[test]
fn bytes_of_a_payload_never_pass_for_a_record() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, Options::default()).unwrap();
    append(&mut log, 1, &message(1, 1, "a", 0), b"");
    log.commit().unwrap();
    let name = log_names(&disk).pop().unwrap();
    // Whoever wrote this payload knows the format, and not the salt.
    let mut forged = Vec::new();
    for salt in 0..100 {
        let record =
            super::Record { stream: 1, sequence: 2, time_us: 1, topic: "a", message_id: b"", delivery: b"forged" };
        super::super::record::put(&mut forged, salt, super::super::record::Kind::Message, true, &record);
    }
    let attack = Message { delivery: forged, ..message(1, 2, "a", 0) };
    let at = disk.bytes(&name).unwrap().len();
    append(&mut log, 1, &attack, b"");
    log.commit().unwrap();
    append(&mut log, 1, &message(1, 3, "a", 0), b"");
    log.close().unwrap();
    let mut bytes = disk.bytes(&name).unwrap();
    bytes[at + 4] ^= 1;
    disk.set_bytes(&name, &bytes);
    let (log, _) = open(&disk, Options::default()).unwrap();
    let page = read(&log.reader(), 1);
    assert_eq!(page.damaged(), [2..=2]);
    assert_eq!(messages(&page), [message(1, 1, "a", 0), message(1, 3, "a", 0)]);
}
