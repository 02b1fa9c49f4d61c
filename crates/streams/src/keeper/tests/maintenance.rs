//! What the committer does each second, and what that costs.

use std::num::{NonZeroU32, NonZeroU64};

use super::*;

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
