//! The newest messages of a stream, found from its end.

use std::collections::{HashMap, HashSet, VecDeque};

use carillon_wire::Pattern;

use super::error::Unreadable;
use super::header::SegmentId;
use super::index::{Index, IndexFailed, Place, Summary};
use super::segment::Segment;
use super::select::{Selection, Selections, few, literal_prefix};
use super::shared::Snapshot;
use super::walk::{for_each_record, matches};

/// For so few messages the end of a segment is read before its index is asked which of its topics match.
const PROBE_MESSAGES: usize = if cfg!(test) { 3 } else { 512 };

/// Looks for messages of one stream, backwards.
pub(super) struct Backwards<'a> {
    pub(super) stream: u32,
    pub(super) snapshot: &'a Snapshot,
    pub(super) through: u64,
    /// What the disk gives an error for is passed over, where it gives something beside it.
    pub(super) passes_unreadable: bool,
}

impl Backwards<'_> {
    /// The newest `n` sequences of a topic, ascending.
    pub(super) fn of_topic(&self, topic: &str, n: usize) -> Result<Vec<u64>, Unreadable> {
        let mut found = VecDeque::new();
        let floor = self.snapshot.floor(topic);
        for (segment, _) in self.segments(floor) {
            let places = segment.topic_places(self.stream, topic)?;
            let wanted = places.iter().rev().filter(|place| (floor..=self.through).contains(&place.sequence));
            for place in wanted.take(n - found.len()) {
                found.push_front(place.sequence);
            }
            if found.len() >= n {
                break;
            }
        }
        Ok(found.into())
    }

    /// The `n`-th newest sequence of a topic, or the oldest one if there are fewer.
    fn nth_of_topic(&self, topic: &str, n: usize) -> Result<Option<u64>, Unreadable> {
        let mut search = Search { left: n, oldest: None };
        let floor = self.snapshot.floor(topic);
        for (segment, _) in self.segments(floor) {
            if search.left == 0 {
                break;
            }
            let places = segment.topic_places(self.stream, topic)?;
            let wanted = places.iter().rev().filter(|place| (floor..=self.through).contains(&place.sequence));
            search.take(wanted.map(|place| place.sequence));
        }
        Ok(search.oldest)
    }

    /// The `n`-th newest that a pattern matches, or the oldest one if there are fewer.
    pub(super) fn nth(
        &self,
        pattern: Pattern<'_>,
        n: usize,
        selections: &Selections,
    ) -> Result<Option<u64>, Unreadable> {
        // Of more than there are nothing has to be counted or reserved.
        let state = &self.snapshot.stream;
        let len = state.last_sequence.saturating_add(1).saturating_sub(state.first_sequence);
        let n = n.min(usize::try_from(len).unwrap_or(usize::MAX));
        if let Some(topic) = pattern.as_topic() {
            return self.nth_of_topic(topic.as_str(), n);
        }
        let mut search = Search { left: n, oldest: None };
        for (segment, summary) in self.segments(self.snapshot.stream.first_sequence) {
            if search.left == 0 {
                break;
            }
            self.search(segment, &summary, pattern, selections, &mut search)?;
        }
        Ok(search.oldest)
    }

    fn search(
        &self,
        segment: &Segment,
        summary: &Summary,
        pattern: Pattern<'_>,
        selections: &Selections,
        search: &mut Search,
    ) -> Result<(), Unreadable> {
        let mut through = self.through;
        if search.left <= PROBE_MESSAGES {
            through = self.search_chunks(segment, Some(pattern), (through, 1), search)?;
        }
        if search.left == 0 || through < summary.first_sequence {
            return Ok(());
        }
        let selection = selections.get(segment, summary, pattern)?;
        let take_few = |few: &super::select::Few, search: &mut Search| {
            let floors: Vec<u64> = few.topics.iter().map(|topic| self.snapshot.floor(topic)).collect();
            let is_wanted = |(place, topic): &&(Place, usize)| {
                place.sequence <= through && floors.get(*topic).is_some_and(|floor| place.sequence >= *floor)
            };
            search.take(few.places.iter().rev().filter(is_wanted).map(|(place, _)| place.sequence));
        };
        match &*selection {
            Selection::Every if !self.snapshot.has_replaced() => {
                self.search_chunks(segment, None, (through, usize::MAX), search)?;
            }
            Selection::Few(few) => take_few(few, search),
            _ if search.left <= PROBE_MESSAGES => {
                self.search_chunks(segment, Some(pattern), (through, usize::MAX), search)?;
            }
            // Places are smaller than records.
            _ => {
                let few = segment.look_up(|index| few(index, self.stream, pattern))?;
                take_few(&few, search);
            }
        }
        Ok(())
    }

    /// Goes through the last chunks up to a sequence, and reads the records where a pattern has to be compared.
    /// What is left before them.
    fn search_chunks(
        &self,
        segment: &Segment,
        pattern: Option<Pattern<'_>>,
        (mut through, chunks): (u64, usize),
        search: &mut Search,
    ) -> Result<u64, Unreadable> {
        let first_sequence = self.snapshot.stream.first_sequence;
        for places in segment.chunks_back_from(self.stream, through).take(chunks) {
            let places = places?;
            let Some(first) = places.first() else { break };
            through = first.sequence.saturating_sub(1);
            let is_wanted = |place: &Place| (first_sequence..=self.through).contains(&place.sequence);
            if pattern.is_none() {
                search.take(places.iter().rev().filter(|place| is_wanted(place)).map(|place| place.sequence));
            } else {
                let mut found = Vec::new();
                let mut is_any_read = false;
                let all = for_each_record(segment, &places, |place, read| {
                    is_any_read |= read.is_some();
                    let Some(read) = read.filter(|_| is_wanted(&place)) else { return };
                    let topic = read.record.topic;
                    if matches(pattern, topic) && !self.snapshot.is_replaced(topic, place.sequence) {
                        found.push(place.sequence);
                    }
                });
                all.or_else(|unreadable| if self.passes_unreadable && is_any_read { Ok(()) } else { Err(unreadable) })?;
                search.take(found.into_iter().rev());
            }
            if search.left == 0 || through < first_sequence {
                break;
            }
        }
        Ok(through)
    }

    /// Of each topic the place of its newest message, if that is behind a position and was not replaced; by segment and
    /// in order.
    pub(super) fn last_by_topic(
        &self,
        pattern: Pattern<'_>,
        after: u64,
    ) -> Result<HashMap<SegmentId, Vec<Place>>, Unreadable> {
        let mut found: HashMap<SegmentId, Vec<Place>> = HashMap::new();
        let mut seen = HashSet::<Box<str>>::new();
        let from = after.saturating_add(1).max(self.snapshot.stream.first_sequence);
        for (segment, _) in self.segments(from) {
            let newest = segment.look_up(|index| self.newest_in(index, pattern, &seen))?;
            let mut places = Vec::new();
            for (topic, place) in newest {
                if place.sequence >= from && !self.snapshot.is_replaced(&topic, place.sequence) {
                    places.push(place);
                }
                seen.insert(topic);
            }
            places.sort_unstable_by_key(|place| place.sequence);
            found.insert(segment.id(), places);
            if pattern.as_topic().is_some() && !seen.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// The newest message of each topic that was not seen yet.
    fn newest_in(
        &self,
        index: &Index,
        pattern: Pattern<'_>,
        seen: &HashSet<Box<str>>,
    ) -> Result<Vec<(Box<str>, Place)>, IndexFailed> {
        let mut newest = Vec::new();
        if let Some(topic) = pattern.as_topic() {
            let places = index.topic_places(self.stream, topic.as_str())?;
            let last = places.iter().rfind(|place| place.sequence <= self.through);
            newest.extend(last.map(|last| (Box::from(topic.as_str()), *last)));
            return Ok(newest);
        }
        let mut may_be_earlier = HashSet::<Box<str>>::new();
        let prefix = literal_prefix(pattern);
        index.each_topic_of(self.stream, prefix, |topic, summary| {
            if seen.contains(topic) || !matches(Some(pattern), topic) {
            } else if summary.last.sequence <= self.through {
                newest.push((topic.into(), summary.last));
            } else if summary.first_sequence <= self.through {
                may_be_earlier.insert(topic.into());
            }
        })?;
        if !may_be_earlier.is_empty() {
            let is_wanted = |topic: &str| may_be_earlier.contains(topic);
            index.each_topic_places_of(self.stream, prefix, is_wanted, |topic, places| {
                let last = places.iter().rfind(|place| place.sequence <= self.through);
                newest.extend(last.map(|last| (topic.into(), *last)));
            })?;
        }
        Ok(newest)
    }

    /// The segments that have messages of the stream from a sequence on, up to `through`; the last one first.
    fn segments(&self, from: u64) -> impl Iterator<Item = (&Segment, Summary)> {
        let segments = self.snapshot.segments.iter().rev();
        segments
            .filter_map(|segment| Some((&**segment, segment.summary(self.stream)?)))
            .filter(|(_, summary)| summary.count > 0 && summary.first_sequence <= self.through)
            .take_while(move |(_, summary)| summary.last_sequence >= from)
    }
}

/// How many more are wanted, and the last that was found.
struct Search {
    left: usize,
    oldest: Option<u64>,
}

impl Search {
    /// Takes sequences that come in descending order.
    fn take(&mut self, sequences: impl Iterator<Item = u64>) {
        for sequence in sequences.take(self.left) {
            self.left -= 1;
            self.oldest = Some(sequence);
        }
    }
}
