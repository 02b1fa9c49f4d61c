//! When to connect again.

use std::time::Duration;

use carillon_wire::code::Return;
use rand::Rng;

/// The longest wait that a broker can ask for; what it tells beyond that is cut, because a number from outside must not put a
/// client to sleep for good.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How a client comes back after its connection was lost.
///
/// The wait before an attempt is drawn evenly from zero to a ceiling, so that many clients that lost the same broker do not come
/// back together ("full jitter"). The ceiling starts at [`base`](Self::base), doubles with each attempt, and stops
/// at [`cap`](Self::cap). It starts over once a connection has lived for [`stable_after`](Self::stable_after): a broker that
/// welcomes and hangs up is not asked faster than one that does not answer. When the broker told how long to stay away, that
/// comes on top (at most an hour of it). When it told to come back at once, the first attempt waits for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// The first ceiling. 250 ms by default; less than 1 ms counts as 1 ms.
    pub base: Duration,
    /// The last ceiling. 30 s by default.
    pub cap: Duration,
    /// How long a connection must have lived for the ceiling to start over. 10 s by default.
    pub stable_after: Duration,
    /// Attempts in a row before the client gives up; no limit by default, and 0 means never to reconnect.
    pub max_attempts: Option<u32>,
}

impl Default for ReconnectPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(250),
            cap: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
            max_attempts: None,
        }
    }
}

impl ReconnectPolicy {
    /// The client ends with its first connection.
    pub fn never() -> Self {
        Self { max_attempts: Some(0), ..Self::default() }
    }
}

/// Counts attempts and draws the waits between them.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: ReconnectPolicy,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(policy: ReconnectPolicy) -> Self {
        Self { policy, attempts: 0 }
    }

    /// A connection ended that had lived for so long.
    pub(crate) fn on_connection_ended(&mut self, lifetime: Duration) {
        if lifetime >= self.policy.stable_after {
            self.attempts = 0;
        }
    }

    /// The wait before the next attempt, or `None` when there is none.
    pub(crate) fn next_delay(
        &mut self,
        advice: Return,
        retry_after: Option<Duration>,
        rng: &mut impl Rng,
    ) -> Option<Duration> {
        if advice == Return::Never || self.policy.max_attempts.is_some_and(|max| self.attempts >= max) {
            return None;
        }
        let is_first = self.attempts == 0;
        let ceiling = self.ceiling();
        self.attempts = self.attempts.saturating_add(1);
        if advice == Return::AtOnce && is_first && retry_after.is_none() {
            return Some(Duration::ZERO);
        }
        let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        let jitter = rng.random_range(Duration::ZERO..=ceiling);
        Some(asked + jitter)
    }

    fn ceiling(&self) -> Duration {
        let base = self.policy.base.max(Duration::from_millis(1));
        let doubled = 1_u32.checked_shl(self.attempts).and_then(|factor| base.checked_mul(factor));
        doubled.unwrap_or(self.policy.cap).min(self.policy.cap.max(base))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(ReconnectPolicy::default())
    }

    proptest! {
        #[test]
        fn waits_stay_below_a_ceiling_that_doubles_up_to_the_cap(seed: u64, attempts in 1_usize..80) {
            let (mut backoff, mut rng) = (backoff(), StdRng::seed_from_u64(seed));
            let mut ceiling = Duration::from_millis(250);
            for _ in 0..attempts {
                let wait = backoff.next_delay(Return::AfterDelay, None, &mut rng).unwrap();
                prop_assert!(wait <= ceiling);
                ceiling = (ceiling * 2).min(Duration::from_secs(30));
            }
        }

        #[test]
        fn what_the_broker_asks_for_is_waited_at_least(seed: u64, attempts in 1_usize..20, asked_ms in 0_u64..3_600_000) {
            let (mut backoff, mut rng) = (backoff(), StdRng::seed_from_u64(seed));
            for _ in 0..attempts {
                let asked = Duration::from_millis(asked_ms);
                let wait = backoff.next_delay(Return::AfterDelay, Some(asked), &mut rng).unwrap();
                prop_assert!(wait >= asked && wait <= asked + Duration::from_secs(30));
            }
        }

        #[test]
        fn a_broker_that_always_says_at_once_is_not_asked_in_a_loop(seed: u64) {
            let (mut backoff, mut rng) = (backoff(), StdRng::seed_from_u64(seed));
            let mut waited = Duration::ZERO;
            for _ in 0..40 {
                backoff.on_connection_ended(Duration::ZERO);
                waited += backoff.next_delay(Return::AtOnce, None, &mut rng).unwrap();
            }
            // 40 attempts wait 8 minutes on average; that they all draw next to nothing does not happen.
            prop_assert!(waited > Duration::from_mins(1));
        }
    }

    #[test]
    fn at_once_waits_for_nothing_after_a_stable_connection() {
        let (mut backoff, mut rng) = (backoff(), StdRng::seed_from_u64(1));
        for _ in 0..3 {
            backoff.on_connection_ended(Duration::from_secs(10));
            assert_eq!(backoff.next_delay(Return::AtOnce, None, &mut rng), Some(Duration::ZERO));
        }
    }

    #[test]
    fn a_delay_that_comes_with_at_once_gets_its_jitter() {
        let mut rng = StdRng::seed_from_u64(1);
        let asked = Duration::from_secs(1);
        assert!(backoff().next_delay(Return::AtOnce, Some(asked), &mut rng).unwrap() > asked);
    }

    #[test]
    fn never_and_the_last_attempt_end_it() {
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(backoff().next_delay(Return::Never, None, &mut rng), None);
        let mut none = Backoff::new(ReconnectPolicy::never());
        assert_eq!(none.next_delay(Return::AtOnce, None, &mut rng), None);
        let mut two = Backoff::new(ReconnectPolicy { max_attempts: Some(2), ..ReconnectPolicy::default() });
        assert!(two.next_delay(Return::AfterDelay, None, &mut rng).is_some());
        assert!(two.next_delay(Return::AfterDelay, None, &mut rng).is_some());
        assert_eq!(two.next_delay(Return::AfterDelay, None, &mut rng), None);
    }

    #[test]
    fn a_wait_of_years_is_cut() {
        let mut rng = StdRng::seed_from_u64(1);
        let wait = backoff().next_delay(Return::AfterDelay, Some(Duration::from_secs(1 << 40)), &mut rng);
        assert!(wait.unwrap() <= MAX_RETRY_AFTER + Duration::from_secs(30));
    }
}
