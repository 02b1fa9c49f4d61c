//! The subscriptions of a client, over all its connections, and who among them gets a delivery.

use std::collections::{BTreeMap, HashMap};

use carillon_wire::{Id, Overflow, PatternBuf, Topic};
use tokio::sync::oneshot;

use crate::{
    command::{Subscribe, SubscriptionKey},
    error::{ConnectionLost, Refusal, SubscribeError},
    message::{Ended, Event, Gap, Message, Reconnected},
    subscription::Sink,
};

/// All subscriptions, and an index of those that the broker has accepted on this connection.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<SubscriptionKey, Entry>,
    /// What the ids of this connection's subscribe requests stand for.
    ids: HashMap<Id, (SubscriptionKey, usize)>,
    /// Accepted patterns without a wildcard.
    exact: HashMap<Box<str>, Vec<SubscriptionKey>>,
    /// Accepted patterns with one.
    wildcards: Vec<(PatternBuf, SubscriptionKey)>,
    /// Whose queue was full when something was put into it.
    full: Vec<SubscriptionKey>,
    /// Scratch of [`Table::deliver`].
    matched: Vec<SubscriptionKey>,
}

#[derive(Debug)]
struct Entry {
    sink: Sink,
    overflow: Overflow,
    patterns: Vec<Watched>,
    /// Where the outcome goes, until all patterns were accepted for the first time.
    reply: Option<oneshot::Sender<Result<(), SubscribeError>>>,
    /// Told with the first pattern that is accepted again.
    reconnected: Option<Reconnected>,
}

#[derive(Debug)]
struct Watched {
    pattern: PatternBuf,
    /// The request on this connection, once it was sent.
    id: Option<Id>,
    is_accepted: bool,
}

impl Entry {
    fn ids(&self) -> impl Iterator<Item = Id> {
        self.patterns.iter().filter_map(|watched| watched.id)
    }
}

impl Table {
    pub(super) fn insert(&mut self, subscribe: Subscribe) {
        let patterns =
            subscribe.patterns.into_iter().map(|pattern| Watched { pattern, id: None, is_accepted: false }).collect();
        let entry = Entry {
            sink: subscribe.sink,
            overflow: subscribe.overflow,
            patterns,
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
    pub(super) fn sent(&mut self, key: SubscriptionKey, index: usize, id: Id) -> Option<(&PatternBuf, Overflow)> {
        let entry = self.entries.get_mut(&key)?;
        let watched = entry.patterns.get_mut(index)?;
        watched.id = Some(id);
        self.ids.insert(id, (key, index));
        Some((&watched.pattern, entry.overflow))
    }

    /// The broker accepted a subscribe request.
    pub(super) fn accepted(&mut self, key: SubscriptionKey, index: usize) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(watched) = entry.patterns.get_mut(index) else { return };
        watched.is_accepted = true;
        let pattern = watched.pattern.clone();
        if let Some(reconnected) = entry.reconnected.take() {
            entry.sink.push(Event::Reconnected(reconnected));
        }
        if entry.patterns.iter().all(|watched| watched.is_accepted)
            && let Some(reply) = entry.reply.take()
        {
            // Who does not wait any more has dropped the subscription, which unsubscribes.
            let _ = reply.send(Ok(()));
        }
        match pattern.as_pattern().as_topic() {
            Some(topic) => self.exact.entry(topic.as_str().into()).or_default().push(key),
            None => self.wildcards.push((pattern, key)),
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
            None => entry.sink.push(Event::Ended(how(pattern, refusal))),
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
        for watched in entry.patterns.iter().filter(|watched| watched.is_accepted) {
            if let Some(keys) = self.exact.get_mut(watched.pattern.as_str()) {
                keys.retain(|other| *other != key);
                if keys.is_empty() {
                    self.exact.remove(watched.pattern.as_str());
                }
            }
        }
        self.wildcards.retain(|(_, other)| *other != key);
        self.full.retain(|other| *other != key);
        let ids: Vec<Id> = entry.ids().collect();
        for id in &ids {
            self.ids.remove(id);
        }
        ids
    }

    /// Gives a message to every subscription that it matches, once each.
    pub(super) fn deliver(&mut self, topic: Topic<'_>, message: impl FnOnce() -> Message) {
        self.matched.clear();
        self.matched.extend(self.exact.get(topic.as_str()).into_iter().flatten());
        let wild = self.wildcards.iter().filter(|(pattern, _)| pattern.as_pattern().matches(topic));
        self.matched.extend(wild.map(|(_, key)| *key));
        if self.matched.is_empty() {
            return;
        }
        self.matched.sort_unstable();
        self.matched.dedup();
        let message = message();
        for key in &self.matched {
            let Some(entry) = self.entries.get(key) else { continue };
            entry.sink.push(Event::Message(message.clone()));
            if entry.sink.is_full(1) && !self.full.contains(key) {
                self.full.push(*key);
            }
        }
    }

    /// Puts a gap in its place. Returns whether the subscription is known.
    pub(super) fn gap(&mut self, gap: carillon_wire::broker_message::Gap) -> bool {
        let Some((key, index)) = self.ids.get(&gap.subscription) else { return false };
        let Some(entry) = self.entries.get(key) else { return false };
        let Some(watched) = entry.patterns.get(*index) else { return false };
        let pattern = watched.pattern.clone();
        entry.sink.push(Event::Gap(Gap { pattern, reason: gap.reason, count: gap.count }));
        true
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
            watched.is_accepted = false;
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
                entry.sink.push(Event::Ended(Ended::ConnectionLost(cause.clone())));
            }
        }
        self.disconnected();
    }
}
