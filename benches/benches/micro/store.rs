//! The log of streams, without a disk's part in it.

use criterion::{BatchSize, Criterion, Throughput};

use crate::fixtures::Store;

/// A group of messages in one commit.
const GROUP: u64 = 1_000;
const MESSAGES: u64 = 100_000;

/// Appending, reading a page, and looking one topic up.
pub(crate) fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(GROUP));
    group.bench_function("append_group_of_1000", |bencher| {
        // Each in a store of its own, so that it fills no memory.
        bencher.iter_batched_ref(|| Store::new(GROUP), |store| store.append(GROUP), BatchSize::PerIteration);
    });
    let store = Store::new(MESSAGES);
    let reader = store.reader();
    group.throughput(Throughput::Elements(Store::read_page(&reader, MESSAGES / 2) as u64));
    group.bench_function("read_page", |bencher| bencher.iter(|| Store::read_page(&reader, MESSAGES / 2)));
    group.throughput(Throughput::Elements(1));
    group.bench_function("newest_of_topic", |bencher| bencher.iter(|| Store::newest_of_topic(&reader)));
    group.finish();
}
