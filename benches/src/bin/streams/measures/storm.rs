//! Thousands of readers come back at once, each to another position near the end.

use std::io::{self, Error};

use carillon_benches::connection::Target;
use carillon_wire::Start;
use tokio::task::JoinSet;

use super::Measure;
use crate::{
    bench::{Bench, forget_files},
    meter::{Cost, Meter},
    reader::Reader,
    report::{Bound, Finding},
    site::Site,
};

const READERS: usize = 5_000;
/// Handshakes that are under way at once.
const CONNECTING: usize = 64;
/// Their positions are among the last so many messages.
const BEHIND: u64 = 2_000;
/// What is about as much as one reader costs the disk.
const ABOUT: f64 = 2.0;

pub(super) const MEASURE: Measure = Measure {
    name: "storm",
    goal: "5,000 readers that resume at once cost the disk about as much as one",
    run: |bench| Box::pin(run(bench)),
};

/// What readers cost.
struct Storm {
    cost: Cost,
    read_bytes: f64,
    hits: f64,
    misses: f64,
    deliveries: u64,
}

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    let (site, broker) = bench.filled().await?;
    broker.terminate()?;
    let one = storm(bench, &site, 1).await?;
    let all = storm(bench, &site, READERS).await?;
    let finding = |storm: &Storm, what: String, value: f64, unit, bound| Finding {
        what,
        value,
        unit,
        bound,
        messages: storm.deliveries,
        cost: storm.cost,
        details: vec![
            ("seconds", storm.cost.lasted.as_secs_f64()),
            ("MB read from disk", storm.read_bytes / 1e6),
            ("pages found in memory", storm.hits),
            ("pages read", storm.misses),
            ("deliveries", f64::from(u32::try_from(storm.deliveries).unwrap_or(u32::MAX))),
        ],
    };
    let ratio = all.read_bytes / one.read_bytes.max(1.0);
    Ok(vec![
        finding(&one, format!("one reader, {BEHIND} messages behind"), one.read_bytes / 1e6, "MB read", Bound::None),
        finding(&all, format!("{READERS} readers, up to {BEHIND} behind"), ratio, "times", Bound::AtMost(ABOUT)),
    ])
}

/// On a broker that has read nothing yet.
async fn storm(bench: &Bench, site: &Site, count: usize) -> io::Result<Storm> {
    forget_files(site)?;
    let broker = bench.start(site)?;
    let target = broker.target(&site.authority())?;
    let mut probe = Reader::connect(&target, 0).await?;
    probe.subscribe(Start::Now).await?;
    probe.catch_up().await?;
    let end = probe.sequence.unwrap_or_default();
    let readers = connect(&target, count).await?;
    let before = broker.settled_metrics().await?;
    let meter = Meter::begin(&broker)?;
    let mut resuming = JoinSet::new();
    for (number, mut reader) in readers.into_iter().enumerate() {
        let epoch = probe.epoch.clone();
        // One is as far behind as any.
        let behind = if number == 0 { BEHIND } else { rand::random_range(1..=BEHIND) };
        resuming.spawn_local(async move {
            let sequence = end.saturating_sub(behind);
            reader.subscribe(Start::Behind { epoch: &epoch, sequence }).await?;
            reader.catch_up().await?;
            if reader.deliveries == end - sequence {
                Ok(reader)
            } else {
                Err(Error::other(format!("{} came of {}", reader.deliveries, end - sequence)))
            }
        });
    }
    let (mut deliveries, mut done) = (0, Vec::new());
    while let Some(reader) = resuming.join_next().await {
        let reader = reader.map_err(Error::other)??;
        deliveries += reader.deliveries;
        done.push(reader);
    }
    let cost = meter.read(&broker)?;
    let since = broker.settled_metrics().await?.since(&before);
    Ok(Storm {
        cost,
        read_bytes: since.sum("carillon_store_read_bytes_total"),
        hits: since.sum("carillon_store_page_cache_hits_total"),
        misses: since.sum("carillon_store_page_cache_misses_total"),
        deliveries,
    })
}

async fn connect(target: &Target, count: usize) -> io::Result<Vec<Reader>> {
    let (mut connecting, mut readers) = (JoinSet::new(), Vec::with_capacity(count));
    for number in 0..count {
        let target = target.clone();
        connecting.spawn_local(async move { Reader::connect(&target, number).await });
        while connecting.len() >= CONNECTING {
            readers.extend(connecting.join_next().await.transpose().map_err(Error::other)?.transpose()?);
        }
    }
    while let Some(reader) = connecting.join_next().await {
        readers.push(reader.map_err(Error::other)??);
    }
    Ok(readers)
}
