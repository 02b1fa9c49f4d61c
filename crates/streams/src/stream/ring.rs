//! Messages in memory, in the order of their sequences.

use std::collections::{VecDeque, vec_deque};

use carillon_wire::{Pattern, TopicBuf};
use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::{Bounds, Cut, Extent, Item, PageLimits, Read, Retention, Select, Totals};

/// So few replaced messages are not worth making the ring anew.
const FEW: usize = 64;

/// Messages of one stream, found by sequence, by topic and by time. What retention takes is the caller's to ask
/// ([`cut`](Self::cut)), except that newer messages of a topic replace older ones at once.
///
/// `M` is what is kept of a message, cheap to clone: most often its encoded bytes, shared.
#[derive(Debug)]
pub struct Ring<M> {
    /// Ascending by sequence. The first one has its message; behind it replaced ones stay, without theirs, until they
    /// are the half of all.
    slots: VecDeque<Slot<M>>,
    replaced: usize,
    totals: Totals,
    /// The sequences of each topic's messages, ascending, none empty.
    by_topic: HashMap<TopicBuf, VecDeque<u64>, RandomState>,
}

#[derive(Debug)]
struct Slot<M> {
    sequence: u64,
    time_us: u64,
    bytes: u64,
    topic: TopicBuf,
    /// `None`: replaced.
    message: Option<M>,
}

/// A message with what it is found by.
#[derive(Debug, Clone)]
pub struct Kept<M> {
    /// Above that of every message before.
    pub sequence: u64,
    /// Microseconds since 1970, not before that of any message before.
    pub time_us: u64,
    /// Where it was published.
    pub topic: TopicBuf,
    /// What it counts.
    pub bytes: u64,
    /// It.
    pub message: M,
}

/// A search for the newest messages, from the newest one on: see [`Ring::search_newest`].
#[derive(Debug, Clone)]
pub struct NewestSearch {
    /// How many more are wanted.
    left: usize,
    /// What is behind this was looked at.
    through: u64,
    position: u64,
}

impl NewestSearch {
    /// A search for `n` messages up to a sequence.
    pub fn new(n: usize, through: u64) -> Self {
        Self { left: n, through, position: through }
    }

    /// The position right before those that were found; where the search began if none was.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl<M> Default for Ring<M> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), replaced: 0, totals: Totals::default(), by_topic: HashMap::default() }
    }
}

impl<M: Clone> Ring<M> {
    /// Adds a message, and drops those of its topic that it replaces.
    pub fn push(&mut self, kept: Kept<M>, retention: &Retention) {
        let Kept { sequence, time_us, topic, bytes, message } = kept;
        self.totals.messages += 1;
        self.totals.bytes = self.totals.bytes.saturating_add(bytes);
        self.by_topic.entry(topic.clone()).or_default().push_back(sequence);
        self.slots.push_back(Slot { sequence, time_us, bytes, topic: topic.clone(), message: Some(message) });
        self.replace_in(&topic, retention);
        self.drop_replaced();
    }

    /// Drops what a tighter count for each topic does not allow any more.
    pub fn replace_all(&mut self, retention: &Retention) {
        let topics: Vec<_> = self.by_topic.keys().cloned().collect();
        for topic in topics {
            self.replace_in(&topic, retention);
        }
        self.drop_replaced();
    }

    fn replace_in(&mut self, topic: &TopicBuf, retention: &Retention) {
        let Some(sequences) = self.by_topic.get_mut(topic) else { return };
        let gone: Vec<_> = sequences.drain(..retention.replaced(sequences.len())).collect();
        shrink(sequences);
        for sequence in gone {
            let at = self.position_behind(sequence.saturating_sub(1));
            if let Some(slot) = self.slots.get_mut(at)
                && slot.message.take().is_some()
            {
                self.totals.messages -= 1;
                self.totals.bytes = self.totals.bytes.saturating_sub(slot.bytes);
                self.replaced += 1;
            }
        }
    }

    fn drop_replaced(&mut self) {
        // None at the front, where each publication looks for what retention takes.
        while self.slots.pop_front_if(|slot| slot.message.is_none()).is_some() {
            self.replaced = self.replaced.saturating_sub(1);
        }
        if self.replaced > FEW && self.replaced > self.slots.len() / 2 {
            self.slots.retain(|slot| slot.message.is_some());
            self.slots.shrink_to(self.slots.len() * 2);
            self.replaced = 0;
        }
    }

    /// What retention takes from the front now; nothing is done yet.
    pub fn cut(&self, now_us: u64, retention: &Retention) -> Option<Cut> {
        let extent = |slot: &Slot<M>| Extent {
            last: slot.sequence,
            newest_time_us: slot.time_us,
            totals: Totals { messages: 1, bytes: slot.bytes },
        };
        let kept = self.slots.iter().filter(|slot| slot.message.is_some());
        retention.cut(now_us, self.totals, kept.map(extent))
    }

    /// Drops everything before a sequence.
    pub fn remove_before(&mut self, first: u64) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.sequence < first) {
            if slot.message.is_none() {
                self.replaced = self.replaced.saturating_sub(1);
                continue;
            }
            self.totals.messages = self.totals.messages.saturating_sub(1);
            self.totals.bytes = self.totals.bytes.saturating_sub(slot.bytes);
            if let Some(sequences) = self.by_topic.get_mut(&slot.topic) {
                sequences.pop_front();
                shrink(sequences);
                if sequences.is_empty() {
                    self.by_topic.remove(&slot.topic);
                }
            }
        }
        self.drop_replaced();
        shrink(&mut self.slots);
    }

    /// What is kept.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The first sequence that a message is kept of.
    pub fn first_sequence(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.sequence)
    }

    /// The position right before the first message that was published at this time or later; `last` if there is none.
    pub fn position_at_time(&self, time_us: u64, last: u64) -> u64 {
        let at = self.slots.partition_point(|slot| slot.time_us < time_us);
        self.slots.get(at).map_or(last, |slot| slot.sequence.saturating_sub(1))
    }

    /// The position right before the newest `n` messages, up to `through`, that a pattern matches; `through` if `n` is 0.
    pub fn position_before_newest(&self, n: usize, pattern: Pattern<'_>, through: u64) -> u64 {
        let mut search = NewestSearch::new(n, through);
        while !self.search_newest(&mut search, pattern, usize::MAX) {}
        search.position
    }

    /// Goes on with a search for the newest messages that a pattern matches, and looks at so many messages at most.
    /// Whether it is at its end. Between two steps anything may happen to the ring.
    pub fn search_newest(&self, search: &mut NewestSearch, pattern: Pattern<'_>, looked_at: usize) -> bool {
        let mut candidates = self.candidates(pattern, 0, search.through).rev();
        for _ in 0..looked_at.max(1) {
            let Some(slot) = (search.left > 0).then(|| candidates.next()).flatten() else { return true };
            search.through = slot.sequence.saturating_sub(1);
            if slot.is_match(pattern) {
                search.left -= 1;
                search.position = search.through;
            }
        }
        false
    }

    /// One page of what a pattern matches. It is read in steps of [`PageLimits`], each of which finds its start by
    /// itself; between them anything may happen.
    pub fn page(&self, read: &Read, pattern: Pattern<'_>, limits: &PageLimits, bounds: Bounds) -> (Vec<Item<M>>, u64) {
        let through = read.through.min(bounds.last);
        let mut items = Vec::new();
        let mut complete_through = read.after;
        if let Some(gap) = bounds.gap_after(read.after).and_then(|gap| gap.up_to(read.through)) {
            complete_through = gap.last;
            items.push(Item::Lost(gap));
        }
        if complete_through >= through {
            return (items, complete_through);
        }
        let (mut messages, mut bytes) = (0_usize, 0_u64);
        for (looked_at, slot) in self.candidates(pattern, complete_through, through).enumerate() {
            if looked_at >= limits.looked_at.max(1) {
                return (items, slot.sequence.saturating_sub(1));
            }
            let Some(message) = self.selected(slot, read.select).filter(|_| slot.is_match(pattern)) else { continue };
            bytes = bytes.saturating_add(slot.bytes);
            if messages >= limits.messages.max(1) || messages > 0 && bytes > limits.bytes {
                return (items, slot.sequence.saturating_sub(1));
            }
            messages += 1;
            items.push(Item::Message { sequence: slot.sequence, message: message.clone() });
        }
        (items, through)
    }

    fn selected<'s>(&self, slot: &'s Slot<M>, select: Select) -> Option<&'s M> {
        let message = slot.message.as_ref()?;
        let Select::LastByTopic { as_of } = select else { return Some(message) };
        let sequences = self.by_topic.get(&slot.topic)?;
        let next = sequences.get(sequences.partition_point(|it| *it <= slot.sequence));
        next.is_none_or(|next| *next > as_of).then_some(message)
    }

    /// Places for the sequences of all topics.
    #[cfg(test)]
    pub(super) fn topic_capacity(&self) -> usize {
        self.by_topic.values().map(VecDeque::capacity).sum()
    }

    /// What each look for what retention takes would pass in vain.
    #[cfg(test)]
    pub(super) fn replaced_at_the_front(&self) -> usize {
        self.slots.iter().take_while(|slot| slot.message.is_none()).count()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    fn slot(&self, sequence: u64) -> Option<&Slot<M>> {
        self.slots.get(self.position_behind(sequence.saturating_sub(1)))
    }

    /// The place in `slots` of the first behind a sequence.
    fn position_behind(&self, sequence: u64) -> usize {
        self.slots.partition_point(|slot| slot.sequence <= sequence)
    }

    /// Where the messages between two positions that a pattern matches are found: all of them, and others.
    fn candidates(&self, pattern: Pattern<'_>, after: u64, through: u64) -> Candidates<'_, M> {
        let Some(topic) = pattern.as_topic() else {
            let (start, end) = (self.position_behind(after), self.position_behind(through.max(after)));
            return Candidates::Any(self.slots.range(start..end));
        };
        let Some(sequences) = self.by_topic.get(&TopicBuf::from(topic)) else {
            return Candidates::Any(self.slots.range(0..0));
        };
        let behind = |position: u64| sequences.partition_point(|it| *it <= position);
        Candidates::OfTopic { ring: self, sequences: sequences.range(behind(after)..behind(through.max(after))) }
    }
}

/// Gives memory back that was for many more than there are.
fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > FEW && queue.len() < queue.capacity() / 8 {
        queue.shrink_to(queue.len() * 2);
    }
}

impl<M> Slot<M> {
    fn is_match(&self, pattern: Pattern<'_>) -> bool {
        self.message.is_some() && pattern.matches(self.topic.as_topic())
    }
}

/// Slots in ascending order.
enum Candidates<'r, M> {
    Any(vec_deque::Iter<'r, Slot<M>>),
    OfTopic { ring: &'r Ring<M>, sequences: vec_deque::Iter<'r, u64> },
}

impl<'r, M: Clone> Iterator for Candidates<'r, M> {
    type Item = &'r Slot<M>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Any(slots) => slots.next(),
            Self::OfTopic { ring, sequences } => ring.slot(*sequences.next()?),
        }
    }
}

impl<M: Clone> DoubleEndedIterator for Candidates<'_, M> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Any(slots) => slots.next_back(),
            Self::OfTopic { ring, sequences } => ring.slot(*sequences.next_back()?),
        }
    }
}
