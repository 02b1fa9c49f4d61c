//! How many there are at once.

use super::{
    outcome::{Excess, Mode, Outcome},
    table::Idle,
};

/// How many of something there are at once. Whoever [`enter`](Self::enter)s and is let through [`leave`](Self::leave)s
/// once; nothing here does so by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count(u64);

impl Count {
    /// Counts one more, unless there are `most` already. What is only reported is counted, because it is there.
    pub fn enter(&mut self, most: u64, mode: Mode) -> Outcome {
        let outcome = if self.0 < most { Outcome::Within } else { Outcome::over(mode, Excess::Count) };
        if outcome.is_let_through() {
            self.0 = self.0.saturating_add(1);
        }
        outcome
    }

    /// Counts so many less; one too many is harmless.
    pub const fn leave(&mut self, number: u64) {
        self.0 = self.0.saturating_sub(number);
    }

    /// How many there are.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Idle for Count {
    type Limits = ();

    fn is_idle(&self, (): &(), _now_ns: u64) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_than_the_most_is_refused_until_one_leaves() {
        let mut count = Count::default();
        assert_eq!(count.enter(2, Mode::Enforce), Outcome::Within);
        assert_eq!(count.enter(2, Mode::Enforce), Outcome::Within);
        assert_eq!(count.enter(2, Mode::Enforce), Outcome::Refused(Excess::Count));
        assert_eq!(count.get(), 2);
        count.leave(1);
        assert_eq!(count.enter(2, Mode::Enforce), Outcome::Within);
    }

    #[test]
    fn what_is_only_reported_is_there_and_leaves_again() {
        let mut count = Count::default();
        assert_eq!(count.enter(0, Mode::ReportOnly), Outcome::Reported(Excess::Count));
        assert_eq!(count.get(), 1);
        count.leave(1);
        assert!(count.is_idle(&(), 0));
    }

    #[test]
    fn leaving_once_too_often_gives_nobody_more_room() {
        let mut count = Count::default();
        count.leave(1);
        assert_eq!(count.enter(1, Mode::Enforce), Outcome::Within);
        assert_eq!(count.enter(1, Mode::Enforce), Outcome::Refused(Excess::Count));
    }
}
