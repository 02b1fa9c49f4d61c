//! What a machine does beside a server and the load on it.

use std::{
    io,
    time::{Duration, Instant},
};

use carillon_bench::process::Usage;

use crate::machine;

/// Looks at all processors from when it is made.
#[derive(Debug)]
pub struct Others {
    server: u32,
    begun: Instant,
    busy: Duration,
    used: Duration,
}

impl Others {
    /// Beside this process and that of the server.
    pub fn begin(server: u32) -> io::Result<Self> {
        Ok(Self { server, begun: Instant::now(), busy: machine::busy()?, used: used(server) })
    }

    /// Processor time of everybody else, for each second since.
    pub fn cores(&self) -> io::Result<f64> {
        let lasted = self.begun.elapsed();
        let used = used(self.server).saturating_sub(self.used);
        let others = machine::busy()?.saturating_sub(self.busy).saturating_sub(used);
        Ok(others.as_secs_f64() / lasted.as_secs_f64())
    }
}

/// By the server and this process, with threads that have ended. A server that has ended has used nothing.
fn used(server: u32) -> Duration {
    let of = |pid| Usage::of(pid).map(|usage| usage.cpu_in_ticks).unwrap_or_default();
    of(server) + of(std::process::id())
}
