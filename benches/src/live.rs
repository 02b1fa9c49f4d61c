//! How far a run is, in a line that is overwritten, where a person looks.

use std::io::{self, IsTerminal, Write};

use carillon_bench::progress::{Progress, Report};

/// Tells it on standard error where that is a terminal.
#[derive(Debug)]
pub struct Live {
    run: String,
}

impl Live {
    /// `run` is what is run.
    pub fn new(run: String) -> Self {
        Self { run }
    }

    /// Takes the line away.
    pub fn clear() {
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Progress for Live {
    fn report(&self, Report { what, done, of, per_second }: Report<'_>) {
        if io::stderr().is_terminal() {
            let _ = write!(io::stderr(), "\r\x1b[K{}: {what} {done} of {of}, {per_second:.0}/s", self.run);
        }
    }
}
