//! Prints the page of a broker with two idle shards and a stream on disk, for `promtool check metrics`.

use std::sync::Arc;

use carillon_metrics::{BrokerMetrics, ExportError, Exporter, ShardMetrics, StoreMetrics, StreamMetrics};

fn main() -> Result<(), ExportError> {
    let broker = Arc::new(BrokerMetrics::new(env!("CARGO_PKG_VERSION"), vec![("max_connections", 100_000)]));
    let shards = vec![Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
    let streams = vec![("orders".to_owned(), Arc::new(StreamMetrics::new(shards.len())))];
    let store = Some(Arc::new(StoreMetrics::default()));
    print!("{}", Exporter::with_streams(broker, shards, streams, store)?.render()?);
    Ok(())
}
