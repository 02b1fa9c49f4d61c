//! The same load on the same topics, which are in one stream, and in a thousand.

use std::io;

use super::{Groups, Measure, ms};
use crate::{
    bench::{Bench, SITES},
    publishers::{Pace, Publishers, Run},
    report::{Bound, Finding},
    site::Streams,
};

/// Each is measured so often, by turns.
const TURNS: usize = 2;
/// What is equal, on a machine that is never twice the same.
const EQUAL: f64 = 1.1;
const IN_FLIGHT: usize = 1024;

pub(super) const MEASURE: Measure =
    Measure { name: "small", goal: "1,000 small streams are no dearer than one", run: |bench| Box::pin(run(bench)) };

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    let (mut one, mut small) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        one.push(publish(bench, Streams::One, "one stream").await?);
        small.push(publish(bench, Streams::Small(SITES), "1,000 streams").await?);
    }
    let ratio = |of: fn(&Finding) -> f64| mean(&small, of) / mean(&one, of);
    let cpu = ratio(cpu_each);
    let summary = Finding {
        what: "1,000 streams against one, CPU for each".to_owned(),
        value: cpu,
        unit: "times",
        bound: Bound::AtMost(EQUAL),
        messages: 0,
        cost: small.last().map(|last| last.cost).unwrap_or_default(),
        details: vec![
            ("acks/s, times", ratio(|found| found.value)),
            ("peak memory, times", ratio(|found| f64::from(u32::try_from(found.cost.peak_kib).unwrap_or(u32::MAX)))),
        ],
    };
    Ok(one.into_iter().chain(small).chain([summary]).collect())
}

#[expect(clippy::cast_precision_loss, reason = "a few")]
fn mean(findings: &[Finding], of: fn(&Finding) -> f64) -> f64 {
    findings.iter().map(of).sum::<f64>() / findings.len() as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn cpu_each(finding: &Finding) -> f64 {
    finding.cost.cpu.as_secs_f64() / finding.messages.max(1) as f64
}

async fn publish(bench: &Bench, streams: Streams, what: &str) -> io::Result<Finding> {
    let site = bench.site(streams)?;
    let broker = bench.start(&site)?;
    let pace = Pace::Closed { in_flight: IN_FLIGHT };
    let publishers = Publishers::start(bench.plan(&site, &broker, pace)?).await?;
    let groups = Groups::begin(&broker)?;
    let run: Run = publishers.measure(&broker, bench.args.seconds).await?;
    let groups = groups.read(&broker)?;
    Ok(Finding {
        what: what.to_owned(),
        value: run.rate(),
        unit: "acks/s",
        bound: Bound::None,
        messages: run.acknowledged,
        cost: run.cost,
        details: [("p50 ms", ms(run.latencies.quantile(0.5))), ("p99 ms", ms(run.latencies.quantile(0.99)))]
            .into_iter()
            .chain(groups)
            .collect(),
    })
}
