//! What a damaged, incomplete or full store is opened as: never as one that has lost nothing.

use std::io::ErrorKind;
use std::sync::mpsc;

use super::super::admin::AdminRequest;
use super::*;
use crate::store::faulty::Fault;
use crate::stream::EpochReason;

/// Groups of so many messages each, acknowledged and not closed.
fn with_groups(groups: &[u8]) -> (FaultyDisk, Bench, Epoch) {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut bench = bench(&disk, &[definition("s", Durability::Disk)], &recorder, 1).unwrap();
    for messages in groups {
        let mut submissions = Submissions::new(0, 0);
        for n in 0..*messages {
            push(&mut submissions, head(0, "s.x"), &[n; 40]);
        }
        bench.disk().step(5, vec![submissions]);
    }
    let epoch = bench.epoch(0);
    (disk, bench, epoch)
}

fn again(disk: &FaultyDisk) -> Bench {
    bench(disk, &[definition("s", Durability::Disk)], &Recorder::new(1), 10).unwrap()
}

fn last_log(disk: &FaultyDisk) -> String {
    disk.list().unwrap().into_iter().rfind(|name| name.strip_suffix(".log").is_some()).unwrap()
}

fn flip(disk: &FaultyDisk, from_end: usize) {
    let name = last_log(disk);
    let mut bytes = disk.bytes(&name).unwrap();
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    disk.set_bytes(&name, &bytes);
}

/// Another epoch, and the operator is told of a loss.
fn assert_repaired(bench: &Bench, before: &Epoch) {
    assert_ne!(bench.epoch(0), *before, "{:?}", bench.report);
    let state = bench.shared.stream(0).unwrap().read();
    assert_eq!(state.stream().epochs().reason(), EpochReason::Repaired);
    assert!(bench.report.iter().any(|finding| finding.is_loss && finding.text.contains("stream `s`")));
}

#[test]
fn damage_is_found_again_by_the_start_after_one_that_was_refused_or_failed() {
    let (disk, bench_, epoch) = with_groups(&[3, 5]);
    drop(bench_);
    flip(&disk, 350);
    let other = [definition("other", Durability::Disk)];
    assert!(matches!(bench(&disk, &other, &Recorder::new(1), 9).err(), Some(OpenError::Change(_))));
    for call in 0.. {
        let calls = disk.calls();
        disk.fail(Fault::Call(call, ErrorKind::Other));
        let opened = bench(&disk, &[definition("s", Durability::Disk)], &Recorder::new(1), 9);
        disk.heal();
        if let Ok(opened) = opened {
            // Where a call failed that nothing depends on, it may have succeeded before the last one.
            assert!(opened.bounds(0).last < 8 && opened.epoch(0) != epoch);
            if disk.calls() - calls <= call {
                break;
            }
        }
    }
    let again = again(&disk);
    assert_ne!(again.epoch(0), epoch);
}

#[test]
fn a_flipped_bit_of_the_last_message_costs_the_epoch_and_no_number_means_two() {
    let (disk, bench_, epoch) = with_groups(&[1, 1, 1, 1, 1]);
    drop(bench_);
    flip(&disk, 3);
    let again = again(&disk);
    assert_eq!(again.bounds(0).last, 4);
    assert_repaired(&again, &epoch);
}

#[test]
fn a_lost_header_of_the_last_segment_costs_nothing_or_the_epoch() {
    let (disk, bench_, epoch) = with_groups(&[3, 3, 3]);
    let last = bench_.bounds(0).last;
    drop(bench_);
    let name = last_log(&disk);
    for (lost, is_read) in [(64, true), (usize::MAX, false)] {
        let disk = disk.copy();
        let mut bytes = disk.bytes(&name).unwrap();
        let lost = lost.min(bytes.len());
        bytes[..lost].fill(0xaa);
        disk.set_bytes(&name, &bytes);
        let again = again(&disk);
        if is_read {
            assert_eq!((again.bounds(0).last, again.epoch(0)), (last, epoch.clone()));
        } else {
            assert_repaired(&again, &epoch);
        }
    }
}

#[test]
fn a_store_of_which_only_definitions_are_left_goes_on_in_another_epoch() {
    let (disk, bench_, epoch) = with_groups(&[3]);
    drop(bench_);
    for name in disk.list().unwrap() {
        if name != "definitions.redb" {
            disk.unlink(&name).unwrap();
        }
    }
    // Found again, too.
    disk.fail(Fault::Call(8, ErrorKind::Other));
    drop(bench(&disk, &[definition("s", Durability::Disk)], &Recorder::new(1), 10));
    disk.heal();
    let again_ = again(&disk);
    assert_ne!(again_.epoch(0), epoch);
    let repaired = again_.epoch(0);
    drop(again_);
    let once_more = again(&disk);
    assert_eq!((once_more.epoch(0), &once_more.report[..]), (repaired, &[][..]));
}

#[test]
fn a_newest_segment_that_went_missing_after_a_clean_end_is_noticed() {
    let (disk, bench_, epoch) = with_groups(&[3; 20]);
    let last = bench_.bounds(0).last;
    bench_.disk.unwrap().close();
    let whole = again(&disk.copy());
    assert_eq!((whole.epoch(0), whole.report), (epoch.clone(), Vec::new()));
    disk.unlink(&last_log(&disk)).unwrap();
    let again = again(&disk);
    assert_eq!(again.bounds(0).last, last, "no number is given out twice");
    assert_repaired(&again, &epoch);
}

/// A store that filled the disk.
fn full() -> (FaultyDisk, Bench, Epoch) {
    let (disk, mut bench, epoch) = with_groups(&[1]);
    disk.fail(Fault::Full(disk.used_bytes() + 1_000));
    let mut now_us = 10;
    while bench.shared.store_status().unwrap().failed.is_none() {
        now_us += 1;
        bench.publish(now_us, head(0, "s.x"), &[7; 300]);
    }
    disk.fail(Fault::Full(disk.used_bytes()));
    (disk, bench, epoch)
}

#[test]
fn a_store_on_a_full_disk_starts_and_reopens_on_its_first_run_too() {
    let (disk, mut bench_, epoch) = full();
    let kept = bench_.content(0).len();
    let (answer, answered) = mpsc::channel();
    bench_.disk().administer(100, AdminRequest::Reopen { answer });
    let report = answered.recv().unwrap().unwrap();
    assert!(report.iter().all(|finding| !finding.is_loss && !finding.text.contains("crash")), "{report:?}");
    assert_eq!((bench_.content(0).len(), bench_.epoch(0)), (kept, epoch.clone()));
    drop(bench_);
    let again = again(&disk);
    assert_eq!((again.content(0).len(), again.epoch(0)), (kept, epoch));
}

#[test]
fn a_full_disk_gets_room_by_a_removal_or_a_purge_and_takes_publications_again() {
    for removes in [true, false] {
        let (disk, mut bench, epoch) = full();
        // As much as the manifest takes, which the reserve is for.
        disk.fail(Fault::Full(disk.used_bytes() + 200));
        if removes {
            let (answer, answered) = mpsc::channel();
            bench.disk().administer(100, AdminRequest::Remove { stream: 0, answer });
            assert_ne!(answered.recv().unwrap().unwrap(), epoch);
            assert!(bench.shared.stream(0).unwrap().read().stream().is_stopped());
        } else {
            let (answer, answered) = mpsc::channel();
            bench.disk().administer(100, AdminRequest::Purge { stream: 0, purge: Purge::All, answer });
            assert!(answered.recv().unwrap().unwrap().messages > 0);
        }
        let (answer, answered) = mpsc::channel();
        bench.disk().administer(100, AdminRequest::Reopen { answer });
        answered.recv().unwrap().unwrap();
        let last = bench.bounds(0).last;
        bench.publish(200, head(0, "s.x"), &[7; 300]);
        assert_eq!((bench.bounds(0).last, bench.shared.store_status().unwrap().failed), (last + 1, None));
    }
}

#[test]
fn a_stream_whose_time_is_ahead_of_the_clock_is_named_and_put_right() {
    let year_us = 365 * 24 * HOUR_US;
    for removes in [true, false] {
        let (disk, mut bench_, _) = with_groups(&[1]);
        bench_.publish(year_us, head(0, "s.x"), b"ahead");
        drop(bench_);
        let mut again_ = again(&disk);
        let ahead = |bench: &Bench| bench.report.iter().any(|finding| finding.text.contains("ahead of the clock"));
        assert!(ahead(&again_), "{:?}", again_.report);
        let (answer, answered) = mpsc::channel();
        let request = if removes {
            AdminRequest::Remove { stream: 0, answer }
        } else {
            AdminRequest::RenewEpoch { stream: 0, answer }
        };
        again_.disk().administer(20, request);
        answered.recv().unwrap().unwrap();
        again_.publish(30, head(0, "s.x"), b"right");
        assert_eq!(again_.content(0).last().unwrap().time_us, 30);
        drop(again_);
        let mut once_more = again(&disk);
        assert!(!ahead(&once_more));
        once_more.publish(40, head(0, "s.x"), b"right");
        assert_eq!(once_more.content(0).last().unwrap().time_us, 40);
    }
}

/// What the disk does not give at a start may be sound: a topic would be taken for new, an id for unknown, a stream for
/// empty.
#[test]
fn a_start_that_cannot_read_what_it_needs_is_refused_and_costs_nothing() {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(1));
    let mut definitions = [definition("a", Durability::Disk), definition("b", Durability::Disk)];
    definitions[1].retention.max_messages = NonZeroU64::new(20);
    let mut first = bench(&disk, &definitions, &recorder, 1).unwrap();
    for n in 1..=60 {
        first.publish(n, SubmissionHead { message_id: Some("id"), ..head(1, &format!("b.{n}")) }, &[7; 90]);
        if n == 20 {
            first.publish(n, SubmissionHead { message_id: Some("id"), ..head(0, "a.x") }, b"once");
        }
    }
    first.disk().maintain(100);
    first.disk.take().unwrap().close();
    drop(first);
    let names = disk.list().unwrap();
    let with_a = names.iter().find(|name| name.strip_suffix(".log").is_some()).unwrap().trim_end_matches(".log");
    for (unread, from) in [(with_a, 64), (with_a, 0), ("ids", 0), ("manifest", 0), (last_log(&disk).as_str(), 64)] {
        disk.fail_reads(unread, from);
        for definitions in [&definitions[..], &definitions[1..]] {
            let opened = bench(&disk, definitions, &recorder, 200).err();
            assert!(matches!(opened, Some(OpenError::Log(_))), "{unread}: {opened:?}");
        }
        disk.heal();
    }
    let mut again = bench(&disk, &definitions, &recorder, 200).unwrap();
    assert_eq!(again.report, []);
    recorder.take(0);
    for (stream, topic) in [(0, "a.x"), (1, "b.1"), (1, "b.60")] {
        again.publish(200, SubmissionHead { message_id: Some("id"), ..head(stream, topic) }, b"again");
        let [Answer { outcome: Outcome::Kept { duplicate: true, .. }, .. }] = recorder.answers(0)[..] else {
            panic!("{topic} was kept again");
        };
    }
}
