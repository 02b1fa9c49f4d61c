//! Bytes to messages and back.

use std::hint::black_box;

use carillon_wire::{BrokerMessage, delivery::patch_delivery};
use criterion::{Criterion, Throughput};

use crate::fixtures::{TOGETHER, decode_all, delivery, publications};

/// A WebSocket message with one publication, and one with many.
pub(crate) fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, count) in [("publication", 1), ("message_of_64", TOGETHER)] {
        let message = publications(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| bencher.iter(|| decode_all(black_box(&message))));
    }
    group.finish();
}

/// A delivery, and what is written into one that was encoded before its stream took it.
pub(crate) fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let mut bytes = Vec::with_capacity(1_024);
    let message = BrokerMessage::Delivery(delivery(false));
    group.bench_function("delivery", |bencher| {
        bencher.iter(|| {
            bytes.clear();
            black_box(&message).encode(&mut bytes);
            black_box(bytes.as_slice());
        });
    });
    bytes.clear();
    let time_at = delivery(true).encode_in_stream(&mut bytes);
    group.bench_function("patch_delivery", |bencher| {
        bencher.iter(|| patch_delivery(black_box(&mut bytes), time_at, black_box(1), black_box(2)));
    });
    group.finish();
}
