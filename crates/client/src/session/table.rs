//! The subscriptions of a client, over all its connections. Who among them gets what is said is in `routing`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use carillon_wire::{Id, Overflow, PatternBuf, Topic, broker_message::InStream};
use tokio::sync::oneshot;

use super::{names::Names, track::Tracks};
use crate::{
    command::{Subscribe, SubscriptionKey},
    error::{ConnectionLost, Refusal, SubscribeError},
    event::{Ended, Event, Reconnected},
    message::Place,
    position::{Position, Progress},
    start::Start,
    subscription::{Item, Sink},
};

/// All subscriptions, and an index of those that the broker has accepted on this connection.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<SubscriptionKey, Entry>,
    /// What the ids of this connection's subscribe requests stand for.
    pub(super) ids: HashMap<Id, (SubscriptionKey, usize)>,
    /// Accepted patterns without a wildcard.
    exact: HashMap<Box<str>, Vec<(SubscriptionKey, usize)>>,
    /// Accepted patterns with one.
    wildcards: Vec<(PatternBuf, (SubscriptionKey, usize))>,
    /// Whose queue was full when something was put into it.
    full: Vec<SubscriptionKey>,
    pub(super) names: Names,
    /// Scratch of [`Table::deliver`].
    pub(super) matched: Vec<(SubscriptionKey, usize)>,
}

/// One subscription of the application.
#[derive(Debug)]
pub(super) struct Entry {
    sink: Sink,
    overflow: Overflow,
    pub(super) patterns: Vec<Watched>,
    /// With one, there is one pattern and one stream.
    pub(super) start: Option<Start>,
    /// Told by everything that was put into the sink: where a subscription with a start resumes.
    pub(super) progress: Progress,
    /// Where the outcome goes, until all patterns were accepted for the first time.
    reply: Option<oneshot::Sender<Result<Option<Position>, SubscribeError>>>,
    /// Told with the first pattern that is accepted again.
    pub(super) reconnected: Option<Reconnected>,
}

/// One pattern of a subscription.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) pattern: PatternBuf,
    /// The request on this connection, once it was sent.
    id: Option<Id>,
    /// Which of the subscription's patterns it was, in the order in which the broker accepted them on this connection.
    pub(super) accepted: Option<usize>,
    pub(super) tracks: Tracks,
}

/// What a subscribe request says.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) pattern: &'a PatternBuf,
    pub(super) overflow: Overflow,
    pub(super) start: Option<carillon_wire::Start<'a>>,
}

impl Entry {
    fn ids(&self) -> impl Iterator<Item = Id> {
        self.patterns.iter().filter_map(|watched| watched.id)
    }
}

impl Table {
    pub(super) fn insert(&mut self, subscribe: Subscribe) {
        let watched = |pattern| Watched { pattern, id: None, accepted: None, tracks: Tracks::default() };
        let entry = Entry {
            sink: subscribe.sink,
            overflow: subscribe.overflow,
            patterns: subscribe.patterns.into_iter().map(watched).collect(),
            progress: Progress::from_start(subscribe.start.as_ref()),
            start: subscribe.start,
            reply: Some(subscribe.reply),
            reconnected: None,
        };
        self.entries.insert(subscribe.key, entry);
    }

    /// Every pattern of every subscription, in the order in which they were made.
    pub(super) fn all(&self) -> impl Iterator<Item = (SubscriptionKey, usize)> {
        self.entries.iter().flat_map(|(key, entry)| (0..entry.patterns.len()).map(|index| (*key, index)))
    }

    /// A subscribe request leaves with this id. `None` when the subscription is gone.
    pub(super) fn sent(&mut self, key: SubscriptionKey, index: usize, id: Id) -> Option<Request<'_>> {
        let entry = self.entries.get_mut(&key)?;
        let watched = entry.patterns.get_mut(index)?;
        watched.id = Some(id);
        self.ids.insert(id, (key, index));
        let resumed = entry.progress.position().map(Position::to_wire);
        let start = entry.start.as_ref().map(|start| resumed.unwrap_or_else(|| start.to_wire()));
        Some(Request { pattern: &watched.pattern, overflow: entry.overflow, start })
    }

    /// Whether it is one that the broker must tell its place in a stream.
    pub(super) fn is_owed_a_place(&self, key: SubscriptionKey) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.start.is_some())
    }

    /// The broker accepted a subscribe request.
    pub(super) fn accepted(&mut self, key: SubscriptionKey, index: usize) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let before = entry.patterns.iter().filter(|watched| watched.accepted.is_some()).count();
        let Some(watched) = entry.patterns.get_mut(index) else { return };
        watched.accepted = Some(before);
        let pattern = watched.pattern.clone();
        let reconnected = entry.reconnected.take();
        if entry.patterns.iter().all(|watched| watched.accepted.is_some())
            && let Some(reply) = entry.reply.take()
        {
            // Who does not wait any more has dropped the subscription, which unsubscribes.
            let _ = reply.send(Ok(entry.progress.position().cloned()));
        }
        match pattern.as_pattern().as_topic() {
            Some(topic) => self.exact.entry(topic.as_str().into()).or_default().push((key, index)),
            None => self.wildcards.push((pattern, (key, index))),
        }
        if let Some(reconnected) = reconnected {
            self.push(key, Item::Event(Event::Reconnected(reconnected)));
        }
    }

    /// The broker refused a subscribe request: the whole subscription ends. Returns what is to be unsubscribed.
    pub(super) fn refused(&mut self, key: SubscriptionKey, index: usize, refusal: Refusal) -> Vec<Id> {
        self.stop(key, index, refusal, |pattern, refusal| Ended::Refused { pattern, refusal })
    }

    /// The broker ended what it had accepted: the whole subscription ends. Returns what is to be unsubscribed; `None` when
    /// the subscription is not known.
    pub(super) fn ended(&mut self, id: Id, refusal: Refusal) -> Option<Vec<Id>> {
        let (key, index) = *self.ids.get(&id)?;
        Some(self.stop(key, index, refusal, |pattern, refusal| Ended::ByBroker { pattern, refusal }))
    }

    /// Ends a subscription because of one of its patterns, of which the broker knows nothing any more.
    fn stop(
        &mut self,
        key: SubscriptionKey,
        index: usize,
        refusal: Refusal,
        how: impl FnOnce(String, Refusal) -> Ended,
    ) -> Vec<Id> {
        let Some(mut entry) = self.entries.remove(&key) else { return Vec::new() };
        let pattern = match entry.patterns.get_mut(index) {
            Some(watched) => {
                watched.id.take().map(|id| self.ids.remove(&id));
                watched.pattern.to_string()
            }
            None => String::new(),
        };
        let ids = self.forget(key, &entry);
        match entry.reply {
            Some(reply) => drop(reply.send(Err(SubscribeError::Refused { pattern, refusal }))),
            None => entry.sink.push(Item::Event(Event::Ended(how(pattern, refusal)))),
        }
        ids
    }

    /// The application dropped a subscription. Returns what is to be unsubscribed.
    pub(super) fn remove(&mut self, key: SubscriptionKey) -> Vec<Id> {
        match self.entries.remove(&key) {
            Some(entry) => self.forget(key, &entry),
            None => Vec::new(),
        }
    }

    fn forget(&mut self, key: SubscriptionKey, entry: &Entry) -> Vec<Id> {
        for watched in entry.patterns.iter().filter(|watched| watched.accepted.is_some()) {
            if let Some(keys) = self.exact.get_mut(watched.pattern.as_str()) {
                keys.retain(|(other, _)| *other != key);
                if keys.is_empty() {
                    self.exact.remove(watched.pattern.as_str());
                }
            }
        }
        self.wildcards.retain(|(_, (other, _))| *other != key);
        self.full.retain(|other| *other != key);
        let ids: Vec<Id> = entry.ids().collect();
        for id in &ids {
            self.ids.remove(id);
        }
        ids
    }

    /// The patterns that a topic matches, those of one subscription side by side. To be given back as `matched`.
    pub(super) fn matching(&mut self, topic: Topic<'_>) -> Vec<(SubscriptionKey, usize)> {
        let mut matched = std::mem::take(&mut self.matched);
        matched.clear();
        matched.extend(self.exact.get(topic.as_str()).into_iter().flatten());
        let wild = self.wildcards.iter().filter(|(pattern, _)| pattern.as_pattern().matches(topic));
        matched.extend(wild.map(|(_, of)| *of));
        matched.sort_unstable();
        matched
    }

    pub(super) fn pattern(&self, key: SubscriptionKey, index: usize) -> Option<PatternBuf> {
        Some(self.entries.get(&key)?.patterns.get(index)?.pattern.clone())
    }

    pub(super) fn place(&mut self, place: InStream<'_>, epoch: Option<Arc<str>>) -> Place {
        Place { stream: self.names.get(place.stream), sequence: place.sequence, epoch }
    }

    /// Everything that a subscription gets goes this way, so that its bound and its progress are kept.
    pub(super) fn push(&mut self, key: SubscriptionKey, item: Item) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.start.is_some() {
            entry.progress.on_item(&item);
        }
        entry.sink.push(item);
        if entry.sink.is_full(1) && !self.full.contains(&key) {
            self.full.push(key);
        }
    }

    /// Whether a queue holds `times` its bound, so that nothing more may be read.
    pub(super) fn is_full(&mut self, times: usize) -> bool {
        let entries = &self.entries;
        let full_to =
            |key: &SubscriptionKey, times| entries.get(key).is_some_and(|entry: &Entry| entry.sink.is_full(times));
        self.full.retain(|key| full_to(key, 1));
        self.full.iter().any(|key| full_to(key, times))
    }

    /// How many patterns deliveries are compared with.
    #[cfg(test)]
    pub(super) fn indexed(&self) -> usize {
        self.wildcards.len() + self.exact.values().map(Vec::len).sum::<usize>()
    }

    /// The connection is gone, and with it all that the broker knew.
    pub(super) fn disconnected(&mut self) {
        self.ids.clear();
        self.exact.clear();
        self.wildcards.clear();
        for watched in self.entries.values_mut().flat_map(|entry| &mut entry.patterns) {
            watched.id = None;
            watched.accepted = None;
            watched.tracks.clear();
        }
    }

    /// There is a new connection; every subscription that the application holds learns of it before its next message.
    pub(super) fn reconnected(&mut self, reconnected: &Reconnected) {
        for entry in self.entries.values_mut().filter(|entry| entry.reply.is_none()) {
            entry.reconnected = Some(reconnected.clone());
        }
    }

    /// No connection will come any more.
    pub(super) fn end(&mut self, cause: &ConnectionLost) {
        for entry in std::mem::take(&mut self.entries).into_values() {
            if let Some(reply) = entry.reply {
                let _ = reply.send(Err(SubscribeError::Ended(cause.clone())));
            } else if !matches!(cause, ConnectionLost::ClosedByApplication) {
                entry.sink.push(Item::Event(Event::Ended(Ended::ConnectionLost(cause.clone()))));
            }
        }
        self.disconnected();
    }
}
