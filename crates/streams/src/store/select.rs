//! Which messages of a segment a pattern wants, so that topics that are rare there are found by its index.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use carillon_wire::{Pattern, PatternBuf};

use super::error::Unreadable;
use super::header::SegmentId;
use super::index::{Index, IndexFailed, Place, Summary};
use super::segment::Segment;
use super::walk::matches;

/// Reading one message in so many by its place is cheaper than reading all of them.
const RARE: u64 = if cfg!(test) { 2 } else { 16 };
/// The most places of a selection.
const MAX_PLACES: u64 = 32 << 10;
/// How many selections are remembered. Each page of a reader needs the same one again.
const REMEMBERED: usize = 16;

/// What a pattern wants of a stream's messages in a segment.
#[derive(Debug)]
pub(super) enum Selection {
    Every,
    Many,
    Few(Few),
}

/// Messages of few topics.
#[derive(Debug, Default)]
pub(super) struct Few {
    pub(super) topics: Vec<Box<str>>,
    /// In order, each with the number of its topic.
    pub(super) places: Vec<(Place, usize)>,
}

#[derive(Debug, Default)]
pub(super) struct Selections {
    /// The one that was asked for last stands first.
    remembered: Mutex<VecDeque<(Key, Arc<Selection>)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    segment: SegmentId,
    stream: u32,
    pattern: PatternBuf,
    /// A segment that is written grows.
    count: u64,
}

impl Selections {
    pub(super) fn get(
        &self,
        segment: &Segment,
        summary: &Summary,
        pattern: Pattern<'_>,
    ) -> Result<Arc<Selection>, Unreadable> {
        let Ok(pattern_buf) = PatternBuf::new(pattern.as_str()) else { return Ok(Arc::new(Selection::Many)) };
        let key = Key { segment: segment.id(), stream: summary.stream, pattern: pattern_buf, count: summary.count };
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = remembered.iter().position(|(known, _)| *known == key)
            && let Some(found) = remembered.remove(place)
        {
            let selection = Arc::clone(&found.1);
            remembered.push_front(found);
            return Ok(selection);
        }
        drop(remembered);
        let selection = Arc::new(segment.look_up(|index| select(index, summary.stream, pattern))?);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|(known, _)| *known != key);
        remembered.push_front((key, Arc::clone(&selection)));
        remembered.truncate(REMEMBERED);
        Ok(selection)
    }
}

fn select(index: &Index, stream: u32, pattern: Pattern<'_>) -> Result<Selection, IndexFailed> {
    // Of the same moment as its topics.
    let Some(summary) = index.summary(stream) else { return Ok(Selection::Many) };
    let prefix = literal_prefix(pattern);
    let mut count = 0;
    index.each_topic_of(stream, prefix, |topic, of_topic| {
        count += if matches(Some(pattern), topic) { of_topic.count } else { 0 };
    })?;
    if count >= summary.count {
        return Ok(Selection::Every);
    }
    if count > MAX_PLACES || count > summary.count / RARE {
        return Ok(Selection::Many);
    }
    few(index, stream, pattern).map(Selection::Few)
}

/// The places of all messages in a segment that a pattern matches.
pub(super) fn few(index: &Index, stream: u32, pattern: Pattern<'_>) -> Result<Few, IndexFailed> {
    let mut few = Few::default();
    let is_wanted = |topic: &str| matches(Some(pattern), topic);
    index.each_topic_places_of(stream, literal_prefix(pattern), is_wanted, |topic, places| {
        let number = few.topics.len();
        few.topics.push(topic.into());
        few.places.extend(places.into_iter().map(|place| (place, number)));
    })?;
    few.places.sort_unstable_by_key(|(place, _)| place.sequence);
    Ok(few)
}

/// What every topic begins with that a pattern matches.
pub(super) fn literal_prefix(pattern: Pattern<'_>) -> &str {
    pattern.as_str().split(['*', '>']).next().unwrap_or_default()
}
