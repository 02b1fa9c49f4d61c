//! What is to be sent when.

use std::str::FromStr;

/// The stamp at the start of each payload.
pub(crate) const STAMP_BYTES: usize = 16;
/// Between two bursts of one topic.
pub(crate) const BURST_EVERY_NS: u64 = 1_000_000;
/// Of one burst: what is more is due in the next.
const BURST_BYTES: usize = 256 << 10;
const MAX_PAYLOAD_BYTES: usize = 16 << 20;
const NS_PER_SECOND: f64 = 1e9;

/// Messages to one topic at a rate: number `n` is due `n / per_second` after the start, whether or not those before were late.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) topic: String,
    pub(crate) messages: u64,
    /// Infinite: all are due at once, and go as the sockets take them.
    pub(crate) per_second: f64,
    pub(crate) payload_bytes: usize,
    /// Of `CLOCK_MONOTONIC`.
    pub(crate) start_ns: u64,
    /// How many have been sent.
    pub(crate) sent: u64,
}

impl Order {
    /// How many are to be sent now, at most a burst.
    pub(crate) fn due(&self, now_ns: u64) -> u64 {
        let Some(since) = now_ns.checked_sub(self.start_ns) else { return 0 };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            clippy::cast_possible_truncation,
            reason = "a cast saturates"
        )]
        let before = if self.per_second.is_finite() {
            (since as f64 * self.per_second / NS_PER_SECOND) as u64
        } else {
            u64::MAX
        };
        let all = before.saturating_add(1).min(self.messages);
        let burst = (BURST_BYTES / self.payload_bytes).max(1) as u64;
        all.saturating_sub(self.sent).min(burst)
    }

    /// When a message is due.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "a cast saturates"
    )]
    pub(crate) fn due_ns(&self, number: u64) -> u64 {
        self.start_ns.saturating_add((number as f64 * NS_PER_SECOND / self.per_second) as u64)
    }

    /// Whether all of it is done.
    pub(crate) fn is_done(&self) -> bool {
        self.sent >= self.messages
    }

    /// Writes the payload of a message.
    pub(crate) fn write_payload(&self, number: u64, now_ns: u64, out: &mut Vec<u8>) {
        // Without a rate nothing is ever late: what counts is when it was written.
        let due_ns = if self.per_second.is_finite() { self.due_ns(number) } else { now_ns };
        out.extend_from_slice(&due_ns.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        let [number @ .., _, _] = number.to_le_bytes();
        out.extend_from_slice(&number);
        out.resize(out.len() + self.payload_bytes - STAMP_BYTES, 0);
    }
}

impl FromStr for Order {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(());
        let order = Self {
            topic: word()?.to_owned(),
            messages: word()?.parse().map_err(drop)?,
            per_second: word()?.parse().map_err(drop)?,
            payload_bytes: word()?.parse().map_err(drop)?,
            start_ns: word()?.parse().map_err(drop)?,
            sent: 0,
        };
        let is_good = order.per_second > 0.0 && (STAMP_BYTES..=MAX_PAYLOAD_BYTES).contains(&order.payload_bytes);
        if is_good { Ok(order) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(per_second: f64, payload_bytes: usize) -> Order {
        Order { topic: "a".to_owned(), messages: 1000, per_second, payload_bytes, start_ns: 5_000_000_000, sent: 0 }
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for text in [
            "",
            "a 1 1 16",
            "a 1 0 16 0",
            "a 1 NaN 16 0",
            "a 1 -1 16 0",
            "a 1 1 15 0",
            "a x 1 16 0",
            "a 1 1 99999999999 0",
        ] {
            assert_eq!(text.parse::<Order>(), Err(()), "{text:?}");
        }
        assert!("a 1 inf 16 7".parse::<Order>().unwrap().per_second.is_infinite());
    }

    #[test]
    fn a_payload_begins_with_its_stamp() {
        let order = order(1000.0, 20);
        let mut payload = Vec::new();
        order.write_payload(3, 0, &mut payload);
        let mut expected = 5_003_000_000_u64.to_le_bytes().to_vec();
        expected.extend_from_slice(&[0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(payload, expected);
    }

    #[test]
    fn nothing_is_due_before_the_start() {
        assert_eq!(order(1e9, 16).due(4_999_999_999), 0);
    }

    #[test]
    fn without_a_rate_all_is_due_burst_by_burst() {
        let mut order = order(f64::INFINITY, 16 << 10);
        let mut bursts = 0;
        while !order.is_done() {
            order.sent += order.due(order.start_ns);
            bursts += 1;
        }
        assert_eq!((order.sent, bursts), (1000, 63));
    }

    proptest! {
        #[test]
        fn none_is_sent_early_and_none_stays_due(
            per_second in 0.5..1e6_f64,
            waits in proptest::collection::vec(0..50_000_000_u64, 1..200),
        ) {
            let mut order = order(per_second, 16);
            let mut now = order.start_ns;
            for wait in waits {
                now += wait;
                while order.due(now) > 0 {
                    order.sent += order.due(now);
                    // Rounding of a due time to whole nanoseconds is one at most.
                    prop_assert!(order.due_ns(order.sent - 1) <= now + 1);
                }
                prop_assert!(order.is_done() || order.due_ns(order.sent) + 1 >= now);
            }
        }
    }
}
