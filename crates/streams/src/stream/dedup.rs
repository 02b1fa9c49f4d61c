//! Which message ids were seen lately.

use std::{collections::VecDeque, hash::BuildHasher};

use carillon_wire::TopicBuf;
use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::definition::DedupWindow;

/// Message ids of the last messages that had one, bounded in time and count.
///
/// An id counts beside its topic. Who may publish to one topic of a stream could otherwise make publications to
/// another vanish, by using their ids first; and a publication that is sent again goes to the same topic anyway.
#[derive(Debug)]
pub(super) struct Dedup {
    window: DedupWindow,
    /// In the order of their sequences.
    seen: VecDeque<Seen>,
    /// The number of the first in `seen`; each has one more than the one before.
    first_number: u64,
    /// Numbers by topic and id.
    by_id: HashTable<u64>,
    state: RandomState,
}

#[derive(Debug)]
struct Seen {
    topic: TopicBuf,
    id: Box<str>,
    sequence: u64,
    time_us: u64,
}

impl Dedup {
    pub(super) fn new(window: DedupWindow) -> Self {
        Self { window, seen: VecDeque::new(), first_number: 0, by_id: HashTable::new(), state: RandomState::default() }
    }

    pub(super) fn set_window(&mut self, window: DedupWindow) {
        self.window = window;
    }

    /// The sequence of the message with this id. First [`forget`](Self::forget) what is out of the window.
    pub(super) fn find(&self, topic: &str, id: &str) -> Option<u64> {
        let is_it = |number: &u64| self.get(*number).is_some_and(|it| it.topic.as_str() == topic && &*it.id == id);
        let number = self.by_id.find(self.state.hash_one((topic, id)), is_it)?;
        self.get(*number).map(|seen| seen.sequence)
    }

    /// Notes a message's id; its sequence is above all that were noted before, and the id
    /// is not there.
    pub(super) fn note(&mut self, topic: TopicBuf, id: &str, sequence: u64, time_us: u64) {
        if self.window.ids == 0 || self.window.time_us == 0 {
            return;
        }
        let number = self.first_number.saturating_add(self.seen.len() as u64);
        let hash = self.state.hash_one((topic.as_str(), id));
        self.seen.push_back(Seen { topic, id: id.into(), sequence, time_us });
        let Self { seen, first_number, by_id, state, .. } = self;
        let get = |number: u64| number.checked_sub(*first_number).and_then(|at| seen.get(usize::try_from(at).ok()?));
        let rehash = |number: &u64| get(*number).map_or(0, |it| state.hash_one((it.topic.as_str(), &*it.id)));
        by_id.insert_unique(hash, number, rehash);
    }

    /// Forgets what is out of the window, but nothing that is not committed: whoever sends that again must find it.
    pub(super) fn forget(&mut self, now_us: u64, committed: u64) {
        while let Some(oldest) = self.seen.front()
            && oldest.sequence <= committed
            && (self.seen.len() > self.window.ids || self.is_over(oldest, now_us))
        {
            let (hash, number) = (self.state.hash_one((oldest.topic.as_str(), &*oldest.id)), self.first_number);
            if let Ok(entry) = self.by_id.find_entry(hash, |it| *it == number) {
                entry.remove();
            }
            self.seen.pop_front();
            self.first_number = self.first_number.saturating_add(1);
        }
    }

    /// What was noted with a later time counts from this time on: the oldest must not keep all behind it from leaving.
    pub(super) fn set_time_back(&mut self, now_us: u64) {
        for seen in &mut self.seen {
            seen.time_us = seen.time_us.min(now_us);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    fn is_over(&self, seen: &Seen, now_us: u64) -> bool {
        now_us.saturating_sub(seen.time_us) >= self.window.time_us
    }

    fn get(&self, number: u64) -> Option<&Seen> {
        let at = number.checked_sub(self.first_number)?;
        self.seen.get(usize::try_from(at).ok()?)
    }
}
