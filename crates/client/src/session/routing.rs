//! Who gets what the broker says of subscriptions and streams.
//!
//! ```text
//!            ok, with a start     ┌─────────────┐      live
//!   asked ───────────────────────▶│ catching up │───────────────┐
//!     │                           │ on a stream │               ▼
//!     │                           └──────▲──────┘            ┌──────┐
//!     └──── ok, without a start ─────────┼──────────────────▶│ live │
//!                                        └────── marker ─────└──────┘
//! ```
//!
//! A delivery behind a marker is for the marker's subscription alone. Any other is for all whose pattern matches, but not for
//! those that are catching up on its stream: they get it behind a marker of theirs.

use std::sync::Arc;

use carillon_wire::{
    Id, Resumed as Resumption, Topic,
    broker_message::{self as wire, OkReply},
};

use super::{
    table::{Entry, Table},
    track::{TooManyStreams, Track},
};
use crate::{
    command::SubscriptionKey,
    event::{CaughtUp, EpochChanged, Event, Gap, GapRange, Resumed},
    message::Message,
    position::Position,
    start::Start,
    subscription::Item,
};

/// What became of a message for one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// It has it now, or gets it by another of its patterns.
    Taken,
    /// It had seen everything up to there before.
    PassedOver,
}

impl Table {
    /// Gives a message to every subscription that it matches and that is live on its stream, once each. Returns how many passed
    /// over it.
    pub(super) fn deliver(&mut self, delivery: &wire::Delivery<'_>, message: impl FnOnce() -> Message) -> usize {
        let mut matched = self.matching(delivery.topic);
        if let Some(place) = delivery.in_stream {
            matched
                .retain(|(key, index)| self.entries.get(key).is_some_and(|entry| entry.is_live(*index, place.stream)));
        }
        let mut passed_over = 0;
        if !matched.is_empty() {
            let message = self.placed(delivery, message());
            for of_one in matched.chunk_by(|(one, _), (other, _)| one == other) {
                if self.give(of_one, &message) == Given::PassedOver {
                    passed_over += 1;
                }
            }
        }
        self.matched = matched;
        passed_over
    }

    /// Gives a message to the subscription of the marker that covers it. One that is not known crossed the request to end it.
    pub(super) fn deliver_marked(
        &mut self,
        subscription: Id,
        delivery: &wire::Delivery<'_>,
        message: Message,
    ) -> Given {
        let Some(to) = self.ids.get(&subscription).copied() else { return Given::Taken };
        let message = self.placed(delivery, message);
        self.give(&[to], &message)
    }

    fn placed(&mut self, delivery: &wire::Delivery<'_>, mut message: Message) -> Message {
        message.place = delivery.in_stream.map(|place| self.place(place, None));
        message
    }

    /// Gives a message to one subscription, by those of its patterns that get it.
    fn give(&mut self, by: &[(SubscriptionKey, usize)], message: &Message) -> Given {
        let Some((key, _)) = by.first() else { return Given::Taken };
        let Some(entry) = self.entries.get(key) else { return Given::Taken };
        let mut message = message.clone();
        if let Some(place) = &mut message.place {
            let track = by.iter().find_map(|(_, index)| entry.patterns.get(*index)?.tracks.get(&place.stream));
            place.epoch = track.and_then(|track| track.epoch.clone());
            if entry.start.is_some() {
                let has_passed = |epoch: &Arc<str>| entry.progress.has_passed(epoch, place.sequence);
                if place.epoch.as_ref().is_some_and(has_passed) {
                    return Given::PassedOver;
                }
            } else if !entry.gives_by(by, message.topic.as_topic()) {
                return Given::Taken;
            }
        }
        self.push(*key, Item::Event(Event::Message(message)));
        Given::Taken
    }

    /// The broker accepted a subscription with a start, and says where in which stream it begins.
    pub(super) fn began(&mut self, key: SubscriptionKey, ok: &OkReply<'_>) -> Result<(), TooManyStreams> {
        let (Some(stream), Some(sequence), Some(epoch)) = (ok.stream, ok.sequence, ok.epoch) else { return Ok(()) };
        let (stream, epoch) = (self.names.get(stream), self.names.get(epoch));
        let Some(entry) = self.entries.get_mut(&key) else { return Ok(()) };
        let Some(watched) = entry.patterns.first_mut() else { return Ok(()) };
        *watched.tracks.of(&stream)? = Track { is_catching_up: true, epoch: Some(Arc::clone(&epoch)) };
        let position = Position::told(Arc::clone(&epoch), sequence);
        let reconnected = entry.reconnected.take();
        let item = match entry.progress.position() {
            Some(asked) => {
                let same = if asked.epoch() == &*epoch { Resumption::Continued } else { Resumption::OtherEpoch };
                let outcome = ok.resumed.unwrap_or(same);
                Item::Event(Event::Resumed(Resumed { stream, outcome, position, reconnected }))
            }
            // The messages that it starts with lie behind no position but that of the whole stream.
            None if entry.start == Some(Start::LastByTopic) => return Ok(()),
            None => Item::Position(position),
        };
        self.push(key, item);
        Ok(())
    }

    /// Changes what is known of a subscription on a stream. Returns it, its pattern's index and the stream's name; none where it
    /// is not known, because what is said of it crossed the request to end it.
    fn track(
        &mut self,
        subscription: Id,
        stream: &str,
        change: impl FnOnce(&mut Track),
    ) -> Result<Option<(SubscriptionKey, usize, Arc<str>)>, TooManyStreams> {
        let Some((key, index)) = self.ids.get(&subscription).copied() else { return Ok(None) };
        let stream = self.names.get(stream);
        let entry = self.entries.get_mut(&key);
        let Some(watched) = entry.and_then(|entry| entry.patterns.get_mut(index)) else { return Ok(None) };
        change(watched.tracks.of(&stream)?);
        Ok(Some((key, index, stream)))
    }

    /// From here on a subscription gets what its markers cover, and nothing else of this stream.
    pub(super) fn fell_behind(&mut self, marker: &wire::Marker<'_>) -> Result<(), TooManyStreams> {
        self.track(marker.subscription, marker.stream, |track| track.is_catching_up = true).map(drop)
    }

    /// From here on it shares what comes with the others again.
    pub(super) fn live(&mut self, at: &wire::Position<'_>) -> Result<(), TooManyStreams> {
        let epoch = self.names.get(at.epoch);
        let known = self.track(at.subscription, at.stream, |track| {
            track.is_catching_up = false;
            track.epoch = Some(Arc::clone(&epoch));
        })?;
        if let Some((key, _, stream)) = known
            && self.has_start(key)
        {
            let position = Position::told(epoch, at.sequence);
            self.push(key, Item::Event(Event::CaughtUp(CaughtUp { stream, position })));
        }
        Ok(())
    }

    /// A subscription has everything up to here, also where nothing of it came.
    pub(super) fn complete(&mut self, at: &wire::Position<'_>) {
        let Some((key, _)) = self.ids.get(&at.subscription).copied() else { return };
        if self.has_start(key) {
            let position = Position::told(self.names.get(at.epoch), at.sequence);
            self.push(key, Item::Position(position));
        }
    }

    /// From here on another epoch counts for a subscription.
    pub(super) fn epoch_changed(&mut self, change: &wire::EpochChanged<'_>) -> Result<(), TooManyStreams> {
        let epoch = self.names.get(change.epoch);
        let known = self.track(change.subscription, change.stream, |track| track.epoch = Some(Arc::clone(&epoch)))?;
        if let Some((key, index, stream)) = known
            && let Some(pattern) = self.pattern(key, index)
        {
            let (reason, from) = (change.reason, change.from);
            self.push(key, Item::Event(Event::EpochChanged(EpochChanged { pattern, stream, epoch, reason, from })));
        }
        Ok(())
    }

    /// Puts a gap in its place. Returns whether the subscription is known.
    pub(super) fn gap(&mut self, gap: &wire::Gap<'_>) -> bool {
        let Some((key, index)) = self.ids.get(&gap.subscription).copied() else { return false };
        let Some(pattern) = self.pattern(key, index) else { return false };
        let range = gap.range.map(|range| self.range(&range));
        let gap = Gap { pattern, reason: gap.reason, count: gap.count, range };
        self.push(key, Item::Event(Event::Gap(gap)));
        true
    }

    pub(super) fn range(&mut self, range: &wire::GapRange<'_>) -> GapRange {
        GapRange { stream: self.names.get(range.stream), first: range.first, last: range.last }
    }

    fn has_start(&self, key: SubscriptionKey) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.start.is_some())
    }
}

impl Entry {
    fn is_live(&self, index: usize, stream: &str) -> bool {
        self.patterns.get(index).is_some_and(|watched| watched.tracks.is_live(stream))
    }

    /// Whether a message of a stream comes to the application by one of these patterns. Of those that match, only the one that the
    /// broker accepted first gives it: it has everything that the others have, in order, and each of them may fall behind and
    /// catch up by itself.
    fn gives_by(&self, by: &[(SubscriptionKey, usize)], topic: Topic<'_>) -> bool {
        if self.patterns.len() == 1 {
            return true;
        }
        let matching = self.patterns.iter().enumerate().filter(|(_, it)| it.pattern.as_pattern().matches(topic));
        let accepted = matching.filter_map(|(index, it)| Some((it.accepted?, index)));
        accepted.min().is_some_and(|(_, first)| by.iter().any(|(_, index)| *index == first))
    }
}
