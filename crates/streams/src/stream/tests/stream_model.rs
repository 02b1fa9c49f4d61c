//! The state machine of a stream against a list of everything that was ever published.

use carillon_wire::Topic;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{as_index, definition, epoch, shared, topic};
use crate::stream::{
    Bounds, DedupWindow, Definition, EpochReason, LossReason, Publication, Recovered, RecoveredId, Refusal, Stream,
    Verdict,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const MAX_TOPICS: u32 = 3;
const WINDOW: DedupWindow = DedupWindow { time_us: 50, ids: 4 };

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish {
        topic: usize,
        id: Option<u8>,
        expected: Option<u64>,
        later_us: i64,
    },
    /// With what it should be, so that it often is.
    PublishExpectingRight {
        topic: usize,
    },
    Commit(Index),
    Remove(Index),
    Purge(Index),
    Renew,
    /// What was in flight is kept up to somewhere.
    Crash(Index),
}

fn steps() -> impl Strategy<Value = Step> {
    let publish = (0..4_usize, proptest::option::of(0..6_u8), proptest::option::weighted(0.2, 0..20_u64), -10..20_i64);
    prop_oneof![
        12 => publish.prop_map(|(topic, id, expected, later_us)| Step::Publish { topic, id, expected, later_us }),
        3 => (0..4_usize).prop_map(|topic| Step::PublishExpectingRight { topic }),
        6 => any::<Index>().prop_map(Step::Commit),
        1 => any::<Index>().prop_map(Step::Remove),
        1 => any::<Index>().prop_map(Step::Purge),
        1 => Just(Step::Renew),
        1 => any::<Index>().prop_map(Step::Crash),
    ]
}

#[derive(Debug, Clone)]
struct Message {
    sequence: u64,
    time_us: u64,
    topic: usize,
    id: Option<u8>,
}

/// A stream beside the list of all its messages, in flight and removed ones too.
struct Pair {
    stream: Stream,
    all: Vec<Message>,
    first: u64,
    committed: u64,
    purged_through: u64,
    clock_us: i64,
    /// The latest that the stream has seen.
    seen_us: u64,
    epochs: u64,
}

fn keeping() -> Definition {
    Definition { max_topics: MAX_TOPICS, dedup: WINDOW, ..definition("s", &[">"]) }
}

impl Pair {
    fn new() -> Self {
        let stream = Stream::new(shared(keeping()), epoch("0"), EpochReason::Created);
        Self {
            stream,
            all: Vec::new(),
            first: 1,
            committed: 0,
            purged_through: 0,
            clock_us: 1_000,
            seen_us: 0,
            epochs: 0,
        }
    }

    fn last_of(&self, topic: usize) -> Option<u64> {
        let newest = self.all.iter().rfind(|it| it.topic == topic)?.sequence;
        (newest >= self.first).then_some(newest)
    }

    fn topics(&self) -> Vec<(usize, u64)> {
        let mut all: Vec<_> = (0..4).filter_map(|it| Some((it, self.last_of(it)?))).collect();
        all.sort_by_key(|(_, last)| *last);
        all
    }

    /// The sequence of the message that makes another with this id a duplicate.
    fn original(&self, topic: usize, id: u8, now_us: u64) -> Option<u64> {
        let with_id: Vec<_> = self.all.iter().filter(|it| it.id.is_some()).collect();
        let in_window = |(n, it): &(usize, &&Message)| {
            let in_flight = it.sequence > self.committed;
            in_flight || with_id.len() - n <= WINDOW.ids && now_us - it.time_us < WINDOW.time_us
        };
        let mut in_window = with_id.iter().enumerate().filter(in_window);
        in_window.find(|(_, it)| it.topic == topic && it.id == Some(id)).map(|(_, it)| it.sequence)
    }

    /// What has to become of a publication.
    fn expect(&self, topic: usize, id: Option<u8>, expected: Option<u64>, now_us: u64) -> (Verdict, u64) {
        if let Some(sequence) = id.and_then(|id| self.original(topic, id, now_us)) {
            return (Verdict::Duplicate { sequence }, sequence);
        }
        let last = self.last_of(topic).unwrap_or(0);
        if let Some(expected) = expected.filter(|expected| *expected != last) {
            return (Verdict::Refused(Refusal::UnexpectedLast { expected, last }), last);
        }
        if last == 0 && self.topics().len() >= MAX_TOPICS as usize {
            return (Verdict::Refused(Refusal::TooManyTopics { max: MAX_TOPICS }), 0);
        }
        let sequence = self.all.len() as u64 + 1;
        let place = crate::stream::Place { sequence, time_us: now_us, topic: super::topic(NAMES[topic]) };
        (Verdict::Append(place), sequence)
    }

    fn publish(&mut self, topic: usize, id: Option<u8>, expected: Option<u64>) {
        let clock_us = u64::try_from(self.clock_us).unwrap();
        let now_us = clock_us.max(self.seen_us);
        self.seen_us = now_us;
        let (verdict, looked_at) = self.expect(topic, id, expected, now_us);
        let text = id.map(|id| format!("id-{id}"));
        let publication = Publication {
            topic: Topic::new(NAMES[topic]).unwrap(),
            message_id: text.as_deref(),
            expected_last: expected,
            bytes: 1,
        };
        let decision = self.stream.publish(clock_us, &publication);
        assert_eq!(decision.verdict, verdict);
        let waits = if looked_at > self.committed { looked_at } else { 0 };
        assert_eq!(decision.answer_after, waits, "an answer tells of what a crash could undo, or waits for nothing");
        if let Verdict::Append(place) = verdict {
            self.all.push(Message { sequence: place.sequence, time_us: now_us, topic, id });
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Publish { topic, id, expected, later_us } => {
                self.clock_us += later_us;
                self.publish(topic, id, expected);
            }
            Step::PublishExpectingRight { topic } => self.publish(topic, None, Some(self.last_of(topic).unwrap_or(0))),
            Step::Commit(index) => {
                self.committed += index.index(self.all.len() + 1 - as_index(self.committed)) as u64;
                self.stream.commit(self.committed);
            }
            Step::Remove(index) => {
                let to = self.a_first(index);
                self.stream.remove_before(to);
            }
            Step::Purge(index) => {
                let before = self.first;
                let to = self.a_first(index);
                if to > before {
                    self.purged_through = to - 1;
                }
                self.stream.purge_before(to);
            }
            Step::Renew => {
                self.epochs += 1;
                self.stream.renew_epoch(epoch(&self.epochs.to_string()), EpochReason::Renewed);
            }
            Step::Crash(index) => self.crash(index),
        }
    }

    /// Moves the model's first sequence somewhere between where it is and what is committed.
    fn a_first(&mut self, index: Index) -> u64 {
        self.first += index.index(as_index(self.committed + 2 - self.first)) as u64;
        self.first
    }

    fn crash(&mut self, index: Index) {
        self.stream.stop();
        let refused = Publication { topic: Topic::new("a").unwrap(), message_id: None, expected_last: None, bytes: 1 };
        assert_eq!(self.stream.publish(0, &refused).verdict, Verdict::Refused(Refusal::Stopped));

        let kept = as_index(self.committed) + index.index(self.all.len() + 1 - as_index(self.committed));
        self.all.truncate(kept);
        self.committed = kept as u64;
        self.seen_us = self.all.last().map_or(0, |it| it.time_us);
        let ids = self.all.iter().filter_map(|it| {
            let (topic, id) = (topic(NAMES[it.topic]), format!("id-{}", it.id?));
            Some(RecoveredId { topic, id, sequence: it.sequence, time_us: it.time_us })
        });
        let topics = self.topics().into_iter().rev().map(|(it, last)| (topic(NAMES[it]), last));
        self.stream = Stream::restore(
            shared(keeping()),
            Recovered {
                epochs: self.stream.epochs().clone(),
                bounds: Bounds { first: self.first, last: self.committed, purged_through: self.purged_through },
                last_time_us: self.seen_us,
                topics: topics.collect(),
                ids: ids.rev().collect(),
            },
        );
    }

    fn check(&self) {
        let bounds = self.stream.bounds();
        assert_eq!((bounds.first, bounds.last), (self.first, self.committed));
        let topics: Vec<_> = self.stream.topics().map(|(name, last)| (name.as_str(), last)).collect();
        let expected: Vec<_> = self.topics().into_iter().map(|(it, last)| (NAMES[it], last)).collect();
        assert_eq!(topics, expected);
        let in_flight = self.all.len() - as_index(self.committed);
        assert!(self.stream.remembered_ids() <= WINDOW.ids + in_flight, "more ids than the window has");
        let reason = bounds.gap_after(0).map(|gap| gap.reason);
        let purged_last = self.purged_through == self.first - 1;
        let expected = if purged_last { LossReason::Purge } else { LossReason::Retention };
        assert_eq!(reason, (self.first > 1).then_some(expected));
    }
}

proptest! {
    #[test]
    fn a_stream_decides_as_a_list_of_everything_does_also_after_crashes(steps in vec(steps(), 0..150)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.apply(step);
            pair.check();
        }
    }
}

#[test]
fn a_retry_with_an_expected_sequence_hears_that_it_succeeded() {
    let mut stream = Stream::new(shared(keeping()), epoch("e"), EpochReason::Created);
    let publication =
        Publication { topic: Topic::new("a").unwrap(), message_id: Some("1"), expected_last: Some(0), bytes: 1 };
    assert!(matches!(stream.publish(1, &publication).verdict, Verdict::Append(_)));
    let second = stream.publish(2, &publication);
    assert_eq!((second.verdict, second.answer_after), (Verdict::Duplicate { sequence: 1 }, 1));
    stream.commit(1);
    assert_eq!(stream.publish(3, &publication).answer_after, 0);
}

#[test]
fn an_id_of_one_topic_does_not_hide_a_message_of_another() {
    let mut stream = Stream::new(shared(keeping()), epoch("e"), EpochReason::Created);
    for name in ["a", "b"] {
        let topic = Topic::new(name).unwrap();
        let publication = Publication { topic, message_id: Some("1"), expected_last: None, bytes: 1 };
        assert!(matches!(stream.publish(1, &publication).verdict, Verdict::Append(_)), "{name}");
    }
}

#[test]
fn what_can_never_be_kept_is_refused() {
    let mut small = keeping();
    small.retention.max_bytes = 10.try_into().ok();
    let mut stream = Stream::new(shared(small), epoch("e"), EpochReason::Created);
    let fits = Publication { topic: Topic::new("a").unwrap(), message_id: None, expected_last: None, bytes: 10 };
    let mut refused = |it| match stream.publish(1, &it).verdict {
        Verdict::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Publication { bytes: 11, ..fits }), Refusal::TooLarge { bytes: 11, max: 10 });
    assert_eq!(refused(Publication { message_id: Some(""), ..fits }), Refusal::MessageId { bytes: 0 });
    let long = "x".repeat(129);
    assert_eq!(refused(Publication { message_id: Some(&long), ..fits }), Refusal::MessageId { bytes: 129 });
}
