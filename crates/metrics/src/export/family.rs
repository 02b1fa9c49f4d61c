//! One metric with its name, its help and how it is read; constructors for the few shapes there are.

use std::{collections::HashMap, sync::Arc};

use prometheus::{
    core::Desc,
    proto::{self, Bucket, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::{
    BrokerMetrics, Counter, Gauge, Histogram, HistogramSnapshot, Label, Labelled, ShardMetrics, SharedCounter,
};

/// Where values are read from.
pub(super) struct Sources {
    pub(super) broker: Arc<BrokerMetrics>,
    pub(super) shards: Vec<Arc<ShardMetrics>>,
}

type Read = Box<dyn Fn(&Sources) -> Vec<Metric> + Send + Sync>;

/// A metric of Prometheus: a name, a help text, and one series for each combination of its labels.
pub(super) struct Family {
    desc: Desc,
    kind: MetricType,
    read: Read,
}

impl Family {
    pub(super) fn desc(&self) -> &Desc {
        &self.desc
    }

    pub(super) fn collect(&self, sources: &Sources) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(self.kind);
        family.set_metric((self.read)(sources));
        family
    }

    fn new(
        (name, help): (&str, &str),
        label: Option<&str>,
        kind: MetricType,
        read: impl Fn(&Sources) -> Vec<Metric> + Send + Sync + 'static,
    ) -> Result<Self, prometheus::Error> {
        let labels = label.into_iter().map(str::to_owned).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())?;
        Ok(Self { desc, kind, read: Box::new(read) })
    }
}

/// Name and help text of a metric.
pub(super) type Title = (&'static str, &'static str);
type Made = Result<Family, prometheus::Error>;

/// A counter that is the sum over the shards.
pub(super) fn counter(title: Title, of: fn(&ShardMetrics) -> &Counter) -> Made {
    Family::new(title, None, MetricType::COUNTER, move |sources| {
        vec![counted(None, sources.shards.iter().map(|shard| of(shard).get()).sum())]
    })
}

/// A counter with a label, each series the sum over the shards.
pub(super) fn counter_by<E: Label>(
    title: Title,
    label: &'static str,
    of: fn(&ShardMetrics) -> &Labelled<E, Counter>,
) -> Made {
    Family::new(title, Some(label), MetricType::COUNTER, move |sources| {
        let sum = |value| sources.shards.iter().map(|shard| of(shard).of(value).get()).sum();
        E::ALL.iter().map(|&value| counted(Some((label, value.name())), sum(value))).collect()
    })
}

/// A gauge that is the sum over the shards.
pub(super) fn gauge(title: Title, of: fn(&ShardMetrics) -> &Gauge) -> Made {
    Family::new(title, None, MetricType::GAUGE, move |sources| {
        vec![measured(None, float(sources.shards.iter().map(|shard| of(shard).get()).sum()))]
    })
}

/// A gauge with a label, each series the sum over the shards.
pub(super) fn gauge_by<E: Label>(
    title: Title,
    label: &'static str,
    of: fn(&ShardMetrics) -> &Labelled<E, Gauge>,
) -> Made {
    Family::new(title, Some(label), MetricType::GAUGE, move |sources| {
        let sum = |value| float(sources.shards.iter().map(|shard| of(shard).of(value).get()).sum());
        E::ALL.iter().map(|&value| measured(Some((label, value.name())), sum(value))).collect()
    })
}

/// A gauge with one series for each shard.
pub(super) fn gauge_by_shard(title: Title, of: fn(&ShardMetrics) -> i64) -> Made {
    Family::new(title, Some("shard"), MetricType::GAUGE, move |sources| {
        let numbered = sources.shards.iter().enumerate();
        numbered.map(|(number, shard)| measured(Some(("shard", &number.to_string())), float(of(shard)))).collect()
    })
}

/// A histogram in seconds that is the sum over the shards.
pub(super) fn histogram_seconds(title: Title, of: fn(&ShardMetrics) -> &Histogram) -> Made {
    Family::new(title, None, MetricType::HISTOGRAM, move |sources| {
        let mut snapshot = HistogramSnapshot::default();
        sources.shards.iter().for_each(|shard| snapshot.merge(of(shard)));
        vec![observed(&snapshot)]
    })
}

/// A counter of the whole broker.
pub(super) fn broker_counter(title: Title, of: fn(&BrokerMetrics) -> &SharedCounter) -> Made {
    Family::new(title, None, MetricType::COUNTER, move |sources| vec![counted(None, of(&sources.broker).get())])
}

/// A counter of the whole broker with a label.
pub(super) fn broker_counter_by<E: Label>(
    title: Title,
    label: &'static str,
    of: fn(&BrokerMetrics) -> &Labelled<E, SharedCounter>,
) -> Made {
    Family::new(title, Some(label), MetricType::COUNTER, move |sources| {
        of(&sources.broker).iter().map(|(value, counter)| counted(Some((label, value.name())), counter.get())).collect()
    })
}

/// A gauge of the whole broker.
pub(super) fn broker_gauge(title: Title, of: fn(&BrokerMetrics) -> f64) -> Made {
    Family::new(title, None, MetricType::GAUGE, move |sources| vec![measured(None, of(&sources.broker))])
}

/// A gauge of the whole broker whose label's values were set when it started.
pub(super) fn broker_gauge_by(
    title: Title,
    label: &'static str,
    of: fn(&BrokerMetrics) -> Vec<(&'static str, f64)>,
) -> Made {
    Family::new(title, Some(label), MetricType::GAUGE, move |sources| {
        of(&sources.broker).into_iter().map(|(name, value)| measured(Some((label, name)), value)).collect()
    })
}

/// Prometheus' numbers are floats: above 2^53 they are rounded, which no graph shows.
#[expect(clippy::cast_precision_loss, reason = "the format has nothing but floats")]
pub(super) fn float(value: i64) -> f64 {
    value as f64
}

/// As [`float`], for what has no sign.
#[expect(clippy::cast_precision_loss, reason = "the format has nothing but floats")]
pub(super) fn float_unsigned(value: u64) -> f64 {
    value as f64
}

fn labelled(label: Option<(&str, &str)>) -> Metric {
    let pairs = label.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

fn counted(label: Option<(&str, &str)>, value: u64) -> Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(float_unsigned(value));
    let mut metric = labelled(label);
    metric.set_counter(counter);
    metric
}

fn measured(label: Option<(&str, &str)>, value: f64) -> Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(label);
    metric.set_gauge(gauge);
    metric
}

fn observed(snapshot: &HistogramSnapshot) -> Metric {
    let buckets = snapshot.cumulative().map(|(bound_micros, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(float_unsigned(bound_micros) / 1e6);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(snapshot.count());
    histogram.set_sample_sum(float_unsigned(snapshot.sum_nanos()) / 1e9);
    let mut metric = labelled(None);
    metric.set_histogram(histogram);
    metric
}
