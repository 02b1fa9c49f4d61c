//! What the admin listener's routes about streams answer with, in JSON. The commands that ask it read the same.
//!
//! A reader passes over keys that it does not know, so keys may be added.

use std::{borrow::Cow, collections::BTreeMap};

use carillon_streams::{
    keeper::{StoreStatus, StreamStatus},
    stream::{Definition, EpochReason, LossReason},
};
use serde::{Deserialize, Serialize};

/// All streams.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamList {
    pub(crate) streams: Vec<Stream>,
    /// Nothing where no stream is on disk.
    pub(crate) store: Option<Store>,
}

/// One stream, with the store that it is in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamAndStore {
    #[serde(flatten)]
    pub(crate) stream: Stream,
    /// Nothing for a stream in memory.
    pub(crate) store: Option<Store>,
}

/// One stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) definition: StreamDefinition,
    pub(crate) epoch: String,
    pub(crate) epoch_reason: String,
    pub(crate) past_epochs: Vec<PastEpoch>,
    /// The oldest that is kept; above `last_sequence` where nothing is.
    pub(crate) first_sequence: u64,
    /// The newest there was; 0 before the first.
    pub(crate) last_sequence: u64,
    /// The last that an operator purged; 0 if none was.
    pub(crate) purged_through: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Those with a kept message.
    pub(crate) topics: u64,
    pub(crate) remembered_ids: u64,
    /// Of the newest message; 0 before the first.
    pub(crate) last_time_us: u64,
    /// False while its store has failed.
    pub(crate) takes_publications: bool,
}

/// How it is defined, by the keys of the configuration. A bound of 0 is none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamDefinition {
    pub(crate) topics: Vec<String>,
    pub(crate) durability: String,
    pub(crate) max_age_seconds: f64,
    pub(crate) max_bytes: u64,
    pub(crate) max_messages: u64,
    pub(crate) max_messages_per_topic: u32,
    pub(crate) dedup_seconds: f64,
    pub(crate) dedup_ids: u64,
    pub(crate) max_topics: u32,
}

/// An epoch that a stream had.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PastEpoch {
    pub(crate) epoch: String,
    /// Up to here the same numbers mean the same messages.
    pub(crate) same_through: u64,
}

/// The store of the streams on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Store {
    /// Why it takes nothing, if so.
    pub(crate) failed: Option<String>,
    /// Why it gives no room back, if so.
    pub(crate) compaction_failed: Option<String>,
    pub(crate) damaged_messages: u64,
    pub(crate) has_reserve: bool,
    pub(crate) bytes: u64,
    pub(crate) segments: u64,
}

/// One line of a stream's messages.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line<'a> {
    Page { page: PageEnd },
    Gap { gap: Gap },
    Epoch { epoch: EpochChange },
    Message(Message<'a>),
}

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Message<'a> {
    pub(crate) sequence: u64,
    pub(crate) time_us: u64,
    pub(crate) topic: Cow<'a, str>,
    pub(crate) headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Cow<'a, str>>,
    /// Instead of `payload` where that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_base64: Option<Cow<'a, str>>,
}

/// Messages that are lost, whatever topics they had.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) reason: String,
}

/// The epoch that was named is over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EpochChange {
    pub(crate) epoch: String,
    pub(crate) reason: String,
    /// Where it goes on in the epoch that counts.
    pub(crate) from: u64,
}

/// The last line: where it goes on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PageEnd {
    pub(crate) epoch: String,
    /// The stream's, as it was when this was read.
    pub(crate) first_sequence: u64,
    /// The stream's, as it was when this was read.
    pub(crate) last_sequence: u64,
    /// The `from` of the next page.
    pub(crate) next: u64,
    /// Nothing that was asked for is behind this page.
    pub(crate) is_end: bool,
}

/// A purge was done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Purged {
    /// The stream's first sequence now.
    pub(crate) first_sequence: u64,
    /// Messages that went.
    pub(crate) messages: u64,
}

/// A stream has another epoch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewEpoch {
    pub(crate) epoch: String,
}

/// The store was opened again, or had never failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reopened {
    pub(crate) findings: Vec<Finding>,
}

/// What was found in it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Something that had been kept is lost, or may be.
    pub(crate) is_loss: bool,
    pub(crate) text: String,
}

/// It was not done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// Why, for the operator.
    pub(crate) error: String,
}

impl From<&StreamStatus> for Stream {
    fn from(status: &StreamStatus) -> Self {
        let past = status.epochs.past().iter();
        let past = past.map(|past| PastEpoch { epoch: past.epoch.to_string(), same_through: past.same_through });
        Self {
            name: status.definition.name.to_string(),
            definition: StreamDefinition::from(&*status.definition),
            epoch: status.epochs.current().to_string(),
            epoch_reason: epoch_reason(status.epochs.reason()).to_owned(),
            past_epochs: past.collect(),
            first_sequence: status.bounds.first,
            last_sequence: status.bounds.last,
            purged_through: status.bounds.purged_through,
            messages: status.totals.messages,
            bytes: status.totals.bytes,
            topics: status.topics as u64,
            remembered_ids: status.remembered_ids as u64,
            last_time_us: status.last_time_us,
            takes_publications: !status.is_stopped,
        }
    }
}

impl From<&Definition> for StreamDefinition {
    fn from(definition: &Definition) -> Self {
        let retention = definition.retention;
        Self {
            topics: definition.patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            durability: definition.durability.to_string(),
            max_age_seconds: seconds(retention.max_age_us.map_or(0, Into::into)),
            max_bytes: retention.max_bytes.map_or(0, Into::into),
            max_messages: retention.max_messages.map_or(0, Into::into),
            max_messages_per_topic: retention.max_messages_per_topic.map_or(0, Into::into),
            dedup_seconds: seconds(definition.dedup.time_us),
            dedup_ids: definition.dedup.ids as u64,
            max_topics: definition.max_topics,
        }
    }
}

impl From<StoreStatus> for Store {
    fn from(status: StoreStatus) -> Self {
        let StoreStatus { failed, damaged_messages, has_reserve, bytes, segments, compaction_failed } = status;
        Self { failed, compaction_failed, damaged_messages, has_reserve, bytes, segments }
    }
}

fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

/// As the protocol's documents call it.
pub(super) fn epoch_reason(reason: EpochReason) -> &'static str {
    match reason {
        EpochReason::Created => "created",
        EpochReason::Restarted => "restarted",
        EpochReason::Repaired => "repaired",
        EpochReason::Renewed => "renewed",
        EpochReason::PositionAhead => "position_ahead",
    }
}

/// As the metrics call it.
pub(super) fn loss_reason(reason: LossReason) -> &'static str {
    match reason {
        LossReason::Retention => "retention",
        LossReason::Purge => "purge",
        LossReason::Damage => "damage",
    }
}
