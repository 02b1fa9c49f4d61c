//! Cursors under every interleaving of publications, batches, pages, retention, purges, epochs and slow readers: what the
//! subscriber got is exactly the stream's content from its start, in order, each loss named once.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use carillon_wire::{Pattern, Topic};
use proptest::{collection::vec, prelude::*, sample::Index, sample::select};

use super::{as_index, cursor_walk::Walk, definition, epoch, shared};
use crate::stream::{
    Batch, Bounds, Cursor, CursorRead, Definition, Epoch, EpochChange, EpochReason, Epochs, Gap, Item, LossReason,
    MAX_SEQUENCE, MemoryStream, OnBatch, Origin, Page, PageLimits, Plan, Position, Publication, ReadId, Recovered,
    Resumed, Retention, Start, Stream, Verdict,
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const UNBOUNDED: u64 = u64::MAX;

#[derive(Debug, Clone)]
enum Step {
    Publish(Vec<usize>),
    TellBatch,
    AskPage,
    ReadPage(Index),
    GivePage(Index),
    FailPage(Index),
    Retain(u64),
    Purge(Index),
    Renew,
    Recreate,
    FallBehind(Index),
    /// The shard is not told of the oldest batch on its way; it will notice by the one behind it.
    LoseBatch,
    /// The disk has lost a message.
    Damage(Index),
}

fn steps(last_of_topic: bool) -> impl Strategy<Value = Vec<Step>> {
    let rare = u32::from(!last_of_topic);
    let step = prop_oneof![
        12 => vec(0..3_usize, 1..4).prop_map(Step::Publish),
        12 => Just(Step::TellBatch),
        8 => Just(Step::AskPage),
        8 => any::<Index>().prop_map(Step::ReadPage),
        8 => any::<Index>().prop_map(Step::GivePage),
        1 => any::<Index>().prop_map(Step::FailPage),
        1 + rare => (0..12_u64).prop_map(Step::Retain),
        1 => any::<Index>().prop_map(Step::Purge),
        1 => Just(Step::Renew),
        1 => Just(Step::Recreate),
        2 => any::<Index>().prop_map(Step::FallBehind),
        1 => Just(Step::LoseBatch),
        1 => any::<Index>().prop_map(Step::Damage),
    ];
    vec(step, 0..150)
}

#[derive(Debug, Clone)]
enum Wanted {
    Now,
    LastByTopic,
    Newest(usize),
    Time(Index),
    Beginning,
    Behind { epoch: Index, sequence: u64 },
}

fn starts() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        Just(Wanted::Now),
        Just(Wanted::LastByTopic),
        (0..10_usize).prop_map(Wanted::Newest),
        any::<Index>().prop_map(Wanted::Time),
        Just(Wanted::Beginning),
        (any::<Index>(), 0..60_u64).prop_map(|(epoch, sequence)| Wanted::Behind { epoch, sequence }),
    ]
}

/// What the subscriber was given.
#[derive(Debug, Clone)]
pub(super) enum Given {
    Message {
        epoch: Epoch,
        sequence: u64,
    },
    Lost {
        epoch: Epoch,
        gap: Gap,
    },
    /// With the last-by-topic sequence that the cursor goes by from then on.
    Changed {
        change: EpochChange,
        as_of: u64,
    },
}

/// One life of the stream between two that share nothing.
pub(super) struct Era {
    /// Its epochs, each with what was committed when it ended.
    pub(super) epochs: Vec<(Epoch, u64)>,
    pub(super) topics: Vec<usize>,
    pub(super) damaged: BTreeSet<u64>,
}

pub(super) struct World {
    pub(super) stream: MemoryStream<usize>,
    pub(super) eras: Vec<Era>,
    next_epoch: u32,
    clock_us: u64,
    pub(super) each: Option<u32>,
    /// Batches on their way to the shard.
    on_the_way: VecDeque<(Batch, Vec<usize>)>,
    newest: Batch,
    pattern: &'static str,
    limits: PageLimits,
    reader: Option<Reader>,
}

struct Reader {
    cursor: Cursor,
    asked: Vec<CursorRead>,
    read: Vec<(ReadId, Page<usize>)>,
    given: Vec<Given>,
    /// Whether the client takes the subscription for live.
    is_told_live: bool,
    origin: Origin,
}

fn keeping(each: Option<u32>, messages: Option<u64>) -> Arc<Definition> {
    let retention = Retention {
        max_bytes: UNBOUNDED.try_into().ok(),
        max_messages: messages.and_then(|it| it.try_into().ok()),
        max_messages_per_topic: each.and_then(|it| it.try_into().ok()),
        max_age_us: None,
    };
    shared(Definition { retention, ..definition("s", &[">"]) })
}

impl World {
    fn new(pattern: &'static str, each: Option<u32>, limits: PageLimits) -> Self {
        let stream = Stream::new(keeping(each, None), epoch("0"), EpochReason::Created);
        let newest = Batch::of(&stream);
        Self {
            stream: MemoryStream::new(stream),
            eras: vec![Era { epochs: vec![(epoch("0"), MAX_SEQUENCE)], topics: Vec::new(), damaged: BTreeSet::new() }],
            next_epoch: 1,
            clock_us: 10,
            each,
            on_the_way: VecDeque::new(),
            newest,
            pattern,
            limits,
            reader: None,
        }
    }

    pub(super) fn matches(&self, topic: usize) -> bool {
        Pattern::new(self.pattern).unwrap().matches(Topic::new(NAMES[topic]).unwrap())
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Publish(topics) => self.publish(&topics),
            Step::TellBatch => self.tell_batch(),
            Step::AskPage => {
                if let Some(reader) = &mut self.reader {
                    reader.asked.extend(reader.cursor.read());
                }
            }
            Step::ReadPage(index) => self.read_page(index.index(64)),
            Step::GivePage(index) => self.give_page(index.index(64)),
            Step::FailPage(index) => {
                if let Some(reader) = self.reader.as_mut().filter(|it| !it.asked.is_empty()) {
                    let at = index.index(reader.asked.len());
                    let asked = reader.asked.swap_remove(at);
                    reader.cursor.on_read_failed(asked.id);
                }
            }
            Step::Retain(messages) => {
                self.stream.redefine(keeping(self.each, Some(messages)), self.clock_us);
                self.stream.redefine(keeping(self.each, None), self.clock_us);
            }
            Step::Purge(index) => {
                let Bounds { first, last, .. } = self.stream.stream().bounds();
                self.stream.purge_before(first + index.index(as_index(last + 2 - first)) as u64);
            }
            Step::Renew => self.renew(),
            Step::Recreate => self.recreate(),
            Step::FallBehind(index) => self.fall_behind(index),
            Step::LoseBatch if self.on_the_way.len() > 1 => drop(self.on_the_way.pop_front()),
            Step::LoseBatch => {}
            Step::Damage(index) => {
                let era = self.eras.last_mut().unwrap();
                if !era.topics.is_empty() {
                    era.damaged.insert(index.index(era.topics.len()) as u64 + 1);
                }
            }
        }
    }

    fn publish(&mut self, topics: &[usize]) {
        self.clock_us += 1;
        let first = self.stream.stream().bounds().last + 1;
        for topic in topics {
            let name = Topic::new(NAMES[*topic]).unwrap();
            let publication = Publication { topic: name, message_id: None, expected_last: None, bytes: 1 };
            let decision = self.stream.publish(self.clock_us, &publication, |_| *topic);
            assert!(matches!(decision.verdict, Verdict::Append(_)));
            self.eras.last_mut().unwrap().topics.push(*topic);
        }
        let stream = self.stream.stream();
        let bounds = stream.bounds();
        let batch = Batch { epochs: stream.epochs().clone(), bounds, first, last: bounds.last };
        self.on_the_way.push_back((batch, topics.to_vec()));
    }

    fn fresh_epoch(&mut self) -> Epoch {
        self.next_epoch += 1;
        epoch(&self.next_epoch.to_string())
    }

    fn renew(&mut self) {
        let (next, last) = (self.fresh_epoch(), self.stream.stream().bounds().last);
        let era = self.eras.last_mut().unwrap();
        era.epochs.last_mut().unwrap().1 = last;
        era.epochs.push((next.clone(), MAX_SEQUENCE));
        self.stream.renew_epoch(next, EpochReason::Renewed);
        self.on_the_way.push_back((Batch::of(self.stream.stream()), Vec::new()));
    }

    fn recreate(&mut self) {
        let next = self.fresh_epoch();
        let epochs: Epochs = self.stream.stream().epochs().followed_by(next.clone(), EpochReason::Created, None);
        self.eras.push(Era { epochs: vec![(next, MAX_SEQUENCE)], topics: Vec::new(), damaged: BTreeSet::new() });
        self.stream = MemoryStream::new(Stream::restore(
            keeping(self.each, None),
            Recovered {
                epochs: Arc::new(epochs),
                bounds: Bounds { first: 1, last: 0, purged_through: 0 },
                last_time_us: 0,
                topics: Vec::new(),
                ids: Vec::new(),
            },
        ));
        self.on_the_way.push_back((Batch::of(self.stream.stream()), Vec::new()));
    }

    fn tell_batch(&mut self) {
        let Some((batch, topics)) = self.on_the_way.pop_front() else { return };
        let matching: Vec<_> = (batch.first..)
            .zip(topics)
            .filter(|(_, topic)| self.matches(*topic))
            .map(|(sequence, _)| sequence)
            .collect();
        if let Some(reader) = &mut self.reader {
            let OnBatch { epoch_change, became_live, deliver_behind } = reader.cursor.on_batch(&batch);
            reader.note_live(became_live);
            reader.note_change(epoch_change);
            let epoch = reader.cursor.position().epoch;
            let behind = matching.into_iter().filter(|it| deliver_behind.is_some_and(|behind| *it > behind));
            reader.given.extend(behind.map(|sequence| Given::Message { epoch: epoch.clone(), sequence }));
        }
        self.newest = batch;
    }

    fn read_page(&mut self, nth: usize) {
        let Some(reader) = self.reader.as_mut().filter(|it| !it.asked.is_empty()) else { return };
        let at = nth % reader.asked.len();
        let CursorRead { id, read } = reader.asked.swap_remove(at);
        let mut page = self.stream.page(&read, Pattern::new(self.pattern).unwrap(), &self.limits);
        let damaged = &self.eras.last().unwrap().damaged;
        for item in &mut page.items {
            if let Item::Message { sequence: at, .. } = *item
                && damaged.contains(&at)
            {
                *item = Item::Lost(Gap { first: at, last: at, reason: LossReason::Damage });
            }
        }
        reader.read.push((id, page));
    }

    fn give_page(&mut self, nth: usize) {
        let Some(reader) = self.reader.as_mut().filter(|it| !it.read.is_empty()) else { return };
        let at = nth % reader.read.len();
        let (id, page) = reader.read.swap_remove(at);
        let result = reader.cursor.on_page(id, &page);
        reader.note_change(result.epoch_change);
        let epoch = reader.cursor.position().epoch;
        if result.deliver {
            reader.given.extend(page.items.into_iter().map(|item| match item {
                Item::Message { sequence, .. } => Given::Message { epoch: epoch.clone(), sequence },
                Item::Lost(gap) => Given::Lost { epoch: epoch.clone(), gap },
            }));
        }
        reader.note_live(result.became_live);
    }

    /// The outbox is full: what was given from somewhere on is dropped, except for changes of the epoch.
    fn fall_behind(&mut self, index: Index) {
        let Some(reader) = self.reader.as_mut().filter(|it| !it.given.is_empty()) else { return };
        let at = index.index(reader.given.len());
        let dropped = reader.given.split_off(at);
        let handed_on = dropped.iter().find_map(|given| match given {
            Given::Message { epoch, sequence } => Some(Position { epoch: epoch.clone(), sequence: sequence - 1 }),
            Given::Lost { epoch, gap } => Some(Position { epoch: epoch.clone(), sequence: gap.first - 1 }),
            Given::Changed { .. } => None,
        });
        reader.given.extend(dropped.into_iter().filter(|given| matches!(given, Given::Changed { .. })));
        if let Some(handed_on) = handed_on {
            reader.cursor.fall_behind(&handed_on);
            reader.is_told_live = false;
        }
    }

    /// A position in an epoch, as the world knows it: its era, and how far it still means something in the newest epoch.
    pub(super) fn translate(&self, from: &Epoch, sequence: u64) -> (usize, u64) {
        let holds = |era: &Era| era.epochs.iter().position(|(epoch, _)| epoch == from);
        let (era, at) = self.eras.iter().enumerate().find_map(|(n, era)| Some((n, holds(era)?))).unwrap();
        let ends = self.eras[era].epochs[at..].iter().map(|(_, end)| *end);
        (era, ends.fold(sequence, u64::min))
    }

    fn plan(&self, start: &Wanted) -> Origin {
        let start = self.start(start);
        let pattern = Pattern::new(self.pattern).unwrap();
        let stream = self.stream.stream();
        let origin = match start.plan(stream) {
            Plan::Ready(origin) => origin,
            Plan::FindTime { time_us, origin } => {
                let position = self.stream.ring().position_at_time(time_us, origin.position);
                origin.at(position)
            }
            Plan::FindNewest { n, origin } => {
                let position = self.stream.ring().position_before_newest(n, pattern, origin.position);
                origin.at(position)
            }
        };
        if let Start::Behind(position) = &start {
            self.check_resumed(position, &origin);
        }
        origin
    }

    /// The answer to the subscription has reached its shard.
    fn attach(&mut self, origin: Origin) {
        let (cursor, change) = Cursor::new(&origin, &self.newest);
        let is_told_live = cursor.is_live();
        let mut reader =
            Reader { cursor, is_told_live, asked: Vec::new(), read: Vec::new(), given: Vec::new(), origin };
        reader.note_change(change);
        self.reader = Some(reader);
    }

    fn start(&self, start: &Wanted) -> Start {
        match start {
            Wanted::Now => Start::Now,
            Wanted::LastByTopic => Start::LastByTopic,
            Wanted::Newest(n) => Start::Newest(*n),
            Wanted::Time(index) => Start::Time(8 + index.index(as_index(self.clock_us)) as u64),
            Wanted::Beginning => Start::Beginning,
            Wanted::Behind { epoch, sequence } => {
                let all: Vec<_> = self.eras.iter().flat_map(|era| &era.epochs).collect();
                let epoch = all[epoch.index(all.len())].0.clone();
                Start::Behind(Position { epoch, sequence: *sequence })
            }
        }
    }

    /// Exactly one of: continued, after a gap, another epoch.
    fn check_resumed(&self, from: &Position, origin: &Origin) {
        let stream = self.stream.stream();
        let Bounds { first, last, .. } = stream.bounds();
        let (era, same) = self.translate(&from.epoch, from.sequence);
        let is_current = *stream.epochs().current() == from.epoch;
        match &origin.resumed {
            Resumed::Fresh => panic!("it had a position"),
            Resumed::Continued => {
                assert!(is_current && from.sequence <= last && from.sequence + 1 >= first);
                assert_eq!(origin.position, from.sequence);
            }
            Resumed::AfterGap(gap) => {
                assert!(is_current && from.sequence <= last);
                assert_eq!((gap.first, gap.last), (from.sequence + 1, first - 1));
                assert_eq!(origin.position, gap.last);
            }
            Resumed::OtherEpoch(change) => {
                assert_eq!(change.from, origin.position + 1);
                if is_current {
                    assert!(from.sequence > last);
                    assert_eq!((change.reason, origin.position), (EpochReason::PositionAhead, last));
                } else if era + 1 == self.eras.len() {
                    assert_eq!(origin.position, same.min(last));
                } else {
                    assert_eq!(change.from, first);
                }
            }
        }
    }

    /// Lets everything happen that is still to come.
    fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "the reader never becomes live");
            self.tell_batch();
            self.apply(Step::AskPage);
            self.read_page(0);
            self.give_page(0);
            let reader = self.reader.as_ref().unwrap();
            if self.on_the_way.is_empty() && reader.cursor.is_live() && reader.read.is_empty() {
                return;
            }
        }
    }

    fn check(&self) {
        let reader = self.reader.as_ref().unwrap();
        let mut walk = Walk::new(self, &reader.origin);
        for given in &reader.given {
            walk.step(given);
        }
        let end = reader.cursor.position();
        walk.finish(&end);
        let stream = self.stream.stream();
        assert_eq!(end, Position { epoch: stream.epochs().current().clone(), sequence: stream.bounds().last });
        assert_eq!(reader.cursor.lag(), 0);
    }
}

impl Reader {
    fn note_live(&mut self, became_live: bool) {
        assert!(!became_live || !self.is_told_live, "told twice");
        self.is_told_live = (self.is_told_live || became_live) && self.cursor.is_live();
        assert_eq!(self.is_told_live, self.cursor.is_live(), "live, but not told");
    }

    fn note_change(&mut self, change: Option<EpochChange>) {
        let as_of = self.cursor.last_by_topic_as_of;
        self.given.extend(change.map(|change| Given::Changed { change, as_of }));
    }
}

fn limits() -> impl Strategy<Value = PageLimits> {
    (1..5_usize, 1..9_usize).prop_map(|(messages, looked_at)| PageLimits { messages, bytes: 100, looked_at })
}

proptest! {
    #[test]
    fn a_subscriber_gets_exactly_what_the_stream_has_from_its_start_whatever_happens(
        before in steps(false),
        start in starts(),
        after in steps(false),
        attach_after in 0..20_usize,
        pattern in select(&["a", "*", "d"][..]),
        limits in limits(),
    ) {
        run(before, &start, after, attach_after, World::new(pattern, None, limits));
    }

    #[test]
    fn what_newer_messages_of_a_topic_replaced_is_no_gap(
        before in steps(true),
        start in starts(),
        after in steps(true),
        attach_after in 0..20_usize,
        pattern in select(&["a", "*"][..]),
        each in 1..4_u32,
        limits in limits(),
    ) {
        run(before, &start, after, attach_after, World::new(pattern, Some(each), limits));
    }
}

fn run(before: Vec<Step>, start: &Wanted, mut after: Vec<Step>, attach_after: usize, mut world: World) {
    for step in before {
        world.apply(step);
    }
    let origin = world.plan(start);
    let attached = after.split_off(attach_after.min(after.len()));
    for step in after {
        world.apply(step);
    }
    world.attach(origin);
    for step in attached {
        world.apply(step);
    }
    world.drain();
    world.check();
}

#[test]
fn a_place_ahead_of_the_cursor_does_not_move_it_forward() {
    let stream = Stream::new(keeping(None, None), epoch("0"), EpochReason::Created);
    let Plan::Ready(origin) = Start::Beginning.plan(&stream) else { panic!("nothing to find") };
    let (mut cursor, _) = Cursor::new(&origin, &Batch::of(&stream));
    cursor.fall_behind(&Position { epoch: epoch("0"), sequence: 7 });
    assert_eq!(cursor.position().sequence, 0);
}
