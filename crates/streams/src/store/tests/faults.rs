//! Writes, syncs and renames that fail, and a disk that is full.

use std::io;
use std::num::NonZeroU32;

use super::super::faulty::{Fault, FaultyDisk};
use super::super::header::SegmentId;
use super::super::{AppendError, IdWindow, Log, OpenError, Options, StoreFailed};
use super::{SMALL, append, bytes, message, open, read};

/// Rolls segments, retains, replaces and compacts, and stops at the first failure.
fn work(log: &mut Log, committed: &mut u64) -> Result<(), StoreFailed> {
    for sequence in *committed + 1..=*committed + 60 {
        let message = message(1, sequence, "a", 40);
        let record = super::Record {
            stream: 1,
            sequence,
            time_us: message.time_us,
            topic: "a",
            message_id: b"",
            delivery: &message.delivery,
        };
        match log.append(&record) {
            Err(AppendError::Failed(failed)) => return Err(failed),
            other => other.unwrap(),
        }
        log.commit()?;
        *committed = sequence;
    }
    log.replace_beyond(1, NonZeroU32::new(4).unwrap(), ["a"]);
    while log.compact(u64::MAX, 500)? {}
    log.retain(&[(1, *committed - 1)])?;
    Ok(())
}

#[test]
fn whichever_call_fails_nothing_committed_is_lost() {
    let mut failures = 0;
    for call in 0.. {
        let disk = FaultyDisk::new();
        let (mut log, _) = open(&disk, SMALL).unwrap();
        disk.fail(Fault::Call(call, io::ErrorKind::Other));
        let calls = disk.calls();
        let mut committed = 0;
        let result = work(&mut log, &mut committed);
        if result.is_ok() && disk.calls() - calls <= call {
            break;
        }
        failures += u64::from(result.is_err());
        let reader = log.reader();
        let seen = reader.stream(1).map_or(0, |stream| stream.last_sequence);
        assert_eq!(seen, committed, "readers see what was committed and no more");
        drop(log);
        disk.heal();
        disk.crash(|| call);
        let (mut log, recovered) = open(&disk, SMALL).unwrap();
        assert_eq!(recovered.damage, [], "call {call}");
        let mut last = recovered.streams.get(&1).map_or(0, |stream| stream.last_sequence);
        assert!((committed..=committed + 1).contains(&last), "call {call}: {last}");
        if last > 0 {
            let page = log.reader().read(1, last, u64::MAX, &bytes(u64::MAX));
            assert_eq!((page.len(), page.damaged().len()), (1, 0), "call {call}");
        }
        work(&mut log, &mut last).unwrap();
    }
    assert!(failures > 100, "only {failures} calls failed the store");
}

#[test]
fn after_a_failed_sync_nothing_is_taken_until_it_is_opened_again() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, SMALL).unwrap();
    append(&mut log, 1, &message(1, 1, "a", 0), b"");
    log.commit().unwrap();
    append(&mut log, 1, &message(1, 2, "a", 0), b"");
    // The write succeeds.
    disk.fail(Fault::Call(1, io::ErrorKind::Other));
    let failed = log.commit().unwrap_err();
    assert_eq!((failed.operation, failed.full), ("sync", false));
    assert_eq!(log.commit(), Err(failed.clone()));
    assert_eq!(log.retain(&[(1, 2)]), Err(failed.clone()));
    assert_eq!(log.failed(), Some(&failed));
    assert_eq!(read(&log.reader(), 1).len(), 1);
    drop(log);
    // What the cache still shows is made sure of before anybody sees it.
    let (log, recovered) = open(&disk, SMALL).unwrap();
    assert_eq!(recovered.streams[&1].last_sequence, 2);
    drop(log);
    disk.crash(|| 0);
    let (_, recovered) = open(&disk, SMALL).unwrap();
    assert_eq!(recovered.streams[&1].last_sequence, 2);
}

#[test]
fn retention_makes_room_on_a_full_disk() {
    let disk = FaultyDisk::new();
    let options = Options { reserve_bytes: 1000, ..SMALL };
    let (mut log, _) = open(&disk, options).unwrap();
    assert!(log.has_reserve());
    disk.fail(Fault::Full(12_000));
    let mut sequence = 0;
    let failed = loop {
        sequence += 1;
        let message = message(1, sequence, "a", 100);
        let record = super::Record {
            stream: 1,
            sequence,
            time_us: message.time_us,
            topic: "a",
            message_id: b"",
            delivery: &message.delivery,
        };
        if let Err(AppendError::Failed(failed)) = log.append(&record) {
            break failed;
        }
        if let Err(failed) = log.commit() {
            break failed;
        }
    };
    assert!(failed.full);
    let committed = sequence - 1;
    assert_eq!(log.reader().stream(1).unwrap().last_sequence, committed);
    let freed = log.retain(&[(1, committed)]).unwrap();
    assert!(freed.segments > 2 && freed.bytes > 4000);
    assert!(log.has_reserve());
    drop(log);
    let (mut log, recovered) = open(&disk, options).unwrap();
    let stream = &recovered.streams[&1];
    assert_eq!(stream.first_sequence, committed);
    append(&mut log, 1, &message(1, stream.last_sequence + 1, "a", 0), b"");
    log.commit().unwrap();
}

#[test]
fn the_reserve_has_room_for_the_ids_of_what_retention_takes_on_a_full_disk() {
    let disk = FaultyDisk::new();
    let options = Options { reserve_bytes: 6_000, ..SMALL };
    let (mut log, _) = open(&disk, options).unwrap();
    for sequence in 1..=100 {
        append(&mut log, 1, &message(1, sequence, "a", 60), format!("id-{sequence}").as_bytes());
        log.commit().unwrap();
    }
    let window = IdWindow { from_time_us: 0, max: usize::MAX };
    log.set_id_windows([(1, window)]);
    disk.fail(Fault::Full(disk.used_bytes()));
    assert!(log.retain(&[(1, 90)]).unwrap().segments > 2);
    drop(log);
    let (log, _) = open(&disk, options).unwrap();
    assert_eq!(log.reader().message_ids(|_| Some(window)).unwrap().len(), 100);
}

#[test]
fn a_stream_of_which_nothing_is_left_keeps_its_numbers() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, SMALL).unwrap();
    for sequence in 1..=100 {
        append(&mut log, 1, &message(1, sequence, "a", 100), b"");
        log.commit().unwrap();
    }
    append(&mut log, 2, &message(2, 1, "a", 0), b"");
    log.commit().unwrap();
    log.retain(&[(1, 101)]).unwrap();
    drop(log);
    let (mut log, recovered) = open(&disk, SMALL).unwrap();
    let stream = &recovered.streams[&1];
    assert_eq!((stream.first_sequence, stream.last_sequence, stream.count), (101, 100, 0));
    assert_eq!(read(&log.reader(), 1).next_sequence(), 101);
    append(&mut log, 1, &message(1, 101, "a", 0), b"");
    log.commit().unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused_untouched() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, SMALL).unwrap();
    append(&mut log, 1, &message(1, 1, "a", 0), b"");
    log.commit().unwrap();
    drop(log);
    let names = super::super::Disk::list(&disk).unwrap();
    let name = names.iter().find(|name| SegmentId::of_log_name(name).is_some()).unwrap();
    let mut bytes = disk.bytes(name).unwrap();
    for copy in [0, 32] {
        bytes[copy + 8] = 2;
        let checksum = crc32c::crc32c(&bytes[copy..copy + 28]);
        bytes[copy + 28..copy + 32].copy_from_slice(&checksum.to_le_bytes());
    }
    disk.set_bytes(name, &bytes);
    let calls = disk.calls();
    assert!(matches!(open(&disk, SMALL), Err(OpenError::Newer { found: 2, known: 1, .. })));
    assert_eq!(disk.calls(), calls);
}

#[test]
fn records_out_of_order_are_refused_and_the_others_stay() {
    let disk = FaultyDisk::new();
    let (mut log, _) = open(&disk, SMALL).unwrap();
    append(&mut log, 1, &message(1, 1, "a", 0), b"");
    let skipping = super::Record { stream: 1, sequence: 3, time_us: 1, topic: "a", message_id: b"", delivery: b"" };
    let refused = log.append(&skipping).unwrap_err();
    assert_eq!(refused, AppendError::OutOfOrder { stream: 1, expected: 2, found: 3 });
    let long = "t".repeat(70_000);
    let too_long = super::Record { sequence: 2, topic: &long, ..skipping };
    assert_eq!(log.append(&too_long), Err(AppendError::TooLong));
    assert_eq!(log.commit().unwrap().messages, 1);
}
