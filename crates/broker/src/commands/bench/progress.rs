//! How far a run is: one line on standard error, where that is a terminal.

use std::io::{self, IsTerminal, Write};

use carillon_bench::progress::{Progress, Report};

/// A line that is written over until a part of the run is over.
#[derive(Debug)]
pub(super) struct Line {
    is_shown: bool,
}

impl Line {
    pub(super) fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal() }
    }
}

impl Progress for Line {
    fn report(&self, report: Report<'_>) {
        if self.is_shown {
            let Report { what, done, of, per_second } = report;
            let end = if done >= of { "\n" } else { "" };
            // That it cannot be shown is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K{what}: {done} of {of}, {per_second:.0}/s{end}");
        }
    }
}
