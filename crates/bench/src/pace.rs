//! When publications are due.

use serde::Serialize;

/// How fast is published.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// So many in each second in all, each due at a time that is fixed beforehand, whatever the broker does (open loop). Above
    /// 0.
    PerSecond(f64),
    /// As fast as the broker delivers: so many publications, at least 1, are on their way that not every subscriber has.
    Saturated {
        /// How many.
        window: u64,
    },
}

/// How publications of one turn are put into WebSocket messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Each in one of its own, as client libraries do.
    #[default]
    Each,
    /// All in one, where the protocol allows that.
    Together,
}

/// What is due of one publisher, or of one of many that take turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start_ns: u64,
    /// Between two that are due.
    interval_ns: f64,
    /// This one's place among those that take turns.
    first: u64,
    /// How many take turns.
    stride: u64,
}

impl Schedule {
    pub(crate) fn new(start_ns: u64, per_second: f64, first: u64, stride: u64) -> Self {
        Self { start_ns, interval_ns: 1e9 / per_second, first, stride }
    }

    /// When this one's publication number `index` is due.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few nanoseconds in years"
    )]
    pub(crate) fn due_ns(&self, index: u64) -> u64 {
        self.start_ns + ((index * self.stride + self.first) as f64 * self.interval_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn publishers_share_one_even_pace(per_second in 1.0..1e6f64, stride in 1..20u64, index in 0..1_000_000u32) {
            let index = u64::from(index);
            let start_ns = 1_000_000_000_000;
            let alone = Schedule::new(start_ns, per_second, 0, 1);
            let one_of_many = Schedule::new(start_ns, per_second, index % stride, stride);
            prop_assert_eq!(alone.due_ns(index), one_of_many.due_ns(index / stride));
            let offset = Duration::from_nanos(alone.due_ns(index) - start_ns);
            let exact = f64::from(u32::try_from(index).unwrap()) / per_second;
            prop_assert!((offset.as_secs_f64() - exact).abs() < 1e-6);
        }
    }
}
