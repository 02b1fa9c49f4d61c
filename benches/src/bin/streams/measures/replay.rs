//! One reader reads a million messages from the beginning.

use std::{io, time::Instant};

use carillon_wire::Start;

use super::{Measure, ms};
use crate::{
    bench::{Bench, forget_files},
    meter::Meter,
    reader::Reader,
    report::{Bound, Finding},
};

const MESSAGES: u64 = 1_000_000;
const GOAL_SECONDS: f64 = 2.0;

pub(super) const MEASURE: Measure = Measure {
    name: "replay",
    goal: "1,000,000 messages of 128 B to one reader from the beginning in under 2 s",
    run: |bench| Box::pin(run(bench)),
};

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (what, is_cold) in [("files in the system's cache", false), ("files on disk alone", true)] {
        // A new broker, which has no page in its own cache.
        let (site, broker) = bench.filled().await?;
        broker.terminate()?;
        if is_cold {
            forget_files(&site)?;
        }
        let broker = bench.start(&site)?;
        let mut reader = Reader::connect(&broker.target(&site.authority())?, 0).await?;
        let before = broker.settled_metrics().await?;
        let meter = Meter::begin(&broker)?;
        let (begun, messages) = (Instant::now(), MESSAGES.min(bench.args.kept));
        let mut first = None;
        reader.subscribe(Start::Beginning).await?;
        while reader.deliveries < messages {
            reader.read(|_| _ = first.get_or_insert_with(|| begun.elapsed())).await?;
        }
        let cost = meter.read(&broker)?;
        let since = broker.settled_metrics().await?.since(&before);
        found.push(Finding {
            what: format!("{messages} messages, {what}"),
            value: cost.lasted.as_secs_f64(),
            unit: "s",
            bound: Bound::AtMost(GOAL_SECONDS),
            messages: reader.deliveries,
            cost,
            details: vec![
                ("first after ms", ms(first.unwrap_or_default())),
                ("MB read from disk", since.sum("carillon_store_read_bytes_total") / 1e6),
            ],
        });
    }
    Ok(found)
}
