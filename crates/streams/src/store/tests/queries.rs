//! Everything that can be asked of a stream, against a model that looks at all of its messages.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use carillon_wire::{Pattern, Topic};

use super::super::{Log, Page, Reader};
use super::{Message, messages};
use crate::stream::{PageLimits, Retention, Totals};

const PATTERNS: [&str; 9] = ["a", ">", "a.>", "*", "*.b", "long.>", "not.there", "c", "a.*"];

/// A stream of which everything is known.
pub(super) struct Known<'a> {
    pub(super) number: u32,
    /// What can be read, in order.
    pub(super) readable: &'a [Message],
    pub(super) last: u64,
}

fn of_pattern<'m>(messages: &'m [Message], pattern: Pattern<'_>) -> Vec<&'m Message> {
    let is_match = |message: &&Message| pattern.matches(Topic::new(&message.topic).unwrap());
    messages.iter().filter(is_match).collect()
}

/// Reads page after page up to a sequence.
fn all_pages(through: u64, limits: &PageLimits, mut read: impl FnMut(u64) -> Page) -> Vec<Message> {
    let (mut from, mut found) = (1, Vec::new());
    loop {
        let page = read(from);
        assert_eq!(page.damaged(), []);
        assert!(page.len() <= limits.messages.max(1));
        assert!(page.len() <= 1 || page.deliveries().len() as u64 <= limits.bytes);
        found.extend(messages(&page));
        assert!(found.last().is_none_or(|last| last.sequence < page.next_sequence()));
        if page.next_sequence() > through {
            return found;
        }
        assert!(page.next_sequence() > from, "a page without progress");
        from = page.next_sequence();
    }
}

impl Known<'_> {
    /// Asks for a few things that `seed` decides.
    pub(super) fn check(&self, reader: &Reader, seed: u64) {
        let mut seed = seed;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let small = |below: u64| usize::try_from(below).unwrap();
        for _ in 0..3 {
            let pattern = Pattern::new(PATTERNS[small(random(PATTERNS.len() as u64))]).unwrap();
            let through = random(self.last + 3);
            let limits =
                PageLimits { messages: small(random(6)), bytes: random(4) * 150, looked_at: small(1 + random(9)) };
            self.check_matching(reader, pattern, through, &limits);
            self.check_last_by_topic(reader, pattern, through, &limits);
            self.check_newest(reader, pattern, small(random(12)), through);
        }
        let state = reader.stream(self.number);
        assert_eq!(state.map_or(0, |state| state.totals.messages), self.readable.len() as u64);
    }

    fn check_matching(&self, reader: &Reader, pattern: Pattern<'_>, through: u64, limits: &PageLimits) {
        let wanted = of_pattern(self.readable, pattern).into_iter().filter(|message| message.sequence <= through);
        let read = |from| reader.read_matching(self.number, pattern, from, through, limits);
        assert_eq!(all_pages(through.min(self.last), limits, read), wanted.cloned().collect::<Vec<_>>());
    }

    fn check_last_by_topic(&self, reader: &Reader, pattern: Pattern<'_>, as_of: u64, limits: &PageLimits) {
        let mut newest = BTreeMap::<&str, &Message>::new();
        for message in of_pattern(self.readable, pattern).into_iter().filter(|message| message.sequence <= as_of) {
            newest.insert(&message.topic, message);
        }
        let mut wanted: Vec<Message> = newest.into_values().cloned().collect();
        wanted.sort_by_key(|message| message.sequence);
        let read = |from| reader.last_by_topic(self.number, pattern, as_of, from - 1, limits);
        assert_eq!(all_pages(as_of.min(self.last), limits, read), wanted);
    }

    fn check_newest(&self, reader: &Reader, pattern: Pattern<'_>, n: usize, through: u64) {
        let matching = of_pattern(self.readable, pattern);
        let sequences: Vec<u64> = matching.iter().map(|message| message.sequence).collect();
        let up_to: Vec<u64> = sequences.iter().copied().filter(|sequence| *sequence <= through).collect();
        let newest = up_to.get(up_to.len().saturating_sub(n)..).and_then(<[u64]>::first);
        let position = reader.position_before_newest(self.number, pattern, n, through).unwrap();
        assert_eq!(position, newest.map_or(through, |sequence| sequence - 1), "{pattern} {n} {through}");
        if let Some(topic) = pattern.as_topic() {
            let newest = reader.newest_sequences(self.number, topic.as_str(), n).unwrap();
            assert_eq!(newest, sequences[sequences.len().saturating_sub(n)..]);
        }
    }

    /// What retention takes is what it takes when it is asked with every single message.
    pub(super) fn check_cut(&self, log: &Log, bytes: &[u64], (age, most_bytes, count): (u64, u64, u64)) {
        let retention = Retention {
            max_age_us: NonZeroU64::new(age),
            max_bytes: NonZeroU64::new(most_bytes),
            max_messages: NonZeroU64::new(count),
            max_messages_per_topic: NonZeroU32::new(3),
        };
        let extent = |(message, bytes): (&Message, &u64)| crate::stream::Extent {
            last: message.sequence,
            newest_time_us: message.time_us,
            totals: Totals { messages: 1, bytes: *bytes },
        };
        let kept = Totals { messages: bytes.len() as u64, bytes: bytes.iter().sum() };
        assert_eq!(log.reader().stream(self.number).map(|state| state.totals).unwrap_or_default(), kept);
        let now_us = self.readable.last().map_or(0, |message| message.time_us) + 7;
        let naive = retention.cut(now_us, kept, self.readable.iter().zip(bytes).map(extent));
        let cut = log.cut(self.number, &retention, now_us);
        assert_eq!(cut.map(|cut| cut.removed), naive.map(|cut| cut.removed));
        let is_left = |first: Option<u64>| {
            self.readable.iter().filter(move |message| message.sequence >= first.unwrap_or(0)).count()
        };
        assert_eq!(is_left(cut.map(|cut| cut.first)), is_left(naive.map(|cut| cut.first)));
    }
}
