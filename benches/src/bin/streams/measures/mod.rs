//! What is measured, one file for each goal.

mod last;
mod latency;
mod publish;
mod replay;
mod slow_fsync;
mod small;
mod stalled;
mod start;
mod storm;

use std::{future::Future, io, pin::Pin, time::Duration};

use carillon_benches::{broker::Broker, metrics::Metrics};

use crate::{bench::Bench, report::Finding};

/// One goal, and how to measure it.
pub(crate) struct Measure {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What has to be.
    pub(crate) goal: &'static str,
    /// Measures it.
    pub(crate) run: for<'a> fn(&'a mut Bench) -> Found<'a>,
}

/// What is found in the end.
type Found<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<Finding>>> + 'a>>;

/// All of it, in the order in which it is done: what needs many messages comes behind what begins with none.
pub(crate) static ALL: [Measure; 9] = [
    publish::MEASURE,
    latency::MEASURE,
    small::MEASURE,
    slow_fsync::MEASURE,
    stalled::MEASURE,
    replay::MEASURE,
    last::MEASURE,
    storm::MEASURE,
    start::MEASURE,
];

/// How groups of publications were committed.
struct Groups {
    before: Metrics,
}

impl Groups {
    /// From now on.
    fn begin(broker: &Broker) -> io::Result<Self> {
        Ok(Self { before: broker.metrics()? })
    }

    /// Messages in a group; and milliseconds from a group's first message to its commit, as a mean, and what 99 of 100 groups
    /// do not exceed.
    fn read(&self, broker: &Broker) -> io::Result<[(&'static str, f64); 3]> {
        let since = broker.metrics()?.since(&self.before);
        let groups = since.sum("carillon_stream_group_messages_count").max(1.0);
        Ok([
            ("messages in a group", since.sum("carillon_stream_group_messages_sum") / groups),
            ("commit ms", since.sum("carillon_stream_commit_seconds_sum") * 1e3 / groups),
            ("commit p99 ms <=", since.quantile("carillon_stream_commit_seconds", 0.99) * 1e3),
        ])
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
