//! Publications that are acknowledged.

mod flight;
pub(super) mod sender;

use std::{sync::Arc, time::Duration};

use self::sender::{Senders, Sending, Sent};
use serde::Serialize;

use crate::{
    Dialect, Framing, Run, RunError, Tickets,
    clock::now_ns,
    connection::Opener,
    crew::Crew,
    latency::Tally,
    load::Load,
    meter::{Meter, Used},
    outcome::{PublishOutcome, Warning},
    stamp::STAMP_BYTES,
    workload::watching::{Watch, per_second, watched},
};

/// From when all is begun until the first publication is due.
const LEAD: Duration = Duration::from_millis(50);

/// Publishes, and waits for acknowledgements. Where a stream on disk keeps the topics, an acknowledged message is on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Publish {
    /// Connections that publish; at least 1.
    pub connections: u16,
    /// Publications of one connection that may wait for their acknowledgement; at least 1.
    pub in_flight: usize,
    /// So many in each second in all, open loop; none: as fast as acknowledgements come.
    pub per_second: Option<f64>,
    /// At least 1; each connection publishes to all in turn.
    pub topics: usize,
    /// Publications of all connections together; at least 1.
    pub messages: u64,
    /// Size of each payload, at least [`STAMP_BYTES`](crate::stamp::STAMP_BYTES).
    pub payload_bytes: usize,
    /// How publications that are due together are sent.
    pub framing: Framing,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            connections: 4,
            in_flight: 256,
            per_second: None,
            topics: 1,
            messages: 100_000,
            payload_bytes: 128,
            framing: Framing::Each,
        }
    }
}

/// What publishing came to.
pub(super) struct Published {
    pub(super) tally: Tally,
    pub(super) used: Used,
    pub(super) sending: Arc<Sending>,
}

impl Publish {
    /// Runs it.
    pub async fn run<D: Dialect>(&self, run: &Run<'_, D>) -> Result<PublishOutcome, RunError> {
        let load = Load::new(run, Tickets::Never);
        let topics = (0..self.topics as u64).map(|topic| load.topic(topic)).collect();
        let Published { tally, used, sending } = self.publish(run, &load, topics, "acknowledged").await?;
        let sent = &sending.progress;
        let mut common = load.common();
        common.seconds = Duration::from_nanos(sent.last_ns().saturating_sub(sending.start_ns)).as_secs_f64();
        let latency = tally.latencies.quantiles();
        let server_ns_for_each = used.server_ns_for_each(sent.acknowledged());
        used.tell(&mut common, Some(&tally.lag), latency.p99_ms);
        if sent.kept() < sent.acknowledged() {
            common.warnings.push(Warning::NothingKept);
        }
        Ok(PublishOutcome {
            expected: self.messages,
            acknowledged: sent.acknowledged(),
            acknowledged_per_second: per_second(sent.acknowledged(), common.seconds),
            latency,
            server_ns_for_each,
            common,
        })
    }

    /// Publishes to topics, by a load of which nothing else is asked meanwhile.
    pub(super) async fn publish<D: Dialect>(
        &self,
        run: &Run<'_, D>,
        load: &Arc<Load<D>>,
        topics: Arc<[String]>,
        what: &str,
    ) -> Result<Published, RunError> {
        self.check(&run.dialect)?;
        let crew = {
            let load = Arc::clone(load);
            Crew::start(run.threads.max(1), move |thread| Senders::new(thread, Opener::new(load))).await?
        };
        let meter = Meter::new(run.server, crew.thread_ids())?;
        let (connections, opening_topics) = (usize::from(self.connections), Arc::clone(&topics));
        let opening = crew.each(move |senders| senders.open(connections, opening_topics));
        let opening = watched(opening, run.progress, "connected", self.connections.into(), || load.opened());
        opening.await?.into_iter().collect::<Result<(), _>>()?;

        let sending = Arc::new(Sending {
            topics,
            connections: self.connections.into(),
            messages: self.messages,
            in_flight: self.in_flight,
            per_second: self.per_second,
            payload_bytes: self.payload_bytes,
            framing: self.framing,
            start_ns: now_ns() + if self.per_second.is_some() { lead_ns() } else { 0 },
            progress: Sent::default(),
        });
        let before = meter.read()?;
        let beginning = Arc::clone(&sending);
        crew.each(|senders| async move { senders.begin(&beginning) }).await?;
        let watch = Watch {
            progress: run.progress,
            what,
            of: self.messages,
            patience: load.patience,
            scheduled: self.per_second.map_or(Duration::ZERO, |rate| scheduled(self.messages, rate)),
        };
        watch.until_done(|| sending.progress.acknowledged() + load.refused(), || load.lost()).await;
        let used = meter.since(&before)?;
        let mut tally = Tally::default();
        for thread in crew.each(|senders| async move { senders.result() }).await? {
            tally.add(&thread);
        }
        Ok(Published { tally, used, sending })
    }

    fn check<D: Dialect>(&self, dialect: &D) -> Result<(), RunError> {
        let wrong = |what: &str| Err(RunError::Settings(what.to_owned()));
        if self.connections == 0 || self.in_flight == 0 || self.topics == 0 || self.messages == 0 {
            return wrong(
                "there must be at least one connection, one publication in flight, one topic and one message",
            );
        }
        if self.payload_bytes < STAMP_BYTES {
            return wrong("a payload must have 16 bytes at least, which tell when it was due and which one it is");
        }
        if self.per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return wrong("the pace must be above 0 for each second");
        }
        if self.messages / u64::from(self.connections) >= u64::from(u32::MAX) {
            return wrong("a connection can number 4,294,967,294 publications");
        }
        if !dialect.publish_acknowledged("a", &[], 1, &mut Vec::new()) {
            return Err(RunError::Unsupported { dialect: dialect.name(), what: "publications that are acknowledged" });
        }
        Ok(())
    }
}

fn lead_ns() -> u64 {
    u64::try_from(LEAD.as_nanos()).unwrap_or(0)
}

#[allow(clippy::cast_precision_loss, reason = "only how long to be patient")]
fn scheduled(messages: u64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(messages as f64 / rate).unwrap_or(Duration::MAX)
}
