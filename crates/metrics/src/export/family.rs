//! One metric with its name, its help and how it is read; constructors for the few shapes there are.

use std::{collections::HashMap, sync::Arc};

use prometheus::{
    core::Desc,
    proto::{self, Bucket, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::{
    BrokerMetrics, CountHistogram, Counter, Gauge, Histogram, HistogramSnapshot, Label, Labelled, ShardMetrics,
    SharedCounter, StoreMetrics, StreamMetrics,
};

/// Where values are read from.
pub(super) struct Sources {
    pub(super) broker: Arc<BrokerMetrics>,
    pub(super) shards: Vec<Arc<ShardMetrics>>,
    pub(super) streams: Vec<(String, Arc<StreamMetrics>)>,
    pub(super) store: Option<Arc<StoreMetrics>>,
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
        labels: &[&str],
        kind: MetricType,
        read: impl Fn(&Sources) -> Vec<Metric> + Send + Sync + 'static,
    ) -> Result<Self, prometheus::Error> {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())?;
        Ok(Self { desc, kind, read: Box::new(read) })
    }
}

/// Name and help text of a metric.
pub(super) type Title = (&'static str, &'static str);
type Made = Result<Family, prometheus::Error>;

/// A counter that is the sum over the shards.
pub(super) fn counter(title: Title, of: fn(&ShardMetrics) -> &Counter) -> Made {
    Family::new(title, &[], MetricType::COUNTER, move |sources| {
        vec![counted(&[], sources.shards.iter().map(|shard| of(shard).get()).sum())]
    })
}

/// A counter with a label, each series the sum over the shards.
pub(super) fn counter_by<E: Label>(
    title: Title,
    label: &'static str,
    of: fn(&ShardMetrics) -> &Labelled<E, Counter>,
) -> Made {
    Family::new(title, &[label], MetricType::COUNTER, move |sources| {
        let sum = |value| sources.shards.iter().map(|shard| of(shard).of(value).get()).sum();
        E::ALL.iter().map(|&value| counted(&[(label, value.name())], sum(value))).collect()
    })
}

/// A gauge that is the sum over the shards.
pub(super) fn gauge(title: Title, of: fn(&ShardMetrics) -> &Gauge) -> Made {
    Family::new(title, &[], MetricType::GAUGE, move |sources| {
        vec![measured(&[], float(sources.shards.iter().map(|shard| of(shard).get()).sum()))]
    })
}

/// A gauge with a label, each series the sum over the shards.
pub(super) fn gauge_by<E: Label>(
    title: Title,
    label: &'static str,
    of: fn(&ShardMetrics) -> &Labelled<E, Gauge>,
) -> Made {
    Family::new(title, &[label], MetricType::GAUGE, move |sources| {
        let sum = |value| float(sources.shards.iter().map(|shard| of(shard).of(value).get()).sum());
        E::ALL.iter().map(|&value| measured(&[(label, value.name())], sum(value))).collect()
    })
}

/// A gauge with one series for each shard.
pub(super) fn gauge_by_shard(title: Title, of: fn(&ShardMetrics) -> i64) -> Made {
    Family::new(title, &["shard"], MetricType::GAUGE, move |sources| {
        let numbered = sources.shards.iter().enumerate();
        numbered.map(|(number, shard)| measured(&[("shard", &number.to_string())], float(of(shard)))).collect()
    })
}

/// A histogram in seconds that is the sum over the shards.
pub(super) fn histogram_seconds(title: Title, of: fn(&ShardMetrics) -> &Histogram) -> Made {
    Family::new(title, &[], MetricType::HISTOGRAM, move |sources| {
        let mut snapshot = HistogramSnapshot::default();
        sources.shards.iter().for_each(|shard| snapshot.merge(of(shard)));
        vec![observed(&[], &snapshot, Unit::Seconds)]
    })
}

/// A counter of the whole broker.
pub(super) fn broker_counter(title: Title, of: fn(&BrokerMetrics) -> &SharedCounter) -> Made {
    Family::new(title, &[], MetricType::COUNTER, move |sources| vec![counted(&[], of(&sources.broker).get())])
}

/// A counter of the whole broker with a label.
pub(super) fn broker_counter_by<E: Label>(
    title: Title,
    label: &'static str,
    of: fn(&BrokerMetrics) -> &Labelled<E, SharedCounter>,
) -> Made {
    Family::new(title, &[label], MetricType::COUNTER, move |sources| {
        of(&sources.broker).iter().map(|(value, counter)| counted(&[(label, value.name())], counter.get())).collect()
    })
}

/// A gauge of the whole broker.
pub(super) fn broker_gauge(title: Title, of: fn(&BrokerMetrics) -> f64) -> Made {
    Family::new(title, &[], MetricType::GAUGE, move |sources| vec![measured(&[], of(&sources.broker))])
}

/// A gauge of the whole broker whose label's values were set when it started.
pub(super) fn broker_gauge_by(
    title: Title,
    label: &'static str,
    of: fn(&BrokerMetrics) -> Vec<(&'static str, f64)>,
) -> Made {
    Family::new(title, &[label], MetricType::GAUGE, move |sources| {
        of(&sources.broker).into_iter().map(|(name, value)| measured(&[(label, name)], value)).collect()
    })
}

/// A gauge with one series for each stream.
pub(super) fn stream_gauge(title: Title, of: fn(&StreamMetrics) -> f64) -> Made {
    Family::new(title, &[STREAM], MetricType::GAUGE, move |sources| {
        by_stream(sources, |name, stream| measured(&[(STREAM, name)], of(stream)))
    })
}

/// A counter with one series for each stream.
pub(super) fn stream_counter(title: Title, of: fn(&StreamMetrics) -> u64) -> Made {
    Family::new(title, &[STREAM], MetricType::COUNTER, move |sources| {
        by_stream(sources, |name, stream| counted(&[(STREAM, name)], of(stream)))
    })
}

/// A counter with one series for each stream and each value of a label.
pub(super) fn stream_counter_by<E: Label>(
    title: Title,
    label: &'static str,
    of: fn(&StreamMetrics) -> &Labelled<E, SharedCounter>,
) -> Made {
    Family::new(title, &[STREAM, label], MetricType::COUNTER, move |sources| {
        let series = sources.streams.iter().flat_map(|(name, stream)| {
            let counters = of(stream).iter();
            counters.map(move |(value, counter)| counted(&[(STREAM, name), (label, value.name())], counter.get()))
        });
        series.collect()
    })
}

/// A histogram in seconds for each stream.
pub(super) fn stream_histogram_seconds(title: Title, of: fn(&StreamMetrics) -> &Histogram) -> Made {
    Family::new(title, &[STREAM], MetricType::HISTOGRAM, move |sources| {
        by_stream(sources, |name, stream| observed(&[(STREAM, name)], &of(stream).into(), Unit::Seconds))
    })
}

/// A histogram of numbers for each stream.
pub(super) fn stream_histogram(title: Title, of: fn(&StreamMetrics) -> &CountHistogram) -> Made {
    Family::new(title, &[STREAM], MetricType::HISTOGRAM, move |sources| {
        by_stream(sources, |name, stream| observed(&[(STREAM, name)], &of(stream).into(), Unit::Plain))
    })
}

/// A gauge of the log on disk.
pub(super) fn store_gauge(title: Title, of: fn(&StoreMetrics) -> f64) -> Made {
    Family::new(title, &[], MetricType::GAUGE, move |sources| {
        sources.store.iter().map(|store| measured(&[], of(store))).collect()
    })
}

/// A counter of the log on disk.
pub(super) fn store_counter(title: Title, of: fn(&StoreMetrics) -> u64) -> Made {
    Family::new(title, &[], MetricType::COUNTER, move |sources| {
        sources.store.iter().map(|store| counted(&[], of(store))).collect()
    })
}

/// The label with a stream's name.
const STREAM: &str = "stream";

fn by_stream(sources: &Sources, metric: impl Fn(&str, &StreamMetrics) -> Metric) -> Vec<Metric> {
    sources.streams.iter().map(|(name, stream)| metric(name, stream)).collect()
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

/// Names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// What a histogram shows.
#[derive(Clone, Copy)]
enum Unit {
    /// Its buckets are of microseconds, and its sum of nanoseconds.
    Seconds,
    Plain,
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels.iter().map(|&(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

fn counted(labels: Labels<'_>, value: u64) -> Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(float_unsigned(value));
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

fn measured(labels: Labels<'_>, value: f64) -> Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

fn observed(labels: Labels<'_>, snapshot: &HistogramSnapshot, unit: Unit) -> Metric {
    // What a bound and what the sum have to be divided by.
    let (bounds, sums) = match unit {
        Unit::Seconds => (1e6, 1e9),
        Unit::Plain => (1.0, 1.0),
    };
    let buckets = snapshot.cumulative().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(float_unsigned(bound) / bounds);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(snapshot.count());
    histogram.set_sample_sum(float_unsigned(snapshot.sum()) / sums);
    let mut metric = labelled(labels);
    metric.set_histogram(histogram);
    metric
}
