//! The same store on the operating system's files, and read while it is written.

use std::io;
use std::sync::Arc;
use std::thread;

use super::super::IdWindow;
use super::super::{Directory, Log, MessageId, Options};
use super::{append, bytes, message, messages, read};

const SMALL: Options = Options { segment_bytes: 20_000, reserve_bytes: 10_000 };

fn open(path: &std::path::Path) -> (Log, super::Recovered) {
    Log::open(Arc::new(Directory::open(path).unwrap()), SMALL).unwrap()
}

#[test]
fn readers_on_other_threads_see_every_message_once_and_in_order_meanwhile() {
    const MESSAGES: u64 = 3_000;
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&directory.path().join("new/store"));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let reader = log.reader();
            thread::spawn(move || {
                let mut next = 1;
                while next <= MESSAGES {
                    let page = reader.read(1, next, u64::MAX, &bytes(5_000));
                    assert_eq!(page.damaged(), []);
                    for read in messages(&page) {
                        assert_eq!(read, message(1, next, "a", 50));
                        next += 1;
                    }
                    assert_eq!(page.next_sequence(), next);
                    thread::yield_now();
                }
            })
        })
        .collect();
    for sequence in 1..=MESSAGES {
        append(&mut log, 1, &message(1, sequence, "a", 50), b"");
        if sequence % 100 == 0 {
            log.commit().unwrap();
        }
    }
    for reader in readers {
        reader.join().unwrap();
    }
}

#[test]
fn a_reader_keeps_what_it_reads_while_the_segment_is_unlinked() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path());
    for sequence in 1..=500 {
        append(&mut log, 1, &message(1, sequence, "a", 50), b"");
        log.commit().unwrap();
    }
    let snapshot = log.shared.snapshot(1).unwrap();
    let oldest = Arc::clone(&snapshot.segments[0]);
    assert!(log.retain(&[(1, 490)]).unwrap().segments > 1);
    assert!(oldest.read_record(super::super::header::BYTES as u64, &mut Vec::new()).unwrap().is_some());
    assert_eq!(read(&log.reader(), 1).first_sequence(), 490);
    assert!(log.has_reserve());
}

#[test]
fn what_was_committed_is_there_again_and_the_message_ids_too() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, recovered) = open(directory.path());
    assert!(recovered.streams.is_empty() && recovered.cut.is_none());
    for sequence in 1..=400 {
        let topic = ["a", "b.1", "b.2"][usize::try_from(sequence % 3).unwrap()];
        let topic = if sequence == 400 { "b.2" } else { topic };
        append(&mut log, 5, &message(5, sequence, topic, 50), format!("id-{sequence}").as_bytes());
        log.commit().unwrap();
    }
    drop(log);
    let (log, recovered) = open(directory.path());
    assert_eq!((recovered.streams[&5].last_sequence, recovered.streams[&5].count), (400, 400));
    let young = message(5, 395, "a", 0).time_us;
    let ids = |from_time_us, max| {
        let window = |stream| (stream == 5).then_some(IdWindow { from_time_us, max });
        let mut ids = log.reader().message_ids(window).unwrap();
        ids.sort_by_key(|id| id.sequence);
        ids
    };
    let sequences = |ids: Vec<MessageId>| ids.iter().map(|id| id.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(ids(young, usize::MAX)), (395..=400).collect::<Vec<_>>());
    assert_eq!(sequences(ids(young, 2)), [399, 400]);
    assert_eq!(sequences(ids(0, 150)), (251..=400).collect::<Vec<_>>());
    assert_eq!(sequences(ids(0, 1_000)), (1..=400).collect::<Vec<_>>());
    let time_us = message(5, 400, "b.2", 0).time_us;
    let last = MessageId { stream: 5, sequence: 400, time_us, topic: "b.2".to_owned(), id: b"id-400".to_vec() };
    assert_eq!(ids(0, 1), [last]);
}

#[test]
fn two_processes_never_have_the_same_store() {
    let directory = tempfile::tempdir().unwrap();
    let first = Directory::open(directory.path()).unwrap();
    assert_eq!(Directory::open(directory.path()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    Directory::open(directory.path()).unwrap();
}
