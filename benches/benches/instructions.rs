//! How many instructions the hottest steps of a message's way take, and how many they may take.
//!
//! Valgrind counts them, so neither the machine nor what else it does is in the numbers: one run is enough, and more than
//! the limit is a failure. The limits have some 7 % of room, for another compiler or C library.
//!
//! # When a limit fails
//! Either the change is to cost less, or it is worth the price: then say so in its commit, and renew the limit. `make
//! bench-instructions` prints the count of each; the limit is that and 7 %. When something has become cheaper, lower its
//! limit, or the next regression goes unseen up to there.

// What the macros make has neither documentation nor the lints' style.
#![allow(missing_docs, clippy::pedantic)]

mod fixtures;

use std::hint::black_box;

use carillon_router::Router;
use carillon_streams::store::Reader;
use carillon_wire::{BrokerMessage, TopicBuf, delivery::patch_delivery};
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

use fixtures::{FanOut, Kind, Store, TOGETHER, TOPIC, decode_all, delivery, publications, topic};

/// Enough that what differs between two runs, as the seeds of hashes do, is little.
const MATCHES: usize = 100;
const SUBSCRIPTIONS: u32 = 1_000;
const GROUP: u64 = 100;
const MESSAGES: u64 = 2_000;

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

#[library_benchmark]
#[bench::topic(args = (TOPIC), config = at_most(1_070))]
fn check(name: &str) -> usize {
    topic(black_box(name)).as_str().len()
}

#[library_benchmark]
#[bench::publication(args = (1), setup = publications, config = at_most(2_320))]
#[bench::message_of_64(args = (TOGETHER), setup = publications, config = at_most(136_000))]
fn decode(message: Vec<u8>) -> usize {
    decode_all(black_box(&message))
}

fn router_of(kind: Kind) -> (Router, Vec<TopicBuf>) {
    (kind.router(SUBSCRIPTIONS), kind.topics(SUBSCRIPTIONS))
}

#[library_benchmark]
#[bench::exact(args = (Kind::Exact), setup = router_of, config = at_most(24_300))]
#[bench::first_token(args = (Kind::FirstToken), setup = router_of, config = at_most(140_000))]
#[bench::inner_token(args = (Kind::InnerToken), setup = router_of, config = at_most(141_000))]
#[bench::rest(args = (Kind::Rest), setup = router_of, config = at_most(138_000))]
#[bench::mixed(args = (Kind::Mixed), setup = router_of, config = at_most(170_000))]
fn match_topics((router, topics): (Router, Vec<TopicBuf>)) -> (Router, Vec<TopicBuf>) {
    for topic in topics.iter().take(MATCHES) {
        black_box(router.would_match(black_box(topic.as_topic())));
    }
    (router, topics)
}

#[library_benchmark]
#[bench::subscribers_1(args = (1), setup = FanOut::new, config = at_most(1_530))]
#[bench::subscribers_100(args = (100), setup = FanOut::new, config = at_most(64_200))]
#[bench::subscribers_1000(args = (1_000), setup = FanOut::new, config = at_most(634_000))]
fn fan_out(mut fan_out: FanOut) -> (FanOut, usize) {
    fan_out.publish();
    let bytes = fan_out.drain();
    (fan_out, bytes)
}

fn to_encode() -> (BrokerMessage<'static>, Vec<u8>) {
    (BrokerMessage::Delivery(delivery(false)), Vec::with_capacity(1_024))
}

#[library_benchmark]
#[bench::delivery(setup = to_encode, config = at_most(495))]
fn encode((message, mut bytes): (BrokerMessage<'static>, Vec<u8>)) -> Vec<u8> {
    black_box(message).encode(&mut bytes);
    bytes
}

fn patchable() -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let time_at = delivery(true).encode_in_stream(&mut bytes);
    (bytes, time_at)
}

#[library_benchmark]
#[bench::delivery(setup = patchable, config = at_most(51))]
fn patch((mut bytes, time_at): (Vec<u8>, usize)) -> Vec<u8> {
    patch_delivery(&mut bytes, time_at, black_box(1), black_box(2)).expect("it has room for both");
    bytes
}

fn full_outbox() -> FanOut {
    let mut outbox = FanOut::new(1);
    outbox.fill();
    outbox
}

#[library_benchmark]
#[bench::push_64_and_take(args = (1), setup = FanOut::new, config = at_most(103_000))]
fn outbox(mut outbox: FanOut) -> (FanOut, usize) {
    for _ in 0..TOGETHER {
        outbox.publish();
    }
    let bytes = outbox.drain();
    (outbox, bytes)
}

#[library_benchmark]
#[bench::push_64_and_drop_oldest(setup = full_outbox, config = at_most(70_800))]
fn full(mut outbox: FanOut) -> FanOut {
    for _ in 0..TOGETHER {
        outbox.publish();
    }
    outbox
}

#[library_benchmark]
#[bench::group_of_100(args = (GROUP), setup = Store::new, config = at_most(175_000))]
fn append(mut store: Store) -> Store {
    store.append(GROUP);
    store
}

fn readable() -> (Store, Reader) {
    let store = Store::new(MESSAGES);
    let reader = store.reader();
    (store, reader)
}

#[library_benchmark]
#[bench::page(setup = readable, config = at_most(1_380_000))]
fn read((store, reader): (Store, Reader)) -> (Store, usize) {
    let messages = Store::read_page(&reader, MESSAGES / 2);
    (store, messages)
}

#[library_benchmark]
#[bench::newest_of_topic(setup = readable, config = at_most(1_970))]
fn look_up((store, reader): (Store, Reader)) -> (Store, u64) {
    let newest = Store::newest_of_topic(&reader);
    (store, newest)
}

library_benchmark_group!(
    name = hot,
    benchmarks = [check, decode, match_topics, fan_out, encode, patch, outbox, full, append, read, look_up]
);

main!(library_benchmark_groups = hot);
