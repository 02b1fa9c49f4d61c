//! Reading, on any thread, while the log goes on.
//!
//! Only what was committed is seen. Damage is no error: it is named in the page, and everything around it is read. What the
//! disk gives an error for is not damage yet: a page ends before it ([`Page::is_cut_short`]), or says [`Unreadable`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use carillon_wire::Pattern;

use super::error::Unreadable;
use super::index::{By, Summary};
use super::newest::Backwards;
use super::page::Page;
use super::segment::{Segment, read_lock};
use super::select::Selection;
use super::shared::{Shared, Snapshot, StreamState};
use super::walk::{Full, MOST_UNREAD, Walk};
use crate::stream::PageLimits;

/// So few messages of a segment are read through whatever the pattern.
const FEW_MESSAGES: u64 = if cfg!(test) { 5 } else { 1024 };

/// Reads a log. Cheap to clone; blocks on the disk, so it belongs on threads that may.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    passes_unreadable: bool,
}

/// A message id, as deduplication remembers it after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageId {
    /// The stream's number.
    pub stream: u32,
    /// The sequence of the message that had it.
    pub sequence: u64,
    /// When that one was published, in microseconds since 1970.
    pub time_us: u64,
    /// Its topic.
    pub topic: String,
    /// The id.
    pub id: Vec<u8>,
}

/// Which message ids of a stream are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdWindow {
    /// Those of messages that were published from this time on, in microseconds since 1970.
    pub from_time_us: u64,
    /// The most; the newest count.
    pub max: usize,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, passes_unreadable: false }
    }

    /// One whose pages do not end before the first messages that the disk gives an error for, but name them as damaged. Only
    /// if the disk gives something behind them in the same segment: if not, it is more likely that all of it is gone for a
    /// while. Where it looks for a position, such messages may count.
    #[must_use]
    pub fn past_unreadable(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), passes_unreadable: true }
    }

    /// Where a stream begins and ends now, and what it has; `None` for one that never had a message.
    pub fn stream(&self, stream: u32) -> Option<StreamState> {
        read_lock(&self.shared.state).streams.get(&stream).copied()
    }

    /// The messages of a stream from one sequence through another, or to its end.
    pub fn read(&self, stream: u32, from: u64, through: u64, limits: &PageLimits) -> Page {
        let Some(snapshot) = self.shared.snapshot(stream) else { return Page::new(from.max(1)) };
        let walk = self.walk(stream, &snapshot, (from, through), limits);
        walk.run(|walk, segment, _| walk.read_chunks(segment, None))
    }

    /// As [`read`](Self::read), but only messages whose topic a pattern matches. Topics that are rare in a segment are found
    /// by its index; else the segment is read through. A damaged message of which nobody knows whether it was one of
    /// them is named too.
    pub fn read_matching(
        &self,
        stream: u32,
        pattern: Pattern<'_>,
        from: u64,
        through: u64,
        limits: &PageLimits,
    ) -> Page {
        let Some(snapshot) = self.shared.snapshot(stream) else { return Page::new(from.max(1)) };
        let walk = self.walk(stream, &snapshot, (from, through), limits);
        walk.run(|walk, segment, summary| self.read_segment(walk, segment, summary, pattern))
    }

    fn walk<'a>(&self, stream: u32, snapshot: &'a Snapshot, range: (u64, u64), limits: &'a PageLimits) -> Walk<'a> {
        let walk = Walk::new(stream, snapshot, range, limits);
        if self.passes_unreadable { walk.past_unreadable() } else { walk }
    }

    fn backwards<'a>(&self, stream: u32, snapshot: &'a Snapshot, through: u64) -> Backwards<'a> {
        Backwards { stream, snapshot, through, passes_unreadable: self.passes_unreadable }
    }

    fn read_segment(&self, walk: &mut Walk<'_>, segment: &Segment, summary: &Summary, pattern: Pattern<'_>) -> Full {
        if let Some(topic) = pattern.as_topic() {
            let Ok(places) = segment.topic_places(summary.stream, topic.as_str()) else { return walk.cut_short() };
            return walk.read_places(segment, &places, Some(pattern));
        }
        let (from, through) = (walk.next().max(summary.first_sequence), walk.through().min(summary.last_sequence));
        if through.saturating_sub(from) < FEW_MESSAGES {
            return walk.read_chunks(segment, Some(pattern));
        }
        let Ok(selection) = self.shared.selections.get(segment, summary, pattern) else { return walk.cut_short() };
        match &*selection {
            Selection::Every => walk.read_chunks(segment, None),
            Selection::Many => walk.read_chunks(segment, Some(pattern)),
            Selection::Few(few) => {
                let start = few.places.partition_point(|(place, _)| place.sequence < from);
                let places = few.places.iter().skip(start).map(|(place, _)| *place);
                walk.read_places(segment, &places.collect::<Vec<_>>(), Some(pattern))
            }
        }
    }

    /// Behind a position, those messages that a pattern matches and that were the newest of their topic when `as_of` was
    /// the stream's last sequence. One that cannot be read is named as damaged; none before it takes its place.
    pub fn last_by_topic(
        &self,
        stream: u32,
        pattern: Pattern<'_>,
        as_of: u64,
        after: u64,
        limits: &PageLimits,
    ) -> Page {
        let from = after.saturating_add(1);
        let Some(snapshot) = self.shared.snapshot(stream) else { return Page::new(from) };
        let through = as_of.min(snapshot.stream.last_sequence);
        let search = self.backwards(stream, &snapshot, through);
        let found = self.shared.last_values.find(&search, pattern, after, limits.messages);
        let Ok(places) = found else {
            let mut page = Page::new(from);
            page.cut_short();
            return page;
        };
        let walk = self.walk(stream, &snapshot, (from, places.through), limits);
        walk.run(|walk, segment, _| walk.read_places(segment, places.in_segment(segment.id()), Some(pattern)))
    }

    /// The sequences of the newest `n` messages of a topic, or of all if there are fewer, ascending.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn newest_sequences(&self, stream: u32, topic: &str, n: usize) -> Result<Vec<u64>, Unreadable> {
        let Some(snapshot) = self.shared.snapshot(stream) else { return Ok(Vec::new()) };
        self.backwards(stream, &snapshot, u64::MAX).of_topic(topic, n)
    }

    /// The position right before the newest `n` messages, up to `through`, that a pattern matches: before the first of
    /// them if there are fewer, and `through` if there is none or `n` is 0. Damaged ones may count.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn position_before_newest(
        &self,
        stream: u32,
        pattern: Pattern<'_>,
        n: usize,
        through: u64,
    ) -> Result<u64, Unreadable> {
        let Some(snapshot) = self.shared.snapshot(stream) else { return Ok(through) };
        let nth = self.backwards(stream, &snapshot, through).nth(pattern, n, &self.shared.selections)?;
        Ok(nth.map_or(through, |sequence| sequence.saturating_sub(1)))
    }

    /// The first sequence that was not published before a time; one more than the last where all were.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn sequence_at(&self, stream: u32, time_us: u64) -> Result<u64, Unreadable> {
        let Some(snapshot) = self.shared.snapshot(stream) else { return Ok(1) };
        let StreamState { first_sequence, last_sequence, .. } = snapshot.stream;
        for segment in snapshot.segments.iter() {
            let summary = segment.summary(stream);
            if summary.is_some_and(|summary| summary.count > 0 && summary.last_time_us >= time_us)
                && let Some(sequence) = self.first_at(segment, stream, time_us)?
            {
                return Ok(sequence.clamp(first_sequence, last_sequence.saturating_add(1)));
            }
        }
        Ok(last_sequence.saturating_add(1).max(first_sequence))
    }

    /// The first sequence in a segment that was not published before a time. What cannot be read and stands right before it
    /// may be it.
    fn first_at(&self, segment: &Segment, stream: u32, time_us: u64) -> Result<Option<u64>, Unreadable> {
        let first = segment.look_up(|index| index.places(stream, index.chunk(stream, By::Time(time_us))))?;
        let from = first.and_then(|places| Some(places.first()?.sequence)).unwrap_or(0);
        let (mut unread, mut unread_count) = (None, 0);
        let mut buffer = Vec::new();
        for places in segment.chunks_from(stream, from) {
            for place in places? {
                match segment.read_record(place.offset, &mut buffer) {
                    Ok(Some(read)) if read.record.time_us >= time_us => return Ok(unread.or(Some(place.sequence))),
                    Ok(Some(_)) => unread = None,
                    Ok(None) => {}
                    Err(_) if self.passes_unreadable && unread_count < MOST_UNREAD => {
                        unread = unread.or(Some(place.sequence));
                        unread_count += 1;
                    }
                    Err(unreadable) => return Err(unreadable),
                }
            }
        }
        Ok(unread)
    }

    /// The message ids of streams' windows, of each stream the newest that its window holds, in no order. `window` is
    /// asked for each stream's number. Reads one segment's at a time, and only of segments with messages in a window.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn message_ids(&self, window: impl Fn(u32) -> Option<IdWindow>) -> Result<Vec<MessageId>, Unreadable> {
        let segments = Arc::clone(&read_lock(&self.shared.state).segments);
        let mut found = Vec::new();
        let mut counts = HashMap::<u32, usize>::new();
        for segment in segments.iter().rev() {
            let left = |summary: &Summary| {
                let window = window(summary.stream).filter(|window| summary.last_time_us >= window.from_time_us)?;
                let left = window.max.saturating_sub(counts.get(&summary.stream).copied().unwrap_or(0));
                (left > 0).then_some((summary.stream, IdWindow { max: left, ..window }))
            };
            let summaries = segment.summaries();
            let windows: HashMap<u32, IdWindow> = summaries.iter().filter_map(left).collect();
            if windows.is_empty() {
                continue;
            }
            for (stream, ids) in newest_ids(segment, &windows)? {
                *counts.entry(stream).or_default() += ids.len();
                found.extend(ids);
            }
        }
        let carried = read_lock(&self.shared.carried);
        // A crash may have left the segment that they were carried from.
        let known: HashSet<(u32, u64)> = found.iter().map(|id| (id.stream, id.sequence)).collect();
        for id in carried.ids().iter().filter(|id| !known.contains(&(id.stream, id.sequence))) {
            let count = counts.entry(id.stream).or_default();
            if window(id.stream).is_some_and(|window| id.time_us >= window.from_time_us && *count < window.max) {
                *count += 1;
                found.push(id.clone());
            }
        }
        Ok(found)
    }
}

/// Of each stream the newest ids in a segment that its window holds.
pub(super) fn newest_ids(
    segment: &Segment,
    windows: &HashMap<u32, IdWindow>,
) -> Result<HashMap<u32, Vec<MessageId>>, Unreadable> {
    let ids = segment.look_up(super::index::Index::message_ids)?;
    let is_in =
        |id: &super::index::Id<'_>| windows.get(&id.stream).is_some_and(|window| id.time_us >= window.from_time_us);
    let mut skipped = HashMap::<u32, usize>::new();
    for id in ids.iter().filter(is_in) {
        *skipped.entry(id.stream).or_default() += 1;
    }
    for (stream, count) in &mut skipped {
        *count = count.saturating_sub(windows.get(stream).map_or(0, |window| window.max));
    }
    let mut found = HashMap::<u32, Vec<MessageId>>::new();
    for id in ids.iter().filter(is_in) {
        if let Some(left) = skipped.get_mut(&id.stream).filter(|left| **left > 0) {
            *left -= 1;
            continue;
        }
        let super::index::Id { stream, sequence, time_us, topic, bytes } = id;
        let id = MessageId { stream, sequence, time_us, topic: topic.to_owned(), id: bytes.to_vec() };
        found.entry(stream).or_default().push(id);
    }
    Ok(found)
}
