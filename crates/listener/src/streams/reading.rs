//! Reading on: pages for those who are not live, until they are.

use std::sync::Arc;

use carillon_metrics::StreamGapReason;
use carillon_router::{ConnectionKey, Router};
use carillon_streams::{
    keeper::{Found, HistoryPage, Part, ReadFailed, ReadReply, ReadRequest, What},
    stream::{CursorRead, LossReason, OnPage, Position, ReadId, Select},
};
use carillon_wire::{BrokerMessage, ErrorCode, Id, PatternBuf, broker_message as wire};

use super::{
    Known, Place, Streams,
    readers::{Reader, Readers, Reading, Stage},
};

/// What a step of a reader has led to.
#[derive(Debug, Clone, Copy, Default)]
struct Stepped {
    is_live: bool,
    /// Messages of the tail.
    looked_at: usize,
    /// It can go on at once.
    has_more: bool,
}

/// What a connection is told outside of its outbox, when a reply of the keeper has come.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) key: ConnectionKey,
    pub(crate) message: Vec<u8>,
    /// A subscription has not come about, so it does not count any more.
    pub(crate) ends_subscription: bool,
    pub(crate) is_refusal: bool,
}

impl Told {
    pub(super) fn message(key: ConnectionKey, message: Vec<u8>) -> Self {
        Self { key, message, ends_subscription: false, is_refusal: false }
    }
}

impl Streams {
    /// Lets a connection that has room for it read on, while `spend` says so, which is asked with how many messages were
    /// looked at. Whether there is more to do at once.
    pub(crate) fn read_on(
        &mut self,
        router: &mut Router,
        key: ConnectionKey,
        mut spend: impl FnMut(usize) -> bool,
    ) -> bool {
        let Some(readers) = self.readers.get(&key) else { return false };
        let (mut may_go_on, mut has_more) = (true, false);
        // Each has its turn once: one that has to wait for the shard is not asked again.
        for _ in 0..readers.behind.len() {
            // One page at a time; the next is asked for when the last one leaves. It stands behind what waits already.
            let has_room = router.waiting(key).is_some_and(|waiting| waiting.asides == 0);
            let Some(readers) = self.readers.get_mut(&key).filter(|it| has_room && it.reading.is_none()) else {
                return false;
            };
            if !may_go_on {
                return true;
            }
            let Some(mut reader) = readers.behind.pop_front() else { return false };
            let step = self.step(router, key, &mut reader);
            if let Some(readers) = self.readers.get_mut(&key).filter(|_| !step.is_live) {
                readers.behind.push_back(reader);
            }
            has_more |= step.has_more;
            may_go_on = spend(step.looked_at);
        }
        self.forget_if_idle(key);
        has_more
    }

    /// What a reader needs next: its page at once, where the tail has it, or something that is asked for.
    fn step(&mut self, router: &mut Router, key: ConnectionKey, reader: &mut Reader) -> Stepped {
        let nothing = Stepped::default();
        let Some(known) = self.known.get(reader.stream as usize) else { return nothing };
        let cursor = match &mut reader.stage {
            Stage::On(cursor) => cursor,
            Stage::Starting(start) => {
                let what = What::Start(start.clone());
                self.ask_for(key, reader, what, None);
                return nothing;
            }
        };
        if let Some(change) = cursor.on_batch(&known.newest()).epoch_change {
            let place = Place { key, subscription: reader.subscription, stream: known.name.as_str() };
            place.tell_epoch(router, &change);
        }
        let Some(CursorRead { id, read }) = cursor.read() else {
            return Stepped { is_live: self.settle(router, key, reader), ..nothing };
        };
        if reader.knows_log && read.select == Select::All {
            let span = (read.after, known.delivered);
            let pattern = reader.pattern.as_pattern();
            let found = self.tail.page(reader.stream, pattern, span, (&known.epochs, known.bounds), &self.tail_limits);
            if let Some((page, looked_at)) = found {
                let is_live = self.take_page(router, key, reader, id, &page);
                // Where nothing was found, nothing leaves that would wake the connection for the rest.
                return Stepped { is_live, looked_at, has_more: !is_live && page.parts.is_empty() && looked_at > 0 };
            }
        }
        self.ask_for(key, reader, What::Page(read), Some(id));
        nothing
    }

    /// Asks the keeper for something that a reader needs.
    fn ask_for(&mut self, key: ConnectionKey, reader: &Reader, what: What, page: Option<ReadId>) {
        let (subscription, stream) = (reader.subscription, reader.stream);
        let read = self.ask(key, stream, reader.pattern.clone(), what);
        if let Some(readers) = self.readers.get_mut(&key) {
            readers.reading = Some(Reading { subscription, stream, read, page, is_orphan: false });
        }
    }

    /// Asks the keeper; its reply carries the number that is returned.
    pub(super) fn ask(&mut self, key: ConnectionKey, stream: u32, pattern: PatternBuf, what: What) -> u64 {
        self.last_read += 1;
        let (shard, ticket, request) = (self.shard, key.to_bits(), self.last_read);
        let asker = Some(Arc::downgrade(&self.readers.entry(key).or_default().asker));
        self.reads.push(ReadRequest { shard, ticket, request, stream, pattern, what, asker });
        request
    }

    /// What a page has goes to its reader. Whether the reader is live now.
    fn take_page(
        &mut self,
        router: &mut Router,
        key: ConnectionKey,
        reader: &mut Reader,
        id: ReadId,
        page: &HistoryPage,
    ) -> bool {
        let (Some(known), Stage::On(cursor)) = (self.known.get(reader.stream as usize), &mut reader.stage) else {
            return false;
        };
        let place = Place { key, subscription: reader.subscription, stream: known.name.as_str() };
        if let Some(change) = cursor.on_batch(&known.newest()).epoch_change {
            place.tell_epoch(router, &change);
        }
        let OnPage { epoch_change, deliver, .. } = cursor.on_page(id, &page.outline());
        if let Some(change) = epoch_change {
            place.tell_epoch(router, &change);
        }
        if deliver {
            known.note_parts(&page.parts);
            place.tell_parts(router, &page.parts);
        }
        self.settle(router, key, reader)
    }

    /// Releases a reader that is exactly where its shard is. One that is beyond waits until the shard has come there.
    fn settle(&mut self, router: &mut Router, key: ConnectionKey, reader: &mut Reader) -> bool {
        let (Some(known), Some(cursor)) = (self.known.get_mut(reader.stream as usize), reader.cursor()) else {
            return false;
        };
        if !cursor.is_live() {
            return false;
        }
        let at = cursor.position();
        if at.epoch != *known.epochs.current() || at.sequence != known.delivered {
            known.ahead.insert(key);
            return false;
        }
        Place { key, subscription: reader.subscription, stream: known.name.as_str() }.tell_live(router, &at);
        router.release(key, reader.subscription, reader.stream);
        if let Some(readers) = self.readers.get_mut(&key) {
            readers.note_live(reader.subscription, at.sequence);
        }
        true
    }

    /// The keeper has answered.
    pub(crate) fn on_reply(&mut self, router: &mut Router, reply: ReadReply) -> Option<Told> {
        let ReadReply { ticket, request: read, stream, found } = reply;
        let key = ConnectionKey::from_bits(ticket);
        let readers = self.readers.get_mut(&key)?;
        if found.is_ok() || readers.reading.is_some_and(|reading| reading.is_orphan) {
            self.woken.push(key);
        }
        match found {
            Ok(Found::Origin(origin)) => {
                let (mut reader, _) = readers.take_reader(read)?;
                let told = self.begin(router, key, &mut reader, &origin);
                self.put_back(key, reader);
                Some(told)
            }
            Ok(Found::Page(page)) => {
                let (mut reader, id) = readers.take_reader(read)?;
                reader.knows_log = page.complete_through >= page.bounds.last;
                if !self.take_page(router, key, &mut reader, id?, &page) {
                    self.put_back(key, reader);
                }
                self.forget_if_idle(key);
                None
            }
            Ok(Found::History { origin, page, is_end }) => {
                let request = readers.take_history(read)?;
                self.forget_if_idle(key);
                let known = self.known.get(stream as usize)?;
                let head = wire::Page {
                    id: request,
                    stream: known.name.as_str(),
                    epoch: page.epochs.current().as_str(),
                    count: count_of(&page.parts),
                    sequence: page.complete_through,
                    is_end,
                    as_of: (origin.last_by_topic_as_of > 0).then_some(origin.last_by_topic_as_of),
                    gaps: page.parts.iter().filter(|part| matches!(part, Part::Lost(_))).count() as u64,
                };
                known.note_parts(&page.parts);
                let place = Place { key, subscription: request, stream: known.name.as_str() };
                place.tell_page(router, &head, &page.parts);
                None
            }
            Err(failed) => self.on_failure(router, key, read, failed),
        }
    }

    /// A reader goes on when the connection's other ones have had their turn.
    fn put_back(&mut self, key: ConnectionKey, reader: Reader) {
        if let Some(readers) = self.readers.get_mut(&key) {
            readers.behind.push_back(reader);
        }
    }

    fn on_failure(&mut self, router: &mut Router, key: ConnectionKey, read: u64, failed: ReadFailed) -> Option<Told> {
        let readers = self.readers.get_mut(&key)?;
        if let Some(request) = readers.take_history(read) {
            self.forget_if_idle(key);
            return Some(Told { is_refusal: true, ..Told::message(key, refusal(request, failed)) });
        }
        let (mut reader, id) = readers.take_reader(read)?;
        if let (Some(cursor), Some(id)) = (reader.cursor_mut(), id) {
            cursor.on_read_failed(id);
            self.put_back(key, reader);
            self.to_retry.push(key);
            self.last_failure = Some(failed);
            return None;
        }
        self.forget(key, reader.subscription);
        // It never began, so its reply can be what ends it.
        let _ = router.unsubscribe(key, reader.subscription, refusal(reader.subscription, failed).into());
        Some(Told { is_refusal: true, ends_subscription: true, ..Told::message(key, Vec::new()) })
    }

    pub(super) fn forget_if_idle(&mut self, key: ConnectionKey) {
        if self.readers.get(&key).is_some_and(Readers::is_empty) {
            self.readers.remove(&key);
        }
    }
}

fn refusal(request: Id, failed: ReadFailed) -> Vec<u8> {
    let (id, code, message) = (Some(request), ErrorCode::StreamUnavailable, failed.to_string());
    let error = wire::ErrorReply { id, code, message: &message, retry_after_ms: None, last_sequence: None };
    let mut bytes = Vec::new();
    BrokerMessage::Error(error).encode(&mut bytes);
    bytes
}

fn count_of(parts: &[Part]) -> u64 {
    let counts = parts.iter().map(|part| match part {
        Part::Messages { count, .. } => u64::from(*count),
        Part::Lost(_) => 0,
    });
    counts.sum()
}

impl Known {
    /// Where those who are live resume.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epochs.current().clone(), sequence: self.delivered }
    }

    fn note_parts(&self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Messages { count, .. } => self.metrics.readers.history_deliveries.add(u64::from(*count)),
                Part::Lost(gap) => self.note_gap(gap.reason),
            }
        }
    }

    pub(super) fn note_gap(&self, reason: LossReason) {
        let reason = match reason {
            LossReason::Retention => StreamGapReason::Retention,
            LossReason::Purge => StreamGapReason::Purge,
            LossReason::Damage => StreamGapReason::Damage,
        };
        self.metrics.readers.gaps.of(reason).inc();
    }
}
