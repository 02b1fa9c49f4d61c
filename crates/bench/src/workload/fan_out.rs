//! Publications to subscribers: fan-out, and many to many.

mod part;
mod plan;
mod publisher;
mod worker;

use std::{sync::Arc, time::Duration};

use self::{part::Part, plan::Plan, worker::Worker};
use serde::Serialize;

use crate::{
    Dialect, Framing, Order, Pace, Run, RunError, Tickets,
    check::Checked,
    clock::now_ns,
    connection::Opener,
    crew::Crew,
    latency::Tally,
    load::Load,
    meter::{Meter, Used},
    outcome::{Deliveries, FanOutOutcome},
    stamp::STAMP_BYTES,
    workload::watching::{Watch, per_second, watched},
};

/// From when a part is begun until its first publication is due: every thread knows of it by then.
const LEAD: Duration = Duration::from_millis(50);
/// After the last delivery that was expected, so that one which comes twice is seen.
const GRACE: Duration = Duration::from_millis(100);

/// Publishers, topics and subscribers: subscriber `i` reads topic `i % topics`, and each publisher publishes to the topics in
/// turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FanOut {
    /// At least 1.
    pub topics: usize,
    /// Of all topics together; at least as many.
    pub subscribers: usize,
    /// At least 1.
    pub publishers: u16,
    /// How fast is published.
    pub pace: Pace,
    /// Measured publications for each topic, of all publishers together; at least 1.
    pub messages: u64,
    /// Publications for each topic before those.
    pub warm_up: u64,
    /// Size of each payload, at least [`STAMP_BYTES`](crate::stamp::STAMP_BYTES).
    pub payload_bytes: usize,
    /// How publications that are due together are sent.
    pub framing: Framing,
}

impl Default for FanOut {
    fn default() -> Self {
        Self {
            topics: 1,
            subscribers: 100,
            publishers: 1,
            pace: Pace::PerSecond(1_000.0),
            messages: 10_000,
            warm_up: 1_000,
            payload_bytes: 128,
            framing: Framing::Each,
        }
    }
}

/// What a part came to.
struct Measured {
    checked: Checked,
    tally: Tally,
    seconds: f64,
    used: Used,
}

impl FanOut {
    /// Runs it: opens all connections, publishes the warm-up and then what is measured, each until all of it has come, or
    /// nothing has come for as long as the run is patient.
    pub async fn run<D: Dialect>(&self, run: &Run<'_, D>) -> Result<FanOutOutcome, RunError> {
        self.check(&run.dialect)?;
        let load = Load::new(run, Tickets::Never);
        let topics: Arc<[String]> = (0..self.topics as u64).map(|topic| load.topic(topic)).collect();
        let crew = {
            let load = Arc::clone(&load);
            let make = move |thread| Worker::new(thread, Opener::new(load), topics);
            Crew::start(run.threads.max(1), make).await?
        };
        let meter = Meter::new(run.server, crew.thread_ids())?;
        let (subscribers, publishers) = (self.subscribers, usize::from(self.publishers));
        let opening = crew.each(move |worker| worker.open(subscribers, publishers));
        let of = (subscribers + publishers) as u64;
        watched(opening, run.progress, "connected", of, || load.opened())
            .await?
            .into_iter()
            .collect::<Result<(), _>>()?;

        let mut warm_up_lost = 0;
        if self.warm_up > 0 {
            let plan = self.plan(&run.dialect, self.warm_up);
            let part = self.part(run, &load, &crew, &meter, plan, "warmed up").await?;
            warm_up_lost = plan.deliveries().saturating_sub(part.checked.delivered);
        }
        let plan = self.plan(&run.dialect, self.messages);
        let part = self.part(run, &load, &crew, &meter, plan, "delivered").await?;
        Ok(outcome(&load, plan, part, warm_up_lost))
    }

    fn check<D: Dialect>(&self, dialect: &D) -> Result<(), RunError> {
        let wrong = |what: &str| Err(RunError::Settings(what.to_owned()));
        if self.topics == 0 || self.publishers == 0 || self.messages == 0 {
            return wrong("there must be at least one topic, one publisher and one message");
        }
        if self.subscribers < self.topics {
            return wrong("there must be at least as many subscribers as topics, so that each has one");
        }
        if self.payload_bytes < STAMP_BYTES {
            return wrong("a payload must have 16 bytes at least, which tell when it was due and which one it is");
        }
        match self.pace {
            Pace::PerSecond(rate) if !(rate.is_finite() && rate > 0.0) => {
                wrong("the pace must be above 0 for each second")
            }
            Pace::Saturated { window: 0 } => wrong("the window must be at least 1"),
            Pace::Saturated { .. } if takes_orders(dialect) => Err(RunError::Unsupported {
                dialect: dialect.name(),
                what: "window: it publishes by itself, at a pace",
            }),
            _ => Ok(()),
        }
    }

    fn plan<D: Dialect>(&self, dialect: &D, messages: u64) -> Plan {
        // A server that publishes by itself is one publisher.
        let publishers = if takes_orders(dialect) { 1 } else { self.publishers.into() };
        Plan { topics: self.topics as u64, subscribers: self.subscribers as u64, publishers, messages }
    }

    /// Publishes one part, and waits until all of it has come.
    async fn part<D: Dialect>(
        &self,
        run: &Run<'_, D>,
        load: &Load<D>,
        crew: &Crew<Worker<D>>,
        meter: &Meter,
        plan: Plan,
        what: &'static str,
    ) -> Result<Measured, RunError> {
        let start_ns = now_ns() + u64::try_from(LEAD.as_nanos()).unwrap_or(0);
        let part = Arc::new(Part::new(plan, self.pace, self.framing, self.payload_bytes, start_ns));
        let preparing = Arc::clone(&part);
        crew.each(|worker| async move { worker.prepare(&preparing) }).await?;
        let before = meter.read()?;
        let beginning = Arc::clone(&part);
        crew.each(|worker| async move { worker.begin(beginning) }).await?;

        let scheduled = match self.pace {
            Pace::PerSecond(rate) => seconds(plan.total(), rate),
            Pace::Saturated { .. } => Duration::ZERO,
        };
        let expected = plan.deliveries();
        let watch = Watch { progress: run.progress, what, of: expected, patience: load.patience, scheduled };
        // Publications count too: a broker that takes them and delivers late still goes on.
        watch.until_done(|| part.delivered(), || part.published()).await;
        let used = meter.since(&before)?;
        tokio::time::sleep(GRACE).await;

        let (mut checked, mut tally) = (Checked::default(), Tally::default());
        for (thread_checked, thread_tally) in crew.each(|worker| async move { worker.result() }).await? {
            checked.add(thread_checked);
            tally.add(&thread_tally);
        }
        let seconds = Duration::from_nanos(part.last_ns().saturating_sub(start_ns)).as_secs_f64();
        Ok(Measured { checked, tally, seconds, used })
    }
}

fn outcome<D: Dialect>(load: &Load<D>, plan: Plan, part: Measured, warm_up_lost: u64) -> FanOutOutcome {
    let Measured { checked, tally, seconds, used } = part;
    let latency = tally.latencies.quantiles();
    let mut common = load.common();
    common.seconds = seconds;
    let server_ns_for_each_delivery = used.server_ns_for_each(checked.delivered);
    used.tell(&mut common, Some(&tally.lag), latency.p99_ms);
    FanOutOutcome {
        common,
        deliveries: Deliveries::new(plan.deliveries(), checked, warm_up_lost),
        published: plan.total(),
        published_per_second: per_second(plan.total(), seconds),
        delivered_per_second: per_second(checked.delivered, seconds),
        latency,
        server_ns_for_each_delivery,
    }
}

/// Whether the server publishes by itself.
fn takes_orders<D: Dialect>(dialect: &D) -> bool {
    let order = Order { topic: "a", messages: 1, per_second: 1.0, payload_bytes: STAMP_BYTES, start_at_ns: 1 };
    dialect.order(&order, &mut Vec::new())
}

#[allow(clippy::cast_precision_loss, reason = "only how long to be patient")]
fn seconds(messages: u64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(messages as f64 / rate).unwrap_or(Duration::MAX)
}
