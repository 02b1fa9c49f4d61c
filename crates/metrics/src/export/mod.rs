//! From the instruments to Prometheus' text format.

mod catalogue;
mod family;
mod streams;

use std::{fmt, sync::Arc};

use prometheus::{
    Registry, TextEncoder,
    core::{Collector, Desc},
    process_collector::ProcessCollector,
    proto::MetricFamily,
};

use self::family::{Family, Sources};
use crate::{BrokerMetrics, ShardMetrics, StoreMetrics, StreamMetrics};

/// The `Content-Type` of what [`Exporter::render`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Writes all that is counted as a page for Prometheus.
///
/// It takes no lock that a shard could wait for: a scrape reads what the shards have stored. Values of one page are not from
/// one instant.
pub struct Exporter {
    registry: Registry,
}

impl Exporter {
    /// An exporter of these instruments and of the process' own (CPU, memory, file descriptors, threads), for a broker
    /// without streams.
    ///
    /// The place of a shard in `shards` is its number in the `shard` label.
    pub fn new(broker: Arc<BrokerMetrics>, shards: Vec<Arc<ShardMetrics>>) -> Result<Self, ExportError> {
        Self::with_streams(broker, shards, Vec::new(), None)
    }

    /// As [`new`](Self::new), with the streams that are defined, each with its name for the `stream` label, and the log on
    /// disk, where there is one. What is not given has no series.
    ///
    /// A name that occurs twice makes a page that Prometheus refuses.
    pub fn with_streams(
        broker: Arc<BrokerMetrics>,
        shards: Vec<Arc<ShardMetrics>>,
        streams: Vec<(String, Arc<StreamMetrics>)>,
        store: Option<Arc<StoreMetrics>>,
    ) -> Result<Self, ExportError> {
        let registry = Registry::new();
        let families = catalogue::families().map_err(ExportError::Register)?;
        let sources = Sources { broker, shards, streams, store };
        registry.register(Box::new(Carillon { sources, families })).map_err(ExportError::Register)?;
        registry.register(Box::new(ProcessCollector::for_self())).map_err(ExportError::Register)?;
        Ok(Self { registry })
    }

    /// The page, as it is now, of type [`CONTENT_TYPE`].
    pub fn render(&self) -> Result<String, ExportError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(ExportError::Render)
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// Why there is no page.
#[derive(Debug)]
pub enum ExportError {
    /// Two metrics have one name, or a name breaks Prometheus' rules: an error in this crate, which its tests would show.
    Register(prometheus::Error),
    /// The page could not be written.
    Render(prometheus::Error),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(error) => write!(f, "the metrics could not be registered: {error}"),
            Self::Render(error) => write!(f, "the metrics could not be written as text: {error}"),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Register(error) | Self::Render(error) => Some(error),
        }
    }
}

struct Carillon {
    sources: Sources,
    families: Vec<Family>,
}

impl Collector for Carillon {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().map(Family::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families.iter().map(|family| family.collect(&self.sources)).collect()
    }
}

#[cfg(test)]
mod tests;
