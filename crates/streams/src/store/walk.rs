//! A read of one stream, on its way through the segments.

use std::borrow::Cow;
use std::sync::Arc;

use carillon_wire::{Pattern, Topic};

use super::error::Unreadable;
use super::index::{Place, Summary};
use super::page::Page;
use super::record::{self, Kind, Read};
use super::segment::{Segment, read_lock};
use super::shared::{Floors, Replaced, Snapshot};
use crate::stream::PageLimits;

/// How much is read at once, and how many bytes of other streams are read along rather than reading twice.
const SPAN_BYTES: u64 = 256 << 10;
const READ_ALONG_BYTES: u64 = 4 << 10;

/// Of more messages in a row that the disk gives errors for nobody tells that all else is well.
pub(super) const MOST_UNREAD: usize = 1024;

/// Whether a page has room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Yes,
    No,
}

/// Fills one page.
pub(super) struct Walk<'a> {
    stream: u32,
    snapshot: &'a Snapshot,
    /// `None` where nothing was replaced when the read began.
    replaced: Option<&'a Replaced>,
    /// The last sequence that is wanted.
    through: u64,
    limits: &'a PageLimits,
    page: Page,
    looked_at: usize,
    /// The first messages that the disk gives an error for are to be named.
    passes_unreadable: bool,
    /// Those that are named go up to here.
    unread_through: u64,
    /// What was read last.
    buffer: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        stream: u32,
        snapshot: &'a Snapshot,
        (from, through): (u64, u64),
        limits: &'a PageLimits,
    ) -> Self {
        let page = Page::new(from.max(snapshot.stream.first_sequence));
        let through = through.min(snapshot.stream.last_sequence);
        let replaced = snapshot.replaced.as_ref().filter(|_| snapshot.has_replaced());
        Self {
            stream,
            snapshot,
            replaced,
            through,
            limits,
            page,
            looked_at: 0,
            passes_unreadable: false,
            unread_through: 0,
            buffer: Vec::new(),
        }
    }

    /// As [`Reader::past_unreadable`](super::Reader::past_unreadable).
    pub(super) fn past_unreadable(self) -> Self {
        Self { passes_unreadable: true, ..self }
    }

    /// Goes through the segments that have the stream, and names what no segment has.
    pub(super) fn run(mut self, mut read: impl FnMut(&mut Self, &Segment, &Summary) -> Full) -> Page {
        for segment in self.segments_from(self.next()) {
            loop {
                let rebuilds = segment.rebuilds();
                let Some(summary) = segment.summary(self.stream) else { break };
                let (first, last) = summary.covers;
                if last < self.next() {
                    break;
                }
                if first > self.through {
                    return self.finish();
                }
                let from = self.next();
                self.page.damage(from, first.saturating_sub(1));
                self.page.pass(first);
                self.lose_all(segment);
                let full = read(&mut self, segment, &summary);
                let is_same = segment.rebuilds() == rebuilds;
                if !is_same {
                    // It may have been read by an index that knows of damage, after one that did not.
                    self.lose_all(segment);
                    let first = segment.summary(self.stream).map_or(0, |summary| summary.covers.0);
                    self.page.damage(from, first.saturating_sub(1));
                }
                if full == Full::Yes {
                    return self.page.finish();
                }
                if is_same {
                    self.page.pass(last.min(self.through).saturating_add(1));
                    break;
                }
            }
        }
        self.finish()
    }

    /// Names what a segment has lost.
    fn lose_all(&mut self, segment: &Segment) {
        for (first, last) in segment.lost(self.stream) {
            self.page.damage(first, last);
        }
    }

    /// Names what no segment has.
    fn finish(mut self) -> Page {
        self.page.damage(self.next(), self.through);
        self.page.pass(self.through.saturating_add(1));
        self.page.finish()
    }

    /// Ends the page, because the disk gives an error for what comes next.
    pub(super) fn cut_short(&mut self) -> Full {
        self.page.cut_short();
        Full::Yes
    }

    /// The sequence that comes next.
    pub(super) fn next(&self) -> u64 {
        self.page.next_sequence()
    }

    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// The segments that may have a sequence or later ones. Readers are mostly near the end, so it is sought from there.
    fn segments_from(&self, sequence: u64) -> impl Iterator<Item = &'a Arc<Segment>> + use<'a> {
        let segments = &self.snapshot.segments;
        let begins_before =
            |segment: &Arc<Segment>| segment.summary(self.stream).is_some_and(|summary| summary.covers.0 <= sequence);
        let start = segments.iter().rposition(begins_before).unwrap_or(0);
        segments.iter().skip(start)
    }

    /// Reads a segment from the next sequence on, and takes what matches.
    pub(super) fn read_chunks(&mut self, segment: &Segment, pattern: Option<Pattern<'_>>) -> Full {
        for places in segment.chunks_from(self.stream, self.next()) {
            let Ok(places) = places else { return self.cut_short() };
            if places.first().is_some_and(|first| first.sequence > self.through) {
                break;
            }
            if self.read_places(segment, &places, pattern) == Full::Yes {
                return Full::Yes;
            }
        }
        Full::No
    }

    /// Reads the records at these places that are wanted and that the page has not passed, those that lie close together
    /// at once.
    pub(super) fn read_places(&mut self, segment: &Segment, places: &[Place], pattern: Option<Pattern<'_>>) -> Full {
        let next = self.next();
        let start = places.partition_point(|place| place.sequence < next);
        let end = places.partition_point(|place| place.sequence <= self.through);
        let mut places = places.get(start..end).unwrap_or_default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut full = Full::No;
        while full == Full::No && !places.is_empty() {
            let (span, rest) = places.split_at(self.span(places, pattern.is_none()));
            // Where that fails each is read alone.
            let _ = read_span(segment, span, &mut buffer);
            full = self.take_span(segment, span, &buffer, pattern);
            places = rest;
        }
        self.buffer = buffer;
        full
    }

    /// Takes the records of places that were read at once.
    fn take_span(&mut self, segment: &Segment, span: &[Place], bytes: &[u8], pattern: Option<Pattern<'_>>) -> Full {
        // Locked once for all of them.
        let replaced = self.replaced.map(|replaced| read_lock(replaced));
        if pattern.is_none() && replaced.is_none() {
            self.page.reserve(span.len(), bytes.len());
        }
        for (place, record) in records(segment, span, bytes) {
            let Ok(record) = record else {
                if self.pass_unread(segment, place.sequence) == Full::Yes {
                    return Full::Yes;
                }
                continue;
            };
            let read = record::read(&record, segment.header.salt).ok();
            if self.take(read.as_ref(), place.sequence, pattern, replaced.as_deref()) == Full::Yes {
                return Full::Yes;
            }
        }
        Full::No
    }

    /// Ends the page before a message that the disk gives an error for, or names it.
    fn pass_unread(&mut self, segment: &Segment, sequence: u64) -> Full {
        self.page.pass(sequence);
        if std::mem::take(&mut self.passes_unreadable) {
            self.unread_through = last_unread(segment, self.stream, sequence).unwrap_or(0);
        }
        if sequence > self.unread_through {
            return self.cut_short();
        }
        self.page.damage(sequence, sequence);
        self.page.pass(sequence.saturating_add(1));
        Full::No
    }

    /// How many of the places to read at once.
    fn span(&self, places: &[Place], takes_all: bool) -> usize {
        let Some(first) = places.first() else { return 0 };
        // What surely is too much for the page need not be read.
        let room = self.limits.bytes.saturating_sub(self.page.deliveries().len() as u64);
        let most_bytes = room.clamp(first.len, SPAN_BYTES.max(first.len));
        let left = if takes_all { self.limits.messages.saturating_sub(self.page.len()) } else { places.len() };
        let mut end = first.end();
        let is_near = |place: &&Place| {
            let near = place.offset >= first.offset
                && place.offset - first.offset <= most_bytes
                && place.offset <= end + READ_ALONG_BYTES;
            if near {
                end = end.max(place.end());
            }
            near
        };
        places.iter().take(left).take_while(is_near).count().max(1)
    }

    /// Puts a record into the page, or names its sequence as damaged.
    fn take(
        &mut self,
        read: Option<&Read<'_>>,
        sequence: u64,
        pattern: Option<Pattern<'_>>,
        replaced: Option<&Floors>,
    ) -> Full {
        // All before it is done with, also where that were other messages.
        self.page.pass(sequence);
        if self.looked_at >= self.limits.looked_at.max(1) {
            return Full::Yes;
        }
        self.looked_at += 1;
        let is_it = |read: &&Read<'_>| {
            read.kind == Kind::Message && read.record.stream == self.stream && read.record.sequence == sequence
        };
        if let Some(Read { record, .. }) = read.filter(is_it) {
            let is_replaced = |topic| replaced.is_some_and(|floors| sequence < floors.first(topic));
            if matches(pattern, record.topic) && !is_replaced(record.topic) {
                if self.is_full_for(record.delivery.len()) {
                    return Full::Yes;
                }
                self.page.push(sequence, record.time_us, record.topic, record.delivery);
            }
        } else {
            self.page.damage(sequence, sequence);
        }
        self.page.pass(sequence.saturating_add(1));
        Full::No
    }

    /// One message always has room.
    fn is_full_for(&self, bytes: usize) -> bool {
        let bytes = (self.page.deliveries().len() as u64).saturating_add(bytes as u64);
        !self.page.is_empty() && (self.page.len() >= self.limits.messages || bytes > self.limits.bytes)
    }
}

pub(super) fn matches(pattern: Option<Pattern<'_>>, topic: &str) -> bool {
    pattern.is_none_or(|pattern| Topic::new(topic).is_ok_and(|topic| pattern.matches(topic)))
}

/// Reads from the first place to the end of the last one; leaves the buffer empty where that fails or it is not there.
fn read_span(segment: &Segment, span: &[Place], buffer: &mut Vec<u8>) -> Result<bool, Unreadable> {
    buffer.clear();
    let (Some(first), Some(end)) = (span.first(), span.iter().map(Place::end).max()) else { return Ok(false) };
    segment.read_exactly(first.offset, end.saturating_sub(first.offset), buffer)
}

/// The places of a span, each with the bytes from there on: out of those that were read, or read alone where that failed.
fn records<'a>(
    segment: &'a Segment,
    span: &'a [Place],
    read: &'a [u8],
) -> impl Iterator<Item = (&'a Place, Result<Cow<'a, [u8]>, Unreadable>)> {
    let start = span.first().map_or(0, |first| first.offset);
    span.iter().map(move |place| {
        let bytes = usize::try_from(place.offset - start).ok().and_then(|start| read.get(start..));
        match bytes.filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => (place, Ok(Cow::Borrowed(bytes))),
            None => (place, read_alone(segment, place).map(Cow::Owned)),
        }
    })
}

/// The last of a stream's messages from one on that the disk gives errors for, if it gives the one behind them in the
/// same segment.
fn last_unread(segment: &Segment, stream: u32, first: u64) -> Option<u64> {
    let mut last = first;
    for place in segment.chunks_from(stream, first).map_while(Result::ok).flatten().take(MOST_UNREAD) {
        if place.sequence < first {
            continue;
        }
        if read_alone(segment, &place).is_ok() {
            return Some(last);
        }
        last = place.sequence;
    }
    None
}

/// One record where the read of a whole span failed; nothing if it is not there.
fn read_alone(segment: &Segment, place: &Place) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    segment.read_exactly(place.offset, place.len, &mut bytes)?;
    Ok(bytes)
}

/// Reads the records of places that lie close together, such as a chunk's, as far as they are sound.
///
/// # Errors
/// The disk did not give all of them. The others were visited all the same.
pub(super) fn for_each_record(
    segment: &Segment,
    places: &[Place],
    mut visit: impl FnMut(Place, Option<&Read<'_>>),
) -> Result<(), Unreadable> {
    let mut buffer = Vec::new();
    let mut result = Ok(());
    for span in places.chunk_by(|before, next| {
        next.offset >= before.offset && next.offset - before.end().min(next.offset) <= READ_ALONG_BYTES
    }) {
        // Where that fails each is read alone.
        let _ = read_span(segment, span, &mut buffer);
        for (place, record) in records(segment, span, &buffer) {
            let record = record.unwrap_or_else(|unreadable| {
                result = Err(unreadable);
                Cow::Borrowed(&[])
            });
            let read = record::read(&record, segment.header.salt).ok();
            visit(*place, read.as_ref().filter(|read| read.record.sequence == place.sequence));
        }
    }
    result
}
