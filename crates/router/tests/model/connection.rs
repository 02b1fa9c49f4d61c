//! What one connection is to get, and what must be true of what it gets.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, VecDeque};

use carillon_router::{ConnectionKey, Limits, MAX_GAP_BYTES, Outgoing, Router, Waiting};
use carillon_wire::{GapReason, Id};

use crate::support::{MATCH_BYTES, MAX_SUBSCRIPTIONS, Subscriptions, fits, must_keep};

pub(crate) struct Connection {
    pub(crate) key: ConnectionKey,
    pub(crate) subscriptions: Subscriptions,
    /// Everything that was for it since the last thing that it got.
    pub(crate) expected: VecDeque<Expected>,
    /// Missing for each subscription since the last message that came, and told of that by gaps.
    missing: BTreeMap<Id, u64>,
    pub(crate) told: BTreeMap<Id, u64>,
    pub(crate) is_overflowed: bool,
}

#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Message { ids: Vec<Id>, is_kept: bool, is_lost: bool },
    Reply(Id),
}

impl Expected {
    /// What it counts for while it waits.
    fn size(&self) -> usize {
        match &self.kind {
            Kind::Message { is_lost: true, .. } => 0,
            Kind::Message { ids, is_kept: false, .. } => self.bytes.len() + ids.len() * MATCH_BYTES,
            Kind::Message { .. } | Kind::Reply(_) => self.bytes.len() + MATCH_BYTES,
        }
    }

    fn is_droppable(&self) -> bool {
        matches!(self.kind, Kind::Message { is_kept: false, is_lost: false, .. })
    }

    pub(crate) fn waits_as_message(&self) -> bool {
        matches!(self.kind, Kind::Message { is_lost: false, .. })
    }
}

impl Connection {
    pub(crate) fn new(key: ConnectionKey) -> Self {
        let (subscriptions, expected) = (Subscriptions::new(), VecDeque::new());
        let (missing, told) = (BTreeMap::new(), BTreeMap::new());
        Self { key, subscriptions, expected, missing, told, is_overflowed: false }
    }

    /// A message came for these subscriptions, and the connection went on. How much waits tells how many were dropped;
    /// which ones is told by the rule: the oldest that may be.
    pub(crate) fn queue(&mut self, bytes: &[u8], ids: Vec<Id>, (before, after): (Waiting, Waiting), limits: &Limits) {
        let dropped = before.messages + 1 - after.messages;
        let fits = fits(before, bytes, limits);
        assert_eq!(dropped == 0, fits, "what fits drops nothing, and what does not fit is not queued");
        let slack = (2 * MATCH_BYTES + "reply to 0".len()) * MAX_SUBSCRIPTIONS;
        assert!(after.messages <= limits.outbox_messages && after.bytes <= limits.outbox_bytes + slack);

        let is_kept = must_keep(&self.subscriptions, &ids);
        self.expected
            .push_back(Expected { bytes: bytes.to_vec(), kind: Kind::Message { ids, is_kept, is_lost: false } });
        let mut room = 0;
        for oldest in self.expected.iter_mut().filter(|it| it.is_droppable()).take(dropped) {
            room = oldest.size();
            if let Kind::Message { is_lost, .. } = &mut oldest.kind {
                *is_lost = true;
            }
        }
        let newest = self.expected.back().unwrap();
        if dropped > 0 && newest.waits_as_message() {
            let without_last = after.bytes - newest.size() + room + bytes.len() + MATCH_BYTES;
            let is_needed = without_last > limits.outbox_bytes || after.messages + 1 > limits.outbox_messages;
            assert!(is_needed, "no more is dropped than must be");
        }
        let size: usize = self.expected.iter().map(Expected::size).sum();
        assert!(size <= after.bytes && after.bytes <= size + self.most_gap_bytes(), "{size} {after:?}");
        assert_eq!(self.expected.iter().filter(|it| it.waits_as_message()).count(), after.messages);
    }

    /// A message came for these subscriptions, and the connection was given up.
    pub(crate) fn overflow(&mut self, bytes: &[u8], ids: &[Id], limits: &Limits) {
        assert!(must_keep(&self.subscriptions, ids));
        for expected in &mut self.expected {
            if let Kind::Message { is_lost, is_kept: false, .. } = &mut expected.kind {
                *is_lost = true;
            }
        }
        let size: usize = self.expected.iter().map(Expected::size).sum();
        let kept = self.expected.iter().filter(|it| it.waits_as_message()).count();
        let most = size + self.most_gap_bytes() + ids.len() * MATCH_BYTES + bytes.len() + MATCH_BYTES;
        assert!(most > limits.outbox_bytes || kept + 1 > limits.outbox_messages, "there was room");
        self.give_up();
    }

    fn give_up(&mut self) {
        self.is_overflowed = true;
        self.subscriptions.clear();
        self.expected.clear();
        self.missing.clear();
        self.told.clear();
    }

    /// So many were dropped, the oldest that may be, to leave at most so many bytes of memory.
    pub(crate) fn shrink(&mut self, lost: usize, (before, after): (Waiting, Waiting), max_bytes: usize) {
        assert!(lost == 0 || before.memory_bytes() > max_bytes, "what fits drops nothing");
        for oldest in self.expected.iter_mut().filter(|it| it.is_droppable()).take(lost) {
            if let Kind::Message { is_lost, .. } = &mut oldest.kind {
                *is_lost = true;
            }
        }
        assert_eq!(self.expected.iter().filter(|it| it.waits_as_message()).count(), after.messages);
        let keeps_messages = self.expected.iter().any(Expected::waits_as_message);
        assert!(after.memory_bytes() <= max_bytes || !keeps_messages, "{after:?} for {max_bytes}");
    }

    /// The connection was given up, because what must not be dropped was too much.
    pub(crate) fn overflow_by_shrinking(&mut self, max_bytes: usize) {
        let is_kept = |it: &Expected| matches!(it.kind, Kind::Message { is_kept: true, is_lost: false, .. });
        assert!(self.expected.iter().any(is_kept), "nothing was there that must be kept");
        let bytes = self.expected.iter().map(Expected::size).sum::<usize>() + self.most_gap_bytes();
        let messages = self.expected.iter().filter(|it| it.waits_as_message()).count();
        assert!(Waiting { bytes, messages, ..Waiting::default() }.memory_bytes() > max_bytes, "there was room");
        self.give_up();
    }

    /// What waits, as it will be sent.
    pub(crate) fn waiting_bytes(&self) -> impl Iterator<Item = &[u8]> {
        let waits = |it: &&Expected| it.waits_as_message() || matches!(it.kind, Kind::Reply(_));
        self.expected.iter().filter(waits).map(|it| it.bytes.as_slice())
    }

    /// At most one gap for each loss of each subscription.
    fn most_gap_bytes(&self) -> usize {
        let lost = self.expected.iter().map(|it| match &it.kind {
            Kind::Message { ids, is_lost: true, .. } => ids.len(),
            _ => 0,
        });
        lost.sum::<usize>() * MATCH_BYTES
    }

    /// Takes the next thing, and tells whether there was one.
    pub(crate) fn next(&mut self, router: &mut Router) -> bool {
        let next_bytes = router.next_bytes(self.key);
        match router.next(self.key) {
            None => {
                assert_eq!((next_bytes, router.waiting(self.key)), (None, Some(Waiting::default())));
                self.pass_lost();
                self.assert_all_told();
                assert!(self.expected.is_empty(), "{:?}", self.expected);
                return false;
            }
            Some(Outgoing::Gap { subscription, reason, count }) => {
                assert_eq!((reason, next_bytes), (GapReason::Overflow, Some(MAX_GAP_BYTES)));
                assert!(self.subscriptions.contains_key(&subscription), "no gap behind the reply");
                *self.told.entry(subscription).or_default() += count;
            }
            Some(Outgoing::Message(message)) => {
                assert_eq!(next_bytes, Some(message.bytes().len()));
                let expected = self.pop_expected();
                self.assert_all_told();
                assert_eq!(expected.bytes, message.bytes());
                assert!(matches!(expected.kind, Kind::Message { .. }) && message.accepted_nanos().is_some());
            }
            Some(Outgoing::Reply(message)) => {
                assert_eq!(next_bytes, Some(message.bytes().len()));
                let expected = self.pop_expected();
                assert_eq!(expected.bytes, message.bytes());
                assert_eq!(message.accepted_nanos(), None);
                let Kind::Reply(id) = expected.kind else { panic!("{expected:?}") };
                assert_eq!(self.told.get(&id), self.missing.get(&id), "all is told before the reply");
                self.subscriptions.remove(&id);
            }
            Some(Outgoing::InStream(message)) => panic!("nobody has published {message:?}"),
            Some(Outgoing::Aside(aside)) => panic!("nobody has pushed {aside:?}"),
        }
        true
    }

    /// Takes so many messages at most of those that nothing stands before.
    pub(crate) fn take_run(&mut self, router: &mut Router, most: usize) {
        let mut taken = Vec::new();
        router.take_run(self.key, |message| {
            let has_room = taken.len() < most;
            if has_room {
                assert!(message.accepted_nanos().is_some(), "a reply is no message");
                taken.push(message.bytes().to_vec());
            }
            has_room
        });
        for bytes in taken {
            let expected = self.pop_expected();
            self.assert_all_told();
            assert_eq!(expected.bytes, bytes);
            assert!(matches!(expected.kind, Kind::Message { .. }), "{expected:?}");
        }
    }

    fn pop_expected(&mut self) -> Expected {
        self.pass_lost();
        self.expected.pop_front().expect("nothing comes that was not for it")
    }

    fn pass_lost(&mut self) {
        while let Some(Expected { kind: Kind::Message { ids, is_lost: true, .. }, .. }) = self.expected.front() {
            for id in ids {
                *self.missing.entry(*id).or_default() += 1;
            }
            self.expected.pop_front();
        }
    }

    /// What is missing before the next message must have been told by now, exactly.
    fn assert_all_told(&mut self) {
        assert_eq!(std::mem::take(&mut self.told), std::mem::take(&mut self.missing));
    }
}
