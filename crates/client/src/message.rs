//! A message that came.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use carillon_wire::{Headers, TopicBuf};

use crate::position::Position;

/// A message, as it was published. Clones share its bytes.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) topic: TopicBuf,
    pub(crate) payload: Bytes,
    /// Headers in their MessagePack form, checked while decoding.
    pub(crate) headers: Bytes,
    pub(crate) time_us: u64,
    pub(crate) place: Option<Place>,
}

/// Where a message is in the stream that keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) stream: Arc<str>,
    pub(crate) sequence: u64,
    /// None where the broker has not told the subscription.
    pub(crate) epoch: Option<Arc<str>>,
}

impl Message {
    /// Where it was published.
    pub fn topic(&self) -> &str {
        self.topic.as_str()
    }

    /// The payload, opaque bytes.
    ///
    /// It is a part of the WebSocket message that it came in, which may hold many others and stays in memory as long as one
    /// part is in use. Copy what is to be kept for long.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What the publisher said about the payload.
    pub fn headers(&self) -> Headers<'_> {
        Headers::from_msgpack(&self.headers).unwrap_or_default()
    }

    /// When the broker accepted it, in microseconds since 1970 began (UTC).
    pub fn time_us(&self) -> u64 {
        self.time_us
    }

    /// When the broker accepted it, by the broker's clock.
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.time_us)
    }

    /// The stream that keeps it; none for a message that is not kept.
    pub fn stream(&self) -> Option<&str> {
        self.place.as_ref().map(|place| &*place.stream)
    }

    /// Its number in that stream, from 1. The numbers of one stream have no holes, but a subscription gets only those whose
    /// topics match.
    pub fn sequence(&self) -> Option<u64> {
        self.place.as_ref().map(|place| place.sequence)
    }

    /// Its place, from which it can be resumed behind it. Always known on a subscription with a start, and in history; on a
    /// subscription without a start only once the broker has told the stream's epoch.
    pub fn position(&self) -> Option<Position> {
        let place = self.place.as_ref()?;
        Some(Position::told(Arc::clone(place.epoch.as_ref()?), place.sequence))
    }

    /// Bytes that it takes in a queue, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        self.topic.as_str().len() + self.payload.len() + self.headers.len()
    }
}
