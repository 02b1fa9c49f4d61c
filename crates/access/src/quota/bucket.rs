//! The token bucket.

use std::{num::NonZeroU64, time::Duration};

use super::{
    outcome::{Excess, Mode, Outcome},
    table::Idle,
};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The largest burst, so that it can be counted in billionths.
pub const MAX_BURST: u64 = u64::MAX / NANOS_PER_SECOND;

/// How fast one may go: in any time `t` in seconds, at most `burst + per_second * t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: NonZeroU64,
    burst: NonZeroU64,
}

/// Why two numbers are no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// Nothing would ever come back.
    #[error("a rate of 0 for each second would never let anything through again; the least is 1")]
    NoRate,
    /// Nothing would ever fit, or more than can be counted.
    #[error("a burst of {0} is out of range; it is 1 to {MAX_BURST}")]
    Burst(u64),
}

impl Rate {
    /// So many for each second, and so many at once after a rest: 1 to [`MAX_BURST`]. What is larger than the burst is
    /// never let through, so a rate of bytes has at least the largest message as its burst.
    pub const fn new(per_second: u64, burst: u64) -> Result<Self, RateError> {
        let Some(per_second) = NonZeroU64::new(per_second) else { return Err(RateError::NoRate) };
        match NonZeroU64::new(burst) {
            Some(burst) if burst.get() <= MAX_BURST => Ok(Self { per_second, burst }),
            _ => Err(RateError::Burst(burst)),
        }
    }

    /// How many for each second.
    pub const fn per_second(self) -> u64 {
        self.per_second.get()
    }

    /// How many at once.
    pub const fn burst(self) -> u64 {
        self.burst.get()
    }

    /// How long an empty bucket takes until it is full, rounded up.
    pub const fn refill_time(self) -> Duration {
        Duration::from_nanos(self.burst_billionths().div_ceil(self.per_second.get()))
    }

    /// Within `u64` because of [`MAX_BURST`].
    const fn burst_billionths(self) -> u64 {
        self.burst.get() * NANOS_PER_SECOND
    }
}

/// A bucket that a [`Rate`] fills and requests empty.
///
/// Who asks with one rate now and with another then gets no more than the largest rate and burst of them would give.
///
/// It counts what was taken in billionths: each nanosecond gives `per_second` of them back, a whole number, so nothing
/// is rounded and nothing drifts, whatever the rate and however often it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// What is missing. Counted like this, a full bucket stays full when the burst changes, whatever the burst.
    missing_billionths: u64,
    /// When that was so. It never goes back.
    at_ns: u64,
}

impl Bucket {
    /// A full one.
    pub const fn full(now_ns: u64) -> Self {
        Self { missing_billionths: 0, at_ns: now_ns }
    }

    /// Takes `cost` if so much is there, and nothing if it is not. A request that is only reported takes nothing
    /// either: the reports are those requests that an enforced limit would have refused.
    pub fn take(&mut self, rate: &Rate, mode: Mode, cost: u64, now_ns: u64) -> Outcome {
        self.refill(rate, now_ns);
        if cost > rate.burst() {
            return Outcome::over(mode, Excess::TooLarge);
        }
        // Within `u64`, because `cost` is within the burst.
        let cost_billionths = cost * NANOS_PER_SECOND;
        let missing = self.missing_billionths.saturating_add(cost_billionths);
        let lacking = missing.saturating_sub(rate.burst_billionths());
        if lacking > 0 {
            // From where the clock was last, lest one that went back promises too early a time.
            let behind_ns = self.at_ns.saturating_sub(now_ns);
            let wait_ns = lacking.div_ceil(rate.per_second()).saturating_add(behind_ns);
            return Outcome::over(mode, Excess::Rate { retry_after: Duration::from_nanos(wait_ns) });
        }
        self.missing_billionths = missing;
        Outcome::Within
    }

    /// Puts back what a request took that is not to count after all, such as a login that did not fail.
    pub const fn give_back(&mut self, cost: u64) {
        let cost_billionths = cost.saturating_mul(NANOS_PER_SECOND);
        self.missing_billionths = self.missing_billionths.saturating_sub(cost_billionths);
    }

    /// For a configuration that has changed: no more is missing than fits into a burst, so that nobody waits for what a
    /// larger one has let through. It is not for one who may choose between rates: he would get the larger burst anew
    /// each time he asked for the smaller one.
    pub fn fit(&mut self, rate: &Rate) {
        self.missing_billionths = self.missing_billionths.min(rate.burst_billionths());
    }

    /// Whether it is full by now; then a new one would say the same.
    pub fn is_full(&self, rate: &Rate, now_ns: u64) -> bool {
        let mut later = *self;
        later.refill(rate, now_ns);
        later.missing_billionths == 0
    }

    fn refill(&mut self, rate: &Rate, now_ns: u64) {
        let given_back = now_ns.saturating_sub(self.at_ns).saturating_mul(rate.per_second());
        self.at_ns = self.at_ns.max(now_ns);
        self.missing_billionths = self.missing_billionths.saturating_sub(given_back);
    }
}

impl Idle for Bucket {
    type Limits = Rate;

    fn is_idle(&self, rate: &Rate, now_ns: u64) -> bool {
        self.is_full(rate, now_ns)
    }
}
