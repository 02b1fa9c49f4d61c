//! Tests of the whole store, on a disk that fails on purpose.

mod compaction;
mod damage;
mod definitions;
mod directory;
mod end;
mod faults;
mod model;
mod queries;
mod unreadable;

use std::sync::Arc;

use super::faulty::FaultyDisk;
use super::{Log, OpenError, Options, Page, Reader, Record, Recovered};
use crate::stream::PageLimits;
use carillon_wire::Pattern;

const SMALL: Options = Options { segment_bytes: 2000, reserve_bytes: 0 };

/// A message that can be owned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    sequence: u64,
    time_us: u64,
    topic: String,
    delivery: Vec<u8>,
}

fn open(disk: &FaultyDisk, options: Options) -> Result<(Log, Recovered), OpenError> {
    Log::open(Arc::new(disk.clone()), options)
}

/// A page with as much as these bytes hold.
fn bytes(bytes: u64) -> PageLimits {
    PageLimits { messages: usize::MAX, bytes, looked_at: usize::MAX }
}

fn read(reader: &Reader, stream: u32) -> Page {
    reader.read(stream, 1, u64::MAX, &bytes(u64::MAX))
}

fn read_topic(reader: &Reader, stream: u32, topic: &str) -> Page {
    reader.read_matching(stream, Pattern::new(topic).unwrap(), 1, u64::MAX, &bytes(u64::MAX))
}

fn last_of_topic(reader: &Reader, stream: u32, topic: &str) -> Page {
    reader.last_by_topic(stream, Pattern::new(topic).unwrap(), u64::MAX, 0, &bytes(u64::MAX))
}

fn append(log: &mut Log, stream: u32, message: &Message, message_id: &[u8]) {
    let record = Record {
        stream,
        sequence: message.sequence,
        time_us: message.time_us,
        topic: &message.topic,
        message_id,
        delivery: &message.delivery,
    };
    log.append(&record).unwrap();
}

fn messages(page: &Page) -> Vec<Message> {
    let owned = page.messages().map(|message| Message {
        sequence: message.sequence,
        time_us: message.time_us,
        topic: message.topic.to_owned(),
        delivery: message.delivery.to_vec(),
    });
    owned.collect()
}

/// A message that can be told from all others.
fn message(stream: u32, sequence: u64, topic: &str, bytes: usize) -> Message {
    let mut delivery = format!("{stream}/{sequence}/{topic}/").into_bytes();
    delivery.resize(delivery.len() + bytes, b'.');
    Message { sequence, time_us: 1_000 + sequence * 10, topic: topic.to_owned(), delivery }
}
