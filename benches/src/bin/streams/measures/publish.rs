//! Acknowledged publications into a stream on disk, as fast as it takes them.

use std::io;

use super::{Groups, Measure, ms};
use carillon_benches::broker::Broker;

use crate::{
    bench::Bench,
    publishers::{Pace, Publishers},
    report::{Bound, Finding},
    site::{Site, Streams},
};

/// Acknowledgements in each second.
pub(super) const GOAL: f64 = 100_000.0;

pub(super) const MEASURE: Measure = Measure {
    name: "publish",
    goal: "100,000 acknowledged publications/s of 128 B on disk, over 10,000 topics from 64 connections, with nothing kept \
           and with 10,000,000 messages",
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for in_flight in bench.args.in_flight.clone() {
        let site = bench.site(Streams::One)?;
        let broker = bench.start(&site)?;
        found.push(publish(bench, &site, &broker, in_flight, 0).await?);
    }
    for in_flight in bench.args.in_flight.clone() {
        let (site, broker) = bench.filled().await?;
        found.push(publish(bench, &site, &broker, in_flight, bench.args.kept).await?);
        broker.terminate()?;
    }
    Ok(found)
}

async fn publish(bench: &Bench, site: &Site, broker: &Broker, in_flight: usize, kept: u64) -> io::Result<Finding> {
    let publishers = Publishers::start(bench.plan(site, broker, Pace::Closed { in_flight })?).await?;
    let groups = Groups::begin(broker)?;
    let run = publishers.measure(broker, bench.args.seconds).await?;
    let groups = groups.read(broker)?;
    Ok(Finding {
        what: format!("{in_flight} in flight, {kept} kept before"),
        value: run.rate(),
        unit: "acks/s",
        bound: Bound::AtLeast(GOAL),
        messages: run.acknowledged,
        cost: run.cost,
        details: [
            ("p50 ms", ms(run.latencies.quantile(0.5))),
            ("p99 ms", ms(run.latencies.quantile(0.99))),
            ("max ms", ms(run.latencies.max())),
        ]
        .into_iter()
        .chain(groups)
        .collect(),
    })
}
