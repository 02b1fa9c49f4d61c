//! When JWKS documents are fetched: by example, and as invariants over random histories.

use std::sync::Arc;

use proptest::prelude::*;

use super::signer::Signer;
use crate::identity::{Action, Fetched, JwksCache, JwksTiming, Key};

const TIMING: JwksTiming = JwksTiming { max_age_s: 1_000, floor_s: 10, max_backoff_s: 60 };

/// The source answers with a key of that generation.
fn answer(cache: &mut JwksCache, now_s: u64, generation: u64, max_age_s: Option<u64>) -> Action {
    let key = Signer::secret(&[0; 32]).key(Some(&generation.to_string()));
    cache.on_fetched(now_s, Ok::<_, ()>(Fetched { keys: [key].into(), max_age_s }))
}

fn generation(keys: Option<&Arc<[Key]>>) -> Option<u64> {
    keys?[0].id()?.parse().ok()
}

#[test]
fn the_first_fetch_is_due_at_once_and_none_beside_it() {
    let mut cache = JwksCache::new(TIMING);

    assert_eq!(cache.on_tick(500), Action::Fetch);
    assert_eq!(cache.on_tick(5_000), Action::AwaitFetched);
    assert_eq!(cache.on_unknown_kid(5_000), Action::AwaitFetched);
    assert!(cache.keys().is_none());
    assert_eq!(cache.age_s(5_000), None);
}

#[test]
fn keys_are_refreshed_while_a_fifth_of_their_age_is_left() {
    let mut cache = JwksCache::new(TIMING);
    cache.on_tick(0);

    assert_eq!(answer(&mut cache, 5, 1, None), Action::WaitUntil(805));
    assert_eq!(cache.on_tick(804), Action::WaitUntil(805));
    assert_eq!(cache.on_tick(805), Action::Fetch);
    assert_eq!(cache.age_s(805), Some(800));
}

#[test]
fn the_sources_own_age_counts_between_the_floor_and_the_configured_one() {
    for (max_age_s, due_s) in [(Some(100), 80), (Some(0), 10), (Some(13), 11), (Some(u64::MAX), 800), (None, 800)] {
        let mut cache = JwksCache::new(TIMING);
        cache.on_tick(0);
        assert_eq!(answer(&mut cache, 0, 1, max_age_s), Action::WaitUntil(due_s), "{max_age_s:?}");
    }
}

#[test]
fn another_timing_keeps_the_keys_and_moves_their_next_fetch_only_earlier() {
    let mut cache = JwksCache::new(TIMING);
    cache.on_tick(0);
    assert_eq!(answer(&mut cache, 5, 1, None), Action::WaitUntil(805));

    cache.set_timing(JwksTiming { max_age_s: 100, ..TIMING });
    assert_eq!(cache.on_tick(20), Action::WaitUntil(85));
    cache.set_timing(JwksTiming { max_age_s: 10_000, ..TIMING });
    assert_eq!(cache.on_tick(20), Action::WaitUntil(85));
    assert_eq!(generation(cache.keys()), Some(1));
    assert_eq!(cache.on_tick(85), Action::Fetch);
    assert_eq!(answer(&mut cache, 85, 2, None), Action::WaitUntil(8_085));
}

#[test]
fn an_unknown_kid_fetches_at_once_but_not_before_the_floor() {
    let mut cache = JwksCache::new(TIMING);
    cache.on_tick(0);
    answer(&mut cache, 1, 1, None);

    assert_eq!(cache.on_unknown_kid(2), Action::WaitUntil(10));
    assert_eq!(cache.on_tick(9), Action::WaitUntil(10));
    assert_eq!(cache.on_tick(10), Action::Fetch);
    answer(&mut cache, 11, 2, None);
    assert_eq!(cache.on_unknown_kid(300), Action::Fetch);
    // Those that came while it was under way are answered by it.
    cache.on_unknown_kid(301);
    assert_eq!(answer(&mut cache, 302, 3, None), Action::WaitUntil(1_102));
}

#[test]
fn failures_keep_the_keys_and_wait_longer_each_time() {
    let mut cache = JwksCache::new(TIMING);
    cache.on_tick(0);
    answer(&mut cache, 0, 1, None);
    let mut now_s = 800;
    for (failures, backoff_s) in [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60)] {
        assert_eq!(cache.on_tick(now_s), Action::Fetch);
        assert_eq!(cache.on_fetched(now_s, Err(())), Action::WaitUntil(now_s + backoff_s));
        // Nor does an unknown key id get around the backoff.
        assert_eq!(cache.on_unknown_kid(now_s), Action::WaitUntil(now_s + backoff_s));
        assert_eq!(cache.failures(), failures);
        assert_eq!(generation(cache.keys()), Some(1));
        now_s += backoff_s;
    }
    assert_eq!(cache.on_tick(now_s), Action::Fetch);
    answer(&mut cache, now_s, 2, None);
    assert_eq!((cache.failures(), generation(cache.keys())), (0, Some(2)));
}

#[test]
fn a_floor_of_zero_is_none() {
    let mut cache = JwksCache::new(JwksTiming { max_age_s: 0, floor_s: 0, max_backoff_s: 0 });
    assert_eq!(cache.on_tick(7), Action::Fetch);
    assert_eq!(answer(&mut cache, 7, 1, None), Action::WaitUntil(8));
    assert_eq!(cache.on_unknown_kid(7), Action::WaitUntil(8));
}

/// One second of a history: what happens in it.
#[derive(Debug, Clone, Copy)]
struct Second {
    unknown_kids: u8,
    /// Whether the source answers what is under way, and how.
    answer: Option<bool>,
}

fn history() -> impl Strategy<Value = Vec<Second>> {
    let second =
        (prop_oneof![8 => Just(0), 1 => 1..4_u8], prop_oneof![2 => Just(None), 3 => any::<bool>().prop_map(Some)]);
    prop::collection::vec(second.prop_map(|(unknown_kids, answer)| Second { unknown_kids, answer }), 1..600)
}

/// What must hold, kept beside the cache from what it was told and what it said.
struct Model {
    timing: JwksTiming,
    started_s: Option<u64>,
    in_flight: bool,
    failed_at_s: u64,
    failures: u32,
    /// The second of the next fetch, by the last word of the cache.
    promised_s: Option<u64>,
    /// An unknown kid came, and no fetch was under way.
    is_asked: bool,
}

impl Model {
    /// Before it no fetch may start, and an unknown kid waits no longer.
    fn allowed_s(&self) -> u64 {
        let floor_s = self.started_s.map_or(0, |started_s| started_s + self.timing.floor_s);
        let backoff_s = (0..self.failures).fold(0, |wait_s, _| (wait_s * 2).max(self.timing.floor_s));
        floor_s.max(self.failed_at_s + backoff_s.min(self.timing.max_backoff_s))
    }

    fn fetched(&mut self, now_s: u64, succeeds: bool) {
        (self.in_flight, self.is_asked, self.promised_s) = (false, false, None);
        (self.failed_at_s, self.failures) = if succeeds { (0, 0) } else { (now_s, self.failures + 1) };
    }

    fn unknown_kid(&mut self) {
        self.is_asked |= !self.in_flight;
        self.promised_s = None;
    }

    fn saw(&mut self, now_s: u64, action: Action) -> Result<(), TestCaseError> {
        match action {
            Action::Fetch => {
                prop_assert!(!self.in_flight, "two at once at {now_s}");
                prop_assert!(now_s >= self.allowed_s(), "{now_s} is before {}", self.allowed_s());
                prop_assert!(
                    self.promised_s.is_none_or(|promised_s| promised_s == now_s),
                    "{now_s}, {:?}",
                    self.promised_s
                );
                (self.started_s, self.in_flight) = (Some(now_s), true);
            }
            Action::WaitUntil(until_s) => {
                prop_assert!(!self.in_flight && until_s > now_s);
                prop_assert!(self.promised_s.is_none_or(|promised_s| promised_s == until_s));
                prop_assert!(!self.is_asked || until_s == self.allowed_s(), "an unknown kid waits until {until_s}");
                self.promised_s = Some(until_s);
            }
            Action::AwaitFetched => prop_assert!(self.in_flight),
        }
        Ok(())
    }
}

proptest! {
    /// Single flight, the floor and the backoff hold whatever happens; what an unknown kid asks for comes as soon as
    /// they allow; the keys are always those of the last answer; and `WaitUntil` names the second of the next fetch.
    #[test]
    fn any_history_keeps_the_promises(history in history(), floor_s in 1..20_u64, max_age_s in 1..80_u64) {
        let timing = JwksTiming { max_age_s, floor_s, max_backoff_s: 40 };
        let mut cache = JwksCache::new(timing);
        let mut model = Model {
            timing, started_s: None, in_flight: false, failed_at_s: 0, failures: 0, promised_s: None, is_asked: false,
        };
        let mut last_good = None;
        for (now_s, second) in (0..).zip(history) {
            if let (true, Some(succeeds)) = (model.in_flight, second.answer) {
                model.fetched(now_s, succeeds);
                last_good = if succeeds { Some(now_s) } else { last_good };
                let action = if succeeds {
                    answer(&mut cache, now_s, now_s, None)
                } else {
                    cache.on_fetched(now_s, Err(()))
                };
                model.saw(now_s, action)?;
            }
            for _ in 0..second.unknown_kids {
                model.unknown_kid();
                model.saw(now_s, cache.on_unknown_kid(now_s))?;
            }
            model.saw(now_s, cache.on_tick(now_s))?;
            prop_assert_eq!(generation(cache.keys()), last_good);
        }
    }

    /// While the source answers within a fifth of the age, keys do not reach it.
    #[test]
    fn keys_stay_younger_than_their_age_while_the_source_answers(delay_s in 0..10_u64, max_age_s in 50..200_u64) {
        let mut cache = JwksCache::new(JwksTiming { max_age_s, floor_s: 10, max_backoff_s: 60 });
        let mut answer_at_s = None;
        for now_s in 0..2_000 {
            if answer_at_s == Some(now_s) {
                answer(&mut cache, now_s, now_s, None);
                answer_at_s = None;
            }
            if cache.on_tick(now_s) == Action::Fetch {
                if delay_s == 0 {
                    answer(&mut cache, now_s, now_s, None);
                } else {
                    answer_at_s = Some(now_s + delay_s);
                }
            }
            prop_assert!(cache.age_s(now_s).is_none_or(|age_s| age_s <= max_age_s), "at {now_s}");
        }
    }
}
