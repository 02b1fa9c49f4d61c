//! What a command tells while something takes long: one line on standard error, where that is a terminal.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// Often enough for whoever waits, and no work for the terminal.
const INTERVAL: Duration = Duration::from_millis(200);
/// What is done by then tells nothing but its end.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line that is written over, and gone at the end.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    begun: Instant,
    last: Option<Instant>,
}

impl Progress {
    /// Shows something if `is_wanted`, and standard error is a terminal.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { is_shown: is_wanted && io::stderr().is_terminal(), begun: Instant::now(), last: None }
    }

    /// Shows a line, unless one was shown just now.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        let is_due = self.last.map_or(self.begun.elapsed() >= PATIENCE, |last| last.elapsed() >= INTERVAL);
        if self.is_shown && is_due {
            self.last = Some(Instant::now());
            write(&line());
        }
    }

    /// Takes the line away, for something that stays.
    pub(super) fn clear(&mut self) {
        if self.last.take().is_some() {
            write("");
        }
    }

    /// Waits for something, and shows for how long.
    pub(super) async fn during<T>(mut self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(PATIENCE);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => {
                    let seconds = self.begun.elapsed().as_secs();
                    self.show(|| format!("{what}: {seconds} s"));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn write(line: &str) {
    // That it cannot be shown is no reason to stop.
    let _ = write!(io::stderr(), "\r\x1b[K{line}");
}
