//! A memory stream against a list of what it should keep.

use carillon_wire::{Pattern, Topic};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{definition, epoch, shared};
use crate::stream::{
    Definition, EpochReason, Gap, Item, LossReason, MAX_SEQUENCE, MemoryStream, NewestSearch, PageLimits, Publication,
    Read, Retention, Select, Stream, Verdict,
};

const NAMES: [&str; 4] = ["a", "b", "c.a", "c.b"];

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish { topic: usize, bytes: u64, later_us: u64 },
    Expire { later_us: u64 },
    Purge { back: u64 },
    Redefine(Retention),
}

fn retention() -> impl Strategy<Value = Retention> {
    let bound = || proptest::option::of(1..30_u64);
    (bound(), 5..60_u64, bound(), proptest::option::of(1..4_u32)).prop_map(|(age, bytes, messages, each)| Retention {
        max_age_us: age.and_then(|it| it.try_into().ok()),
        max_bytes: bytes.try_into().ok(),
        max_messages: messages.and_then(|it| it.try_into().ok()),
        max_messages_per_topic: each.and_then(|it| it.try_into().ok()),
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..4_usize, 0..5_u64, 0..3_u64)
            .prop_map(|(topic, bytes, later_us)| Step::Publish { topic, bytes, later_us }),
        1 => (0..40_u64).prop_map(|later_us| Step::Expire { later_us }),
        1 => (0..20_u64).prop_map(|back| Step::Purge { back }),
        1 => retention().prop_map(Step::Redefine),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Message {
    sequence: u64,
    time_us: u64,
    topic: usize,
    bytes: u64,
}

struct Pair {
    stream: MemoryStream<u64>,
    retention: Retention,
    kept: Vec<Message>,
    first: u64,
    last: u64,
    clock_us: u64,
}

fn defined(retention: Retention) -> std::sync::Arc<Definition> {
    shared(Definition { retention, ..definition("s", &[">"]) })
}

impl Pair {
    fn new(retention: Retention) -> Self {
        let stream = Stream::new(defined(retention), epoch("e"), EpochReason::Created);
        let stream = MemoryStream::new(stream);
        Self { stream, retention, kept: Vec::new(), first: 1, last: 0, clock_us: 100 }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Publish { topic, bytes, later_us } => {
                self.clock_us += later_us;
                let name = Topic::new(NAMES[topic]).unwrap();
                let publication = Publication { topic: name, message_id: None, expected_last: None, bytes };
                let decision = self.stream.publish(self.clock_us, &publication, |place| place.sequence);
                self.last += 1;
                assert!(matches!(decision.verdict, Verdict::Append(place) if place.sequence == self.last));
                self.kept.push(Message { sequence: self.last, time_us: self.clock_us, topic, bytes });
            }
            Step::Expire { later_us } => {
                self.clock_us += later_us;
                self.stream.expire(self.clock_us);
            }
            Step::Purge { back } => {
                let first = (self.last + 1).saturating_sub(back);
                self.stream.purge_before(first);
                self.take_before(first);
            }
            Step::Redefine(retention) => {
                self.retention = retention;
                self.stream.redefine(defined(retention), self.clock_us);
            }
        }
        self.retain();
    }

    fn take_before(&mut self, first: u64) {
        self.first = self.first.max(first);
        self.kept.retain(|it| it.sequence >= first);
    }

    fn retain(&mut self) {
        if let Some(max) = self.retention.max_messages_per_topic {
            let all = self.kept.clone();
            let newer = |it: &Message| all.iter().filter(|o| o.topic == it.topic && o.sequence > it.sequence).count();
            self.kept.retain(|it| newer(it) < max.get() as usize);
        }
        let is_within = |kept: &[Message]| {
            self.retention.max_messages.is_none_or(|max| kept.len() as u64 <= max.get())
                && self.retention.max_bytes.is_none_or(|max| kept.iter().map(|it| it.bytes).sum::<u64>() <= max.get())
                && self
                    .retention
                    .max_age_us
                    .is_none_or(|max| kept.iter().all(|it| self.clock_us - it.time_us < max.get()))
        };
        let gone = (0..=self.kept.len()).find(|n| is_within(&self.kept[*n..])).unwrap();
        if let Some(last) = gone.checked_sub(1) {
            self.take_before(self.kept[last].sequence + 1);
        }
    }

    fn matching(&self, pattern: &str) -> Vec<&Message> {
        let pattern = Pattern::new(pattern).unwrap();
        self.kept.iter().filter(|it| pattern.matches(Topic::new(NAMES[it.topic]).unwrap())).collect()
    }

    /// Everything that a read brings, page by page.
    fn read(&self, mut read: Read, pattern: &str, limits: &PageLimits) -> (Vec<u64>, Option<Gap>) {
        let (mut found, mut gap) = (Vec::new(), None);
        while read.after < read.through.min(self.last) {
            let page = self.stream.page(&read, Pattern::new(pattern).unwrap(), limits);
            assert!(page.complete_through > read.after, "a page without progress");
            assert!(page.items.len() <= limits.messages + 1);
            for item in page.items {
                match item {
                    Item::Message { sequence, message } => {
                        assert!(sequence == message && sequence > read.after && sequence <= page.complete_through);
                        found.push(sequence);
                    }
                    Item::Lost(lost) => assert_eq!(gap.replace(lost), None),
                }
            }
            read.after = page.complete_through;
        }
        (found, gap)
    }

    fn check(&self, pattern: &str, limits: &PageLimits, (after, through): (u64, u64)) {
        let bounds = self.stream.stream().bounds();
        assert_eq!((bounds.first, bounds.last), (self.first, self.last));
        let totals = self.stream.totals();
        assert_eq!(totals.messages, self.kept.len() as u64);
        assert_eq!(totals.bytes, self.kept.iter().map(|it| it.bytes).sum::<u64>());
        assert_eq!(self.stream.ring().first_sequence(), self.kept.first().map(|it| it.sequence));
        assert_eq!(self.stream.ring().replaced_at_the_front(), 0);
        let matching = self.matching(pattern);

        let all = Read { after, through, select: Select::All };
        let (found, gap) = self.read(all, pattern, limits);
        let in_range = |it: &&&Message| it.sequence > after && it.sequence <= through;
        assert_eq!(found, matching.iter().filter(in_range).map(|it| it.sequence).collect::<Vec<_>>());
        let lost = after + 1..=(self.first - 1).min(through);
        assert_eq!(gap.map(|it| it.first..=it.last), (!lost.is_empty() && after < self.last).then_some(lost));
        assert!(gap.is_none_or(|it| it.reason != LossReason::Damage));

        let as_of = through.min(self.last);
        let newest = Read { after, through: as_of, select: Select::LastByTopic { as_of } };
        let (found, _) = self.read(newest, pattern, limits);
        let is_newest = |it: &&&Message| {
            !matching.iter().any(|o| o.topic == it.topic && o.sequence > it.sequence && o.sequence <= as_of)
        };
        let expected = matching.iter().filter(in_range).filter(is_newest).map(|it| it.sequence);
        assert_eq!(found, expected.collect::<Vec<_>>());
        self.check_positions(pattern);
    }

    fn check_positions(&self, pattern: &str) {
        let (matching, ring) = (self.matching(pattern), self.stream.ring());
        for n in 0..=matching.len() + 1 {
            let found = ring.position_before_newest(n, Pattern::new(pattern).unwrap(), self.last);
            let newest = matching.iter().rev().take(n).next_back();
            assert_eq!(found, newest.map_or(self.last, |it| it.sequence - 1));
            let mut search = NewestSearch::new(n, self.last);
            while !ring.search_newest(&mut search, Pattern::new(pattern).unwrap(), 2) {}
            assert_eq!(search.position(), found);
        }
        for time_us in self.clock_us.saturating_sub(5)..=self.clock_us + 1 {
            let found = ring.position_at_time(time_us, self.last);
            let behind: Vec<_> = self.kept.iter().filter(|it| it.sequence > found).collect();
            let expected: Vec<_> = self.kept.iter().filter(|it| it.time_us >= time_us).collect();
            assert_eq!(behind, expected);
        }
    }
}

proptest! {
    #[test]
    fn a_memory_stream_keeps_and_finds_what_a_list_does(
        retention in retention(),
        steps in vec(steps(), 0..200),
        pattern in select(&["a", "c.*", "c.a", ">", "x", "*"][..]),
        (messages, bytes, looked_at) in (1..8_usize, 0..20_u64, 1..10_usize),
        (after, length) in (0..100_u64, 0..100_u64),
    ) {
        let mut pair = Pair::new(retention);
        let limits = PageLimits { messages, bytes, looked_at };
        for (n, step) in steps.into_iter().enumerate() {
            pair.apply(step);
            if n % 16 == 0 {
                pair.check(pattern, &limits, (0, MAX_SEQUENCE));
            }
        }
        pair.check(pattern, &limits, (after, after + length));
        pair.check(pattern, &limits, (0, MAX_SEQUENCE));
    }
}

#[test]
fn replaced_messages_cost_nothing_for_long() {
    let retention = Retention {
        max_bytes: 1_000_000.try_into().ok(),
        max_messages_per_topic: 1.try_into().ok(),
        ..Retention::default()
    };
    let mut pair = Pair::new(retention);
    pair.apply(Step::Publish { topic: 0, bytes: 1, later_us: 0 });
    for _ in 0..10_000 {
        pair.apply(Step::Publish { topic: 1, bytes: 1, later_us: 0 });
    }
    assert!(pair.stream.ring().capacity() < 1_000, "{}", pair.stream.ring().capacity());
    assert_eq!(pair.stream.stream().bounds().first, 1);
}

#[test]
fn a_topic_that_was_large_once_gives_its_memory_back() {
    let retention = Retention { max_bytes: 20_000.try_into().ok(), ..Retention::default() };
    let mut pair = Pair::new(retention);
    for topic in 0..2 {
        for n in 0..30_000 {
            let rarely = if n % 1_000 == 0 { 1 - topic } else { topic };
            pair.apply(Step::Publish { topic: rarely, bytes: 2, later_us: 0 });
        }
    }
    let (places, kept) = (pair.stream.ring().topic_capacity(), pair.kept.len());
    assert!(places < 4 * kept, "{places} places for {kept} messages");
}
