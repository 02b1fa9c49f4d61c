//! Which definitions are taken, at a start and while the broker runs.

use std::num::NonZeroU32;

use super::super::admin::AdminRequest;
use super::*;
use crate::stream::ChangeFault;

fn two() -> [Definition; 2] {
    [definition("a", Durability::Disk), definition("b", Durability::Disk)]
}

fn refused(disk: &FaultyDisk, definitions: &[Definition]) -> ChangeFault {
    match bench(disk, definitions, &Recorder::new(1), 1).err() {
        Some(OpenError::Change(refused)) => refused.fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stream_with_messages_cannot_be_left_out_moved_or_narrowed() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut bench_ = bench(&disk, &two(), &recorder, 1).unwrap();
    bench_.publish(2, head(0, "a.x"), b"1");
    let epoch = bench_.epoch(0);
    drop(bench_);

    assert_eq!(refused(&disk, &two()[1..]), ChangeFault::Removed);
    let mut moved = two();
    moved[0].durability = Durability::Memory;
    moved[0].retention.max_bytes = Some(NonZeroU64::MAX);
    assert!(matches!(refused(&disk, &moved), ChangeFault::Durability { .. }));
    let mut narrowed = two();
    narrowed[0].patterns = vec![PatternBuf::new("a.y").unwrap()];
    assert!(matches!(refused(&disk, &narrowed), ChangeFault::Topic { .. }));

    // In another order, and without the stream that has nothing.
    let bench = bench(&disk, &two()[..1], &recorder, 3).unwrap();
    assert_eq!((bench.epoch(0), bench.content(0).len()), (epoch, 1));
}

#[test]
fn a_stream_without_messages_is_forgotten_and_its_number_is_not_used_again() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let first = bench(&disk, &two(), &recorder, 1).unwrap();
    let (number, epoch) = (first.shared.streams[1].number(), first.epoch(1));
    drop(first);
    let without = bench(&disk, &two()[..1], &recorder, 1).unwrap();
    assert!(without.report.iter().any(|finding| finding.text.contains("`b`") && !finding.is_loss));
    drop(without);
    let again = bench(&disk, &two(), &recorder, 1).unwrap();
    assert_ne!((again.shared.streams[1].number(), again.epoch(1)), (number, epoch));
}

#[test]
fn a_log_whose_definitions_are_gone_or_older_is_not_opened() {
    const FILE: &str = "definitions.redb";
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    drop(bench(&disk, &two()[..1], &recorder, 1).unwrap());
    let older = disk.bytes(FILE).unwrap();
    let mut both = bench(&disk, &two(), &recorder, 1).unwrap();
    both.publish(2, head(1, "b.x"), b"1");
    drop(both);
    let with_older = disk.copy();
    with_older.set_bytes(FILE, &older);
    let opened = bench(&with_older, &two(), &recorder, 1).err();
    assert!(matches!(opened, Some(OpenError::UnknownNumber { number: 2, next: 2 })), "{opened:?}");
    disk.unlink(FILE).unwrap();
    assert!(matches!(bench(&disk, &two(), &recorder, 1).err(), Some(OpenError::Definitions(_))));
}

#[test]
fn a_memory_stream_begins_in_a_new_epoch_at_each_start_and_a_disk_stream_goes_on() {
    let definitions = [definition("d", Durability::Disk), definition("m", Durability::Memory)];
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let first = bench(&disk, &definitions, &recorder, 1).unwrap();
    let second = bench(&disk.copy(), &definitions, &recorder, 1).unwrap();
    assert_eq!(first.epoch(0), second.epoch(0));
    assert_ne!(first.epoch(1), second.epoch(1));
    let memory = second.shared.stream(1).unwrap().read();
    assert_eq!(memory.stream().epochs().reason(), crate::stream::EpochReason::Restarted);
}

#[test]
fn ids_are_remembered_over_a_restart_as_long_as_the_window_says() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let with_id = SubmissionHead { message_id: Some("id"), ..head(0, "a.x") };
    let mut first = bench(&disk, &two(), &recorder, 1).unwrap();
    first.publish(1_000, with_id, b"1");
    drop(first);
    for (now_us, duplicate) in [(2_000, true), (1_000 + HOUR_US, false)] {
        recorder.answers(0);
        let mut again = bench(&disk.copy(), &two(), &recorder, now_us).unwrap();
        again.publish(now_us, with_id, b"1");
        let answers = recorder.answers(0);
        let Outcome::Kept { sequence, duplicate: is, .. } = &answers[0].outcome else { panic!("{answers:?}") };
        assert_eq!((*is, *sequence), (duplicate, if duplicate { 1 } else { 2 }));
    }
}

#[test]
fn only_what_takes_no_restart_can_be_redefined() {
    let bench = bench(&FaultyDisk::new(), &two(), &Recorder::new(1), 1).unwrap();
    let check = |definitions: &[Definition]| super::super::admin::check_redefine(&bench.shared, definitions);
    let mut changed = two();
    changed[0].retention.max_messages = Some(NonZeroU64::MIN);
    changed[1].max_topics = 1;
    changed.reverse();
    assert_eq!(check(&changed), Ok(()));
    assert_eq!(check(&two()[..1]), Err(RedefineError::Missing { name: name("b") }));
    let more = [two().to_vec(), vec![definition("c", Durability::Disk)]].concat();
    assert_eq!(check(&more), Err(RedefineError::New { name: name("c") }));
    let mut other = two();
    other[0].patterns = vec![PatternBuf::new("a.*").unwrap()];
    assert_eq!(check(&other), Err(RedefineError::Patterns { name: name("a") }));
    let mut wrong = two();
    wrong[0].max_topics = 0;
    assert!(matches!(check(&wrong), Err(RedefineError::Definition(_))));
}

#[test]
fn a_count_for_each_topic_holds_after_a_while_and_after_a_restart() {
    let mut definitions = two();
    definitions[0].retention.max_messages_per_topic = NonZeroU32::new(2);
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut bench_ = bench(&disk, &definitions, &recorder, 1).unwrap();
    for n in 1..=10_u8 {
        bench_.publish(u64::from(n), head(0, if n % 2 == 0 { "a.even" } else { "a.odd" }), &[n]);
    }
    bench_.disk().maintain(20);
    let sequences = |bench: &Bench| bench.content(0).iter().map(|said| said.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(&bench_), [7, 8, 9, 10]);
    assert_eq!(bench_.bounds(0).first, 1, "what newer ones replaced is no gap");
    let again = bench(&disk.copy(), &definitions, &recorder, 30).unwrap();
    assert_eq!(sequences(&again), [7, 8, 9, 10]);
}

#[test]
fn a_stream_cannot_be_left_out_though_all_of_its_messages_are_damaged() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut first = bench(&disk, &two(), &recorder, 1).unwrap();
    for n in 1..=6 {
        first.publish(n, head(0, "a.x"), &[7; 90]);
    }
    for n in 7..=60 {
        first.publish(n, head(1, "b.x"), &[7; 90]);
    }
    first.disk.take().unwrap().close();
    let log = disk.list().unwrap().into_iter().find(|name| name.strip_suffix(".log").is_some()).unwrap();
    let mut bytes = disk.bytes(&log).unwrap();
    bytes[64..].fill(0xaa);
    disk.set_bytes(&log, &bytes);
    disk.unlink(&log.replace(".log", ".idx")).unwrap();
    assert_eq!(refused(&disk, &two()[1..]), ChangeFault::Removed);
    assert_eq!(bench(&disk, &two(), &recorder, 100).unwrap().bounds(0).last, 6);
}

#[test]
fn what_is_defined_as_before_is_not_looked_through_again() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut bounded = definition("a", Durability::Disk);
    bounded.retention.max_messages_per_topic = NonZeroU32::new(2);
    let mut bench = bench(&disk, &[bounded.clone()], &recorder, 1).unwrap();
    for n in 1..=200_u64 {
        bench.publish(n, head(0, &format!("a.{}", n % 90)), &[7; 90]);
    }
    bench.disk().maintain(300);
    let mut redefine = |definition: &Definition| {
        let before = bench.shared.read_counts.disk_reads();
        let request = AdminRequest::Redefine(vec![(0, Arc::new(definition.clone()))]);
        bench.disk().administer(400, request);
        (bench.shared.read_counts.disk_reads() - before, bench.content(0).len())
    };
    assert_eq!(redefine(&bounded), (0, 180));
    bounded.retention.max_messages_per_topic = NonZeroU32::new(3);
    assert_eq!(redefine(&bounded), (0, 180), "what was replaced does not come back");
    bounded.retention.max_messages_per_topic = NonZeroU32::new(1);
    let (reads, left) = redefine(&bounded);
    assert!(reads > 0 && left == 90);
}
