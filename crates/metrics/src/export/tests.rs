use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::{CloseReason, DropReason, Label, Phase, ReloadResult};

/// Two shards and their exporter.
fn two_shards() -> (Arc<BrokerMetrics>, [Arc<ShardMetrics>; 2], Exporter) {
    let broker = Arc::new(BrokerMetrics::new("1.2.3", vec![("max_connections", 7)]));
    let shards = [Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
    let exporter = Exporter::new(Arc::clone(&broker), shards.to_vec()).unwrap();
    (broker, shards, exporter)
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
    let (types, series) = parse(&exporter.render().unwrap());
    for reason in DropReason::ALL {
        assert_eq!(series[&format!(r#"carillon_messages_dropped_total{{reason="{}"}}"#, reason.name())], "0");
    }
    for (name, _) in types.iter().filter(|(name, _)| name.starts_with("carillon_")) {
        assert!(series.keys().any(|key| key.starts_with(name.as_str())), "{name} has no series");
    }
}

#[test]
fn counters_alone_end_in_total() {
    let (.., exporter) = two_shards();
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
