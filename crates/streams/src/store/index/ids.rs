//! The message ids of a segment, each with its topic: the names of the topics that have ids, once each, then the ids.

use std::collections::HashMap;

use super::super::bytes::{Bytes, put_text, put_varint};
use super::IndexFailed;

/// While the segment grows.
#[derive(Debug, Default)]
pub(super) struct MemoryIds {
    /// As [`Ids`] reads them.
    bytes: Vec<u8>,
    topics: u32,
}

impl MemoryIds {
    /// `topic` is the topic's number among those with ids, once it has one.
    pub(super) fn add(
        &mut self,
        topic: &mut Option<u32>,
        (stream, sequence, time_us): (u32, u64, u64),
        message_id: &[u8],
    ) {
        let number = *topic.get_or_insert_with(|| {
            self.topics += 1;
            self.topics - 1
        });
        for number in [u64::from(stream), sequence, time_us, u64::from(number), message_id.len() as u64] {
            put_varint(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(message_id);
    }

    /// What [`Ids::read`] takes, with the names of the topics that were numbered.
    pub(super) fn encode<'t>(&self, topics: impl Iterator<Item = (&'t str, u32)>) -> Vec<u8> {
        let names: HashMap<u32, &str> = topics.map(|(name, number)| (number, name)).collect();
        let mut out = Vec::new();
        put_varint(&mut out, u64::from(self.topics));
        for number in 0..self.topics {
            put_text(&mut out, names.get(&number).copied().unwrap_or_default());
        }
        out.extend_from_slice(&self.bytes);
        out
    }
}

/// The message ids of a segment as they were read.
#[derive(Debug, Default)]
pub(in super::super) struct Ids {
    bytes: Vec<u8>,
    topics: Vec<String>,
    start: usize,
}

/// One message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Id<'a> {
    pub(in super::super) stream: u32,
    pub(in super::super) sequence: u64,
    pub(in super::super) time_us: u64,
    pub(in super::super) topic: &'a str,
    pub(in super::super) bytes: &'a [u8],
}

impl Ids {
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, IndexFailed> {
        let mut fields = Bytes(&bytes);
        let count = fields.varint().ok_or(IndexFailed::Damaged)?;
        let mut topics = Vec::new();
        for _ in 0..count {
            topics.push(fields.text().ok_or(IndexFailed::Damaged)?.to_owned());
        }
        let start = bytes.len() - fields.0.len();
        Ok(Self { bytes, topics, start })
    }

    /// In the order of the segment.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = Id<'_>> {
        let mut fields = Bytes(self.bytes.get(self.start..).unwrap_or_default());
        std::iter::from_fn(move || {
            let stream = u32::try_from(fields.varint()?).ok()?;
            let (sequence, time_us) = (fields.varint()?, fields.varint()?);
            let topic = self.topics.get(usize::try_from(fields.varint()?).ok()?)?;
            let len = usize::try_from(fields.varint()?).ok()?;
            Some(Id { stream, sequence, time_us, topic, bytes: fields.take(len)? })
        })
    }
}
