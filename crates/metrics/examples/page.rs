//! Prints the page of a broker with two idle shards, for `promtool check metrics`.

use std::sync::Arc;

use carillon_metrics::{BrokerMetrics, ExportError, Exporter, ShardMetrics};

fn main() -> Result<(), ExportError> {
    let broker = Arc::new(BrokerMetrics::new(env!("CARGO_PKG_VERSION"), vec![("max_connections", 100_000)]));
    let shards = vec![Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
    print!("{}", Exporter::new(broker, shards)?.render()?);
    Ok(())
}
