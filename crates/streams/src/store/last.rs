//! Where the last values of topics are, remembered so that the pages of one reader do not each look for them anew.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use carillon_wire::{Pattern, PatternBuf};

use super::error::Unreadable;
use super::header::SegmentId;
use super::index::Place;
use super::newest::Backwards;
use super::segment::Segment;

/// How many searches are remembered: about as many as readers begin at once.
const REMEMBERED: usize = 8;
/// The most places of one of them. Of a search that found more only the first ones are remembered.
const MAX_PLACES: usize = if cfg!(test) { 3 } else { 32 << 10 };

/// What searches for last values found.
#[derive(Debug, Default)]
pub(super) struct LastValues {
    /// The one that was asked for last stands first.
    remembered: Mutex<VecDeque<(Key, Arc<LastPlaces>)>>,
}

/// What was searched. What is found in these segments stays the same: later messages are behind `through`, and what was
/// taken or replaced since is left out when it is read.
#[derive(Debug)]
struct Key {
    stream: u32,
    pattern: PatternBuf,
    through: u64,
    /// Only to tell them from others: they must not be kept from being freed.
    segments: Weak<Vec<Arc<Segment>>>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.stream, self.through) == (other.stream, other.through)
            && self.pattern == other.pattern
            && self.segments.ptr_eq(&other.segments)
    }
}

/// The places of last values, of a stretch of the stream.
#[derive(Debug)]
pub(super) struct LastPlaces {
    /// It begins behind this sequence.
    after: u64,
    /// And ends with this one.
    pub(super) through: u64,
    /// In order.
    by_segment: HashMap<SegmentId, Vec<Place>>,
}

impl LastValues {
    /// The places of last values behind a sequence: all, or more than `messages`. `search` has a through that is not
    /// behind the stream's last sequence.
    ///
    /// # Errors
    /// The disk does not tell all of them; then nothing is remembered.
    pub(super) fn find(
        &self,
        search: &Backwards<'_>,
        pattern: Pattern<'_>,
        after: u64,
        messages: usize,
    ) -> Result<Arc<LastPlaces>, Unreadable> {
        let search_all = || {
            let by_segment = search.last_by_topic(pattern, after)?;
            Ok(Arc::new(LastPlaces { after, through: search.through, by_segment }))
        };
        let pattern_buf = PatternBuf::new(pattern.as_str());
        let (None, Ok(pattern_buf)) = (pattern.as_topic(), pattern_buf) else { return search_all() };
        let segments = Arc::downgrade(&search.snapshot.segments);
        let key = Key { stream: search.stream, pattern: pattern_buf, through: search.through, segments };
        let serves = |known: &LastPlaces| {
            known.after <= after && (known.through == search.through || known.count_behind(after) > messages)
        };
        let mut remembered = self.lock();
        if let Some(at) = remembered.iter().position(|(known, places)| *known == key && serves(places))
            && let Some(found) = remembered.remove(at)
        {
            let places = Arc::clone(&found.1);
            remembered.push_front(found);
            return Ok(places);
        }
        drop(remembered);
        let found = search_all()?;
        let first = found.first_of(&search.snapshot.segments).map_or_else(|| Arc::clone(&found), Arc::new);
        let mut remembered = self.lock();
        remembered.retain(|(known, _)| *known != key);
        remembered.push_front((key, first));
        remembered.truncate(REMEMBERED);
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Key, Arc<LastPlaces>)>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LastPlaces {
    /// Those in a segment.
    pub(super) fn in_segment(&self, id: SegmentId) -> &[Place] {
        self.by_segment.get(&id).map_or(&[], Vec::as_slice)
    }

    fn count_behind(&self, after: u64) -> usize {
        let behind = |places: &Vec<Place>| places.len() - places.partition_point(|place| place.sequence <= after);
        self.by_segment.values().map(behind).sum()
    }

    /// The first ones, if they are too many to be remembered all.
    fn first_of(&self, segments: &[Arc<Segment>]) -> Option<Self> {
        let mut left = MAX_PLACES;
        if self.count_behind(0) <= left {
            return None;
        }
        let mut first = Self { after: self.after, through: self.after, by_segment: HashMap::new() };
        for id in segments.iter().map(|segment| segment.id()) {
            let places = self.in_segment(id);
            let places = places.get(..left.min(places.len())).unwrap_or_default();
            first.through = places.last().map_or(first.through, |last| last.sequence);
            left -= places.len();
            first.by_segment.insert(id, places.to_vec());
        }
        Some(first)
    }
}
