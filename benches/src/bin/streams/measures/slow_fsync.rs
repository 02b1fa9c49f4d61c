//! A disk whose fsync takes 5 ms longer: what waits meanwhile goes together with the next one.

use std::{io, process::Command};

use super::{Groups, Measure, ms, publish::GOAL};
use crate::{
    bench::Bench,
    publishers::{Pace, Publishers},
    report::{Bound, Finding},
    site::Streams,
};

/// It lets the traced process be the one that was started, stops it nowhere else, and says nothing.
const SLOW: [&str; 10] = [
    "strace",
    "-D",
    "-f",
    "--seccomp-bpf",
    "-qqq",
    "-o",
    "/dev/null",
    "-e",
    "trace=fsync,fdatasync",
    "-einject=fsync,fdatasync:delay_exit=5000",
];
const IN_FLIGHT: [usize; 2] = [1024, 4096];

pub(super) const MEASURE: Measure = Measure {
    name: "slow_fsync",
    goal: "where an fsync takes 5 ms, groups grow by themselves",
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        eprintln!(
            "  NOT MEASURED: there is no strace here, which makes an fsync slow; as root: apt-get install strace"
        );
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for in_flight in IN_FLIGHT {
        let site = bench.site(Streams::One)?;
        let broker = bench.start_within(&site, &SLOW)?;
        let publishers = Publishers::start(bench.plan(&site, &broker, Pace::Closed { in_flight })?).await?;
        let groups = Groups::begin(&broker)?;
        let run = publishers.measure(&broker, bench.args.seconds).await?;
        let groups = groups.read(&broker)?;
        found.push(Finding {
            what: format!("{in_flight} in flight, an fsync takes 5 ms more"),
            value: run.rate(),
            unit: "acks/s",
            // So many in flight allow no more than all of them with every fsync.
            bound: if in_flight >= 4096 { Bound::AtLeast(GOAL) } else { Bound::None },
            messages: run.acknowledged,
            cost: run.cost,
            details: [("p50 ms", ms(run.latencies.quantile(0.5))), ("p99 ms", ms(run.latencies.quantile(0.99)))]
                .into_iter()
                .chain(groups)
                .collect(),
        });
    }
    Ok(found)
}
