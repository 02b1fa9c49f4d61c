//! What one read gives: a page of messages.

use std::ops::RangeInclusive;

/// Messages of one stream in the order of their sequences, and how far the page is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    deliveries: Vec<u8>,
    topics: String,
    entries: Vec<Entry>,
    damaged: Vec<RangeInclusive<u64>>,
    first_sequence: u64,
    next_sequence: u64,
    is_cut_short: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    sequence: u64,
    time_us: u64,
    delivery_end: usize,
    topic_end: usize,
}

/// One message of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageMessage<'a> {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Microseconds since 1970.
    pub time_us: u64,
    /// Its topic.
    pub topic: &'a str,
    /// As it was appended; the deliveries of a page lie one behind the other in [`Page::deliveries`].
    pub delivery: &'a [u8],
}

impl Page {
    pub(super) fn new(first_sequence: u64) -> Self {
        Self { first_sequence, next_sequence: first_sequence, ..Self::default() }
    }

    /// The messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = PageMessage<'_>> {
        let (mut delivery_start, mut topic_start) = (0, 0);
        self.entries.iter().map(move |entry| {
            let delivery = self.deliveries.get(delivery_start..entry.delivery_end).unwrap_or_default();
            let topic = self.topics.get(topic_start..entry.topic_end).unwrap_or_default();
            (delivery_start, topic_start) = (entry.delivery_end, entry.topic_end);
            PageMessage { sequence: entry.sequence, time_us: entry.time_us, topic, delivery }
        })
    }

    /// How many messages.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no message. It may have passed a stretch of the stream all the same.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All deliveries, one behind the other.
    pub fn deliveries(&self) -> &[u8] {
        &self.deliveries
    }

    /// As [`deliveries`](Self::deliveries), for whoever keeps them.
    pub fn into_deliveries(mut self) -> Vec<u8> {
        self.deliveries.shrink_to_fit();
        self.deliveries
    }

    /// Where the page begins: what was asked for, or the first sequence that retention has left.
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// Where to read on. Of all that was asked for, nothing is missing before it but what
    /// [`damaged`](Self::damaged) names.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether it ends where it does because the disk gave an error for what comes next. That is no damage: it may be read
    /// the next time.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// The ranges that were read and are wrong, or are not there, in order, all in the stretch that the page passed. From
    /// [`Reader::past_unreadable`](super::Reader::past_unreadable) also those that the disk gives an error for.
    pub fn damaged(&self) -> &[RangeInclusive<u64>] {
        &self.damaged
    }

    /// Makes room for messages of which so many bytes were read.
    pub(super) fn reserve(&mut self, messages: usize, bytes: usize) {
        self.deliveries.reserve(bytes);
        self.entries.reserve(messages);
    }

    pub(super) fn push(&mut self, sequence: u64, time_us: u64, topic: &str, delivery: &[u8]) {
        self.deliveries.extend_from_slice(delivery);
        self.topics.push_str(topic);
        let entry = Entry { sequence, time_us, delivery_end: self.deliveries.len(), topic_end: self.topics.len() };
        self.entries.push(entry);
    }

    pub(super) fn cut_short(&mut self) {
        self.is_cut_short = true;
    }

    pub(super) fn pass(&mut self, next_sequence: u64) {
        self.next_sequence = self.next_sequence.max(next_sequence);
    }

    pub(super) fn damage(&mut self, first: u64, last: u64) {
        if first <= last {
            self.damaged.push(first..=last);
        }
    }

    /// Sorts and joins the damaged ranges, and cuts them to what the page passed.
    pub(super) fn finish(mut self) -> Self {
        let Some(passed) = self.next_sequence.checked_sub(1) else { return self };
        let mut ranges = std::mem::take(&mut self.damaged);
        ranges.sort_unstable_by_key(|range| *range.start());
        for range in ranges {
            let (first, last) = ((*range.start()).max(self.first_sequence), (*range.end()).min(passed));
            if first > last {
                continue;
            }
            match self.damaged.last_mut() {
                Some(before) if first <= before.end().saturating_add(1) => {
                    *before = *before.start()..=last.max(*before.end());
                }
                _ => self.damaged.push(first..=last),
            }
        }
        self
    }
}
