//! Streams, from the configuration to the listener: opens what is kept, and logs what was found.

use std::{io, path::PathBuf, sync::Arc};

use carillon_listener::OpenedStreams;
use carillon_metrics::{StoreMetrics, StreamMetrics};
use carillon_streams::{
    keeper::{self, Keeper},
    store,
    stream::Durability,
};

use super::counting::Counting;
use crate::{
    admin::Readiness,
    config::{Config, StreamSettings},
    logging::log_findings,
};

/// Why what is kept cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{}{source}", self.place())]
pub(super) struct OpenError {
    directory: Option<PathBuf>,
    source: keeper::OpenError,
}

impl OpenError {
    /// Where the store is, for the errors that name its files only.
    fn place(&self) -> String {
        match (&self.source, &self.directory) {
            (
                keeper::OpenError::Log(_)
                | keeper::OpenError::Definitions(_)
                | keeper::OpenError::UnknownNumber { .. }
                | keeper::OpenError::Store(_),
                Some(directory),
            ) => format!("the streams in {}: ", directory.display()),
            _ => String::new(),
        }
    }

    /// Whether the operator has to change something before another start can go better.
    pub(super) fn is_usage(&self) -> bool {
        match &self.source {
            keeper::OpenError::Directory { source, .. }
            | keeper::OpenError::Log(store::OpenError::Io { source, .. }) => {
                matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory | io::ErrorKind::ReadOnlyFilesystem
                )
            }
            keeper::OpenError::Definitions(error) => matches!(error, store::DefinitionsError::Newer { .. }),
            keeper::OpenError::Store(_) => false,
            _ => true,
        }
    }
}

/// What counts the streams of a configuration, for the metrics' page.
#[derive(Debug)]
pub(super) struct Instruments {
    /// In the order of the definitions.
    pub(super) streams: Vec<(String, Arc<StreamMetrics>)>,
    /// There if any stream is on disk.
    pub(super) store: Option<Arc<StoreMetrics>>,
}

impl Instruments {
    pub(super) fn new(settings: &StreamSettings, shards: usize) -> Self {
        let definitions = settings.definitions.iter();
        let is_any_on_disk = definitions.clone().any(|definition| definition.durability == Durability::Disk);
        Self {
            streams: definitions
                .map(|definition| (definition.name.as_str().to_owned(), Arc::new(StreamMetrics::new(shards))))
                .collect(),
            store: is_any_on_disk.then(Arc::default),
        }
    }
}

/// What was opened, with what counts it.
pub(super) struct Open {
    pub(super) streams: OpenedStreams,
    pub(super) counting: Arc<Counting>,
}

/// Opens what is kept, and logs what was found. Nothing where no stream is defined.
///
/// Where none is defined and streams were kept before, these are looked at all the same: messages that nobody could read any
/// more are refused here, as with any other stream that is no longer defined.
pub(super) fn open(
    config: &Config,
    instruments: &Instruments,
    readiness: &Arc<Readiness>,
) -> Result<Option<Open>, OpenError> {
    let settings = config.stream_settings();
    let was_kept = settings.directory.as_ref().is_some_and(|directory| directory.exists());
    let is_defined = !settings.definitions.is_empty();
    if !is_defined && !was_kept {
        return Ok(None);
    }
    let counting = Arc::new(Counting::new(instruments, settings.store.reserve_bytes, Arc::clone(readiness)));
    let defaults = keeper::Options::default();
    let options = keeper::Options {
        directory: settings.directory.clone(),
        segment_bytes: settings.store.segment_bytes,
        reserve_bytes: settings.store.reserve_bytes,
        queue_bytes: settings.store.queue_bytes,
        cache_bytes: settings.store.cache_bytes,
        // A page goes out as one WebSocket message, with something around it.
        page_bytes: defaults.page_bytes.min(config.limits.max_message_bytes / 2),
        ..defaults
    };
    let directory = settings.directory.filter(|_| instruments.store.is_some() || was_kept);
    let opened = Keeper::open(settings.definitions, options, Arc::clone(&counting) as Arc<dyn keeper::Observer>)
        .map_err(|source| OpenError { directory, source })?;
    log_findings(opened.report());
    let metrics = instruments.streams.iter().map(|(_, metrics)| Arc::clone(metrics)).collect();
    Ok(is_defined.then_some(Open { streams: OpenedStreams { opened, metrics }, counting }))
}
