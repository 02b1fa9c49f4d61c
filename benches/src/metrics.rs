//! What a broker counts.

use std::collections::BTreeMap;

/// Values by the names of their series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Those of a page in Prometheus' text format that are Carillon's own.
    pub fn of_page(page: &str) -> Self {
        let series = page.lines().filter(|line| line.starts_with("carillon_"));
        let read = series.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(read.collect())
    }

    /// All series that begin like this, together.
    pub fn sum(&self, prefix: &str) -> f64 {
        self.0.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    /// What has been added since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let before = |name: &str| before.0.get(name).copied().unwrap_or_default();
        Self(self.0.iter().map(|(name, value)| (name.clone(), value - before(name))).collect())
    }

    /// The counters that have moved.
    pub fn moved(&self) -> impl Iterator<Item = (&str, f64)> {
        let counters = self.0.iter().filter(|(name, value)| **value >= 1.0 && name.contains("_total"));
        counters.map(|(name, value)| (name.as_str(), *value))
    }

    /// The least bound of a histogram that holds this share of all that was counted, for all of its series together.
    pub fn quantile(&self, histogram: &str, share: f64) -> f64 {
        let mut buckets = BTreeMap::<u64, f64>::new();
        for (series, count) in self.0.iter().filter(|(series, _)| series.starts_with(&format!("{histogram}_bucket"))) {
            let bound = series.split_once("le=\"").and_then(|(_, rest)| rest.split('"').next()?.parse::<f64>().ok());
            // Numbers that are not negative are in the order of their bits.
            *buckets.entry(bound.unwrap_or(f64::INFINITY).to_bits()).or_default() += count;
        }
        let all = buckets.values().copied().fold(0.0, f64::max);
        let found = buckets.into_iter().find(|(_, count)| *count >= all * share);
        found.map_or(0.0, |(bound, _)| f64::from_bits(bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP carillon_a_total A.\ncarillon_a_total{to=\"x\"} 2\ncarillon_a_total{to=\"y\"} 3\nother 7\n\
                        carillon_b_bucket{le=\"0.1\"} 5\ncarillon_b_bucket{le=\"1\"} 9\ncarillon_b_bucket{le=\"+Inf\"} 10\n";

    #[test]
    fn series_are_summed_by_how_they_begin() {
        let metrics = Metrics::of_page(PAGE);
        assert!((metrics.sum("carillon_a_total") - 5.0).abs() < f64::EPSILON);
        assert_eq!(metrics.moved().count(), 2);
        assert_eq!(metrics.since(&metrics).moved().count(), 0);
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let metrics = Metrics::of_page(PAGE);
        for (share, bound) in [(0.5, 0.1), (0.9, 1.0)] {
            assert!((metrics.quantile("carillon_b", share) - bound).abs() < f64::EPSILON);
        }
        assert!(metrics.quantile("carillon_b", 0.99).is_infinite());
    }
}
