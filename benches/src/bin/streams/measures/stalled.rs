//! One reader reads what is published, alone and beside a hundred that have stopped reading.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use carillon_benches::{
    broker::Broker,
    connection::{Connection, Target},
    histogram::Histogram,
};
use carillon_wire::Start;
use tokio::{task, time};

use super::{Measure, ms};
use crate::{
    bench::Bench,
    publishers::{Pace, Publishers, Run},
    reader::Reader,
    report::{Bound, Finding},
    site::{Site, Streams},
};

const STALLED: usize = 100;
const PER_SECOND: f64 = 10_000.0;
/// What the stalled ones were sent before anything is measured: far more than sockets and outboxes hold.
const BURST: usize = 768;
const BURST_PAYLOAD_BYTES: usize = 32 << 10;
const BURST_TOPIC: &str = "bench.site0.burst";
/// What slows nobody, on a machine that is never twice the same.
const EQUAL: f64 = 1.5;
/// `limits.outbox_bytes`, as it is by default.
const OUTBOX_MIB: f64 = 4.0;

pub(super) const MEASURE: Measure = Measure {
    name: "stalled",
    goal: "100 stalled readers cost no more than their outboxes' bound, and slow nobody",
    run: |bench| Box::pin(run(bench)),
};

/// What was seen with or without them.
struct Seen {
    run: Run,
    deliveries: Histogram,
    /// The most memory, from before they stalled.
    peak_mib: f64,
    fell_behind: f64,
}

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    let alone = look(bench, 0).await?;
    let beside = look(bench, STALLED).await?;
    let memory = beside.peak_mib - alone.peak_mib;
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let allowed = OUTBOX_MIB * STALLED as f64;
    let times = |share: f64| {
        beside.deliveries.quantile(share).as_secs_f64() / alone.deliveries.quantile(share).as_secs_f64().max(1e-9)
    };
    let (p50, p99) = (times(0.5), times(0.99));
    let mut findings =
        vec![finding(&alone, "no stalled readers"), finding(&beside, &format!("{STALLED} stalled readers"))];
    findings.push(Finding {
        what: "with them against without, delivery".to_owned(),
        value: p99,
        unit: "× p99",
        bound: Bound::AtMost(EQUAL),
        messages: 0,
        cost: beside.run.cost,
        details: vec![("× p50", p50)],
    });
    findings.push(Finding {
        what: format!("memory for {STALLED} stalled readers"),
        value: memory,
        unit: "MiB",
        bound: Bound::AtMost(allowed),
        messages: 0,
        cost: beside.run.cost,
        details: Vec::new(),
    });
    Ok(findings)
}

fn finding(seen: &Seen, what: &str) -> Finding {
    Finding {
        what: format!("{PER_SECOND} /s, {what}"),
        value: ms(seen.deliveries.quantile(0.99)),
        unit: "ms p99",
        bound: Bound::None,
        messages: seen.run.acknowledged,
        cost: seen.run.cost,
        details: vec![
            ("delivery p50 ms", ms(seen.deliveries.quantile(0.5))),
            ("delivery max ms", ms(seen.deliveries.max())),
            ("ack p50 ms", ms(seen.run.latencies.quantile(0.5))),
            ("ack p99 ms", ms(seen.run.latencies.quantile(0.99))),
            ("acks/s", seen.run.rate()),
            ("peak MiB with the burst", seen.peak_mib),
            ("fell behind", seen.fell_behind),
        ],
    }
}

async fn look(bench: &Bench, stalled: usize) -> io::Result<Seen> {
    let site = bench.site(Streams::One)?;
    let broker = bench.start(&site)?;
    let target = broker.target(&site.authority())?;
    let mut asleep = Vec::new();
    for number in 0..stalled {
        let mut reader = Reader::connect(&target, number).await?;
        reader.subscribe(Start::Now).await?;
        reader.catch_up().await?;
        asleep.push(reader);
    }
    burst(&mut target.connect(0).await?).await?;
    let peak_before = broker.usage()?.peak_kib;
    let (run, deliveries) = publish_and_read(bench, &site, &broker, &target).await?;
    let peak_kib = run.cost.peak_kib.max(peak_before);
    let fell_behind = broker.metrics()?.sum("carillon_stream_fell_behind_total");
    let peak_mib = f64::from(u32::try_from(peak_kib).unwrap_or(u32::MAX)) / 1024.0;
    drop(asleep);
    Ok(Seen { run, deliveries, peak_mib, fell_behind })
}

/// Fills the sockets of those who do not read.
async fn burst(connection: &mut Connection) -> io::Result<()> {
    let payload = vec![b'x'; BURST_PAYLOAD_BYTES];
    for _ in 0..BURST {
        connection.publish(BURST_TOPIC, &payload).await?;
        connection.settle().await?;
    }
    time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

async fn publish_and_read(
    bench: &Bench,
    site: &Site,
    broker: &Broker,
    target: &Target,
) -> io::Result<(Run, Histogram)> {
    let mut reader = Reader::connect(target, 0).await?;
    reader.subscribe(Start::Now).await?;
    reader.catch_up().await?;
    let publishers = Publishers::start(bench.plan(site, broker, Pace::Open { per_second: PER_SECOND })?).await?;
    let begun = publishers.begun();
    let deliveries = Rc::new(RefCell::new(Histogram::default()));
    let heard = Rc::clone(&deliveries);
    let reading = task::spawn_local(async move {
        loop {
            reader.read(|delivery| hear(delivery.payload, begun, &mut heard.borrow_mut())).await?;
        }
    });
    let run = publishers.measure(broker, bench.args.seconds).await;
    // It must have read all the time.
    if reading.is_finished() {
        return reading.await.map_err(io::Error::other)?;
    }
    reading.abort();
    Ok((run?, deliveries.take()))
}

fn hear(payload: &[u8], begun: Instant, latencies: &mut Histogram) {
    if let Some(nanos) = payload.first_chunk() {
        let due = begun + Duration::from_nanos(u64::from_be_bytes(*nanos));
        latencies.record(due.elapsed());
    }
}
