//! What an operator does while the broker runs, and what a store does that has failed.

use std::io::ErrorKind;
use std::sync::mpsc;

use super::super::admin::AdminRequest;
use super::*;
use crate::store::faulty::Fault;
use crate::stream::{EpochReason, LossReason, Refusal};

const BOTH: [Durability; 2] = [Durability::Disk, Durability::Memory];

fn one(durability: Durability) -> (FaultyDisk, Arc<Recorder>, Bench) {
    let (disk, recorder) = (FaultyDisk::new(), Recorder::new(2));
    let mut bench = bench(&disk, &[definition("s", durability)], &recorder, 1).unwrap();
    for n in 1..=5_u8 {
        bench.publish(u64::from(n), head(0, "s.x"), &[n]);
    }
    (disk, recorder, bench)
}

impl Bench {
    fn ask<T>(
        &mut self,
        now_us: u64,
        request: impl FnOnce(mpsc::Sender<Result<T, AdminError>>) -> AdminRequest,
    ) -> Result<T, AdminError> {
        let (answer, answered) = mpsc::channel();
        let durability = self.shared.streams[0].durability;
        self.committer(durability).administer(now_us, request(answer));
        answered.recv().unwrap()
    }

    fn purge(&mut self, purge: Purge) -> Result<Purged, AdminError> {
        self.ask(10, |answer| AdminRequest::Purge { stream: 0, purge, answer })
    }

    fn reopen(&mut self) -> Result<Vec<Finding>, AdminError> {
        self.ask(10, |answer| AdminRequest::Reopen { answer })
    }
}

/// The last thing that every shard was told of the stream: a batch without messages.
fn told(recorder: &Recorder) -> Batch {
    let of_shard = |shard| {
        let told = recorder.take(shard);
        let batch = &told.last().unwrap().group.batches()[0];
        assert!(batch.is_empty() && batch.messages().next().is_none());
        batch.batch.clone()
    };
    let (one, other) = (of_shard(0), of_shard(1));
    assert_eq!(one, other);
    one
}

#[test]
fn a_purge_moves_the_first_sequence_and_tells_every_shard() {
    for durability in BOTH {
        let (disk, recorder, mut bench_) = one(durability);
        assert_eq!(bench_.purge(Purge::Before(4)), Ok(Purged { first: 4, messages: 3 }));
        let batch = told(&recorder);
        assert_eq!((batch.bounds.first, batch.first, batch.last), (4, 6, 5));
        assert_eq!(batch.bounds.gap_after(1).unwrap().reason, LossReason::Purge);
        assert_eq!(bench_.content(0).len(), 2);
        assert_eq!(bench_.purge(Purge::Before(2)), Ok(Purged { first: 4, messages: 0 }));
        assert_eq!(bench_.purge(Purge::All), Ok(Purged { first: 6, messages: 2 }));
        assert_eq!(bench_.content(0), []);
        if durability == Durability::Disk {
            let again = bench(&disk.copy(), &[definition("s", durability)], &recorder, 20).unwrap();
            assert_eq!(again.bounds(0), bench_.bounds(0));
        }
    }
}

#[test]
fn a_removed_stream_begins_anew_in_another_epoch() {
    for durability in BOTH {
        let (disk, recorder, mut bench_) = one(durability);
        let (before, number) = (bench_.epoch(0), bench_.shared.streams[0].number());
        let epoch = bench_.ask(10, |answer| AdminRequest::Remove { stream: 0, answer }).unwrap();
        let batch = told(&recorder);
        assert_eq!((batch.bounds.last, batch.first, batch.epochs.current()), (0, 1, &epoch));
        assert_eq!(batch.epochs.translate(&before, 3), None);
        bench_.publish(11, head(0, "s.x"), b"new");
        assert_eq!(bench_.content(0).iter().map(|said| said.sequence).collect::<Vec<_>>(), [1]);
        if durability == Durability::Disk {
            assert_ne!(bench_.shared.streams[0].number(), number);
            let again = bench(&disk.copy(), &[definition("s", durability)], &recorder, 20).unwrap();
            assert_eq!((again.epoch(0), again.content(0)), (epoch, bench_.content(0)));
        }
    }
}

#[test]
fn a_renewed_epoch_knows_the_one_before() {
    for durability in BOTH {
        let (disk, recorder, mut bench_) = one(durability);
        let before = bench_.epoch(0);
        let epoch = bench_.ask(10, |answer| AdminRequest::RenewEpoch { stream: 0, answer }).unwrap();
        let batch = told(&recorder);
        assert_eq!((batch.epochs.current(), batch.epochs.reason()), (&epoch, EpochReason::Renewed));
        assert_eq!(batch.epochs.translate(&before, 7), Some(5));
        if durability == Durability::Disk {
            let again = bench(&disk.copy(), &[definition("s", durability)], &recorder, 20).unwrap();
            let state = again.shared.streams[0].read();
            assert_eq!(state.stream().epochs().current(), &epoch);
            assert_eq!(state.stream().epochs().translate(&before, 7), Some(5));
        }
    }
}

#[test]
fn a_tighter_retention_holds_at_once() {
    for durability in BOTH {
        let (_, recorder, mut bench) = one(durability);
        let mut tighter = definition("s", durability);
        tighter.retention.max_messages = NonZeroU64::new(2);
        bench.committer(durability).administer(10, AdminRequest::Redefine(vec![(0, Arc::new(tighter))]));
        assert_eq!(told(&recorder).bounds.first, 4);
        assert_eq!(bench.content(0).len(), 2);
    }
}

#[test]
fn age_takes_messages_without_publications() {
    for durability in BOTH {
        let (_, recorder, mut bench) = one(durability);
        let mut aging = definition("s", durability);
        aging.retention.max_age_us = NonZeroU64::new(100);
        bench.committer(durability).administer(10, AdminRequest::Redefine(vec![(0, Arc::new(aging))]));
        bench.committer(durability).maintain(103);
        assert_eq!(told(&recorder).bounds.first, 4);
        bench.committer(durability).maintain(200);
        assert_eq!(told(&recorder).bounds.first, 6);
        bench.committer(durability).maintain(300);
        assert!(recorder.take(0).is_empty(), "nothing has changed");
    }
}

#[test]
fn after_a_failed_write_nobody_knows_and_nothing_is_taken_until_the_store_is_opened_again() {
    let (disk, recorder, mut bench) = one(Durability::Disk);
    let epoch = bench.epoch(0);
    recorder.answers(0);
    disk.fail(Fault::Call(0, ErrorKind::Other));
    let mut group = Submissions::new(0, 0);
    push(&mut group, SubmissionHead { request: Some(1), message_id: Some("id"), ..head(0, "s.x") }, b"6");
    push(&mut group, SubmissionHead { request: Some(2), message_id: Some("id"), ..head(0, "s.x") }, b"6");
    push(&mut group, SubmissionHead { request: Some(3), expected_last: Some(1), ..head(0, "s.x") }, b"no");
    push(&mut group, SubmissionHead { request: Some(4), expected_last: Some(1), ..head(0, "s.y") }, b"no");
    bench.disk().step(20, vec![group]);
    let outcomes = |recorder: &Recorder| recorder.answers(0).into_iter().map(|it| it.outcome).collect::<Vec<_>>();
    let unexpected = Refusal::UnexpectedLast { expected: 1, last: 0 };
    let not_known = Outcome::Refused(Refusal::NotKnown);
    // The last looked at nothing that was in flight.
    let expected = [not_known.clone(), not_known.clone(), not_known, Outcome::Refused(unexpected)];
    assert_eq!(outcomes(&recorder), expected);
    assert!(bench.shared.store_status().unwrap().failed.is_some());
    assert!(bench.shared.status(&bench.shared.streams[0]).is_stopped);

    disk.heal();
    bench.publish(21, head(0, "s.x"), b"refused");
    assert_eq!(outcomes(&recorder), [Outcome::Refused(Refusal::Stopped)]);
    assert!(matches!(bench.purge(Purge::All), Err(AdminError::Store { .. })));
    assert_eq!(bench.content(0).len(), 5, "what is kept stays readable");

    bench.reopen().unwrap();
    assert_eq!(bench.shared.store_status().unwrap().failed, None);
    assert_eq!(bench.epoch(0), epoch);
    bench.publish(22, SubmissionHead { message_id: Some("id"), ..head(0, "s.x") }, b"6");
    assert!(matches!(outcomes(&recorder)[..], [Outcome::Kept { sequence: 6, .. }]));
    assert_eq!(bench.content(0).last().unwrap().payload, b"6");
    assert_eq!(bench.content(0).len(), 6);
}

#[test]
fn a_full_disk_still_lets_retention_work() {
    let (disk, recorder, mut bench) = one(Durability::Disk);
    disk.fail(Fault::Full(disk.used_bytes() + 2_000));
    recorder.answers(0);
    for n in 0..100 {
        bench.publish(20 + n, head(0, "s.x"), &[0; 100]);
    }
    let status = bench.shared.store_status().unwrap();
    assert!(status.failed.is_some());
    let kept = bench.bounds(0).last;
    assert_eq!(bench.content(0).len() as u64, kept);
    let mut tighter = definition("s", Durability::Disk);
    tighter.retention.max_messages = NonZeroU64::new(2);
    bench.disk().administer(300, AdminRequest::Redefine(vec![(0, Arc::new(tighter))]));
    assert_eq!(bench.bounds(0).first, kept - 1);
    bench.reopen().unwrap();
    assert_eq!(bench.content(0).len(), 2);
}

#[test]
fn what_is_too_large_for_a_record_is_refused_and_nothing_else() {
    let (_, recorder, mut bench) = one(Durability::Disk);
    recorder.answers(0);
    bench.publish(20, head(0, "s.x"), &vec![0; 64 << 20]);
    let outcome = recorder.answers(0).remove(0).outcome;
    assert!(matches!(outcome, Outcome::Refused(Refusal::TooLarge { .. })), "{outcome:?}");
    bench.publish(21, head(0, "s.x"), b"6");
    assert_eq!(bench.content(0).len(), 6);
}

#[test]
fn what_a_publication_counts_is_what_its_record_takes() {
    let (_, _, mut bench) = one(Durability::Disk);
    let before = bench.shared.totals(&bench.shared.streams[0]).bytes;
    let mut submissions = Submissions::new(0, 0);
    push(&mut submissions, SubmissionHead { message_id: Some("an id"), ..head(0, "s.topic") }, b"payload");
    let bytes = super::super::committer::record_bytes(&submissions.get(0).unwrap());
    bench.disk().step(20, vec![submissions]);
    assert_eq!(bench.shared.totals(&bench.shared.streams[0]).bytes - before, bytes);
}

#[test]
fn what_was_not_made_for_a_stream_is_refused_alone() {
    let (_, recorder, mut bench) = one(Durability::Disk);
    recorder.answers(0);
    let mut group = Submissions::new(0, 0);
    group.push(head(0, "s.x"), |out| {
        out.extend_from_slice(b"no delivery at all");
        3
    });
    push(&mut group, head(7, "s.x"), b"no such stream");
    push(&mut group, head(0, "s.x"), b"6");
    bench.disk().step(20, vec![group]);
    let outcomes: Vec<_> = recorder.answers(0).into_iter().map(|answer| answer.outcome).collect();
    let malformed = Outcome::Refused(Refusal::Malformed);
    assert!(matches!(&outcomes[..], [a, b, Outcome::Kept { sequence: 6, .. }] if *a == malformed && *b == malformed));
}

#[test]
fn after_a_reopening_that_failed_nothing_is_written_until_one_succeeds() {
    let (disk, _, mut bench) = one(Durability::Disk);
    let mut failures = 0;
    for call in 0..40 {
        disk.fail(Fault::Full(disk.used_bytes()));
        bench.publish(20, head(0, "s.x"), b"too much");
        assert!(bench.shared.store_status().unwrap().failed.is_some());
        disk.fail(Fault::Full(usize::MAX));
        disk.fail(Fault::Call(call, ErrorKind::Other));
        let reopened = bench.reopen();
        disk.heal();
        if reopened.is_ok() {
            continue;
        }
        failures += 1;
        let calls = disk.calls();
        assert!(matches!(bench.purge(Purge::Before(3)), Err(AdminError::Store { .. })));
        bench.disk().maintain(30);
        assert_eq!((disk.calls(), bench.bounds(0).first), (calls, 1));
        assert!(bench.content(0).len() >= 5, "it can be read");
        bench.reopen().unwrap();
    }
    assert!(failures > 2, "{failures}");
    assert_eq!(bench.purge(Purge::Before(3)).unwrap().first, 3);
}
