//! `[store]` and `[streams.NAME]`: what is kept, for how long, and where.

use std::{collections::BTreeMap, num::NonZero, path::PathBuf, time::Duration};

use carillon_streams::stream::{DedupWindow, Definition, Durability, Retention, StreamName};
use carillon_wire::PatternBuf;
use figment::value::Value;
use serde::{Deserialize, Serialize};

use super::{Config, layer::Layer, sections::seconds};

/// The directory in `data_dir` that holds the streams on disk.
const DIRECTORY: &str = "streams";

/// `[store]`: the log that keeps the streams on disk, and the memory for writing and reading streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [store]")]
pub struct StoreSection {
    /// Bytes of one file of the log.
    pub segment_bytes: u64,
    /// Bytes on disk that are held, so that retention can work when it is full; 0 for none.
    pub reserve_bytes: u64,
    /// Bytes of publications that wait to be committed: those for the disk, and as many for memory.
    pub queue_bytes: usize,
    /// Bytes of pages of history that are kept in memory for those who read the same.
    pub cache_bytes: usize,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, reserve_bytes: 4 << 20, queue_bytes: 16 << 20, cache_bytes: 64 << 20 }
    }
}

/// Every stream's keys, by its name.
pub type StreamSections = BTreeMap<String, StreamKeys>;

/// `[streams.NAME]`. A bound of 0 is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a section, [streams.NAME]")]
pub struct StreamKeys {
    /// Whose messages it keeps.
    #[serde(with = "patterns")]
    pub topics: Vec<PatternBuf>,
    /// What its messages survive.
    #[serde(with = "DurabilityNames")]
    pub durability: Durability,
    /// The oldest that a message gets.
    #[serde(rename = "max_age_seconds", with = "seconds")]
    pub max_age: Duration,
    /// The most bytes of all messages.
    pub max_bytes: u64,
    /// The most messages.
    pub max_messages: u64,
    /// The most messages of one topic.
    pub max_messages_per_topic: u32,
    /// For how long message ids are remembered; 0 for not at all.
    #[serde(rename = "dedup_seconds", with = "seconds")]
    pub dedup_window: Duration,
    /// How many message ids are remembered; 0 for none.
    pub dedup_ids: usize,
    /// The most topics with a kept message.
    pub max_topics: u32,
}

impl Default for StreamKeys {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            durability: Durability::Disk,
            max_age: Duration::ZERO,
            max_bytes: 0,
            max_messages: 0,
            max_messages_per_topic: 0,
            dedup_window: Duration::from_mins(2),
            dedup_ids: 100_000,
            max_topics: 100_000,
        }
    }
}

/// What those who keep the streams are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// The streams, in the order of their names.
    pub definitions: Vec<Definition>,
    /// Where those on disk are; there is one if any stream is on disk.
    pub directory: Option<PathBuf>,
    /// How large and how much.
    pub store: StoreSection,
}

impl Config {
    /// What those who keep the streams are to be told. Of a configuration that was read again, the definitions differ from
    /// those before in what can change while the broker runs.
    pub fn stream_settings(&self) -> StreamSettings {
        StreamSettings {
            definitions: self.streams.iter().filter_map(|(name, keys)| keys.definition(name)).collect(),
            directory: self.data_dir.as_ref().map(|directory| directory.join(DIRECTORY)),
            store: self.store,
        }
    }

    /// What to log about streams that are allowed, and will be a trouble one day.
    pub fn stream_warnings(&self) -> Vec<String> {
        let unbounded = self.streams.iter().filter(|(_, keys)| keys.is_unbounded()).map(|(name, _)| name.as_str());
        let unbounded: Vec<_> = unbounded.collect();
        if unbounded.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "nothing bounds what these streams keep: {}. When the disk is full, no stream on disk takes anything more; set \
             max_age_seconds, max_bytes, max_messages or max_messages_per_topic",
            unbounded.join(", ")
        )]
    }
}

impl StreamKeys {
    /// Nothing for a name that is none, which the check of keys has refused.
    pub(super) fn definition(&self, name: &str) -> Option<Definition> {
        Some(Definition {
            name: StreamName::new(name).ok()?,
            patterns: self.topics.clone(),
            durability: self.durability,
            retention: Retention {
                max_age_us: NonZero::new(micros(self.max_age)),
                max_bytes: NonZero::new(self.max_bytes),
                max_messages: NonZero::new(self.max_messages),
                max_messages_per_topic: NonZero::new(self.max_messages_per_topic),
            },
            dedup: DedupWindow { time_us: micros(self.dedup_window), ids: self.dedup_ids },
            max_topics: self.max_topics,
        })
    }

    /// With bounded topics, a bound on the messages of each is one on all.
    fn is_unbounded(&self) -> bool {
        self.max_age.is_zero() && self.max_bytes == 0 && self.max_messages == 0 && self.max_messages_per_topic == 0
    }

    /// Each key with its value.
    pub(super) fn leaves(&self) -> Vec<(String, Value)> {
        let keys = Value::serialize(self).ok().and_then(Value::into_dict).unwrap_or_default();
        Layer::new(String::new(), keys).leaves()
    }
}

/// What `running` becomes when `read` was read meanwhile: which streams there are, whose topics they keep and where stays.
pub(super) fn with_reloadable_of(running: &StreamSections, read: &StreamSections) -> StreamSections {
    let reloaded = |(name, keys): (&String, &StreamKeys)| {
        let mut reloaded = read.get(name).unwrap_or(keys).clone();
        reloaded.topics.clone_from(&keys.topics);
        reloaded.durability = keys.durability;
        (name.clone(), reloaded)
    };
    running.iter().map(reloaded).collect()
}

/// The keys with another value; of a stream that only one of the two has, its section.
pub(super) fn keys_that_differ(one: &StreamSections, other: &StreamSections) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, stream) in one {
        let Some(other) = other.get(name) else {
            keys.push(format!("streams.{name}"));
            continue;
        };
        let pairs = stream.leaves().into_iter().zip(other.leaves());
        keys.extend(pairs.filter(|(one, other)| one != other).map(|((key, _), _)| format!("streams.{name}.{key}")));
    }
    keys.extend(other.keys().filter(|name| !one.contains_key(*name)).map(|name| format!("streams.{name}")));
    keys
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Durability", rename_all = "lowercase", expecting = "\"disk\" or \"memory\"")]
enum DurabilityNames {
    Disk,
    Memory,
}

/// Patterns as texts. All that are none are told at once, each with what is wrong with it.
mod patterns {
    use carillon_wire::PatternBuf;
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::config::lists;

    pub(super) fn serialize<S: Serializer>(patterns: &[PatternBuf], serializer: S) -> Result<S::Ok, S::Error> {
        lists::serialize(patterns, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PatternBuf>, D::Error> {
        let (mut patterns, mut errors) = (Vec::new(), Vec::new());
        for text in Vec::<String>::deserialize(deserializer)? {
            match PatternBuf::new(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => errors.push(format!("{text:?} is no pattern of topics: {error}")),
            }
        }
        if errors.is_empty() { Ok(patterns) } else { Err(de::Error::custom(errors.join("; "))) }
    }
}
