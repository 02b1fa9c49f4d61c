//! The instruments. All but [`SharedCounter`] have one writer: the thread that owns them.
//!
//! A single writer needs no atomic read-modify-write, which would cost a locked instruction: it loads, adds and stores,
//! relaxed. Readers elsewhere see a value that is some moments old and never torn. A second writer would lose counts (no
//! worse), so what several threads count is a [`SharedCounter`].

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Something that only ever grows, written by one thread. It wraps at 2^64.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// What has been counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Something that grows and shrinks, written by one thread.
///
/// It is signed, so that a missing `add` shows as a negative value instead of a huge one.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Raises the value by `n`.
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Lowers the value by `n`.
    pub fn sub(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Replaces the value. Several threads may call it, as long as none of them calls `add` or `sub`.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// As [`set`](Self::set), for what has no sign. What is too large for a gauge is its largest value.
    pub fn set_unsigned(&self, value: u64) {
        self.set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Something that only ever grows, written by any thread. For what is rare: each count is a locked instruction.
#[derive(Debug, Default)]
pub struct SharedCounter(AtomicU64);

impl SharedCounter {
    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// What has been counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauge_goes_below_zero() {
        let gauge = Gauge::default();
        gauge.add(2);
        gauge.sub(3);
        assert_eq!(gauge.get(), -1);
        gauge.set(7);
        assert_eq!(gauge.get(), 7);
        gauge.set_unsigned(u64::MAX);
        assert_eq!(gauge.get(), i64::MAX);
    }
}
