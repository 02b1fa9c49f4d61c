//! Connections that do nothing.

use std::time::Duration;

use tokio::time::sleep;

use serde::Serialize;

use crate::{
    Dialect, Run, RunError, Tickets,
    clock::now_ns,
    load::Load,
    meter::Meter,
    outcome::IdleOutcome,
    workload::{
        connect::{AT_ONCE, Arrivals, crew, open},
        keeping::Wanted,
        watching::Teller,
    },
};

/// From when connections are there until the server is at rest.
const SETTLING: Duration = Duration::from_secs(2);
/// How often is told that it idles.
const TELL: Duration = Duration::from_millis(500);

/// Opens connections, each subscribed to a topic of its own, and has them be there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Idle {
    /// How many; at least 1.
    pub connections: usize,
    /// How long they idle; above 0.
    pub seconds: f64,
    /// Connections that are opened before memory is looked at, so that what the server makes once is not counted.
    pub warm_up: usize,
}

impl Default for Idle {
    fn default() -> Self {
        Self { connections: 1_000, seconds: 10.0, warm_up: 10 }
    }
}

impl Idle {
    /// Runs it.
    pub async fn run<D: Dialect>(&self, run: &Run<'_, D>) -> Result<IdleOutcome, RunError> {
        let idling = Duration::try_from_secs_f64(self.seconds).ok().filter(|idling| !idling.is_zero());
        let (Some(idling), 1..) = (idling, self.connections) else {
            let wrong = "there must be at least one connection, and a time above 0 seconds";
            return Err(RunError::Settings(wrong.to_owned()));
        };
        let load = Load::new(run, Tickets::Never);
        let crew = crew(run, &load).await?;
        let meter = Meter::new(run.server, crew.thread_ids())?;
        let wanted = |first, count| Wanted {
            first,
            count,
            arrivals: Arrivals::AtOnce(AT_ONCE),
            subscribe: true,
            start_ns: now_ns(),
        };
        if self.warm_up > 0 {
            open(run, &load, &crew, wanted(0, self.warm_up), "warmed up").await?;
            sleep(SETTLING).await;
        }
        let without = meter.read()?.resident_kib();
        open(run, &load, &crew, wanted(self.warm_up, self.connections), "connected").await?;
        sleep(SETTLING).await;

        let before = meter.read()?;
        idle(run, idling).await;
        let used = meter.since(&before)?;
        let mut common = load.common();
        common.seconds = used.seconds;
        let (count, all) = (as_f64(self.connections), as_f64(self.connections + self.warm_up));
        let resident = without.zip(before.resident_kib());
        let server_us_for_each_second = used.server.map(|cost| micros(cost.cpu_ns) / all / used.seconds);
        used.tell(&mut common, None, 0.0);
        Ok(IdleOutcome {
            resident_kib_for_each: resident.map(|(without, with)| as_f64_u64(with.saturating_sub(without)) / count),
            server_us_for_each_second,
            common,
        })
    }
}

async fn idle<D>(run: &Run<'_, D>, idling: Duration) {
    let mut teller = Teller::new(run.progress, "seconds idle", idling.as_secs());
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < idling {
        sleep(TELL.min(idling.saturating_sub(begun.elapsed()))).await;
        teller.tell(begun.elapsed().as_secs(), begun.elapsed() >= idling);
    }
}

fn micros(nanos: u64) -> f64 {
    as_f64_u64(nanos) / 1e3
}

fn as_f64(count: usize) -> f64 {
    as_f64_u64(count as u64)
}

#[allow(clippy::cast_precision_loss, reason = "a mean for people")]
fn as_f64_u64(number: u64) -> f64 {
    number as f64
}
