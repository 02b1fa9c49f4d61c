//! A broker that runs for a point, and the works that are done with it.

use std::{
    io::{self, Error},
    sync::Arc,
    time::Duration,
};

use carillon_bench::{
    Carillon, FanOut, KeyExchange, Pace, Run, Target, Trust,
    outcome::{FanOutOutcome, Outcome},
    process::Usage,
};
use carillon_benches::{
    carillon::{self, TOPICS},
    connection,
    histogram::Histogram,
    live::Live,
    server::Running,
    site::{HOST, Site},
};
use tokio::time::sleep;

use crate::{
    crowd::Crowd,
    curve::Quantity,
    measure::{Figures, Reading, whole},
    names::Kind,
    table,
};

/// After which nothing more is expected.
const SILENCE: Duration = Duration::from_secs(5);
/// Publications that not all subscribers have, when a broker is to be saturated.
const WINDOW: u64 = 2000;
/// What is published to find out how much a saturated broker delivers in a second.
const PROBE_MESSAGES: u64 = 3000;
/// With fewer subscriptions, what one takes in RAM is less than what else comes and goes there.
const COUNTABLE: u64 = 1000;
/// Connections that are opened before memory is looked at, so that what a broker makes once is not counted.
const FIRST: usize = 10;
const SETTLING: Duration = Duration::from_secs(2);
/// From one heartbeat to the next, so that each connection has one: `deadlines.heartbeat_seconds`.
const IDLING: Duration = Duration::from_secs(25);
/// The load's core has hardly a pause above this, and its lateness is in the latencies.
const BUSY: f64 = 0.85;
const LATE: Duration = Duration::from_millis(2);

/// A broker that runs, and how to reach it.
pub(crate) struct Server {
    pub(crate) running: Running,
    token: Arc<str>,
    /// For the load.
    target: Target,
    /// For connections that do little.
    lean: connection::Target,
}

impl Server {
    /// Reaches a broker that was started.
    pub(crate) fn of(running: Running, site: &Site) -> io::Result<Self> {
        let trust = Trust::CaFile(site.authority());
        let target = Target::with_key_exchange(running.address, HOST, &trust, KeyExchange::X25519);
        let lean = connection::Target::new(running.address, &site.authority(), false)?;
        Ok(Self { running, token: carillon::token(site)?.into(), target: target.map_err(Error::other)?, lean })
    }

    fn usage(&self) -> io::Result<Usage> {
        Usage::of(self.running.pid())
    }

    /// Publications at a rate, to subscribers of one topic.
    pub(crate) async fn fan_out(&self, fan_out: &FanOut) -> io::Result<Reading> {
        let outcome = self.outcome(fan_out).await?;
        let mut reading = reading(&outcome);
        if let Some(each) = outcome.server_ns_for_each_delivery {
            let deliveries = float(outcome.deliveries.delivered);
            let bytes = float(fan_out.payload_bytes as u64);
            reading.figures.insert(Quantity::CpuForDelivery, each);
            reading.figures.insert(Quantity::CpuForPublication, each * deliveries / float(outcome.published) / 1e3);
            reading.figures.insert(Quantity::CpuForByte, each / bytes);
        }
        Ok(reading)
    }

    /// A fan-out of which all came.
    async fn outcome(&self, fan_out: &FanOut) -> io::Result<FanOutOutcome> {
        let progress = Live::new(format!("{} subscribers", fan_out.subscribers));
        let mut run = Run::new(Carillon::default().with_token(&self.token), &self.target, &progress);
        run.server = Some(self.running.pid());
        TOPICS.clone_into(&mut run.topic);
        run.patience = SILENCE;
        let outcome = fan_out.run(&run).await.map_err(Error::other)?;
        let problems = outcome.problems();
        if problems.is_empty() { Ok(outcome) } else { Err(Error::other(problems.join("; "))) }
    }

    /// The same, as fast as it delivers.
    pub(crate) async fn saturate(
        &self,
        fan_out: &FanOut,
        seconds: f64,
        cores: usize,
        is_shared: bool,
    ) -> io::Result<Reading> {
        let pace = Pace::Saturated { window: WINDOW };
        let fan_out = FanOut { pace, warm_up: PROBE_MESSAGES / 3, ..fan_out.clone() };
        let probe = self.outcome(&FanOut { messages: PROBE_MESSAGES, ..fan_out.clone() }).await?;
        let messages = whole(probe.published_per_second * seconds).max(1);
        let outcome = self.outcome(&FanOut { messages, ..fan_out }).await?;
        let load_cores: f64 = outcome.common.own.thread_shares.iter().sum();
        let load_ns = load_cores * 1e9 / outcome.delivered_per_second;
        let server_ns = outcome.server_ns_for_each_delivery.unwrap_or_default();
        let figures = Figures::from([
            (Quantity::CpuForDeliverySaturated, server_ns),
            (Quantity::DeliveriesPerSecond, outcome.delivered_per_second),
            (Quantity::DeliveriesPossible, possible(cores, is_shared, server_ns, load_ns)),
        ]);
        Ok(Reading { figures, ..Reading::default() })
    }

    /// Many subscriptions.
    pub(crate) async fn table(&self, kind: Kind, count: u64, seconds: f64) -> io::Result<Reading> {
        let broker = table::Broker { target: &self.lean, token: &self.token, pid: self.running.pid() };
        let measured = table::measure(&broker, kind, count, seconds).await?;
        let mut reading = Reading::default();
        let figures = &mut reading.figures;
        let deliveries = float(measured.deliveries);
        figures.insert(Quantity::CpuForDelivery, measured.delivering.as_secs_f64() * 1e9 / deliveries);
        figures.insert(Quantity::CpuForSubscription, measured.subscribing.as_secs_f64() * 1e6 / float(count));
        if count >= COUNTABLE {
            figures.insert(Quantity::MemoryForSubscription, float(measured.resident_kib << 10) / float(count));
        }
        let quantile = |histogram: &Histogram, share| histogram.quantile(share).as_secs_f64() * 1e3;
        figures.insert(Quantity::LatencyP50, quantile(&measured.latencies, 0.5));
        figures.insert(Quantity::LatencyP99, quantile(&measured.latencies, 0.99));
        let late = measured.lag.quantile(0.99);
        if late > LATE {
            reading.warnings.push(format!("the load was up to {late:.1?} late (p99), and that is in the latencies"));
        }
        if measured.load_cores > BUSY {
            reading
                .warnings
                .push(format!("the load used {:.2} of its core, and may be the limit", measured.load_cores));
        }
        Ok(reading)
    }

    /// A fan-out beside connections that are idle, and what these cost by themselves.
    pub(crate) async fn beside_idle(&self, count: usize, fan_out: &FanOut) -> io::Result<Reading> {
        let mut crowd = Crowd::default();
        crowd.grow(&self.lean, &self.token, FIRST).await?;
        sleep(SETTLING).await;
        let without = self.usage()?;
        crowd.grow(&self.lean, &self.token, count).await?;
        sleep(SETTLING).await;
        let before = self.usage()?;
        sleep(IDLING).await;
        let after = self.usage()?;
        let outcome = self.outcome(fan_out).await?;
        if crowd.lost() > 0 {
            return Err(Error::other(format!("{} of {count} idle connections were lost", crowd.lost())));
        }
        let idle_cores = after.cpu.saturating_sub(before.cpu).as_secs_f64() / IDLING.as_secs_f64();
        let mut reading = reading(&outcome);
        reading.figures.insert(Quantity::CpuWhileIdle, idle_cores * 1e3);
        if count > 0 {
            let resident = float(before.resident_kib.saturating_sub(without.resident_kib));
            reading.figures.insert(Quantity::MemoryForConnection, resident / float(count as u64));
        }
        if let Some(each) = outcome.server_ns_for_each_delivery {
            let idle_ns = idle_cores * outcome.common.seconds * 1e9 / float(outcome.deliveries.delivered);
            reading.figures.insert(Quantity::CpuForDelivery, (each - idle_ns).max(0.0));
        }
        Ok(reading)
    }
}

fn reading(outcome: &FanOutOutcome) -> Reading {
    Reading {
        figures: Figures::from([
            (Quantity::LatencyP50, outcome.latency.p50_ms),
            (Quantity::LatencyP99, outcome.latency.p99_ms),
        ]),
        others: 0.0,
        warnings: outcome.common.warnings.iter().map(ToString::to_string).collect(),
    }
}

/// Deliveries in a second that these costs allow where nothing is lost between them: the broker has so many cores, and the load
/// one of its own or the last of these.
#[expect(clippy::cast_precision_loss, reason = "a few cores")]
fn possible(cores: usize, is_shared: bool, server_ns: f64, load_ns: f64) -> f64 {
    let by_server = cores as f64 * 1e9 / server_ns;
    let by_load = 1e9 / load_ns;
    if is_shared { (cores as f64 * 1e9 / (server_ns + load_ns)).min(by_load) } else { by_server.min(by_load) }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_broker_and_load_says_what_is_possible() {
        let is = |found: f64, expected: f64| (found - expected).abs() < 1.0;
        assert!(is(possible(1, false, 400.0, 100.0), 2_500_000.0));
        assert!(is(possible(1, false, 100.0, 400.0), 2_500_000.0));
        assert!(is(possible(2, true, 400.0, 100.0), 4_000_000.0));
        assert!(is(possible(2, false, 400.0, 100.0), 5_000_000.0));
        assert!(is(possible(1, true, 400.0, 100.0), 2_000_000.0));
    }
}
