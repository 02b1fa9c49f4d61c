//! What a connection hands to a committer: publications, each encoded once.

use carillon_wire::Topic;
use carillon_wire::delivery::{PatchError, patch_delivery};

/// Publications of one connection into streams of one durability, in the order in which they were published.
///
/// Each is encoded as the delivery that readers get, except that the bytes of time and sequence are filled in by the
/// committer. Nothing is copied after that: what is written to disk, and what the shards hand on, are these bytes.
#[derive(Debug)]
pub struct Submissions {
    /// Which shard gets the answers.
    pub(super) shard: u32,
    /// What the shard knows the connection by.
    pub(super) ticket: u64,
    /// When the first was accepted, in nanoseconds since the broker's start; as the caller counts them.
    pub accepted_nanos: u64,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// What is said of a publication beside its delivery.
#[derive(Debug, Clone, Copy)]
pub struct SubmissionHead<'a> {
    /// The stream's index in [`Routes::definitions`](crate::stream::Routes::definitions).
    pub stream: u32,
    /// The request's id, handed back with the answer.
    pub request: Option<u64>,
    /// Where it is published; a topic of that stream.
    pub topic: &'a str,
    /// See [`Publication::message_id`](crate::stream::Publication::message_id).
    pub message_id: Option<&'a str>,
    /// See [`Publication::expected_last`](crate::stream::Publication::expected_last).
    pub expected_last: Option<u64>,
}

/// Where a publication is in the bytes: topic, message id and delivery, one behind the other.
#[derive(Debug, Clone, Copy)]
struct Entry {
    stream: u32,
    start: u32,
    topic_bytes: u16,
    /// `u16::MAX`: none was given.
    id_bytes: u16,
    delivery_bytes: u32,
    /// Where the time is, in the delivery.
    time_at: u32,
    request: Option<u64>,
    expected_last: Option<u64>,
}

const NO_ID: u16 = u16::MAX;

/// A publication as the committer sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Submitted<'a> {
    pub(super) head: SubmissionHead<'a>,
    pub(super) delivery: &'a [u8],
    pub(super) time_at: usize,
}

impl Submissions {
    /// None yet. The answers come to this shard with this ticket.
    pub fn new(shard: u32, ticket: u64) -> Self {
        Self { shard, ticket, accepted_nanos: 0, bytes: Vec::new(), entries: Vec::new() }
    }

    /// Appends a publication. `encode` appends the delivery to what it is given, and tells the place of the time in it:
    /// [`Delivery::encode_in_stream`](carillon_wire::broker_message::Delivery::encode_in_stream).
    pub fn push(&mut self, head: SubmissionHead<'_>, encode: impl FnOnce(&mut Vec<u8>) -> usize) {
        debug_assert!(Topic::new(head.topic).is_ok(), "{} is no topic", head.topic);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(head.topic.as_bytes());
        self.bytes.extend_from_slice(head.message_id.unwrap_or_default().as_bytes());
        let delivery_at = self.bytes.len();
        let time_at = encode(&mut self.bytes);
        let delivery_bytes = self.bytes.len().saturating_sub(delivery_at);
        let narrow = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        self.entries.push(Entry {
            stream: head.stream,
            start: narrow(start),
            topic_bytes: u16::try_from(head.topic.len()).unwrap_or(u16::MAX),
            id_bytes: head.message_id.map_or(NO_ID, |id| u16::try_from(id.len()).map_or(NO_ID - 1, |id| id)),
            delivery_bytes: narrow(delivery_bytes),
            time_at: narrow(time_at),
            request: head.request,
            expected_last: head.expected_last,
        });
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What they weigh in a queue.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// One of them. `None` beyond the last, and where its sizes are beyond what an entry can say.
    pub(super) fn get(&self, at: usize) -> Option<Submitted<'_>> {
        let entry = self.entries.get(at)?;
        let rest = self.bytes.get(entry.start as usize..)?;
        let (topic, rest) = rest.split_at_checked(usize::from(entry.topic_bytes))?;
        let (id, rest) = rest.split_at_checked(usize::from(entry.id_bytes()))?;
        let head = SubmissionHead {
            stream: entry.stream,
            request: entry.request,
            topic: std::str::from_utf8(topic).ok()?,
            message_id: if entry.id_bytes == NO_ID { None } else { Some(std::str::from_utf8(id).ok()?) },
            expected_last: entry.expected_last,
        };
        let delivery = rest.get(..entry.delivery_bytes as usize)?;
        Some(Submitted { head, delivery, time_at: entry.time_at as usize })
    }

    /// The request of one of them, to be answered whatever is wrong with it otherwise.
    pub(super) fn request(&self, at: usize) -> Option<u64> {
        self.entries.get(at)?.request
    }

    /// Writes time and sequence into a delivery.
    pub(super) fn fill_in(&mut self, at: usize, time_us: u64, sequence: u64) -> Result<(), PatchError> {
        let entry = self.entries.get(at).copied().ok_or(PatchError)?;
        let start = entry.start as usize + usize::from(entry.topic_bytes) + usize::from(entry.id_bytes());
        let delivery = self.bytes.get_mut(start..).and_then(|rest| rest.get_mut(..entry.delivery_bytes as usize));
        patch_delivery(delivery.ok_or(PatchError)?, entry.time_at as usize, time_us, sequence)
    }
}

impl Entry {
    fn id_bytes(&self) -> u16 {
        if self.id_bytes == NO_ID { 0 } else { self.id_bytes }
    }
}
