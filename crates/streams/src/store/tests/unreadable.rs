//! A disk that gives errors for a while: nothing of what it has is lost by that, or told to be.

use carillon_wire::Pattern;

use super::super::disk::Disk;
use super::super::faulty::FaultyDisk;
use super::super::header::{self, SegmentId};
use super::super::{Freed, IdWindow, Log, OpenError, Page, Unreadable};
use super::{SMALL, append, bytes, last_of_topic, message, open, read, read_topic};

const MESSAGES: u64 = 100;
const LOG: &str = ".log";
/// Headers can be read: without them a store is not opened.
const HEADER_BYTES: u64 = header::BYTES as u64;

/// A closed store, and what the names of its second segment and of that one's index begin with.
fn closed_store() -> (FaultyDisk, String) {
    let disk = FaultyDisk::new();
    filled(&disk).close().unwrap();
    let stem = second_segment(&disk).trim_end_matches(".log").to_owned();
    (disk, stem)
}

/// Two streams with a message in each group.
fn filled(disk: &FaultyDisk) -> Log {
    let (mut log, _) = open(disk, SMALL).unwrap();
    for sequence in 1..=MESSAGES {
        append(&mut log, 1, &message(1, sequence, "a", 60), b"");
        append(&mut log, 2, &message(2, sequence, "b", 0), b"");
        log.commit().unwrap();
    }
    log
}

fn second_segment(disk: &FaultyDisk) -> String {
    let names = Disk::list(disk).unwrap();
    names.into_iter().filter(|name| SegmentId::of_log_name(name).is_some()).nth(1).unwrap()
}

fn has_all(page: &Page) -> bool {
    page.messages().map(|message| message.sequence).eq(1..=MESSAGES) && page.damaged().is_empty()
}

fn ends_before_what_is_unread(page: &Page) -> bool {
    page.is_cut_short()
        && page.damaged().is_empty()
        && !page.is_empty()
        && page.messages().map(|message| message.sequence).eq(1..page.next_sequence())
}

#[test]
fn pages_end_before_what_the_disk_gives_an_error_for_and_go_on_when_it_is_well() {
    let (disk, stem) = closed_store();
    let (log, _) = open(&disk, SMALL).unwrap();
    let reader = log.reader();
    disk.fail_reads(&stem, HEADER_BYTES);
    for page in [read(&reader, 1), read_topic(&reader, 1, "a")] {
        assert!(ends_before_what_is_unread(&page), "{:?}", page.damaged());
        let next = reader.read(1, page.next_sequence(), u64::MAX, &bytes(u64::MAX));
        assert!(next.is_cut_short() && next.is_empty() && next.next_sequence() == page.next_sequence());
    }
    let any = Pattern::new("*").unwrap();
    assert!(reader.read_matching(1, any, 1, u64::MAX, &bytes(u64::MAX)).is_cut_short());
    assert_eq!(reader.position_before_newest(1, any, usize::MAX, u64::MAX), Err(Unreadable));
    assert_eq!(reader.newest_sequences(1, "a", 99), Err(Unreadable));
    assert_eq!(reader.sequence_at(1, message(1, 20, "a", 0).time_us), Err(Unreadable));
    // Neither of the last segments is bad.
    assert_eq!(last_of_topic(&reader, 1, "a").len(), 1);
    disk.heal();
    assert!(has_all(&read(&reader, 1)) && has_all(&read(&reader, 2)) && has_all(&read_topic(&reader, 1, "a")));
    assert_eq!(reader.position_before_newest(1, any, usize::MAX, u64::MAX), Ok(0));
}

#[test]
fn a_segment_that_could_not_be_read_for_a_while_is_not_taken_for_empty() {
    let (disk, stem) = closed_store();
    let (mut log, _) = open(&disk, SMALL).unwrap();
    disk.fail_reads(&stem, HEADER_BYTES);
    assert!(!has_all(&read(&log.reader(), 1)));
    disk.heal();
    assert_eq!(log.retain(&[(2, 2)]).unwrap(), Freed::default());
    log.close().unwrap();
    let (log, recovered) = open(&disk, SMALL).unwrap();
    assert_eq!(recovered.damage, []);
    assert!(has_all(&read(&log.reader(), 1)));
}

/// Where what an index has is not known, neither is what is lost: that is no start to go on from.
#[test]
fn a_segment_of_which_neither_log_nor_index_can_be_read_at_the_start_is_not_taken_for_damaged() {
    for (from, has_header) in [(HEADER_BYTES, true), (100, true), (HEADER_BYTES, false)] {
        let (disk, stem) = closed_store();
        let name = second_segment(&disk);
        if !has_header {
            let mut bytes = disk.bytes(&name).unwrap();
            bytes[..header::BYTES].fill(0xaa);
            disk.set_bytes(&name, &bytes);
        }
        disk.fail_reads(&stem, from);
        let refused = open(&disk, SMALL).err();
        assert!(matches!(&refused, Some(OpenError::Io { operation: "read", .. })), "{refused:?}");
        assert!(refused.unwrap().to_string().contains(&stem));
        disk.heal();
        let (log, recovered) = open(&disk, SMALL).unwrap();
        assert_eq!(recovered.damage.is_empty(), has_header);
        assert!(has_all(&read(&log.reader(), 1)));
    }
}

#[test]
fn an_index_that_cannot_be_read_at_the_start_is_made_anew_and_its_log_alone_is_not_needed() {
    for end in [".log", ".idx"] {
        let (disk, stem) = closed_store();
        disk.fail_reads(&format!("{stem}{end}"), HEADER_BYTES);
        let (log, recovered) = open(&disk, SMALL).unwrap();
        assert_eq!(recovered.damage, []);
        disk.heal();
        assert!(has_all(&read(&log.reader(), 1)));
    }
}

#[test]
fn a_segment_that_cannot_be_read_is_nothing_to_streams_that_are_not_in_it() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, SMALL).unwrap();
    for (stream, topic) in [(1, "a"), (2, "b")] {
        for sequence in 1..=60 {
            append(&mut log, stream, &message(stream, sequence, topic, 120), b"");
            log.commit().unwrap();
        }
    }
    disk.fail_reads(second_segment(&disk).trim_end_matches(".log"), 0);
    let reader = log.reader();
    assert_eq!(reader.sequence_at(1, message(1, 16, "a", 0).time_us), Err(Unreadable));
    assert_eq!(reader.sequence_at(2, message(2, 16, "b", 0).time_us), Ok(16));
    assert_eq!(reader.position_before_newest(2, Pattern::new("*").unwrap(), 70, 60), Ok(0));
    assert!(!last_of_topic(&reader, 2, "b").is_cut_short());
    assert_eq!(read(&reader, 2).len(), 60);
}

#[test]
fn a_segment_that_cannot_be_read_keeps_no_other_one_from_being_compacted() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, SMALL).unwrap();
    for sequence in 1..=200 {
        append(&mut log, 1, &message(1, sequence, "a", 120), b"");
        if sequence % 10 == 0 {
            append(&mut log, 2, &message(2, sequence / 10, "b", 0), b"");
        }
        log.commit().unwrap();
    }
    log.retain(&[(1, 180)]).unwrap();
    let logs = |disk: &FaultyDisk| Disk::list(disk).unwrap().iter().filter(|name| name.ends_with(LOG)).count();
    let (before, unread) = (logs(&disk), second_segment(&disk));
    disk.fail_reads(&unread, 500);
    while log.compact(u64::MAX, 1_000).unwrap() {}
    assert!(logs(&disk) * 2 < before && disk.bytes(&unread).is_some(), "{before}, then {}", logs(&disk));
    disk.heal();
    assert_eq!((read(&log.reader(), 1).len(), read(&log.reader(), 2).len()), (21, 20));
}

/// Its ids would be forgotten with it.
#[test]
fn a_segment_whose_ids_count_and_cannot_be_read_stays_until_they_can() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, SMALL).unwrap();
    for sequence in 1..=60 {
        append(&mut log, 1, &message(1, sequence, "a", 120), format!("id-{sequence}").as_bytes());
        log.commit().unwrap();
    }
    let window = IdWindow { from_time_us: 0, max: usize::MAX };
    log.set_id_windows([(1, window)]);
    let unread = second_segment(&disk);
    disk.fail_reads(unread.trim_end_matches(".log"), 0);
    log.retain(&[(1, 60)]).unwrap();
    assert!(disk.bytes(&unread).is_some());
    disk.heal();
    log.retain(&[(1, 61)]).unwrap();
    assert!(disk.bytes(&unread).is_none());
    drop(log);
    let (log, _) = open(&disk, SMALL).unwrap();
    assert_eq!(log.reader().message_ids(|_| Some(window)).unwrap().len(), 60);
}

/// Damage of the index is found in the middle of a read, and only then is it known what of the log is damaged.
#[test]
fn a_flipped_bit_in_an_index_and_one_in_its_log_hide_nothing() {
    let disk = FaultyDisk::new();
    filled(&disk).close().unwrap();
    let log_name = second_segment(&disk);
    let index_name = log_name.replace(".log", ".idx");
    let (log_bytes, index_bytes) = (disk.bytes(&log_name).unwrap(), disk.bytes(&index_name).unwrap());
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    for in_index in (0..index_bytes.len()).step_by(11) {
        for in_log in (header::BYTES..log_bytes.len()).step_by(67) {
            let disk = disk.copy();
            disk.set_bytes(&log_name, &flipped(&log_bytes, in_log));
            disk.set_bytes(&index_name, &flipped(&index_bytes, in_index));
            let (log, _) = open(&disk, SMALL).unwrap();
            for (stream, topic) in [(1, "a"), (2, "b")] {
                for page in [read(&log.reader(), stream), read_topic(&log.reader(), stream, topic)] {
                    let mut is_told: Vec<_> = page.messages().map(|message| message.sequence).collect();
                    is_told.extend(page.damaged().iter().cloned().flatten());
                    is_told.sort_unstable();
                    is_told.dedup();
                    assert_eq!(is_told, (1..=MESSAGES).collect::<Vec<_>>(), "{stream}: bytes {in_index} and {in_log}");
                }
            }
        }
    }
}
