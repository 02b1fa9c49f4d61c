//! Latencies by their size: each is known to within a sixty-fourth of itself, however many and however large.

use std::time::Duration;

/// Buckets that each doubling is divided into, as a power of two.
const PRECISION_BITS: u32 = 6;
const BUCKETS: usize = (64 - PRECISION_BITS as usize + 1) << PRECISION_BITS;

/// How many latencies had which size.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Adds one.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(nanos)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// That share of all, from 0 to 1, is not larger than this.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are far below 2^52, and shares are not negative"
    )]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (number, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_nanos(largest_in(number)).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(nanos: u64) -> usize {
    // Below, each number has a bucket of its own.
    let doublings = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
    let within = nanos >> doublings;
    usize::try_from((u64::from(doublings) << PRECISION_BITS) + within).unwrap_or(usize::MAX)
}

fn largest_in(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket >> PRECISION_BITS).saturating_sub(1);
    let within = bucket - (doublings << PRECISION_BITS);
    ((within + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_in_the_bucket_that_ends_above_it_and_within_a_sixty_fourth() {
        for shift in 0..40 {
            for offset in [0, 1, 3, 7, 12_345] {
                let nanos = (1_u64 << shift) + offset;
                let largest = largest_in(bucket_of(nanos));
                assert!(largest >= nanos, "{nanos}: {largest}");
                assert!(largest - nanos <= nanos >> PRECISION_BITS, "{nanos}: {largest}");
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_latencies() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let within = |share, micros: u64| {
            let found = histogram.quantile(share);
            let exact = Duration::from_micros(micros);
            assert!(found >= exact && found <= exact + exact / 64, "{share}: {found:?}");
        };
        within(0.5, 500);
        within(0.99, 990);
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(1));
        assert_eq!(histogram.max(), Duration::from_millis(1));
    }
}
