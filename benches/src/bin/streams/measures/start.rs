//! How long a broker with many messages needs to start, whatever had ended it.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::time;

use super::{Measure, ms};
use crate::{
    bench::{Bench, forget_files},
    meter::Cost,
    publishers::{Pace, Publishers},
    report::{Bound, Finding},
};

const GOAL_SECONDS: f64 = 1.0;
const LOAD: Duration = Duration::from_secs(3);
const IN_FLIGHT: usize = 4096;

pub(super) const MEASURE: Measure = Measure {
    name: "start",
    goal: "a start with 10,000,000 kept messages in under 1 s, after SIGKILL too",
    run: |bench| Box::pin(run(bench)),
};

/// What had ended it.
#[derive(Clone, Copy)]
enum End {
    Term,
    /// While it was published to.
    Kill,
}

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (end, is_cold, what) in [
        (End::Term, false, "after SIGTERM"),
        (End::Kill, false, "after SIGKILL under load"),
        (End::Term, true, "after SIGTERM, files on disk alone"),
        (End::Kill, true, "after SIGKILL under load, files on disk alone"),
    ] {
        let (site, broker) = bench.filled().await?;
        match end {
            End::Term => drop(broker.terminate()?),
            End::Kill => {
                let plan = bench.plan(&site, &broker, Pace::Closed { in_flight: IN_FLIGHT })?;
                let publishers = Publishers::start(plan).await?;
                time::sleep(LOAD).await;
                broker.kill();
                // They are told that their connections are gone, which is what was wanted.
                drop(publishers);
            }
        }
        if is_cold {
            forget_files(&site)?;
        }
        let broker = bench.start(&site)?;
        let ready = Instant::now();
        broker.target(&site.authority())?.connect(0).await?;
        let welcomed = ready.elapsed();
        let cost = Cost {
            lasted: broker.ready_after(),
            cpu: broker.usage()?.cpu,
            peak_kib: broker.usage()?.peak_kib,
            own: 0.0,
            others: 0.0,
        };
        let metrics = broker.settled_metrics().await?;
        found.push(Finding {
            what: what.to_owned(),
            value: broker.ready_after().as_secs_f64(),
            unit: "s",
            bound: Bound::AtMost(GOAL_SECONDS),
            messages: 0,
            cost,
            details: vec![
                ("a client is welcome after another ms", ms(welcomed)),
                ("messages", metrics.sum("carillon_stream_messages")),
                ("segments", metrics.sum("carillon_store_segments")),
                ("MB", metrics.sum("carillon_store_bytes") / 1e6),
            ],
        });
        broker.terminate()?;
    }
    Ok(found)
}
