//! What Carillon counts: the instruments, and their exporter in Prometheus' text format.
//!
//! Each shard has a [`ShardMetrics`] of its own, which its thread alone writes: a count is a plain load and store, with
//! no lock, no atomic read-modify-write and no cache line that another shard writes. What happens rarely and to the broker
//! as a whole is in [`BrokerMetrics`], what is counted for each stream in [`StreamMetrics`], and for their log on disk in
//! [`StoreMetrics`]. The [`Exporter`] reads all of them when it is asked, and adds up the shards.
//!
//! Labels are enums, or the names of streams, which the configuration bounds. There is no way to label anything with what
//! a client says: no topic, no address, no name of a user.
//!
//! What this crate does not do: it serves nothing over HTTP (the broker's admin listener does), it keeps no history, and
//! it knows nothing of what it counts; the crates that count say when.
//!
//! Start with [`ShardMetrics`] for what there is, with [`Counter`] for how it is written, and with [`Exporter`] for how
//! it gets out.
//!
//! ```
//! use std::sync::Arc;
//! use carillon_metrics::{BrokerMetrics, CloseReason, Exporter, ShardMetrics};
//!
//! let broker = Arc::new(BrokerMetrics::new("0.1.0", vec![("max_connections", 100_000)]));
//! let shards = vec![Arc::new(ShardMetrics::default()), Arc::new(ShardMetrics::default())];
//! let exporter = Exporter::new(broker, shards.clone())?;
//!
//! shards[0].connections_closed.of(CloseReason::Normal).inc();
//! shards[1].connections_closed.of(CloseReason::Normal).add(2);
//!
//! let page = exporter.render()?;
//! assert!(page.contains(r#"carillon_connections_closed_total{reason="normal"} 3"#));
//! # Ok::<(), carillon_metrics::ExportError>(())
//! ```

mod broker;
mod export;
mod histogram;
mod instrument;
mod label;
mod reason;
mod shard;
mod store;
mod stream;

pub use broker::BrokerMetrics;
pub use export::{CONTENT_TYPE, ExportError, Exporter};
pub use histogram::{CountHistogram, Histogram, HistogramSnapshot};
pub use instrument::{Counter, Gauge, SharedCounter};
pub use label::{Label, Labelled};
pub use reason::{
    AcceptError, CloseReason, DropReason, HandshakeFailure, JwksFetchResult, LoginResult, Phase, QuotaHolder,
    QuotaName, RefusalReason, ReloadResult, ResumeOutcome, StreamGapReason, StreamRefusal, TlsHandshake,
};
pub use shard::ShardMetrics;
pub use store::StoreMetrics;
pub use stream::{ReaderMetrics, StreamMetrics};
