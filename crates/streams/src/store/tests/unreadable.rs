//! A disk that gives errors for a while: nothing of what it has is lost by that, or told to be.

use carillon_wire::Pattern;

use super::super::disk::Disk;
use super::super::faulty::FaultyDisk;
use super::super::header::{self, SegmentId};
use super::super::{Freed, Log, Page, Unreadable};
use super::{SMALL, append, bytes, last_of_topic, message, open, read, read_topic};

const MESSAGES: u64 = 100;
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

#[test]
fn a_segment_that_cannot_be_read_at_the_start_stays_as_it_is_and_is_read_when_the_disk_is_well() {
    let (disk, stem) = closed_store();
    disk.fail_reads(&stem, HEADER_BYTES);
    let (mut log, recovered) = open(&disk, SMALL).unwrap();
    assert!(!recovered.damage.is_empty(), "the start says what it could not read");
    log.accept_damage().unwrap();
    assert!(ends_before_what_is_unread(&read(&log.reader(), 1)));
    assert!(last_of_topic(&log.reader(), 1, "a").is_cut_short(), "nobody knows what is in there");
    assert_eq!(log.retain(&[(2, 2)]).unwrap(), Freed::default());
    while log.compact(u64::MAX, 1_000).unwrap() {}
    assert!(disk.bytes(&second_segment(&disk)).is_some());
    assert!(disk.bytes(&format!("{}.damaged", second_segment(&disk))).is_none());
    disk.heal();
    assert!(has_all(&read(&log.reader(), 1)));
    drop(log);
    let (log, recovered) = open(&disk, SMALL).unwrap();
    assert_eq!(recovered.damage, []);
    assert!(has_all(&read(&log.reader(), 1)));
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
