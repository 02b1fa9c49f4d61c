//! When to fetch an issuer's JWKS document, and which keys count meanwhile.
//!
//! ```text
//!                 due, or an unknown kid, and the floor is past
//!        Idle ───────────────────────────────────────────────► Fetching
//!         ▲                                                       │
//!         │  Ok: the new keys count; due again before their age   │
//!         └───────────────────────────────────────────────────────┘
//!            Err: the old keys count; due again after a backoff
//! ```
//!
//! Between the starts of two fetches there is always at least the floor, so that tokens with made-up key ids cannot
//! turn the broker against its issuer.

use std::sync::Arc;

use super::key::Key;

/// How an issuer's keys are kept fresh, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JwksTiming {
    /// The age that keys do not reach while their source answers; what the source itself says (`max-age`) counts where
    /// it is shorter.
    pub max_age_s: u64,
    /// The least time between the starts of two fetches.
    pub floor_s: u64,
    /// The longest wait after failures; it doubles with each one from the floor up to this.
    pub max_backoff_s: u64,
}

impl Default for JwksTiming {
    fn default() -> Self {
        Self { max_age_s: 3600, floor_s: 30, max_backoff_s: 600 }
    }
}

impl JwksTiming {
    fn in_order(self) -> Self {
        let floor_s = self.floor_s.max(1);
        Self { floor_s, max_age_s: self.max_age_s.max(floor_s), max_backoff_s: self.max_backoff_s.max(floor_s) }
    }
}

/// A fifth of the age is left for a fetch that takes long or has to be done again.
const fn refresh_after_s(age_s: u64) -> u64 {
    age_s - age_s / 5
}

/// What the caller is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fetch the document now, and report to [`JwksCache::on_fetched`] whatever comes of it, a timeout too. No other
    /// `Fetch` is given before that.
    Fetch,
    /// Nothing before that second. Call [`JwksCache::on_tick`] then.
    WaitUntil(u64),
    /// Nothing before the fetch under way is reported.
    AwaitFetched,
}

/// What a fetch brought.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The keys of the document.
    pub keys: Arc<[Key]>,
    /// `max-age` of the answer's `Cache-Control`, if it had one.
    pub max_age_s: Option<u64>,
}

/// The keys of one issuer and the schedule of their refreshes. It does no I/O and reads no clock: every call takes the
/// time in seconds, from any clock that does not go back.
#[derive(Debug, Clone)]
pub struct JwksCache {
    timing: JwksTiming,
    keys: Option<Arc<[Key]>>,
    /// When the keys that count were fetched.
    fetched_at_s: Option<u64>,
    in_flight: bool,
    /// The next fetch of its own accord; the first is due at once.
    due_at_s: u64,
    /// Before it no fetch starts, whoever asks for one.
    not_before_s: u64,
    /// Failures since the last success.
    failures: u32,
}

impl JwksCache {
    /// A cache without keys, whose first fetch is due at once. A floor of 0 counts as 1.
    pub fn new(timing: JwksTiming) -> Self {
        let timing = timing.in_order();
        Self { timing, keys: None, fetched_at_s: None, in_flight: false, due_at_s: 0, not_before_s: 0, failures: 0 }
    }

    /// Another timing from now on. The keys stay, and their next fetch comes earlier where the new age asks for it; a
    /// floor or a backoff that has begun is kept to its end.
    pub fn set_timing(&mut self, timing: JwksTiming) {
        self.timing = timing.in_order();
        if let Some(fetched_at_s) = self.fetched_at_s {
            self.due_at_s = self.due_at_s.min(fetched_at_s.saturating_add(refresh_after_s(self.timing.max_age_s)));
        }
    }

    /// The keys that count: the last that were fetched, however long ago.
    pub fn keys(&self) -> Option<&Arc<[Key]>> {
        self.keys.as_ref()
    }

    /// How old the keys are, for a metric and an alert: beyond the configured age the source has been down for a while.
    pub fn age_s(&self, now_s: u64) -> Option<u64> {
        Some(now_s.saturating_sub(self.fetched_at_s?))
    }

    /// How many fetches have failed since the last that did not.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Time has passed.
    pub fn on_tick(&mut self, now_s: u64) -> Action {
        if self.in_flight {
            return Action::AwaitFetched;
        }
        let next_s = self.due_at_s.max(self.not_before_s);
        if now_s < next_s {
            return Action::WaitUntil(next_s);
        }
        self.in_flight = true;
        self.not_before_s = now_s.saturating_add(self.timing.floor_s);
        Action::Fetch
    }

    /// A token named a key that none of ours is, or there are no keys yet: the issuer may have new ones. The fetch
    /// comes now, or as soon as the floor or the backoff allows; one under way counts.
    pub fn on_unknown_kid(&mut self, now_s: u64) -> Action {
        self.due_at_s = self.due_at_s.min(now_s);
        self.on_tick(now_s)
    }

    /// The fetch is over. An error keeps the old keys.
    pub fn on_fetched<E>(&mut self, now_s: u64, result: Result<Fetched, E>) -> Action {
        self.in_flight = false;
        if let Ok(Fetched { keys, max_age_s }) = result {
            self.keys = Some(keys);
            self.fetched_at_s = Some(now_s);
            self.failures = 0;
            let age_s = max_age_s.unwrap_or(u64::MAX).clamp(self.timing.floor_s, self.timing.max_age_s);
            self.due_at_s = now_s.saturating_add(refresh_after_s(age_s));
        } else {
            let backoff_s =
                self.timing.floor_s.saturating_mul(1 << self.failures.min(32)).min(self.timing.max_backoff_s);
            self.failures = self.failures.saturating_add(1);
            self.due_at_s = now_s.saturating_add(backoff_s);
            self.not_before_s = self.due_at_s;
        }
        self.on_tick(now_s)
    }
}
