//! What waits for one connection, as it must be, and who reads on for which of its subscriptions.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, VecDeque};

use carillon_router::{Aside, ConnectionKey, Outgoing, Router, TakenAside, Waiting};
use carillon_wire::Id;

use crate::{
    client::{Client, Log},
    support::{MATCH_BYTES, Subscriptions},
};

/// Subscriptions that fall behind, each with its stream and position.
pub(crate) type Falls = BTreeMap<(Id, usize), u64>;

pub(crate) struct Connection {
    pub(crate) key: ConnectionKey,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) queue: VecDeque<Queued>,
    /// Who is held for which stream, and how far it was read.
    pub(crate) held: BTreeMap<(Id, usize), u64>,
    pub(crate) client: Client,
    /// Dropped for each subscription, of no stream.
    pub(crate) missing: BTreeMap<Id, u64>,
    pub(crate) is_overflowed: bool,
}

#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) bytes: Vec<u8>,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Plain { ids: Vec<Id>, is_kept: bool },
    InStream { stream: usize, sequence: u64, ids: Vec<Id> },
    Aside(Meaning),
    Reply(Id),
}

/// What an aside tells the client.
#[derive(Debug)]
pub(crate) enum Meaning {
    Subscribed(Id, &'static str, Vec<u64>),
    Marker(Id, usize),
    Page(Id, usize, Vec<u64>),
    Live(Id, usize),
    Answer,
}

impl Queued {
    /// What it counts for while it waits.
    fn size(&self) -> usize {
        let matches = match &self.what {
            What::Plain { ids, is_kept: false } | What::InStream { ids, .. } => ids.len(),
            What::Plain { .. } | What::Aside(_) | What::Reply(_) => 1,
        };
        self.bytes.len() + matches * MATCH_BYTES
    }

    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.what, What::Plain { .. })
    }

    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.what, What::Plain { is_kept: true, .. })
    }
}

impl Connection {
    pub(crate) fn new(key: ConnectionKey) -> Self {
        let (subscriptions, queue, held) = (Subscriptions::new(), VecDeque::new(), BTreeMap::new());
        let (client, missing) = (Client::default(), BTreeMap::new());
        Self { key, subscriptions, queue, held, client, missing, is_overflowed: false }
    }

    /// Drops what waits of these streams; tells who falls behind, and where.
    pub(crate) fn drop_streams(&mut self, is_dropped: impl Fn(usize) -> bool) -> Falls {
        let mut falls = Falls::new();
        let subscriptions = &self.subscriptions;
        self.queue.retain(|queued| {
            let What::InStream { stream, sequence, ids } = &queued.what else { return true };
            if !is_dropped(*stream) {
                return true;
            }
            for id in ids.iter().filter(|id| subscriptions[id].is_live) {
                falls.entry((*id, *stream)).or_insert(sequence - 1);
            }
            false
        });
        falls
    }

    /// Loses the oldest messages of no stream that may be dropped.
    pub(crate) fn drop_plain(&mut self, count: usize) {
        for _ in 0..count {
            let may_drop = |it: &Queued| it.is_plain() && !it.is_kept();
            let oldest = self.queue.iter().position(may_drop).expect("nothing may be dropped");
            let Some(Queued { what: What::Plain { ids, .. }, .. }) = self.queue.remove(oldest) else { unreachable!() };
            for id in ids {
                *self.missing.entry(id).or_default() += 1;
            }
        }
    }

    /// What the router was to report since the last time, and what is to be done about it.
    pub(crate) fn fell(&mut self, router: &mut Router, reported: &[(Id, usize, u64)], falls: &Falls) {
        let expected: Vec<_> = falls.iter().map(|((id, stream), position)| (*id, *stream, *position)).collect();
        assert_eq!(reported, expected, "each once, at its position");
        for ((id, stream), position) in falls {
            assert!(self.held.insert((*id, *stream), *position).is_none(), "it was held already");
            self.push_aside(router, Vec::new(), Meaning::Marker(*id, *stream));
        }
    }

    pub(crate) fn push_aside(&mut self, router: &mut Router, bytes: Vec<u8>, meaning: Meaning) {
        let (head, body) = bytes.split_at(bytes.len() / 3);
        let messages = if let Meaning::Page(.., sequences) = &meaning { sequences.len() } else { 0 };
        let aside = Aside {
            head: head.into(),
            body: bytes::Bytes::copy_from_slice(body),
            messages: u32::try_from(messages).unwrap(),
        };
        assert_eq!(router.push_aside(self.key, aside), !self.is_overflowed);
        self.queue.push_back(Queued { bytes, what: What::Aside(meaning) });
    }

    pub(crate) fn give_up(&mut self) {
        self.is_overflowed = true;
        self.subscriptions.clear();
        self.queue.clear();
        self.held.clear();
        self.client = Client::default();
        self.missing.clear();
    }

    /// What waits, but for gaps.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            bytes: self.queue.iter().map(Queued::size).sum(),
            messages: self
                .queue
                .iter()
                .filter(|it| matches!(it.what, What::Plain { .. } | What::InStream { .. }))
                .count(),
            asides: self.queue.iter().filter(|it| matches!(it.what, What::Aside(_))).count(),
            aside_bytes: self.aside_bytes(),
        }
    }

    /// Bytes of asides, as they count.
    pub(crate) fn aside_bytes(&self) -> usize {
        self.queue.iter().filter(|it| matches!(it.what, What::Aside(_))).map(Queued::size).sum()
    }

    /// The router's count is that of what waits, and at most a gap for each message that is missing and not told.
    pub(crate) fn assert_waiting(&self, waiting: Waiting) {
        let expected = self.waiting();
        assert_eq!((waiting.messages, waiting.asides), (expected.messages, expected.asides));
        let sum = |counts: &BTreeMap<Id, u64>| counts.values().sum::<u64>();
        let untold = usize::try_from(sum(&self.missing) - sum(&self.client.told)).unwrap();
        let gap_bytes = waiting.bytes - expected.bytes;
        assert!(gap_bytes <= untold * MATCH_BYTES && (gap_bytes > 0) == (untold > 0), "{gap_bytes} for {untold}");
    }

    /// Takes the next thing, and tells whether there was one.
    pub(crate) fn next(&mut self, router: &mut Router, logs: &[Log]) -> bool {
        let next_bytes = router.next_bytes(self.key);
        let outgoing = router.next(self.key);
        if let Some(Outgoing::Gap { subscription, count, .. }) = outgoing {
            self.client.gap(subscription, count);
            return true;
        }
        let Some(queued) = self.queue.pop_front() else {
            assert!(outgoing.is_none() && next_bytes.is_none(), "{outgoing:?}");
            assert_eq!(self.client.told, self.missing);
            self.client.assert_complete(logs);
            return false;
        };
        assert_eq!(next_bytes, Some(queued.bytes.len()));
        match (outgoing, queued.what) {
            (Some(Outgoing::Message(message)), What::Plain { .. })
            | (Some(Outgoing::InStream(message)), What::InStream { .. }) => {
                assert_eq!(message.bytes(), queued.bytes);
                assert!(message.accepted_nanos().is_some());
                self.client.message(message.bytes(), logs);
            }
            (Some(Outgoing::Aside(TakenAside { aside, .. })), What::Aside(meaning)) => {
                assert_eq!([&aside.head, &*aside.body].concat(), queued.bytes);
                self.hear(meaning, logs);
            }
            (Some(Outgoing::Reply(reply)), What::Reply(id)) => {
                assert_eq!(reply.bytes(), queued.bytes);
                assert_eq!(self.client.told.remove(&id), self.missing.remove(&id), "all is told before the reply");
                self.client.ended(id);
                self.subscriptions.remove(&id);
            }
            (outgoing, what) => panic!("{outgoing:?} in the place of {what:?}"),
        }
        true
    }

    fn hear(&mut self, meaning: Meaning, logs: &[Log]) {
        match meaning {
            Meaning::Subscribed(id, pattern, positions) => self.client.subscribed(id, pattern, positions),
            Meaning::Marker(id, stream) => self.client.marker(id, stream),
            Meaning::Page(id, stream, sequences) => self.client.page(id, stream, &sequences, logs),
            Meaning::Live(id, stream) => self.client.live(id, stream),
            Meaning::Answer => {}
        }
    }
}
