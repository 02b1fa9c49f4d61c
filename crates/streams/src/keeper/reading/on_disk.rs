//! Pages of streams on disk: made of chunks, which many readers share.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use carillon_wire::PatternBuf;

use super::super::read::ReadFailed;
use super::super::shared::KeptStream;
use super::cache::{Flight, Key, LookedUp};
use super::chunk::{Chunk, Message};
use super::page::{Growing, HistoryPage, Room};
use super::unreadable::Attempt;
use super::{Reading, View};
use crate::store;
use crate::stream::{Gap, LossReason, Read, Select};

/// How often a page is read anew because the store has let go of something and the stream does not say so yet: about a
/// second in all, for whoever takes something away says so right after it.
const MAX_WAITS: u32 = 16;
/// The first wait is a millisecond, each next one twice as long, up to this.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// How often a page is read at all.
const MAX_READS: u32 = 20;

/// What is read, as the store is asked for it.
struct Wanted<'a> {
    kept: &'a KeptStream,
    view: &'a View,
    reader: &'a store::Reader,
    pattern: &'a PatternBuf,
    key: Key,
    now: Instant,
    /// The store's word counts for why something is not there.
    believe_store: bool,
}

/// Why a page does not get on.
#[derive(Debug)]
enum Stuck {
    /// The store has less than the stream's bounds say: they are about to move.
    StoreIsAhead,
    /// The disk gave an error.
    Unreadable,
}

/// A part of what was read.
enum Piece {
    Sound(Arc<Chunk>),
    Lost(Gap),
}

impl Reading {
    pub(super) fn page_on_disk(
        &self,
        kept: &KeptStream,
        read: &Read,
        pattern: &PatternBuf,
        room: Room,
        now: Instant,
    ) -> Result<HistoryPage, ReadFailed> {
        let mut waits = 0;
        for _ in 0..MAX_READS {
            let view = View::of(kept, &kept.read());
            let reader = self.shared.reader().ok_or(ReadFailed::NoStore)?;
            let key = key(&view, &reader, pattern, read.select);
            let believe_store = waits >= MAX_WAITS;
            let wanted = Wanted { kept, view: &view, reader: &reader, pattern, key, now, believe_store };
            let mut page = Growing::new(read, &view.bounds, room);
            match self.fill(&mut page, &wanted) {
                Ok(()) if view.is_still(kept) => return Ok(page.finish(view.epochs, view.bounds)),
                Ok(()) => {}
                Err(Stuck::Unreadable) => return Err(ReadFailed::Unreadable),
                Err(Stuck::StoreIsAhead) => {
                    thread::sleep(Duration::from_millis(1 << waits).min(MAX_WAIT));
                    waits += 1;
                }
            }
        }
        Err(ReadFailed::Changing)
    }

    /// Adds to a page until it is full or at its end, and reads from the disk once at most.
    fn fill(&self, page: &mut Growing, wanted: &Wanted<'_>) -> Result<(), Stuck> {
        if page.is_done() {
            return Ok(());
        }
        let enough_bytes = usize::try_from(self.limits.bytes).unwrap_or(usize::MAX);
        let mut was_read = false;
        while !page.is_done() {
            let chunks = if was_read {
                self.cache.chunks(&wanted.key, page.position(), enough_bytes)
            } else {
                match self.cache.look_up(&wanted.key, page.position(), page.through(), enough_bytes) {
                    LookedUp::Chunks(chunks) => chunks,
                    LookedUp::Missing(flight) => {
                        was_read = true;
                        self.read(page, wanted, flight)?;
                        continue;
                    }
                }
            };
            if chunks.is_empty() {
                break;
            }
            for chunk in chunks {
                if !page.is_done() {
                    page.take(&chunk);
                }
            }
        }
        self.shared.read_counts.count_page(was_read);
        Ok(())
    }

    /// Reads what comes next in a page.
    fn read(&self, page: &mut Growing, wanted: &Wanted<'_>, flight: Flight<'_>) -> Result<(), Stuck> {
        let (after, through) = (page.position(), flight.through());
        let Some(found) = self.found(wanted, after, through) else {
            // What the page has from others can be handed on.
            return if page.has_moved() { Ok(()) } else { Err(Stuck::Unreadable) };
        };
        let from = after.saturating_add(1);
        let begin = found.first_sequence().saturating_sub(1).clamp(after, through);
        let end = found.next_sequence().saturating_sub(1).clamp(begin, through);
        let is_less = begin > after || end == after;
        if is_less && !wanted.believe_store {
            return Err(Stuck::StoreIsAhead);
        }
        if begin > after {
            page.lose(Gap { first: from, last: begin, reason: LossReason::Retention });
        } else if end == after {
            // It was committed and the store knows nothing of it.
            let gap = Gap { first: from, last: through, reason: LossReason::Damage };
            self.note_damage(wanted, gap);
            page.lose(gap);
        }
        self.take(page, wanted, pieces(found, begin, end), flight);
        Ok(())
    }

    /// Adds what was read to a page, and lets others have it too.
    fn take(&self, page: &mut Growing, wanted: &Wanted<'_>, pieces: Vec<Piece>, flight: Flight<'_>) {
        for piece in &pieces {
            if let Piece::Lost(gap) = piece {
                self.note_damage(wanted, *gap);
            }
        }
        for piece in &pieces {
            if page.is_done() {
                break;
            }
            match piece {
                Piece::Sound(chunk) => page.take(chunk),
                Piece::Lost(gap) => page.lose(*gap),
            }
        }
        flight.land(pieces.into_iter().filter_map(|piece| match piece {
            Piece::Sound(chunk) => Some(chunk),
            // It may be mended, so only those who asked now are told of damage.
            Piece::Lost(_) => None,
        }));
    }

    /// What the store has between two positions; `None` where the disk does not give what comes first.
    fn found(&self, wanted: &Wanted<'_>, after: u64, through: u64) -> Option<store::Page> {
        let place = (wanted.view.number, after.saturating_add(1));
        let is_unread = |found: &store::Page| found.is_cut_short() && found.next_sequence() <= place.1;
        let attempt = self.unreadable.attempt(place, wanted.now);
        let found = match attempt {
            Attempt::Wait => return None,
            Attempt::Read => self.ask_store(wanted, wanted.reader, after, through),
            Attempt::GiveUp => self.ask_store(wanted, &wanted.reader.past_unreadable(), after, through),
        };
        let is_lost = attempt == Attempt::GiveUp && found.damaged().iter().any(|lost| lost.contains(&place.1));
        if is_unread(&found) || is_lost {
            self.unreadable.failed(place, wanted.now);
        } else {
            self.unreadable.was_read(place);
        }
        (!is_unread(&found)).then_some(found)
    }

    fn ask_store(&self, wanted: &Wanted<'_>, reader: &store::Reader, after: u64, through: u64) -> store::Page {
        let Wanted { view, pattern, key, .. } = wanted;
        let (number, from) = (view.number, after.saturating_add(1));
        match (key.last_by_topic_as_of, &key.pattern) {
            (None, None) => reader.read(number, from, through, &self.limits),
            (None, Some(narrow)) => reader.read_matching(number, narrow.as_pattern(), from, through, &self.limits),
            (Some(as_of), _) => reader.last_by_topic(number, pattern.as_pattern(), as_of, after, &self.limits),
        }
    }
}

impl Reading {
    /// Tells damage that was not known.
    fn note_damage(&self, wanted: &Wanted<'_>, gap: Gap) {
        for new in self.damage.note(wanted.view.number, gap) {
            self.shared.read_counts.count_damage(new.last.saturating_sub(new.first).saturating_add(1));
            self.shared.observer.damaged(wanted.kept.index, new);
        }
    }
}

/// What the chunks of a page are found by.
fn key(view: &View, reader: &store::Reader, pattern: &PatternBuf, select: Select) -> Key {
    let last_by_topic_as_of = match select {
        Select::All => None,
        Select::LastByTopic { as_of } => Some(as_of),
    };
    // What was the last value once stays it, whatever replaced it since.
    let can_be_replaced = view.definition.retention.max_messages_per_topic.is_some() && select == Select::All;
    Key {
        number: view.number,
        epoch: view.epochs.current().clone(),
        pattern: view.narrowing(pattern).cloned(),
        last_by_topic_as_of,
        replaced: can_be_replaced.then(|| replaced(reader, view.number)),
    }
}

/// The first sequence of a stream, and how many messages behind it were replaced: that only grows.
fn replaced(reader: &store::Reader, number: u32) -> (u64, u64) {
    let state = reader.stream(number);
    state.map_or((0, 0), |state| {
        let sequences = state.last_sequence.saturating_add(1).saturating_sub(state.first_sequence);
        (state.first_sequence, sequences.saturating_sub(state.totals.messages))
    })
}

/// A page of the store's, between two positions: chunks, and the damage between them.
fn pieces(found: store::Page, after: u64, through: u64) -> Vec<Piece> {
    let mut end_byte = 0;
    let messages = found.messages().map(|message| {
        end_byte += message.delivery.len();
        Message { sequence: message.sequence, end: end_byte }
    });
    let messages: Vec<Message> = messages.filter(|it| after < it.sequence && it.sequence <= through).collect();
    let all_damaged = found.damaged().to_vec();
    let deliveries = Bytes::from(found.into_deliveries());
    let sound = |after: u64, through: u64| {
        (after < through).then(|| Piece::Sound(Arc::new(chunk(&deliveries, &messages, after, through))))
    };
    let mut pieces = Vec::new();
    let mut position = after;
    for damaged in all_damaged {
        let (first, last) = ((*damaged.start()).max(position.saturating_add(1)), (*damaged.end()).min(through));
        if first > last {
            continue;
        }
        pieces.extend(sound(position, first.saturating_sub(1)));
        pieces.push(Piece::Lost(Gap { first, last, reason: LossReason::Damage }));
        position = last;
    }
    pieces.extend(sound(position, through));
    pieces
}

/// The stretch between two positions, of the deliveries in which these messages end.
fn chunk(deliveries: &Bytes, messages: &[Message], after: u64, through: u64) -> Chunk {
    let start = messages.partition_point(|message| message.sequence <= after);
    let end = messages.partition_point(|message| message.sequence <= through);
    let start_byte = start.checked_sub(1).and_then(|before| messages.get(before)).map_or(0, |message| message.end);
    let inside = messages.get(start..end).unwrap_or_default();
    let end_byte = inside.last().map_or(start_byte, |message| message.end);
    let own = inside.iter().map(|message| Message { end: message.end.saturating_sub(start_byte), ..*message });
    Chunk::new(after, through, deliveries.slice(start_byte..end_byte), own.collect())
}
