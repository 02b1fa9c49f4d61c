//! All connections are cut, and come back.

use std::time::Duration;

use tokio::time::sleep;

use serde::Serialize;

use crate::{
    Dialect, Run, RunError, Tickets,
    clock::now_ns,
    load::Load,
    meter::Meter,
    outcome::StormOutcome,
    workload::{
        connect::{AT_ONCE, Arrivals, crew, open, warn_of_full_handshakes},
        keeping::{End, Wanted},
    },
};

/// From when all are there until they are cut: their tickets have come by then, and the server is at rest.
const SETTLING: Duration = Duration::from_secs(1);

/// Opens and subscribes connections, cuts all at once with a reset, and has all come back at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Storm {
    /// How many; at least 1.
    pub connections: usize,
    /// Whether they resume their TLS sessions.
    pub tickets: Tickets,
}

impl Default for Storm {
    fn default() -> Self {
        Self { connections: 1_000, tickets: Tickets::Kept }
    }
}

impl Storm {
    /// Runs it.
    pub async fn run<D: Dialect>(&self, run: &Run<'_, D>) -> Result<StormOutcome, RunError> {
        if self.connections == 0 {
            return Err(RunError::Settings("there must be at least one connection".to_owned()));
        }
        let load = Load::new(run, self.tickets);
        let crew = crew(run, &load).await?;
        let meter = Meter::new(run.server, crew.thread_ids())?;
        let wanted =
            |arrivals| Wanted { first: 0, count: self.connections, arrivals, subscribe: true, start_ns: now_ns() };
        load.target.gather_tickets_only(true);
        open(run, &load, &crew, wanted(Arrivals::AtOnce(AT_ONCE)), "connected").await?;
        sleep(SETTLING).await;
        load.target.gather_tickets_only(false);
        load.forget_handshakes();

        let before = meter.read()?;
        // All are due now: the time that cutting them takes is a part of the storm.
        let back = wanted(Arrivals::PerSecond(f64::INFINITY));
        crew.each(|keeping| async move { keeping.end(End::Cut) }).await?;
        let opening = open(run, &load, &crew, back, "back").await?;
        let used = meter.since(&before)?;

        let mut common = load.common();
        common.seconds = Duration::from_nanos(opening.last_ns.saturating_sub(back.start_ns)).as_secs_f64();
        let latency = opening.tally.latencies.quantiles();
        let server_us_for_each_connection = used.server_ns_for_each(load.ready()).map(|nanos| nanos / 1e3);
        // How late each was begun is what a storm is; it says nothing of the load.
        used.tell(&mut common, None, latency.p99_ms);
        warn_of_full_handshakes(&mut common, self.tickets);
        Ok(StormOutcome { seconds_until_last: common.seconds, latency, server_us_for_each_connection, common })
    }
}
