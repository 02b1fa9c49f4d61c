//! What stands at the end of the log: unfinished writes, and damage that must not be taken for one.

use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;

use super::super::faulty::{Fault, FaultyDisk};
use super::super::header::{self, SegmentId};
use super::super::{Damage, Directory, Disk, Log, Options, Recovered};
use super::{append, message, open, read};

/// A segment for many messages.
const WIDE: Options = Options { segment_bytes: 100_000, reserve_bytes: 0 };

/// Groups of one message each, and no close.
fn filled(messages: u64) -> FaultyDisk {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, WIDE).unwrap();
    for sequence in 1..=messages {
        append(&mut log, 1, &message(1, sequence, "a", 600), b"");
        log.commit().unwrap();
    }
    disk
}

fn last_name(disk: &FaultyDisk) -> String {
    disk.list().unwrap().into_iter().rfind(|name| SegmentId::of_log_name(name).is_some()).unwrap()
}

/// A copy whose last segment was changed.
fn changed(disk: &FaultyDisk, change: impl FnOnce(&mut Vec<u8>)) -> FaultyDisk {
    let disk = disk.copy();
    let name = last_name(&disk);
    let mut bytes = disk.bytes(&name).unwrap();
    change(&mut bytes);
    disk.set_bytes(&name, &bytes);
    disk
}

fn found(disk: &FaultyDisk) -> Recovered {
    open(disk, WIDE).unwrap().1
}

#[test]
fn a_record_that_is_there_and_wrong_may_have_been_acknowledged() {
    let disk = filled(5);
    let len = disk.bytes(&last_name(&disk)).unwrap().len();
    let record = len - (len - header::BYTES) / 5;
    for bit in (record * 8..len * 8).step_by(7) {
        let cut = found(&changed(&disk, |bytes| bytes[bit / 8] ^= 1 << (bit % 8))).cut.unwrap();
        assert_eq!((cut.offset, cut.whole_records, cut.is_certain), (record as u64, 0, false), "bit {bit}");
    }
}

#[test]
fn a_record_that_ends_early_or_misses_sectors_was_never_acknowledged() {
    let disk = filled(5);
    let len = disk.bytes(&last_name(&disk)).unwrap().len();
    let record = len - (len - header::BYTES) / 5;
    for end in record + 1..len {
        let cut = found(&changed(&disk, |bytes| bytes.truncate(end))).cut.unwrap();
        assert!(cut.is_certain && cut.offset == record as u64, "{end}");
    }
    let sector = record.next_multiple_of(512);
    assert!(found(&changed(&disk, |bytes| bytes[sector..][..100].fill(0))).cut.is_some_and(|cut| !cut.is_certain));
    for missing in [record..sector, sector..(sector + 512).min(len), record..len] {
        let cut = found(&changed(&disk, |bytes| bytes[missing.clone()].fill(0))).cut.unwrap();
        assert!(cut.is_certain, "{missing:?}");
    }
}

#[test]
fn opening_leaves_the_evidence_until_it_is_settled() {
    let disk = filled(5);
    let len = disk.bytes(&last_name(&disk)).unwrap().len();
    let damaged = changed(&disk, |bytes| bytes[len - 3] ^= 1);
    let empty = FaultyDisk::new();
    empty.set_bytes("manifest", &disk.bytes("manifest").unwrap());
    empty.set_bytes(&last_name(&disk), b"");
    for disk in [damaged, empty] {
        let first = found(&disk);
        assert!(first.cut.is_some() || disk.bytes(&last_name(&disk)).unwrap().is_empty());
        // Also after a power loss, and when the call that would settle it fails.
        disk.crash(|| 1);
        let (mut log, again) = open(&disk, WIDE).unwrap();
        assert_eq!(again.cut, first.cut);
        disk.fail(Fault::Call(0, io::ErrorKind::Other));
        log.settle().unwrap_err();
        assert!(log.failed().is_some());
        disk.heal();
        let (mut log, again) = open(&disk, WIDE).unwrap();
        assert_eq!(again.cut, first.cut);
        log.settle().unwrap();
        assert_eq!(found(&disk).cut, None);
    }
}

#[test]
fn a_segment_without_a_sound_header_is_read_all_the_same() {
    for (messages, closed) in [(5, false), (5, true), (2, false)] {
        let disk = filled(messages);
        if closed {
            open(&disk, WIDE).unwrap().0.close().unwrap();
        }
        for damaged in [0..header::BYTES, 10..50] {
            let disk = changed(&disk, |bytes| bytes[damaged].fill(0xff));
            let (mut log, recovered) = open(&disk, WIDE).unwrap();
            assert_eq!((recovered.cut, recovered.streams[&1].last_sequence), (None, messages));
            let name = last_name(&disk);
            assert_eq!(recovered.damage, [Damage::Bytes { file: name, range: 0..header::BYTES as u64 }]);
            assert_eq!(read(&log.reader(), 1).len() as u64, messages);
            log.settle().unwrap();
            assert_eq!(found(&disk).damage, []);
        }
        // The records of the first page are gone too.
        let disk = changed(&disk, |bytes| bytes[..1000].fill(0));
        let recovered = found(&disk);
        let is_all_gone = messages == 2;
        assert_eq!(recovered.streams.is_empty(), is_all_gone);
        assert!(!recovered.damage.is_empty() || recovered.cut.is_some_and(|cut| !cut.is_certain));
    }
}

#[test]
fn a_last_segment_of_which_nothing_can_be_read_is_damage_unless_it_never_was_written() {
    let disk = filled(5);
    let garbled = changed(&disk, |bytes| bytes.fill(0x11));
    let (mut log, recovered) = open(&garbled, WIDE).unwrap();
    assert_eq!(recovered.damage, [Damage::Segment { file: last_name(&disk) }]);
    assert!(!recovered.absent_streams_are_empty);
    log.accept_damage().unwrap();
    append(&mut log, 1, &message(1, 1, "a", 0), b"");
    log.commit().unwrap();
    drop(log);
    assert!(garbled.bytes(&format!("{}.damaged", last_name(&disk))).is_some());
    assert_eq!((found(&garbled).damage, found(&garbled).streams[&1].last_sequence), (Vec::new(), 1));
    for never in [Vec::new(), vec![0; 600]] {
        let recovered = found(&changed(&disk, |bytes| *bytes = never.clone()));
        assert_eq!(recovered.damage, []);
        assert!(recovered.absent_streams_are_empty && recovered.cut.is_none_or(|cut| cut.is_certain));
    }
    // One that was there when the store was closed had been written.
    open(&disk, WIDE).unwrap().0.close().unwrap();
    assert_ne!(found(&changed(&disk, Vec::clear)).damage, []);
}

#[test]
fn what_is_missing_after_a_close_is_noticed() {
    let disk = filled(5);
    open(&disk, WIDE).unwrap().0.close().unwrap();
    assert_eq!(found(&disk).damage, []);
    let gone = disk.copy();
    gone.unlink(&last_name(&disk)).unwrap();
    let (mut log, recovered) = open(&gone, WIDE).unwrap();
    let messages = Damage::Messages { stream: 1, first_sequence: 1, last_sequence: 5 };
    assert_eq!(recovered.damage, [Damage::MissingSegments { first: 0, last: 0 }, messages.clone()]);
    assert!(!recovered.streams[&1].end_is_certain);
    log.accept_damage().unwrap();
    append(&mut log, 1, &message(1, 6, "a", 0), b"");
    log.close().unwrap();
    assert_eq!(found(&gone).damage, [messages]);
    // A part of it, to the byte where a record ends.
    let record = (disk.bytes(&last_name(&disk)).unwrap().len() - header::BYTES) / 5;
    let recovered = found(&changed(&disk, |bytes| bytes.truncate(header::BYTES + 2 * record - 10)));
    assert!(recovered.cut.is_some() || !recovered.damage.is_empty());
}

#[test]
fn a_new_store_is_one_until_something_is_kept() {
    let disk = FaultyDisk::new();
    assert!(found(&disk).is_new && found(&disk).is_new);
    open(&disk, WIDE).unwrap().0.settle().unwrap();
    assert!(!found(&disk).is_new);
}

#[test]
fn compaction_takes_no_room_that_retention_needs() {
    let options = Options { segment_bytes: 2_000, reserve_bytes: 1_000 };
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, options).unwrap();
    let mut last = 0;
    let mut fill = |log: &mut Log| {
        for _ in 0..60 {
            last += 1;
            append(log, 1, &message(1, last, if last % 3 == 0 { "a" } else { "b" }, 100), b"");
            log.commit().unwrap();
        }
        log.replace_beyond(1, NonZeroU32::MIN, ["b"]);
        last
    };
    fill(&mut log);
    disk.fail(Fault::Full(disk.used_bytes()));
    let failed = log.compact(u64::MAX, 10_000).unwrap_err();
    assert!(failed.full && log.failed().is_none());
    let calls = disk.calls();
    assert_eq!(log.compact(u64::MAX, 10_000), Err(failed));
    assert_eq!(disk.calls(), calls, "it waits");
    disk.heal();
    log.retain(&[(1, 30)]).unwrap();
    assert_eq!(log.compact(u64::MAX, 300), Ok(true));
    while log.compact(u64::MAX, 10_000).unwrap() {}
    // Without the reserve it does not even begin.
    fill(&mut log);
    drop(log);
    disk.unlink("reserve").unwrap();
    disk.fail(Fault::Full(disk.used_bytes() + 500));
    let (mut log, _) = open(&disk, options).unwrap();
    log.replace_beyond(1, NonZeroU32::MIN, ["b"]);
    assert!(!log.has_reserve());
    let used = disk.used_bytes();
    assert_eq!(log.compact(u64::MAX, 10_000).unwrap_err().operation, "compact without its");
    assert_eq!(disk.used_bytes(), used);
}

#[test]
fn what_a_directory_makes_is_for_its_owner_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("data/streams");
    let (mut log, _) =
        Log::open(std::sync::Arc::new(Directory::open(&path).unwrap()), Options { reserve_bytes: 10, ..WIDE }).unwrap();
    append(&mut log, 1, &message(1, 1, "a", 0), b"");
    log.close().unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 3 && files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}
