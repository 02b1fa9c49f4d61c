//! What is known of one pattern on one stream, on this connection.

use std::{collections::HashMap, sync::Arc};

/// A subscription that meets more streams than this is not served any more: no broker has so many.
const MAX_STREAMS: usize = 1 << 16;

/// The broker named more streams to one subscription than this client keeps account of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a subscription met more than {MAX_STREAMS} streams")]
pub(super) struct TooManyStreams;

/// The streams that one pattern has met, as far as there is something to know of them.
#[derive(Debug, Default)]
pub(super) struct Tracks(HashMap<Arc<str>, Track>);

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// It gets what a marker names it for, and nothing else of the stream.
    pub(super) is_catching_up: bool,
    /// None as long as the broker has not told it.
    pub(super) epoch: Option<Arc<str>>,
}

impl Tracks {
    pub(super) fn get(&self, stream: &str) -> Option<&Track> {
        self.0.get(stream)
    }

    pub(super) fn of(&mut self, stream: &Arc<str>) -> Result<&mut Track, TooManyStreams> {
        if !self.0.contains_key(stream) && self.0.len() >= MAX_STREAMS {
            return Err(TooManyStreams);
        }
        Ok(self.0.entry(Arc::clone(stream)).or_default())
    }

    pub(super) fn is_live(&self, stream: &str) -> bool {
        self.get(stream).is_none_or(|track| !track.is_catching_up)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
