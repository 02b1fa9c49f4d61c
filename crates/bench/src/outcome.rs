//! What a run measured, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::{check::Checked, latency::Quantiles, process::Cost};

/// Deliveries of the measured part, and whether they came as they were published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deliveries {
    /// How many should have come.
    pub expected: u64,
    /// How many of them came, each counted once.
    pub delivered: u64,
    /// How many did not come.
    pub lost: u64,
    /// How many came again.
    pub repeated: u64,
    /// How many came behind one with a higher number.
    pub reordered: u64,
    /// How many payloads were none of this run's.
    pub foreign: u64,
    /// How many the broker said that it dropped; they are among the lost.
    pub told_lost: u64,
    /// How many of the warm-up did not come.
    pub warm_up_lost: u64,
}

impl Deliveries {
    pub(crate) fn new(expected: u64, checked: Checked, warm_up_lost: u64) -> Self {
        Self {
            expected,
            delivered: checked.delivered,
            lost: expected.saturating_sub(checked.delivered),
            repeated: checked.repeated,
            reordered: checked.reordered,
            foreign: checked.foreign,
            told_lost: checked.told_lost,
            warm_up_lost,
        }
    }
}

/// What TLS agreed on; the first connection's, and all connections' handshakes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Negotiated {
    /// As in `TLSv1_3`.
    pub version: String,
    /// The cipher suite.
    pub suite: String,
    /// The group of the key exchange.
    pub group: String,
    /// Full handshakes.
    pub full: u64,
    /// Handshakes that resumed a session.
    pub resumed: u64,
}

/// What the load itself did, to judge whether it was the limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Own {
    /// Which share of a core each thread of the load used, 0 to 1.
    pub thread_shares: Vec<f64>,
    /// How late the load was with what was due, in milliseconds: 99 of 100 were less late. Time in which the broker did not
    /// take what was written is not in it.
    pub lag_p99_ms: Option<f64>,
}

/// Why figures may be the load's and not the broker's, or may mean less than they seem to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A thread of the load had hardly a pause.
    ThreadBusy {
        /// Which, from 0.
        thread: usize,
        /// Its share of a core.
        share: f64,
    },
    /// The load was late with what was due.
    PublisherLate {
        /// 99 of 100 were less late.
        lag_p99_ms: f64,
    },
    /// The machine had other work: the broker's threads were ready to run and had no core.
    ServerWaited {
        /// Share of the time in which they ran or waited.
        share: f64,
    },
    /// Publications were acknowledged, but no stream keeps them.
    NothingKept,
    /// Fewer connections resumed a session than were to.
    NotResumed {
        /// How many did full handshakes.
        full: u64,
        /// Of so many.
        of: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThreadBusy { thread, share } => write!(
                f,
                "thread {thread} of the load was busy for {:.0} % of the time: the load may be the limit; give it more \
                 threads, or another machine",
                share * 100.0
            ),
            Self::PublisherLate { lag_p99_ms } => write!(
                f,
                "the load was up to {lag_p99_ms:.1} ms late (p99) with what was due, and that is in the latencies: give \
                 it more threads, or another machine"
            ),
            Self::ServerWaited { share } => write!(
                f,
                "the broker's threads waited for a core for {:.0} % of their time: other work on the machine is in the \
                 latencies",
                share * 100.0
            ),
            Self::NothingKept => {
                f.write_str("no stream keeps these topics, so nothing was durable; define one, or choose --topic")
            }
            Self::NotResumed { full, of } => write!(
                f,
                "{full} of {of} handshakes were full ones, though sessions were to be resumed: the server gave too few \
                 tickets, or did not take them"
            ),
        }
    }
}

/// What every outcome has.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Common {
    /// The dialect's name.
    pub dialect: String,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that ended before they should, or could not be opened.
    pub lost_connections: u64,
    /// Requests that the broker refused.
    pub refused: u64,
    /// Why connections were lost and requests refused, each reason once; the first few.
    pub reasons: Vec<String>,
    /// How long the measured part took.
    pub seconds: f64,
    /// What it cost the server, where its process is known.
    pub server: Option<Cost>,
    /// What TLS agreed on.
    pub tls: Negotiated,
    /// What the load itself did.
    pub own: Own,
    /// Why the figures may mean less than they seem to.
    pub warnings: Vec<Warning>,
}

/// What is common to the outcomes of all workloads.
pub trait Outcome: Serialize {
    /// What every outcome has.
    fn common(&self) -> &Common;

    /// The deliveries of a workload that has any.
    fn deliveries(&self) -> Option<&Deliveries> {
        None
    }

    /// What else should have happened and did not, for people.
    fn missing(&self) -> Option<String> {
        None
    }

    /// What went otherwise than it must; empty when everything expected came, once and in order, and no connection was lost.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut count = |number: u64, what: &str| {
            if number > 0 {
                problems.push(format!("{number} {what}"));
            }
        };
        if let Some(deliveries) = self.deliveries() {
            count(deliveries.lost, &format!("of {} deliveries did not come", deliveries.expected));
            count(deliveries.repeated, "deliveries came more than once");
            count(deliveries.reordered, "deliveries came out of order");
            count(deliveries.foreign, "deliveries were not of this run; is somebody else publishing to its topics?");
            count(deliveries.warm_up_lost, "deliveries of the warm-up did not come");
        }
        let common = self.common();
        count(common.refused, "requests were refused");
        count(common.lost_connections, "connections were lost, or could not be opened");
        problems.extend(self.missing());
        problems.extend(common.reasons.iter().map(|reason| format!("reason: {reason}")));
        problems
    }
}

/// A run of [`FanOut`](crate::FanOut).
#[derive(Debug, Clone, Serialize)]
pub struct FanOutOutcome {
    /// What every outcome has.
    #[serde(flatten)]
    pub common: Common,
    /// What came.
    pub deliveries: Deliveries,
    /// Publications of the measured part.
    pub published: u64,
    /// Publications in each second.
    pub published_per_second: f64,
    /// Deliveries in each second.
    pub delivered_per_second: f64,
    /// From when a publication was due until it had come.
    pub latency: Quantiles,
    /// CPU time of the server for each delivery, in nanoseconds.
    pub server_ns_for_each_delivery: Option<f64>,
}

/// A run of [`Connect`](crate::Connect).
#[derive(Debug, Clone, Serialize)]
pub struct ConnectOutcome {
    /// What every outcome has.
    #[serde(flatten)]
    pub common: Common,
    /// Connections that became ready in each second.
    pub ready_per_second: f64,
    /// From when a connection was due until it was ready.
    pub latency: Quantiles,
    /// CPU time of the server for each connection, in microseconds.
    pub server_us_for_each_connection: Option<f64>,
}

/// A run of [`Storm`](crate::Storm).
#[derive(Debug, Clone, Serialize)]
pub struct StormOutcome {
    /// What every outcome has.
    #[serde(flatten)]
    pub common: Common,
    /// From the cut until the last was back, ready and subscribed.
    pub seconds_until_last: f64,
    /// From the cut until a connection was back.
    pub latency: Quantiles,
    /// CPU time of the server for each connection that came back, in microseconds.
    pub server_us_for_each_connection: Option<f64>,
}

/// A run of [`Idle`](crate::Idle).
#[derive(Debug, Clone, Serialize)]
pub struct IdleOutcome {
    /// What every outcome has.
    #[serde(flatten)]
    pub common: Common,
    /// Resident memory of the server for each connection, in KiB.
    pub resident_kib_for_each: Option<f64>,
    /// CPU time of the server for each connection and second while idle, in microseconds.
    pub server_us_for_each_second: Option<f64>,
}

/// A run of [`Publish`](crate::Publish).
#[derive(Debug, Clone, Serialize)]
pub struct PublishOutcome {
    /// What every outcome has.
    #[serde(flatten)]
    pub common: Common,
    /// Publications that were to be acknowledged.
    pub expected: u64,
    /// Those that were.
    pub acknowledged: u64,
    /// Acknowledgements in each second.
    pub acknowledged_per_second: f64,
    /// From when a publication was due until its acknowledgement had come.
    pub latency: Quantiles,
    /// CPU time of the server for each acknowledgement, in nanoseconds.
    pub server_ns_for_each: Option<f64>,
}

/// A run of [`Replay`](crate::Replay).
#[derive(Debug, Clone, Serialize)]
pub struct ReplayOutcome {
    /// What every outcome has.
    #[serde(flatten)]
    pub common: Common,
    /// What came.
    pub deliveries: Deliveries,
    /// Messages in each second, of all readers.
    pub delivered_per_second: f64,
    /// From a reader's subscription until it had all that was kept.
    pub caught_up: Quantiles,
    /// CPU time of the server for each delivery, in nanoseconds.
    pub server_ns_for_each_delivery: Option<f64>,
}

/// A run of [`Churn`](crate::Churn).
#[derive(Debug, Clone, Serialize)]
pub struct ChurnOutcome {
    /// What every outcome has.
    #[serde(flatten)]
    pub common: Common,
    /// Rounds of subscribe, publish, read and unsubscribe, or of a whole connection, that were due.
    pub expected: u64,
    /// Those that ended as they must.
    pub done: u64,
    /// Rounds in each second.
    pub done_per_second: f64,
    /// From when a round was due until it was done.
    pub latency: Quantiles,
    /// CPU time of the server for each round, in microseconds.
    pub server_us_for_each: Option<f64>,
    /// Resident memory of the server in the second half against the first, in KiB; near 0 where nothing leaks.
    pub resident_growth_kib: Option<i64>,
}

macro_rules! outcomes {
    ($($type:ty),*; with deliveries: $($delivering:ty),*) => {
        $(impl Outcome for $type {
            fn common(&self) -> &Common {
                &self.common
            }
        })*
        $(impl Outcome for $delivering {
            fn common(&self) -> &Common {
                &self.common
            }

            fn deliveries(&self) -> Option<&Deliveries> {
                Some(&self.deliveries)
            }
        })*
    };
}

outcomes!(ConnectOutcome, StormOutcome, IdleOutcome; with deliveries: FanOutOutcome, ReplayOutcome);

impl Outcome for PublishOutcome {
    fn common(&self) -> &Common {
        &self.common
    }

    fn missing(&self) -> Option<String> {
        let missing = self.expected.saturating_sub(self.acknowledged + self.common.refused);
        (missing > 0).then(|| format!("{missing} of {} publications were not acknowledged", self.expected))
    }
}

impl Outcome for ChurnOutcome {
    fn common(&self) -> &Common {
        &self.common
    }

    fn missing(&self) -> Option<String> {
        let missing = self.expected.saturating_sub(self.done);
        (missing > 0).then(|| format!("{missing} of {} rounds did not end as they must", self.expected))
    }
}
