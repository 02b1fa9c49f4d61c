use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::{CloseReason, DropReason, Label, Phase, ReloadResult, ResumeOutcome, StreamGapReason, StreamRefusal};

/// Two shards and their exporter.
fn two_shards() -> (Arc<BrokerMetrics>, [Arc<ShardMetrics>; 2], Exporter) {
    let broker = Arc::new(BrokerMetrics::new("1.2.3", vec![("max_connections", 7)]));
    let shards = [Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
    let exporter = Exporter::new(Arc::clone(&broker), shards.to_vec()).unwrap();
    (broker, shards, exporter)
}

/// Streams of these names on two shards, with a store, and their exporter.
fn with_streams<const N: usize>(names: [&str; N]) -> ([Arc<StreamMetrics>; N], Arc<StoreMetrics>, Exporter) {
    let broker = Arc::new(BrokerMetrics::new("1.2.3", vec![("max_connections", 7)]));
    let streams = names.map(|_| Arc::new(StreamMetrics::new(2)));
    let named = names.map(str::to_owned).into_iter().zip(streams.clone()).collect();
    let store = Arc::new(StoreMetrics::default());
    let exporter = Exporter::with_streams(broker, Vec::new(), named, Some(Arc::clone(&store))).unwrap();
    (streams, store, exporter)
}

/// Reads a page as the format's specification says: a HELP and a TYPE line ahead of each metric, then its series.
/// Returns the types by metric, and the values by series.
fn parse(page: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut types, mut series, mut helped) = (BTreeMap::new(), BTreeMap::new(), HashSet::new());
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(text.ends_with('.'), "{name} has the help {text:?}");
            assert!(helped.insert(name.to_owned()), "{name} occurs twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped.contains(name), "{name} has no help");
            types.insert(name.to_owned(), kind.to_owned());
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{name} has the value {value:?}");
            assert!(series.insert(name.to_owned(), value.to_owned()).is_none(), "{name} occurs twice");
        }
    }
    (types, series)
}

#[test]
fn counts_of_all_shards_are_added_up() {
    let (_, [first, second], exporter) = two_shards();
    first.connections_closed.of(CloseReason::SlowConsumer).add(2);
    second.connections_closed.of(CloseReason::SlowConsumer).inc();
    first.messages_delivered.add(10);
    second.messages_delivered.add(5);
    first.outbox_bytes.add(100);
    second.outbox_bytes.sub(1);
    first.connections.of(Phase::Http).add(3);
    second.connections.of(Phase::WebSocket).add(4);

    let (_, series) = parse(&exporter.render().unwrap());
    assert_eq!(series[r#"carillon_connections_closed_total{reason="slow_consumer"}"#], "3");
    assert_eq!(series["carillon_messages_delivered_total"], "15");
    assert_eq!(series["carillon_outbox_bytes"], "99");
    assert_eq!(series[r#"carillon_connections{phase="http"}"#], "3");
    assert_eq!(series[r#"carillon_connections{phase="websocket"}"#], "4");
    assert_eq!(series[r#"carillon_shard_connections{shard="0"}"#], "3");
    assert_eq!(series[r#"carillon_shard_connections{shard="1"}"#], "4");
}

#[test]
fn histogram_is_cumulative_and_in_seconds() {
    let (_, [first, second], exporter) = two_shards();
    first.publish_to_write.observe_nanos(1_000);
    second.publish_to_write.observe_nanos(1_500_000);
    second.publish_to_write.observe_nanos(60_000_000_000);

    let (types, series) = parse(&exporter.render().unwrap());
    assert_eq!(types["carillon_publish_to_write_seconds"], "histogram");
    assert_eq!(series[r#"carillon_publish_to_write_seconds_bucket{le="0.000001"}"#], "1");
    assert_eq!(series[r#"carillon_publish_to_write_seconds_bucket{le="0.001024"}"#], "1");
    assert_eq!(series[r#"carillon_publish_to_write_seconds_bucket{le="0.002048"}"#], "2");
    assert_eq!(series[r#"carillon_publish_to_write_seconds_bucket{le="16.777216"}"#], "2");
    assert_eq!(series[r#"carillon_publish_to_write_seconds_bucket{le="+Inf"}"#], "3");
    assert_eq!(series["carillon_publish_to_write_seconds_count"], "3");
    assert_eq!(series["carillon_publish_to_write_seconds_sum"], "60.001501");
}

#[test]
fn every_series_is_there_from_the_start() {
    let (.., exporter) = two_shards();
    let (_, series) = parse(&exporter.render().unwrap());
    for reason in DropReason::ALL {
        assert_eq!(series[&format!(r#"carillon_messages_dropped_total{{reason="{}"}}"#, reason.name())], "0");
    }
    let (.., exporter) = with_streams(["orders"]);
    let (types, series) = parse(&exporter.render().unwrap());
    for reason in StreamRefusal::ALL {
        let name = reason.name();
        assert_eq!(series[&format!(r#"carillon_stream_refused_total{{stream="orders",reason="{name}"}}"#)], "0");
    }
    let families = catalogue::families().unwrap();
    // Shards alone have none, because this exporter has no shards.
    let names = families.iter().map(|family| family.desc().fq_name.as_str());
    for name in names.filter(|name| !name.starts_with("carillon_shard_")) {
        assert!(types.contains_key(name) && series.keys().any(|key| key.starts_with(name)), "{name} has no series");
    }
}

#[test]
fn counters_alone_end_in_total() {
    let (.., exporter) = with_streams(["orders"]);
    let (types, _) = parse(&exporter.render().unwrap());
    for (name, kind) in types {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
    }
}

#[test]
fn broker_and_process_are_on_the_page() {
    let (broker, _, exporter) = two_shards();
    broker.ready.set(1);
    broker.config_reloads.of(ReloadResult::Failed).inc();
    broker.certificate_not_after_seconds.set(1_900_000_000);

    let (_, series) = parse(&exporter.render().unwrap());
    assert_eq!(series["carillon_ready"], "1");
    assert_eq!(series[r#"carillon_config_reloads_total{result="failed"}"#], "1");
    assert_eq!(series["carillon_certificate_not_after_timestamp_seconds"], "1900000000");
    assert_eq!(series[r#"carillon_limit{name="max_connections"}"#], "7");
    assert_eq!(series[r#"carillon_build_info{version="1.2.3"}"#], "1");
    assert!(series["carillon_start_time_seconds"].parse::<f64>().unwrap() > 1_700_000_000.0);
    assert!(series["process_resident_memory_bytes"].parse::<f64>().unwrap() > 0.0);
}

#[test]
fn each_stream_has_series_of_its_own() {
    let ([orders, audit], _, exporter) = with_streams(["orders", "audit"]);
    orders.last_sequence.set_unsigned(9);
    audit.last_sequence.set_unsigned(4);
    orders.published.add(9);
    orders.refused.of(StreamRefusal::TooManyTopics).inc();
    audit.readers.resumes.of(ResumeOutcome::AfterGap).inc();
    audit.readers.gaps.of(StreamGapReason::Purge).inc();
    audit.readers.history_deliveries.add(100);
    audit.lag(1).set(3);

    let (_, series) = parse(&exporter.render().unwrap());
    assert_eq!(series[r#"carillon_stream_last_sequence{stream="orders"}"#], "9");
    assert_eq!(series[r#"carillon_stream_last_sequence{stream="audit"}"#], "4");
    assert_eq!(series[r#"carillon_stream_published_total{stream="orders"}"#], "9");
    assert_eq!(series[r#"carillon_stream_published_total{stream="audit"}"#], "0");
    assert_eq!(series[r#"carillon_stream_refused_total{stream="orders",reason="too_many_topics"}"#], "1");
    assert_eq!(series[r#"carillon_stream_resumes_total{stream="audit",outcome="after_gap"}"#], "1");
    assert_eq!(series[r#"carillon_stream_resumes_total{stream="orders",outcome="after_gap"}"#], "0");
    assert_eq!(series[r#"carillon_stream_gaps_total{stream="audit",reason="purge"}"#], "1");
    assert_eq!(series[r#"carillon_stream_history_deliveries_total{stream="audit"}"#], "100");
    assert_eq!(series[r#"carillon_stream_lag_messages{stream="audit"}"#], "3");
}

#[test]
fn histograms_of_a_stream_are_in_seconds_and_in_messages() {
    let ([orders], _, exporter) = with_streams(["orders"]);
    orders.commit.observe_nanos(1_500_000);
    orders.group_messages.observe(3);
    orders.group_messages.observe(1_000);

    let (types, series) = parse(&exporter.render().unwrap());
    assert_eq!(types["carillon_stream_commit_seconds"], "histogram");
    assert_eq!(series[r#"carillon_stream_commit_seconds_bucket{stream="orders",le="0.001024"}"#], "0");
    assert_eq!(series[r#"carillon_stream_commit_seconds_bucket{stream="orders",le="0.002048"}"#], "1");
    assert_eq!(series[r#"carillon_stream_commit_seconds_sum{stream="orders"}"#], "0.0015");
    assert_eq!(series[r#"carillon_stream_group_messages_bucket{stream="orders",le="2"}"#], "0");
    assert_eq!(series[r#"carillon_stream_group_messages_bucket{stream="orders",le="4"}"#], "1");
    assert_eq!(series[r#"carillon_stream_group_messages_bucket{stream="orders",le="1024"}"#], "2");
    assert_eq!(series[r#"carillon_stream_group_messages_sum{stream="orders"}"#], "1003");
}

#[test]
fn streams_that_are_not_defined_have_no_series() {
    let (.., exporter) = two_shards();
    let (types, _) = parse(&exporter.render().unwrap());
    assert!(!types.keys().any(|name| name.starts_with("carillon_stream_") || name.starts_with("carillon_store_")));

    let ([], store, exporter) = with_streams([]);
    store.failed.set(1);
    store.read_bytes.add(4096);
    let (types, series) = parse(&exporter.render().unwrap());
    assert_eq!(
        (series["carillon_store_failed"].as_str(), series["carillon_store_read_bytes_total"].as_str()),
        ("1", "4096")
    );
    assert!(!types.keys().any(|name| name.starts_with("carillon_stream_")));
}
