//! The streams of the tortured broker, and what is published to them.

use std::fmt::Write;

/// What a stream keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    /// All, for ever.
    Everything,
    /// The newest, so many of them.
    Newest(u64),
    /// The newest of each topic, so many of them.
    NewestOfTopic(usize),
}

/// One stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamPlan {
    pub(super) name: &'static str,
    /// Whether the broker's end is the end of its messages.
    pub(super) is_in_memory: bool,
    pub(super) keeps: Keeps,
    /// How many topics are published to.
    pub(super) topics: u16,
}

/// How many second tokens there are in the topics of a stream.
pub(super) const REGIONS: u16 = 4;

/// All streams of a run.
pub(super) const STREAMS: [StreamPlan; 5] = [
    StreamPlan { name: "orders", is_in_memory: false, keeps: Keeps::Everything, topics: 200 },
    StreamPlan { name: "audit", is_in_memory: false, keeps: Keeps::Everything, topics: 3 },
    StreamPlan { name: "recent", is_in_memory: false, keeps: Keeps::Newest(400), topics: 50 },
    StreamPlan { name: "state", is_in_memory: false, keeps: Keeps::NewestOfTopic(2), topics: 40 },
    StreamPlan { name: "ticks", is_in_memory: true, keeps: Keeps::Everything, topics: 20 },
];

/// Where the stream with the most topics is in [`STREAMS`].
pub(super) const ORDERS: usize = 0;
/// The stream of those who demand the topic's last sequence.
pub(super) const AUDIT: usize = 1;

impl StreamPlan {
    /// A topic by its number.
    pub(super) fn topic(&self, number: u16) -> String {
        format!("{}.r{}.t{number}", self.name, number % REGIONS)
    }

    /// The pattern of all of them.
    pub(super) fn pattern(&self) -> String {
        format!("{}.>", self.name)
    }

    /// Its section of the configuration.
    pub(super) fn section(&self) -> String {
        let mut section = format!("[streams.{}]\ntopics = [{:?}]\n", self.name, self.pattern());
        let durability = if self.is_in_memory { "memory" } else { "disk" };
        let _ = writeln!(section, "durability = {durability:?}");
        let _ = match self.keeps {
            Keeps::Everything if self.is_in_memory => writeln!(section, "max_bytes = {}", 1_u64 << 30),
            Keeps::Everything => Ok(()),
            Keeps::Newest(messages) => writeln!(section, "max_messages = {messages}"),
            Keeps::NewestOfTopic(messages) => writeln!(section, "max_messages_per_topic = {messages}"),
        };
        section
    }
}

/// The payload of a publication, which tells its number and cannot be that of another one: 8 to a few hundred bytes, and
/// sometimes several thousand.
pub(super) fn payload(number: u32) -> Vec<u8> {
    let mut scattered = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    scattered ^= scattered >> 29;
    let extra = if scattered.is_multiple_of(61) { 9000 } else { 240 };
    let filler = (scattered >> 8) % extra;
    let mut payload = u64::from(number).to_be_bytes().to_vec();
    payload.extend((0..filler).map(|at| scattered.wrapping_add(at).to_le_bytes()[0]));
    payload
}

/// The number of the publication with this payload.
pub(super) fn number_of(payload: &[u8]) -> Option<u32> {
    let number = payload.first_chunk().map(|first| u64::from_be_bytes(*first))?;
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_tell_their_number() {
        for number in [0, 1, 60, 61, 77_777, u32::MAX] {
            assert_eq!(number_of(&payload(number)), Some(number));
        }
        assert_ne!(payload(3), payload(4));
    }
}
