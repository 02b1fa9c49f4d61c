//! Streams through the router, from publication to client: a shard that reads on for whoever has fallen behind, clients
//! that know nothing but what they are sent, and a queue for each connection that is too simple to be wrong.

mod client;
mod connection;
mod shard;
#[path = "../support/mod.rs"]
mod support;

use carillon_wire::{Id, Overflow};
use proptest::{collection::vec, prelude::*, sample::Index, sample::select};
use shard::Shard;

/// Topics of each stream, and of none.
const TOPICS: [&[&str]; 3] = [&["a.x", "a.y"], &["b.x"], &["c", "c.x", "c.x.y"]];
const PLAIN_TOPICS: [&str; 2] = ["p", "p.x"];

/// One thing that happens to a shard. Connections are chosen from those that there are.
#[derive(Debug, Clone)]
enum Step {
    Connect,
    Disconnect(Index),
    Subscribe(Index, Id, &'static str, Overflow),
    /// The same, from a position in one stream.
    SubscribeFrom(Index, Id, &'static str, Index),
    Unsubscribe(Index, Id),
    Publish(&'static str, usize),
    PublishInStream(usize, Index, usize),
    /// The shard reads so many messages for a subscription that is not live.
    ReadOn(Index, Index, usize),
    /// Something that answers a request and concerns no subscription.
    Answer(Index, usize),
    HoldStream(usize),
    Drain(Index, usize),
    Shrink(usize),
}

fn ids() -> impl Strategy<Value = Id> {
    (0..5_u32).prop_map(Id::from)
}

fn steps() -> impl Strategy<Value = Step> {
    let patterns = || select(vec!["a.x", "a.*", "b.x", ">", "*.x", "c.>", "c", "p.>", "p"]);
    let overflows = prop_oneof![4 => Just(Overflow::DropOldest), 1 => Just(Overflow::Close)];
    prop_oneof![
        1 => Just(Step::Connect),
        1 => any::<Index>().prop_map(Step::Disconnect),
        8 => (any::<Index>(), ids(), patterns(), overflows).prop_map(|(at, id, pattern, overflow)| {
            Step::Subscribe(at, id, pattern, overflow)
        }),
        3 => (any::<Index>(), ids(), patterns(), any::<Index>()).prop_map(|(at, id, pattern, from)| {
            Step::SubscribeFrom(at, id, pattern, from)
        }),
        3 => (any::<Index>(), ids()).prop_map(|(at, id)| Step::Unsubscribe(at, id)),
        6 => (select(PLAIN_TOPICS.as_slice()), 0..60_usize).prop_map(|(topic, padding)| Step::Publish(topic, padding)),
        24 => (0..TOPICS.len(), any::<Index>(), 0..60_usize).prop_map(|(stream, topic, padding)| {
            Step::PublishInStream(stream, topic, padding)
        }),
        8 => (any::<Index>(), any::<Index>(), 1..4_usize).prop_map(|(at, which, most)| Step::ReadOn(at, which, most)),
        1 => (any::<Index>(), 0..400_usize).prop_map(|(at, size)| Step::Answer(at, size)),
        1 => (0..TOPICS.len()).prop_map(Step::HoldStream),
        5 => (any::<Index>(), 1..8_usize).prop_map(|(at, times)| Step::Drain(at, times)),
        1 => (0..1_800_usize).prop_map(Step::Shrink),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn each_subscription_gets_each_message_of_its_streams_once_and_in_order_whatever_falls_behind(
        outbox_bytes in 100..800_usize,
        outbox_messages in 1..10_usize,
        steps in vec(steps(), 0..200),
    ) {
        let mut shard = Shard::new(outbox_bytes, outbox_messages);
        shard.connect();
        shard.connect();
        for step in steps {
            match step {
                Step::Connect => shard.connect(),
                Step::Disconnect(at) => shard.disconnect(at),
                Step::Subscribe(at, id, pattern, overflow) => shard.subscribe(at, id, pattern, overflow),
                Step::SubscribeFrom(at, id, pattern, from) => shard.subscribe_from(at, id, pattern, from),
                Step::Unsubscribe(at, id) => shard.unsubscribe(at, id),
                Step::Publish(topic, padding) => shard.publish(topic, padding),
                Step::PublishInStream(stream, topic, padding) => shard.publish_in_stream(stream, topic, padding),
                Step::ReadOn(at, which, most) => shard.read_on(at, which, most),
                Step::Answer(at, size) => shard.answer(at, size),
                Step::HoldStream(stream) => shard.hold_stream(stream),
                Step::Drain(at, times) => shard.drain(at, times),
                Step::Shrink(max_bytes) => shard.shrink(max_bytes),
            }
            shard.assert_counts();
        }
        shard.end();
    }
}
