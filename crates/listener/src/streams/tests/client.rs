//! A connection's subscriptions as their client sees them, by the rules of the specification.

use std::collections::{BTreeMap, HashMap, HashSet};

use carillon_router::ConnectionKey;
use carillon_wire::{
    BrokerMessage, EpochReason, Id, PatternBuf, TopicBuf,
    broker_message::{Delivery, EpochChanged},
    decode,
};

/// What was kept.
#[derive(Default)]
pub(super) struct Truth {
    /// By stream and epoch: the topics, by sequence.
    pub(super) kept: HashMap<(String, String), BTreeMap<u64, TopicBuf>>,
    /// Streams that were removed at least once.
    pub(super) removed: HashSet<String>,
}

#[derive(Default)]
pub(super) struct Connection {
    pub(super) key: Option<ConnectionKey>,
    pub(super) subscriptions: HashMap<Id, Subscription>,
    /// Whose the next deliveries are, and how many.
    marked: Option<(Id, u64)>,
    pub(super) last_id: u32,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) pattern: PatternBuf,
    /// Whether it said where it starts, so that it is told its position.
    pub(super) is_resumable: bool,
    /// By stream.
    pub(super) ways: BTreeMap<String, Way>,
}

#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) is_catching_up: bool,
    /// It began with last values, which leave others out.
    pub(super) leaves_out: bool,
    /// Everything up to here it has, or it was told that it is lost.
    pub(super) complete_through: Option<u64>,
    pub(super) epoch: Option<String>,
}

impl Connection {
    pub(super) fn of(key: ConnectionKey) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    /// Messages, back to back.
    pub(super) fn hear(&mut self, bytes: &[u8], truth: &Truth) {
        for message in decode::broker_messages(bytes) {
            self.hear_one(message.unwrap(), truth);
        }
    }

    fn hear_one(&mut self, message: BrokerMessage<'_>, truth: &Truth) {
        match message {
            BrokerMessage::Ok(ok) => {
                if let (Some(stream), Some(sequence), Some(epoch)) = (ok.stream, ok.sequence, ok.epoch) {
                    self.on_way(ok.id, stream, |way, _| {
                        way.complete_through = Some(sequence);
                        way.epoch = Some(epoch.to_owned());
                    });
                }
            }
            BrokerMessage::Marker(marker) => {
                assert_eq!(self.marked, None);
                self.on_way(marker.subscription, marker.stream, |way, _| way.is_catching_up = true);
                self.marked = (marker.count > 0).then_some((marker.subscription, marker.count));
            }
            BrokerMessage::Live(live) => self.on_way(live.subscription, live.stream, |way, of| {
                assert!(way.is_catching_up, "live twice: {of:?}");
                assert!(way.complete_through.is_none_or(|complete| live.sequence >= complete), "{live:?}: {way:?}");
                way.pass(truth, of, live.stream, live.sequence, Some(live.epoch));
                (way.is_catching_up, way.leaves_out) = (false, false);
            }),
            BrokerMessage::Position(told) => self.on_way(told.subscription, told.stream, |way, of| {
                assert!(way.complete_through.is_none_or(|complete| told.sequence >= complete), "{told:?}: {way:?}");
                way.pass(truth, of, told.stream, told.sequence, Some(told.epoch));
            }),
            BrokerMessage::EpochChanged(change) => self.hear_epoch(&change, truth),
            BrokerMessage::Gap(gap) => {
                let range = gap.range.expect("a gap of a stream");
                self.on_way(gap.subscription, range.stream, |way, of| {
                    assert!(way.complete_through.is_none_or(|complete| range.last >= complete), "{range:?}: {of:?}");
                    way.complete_through = Some(range.last);
                });
            }
            BrokerMessage::Delivery(delivery) => self.hear_delivery(&delivery, truth),
            other => panic!("{other:?}"),
        }
    }

    fn hear_epoch(&mut self, change: &EpochChanged<'_>, truth: &Truth) {
        self.on_way(change.subscription, change.stream, |way, of| {
            if change.reason == EpochReason::Renewed && !truth.removed.contains(change.stream) {
                // The numbers mean the same, so nothing is left out.
                way.pass(truth, of, change.stream, change.from - 1, None);
            }
            way.is_catching_up = true;
            way.epoch = Some(change.epoch.to_owned());
            way.complete_through = Some(change.from - 1);
        });
    }

    fn hear_delivery(&mut self, delivery: &Delivery<'_>, truth: &Truth) {
        let Some(place) = delivery.in_stream else { return };
        let marked = self.marked;
        if let Some((id, count)) = marked {
            self.marked = (count > 1).then_some((id, count - 1));
        }
        for (id, of) in &mut self.subscriptions {
            let matches = of.pattern.as_pattern().matches(delivery.topic);
            let is_catching_up = of.ways.get(place.stream).is_some_and(|way| way.is_catching_up);
            let is_its = marked.map_or(matches && !is_catching_up, |(subscription, _)| subscription == *id);
            if is_its {
                assert!(matches);
                let mut way = of.ways.remove(place.stream).unwrap_or_default();
                if let Some(complete) = way.complete_through {
                    assert!(place.sequence > complete, "{} again or too late: {of:?} {way:?}", place.sequence);
                }
                way.pass(truth, of, place.stream, place.sequence - 1, None);
                way.complete_through = Some(place.sequence);
                of.ways.insert(place.stream.to_owned(), way);
            }
        }
    }

    fn on_way(&mut self, subscription: Id, stream: &str, act: impl FnOnce(&mut Way, &Subscription)) {
        if let Some(of) = self.subscriptions.get_mut(&subscription) {
            let mut way = of.ways.remove(stream).unwrap_or_default();
            act(&mut way, of);
            of.ways.insert(stream.to_owned(), way);
        }
    }
}

impl Way {
    /// It is said to be complete up to here: then nothing that matches lies in between.
    fn pass(&mut self, truth: &Truth, of: &Subscription, stream: &str, through: u64, epoch: Option<&str>) {
        if let (Some(known), Some(told)) = (&self.epoch, epoch) {
            assert_eq!(known, told, "{of:?}");
        }
        if let Some(epoch) = epoch {
            self.epoch = Some(epoch.to_owned());
        }
        if let (Some(complete), Some(epoch)) = (self.complete_through, &self.epoch)
            && let Some(kept) = truth.kept.get(&(stream.to_owned(), epoch.clone()))
            && complete < through
        {
            let matches = |topic: &TopicBuf| of.pattern.as_pattern().matches(topic.as_topic());
            let missed = kept.range(complete + 1..=through).find(|(_, topic)| matches(topic));
            assert!(missed.is_none() || self.leaves_out, "{missed:?} is missing: {of:?} {self:?}");
        }
        if self.complete_through.map_or(epoch.is_some(), |complete| complete < through) {
            self.complete_through = Some(through);
        }
    }
}
