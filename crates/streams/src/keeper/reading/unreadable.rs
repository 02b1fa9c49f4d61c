//! Where the disk gave errors: how soon it is asked again, and when what is behind goes on without.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// However many wait for a place, the disk is asked for it once in this time.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A place that the disk has not given for so long, while somebody asked, is given up: it is told as lost, and kept.
/// Where nobody asked for so long, it begins anew.
const GIVEN_UP_AFTER: Duration = Duration::from_mins(2);
/// The most places that are remembered. Behind more of them nobody goes on.
const MAX_PLACES: usize = 1024;

/// The places where reads failed, each a stream's number in the store and a sequence.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    places: Mutex<BTreeMap<(u32, u64), Errors>>,
}

#[derive(Debug, Clone, Copy)]
struct Errors {
    since: Instant,
    asked: Instant,
}

/// How a place is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// As any other.
    Read,
    /// Not now: the disk has just given an error.
    Wait,
    /// With what it does not give told as lost.
    GiveUp,
}

impl Unreadable {
    pub(super) fn attempt(&self, place: (u32, u64), now: Instant) -> Attempt {
        match self.lock().get(&place) {
            Some(errors) if errors.is_given_up(now) => Attempt::GiveUp,
            Some(errors) if now.saturating_duration_since(errors.asked) < ASKED_AGAIN_AFTER => Attempt::Wait,
            _ => Attempt::Read,
        }
    }

    /// The disk gave an error for it.
    pub(super) fn failed(&self, place: (u32, u64), now: Instant) {
        let mut places = self.lock();
        if places.len() >= MAX_PLACES {
            places.retain(|_, errors| !errors.is_forgotten(now));
        }
        let has_room = places.len() < MAX_PLACES;
        match places.get_mut(&place) {
            Some(errors) if errors.is_forgotten(now) => *errors = Errors { since: now, asked: now },
            Some(errors) => errors.asked = now,
            None if has_room => drop(places.insert(place, Errors { since: now, asked: now })),
            None => {}
        }
    }

    /// The disk gave it.
    pub(super) fn was_read(&self, place: (u32, u64)) {
        self.lock().remove(&place);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u32, u64), Errors>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Errors {
    fn is_given_up(&self, now: Instant) -> bool {
        !self.is_forgotten(now) && now.saturating_duration_since(self.since) >= GIVEN_UP_AFTER
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) >= GIVEN_UP_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_up_only_where_it_was_asked_for_all_the_time() {
        let (unreadable, begun) = (Unreadable::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let place = (1, 7);
        assert_eq!(unreadable.attempt(place, at(0)), Attempt::Read);
        for second in 0..120 {
            unreadable.failed(place, at(second));
            assert_eq!(unreadable.attempt(place, at(second)), Attempt::Wait);
            assert_eq!(unreadable.attempt((1, 8), at(second)), Attempt::Read);
        }
        assert_eq!(unreadable.attempt(place, at(119) + ASKED_AGAIN_AFTER), Attempt::GiveUp);
        unreadable.failed(place, at(200));
        assert_eq!(unreadable.attempt(place, at(200)), Attempt::GiveUp);
        // Nobody wanted it for a while: an error now is another one.
        assert_eq!(unreadable.attempt(place, at(320)), Attempt::Read);
        unreadable.failed(place, at(320));
        assert_eq!(unreadable.attempt(place, at(321)), Attempt::Read);
        unreadable.was_read(place);
        assert_eq!(unreadable.attempt(place, at(320)), Attempt::Read);
    }

    #[test]
    fn no_more_places_are_remembered_than_there_is_room_for() {
        let (unreadable, begun) = (Unreadable::default(), Instant::now());
        for sequence in 0..=MAX_PLACES as u64 {
            unreadable.failed((1, sequence), begun);
        }
        assert_eq!(unreadable.attempt((1, MAX_PLACES as u64), begun), Attempt::Read);
        let later = begun + GIVEN_UP_AFTER;
        unreadable.failed((2, 1), later);
        assert_eq!((unreadable.attempt((2, 1), later), unreadable.lock().len()), (Attempt::Wait, 1));
    }
}
