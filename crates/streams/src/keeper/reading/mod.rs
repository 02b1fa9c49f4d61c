//! Reading what streams keep: the starts of subscriptions, pages for those that catch up, and history.
//!
//! Nothing of this runs on a shard's thread. A request waits for one of the threads of [`Readers`], which asks [`Reading`]
//! and tells the shard what came of it.
//!
//! Three things may happen to a stream while it is read: messages are committed, which a page just does not have yet;
//! retention or a purge moves its first sequence; or it gets another epoch, perhaps with a removal. A page is therefore
//! read between two looks at the stream's state. If the second shows another epoch, or another number in the store, the
//! page is read again; so what is in a page belongs to the epoch that it names.
//!
//! # Where to start
//! [`Reading::serve`]; then [`on_disk`] for how a page comes from chunks that many readers share.

mod cache;
mod chunk;
mod counts;
mod damage;
mod on_disk;
mod page;
mod readers;
mod start;
#[cfg(test)]
mod tests;
mod unreadable;

use std::sync::Arc;
use std::time::Instant;

use carillon_wire::PatternBuf;

use super::read::{Found, HistoryStart, ReadFailed, ReadReply, ReadRequest, What};
use super::shared::{KeptStream, Shared, State};
use crate::stream::{self, Bounds, Definition, Epochs, PageLimits, Read, Resumed, Select, Start};
use cache::PageCache;
use damage::KnownDamage;
use page::{Room, page_of_memory};
use start::history_origin;
use unreadable::Unreadable;

pub(super) use counts::CountedDisk;
pub use counts::ReadCounts;
pub use page::{HistoryPage, Part};
pub(super) use readers::Readers;

/// How often it is begun anew because the stream has got another epoch meanwhile.
const MAX_TRIES: u32 = 20;
/// How many messages are looked at, for each that has room in a page, to find those that match.
const LOOKED_AT_FOR_EACH: usize = 16;

/// What answers requests. Shared by the reader threads; blocks on the disk.
pub(super) struct Reading {
    shared: Arc<Shared>,
    cache: PageCache,
    damage: KnownDamage,
    unreadable: Unreadable,
    limits: PageLimits,
}

/// A stream on disk as it is at one moment.
#[derive(Debug, Clone)]
struct View {
    number: u32,
    epochs: Arc<Epochs>,
    bounds: Bounds,
    definition: Arc<Definition>,
}

impl View {
    fn of(kept: &KeptStream, state: &State) -> Self {
        let stream = state.stream();
        Self {
            number: kept.number(),
            epochs: stream.epochs().clone(),
            bounds: stream.bounds(),
            definition: Arc::clone(stream.definition()),
        }
    }

    /// Whether sequences still mean the same messages in the stream.
    fn is_still(&self, kept: &KeptStream) -> bool {
        let state = kept.read();
        self.number == kept.number() && *self.epochs == **state.stream().epochs()
    }

    /// The pattern, unless it matches every topic that the stream can have.
    fn narrowing<'p>(&self, pattern: &'p PatternBuf) -> Option<&'p PatternBuf> {
        let all = self.definition.patterns.iter();
        let is_everything = all.map(PatternBuf::as_pattern).all(|own| stream::contains(pattern.as_pattern(), own));
        (!is_everything).then_some(pattern)
    }
}

impl Reading {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let limits = PageLimits {
            messages: shared.options.page_messages,
            bytes: shared.options.page_bytes as u64,
            looked_at: shared.options.page_messages.saturating_mul(LOOKED_AT_FOR_EACH),
        };
        let cache = PageCache::new(shared.options.cache_bytes);
        Self { cache, damage: KnownDamage::default(), unreadable: Unreadable::default(), shared, limits }
    }

    /// Answers a request. Blocks while it reads from the disk.
    pub(super) fn serve(&self, request: &ReadRequest, now: Instant) -> ReadReply {
        let found = self.find(request.stream, &request.pattern, &request.what, now);
        ReadReply { ticket: request.ticket, request: request.request, stream: request.stream, found }
    }

    /// What the pages that are kept take in memory.
    #[cfg(test)]
    fn cached_bytes(&self) -> usize {
        self.cache.size_bytes()
    }

    pub(super) fn find(
        &self,
        stream: u32,
        pattern: &PatternBuf,
        what: &What,
        now: Instant,
    ) -> Result<Found, ReadFailed> {
        let kept = self.shared.stream(stream).ok_or(ReadFailed::NoStream { stream })?;
        match what {
            What::Start(start) => {
                self.origin(kept, start, pattern.as_pattern(), stream::MAX_SEQUENCE, now).map(Found::Origin)
            }
            What::Page(read) => self.page(kept, read, pattern, None, now).map(Found::Page),
            What::History { start, through, max_messages } => {
                self.history(kept, pattern, (start, *through, *max_messages), now)
            }
        }
    }

    fn history(
        &self,
        kept: &KeptStream,
        pattern: &PatternBuf,
        (start, through, max_messages): (&HistoryStart, Option<u64>, Option<u32>),
        now: Instant,
    ) -> Result<Found, ReadFailed> {
        let through = through.unwrap_or(stream::MAX_SEQUENCE);
        let is_of_last_values =
            matches!(start, HistoryStart::Start(Start::LastByTopic) | HistoryStart::LastByTopic { .. });
        for _ in 0..MAX_TRIES {
            let origin = match start {
                HistoryStart::Start(start) => self.origin(kept, start, pattern.as_pattern(), through, now)?,
                HistoryStart::LastByTopic { epoch, as_of, after } => {
                    history_origin(kept.read().stream(), epoch, *as_of, *after)
                }
            };
            let read = history_read(&origin, is_of_last_values, through);
            let mut page = self.page(kept, &read, pattern, max_messages, now)?;
            if page.epochs == origin.epochs {
                let is_end = page.complete_through >= read.through.min(page.bounds.last);
                page.complete_through = page.complete_through.min(through);
                return Ok(Found::History { origin, page, is_end });
            }
        }
        Err(ReadFailed::Changing)
    }

    fn page(
        &self,
        kept: &KeptStream,
        read: &Read,
        pattern: &PatternBuf,
        max_messages: Option<u32>,
        now: Instant,
    ) -> Result<HistoryPage, ReadFailed> {
        if let State::Memory(memory) = &*kept.read() {
            let asked = max_messages.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
            let limits = PageLimits { messages: self.limits.messages.min(asked), ..self.limits };
            return Ok(page_of_memory(memory.page(read, pattern.as_pattern(), &limits)));
        }
        self.page_on_disk(kept, read, pattern, Room::new(&self.limits, max_messages), now)
    }
}

/// What a request for history asks for, from where it begins. What is lost there is to be in the page.
fn history_read(origin: &stream::Origin, is_of_last_values: bool, through: u64) -> Read {
    let after = match &origin.resumed {
        Resumed::AfterGap(gap) => gap.first.saturating_sub(1),
        _ => origin.position,
    };
    if is_of_last_values {
        // 0 where there was no message yet: then there are no last values, whatever was published since.
        let as_of = origin.last_by_topic_as_of;
        return Read { after, through: through.min(as_of), select: Select::LastByTopic { as_of } };
    }
    Read { after, through, select: Select::All }
}
