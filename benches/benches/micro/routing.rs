//! From a topic to the outboxes of those who subscribed, and out of them.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};

use crate::fixtures::{FanOut, Kind, TOGETHER};

/// A topic that one subscription matches, among so many others.
pub(crate) fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    let kinds = [
        ("exact", Kind::Exact),
        ("first_token", Kind::FirstToken),
        ("inner_token", Kind::InnerToken),
        ("rest", Kind::Rest),
        ("mixed", Kind::Mixed),
    ];
    for (name, kind) in kinds {
        for subscriptions in [1, 1_000, 1_000_000] {
            // Only when it is measured: a million take a second and hundreds of mebibytes.
            let fixture = std::cell::OnceCell::new();
            group.bench_function(BenchmarkId::new(name, subscriptions), |bencher| {
                let (router, topics) = fixture.get_or_init(|| (kind.router(subscriptions), kind.topics(subscriptions)));
                let mut topics = topics.iter().cycle();
                bencher.iter(|| {
                    let topic = topics.next().expect("a cycle has no end");
                    router.would_match(black_box(topic.as_topic()))
                });
            });
        }
    }
    group.finish();
}

/// One publication into the outboxes of all subscribers, and all of them drained.
pub(crate) fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out");
    for subscribers in [1, 100, 10_000] {
        let mut fan_out = FanOut::new(subscribers);
        group.throughput(Throughput::Elements(subscribers as u64));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| {
                fan_out.publish();
                fan_out.drain()
            });
        });
    }
    group.finish();
}

/// One connection's outbox: taken from as fast as it fills, filled for a while, and full.
pub(crate) fn outbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbox");
    for (name, count) in [("push_and_take", 1), ("push_and_take_64", TOGETHER)] {
        let mut outbox = FanOut::new(1);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for _ in 0..count {
                    outbox.publish();
                }
                outbox.drain()
            });
        });
    }
    let mut full = FanOut::new(1);
    full.fill();
    group.throughput(Throughput::Elements(1));
    group.bench_function("push_and_drop_oldest", |bencher| bencher.iter(|| full.publish()));
    group.finish();
}
