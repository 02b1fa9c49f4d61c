//! The instruments. All but [`SharedCounter`] have one writer: the thread that owns them.
//!
//! A single writer needs no atomic read-modify-write, which would cost a locked instruction: it loads, adds and stores,
//! relaxed. Readers elsewhere see a value that is some moments old and never torn. A second writer would lose counts (no
//! worse), so what several threads count is a [`SharedCounter`].

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Something that only ever grows, written by one thread. It wraps at 2^64.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// What has been counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Something that grows and shrinks, written by one thread.
///
/// It is signed, so that a missing `add` shows as a negative value instead of a huge one.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Raises the value by `n`.
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Lowers the value by `n`.
    pub fn sub(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Replaces the value. Several threads may call it, as long as none of them calls `add` or `sub`.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Something that only ever grows, written by any thread. For what is rare: each count is a locked instruction.
#[derive(Debug, Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Counts one.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// What has been counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds are 1, 2, 4, ... 2^24 microseconds, which is 16.8 seconds.
const FINITE_BUCKETS: usize = 25;

/// How long something took, written by one thread.
///
/// Buckets are powers of two microseconds, from 1 µs to 16.8 s, and one above all of them; the right one is found without
/// a search. A duration on a bound belongs to the bucket under that bound, as Prometheus' `le` says.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; FINITE_BUCKETS],
    above: Counter,
    sum_nanos: Counter,
}

impl Histogram {
    /// Counts one duration, in nanoseconds.
    pub fn observe_nanos(&self, nanos: u64) {
        // The smallest k with micros <= 2^k. Rounding up keeps 1,000,000,001 ns out of the bucket that ends at one second.
        let micros = nanos.div_ceil(1_000);
        let k = u64::BITS - micros.saturating_sub(1).leading_zeros();
        self.buckets.get(k as usize).unwrap_or(&self.above).inc();
        self.sum_nanos.add(nanos);
    }

    /// How many durations have been counted so far.
    pub fn count(&self) -> u64 {
        self.counters().map(Counter::get).sum()
    }

    /// The sum of all durations counted so far, in nanoseconds. It wraps at 2^64, after 584 years.
    pub fn sum_nanos(&self) -> u64 {
        self.sum_nanos.get()
    }

    fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.buckets.iter().chain([&self.above])
    }
}

/// The sum of several histograms at one moment, cumulative as Prometheus wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: [u64; FINITE_BUCKETS],
    above: u64,
    sum_nanos: u64,
}

impl HistogramSnapshot {
    /// Adds what `histogram` holds now.
    pub fn merge(&mut self, histogram: &Histogram) {
        for (count, counter) in self.counts.iter_mut().zip(&histogram.buckets) {
            *count += counter.get();
        }
        self.above += histogram.above.get();
        self.sum_nanos = self.sum_nanos.wrapping_add(histogram.sum_nanos());
    }

    /// Each finite bucket's upper bound in microseconds, with the number of durations up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().enumerate().scan(0, |total, (k, count)| {
            *total += count;
            Some((1 << k, *total))
        })
    }

    /// The number of durations. It is the sum of the buckets, so that no scrape sees the two disagree.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }

    /// The sum of the durations, in nanoseconds.
    pub fn sum_nanos(&self) -> u64 {
        self.sum_nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(durations: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        for &nanos in durations {
            histogram.observe_nanos(nanos);
        }
        let mut snapshot = HistogramSnapshot::default();
        snapshot.merge(&histogram);
        snapshot
    }

    #[test]
    fn duration_on_a_bound_is_counted_up_to_that_bound() {
        for k in 0..FINITE_BUCKETS {
            let bound_nanos = 1_000_u64 << k;
            let on = snapshot(&[bound_nanos]);
            let past = snapshot(&[bound_nanos + 1]);
            for (bound_micros, count) in on.cumulative() {
                assert_eq!(count == 1, bound_micros >= 1 << k, "{bound_nanos} ns at {bound_micros} us");
            }
            for (bound_micros, count) in past.cumulative() {
                assert_eq!(count == 1, bound_micros > 1 << k, "{bound_nanos} + 1 ns at {bound_micros} us");
            }
        }
    }

    #[test]
    fn longest_and_shortest_durations_have_a_bucket() {
        let both = snapshot(&[0, u64::MAX]);
        assert_eq!(both.count(), 2);
        assert!(both.cumulative().all(|(_, count)| count == 1));
    }

    #[test]
    fn gauge_goes_below_zero() {
        let gauge = Gauge::default();
        gauge.add(2);
        gauge.sub(3);
        assert_eq!(gauge.get(), -1);
        gauge.set(7);
        assert_eq!(gauge.get(), 7);
    }

    proptest! {
        #[test]
        fn cumulative_counts_are_those_of_a_naive_count(
            durations in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..40_000_000_000, 0_u64..10_000], 0..200),
        ) {
            let snapshot = snapshot(&durations);
            for (bound_micros, count) in snapshot.cumulative() {
                let naive = durations.iter().filter(|&&nanos| nanos <= bound_micros * 1_000).count();
                prop_assert_eq!(count, naive as u64, "up to {} us", bound_micros);
            }
            prop_assert_eq!(snapshot.count(), durations.len() as u64);
            prop_assert_eq!(snapshot.sum_nanos(), durations.iter().fold(0, |sum: u64, &nanos| sum.wrapping_add(nanos)));
        }

        #[test]
        fn merged_histograms_count_like_one(
            a in prop::collection::vec(any::<u32>(), 0..50),
            b in prop::collection::vec(any::<u32>(), 0..50),
        ) {
            let (first, second) = (Histogram::default(), Histogram::default());
            for &nanos in &a {
                first.observe_nanos(nanos.into());
            }
            for &nanos in &b {
                second.observe_nanos(nanos.into());
            }
            let mut merged = HistogramSnapshot::default();
            merged.merge(&first);
            merged.merge(&second);
            let all: Vec<u64> = a.iter().chain(&b).map(|&nanos| nanos.into()).collect();
            prop_assert_eq!(merged, snapshot(&all));
            prop_assert_eq!(first.count() + second.count(), all.len() as u64);
        }
    }
}
