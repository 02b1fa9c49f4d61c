//! With all threads, on a real disk.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use super::*;

fn options(directory: &std::path::Path) -> Options {
    Options { directory: Some(directory.to_owned()), segment_bytes: 50_000, queue_bytes: 20_000, ..Options::default() }
}

/// Waits for room without a runtime.
fn submit(keeper: &Keeper, durability: Durability, mut submissions: Submissions) {
    while let Err(refused) = keeper.try_submit(durability, submissions) {
        submissions = refused;
        thread::sleep(Duration::from_micros(50));
    }
}

#[test]
fn many_publishers_are_all_answered_and_all_is_kept() {
    const PUBLISHERS: u32 = 4;
    const EACH: u32 = 200;
    let directory = tempfile::tempdir().unwrap();
    let definitions = [definition("d", Durability::Disk), definition("m", Durability::Memory)];
    let opened = Keeper::open(definitions.to_vec(), options(directory.path()), Arc::new(())).unwrap();
    assert_eq!(opened.report(), []);
    let recorder = Recorder::new(PUBLISHERS as usize);
    let keeper = opened.start(Arc::clone(&recorder) as Arc<dyn Shards>).unwrap();
    assert_eq!([keeper.durability(0), keeper.durability(1)], [Durability::Disk, Durability::Memory]);

    let barrier = Barrier::new(PUBLISHERS as usize);
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let (keeper, barrier) = (&keeper, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for n in 0..EACH {
                    for (stream, topic, durability) in [(0, "d.x", Durability::Disk), (1, "m.x", Durability::Memory)] {
                        let mut submissions = Submissions::new(publisher, u64::from(n));
                        push(&mut submissions, head(stream, topic), format!("{publisher}/{n}").as_bytes());
                        submit(keeper, durability, submissions);
                    }
                }
            });
        }
    });
    let purged = keeper.purge(&name("m"), Purge::Before(11)).unwrap();
    assert_eq!(purged, Purged { first: 11, messages: 10 });
    assert!(matches!(keeper.purge(&name("x"), Purge::All), Err(AdminError::NoStream { .. })));
    assert_eq!(keeper.reopen(), Ok(Vec::new()), "nothing has failed");
    let epoch = keeper.status()[0].epochs.current().clone();
    keeper.clone().stop();
    assert_eq!(keeper.purge(&name("d"), Purge::All), Err(AdminError::Stopping));

    let sent = u64::from(PUBLISHERS * EACH);
    for shard in 0..PUBLISHERS as usize {
        let mut next = [1, 1];
        let mut answered = BTreeMap::new();
        for Committed { group, answers } in recorder.take(shard) {
            for batch in group.batches() {
                let next = &mut next[batch.stream as usize];
                assert_eq!(batch.batch.first, *next);
                *next += batch.len() as u64;
                assert_eq!(batch.batch.last + 1, *next);
                for message in batch.messages() {
                    assert_eq!(said(message.delivery).sequence, message.sequence);
                }
            }
            for Answers { ticket, answers } in answers {
                let Outcome::Kept { stream, sequence, duplicate: false, .. } = answers[0].outcome else { panic!() };
                assert!(sequence < next[stream as usize], "the answer comes with its message or later");
                assert_eq!(answered.insert((stream, ticket), sequence), None);
            }
        }
        assert_eq!(next, [sent + 1, sent + 1]);
        let in_order: Vec<_> = answered.iter().filter(|((stream, _), _)| *stream == 0).map(|it| *it.1).collect();
        assert!(in_order.is_sorted() && in_order.len() == EACH as usize && answered.len() == 2 * EACH as usize);
    }

    let opened = Keeper::open(definitions.to_vec(), options(directory.path()), Arc::new(())).unwrap();
    assert_eq!(opened.report(), []);
    let keeper = opened.start(recorder).unwrap();
    let status = &keeper.status()[0];
    assert_eq!((status.bounds.last, status.totals.messages, status.epochs.current()), (sent, sent, &epoch));
    assert!(keeper.store_status().unwrap().segments > 1);
    keeper.stop();
}

#[test]
fn a_directory_that_another_keeper_has_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Keeper::open(vec![definition("d", Durability::Disk)], options(directory.path()), Arc::new(()));
    let first = open().unwrap();
    assert!(matches!(open(), Err(OpenError::Directory { .. })));
    drop(first);
    open().unwrap();
    let nowhere = Options { directory: None, ..Options::default() };
    let opened = Keeper::open(vec![definition("d", Durability::Disk)], nowhere, Arc::new(()));
    assert!(matches!(opened, Err(OpenError::NoDirectory { .. })));
}
