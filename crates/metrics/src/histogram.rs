//! Histograms whose buckets are powers of two. They have one writer, as the other instruments.

use crate::Counter;

/// Upper bounds are 1, 2, 4, ... 2^24: of microseconds that is 16.8 seconds.
const FINITE_BUCKETS: usize = 25;

/// Counts of what was up to 1, 2, 4, ... 2^24, and above. The right one is found without a search.
#[derive(Debug, Default)]
struct Buckets {
    finite: [Counter; FINITE_BUCKETS],
    above: Counter,
}

impl Buckets {
    /// Counts so many, in the bucket with the smallest k for which `value <= 2^k`.
    fn add(&self, value: u64, times: u64) {
        let k = u64::BITS - value.saturating_sub(1).leading_zeros();
        self.finite.get(k as usize).unwrap_or(&self.above).add(times);
    }

    fn count(&self) -> u64 {
        self.finite.iter().chain([&self.above]).map(Counter::get).sum()
    }
}

/// How long something took, written by one thread.
///
/// Buckets are powers of two microseconds, from 1 µs to 16.8 s, and one above all of them. A duration on a bound belongs
/// to the bucket under that bound, as Prometheus' `le` says.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: Buckets,
    sum_nanos: Counter,
}

impl Histogram {
    /// Counts one duration, in nanoseconds.
    pub fn observe_nanos(&self, nanos: u64) {
        self.observe_nanos_times(nanos, 1);
    }

    /// Counts one duration, in nanoseconds, that there was so many times.
    pub fn observe_nanos_times(&self, nanos: u64, times: u64) {
        // Rounding up keeps 1,000,000,001 ns out of the bucket that ends at one second.
        self.buckets.add(nanos.div_ceil(1_000), times);
        self.sum_nanos.add(nanos.wrapping_mul(times));
    }

    /// How many durations have been counted so far.
    pub fn count(&self) -> u64 {
        self.buckets.count()
    }

    /// The sum of all durations counted so far, in nanoseconds. It wraps at 2^64, after 584 years.
    pub fn sum_nanos(&self) -> u64 {
        self.sum_nanos.get()
    }
}

/// How many there were at a time, written by one thread. Buckets are powers of two, from 1 to 16,777,216, and one above.
#[derive(Debug, Default)]
pub struct CountHistogram {
    buckets: Buckets,
    sum: Counter,
}

impl CountHistogram {
    /// Counts one time that there were `n`.
    pub fn observe(&self, n: u64) {
        self.buckets.add(n, 1);
        self.sum.add(n);
    }

    /// How many times have been counted so far.
    pub fn count(&self) -> u64 {
        self.buckets.count()
    }

    /// How many there were, all times together. It wraps at 2^64.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// The sum of several histograms of one kind at one moment, cumulative as Prometheus wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: [u64; FINITE_BUCKETS],
    above: u64,
    sum: u64,
}

impl HistogramSnapshot {
    /// Adds what `histogram` holds now.
    pub fn merge(&mut self, histogram: &Histogram) {
        self.add(&histogram.buckets, histogram.sum_nanos());
    }

    /// Each finite bucket's upper bound, in microseconds or plain, with the number of observations up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().enumerate().scan(0, |total, (k, count)| {
            *total += count;
            Some((1 << k, *total))
        })
    }

    /// The number of observations. It is the sum of the buckets, so that no scrape sees the two disagree.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }

    /// The sum of what was observed: of durations, in nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    fn add(&mut self, buckets: &Buckets, sum: u64) {
        for (count, counter) in self.counts.iter_mut().zip(&buckets.finite) {
            *count += counter.get();
        }
        self.above += buckets.above.get();
        self.sum = self.sum.wrapping_add(sum);
    }
}

impl From<&Histogram> for HistogramSnapshot {
    fn from(histogram: &Histogram) -> Self {
        let mut snapshot = Self::default();
        snapshot.merge(histogram);
        snapshot
    }
}

impl From<&CountHistogram> for HistogramSnapshot {
    fn from(histogram: &CountHistogram) -> Self {
        let mut snapshot = Self::default();
        snapshot.add(&histogram.buckets, histogram.sum());
        snapshot
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
        HistogramSnapshot::from(&histogram)
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
    fn count_on_a_bound_is_counted_up_to_that_bound() {
        let histogram = CountHistogram::default();
        for n in [0, 1, 2, 3, 4, 5, 1 << 24, (1 << 24) + 1] {
            histogram.observe(n);
        }
        let snapshot = HistogramSnapshot::from(&histogram);
        let cumulative: Vec<_> = snapshot.cumulative().collect();
        assert_eq!(cumulative[..4], [(1, 2), (2, 3), (4, 5), (8, 6)]);
        assert_eq!(cumulative.last(), Some(&(1 << 24, 7)));
        assert_eq!((snapshot.count(), snapshot.sum()), (8, 15 + (2 << 24) + 1));
        assert_eq!((histogram.count(), histogram.sum()), (8, snapshot.sum()));
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
            prop_assert_eq!(snapshot.sum(), durations.iter().fold(0, |sum: u64, &nanos| sum.wrapping_add(nanos)));
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
