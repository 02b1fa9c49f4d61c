//! Reading on: pages for those who are not live, until they are.

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

/// A reader gets its next page when no more than this waits for its connection, so that a page is on its way while the
/// last one leaves.
const LOW_WATER_BYTES: usize = 64 << 10;

/// What a step of a reader has led to.
struct Stepped {
    is_live: bool,
    /// Messages of the tail.
    looked_at: usize,
}

/// What a connection is told outside of its outbox, when a reply of the keeper has come.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) key: ConnectionKey,
    pub(crate) message: Vec<u8>,
    /// A subscription has not come about, so it does not count any more.
    pub(crate) ends_subscription: bool,
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
        let mut may_go_on = true;
        // Each has its turn once: one that has to wait for the shard is not asked again.
        for _ in 0..readers.behind.len() {
            let has_room = router.waiting(key).is_some_and(|it| it.asides == 0 && it.bytes <= LOW_WATER_BYTES);
            let Some(readers) = self.readers.get_mut(&key).filter(|it| has_room && it.reading.is_none()) else {
                return false;
            };
            if !may_go_on {
                return true;
            }
            let Some(mut reader) = readers.behind.pop_front() else { return false };
            let Stepped { is_live, looked_at } = self.step(router, key, &mut reader);
            if let Some(readers) = self.readers.get_mut(&key).filter(|_| !is_live) {
                readers.behind.push_back(reader);
            }
            may_go_on = spend(looked_at);
        }
        self.forget_if_idle(key);
        false
    }

    /// What a reader needs next: its page at once, where the tail has it, or something that is asked for.
    fn step(&mut self, router: &mut Router, key: ConnectionKey, reader: &mut Reader) -> Stepped {
        let nothing = Stepped { is_live: false, looked_at: 0 };
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
            return Stepped { is_live: self.settle(router, key, reader), looked_at: 0 };
        };
        if reader.knows_log && read.select == Select::All {
            let span = (read.after, known.delivered);
            let pattern = reader.pattern.as_pattern();
            let found = self.tail.page(reader.stream, pattern, span, (&known.epochs, known.bounds), &self.tail_limits);
            if let Some((page, looked_at)) = found {
                return Stepped { is_live: self.take_page(router, key, reader, id, &page), looked_at };
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
            readers.reading = Some(Reading { subscription, stream, read, page });
        }
    }

    /// Asks the keeper; its reply carries the number that is returned.
    pub(super) fn ask(&mut self, key: ConnectionKey, stream: u32, pattern: PatternBuf, what: What) -> u64 {
        self.last_read += 1;
        let (shard, ticket, request) = (self.shard, key.to_bits(), self.last_read);
        self.reads.push(ReadRequest { shard, ticket, request, stream, pattern, what });
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
            known.note_gaps(&page.parts);
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
            if !known.ahead.contains(&key) {
                known.ahead.push(key);
            }
            return false;
        }
        Place { key, subscription: reader.subscription, stream: known.name.as_str() }.tell_live(router, &at);
        router.release(key, reader.subscription, reader.stream);
        if let Some(readers) = self.readers.get_mut(&key) {
            readers.note_told(reader.subscription, at.sequence);
        }
        true
    }

    /// The keeper has answered.
    pub(crate) fn on_reply(&mut self, router: &mut Router, reply: ReadReply) -> Option<Told> {
        let ReadReply { ticket, request: read, stream, found } = reply;
        let key = ConnectionKey::from_bits(ticket);
        let readers = self.readers.get_mut(&key)?;
        self.woken.push(key);
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
                known.note_gaps(&page.parts);
                let place = Place { key, subscription: request, stream: known.name.as_str() };
                place.tell_page(router, &head, &page.parts);
                None
            }
            Err(failed) => self.on_failure(router, key, read, failed),
        }
    }

    /// A reader goes on where it was: its next page is likely to be read along with the last one.
    fn put_back(&mut self, key: ConnectionKey, reader: Reader) {
        if let Some(readers) = self.readers.get_mut(&key) {
            readers.behind.push_front(reader);
        }
    }

    fn on_failure(&mut self, router: &mut Router, key: ConnectionKey, read: u64, failed: ReadFailed) -> Option<Told> {
        let readers = self.readers.get_mut(&key)?;
        if let Some(request) = readers.take_history(read) {
            self.forget_if_idle(key);
            return Some(Told { key, message: refusal(request, failed), ends_subscription: false });
        }
        let (mut reader, id) = readers.take_reader(read)?;
        if let (Some(cursor), Some(id)) = (reader.cursor_mut(), id) {
            // It is tried again when the connection is looked at next: with its next heartbeat at the latest.
            cursor.on_read_failed(id);
            self.put_back(key, reader);
            return None;
        }
        self.forget(key, reader.subscription);
        // It never began, so its reply can be what ends it.
        let _ = router.unsubscribe(key, reader.subscription, refusal(reader.subscription, failed).into());
        Some(Told { key, message: Vec::new(), ends_subscription: true })
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

impl Known {
    /// Where those who are live resume.
    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epochs.current().clone(), sequence: self.delivered }
    }
}

fn count_of(parts: &[Part]) -> u64 {
    let counts = parts.iter().map(|part| match part {
        Part::Messages { count, .. } => u64::from(*count),
        Part::Lost(_) => 0,
    });
    counts.sum()
}

impl Known {
    fn note_gaps(&self, parts: &[Part]) {
        for part in parts {
            if let Part::Lost(gap) = part {
                self.note_gap(gap.reason);
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
