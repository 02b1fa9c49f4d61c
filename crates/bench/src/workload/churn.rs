//! Subscriptions or connections that come and go.

mod rounds;

use std::{sync::Arc, time::Duration};

use self::rounds::{Churning, Rounds};
use serde::Serialize;

use crate::{
    Dialect, Run, RunError, Tickets,
    clock::now_ns,
    connection::Opener,
    crew::Crew,
    latency::Tally,
    load::Load,
    meter::Meter,
    outcome::ChurnOutcome,
    workload::watching::{Teller, per_second},
};

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChurnOf {
    /// A subscription on a connection that stays: subscribe, publish, read, unsubscribe.
    Subscriptions,
    /// A whole connection: connect, subscribe, publish, read, disconnect.
    Connections,
}

/// Has subscriptions or connections come and go at a pace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Churn {
    /// What.
    pub of: ChurnOf,
    /// How many in each second, each due at a time that is fixed beforehand (open loop). Above 0.
    pub per_second: f64,
    /// For how long; above 0.
    pub seconds: f64,
    /// For subscriptions: connections that they are on; at least 1. Each has one subscription at a time.
    pub connections: usize,
}

impl Default for Churn {
    fn default() -> Self {
        Self { of: ChurnOf::Subscriptions, per_second: 100.0, seconds: 10.0, connections: 10 }
    }
}

impl Churn {
    /// Runs it.
    pub async fn run<D: Dialect>(&self, run: &Run<'_, D>) -> Result<ChurnOutcome, RunError> {
        let expected = self.check(&run.dialect)?;
        let load = Load::new(run, Tickets::Never);
        let crew = {
            let load = Arc::clone(&load);
            Crew::start(run.threads.max(1), move |thread| Rounds::new(thread, Opener::new(load))).await?
        };
        let meter = Meter::new(run.server, crew.thread_ids())?;
        let churning = Arc::new(Churning::new(self, expected, now_ns()));
        let before = meter.read()?;

        let working = Arc::clone(&churning);
        let working = crew.each(|rounds| rounds.go_round(working));
        let mut working = std::pin::pin!(working);
        let mut teller = Teller::new(run.progress, "rounds", expected);
        let mut resident_kib = Vec::new();
        let tallies = loop {
            tokio::select! {
                tallies = &mut working => break tallies?,
                () = tokio::time::sleep(LOOK) => {
                    resident_kib.extend(meter.read()?.resident_kib());
                    teller.tell(churning.done(), false);
                }
            }
        };
        teller.tell(churning.done(), true);
        let used = meter.since(&before)?;

        let mut tally = Tally::default();
        for thread in tallies {
            tally.add(&thread?);
        }
        let mut common = load.common();
        common.seconds = used.seconds;
        let latency = tally.latencies.quantiles();
        let done = churning.done();
        let server_us_for_each = used.server_ns_for_each(done).map(|nanos| nanos / 1e3);
        used.tell(&mut common, Some(&tally.lag), latency.p99_ms);
        Ok(ChurnOutcome {
            expected,
            done,
            done_per_second: per_second(done, common.seconds),
            latency,
            server_us_for_each,
            resident_growth_kib: growth(&resident_kib),
            common,
        })
    }

    /// How many rounds there are.
    fn check<D: Dialect>(&self, dialect: &D) -> Result<u64, RunError> {
        let rounds = self.per_second * self.seconds;
        if !(rounds.is_finite() && self.per_second > 0.0 && rounds >= 1.0) {
            let wrong = "pace and time must be above 0, and make one round at least";
            return Err(RunError::Settings(wrong.to_owned()));
        }
        if self.of == ChurnOf::Subscriptions {
            if self.connections == 0 {
                return Err(RunError::Settings("there must be at least one connection".to_owned()));
            }
            if !dialect.unsubscribe("a", 1, 2, &mut Vec::new()) {
                return Err(RunError::Unsupported { dialect: dialect.name(), what: "way to end a subscription" });
            }
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is finite and above 0")]
        Ok(rounds as u64)
    }
}

/// The mean of the last quarter less that of the second: the first is when memory is taken that is needed anyway.
fn growth(resident_kib: &[u64]) -> Option<i64> {
    let quarter = resident_kib.len() / 4;
    let mean = |quarters: usize| {
        let samples = resident_kib.get(quarters * quarter..(quarters + 1) * quarter)?;
        i64::try_from(samples.iter().sum::<u64>() / (quarter as u64).max(1)).ok()
    };
    if quarter == 0 { None } else { Some(mean(3)? - mean(1)?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_later_quarters() {
        assert_eq!(growth(&[1, 1, 10, 10, 20, 20, 30, 50]), Some(30));
        assert_eq!(growth(&[9, 8, 7, 6]), Some(-2));
        assert_eq!(growth(&[9, 8, 7]), None);
    }
}
