//! Messages that newer ones of their topic replaced.
//!
//! Only memory knows of them, so it is to be said again after a start. They are not read any more, count no more, and
//! compaction drops them.

use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::{HashMap, HashSet};

use super::index::{Index, IndexFailed, Place, TopicSummary};
use super::ledger::plus;
use super::log::Log;
use super::segment::{Segment, read_lock, write_lock};
use super::shared::Floor;
use crate::stream::Totals;

/// So few topics are looked up one by one in a segment; for more its whole table of topics is read.
const FEW_TOPICS: usize = if cfg!(test) { 2 } else { 16 };

/// By topic.
type Searches = HashMap<Box<str>, Search, RandomState>;

impl Log {
    /// Replaces all but the newest `max` messages of each of these topics, of those that are committed: to be said now and
    /// then of the topics that were published to. Reads little more than what came since the last time.
    pub fn replace_beyond<'a>(&mut self, stream: u32, max: NonZeroU32, topics: impl IntoIterator<Item = &'a str>) {
        let Some(state) = self.committed(stream) else { return };
        let max = u64::from(max.get());
        let search = |topic: &str| Search::new(max, self.floor(stream, topic), state.first_sequence);
        let searches = topics.into_iter().map(|topic| (topic.into(), search(topic))).collect();
        self.search(stream, searches, None);
    }

    /// As [`replace_beyond`](Self::replace_beyond), for every topic of the stream: to be said after a start, and when
    /// `max` becomes smaller. Reads the tables of topics of all segments.
    pub fn replace_all_beyond(&mut self, stream: u32, max: NonZeroU32) {
        self.search(stream, Searches::default(), Some(u64::from(max.get())));
        let mut state = write_lock(&self.shared.state);
        let last_sequence = state.streams.get(&stream).map_or(0, |state| state.last_sequence);
        let topics = Arc::clone(state.replaced.entry(stream).or_default());
        drop(state);
        write_lock(&topics).complete_through = Some(last_sequence);
    }

    fn committed(&self, stream: u32) -> Option<super::shared::StreamState> {
        read_lock(&self.shared.state).streams.get(&stream).copied()
    }

    fn floor(&self, stream: u32, topic: &str) -> Option<Floor> {
        let state = read_lock(&self.shared.state);
        read_lock(state.replaced.get(&stream)?).get(topic)
    }

    /// Goes through the segments from the last one on. `max_of_all`: every topic that is met is searched.
    fn search(&mut self, stream: u32, mut searches: Searches, max_of_all: Option<u64>) {
        let Some(state) = self.committed(stream) else { return };
        let mut done = Vec::new();
        let mut taken = Vec::new();
        for held in self.ledger.of(stream).rev() {
            let Some(summary) = held.segment.summary(stream) else { continue };
            if max_of_all.is_none() {
                done.extend(searches.extract_if(|_, search| search.ends_before(summary.last_sequence)));
                if searches.is_empty() {
                    break;
                }
            }
            let searched = if max_of_all.is_none() { Some(&searches) } else { None };
            let topics = held.segment.look_up(|index| topics_in(index, stream, searched));
            let mut replaced = Totals::default();
            let mut unclear = HashSet::<Box<str>, RandomState>::default();
            for (topic, summary) in topics.unwrap_or_default() {
                let begun =
                    || Search::new(max_of_all.unwrap_or(u64::MAX), self.floor(stream, &topic), state.first_sequence);
                let visited = match searches.get_mut(&topic) {
                    Some(search) => search.visit(&summary),
                    None => searches.entry(topic.clone()).or_insert_with(begun).visit(&summary),
                };
                match visited {
                    Some(gone) => replaced = plus(replaced, gone),
                    None => drop(unclear.insert(topic)),
                }
            }
            for (topic, places) in places_of(&held.segment, stream, unclear) {
                if let Some(search) = searches.get_mut(&topic) {
                    replaced = plus(replaced, search.visit_places(&places));
                }
            }
            taken.push((held.segment.id(), replaced));
        }
        done.extend(searches);
        for (segment, replaced) in taken {
            self.ledger.take(stream, segment, replaced);
        }
        self.note_floors(stream, done, state.last_sequence);
    }

    fn note_floors(&self, stream: u32, found: Vec<(Box<str>, Search)>, last_sequence: u64) {
        let mut state = write_lock(&self.shared.state);
        let topics = Arc::clone(state.replaced.entry(stream).or_default());
        if let Some(known) = state.streams.get_mut(&stream) {
            known.totals = self.ledger.totals(stream);
        }
        drop(state);
        let mut topics = write_lock(&topics);
        for (topic, search) in found {
            topics.has_replaced |= search.first.is_some();
            let before = topics.by_topic.get(&topic).map_or(0, |before| before.first);
            let first = search.first.map_or(before, |first| first.max(before));
            topics.by_topic.insert(topic, Floor { first, through: last_sequence, kept: search.kept() });
        }
    }
}

/// What a segment has of the topics that are searched, or of all.
fn topics_in(
    index: &Index,
    stream: u32,
    searched: Option<&Searches>,
) -> Result<Vec<(Box<str>, TopicSummary)>, IndexFailed> {
    let mut found = Vec::new();
    if let Some(few) = searched.filter(|searched| searched.len() <= FEW_TOPICS) {
        for topic in few.keys() {
            found.extend(index.topic(stream, topic)?.map(|summary| (topic.clone(), summary)));
        }
        return Ok(found);
    }
    index.each_topic_of(stream, "", |topic, summary| {
        if searched.is_none_or(|searched| searched.contains_key(topic)) {
            found.push((topic.into(), summary));
        }
    })?;
    Ok(found)
}

/// The places that a segment has of each of these topics.
fn places_of(segment: &Segment, stream: u32, topics: HashSet<Box<str>, RandomState>) -> Vec<(Box<str>, Vec<Place>)> {
    if topics.len() <= FEW_TOPICS {
        let places = |topic: Box<str>| {
            let places = segment.topic_places(stream, &topic).unwrap_or_default();
            (topic, places)
        };
        return topics.into_iter().map(places).collect();
    }
    let all = segment.look_up(|index| {
        let mut all = Vec::with_capacity(topics.len());
        let is_wanted = |topic: &str| topics.contains(topic);
        index.each_topic_places_of(stream, "", is_wanted, |topic, places| all.push((topic.into(), places)))?;
        Ok(all)
    });
    all.unwrap_or_default()
}

/// The search for a topic's first message that is not replaced, from the newest message on.
struct Search {
    max: u64,
    /// What is before it is gone already.
    floor: u64,
    /// When `through` was the stream's last sequence, at most `kept` were kept.
    through: u64,
    kept: u64,
    /// Those that were met and stay.
    newer: u64,
    /// Of them those behind `through`.
    new: u64,
    /// What is before it is replaced, once that is known.
    first: Option<u64>,
}

impl Search {
    fn new(max: u64, before: Option<Floor>, first_sequence: u64) -> Self {
        let Floor { first, through, kept } = before.unwrap_or(Floor { first: 0, through: 0, kept: u64::MAX });
        Self { max, floor: first.max(first_sequence), through, kept, newer: 0, new: 0, first: None }
    }

    /// Whether nothing up to a sequence is of interest, when all behind it was visited.
    fn ends_before(&self, sequence: u64) -> bool {
        sequence < self.floor
            || (self.first.is_none() && sequence <= self.through && self.new.saturating_add(self.kept) <= self.max)
    }

    /// Takes in what the next segment has of the topic; what of it is replaced now. `None`, and nothing is taken in, where
    /// only the places tell: then [`visit_places`](Self::visit_places).
    fn visit(&mut self, summary: &TopicSummary) -> Option<Totals> {
        let TopicSummary { count, bytes, first_sequence, last } = *summary;
        let is_kept_whole = first_sequence >= self.floor;
        match self.first {
            _ if last.sequence < self.floor => Some(Totals::default()),
            Some(first) if first_sequence >= first => Some(Totals::default()),
            Some(first) if is_kept_whole && last.sequence < first => Some(Totals { messages: count, bytes }),
            None if is_kept_whole
                && self.newer.saturating_add(count) <= self.max
                && (first_sequence > self.through || last.sequence <= self.through) =>
            {
                self.newer += count;
                self.new += if first_sequence > self.through { count } else { 0 };
                Some(Totals::default())
            }
            _ => None,
        }
    }

    /// Takes in where the messages of the topic are in the next segment; what of them is replaced now.
    fn visit_places(&mut self, places: &[Place]) -> Totals {
        let kept = places.get(places.partition_point(|place| place.sequence < self.floor)..).unwrap_or_default();
        let first = match self.first {
            Some(first) => first,
            None => match self.first_in(kept) {
                Some(first) => *self.first.insert(first),
                None => return Totals::default(),
            },
        };
        let gone = kept.iter().take_while(|place| place.sequence < first);
        gone.fold(Totals::default(), |sum, place| plus(sum, Totals { messages: 1, bytes: place.len }))
    }

    fn first_in(&mut self, kept: &[Place]) -> Option<u64> {
        let room = usize::try_from(self.max - self.newer).unwrap_or(usize::MAX);
        let replaced = kept.len().saturating_sub(room);
        let behind = kept.partition_point(|place| place.sequence <= self.through);
        self.newer += (kept.len() - replaced) as u64;
        self.new += (kept.len() - behind.max(replaced)) as u64;
        let last_replaced = kept.get(replaced.checked_sub(1)?)?;
        Some(kept.get(replaced).map_or(last_replaced.sequence + 1, |first| first.sequence))
    }

    /// How many of the topic's messages are kept, at most.
    fn kept(&self) -> u64 {
        let before_and_new = self.new.saturating_add(self.kept);
        match self.first {
            Some(_) => self.max,
            None if before_and_new <= self.max => before_and_new,
            // Then all of them were visited.
            None => self.newer,
        }
    }
}
