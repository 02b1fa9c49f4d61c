//! Latencies, in a histogram of high dynamic range.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Below this there is no difference between latencies, in nanoseconds.
const LOWEST_NS: u64 = 1_000;
/// Above this there is none either.
const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Decimal digits that are kept of each.
const DIGITS: u8 = 3;

/// Latencies, from about 1 µs to an hour, each to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS);
        // These bounds are allowed: 1 <= 1,000, 2 * 1,000 <= 3.6e12, and 3 <= 5 digits.
        Self(histogram.unwrap_or_else(|_| unreachable!("constant bounds")))
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // The same bounds everywhere, so every value has its place.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |quantile| milliseconds(self.0.value_at_quantile(quantile));
        Quantiles {
            count: self.0.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: milliseconds(self.0.max()),
        }
    }
}

/// What a thread measured: latencies, and how late the load itself was.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) latencies: Latencies,
    pub(crate) lag: Latencies,
}

impl Default for Tally {
    fn default() -> Self {
        Self { latencies: Latencies::new(), lag: Latencies::new() }
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.lag.add(&other.lag);
    }
}

#[allow(clippy::cast_precision_loss, reason = "three digits are kept anyway")]
fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// What a histogram of latencies tells, in milliseconds; all 0 where nothing was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many there were.
    pub count: u64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1,000 took no longer.
    pub p99_9_ms: f64,
    /// None took longer.
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantiles_are_within_a_thousandth(mut nanos in prop::collection::vec(1_000_000..10_000_000_000u64, 1..500)) {
            let mut latencies = Latencies::new();
            for value in &nanos {
                latencies.record(*value);
            }
            nanos.sort_unstable();
            let told = latencies.quantiles();
            let at = |percent: usize| nanos[(nanos.len() * percent).div_ceil(100) - 1];
            for (told, exact) in [(told.p50_ms, at(50)), (told.p99_ms, at(99)), (told.max_ms, at(100))] {
                let exact = milliseconds(exact);
                prop_assert!((told - exact).abs() <= exact / 1000.0 + 0.001, "{told} for {exact}");
            }
        }
    }

    #[test]
    fn what_is_beyond_the_bounds_still_counts() {
        let mut latencies = Latencies::new();
        latencies.record(0);
        latencies.record(u64::MAX);
        assert_eq!(latencies.quantiles().count, 2);
        assert!(latencies.quantiles().max_ms >= 3_599_000.0);
    }
}
