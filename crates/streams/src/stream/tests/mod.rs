//! Tests of several parts together, against models.

mod cursor_model;
mod cursor_walk;
mod dedup;
mod ring_model;
mod routes;
mod stream_model;

use std::sync::Arc;

use carillon_wire::{PatternBuf, TopicBuf};

use super::{DedupWindow, Definition, Durability, Epoch, Retention, StreamName};

/// A definition that bounds nothing it need not.
fn definition(name: &str, patterns: &[&str]) -> Definition {
    Definition {
        name: StreamName::new(name).unwrap(),
        patterns: patterns.iter().map(|it| PatternBuf::new(it).unwrap()).collect(),
        durability: Durability::Memory,
        retention: Retention { max_bytes: Some(u64::MAX.try_into().unwrap()), ..Retention::default() },
        dedup: DedupWindow { time_us: 0, ids: 0 },
        max_topics: 1_000,
    }
}

fn shared(definition: Definition) -> Arc<Definition> {
    Arc::new(definition)
}

fn epoch(text: &str) -> Epoch {
    Epoch::new(text).unwrap()
}

fn topic(name: &str) -> TopicBuf {
    TopicBuf::new(name).unwrap()
}

fn as_index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
