//! What the committer does each second, and what that costs.

use std::io;
use std::num::{NonZeroU32, NonZeroU64};

use super::super::admin::AdminRequest;
use super::*;
use crate::store::DiskFile;

const LOG: &str = ".log";

fn small_groups(bench: &mut Bench, messages: u8) {
    for n in 1..=messages {
        bench.publish(n.into(), head(0, "s.x"), &[n; 60]);
    }
}

#[test]
fn the_status_counts_the_segment_that_is_written() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut bench = bench(&disk, &[definition("s", Durability::Disk)], &recorder, 1).unwrap();
    let mut segments = 0;
    for n in 1..=40 {
        bench.publish(n, head(0, "s.x"), &[7; 60]);
        bench.disk().maintain(n);
        let names = Disk::list(&disk).unwrap();
        let logs: Vec<_> = names.iter().filter(|name| name.ends_with(LOG)).collect();
        let bytes: usize = logs.iter().map(|name| disk.bytes(name).unwrap().len()).sum();
        let status = bench.shared.store_status().unwrap();
        assert_eq!((status.segments, status.bytes), (logs.len() as u64, bytes as u64));
        segments = status.segments;
    }
    assert!(segments > 2, "{segments}");
}

#[test]
fn an_id_is_remembered_after_a_restart_though_retention_took_its_segment() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut short = definition("s", Durability::Disk);
    short.retention.max_messages = NonZeroU64::new(5);
    let with_id = SubmissionHead { message_id: Some("A"), ..head(0, "s.x") };
    let mut first = bench(&disk, &[short.clone()], &recorder, 1).unwrap();
    first.publish(1, with_id, b"once");
    small_groups(&mut first, 60);
    first.disk().maintain(100);
    assert_eq!(first.bounds(0).first, 57);
    drop(first);
    assert!(disk.bytes("0000000000000000-0.log").is_none(), "its segment is gone");
    let _ = recorder.take(0);
    let mut again = bench(&disk, &[short.clone()], &recorder, 110).unwrap();
    again.publish(111, with_id, b"once");
    let [Answer { outcome: Outcome::Kept { sequence: 1, duplicate: true, .. }, .. }] = recorder.answers(0)[..] else {
        panic!("it was kept again");
    };
    // Behind its window it is another message.
    again.publish(2 + HOUR_US, with_id, b"once");
    assert!(matches!(recorder.answers(0)[..], [Answer { outcome: Outcome::Kept { duplicate: false, .. }, .. }]));
}

#[test]
fn nothing_is_read_while_nothing_is_due() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut aged = definition("s", Durability::Disk);
    aged.retention.max_age_us = NonZeroU64::new(HOUR_US);
    aged.retention.max_messages_per_topic = NonZeroU32::new(1_000);
    let mut bench = bench(&disk, &[aged], &recorder, 1).unwrap();
    small_groups(&mut bench, 60);
    bench.disk().maintain(100);
    while bench.disk().compact(100) {}
    let reads = bench.shared.read_counts.disk_reads();
    for second in 1..10 {
        bench.disk().maintain(100 + second);
        assert!(!bench.disk().compact(100 + second));
    }
    assert_eq!(bench.shared.read_counts.disk_reads(), reads);
    // To the microsecond all the same.
    bench.disk().maintain(10 + HOUR_US);
    assert_eq!(bench.bounds(0).first, 11);
    bench.disk().maintain(11 + HOUR_US);
    assert_eq!(bench.bounds(0).first, 12);
    bench.publish(12 + HOUR_US, head(0, "s.x"), b"young");
    bench.disk().maintain(60 + HOUR_US);
    assert_eq!(bench.bounds(0).first, 61);
}

/// Whatever takes a segment away first after a start: it carries over what counts, of every stream.
#[test]
fn ids_are_remembered_over_two_restarts_whatever_was_taken_away_between_them() {
    for what in ["nothing", "purge", "removal", "orphan"] {
        let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
        let mut bounded = definition("a", Durability::Disk);
        bounded.retention.max_messages = NonZeroU64::new(5);
        let definitions = [bounded, definition("b", Durability::Disk)];
        let with_id = SubmissionHead { message_id: Some("A"), ..head(0, "a.x") };
        let mut first = bench(&disk, &definitions, &recorder, 1).unwrap();
        first.publish(1, with_id, b"once");
        for n in 2..=60 {
            first.publish(n, head(0, "a.y"), &[7; 90]);
        }
        // Its segment goes, and later one in which nobody has an id.
        first.disk().maintain(100);
        for n in 101..=160 {
            first.publish(n, head(1, "b.x"), &[7; 90]);
        }
        if what == "orphan" {
            let (answer, _) = std::sync::mpsc::channel();
            first.disk().administer(170, AdminRequest::Purge { stream: 1, purge: Purge::All, answer });
        }
        first.disk.take().unwrap().close();
        let defined = if what == "orphan" { &definitions[..1] } else { &definitions[..] };
        let mut second = bench(&disk, defined, &recorder, 200).unwrap();
        let (answer, _) = std::sync::mpsc::channel();
        match what {
            "purge" => second.disk().administer(200, AdminRequest::Purge { stream: 1, purge: Purge::All, answer }),
            "removal" => {
                let (answer, _) = std::sync::mpsc::channel();
                second.disk().administer(200, AdminRequest::Remove { stream: 1, answer });
            }
            _ => {}
        }
        second.disk.take().unwrap().close();
        let mut third = bench(&disk, defined, &recorder, 300).unwrap();
        recorder.take(0);
        third.publish(300, with_id, b"once");
        let [Answer { outcome: Outcome::Kept { sequence: 1, duplicate: true, .. }, .. }] = recorder.answers(0)[..]
        else {
            panic!("after {what} it was kept again");
        };
    }
}

#[test]
fn retention_by_count_reads_no_message() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut counted = definition("s", Durability::Disk);
    counted.retention.max_messages = NonZeroU64::new(5);
    let mut bench = bench(&disk, &[counted], &recorder, 1).unwrap();
    // In one segment, whose index is in memory.
    small_groups(&mut bench, 10);
    let reads = bench.shared.read_counts.disk_reads();
    bench.disk().maintain(100);
    assert_eq!((bench.bounds(0).first, bench.shared.read_counts.disk_reads()), (6, reads));
}

/// A disk that looks, whenever a file is made on it, whether a reader would wait for a stream.
struct LockWatch {
    disk: FaultyDisk,
    shared: Mutex<Option<Arc<Shared>>>,
    made: Mutex<Vec<String>>,
}

impl Disk for LockWatch {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(shared) = &*self.shared.lock().unwrap() {
            assert!(shared.streams.iter().all(|stream| !stream.is_locked()), "{name} is made under a lock");
            self.made.lock().unwrap().push(name.to_owned());
        }
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

#[test]
fn segments_are_begun_and_sealed_while_no_stream_is_locked() {
    let watch = Arc::new(LockWatch { disk: FaultyDisk::new(), shared: Mutex::default(), made: Mutex::default() });
    let (definitions, disk) = (vec![definition("s", Durability::Disk)], Arc::clone(&watch) as Arc<dyn Disk>);
    let opened = open_on(Some(disk), definitions, small_options(), Arc::new(()), Arc::default(), 1).unwrap();
    let (shared, committer, _) = opened.committers(&(Recorder::new(1) as Arc<dyn Shards>));
    *watch.shared.lock().unwrap() = Some(shared);
    let mut committer = committer.unwrap();
    for n in 1..=60 {
        let mut submissions = Submissions::new(0, 0);
        push(&mut submissions, head(0, "s.x"), &[7; 60]);
        committer.step(n, vec![submissions]);
    }
    let made = watch.made.lock().unwrap();
    let is_made = |end: &str| made.iter().filter(|name| name.ends_with(end)).count() > 2;
    assert!(is_made(LOG) && is_made(".idx"), "{made:?}");
}
