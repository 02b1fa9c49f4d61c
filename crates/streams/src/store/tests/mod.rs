//! Tests of the whole store, on a disk that fails on purpose.

mod damage;
mod directory;
mod faults;
mod model;

use std::sync::Arc;

use super::faulty::FaultyDisk;
use super::{Log, OpenError, Options, Page, Record, Recovered};

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
