//! Connections as they come: TCP, TLS, the upgrade, the first word of the protocol.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use serde::Serialize;

use crate::{
    Dialect, Run, RunError, Tickets,
    clock::now_ns,
    connection::Opener,
    crew::Crew,
    load::Load,
    meter::Meter,
    outcome::{ConnectOutcome, Warning},
    workload::{
        keeping::{End, Keeping, OpeningTally, Wanted},
        watching::{per_second, watched},
    },
};

/// From when connections are closed until the server has done with them.
const SETTLING: Duration = Duration::from_millis(500);
/// So many are opened at once where it is not measured.
pub(super) const AT_ONCE: usize = 64;

/// When connections are due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// So many are under way at once, at least 1; when one is ready, the next is due.
    AtOnce(usize),
    /// So many in each second, whatever the broker does (open loop). Above 0.
    PerSecond(f64),
}

impl Arrivals {
    fn check(self) -> Result<(), RunError> {
        match self {
            Self::AtOnce(0) => Err(RunError::Settings("at least one connection must be under way at once".to_owned())),
            Self::PerSecond(rate) if !(rate.is_finite() && rate > 0.0) => {
                Err(RunError::Settings("the pace must be above 0 connections for each second".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// Opens connections, and holds them until all are ready.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Connect {
    /// How many; at least 1.
    pub connections: usize,
    /// When they are due.
    pub arrivals: Arrivals,
    /// With tickets, each resumes a session: as many connections are opened and closed before.
    pub tickets: Tickets,
    /// Also subscribe each to a topic of its own.
    pub subscribe: bool,
}

impl Default for Connect {
    fn default() -> Self {
        Self { connections: 1_000, arrivals: Arrivals::AtOnce(32), tickets: Tickets::Never, subscribe: false }
    }
}

impl Connect {
    /// Runs it.
    pub async fn run<D: Dialect>(&self, run: &Run<'_, D>) -> Result<ConnectOutcome, RunError> {
        self.arrivals.check()?;
        if self.connections == 0 {
            return Err(RunError::Settings("there must be at least one connection".to_owned()));
        }
        let load = Load::new(run, self.tickets);
        let crew = crew(run, &load).await?;
        let meter = Meter::new(run.server, crew.thread_ids())?;
        if self.tickets == Tickets::Kept {
            self.gather_tickets(run, &load, &crew).await?;
        }
        let wanted = self.wanted(self.arrivals);
        let before = meter.read()?;
        let opening = open(run, &load, &crew, wanted, "connected").await?;
        let used = meter.since(&before)?;

        let mut common = load.common();
        common.seconds = Duration::from_nanos(opening.last_ns.saturating_sub(wanted.start_ns)).as_secs_f64();
        let latency = opening.tally.latencies.quantiles();
        let server_us_for_each_connection = used.server_ns_for_each(load.ready()).map(|nanos| nanos / 1e3);
        used.tell(&mut common, Some(&opening.tally.lag), latency.p99_ms);
        warn_of_full_handshakes(&mut common, self.tickets);
        Ok(ConnectOutcome {
            ready_per_second: per_second(load.ready(), common.seconds),
            latency,
            server_us_for_each_connection,
            common,
        })
    }

    fn wanted(&self, arrivals: Arrivals) -> Wanted {
        Wanted { first: 0, count: self.connections, arrivals, subscribe: self.subscribe, start_ns: now_ns() }
    }

    /// Opens and closes as many connections as are measured then, so that each of those has a ticket.
    async fn gather_tickets<D: Dialect>(
        &self,
        run: &Run<'_, D>,
        load: &Arc<Load<D>>,
        crew: &Crew<Keeping<D>>,
    ) -> Result<(), RunError> {
        load.target.gather_tickets_only(true);
        open(run, load, crew, self.wanted(Arrivals::AtOnce(AT_ONCE)), "tickets gathered").await?;
        // Tickets come behind the handshake.
        sleep(SETTLING).await;
        crew.each(|keeping| async move { keeping.end(End::Close) }).await?;
        sleep(SETTLING).await;
        load.target.gather_tickets_only(false);
        load.forget_handshakes();
        Ok(())
    }
}

/// Starts the threads.
pub(super) async fn crew<D: Dialect>(run: &Run<'_, D>, load: &Arc<Load<D>>) -> Result<Crew<Keeping<D>>, RunError> {
    let load = Arc::clone(load);
    Crew::start(run.threads.max(1), move |thread| Keeping::new(thread, Opener::new(load))).await
}

/// Opens connections by all threads.
pub(super) async fn open<D: Dialect>(
    run: &Run<'_, D>,
    load: &Arc<Load<D>>,
    crew: &Crew<Keeping<D>>,
    wanted: Wanted,
    what: &str,
) -> Result<OpeningTally, RunError> {
    let opening = crew.each(move |keeping| keeping.open(wanted));
    let before = load.ready();
    let tallies = watched(opening, run.progress, what, wanted.count as u64, || load.ready() - before).await?;
    Ok(OpeningTally::of_all(tallies.into_iter().collect::<Result<_, _>>()?))
}

/// Warns where sessions should have been resumed and were not.
pub(super) fn warn_of_full_handshakes(common: &mut crate::outcome::Common, tickets: Tickets) {
    let (full, resumed) = (common.tls.full, common.tls.resumed);
    if tickets == Tickets::Kept && full > 0 {
        common.warnings.push(Warning::NotResumed { full, of: full + resumed });
    }
}
