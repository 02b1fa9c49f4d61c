//! The reader threads and their queue.

use std::sync::mpsc;

use super::super::super::event::{Event, Shards};
use super::super::super::read::{ReadReply, ReadRequest};
use super::super::Readers;
use super::*;

/// Shards whose queues have room for one event.
struct Queues(Vec<mpsc::SyncSender<Event>>);

/// So many shards, and what they are told.
pub(super) fn shards(count: usize) -> (Arc<dyn Shards>, Vec<mpsc::Receiver<Event>>) {
    let (senders, receivers) = (0..count).map(|_| mpsc::sync_channel(1)).unzip();
    (Arc::new(Queues(senders)), receivers)
}

impl Shards for Queues {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn tell(&self, shard: usize, event: Event) {
        // One that is gone takes nothing.
        let _ = self.0[shard].send(event);
    }
}

pub(super) fn reply(event: Event) -> ReadReply {
    let Event::Read(reply) = event else { panic!("{event:?}") };
    reply
}

fn request(shard: usize, request: u64) -> ReadRequest {
    let what = What::Page(all_behind(request % 5));
    ReadRequest { shard, ticket: 9, request, stream: 0, pattern: pattern(">"), what, asker: None }
}

#[test]
fn every_request_is_answered_once_and_to_its_own_shard() {
    let mut world = World::new(Durability::Disk, small_options());
    world.publish(TOPICS, 0);
    let (shards, receivers) = shards(2);
    let readers = Readers::start(&world.reading.shared, &shards).unwrap();
    for number in 0..200 {
        readers.request(request(as_index(number % 2), number));
    }
    // Each shard empties its own queue.
    std::thread::scope(|scope| {
        for (shard, receiver) in receivers.into_iter().enumerate() {
            scope.spawn(move || {
                let replies = receiver.iter().take(100).map(reply).inspect(|reply| assert!(reply.found.is_ok()));
                let mut numbers: Vec<u64> = replies.map(|reply| reply.request).collect();
                numbers.sort_unstable();
                assert!(numbers.into_iter().eq((0..100).map(|n| 2 * n + shard as u64)));
            });
        }
    });
    readers.stop();
}

#[test]
fn what_waits_at_a_stop_is_refused_and_all_of_it_answered() {
    let mut world = World::new(Durability::Disk, small_options());
    world.publish(TOPICS, 0);
    let (shards, receivers) = shards(1);
    let readers = Readers::start(&world.reading.shared, &shards).unwrap();
    for number in 0..100 {
        readers.request(request(0, number));
    }
    readers.refuse();
    let replies: Vec<_> = receivers[0].iter().take(100).map(reply).collect();
    readers.stop();
    let refused = replies.iter().filter(|reply| reply.found == Err(ReadFailed::Stopping)).count();
    // Before nobody took what was read: as many as there are threads, and one in the queue.
    assert!(refused >= 100 - world.reading.shared.options.reader_threads - 1, "{refused}");
    readers.request(request(0, 100));
    assert!(receivers[0].try_recv().is_err(), "nobody answers any more");
}

#[test]
fn requests_whose_asker_is_gone_are_dropped() {
    let mut world = World::new(Durability::Disk, small_options());
    world.publish(TOPICS, 0);
    let (shards, receivers) = shards(1);
    let readers = Readers::start(&world.reading.shared, &shards).unwrap();
    let (stays, leaves) = (Arc::new(()), Arc::new(()));
    // As many as the threads and the shard's queue hold; what is behind them waits.
    let held = world.reading.shared.options.reader_threads as u64 + 1;
    for number in 0..held {
        readers.request(request(0, number));
    }
    for number in 0..20 {
        let asker = Arc::downgrade(if number % 2 == 0 { &stays } else { &leaves });
        readers.request(ReadRequest { asker: Some(asker), ..request(0, held + number) });
    }
    drop(leaves);
    let mut answered: Vec<_> =
        receivers[0].iter().take(as_index(held + 10)).map(|event| reply(event).request).collect();
    readers.stop();
    assert_eq!(receivers[0].try_iter().count(), 0);
    answered.sort_unstable();
    assert!(answered.into_iter().eq((0..held).chain((0..10).map(|n| held + 2 * n))));
}
