//! Quotas against what they promise, with every time passed in.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{collections::HashMap, time::Duration};

use carillon_access::quota::{Bucket, Count, Excess, Idle, MAX_BURST, Mode, Outcome, Place, Rate, RateError, Table};
use proptest::{collection::vec, prelude::*};

const SECOND_NS: u64 = 1_000_000_000;

/// Rates and bursts from the least to the most.
fn rates() -> impl Strategy<Value = Rate> {
    let per_second = prop_oneof![4 => 1..1_000_u64, 1 => 1..u64::MAX];
    let burst = prop_oneof![4 => 1..50_u64, 1 => 1..=MAX_BURST];
    (per_second, burst).prop_map(|(per_second, burst)| Rate::new(per_second, burst).unwrap())
}

/// A clock that mostly goes on, and at times stands still or goes back.
fn clock(steps: usize) -> impl Strategy<Value = Vec<u64>> {
    let step = prop_oneof![
        6 => (0..SECOND_NS / 20).prop_map(i128::from),
        1 => Just(0),
        1 => (0..10 * SECOND_NS).prop_map(|back| -i128::from(back)),
        1 => (0..u64::MAX / 8).prop_map(i128::from),
    ];
    vec(step, 1..steps).prop_map(|steps| {
        let clock = steps.iter().scan(0_i128, |now, step| {
            *now = (*now + step).max(0);
            Some(u64::try_from(*now).unwrap_or(u64::MAX))
        });
        clock.collect()
    })
}

fn is_within(outcome: Outcome) -> bool {
    outcome == Outcome::Within
}

/// A bucket in fractions that are never rounded: what is there, in billionths, of any size.
struct ExactBucket {
    there: u128,
    at_ns: u64,
}

impl ExactBucket {
    fn take(&mut self, rate: Rate, cost: u64, now_ns: u64) -> bool {
        let given_back = u128::from(now_ns.saturating_sub(self.at_ns)) * u128::from(rate.per_second());
        self.there = (self.there + given_back).min(u128::from(rate.burst()) * u128::from(SECOND_NS));
        self.at_ns = self.at_ns.max(now_ns);
        let left = self.there.checked_sub(u128::from(cost) * u128::from(SECOND_NS));
        self.there = left.unwrap_or(self.there);
        left.is_some()
    }
}

proptest! {
    #[test]
    fn refill_is_exact(rate in rates(), clock in clock(200), costs in vec(0..20_u64, 200)) {
        let mut bucket = Bucket::full(0);
        let mut exact = ExactBucket { there: u128::from(rate.burst()) * u128::from(SECOND_NS), at_ns: 0 };
        for (now_ns, cost) in clock.into_iter().zip(costs) {
            let outcome = bucket.take(&rate, Mode::Enforce, cost, now_ns);
            prop_assert_eq!(is_within(outcome), exact.take(rate, cost, now_ns), "{} at {}", cost, now_ns);
        }
    }

    #[test]
    fn no_window_lets_more_through_than_the_burst_and_the_rate(
        per_second in 1..2_000_u64,
        burst in 1..30_u64,
        steps_ns in vec(0..SECOND_NS / 50, 1..150),
    ) {
        let rate = Rate::new(per_second, burst).unwrap();
        let mut bucket = Bucket::full(0);
        let mut taken_at_ns = Vec::new();
        let mut now_ns = 0;
        for step_ns in steps_ns {
            now_ns += step_ns;
            // As greedy as one can be.
            while is_within(bucket.take(&rate, Mode::Enforce, 1, now_ns)) {
                taken_at_ns.push(now_ns);
            }
        }
        for (first, start_ns) in taken_at_ns.iter().enumerate() {
            for (last, end_ns) in taken_at_ns.iter().enumerate().skip(first) {
                let taken_billionths = u128::try_from(last - first + 1).unwrap() * u128::from(SECOND_NS);
                let most = u128::from(burst) * u128::from(SECOND_NS) + u128::from(per_second * (end_ns - start_ns));
                prop_assert!(taken_billionths <= most, "{} from {} to {}", last - first + 1, start_ns, end_ns);
            }
        }
    }

    #[test]
    fn delay_is_the_shortest_that_helps(rate in rates(), clock in clock(60), costs in vec(1..20_u64, 60)) {
        let mut bucket = Bucket::full(0);
        for (now_ns, cost) in clock.into_iter().zip(costs) {
            let outcome = bucket.take(&rate, Mode::Enforce, cost, now_ns);
            let Outcome::Refused(Excess::Rate { retry_after }) = outcome else { continue };
            let wait_ns = u64::try_from(retry_after.as_nanos()).unwrap();
            prop_assert!(wait_ns > 0);
            let Some(then_ns) = now_ns.checked_add(wait_ns) else { continue };
            prop_assert!(is_within(bucket.clone().take(&rate, Mode::Enforce, cost, then_ns)));
            prop_assert!(!is_within(bucket.clone().take(&rate, Mode::Enforce, cost, then_ns - 1)));
        }
    }

    #[test]
    fn whoever_changes_between_rates_gets_no_more_than_the_largest_of_both(
        one in (1..2_000_u64, 1..30_u64),
        other in (1..2_000_u64, 1..30_u64),
        steps in vec((0..SECOND_NS / 50, any::<bool>()), 1..150),
    ) {
        let largest = Rate::new(one.0.max(other.0), one.1.max(other.1)).unwrap();
        let rates = [one, other].map(|(per_second, burst)| Rate::new(per_second, burst).unwrap());
        let mut bucket = Bucket::full(0);
        let (mut now_ns, mut taken) = (0, 0);
        for (step_ns, is_other) in steps {
            now_ns += step_ns;
            while is_within(bucket.take(&rates[usize::from(is_other)], Mode::Enforce, 1, now_ns)) {
                taken += 1;
            }
            let most = largest.burst() + largest.per_second() * now_ns / SECOND_NS;
            prop_assert!(taken <= most, "{} and not {} at {}", taken, most, now_ns);
        }
    }

    #[test]
    fn clock_that_goes_back_gives_nothing(rate in rates(), there_ns in 0..u64::MAX, back_ns in 0..u64::MAX) {
        let mut bucket = Bucket::full(there_ns);
        prop_assert!(is_within(bucket.take(&rate, Mode::Enforce, rate.burst(), there_ns)));
        let earlier_ns = there_ns.saturating_sub(back_ns);
        prop_assert!(!is_within(bucket.take(&rate, Mode::Enforce, 1, earlier_ns)));
        prop_assert!(!is_within(bucket.take(&rate, Mode::Enforce, 1, there_ns)));
    }

    #[test]
    fn table_with_room_answers_like_one_bucket_for_each_key(
        rate in rates(),
        mut clock in clock(300),
        keys in vec(0..20_u8, 300),
    ) {
        clock.sort_unstable();
        let mut table = Table::new(20, Bucket::full(0));
        let mut all = HashMap::new();
        for (now_ns, key) in clock.into_iter().zip(keys) {
            let (place, bucket) = table.entry(&key, &rate, now_ns, Bucket::full);
            let outcome = bucket.take(&rate, Mode::Enforce, 1, now_ns);
            let expected = all.entry(key).or_insert(Bucket::full(0)).take(&rate, Mode::Enforce, 1, now_ns);
            prop_assert!(!place.is_shared());
            prop_assert_eq!(outcome, expected, "{} at {}", key, now_ns);
        }
    }

    #[test]
    fn table_keeps_its_bound_and_every_count(steps in vec((0..30_u8, any::<bool>()), 1..400), most in 0..12_u32) {
        let mut table = Table::new(most, Count::default());
        let mut held: Vec<(u8, Place)> = Vec::new();
        for (key, enters) in steps {
            if enters {
                let (place, count) = table.entry(&key, &(), 0, |_| Count::default());
                prop_assert!(is_within(count.enter(u64::MAX, Mode::Enforce)));
                held.push((key, place));
            } else if let Some(at) = held.iter().position(|(held, _)| *held == key) {
                table.get_mut(held.swap_remove(at).1).unwrap().leave(1);
            }
            prop_assert!(table.len() <= most as usize);
            for (key, place) in &held {
                let same = held.iter().filter(|it| it.1 == *place);
                prop_assert!(place.is_shared() || same.clone().all(|it| it.0 == *key), "{}'s is not its own", key);
                let expected = u64::try_from(same.count()).unwrap();
                prop_assert_eq!(table.get_mut(*place).unwrap().get(), expected);
            }
        }
    }
}

#[test]
fn numbers_that_are_no_rate_are_refused() {
    assert_eq!(Rate::new(0, 1), Err(RateError::NoRate));
    assert_eq!(Rate::new(1, 0), Err(RateError::Burst(0)));
    assert_eq!(Rate::new(1, MAX_BURST + 1), Err(RateError::Burst(MAX_BURST + 1)));
    assert!(Rate::new(u64::MAX, MAX_BURST).is_ok());
}

#[test]
fn what_is_larger_than_the_burst_never_fits() {
    let rate = Rate::new(1_000, 10).unwrap();
    let mut bucket = Bucket::full(0);
    for cost in [11, u64::MAX] {
        assert_eq!(bucket.take(&rate, Mode::Enforce, cost, u64::MAX), Outcome::Refused(Excess::TooLarge));
    }
    assert_eq!(bucket.take(&rate, Mode::Enforce, 10, u64::MAX), Outcome::Within);
}

#[test]
fn reports_are_what_would_have_been_refused() {
    let rate = Rate::new(1, 1).unwrap();
    let mut enforced = Bucket::full(0);
    let mut reported = Bucket::full(0);
    for now_ns in (0..20).map(|step| step * SECOND_NS / 4) {
        let refused = enforced.take(&rate, Mode::Enforce, 1, now_ns);
        let outcome = reported.take(&rate, Mode::ReportOnly, 1, now_ns);
        assert!(outcome.is_let_through());
        assert_eq!(outcome.excess(), refused.excess(), "at {now_ns}");
    }
    assert_eq!(enforced, reported);
}

#[test]
fn what_is_given_back_can_be_taken_again_and_no_more() {
    let rate = Rate::new(1, 2).unwrap();
    let mut bucket = Bucket::full(0);
    assert!(is_within(bucket.take(&rate, Mode::Enforce, 2, 0)));
    bucket.give_back(1);
    assert!(is_within(bucket.take(&rate, Mode::Enforce, 1, 0)));
    assert!(!is_within(bucket.take(&rate, Mode::Enforce, 1, 0)));
    bucket.give_back(u64::MAX);
    assert!(is_within(bucket.take(&rate, Mode::Enforce, 2, 0)));
    assert!(!is_within(bucket.take(&rate, Mode::Enforce, 1, 0)));
}

#[test]
fn new_rate_holds_at_once_for_what_was_taken() {
    let wide = Rate::new(100, 100).unwrap();
    let narrow = Rate::new(1, 2).unwrap();
    let mut bucket = Bucket::full(0);
    assert!(is_within(bucket.take(&wide, Mode::Enforce, 100, 0)));
    bucket.fit(&narrow);
    let refused = Outcome::Refused(Excess::Rate { retry_after: Duration::from_secs(1) });
    assert_eq!(bucket.take(&narrow, Mode::Enforce, 1, 0), refused);
    assert!(is_within(bucket.take(&narrow, Mode::Enforce, 1, SECOND_NS)));
    assert!(bucket.is_full(&narrow, 10 * SECOND_NS));
    assert_eq!(bucket.take(&wide, Mode::Enforce, 100, 10 * SECOND_NS), Outcome::Within);
}

#[test]
fn flood_of_keys_shares_one_entry_and_those_before_keep_theirs() {
    let rate = Rate::new(1, 3).unwrap();
    let mut table = Table::new(10, Bucket::full(0));
    for key in 0..10 {
        let (place, bucket) = table.entry(&key, &rate, 0, Bucket::full);
        assert!(is_within(bucket.take(&rate, Mode::Enforce, 1, 0)) && !place.is_shared());
    }
    let through = (10..10_000).filter(|key| {
        let (place, bucket) = table.entry(key, &rate, 0, Bucket::full);
        assert!(place.is_shared());
        is_within(bucket.take(&rate, Mode::Enforce, 1, 0))
    });
    assert_eq!(through.count(), 3, "one burst for all of them");
    assert_eq!(table.len(), 10);
    let (_, bucket) = table.entry(&0, &rate, 0, Bucket::full);
    assert!(is_within(bucket.take(&rate, Mode::Enforce, 2, 0)));
}

#[test]
fn idle_entries_make_room_and_their_places_reach_nobody_else() {
    let rate = Rate::new(1, 1).unwrap();
    let mut table = Table::new(1, Bucket::full(0));
    let (first, bucket) = table.entry(&'a', &rate, 0, Bucket::full);
    assert!(is_within(bucket.take(&rate, Mode::Enforce, 1, 0)));
    assert!(table.entry(&'b', &rate, SECOND_NS - 1, Bucket::full).0.is_shared());
    let (second, bucket) = table.entry(&'b', &rate, SECOND_NS, Bucket::full);
    assert!(!second.is_shared() && bucket.is_idle(&rate, SECOND_NS));
    assert_eq!(table.get_mut(first), None);
    assert!(table.get_mut(second).is_some());
}

#[test]
fn clock_that_goes_back_gives_no_forgotten_key_the_same_time_twice() {
    let rate = Rate::new(1, 1).unwrap();
    let mut table = Table::new(10, Bucket::full(0));
    let mut take = |key, now_ns| {
        let (_, bucket) = table.entry(&key, &rate, now_ns, Bucket::full);
        is_within(bucket.take(&rate, Mode::Enforce, 1, now_ns))
    };
    assert!(take('a', 0));
    assert!(take('b', SECOND_NS), "and `a` is forgotten");
    assert!(take('c', 0));
    assert!(take('a', 0));
    assert!(!take('a', SECOND_NS), "this second has given its one already");
}

#[test]
fn longest_rest_and_fastest_rate_fill_the_bucket_and_no_more() {
    let rate = Rate::new(1 << 32, 5).unwrap();
    let mut bucket = Bucket::full(0);
    assert!(is_within(bucket.take(&rate, Mode::Enforce, 5, 0)));
    // What comes back is 2^64 billionths, which 64 bits cannot hold.
    assert!(is_within(bucket.take(&rate, Mode::Enforce, 5, 1 << 32)));
    assert!(!is_within(bucket.take(&rate, Mode::Enforce, 1, 1 << 32)));
}

#[test]
fn table_follows_the_busy_keys_without_being_full() {
    let rate = Rate::new(1, 1).unwrap();
    let mut table = Table::new(u32::MAX, Bucket::full(0));
    let mut longest = 0;
    for key in 0..100_000_u64 {
        // A hundred new keys for each second that a bucket needs to be full.
        let now_ns = key * SECOND_NS / 100;
        let (_, bucket) = table.entry(&key, &rate, now_ns, Bucket::full);
        assert!(is_within(bucket.take(&rate, Mode::Enforce, 1, now_ns)));
        longest = longest.max(table.len());
    }
    assert!(longest < 150, "{longest}");
}
