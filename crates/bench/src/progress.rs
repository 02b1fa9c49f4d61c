//! What a run tells while it goes on.

/// What is happening now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report<'a> {
    /// What is done, as in `connected`.
    pub what: &'a str,
    /// How much of it.
    pub done: u64,
    /// Of how much.
    pub of: u64,
    /// How much in each second, lately.
    pub per_second: f64,
}

/// Gets reports a few times in each second, and at the end of each part of a run.
pub trait Progress: Sync {
    /// Must not block for long: the clock is running.
    fn report(&self, report: Report<'_>);
}

/// Tells nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _: Report<'_>) {}
}
