//! The whole router beside a model that is too simple to be wrong: a list of what each connection is to get, in order,
//! in which what was dropped stays and is marked.

mod connection;
mod model;
#[path = "../support/mod.rs"]
mod support;

use carillon_wire::{Id, Overflow};
use model::Pair;
use proptest::{collection::vec, prelude::*, sample::Index, sample::select};

/// One thing that a shard does with its router. Connections are chosen from those that there are.
#[derive(Debug, Clone)]
enum Step {
    Connect,
    Disconnect(Index),
    Subscribe(Index, Id, &'static str, Overflow),
    Unsubscribe(Index, Id),
    Publish(&'static str, usize),
    Drain(Index, usize),
    Shrink(usize),
    UseStaleKey(Index),
}

fn ids() -> impl Strategy<Value = Id> {
    (0..8_u32).prop_map(Id::from)
}

fn steps() -> impl Strategy<Value = Step> {
    let patterns = select(vec!["a", "a.b", "b", "*", "*.b", "a.*", "a.>", ">", "*.*", "$a", "$a.>", "*.*.*"]);
    let topics = select(vec!["a", "a.b", "b", "b.b", "a.b.a", "$a", "$a.b"]);
    let overflows = prop_oneof![3 => Just(Overflow::DropOldest), 1 => Just(Overflow::Close)];
    prop_oneof![
        1 => Just(Step::Connect),
        1 => any::<Index>().prop_map(Step::Disconnect),
        8 => (any::<Index>(), ids(), patterns, overflows).prop_map(|(at, id, pattern, overflow)| {
            Step::Subscribe(at, id, pattern, overflow)
        }),
        3 => (any::<Index>(), ids()).prop_map(|(at, id)| Step::Unsubscribe(at, id)),
        20 => (topics, 0..60_usize).prop_map(|(topic, padding)| Step::Publish(topic, padding)),
        4 => (any::<Index>(), 1..8_usize).prop_map(|(at, times)| Step::Drain(at, times)),
        1 => (0..1_800_usize).prop_map(Step::Shrink),
        1 => any::<Index>().prop_map(Step::UseStaleKey),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn each_message_comes_in_order_or_is_counted_in_a_gap_at_its_place(
        outbox_bytes in 100..800_usize,
        outbox_messages in 1..10_usize,
        steps in vec(steps(), 0..150),
    ) {
        let mut pair = Pair::new(outbox_bytes, outbox_messages);
        pair.connect();
        pair.connect();
        for step in steps {
            match step {
                Step::Connect => pair.connect(),
                Step::Disconnect(at) => pair.disconnect(at),
                Step::Subscribe(at, id, pattern, overflow) => pair.subscribe(at, id, pattern, overflow),
                Step::Unsubscribe(at, id) => pair.unsubscribe(at, id),
                Step::Publish(topic, padding) => pair.publish(topic, padding),
                Step::Drain(at, times) => pair.drain(at, times),
                Step::Shrink(max_bytes) => pair.shrink(max_bytes),
                Step::UseStaleKey(at) => pair.use_stale_key(at),
            }
            pair.assert_counts();
        }
        pair.end();
    }
}
