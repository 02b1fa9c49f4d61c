//! How long an acknowledgement takes, at a pace that is fixed before: who waits too long does not publish less for it, so
//! that nothing is hidden.

use std::io;

use super::{Groups, Measure, ms, publish::GOAL};
use carillon_benches::broker::Broker;

use crate::{
    bench::Bench,
    publishers::{Pace, Publishers},
    report::{Bound, Finding},
    site::{Site, Streams},
};

const GOAL_MS: f64 = 20.0;

pub(super) const MEASURE: Measure = Measure {
    name: "latency",
    goal: "p99 of an acknowledgement under 20 ms at 50,000 publications/s",
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    let site = bench.site(Streams::One)?;
    let broker = bench.start(&site)?;
    let empty = publish(bench, &site, &broker, 0).await?;
    drop(broker);
    let (site, broker) = bench.filled().await?;
    let filled = publish(bench, &site, &broker, bench.args.kept).await?;
    broker.terminate()?;
    Ok(vec![empty, filled])
}

async fn publish(bench: &Bench, site: &Site, broker: &Broker, kept: u64) -> io::Result<Finding> {
    let per_second = GOAL / 2.0;
    let publishers = Publishers::start(bench.plan(site, broker, Pace::Open { per_second })?).await?;
    let groups = Groups::begin(broker)?;
    let run = publishers.measure(broker, bench.args.seconds).await?;
    let groups = groups.read(broker)?;
    Ok(Finding {
        what: format!("{per_second} /s, {kept} kept before"),
        value: ms(run.latencies.quantile(0.99)),
        unit: "ms p99",
        bound: Bound::AtMost(GOAL_MS),
        messages: run.acknowledged,
        cost: run.cost,
        details: [
            ("p50 ms", ms(run.latencies.quantile(0.5))),
            ("p99.9 ms", ms(run.latencies.quantile(0.999))),
            ("max ms", ms(run.latencies.max())),
            ("acks/s", run.rate()),
        ]
        .into_iter()
        .chain(groups)
        .collect(),
    })
}
