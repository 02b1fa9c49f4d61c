//! Many subscriptions, of one connection, to topics or to patterns, and publications that each find one of them.

use std::{
    io::{self, Error},
    net::Ipv4Addr,
    time::Duration,
};

use carillon_bench::{
    Timer, now_ns,
    process::Usage,
    stamp::{self, Stamp},
};
use carillon_benches::{
    connection::{Connection, Target, binary_frame, payload_frame},
    histogram::Histogram,
};
use carillon_wire::{
    BrokerMessage, ClientMessage, Headers, Id, Overflow, Pattern, Topic,
    client_message::{Publish, Subscribe},
};
use tokio::time::timeout;

use crate::names::Kind;

const SOURCE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PER_SECOND: f64 = 40_000.0;
const PAYLOAD_BYTES: usize = 128;
/// How long the same is done before anything counts.
const WARM_UP_SECONDS: f64 = 1.0;
/// Subscriptions that are asked for in one message. Their replies fit into what may wait for a connection.
const AT_ONCE: usize = 1000;
/// From one publication to the next, so many topics are passed over: a prime, so that all have their turn, and none is near the
/// last one.
const STRIDE: u64 = 7_368_787;
/// A publisher wakes up no more often, in nanoseconds.
const TURN_NS: u64 = 1_000_000;
/// What it writes in one turn at most.
const TURN_BYTES: usize = 128 << 10;
const LEAD_NS: u64 = 50_000_000;
/// After which nothing more is expected.
const SILENCE: Duration = Duration::from_secs(5);
/// Until what was done at the start does not disturb.
const SETTLING: Duration = Duration::from_millis(500);

/// What it came to.
pub(crate) struct Measured {
    /// CPU time of the broker for all subscriptions.
    pub(crate) subscribing: Duration,
    /// What its memory in RAM grew by meanwhile.
    pub(crate) resident_kib: u64,
    /// CPU time of the broker for all deliveries.
    pub(crate) delivering: Duration,
    pub(crate) deliveries: u64,
    pub(crate) latencies: Histogram,
    /// How late the load was with what was due.
    pub(crate) lag: Histogram,
    /// How many cores the load used.
    pub(crate) load_cores: f64,
}

/// The broker, and how to be let in.
pub(crate) struct Broker<'a> {
    pub(crate) target: &'a Target,
    pub(crate) token: &'a str,
    pub(crate) pid: u32,
}

/// Subscribes to all, and has each publication find one.
pub(crate) async fn measure(broker: &Broker<'_>, kind: Kind, count: u64, seconds: f64) -> io::Result<Measured> {
    let connect = || broker.target.connect_as(SOURCE, Some(broker.token));
    let mut reader = connect().await?;
    // What the first subscription makes once is not theirs.
    subscribe(&mut reader, 0, ["bench.first".to_owned()].into_iter()).await?;
    tokio::time::sleep(SETTLING).await;
    let idle = Usage::of(broker.pid)?;
    subscribe(&mut reader, 1, (0..count).map(|number| kind.pattern(number))).await?;
    let subscribed = Usage::of(broker.pid)?;
    let mut publisher = connect().await?;
    tokio::time::sleep(SETTLING).await;
    run(&mut reader, &mut publisher, kind, count, WARM_UP_SECONDS).await?;
    let (before, own_before) = (Usage::of(broker.pid)?, Usage::of(std::process::id())?);
    let begun = now_ns();
    let run = run(&mut reader, &mut publisher, kind, count, seconds).await?;
    let (after, own_after) = (Usage::of(broker.pid)?, Usage::of(std::process::id())?);
    let lasted = Duration::from_nanos(now_ns() - begun);
    Ok(Measured {
        subscribing: subscribed.cpu.saturating_sub(idle.cpu),
        resident_kib: subscribed.resident_kib.saturating_sub(idle.resident_kib),
        delivering: after.cpu.saturating_sub(before.cpu),
        deliveries: run.latencies.count(),
        latencies: run.latencies,
        lag: run.lag,
        load_cores: own_after.cpu.saturating_sub(own_before.cpu).as_secs_f64() / lasted.as_secs_f64(),
    })
}

/// Subscribes to patterns, some at once, and waits for the replies. The first gets this id.
async fn subscribe(reader: &mut Connection, first: u32, mut patterns: impl Iterator<Item = String>) -> io::Result<()> {
    let mut id = first;
    loop {
        let (mut message, mut awaited) = (Vec::new(), 0_usize);
        for pattern in patterns.by_ref().take(AT_ONCE) {
            let pattern = Pattern::new(&pattern).map_err(Error::other)?;
            let subscribe = Subscribe { id: Id::from(id), pattern, overflow: Overflow::Close, start: None };
            ClientMessage::Subscribe(subscribe).encode(&mut message);
            (id, awaited) = (id + 1, awaited + 1);
        }
        if awaited == 0 {
            return Ok(());
        }
        reader.send_encoded(&message).await?;
        while awaited > 0 {
            hear(reader, |message| match message {
                BrokerMessage::Ok(_) => {
                    awaited = awaited.saturating_sub(1);
                    Ok(())
                }
                BrokerMessage::Error(refused) => Err(Error::other(format!("no subscription: {}", refused.message))),
                other => Err(Error::other(format!("instead of a subscription: {other:?}"))),
            })
            .await?;
        }
    }
}

/// What a run of publications came to.
struct Ran {
    latencies: Histogram,
    lag: Histogram,
}

async fn run(
    reader: &mut Connection,
    publisher: &mut Connection,
    kind: Kind,
    topics: u64,
    seconds: f64,
) -> io::Result<Ran> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below 2^52")]
    let schedule = Schedule { start_ns: now_ns() + LEAD_NS, total: (PER_SECOND * seconds) as u64 };
    let (latencies, lag) = tokio::try_join!(read(reader, schedule.total), publish(publisher, schedule, kind, topics))?;
    Ok(Ran { latencies, lag })
}

/// When publications are due.
#[derive(Clone, Copy)]
struct Schedule {
    start_ns: u64,
    total: u64,
}

impl Schedule {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few nanoseconds in years"
    )]
    fn due_ns(self, number: u64) -> u64 {
        self.start_ns + (number as f64 * 1e9 / PER_SECOND) as u64
    }
}

/// Publishes what is due when it is due, and tells how late it was.
async fn publish(connection: &mut Connection, schedule: Schedule, kind: Kind, topics: u64) -> io::Result<Histogram> {
    let (mut timer, mut lag) = (Timer::new()?, Histogram::default());
    let (mut number, mut frames, mut message) = (0, Vec::new(), Vec::new());
    let mut payload = [0; PAYLOAD_BYTES];
    while number < schedule.total {
        let now_ns = now_ns();
        frames.clear();
        while number < schedule.total && schedule.due_ns(number) <= now_ns && frames.len() < TURN_BYTES {
            let due_ns = schedule.due_ns(number);
            lag.record(Duration::from_nanos(now_ns - due_ns));
            stamp::write(&mut payload, Stamp { due_ns, publisher: 0, number });
            message.clear();
            encode(&kind.topic(number.wrapping_mul(STRIDE) % topics), &payload, &mut message)?;
            frames.extend_from_slice(&payload_frame(&message));
            number += 1;
        }
        connection.send_frames(&frames).await?;
        let wake_ns = schedule.due_ns(number).max(now_ns + TURN_NS);
        let mut turn = std::pin::pin!(timer.until(wake_ns));
        loop {
            tokio::select! {
                woken = &mut turn => break woken?,
                heard = hear(connection, |message| Err(Error::other(format!("the publisher got {message:?}")))) => heard?,
            }
        }
    }
    Ok(lag)
}

fn encode(topic: &str, payload: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let topic = Topic::new(topic).map_err(Error::other)?;
    let (headers, id) = (Headers::EMPTY, None);
    let publication = Publish { id, topic, payload, headers, message_id: None, expected_sequence: None };
    ClientMessage::Publish(publication).encode(out);
    Ok(())
}

/// Reads until all has come, once and in order, and tells how long each took.
async fn read(connection: &mut Connection, total: u64) -> io::Result<Histogram> {
    let (mut latencies, mut next) = (Histogram::default(), 0);
    while next < total {
        let mut now = None;
        let heard = hear(connection, |message| {
            let BrokerMessage::Delivery(delivery) = message else {
                return Err(Error::other(format!("instead of a delivery: {message:?}")));
            };
            let now_ns = *now.get_or_insert_with(now_ns);
            match stamp::read(delivery.payload) {
                Some(stamp) if stamp.number == next => {
                    latencies.record(Duration::from_nanos(now_ns.saturating_sub(stamp.due_ns)));
                    next += 1;
                    Ok(())
                }
                found => Err(Error::other(format!("message {next} was to come, and {found:?} came"))),
            }
        });
        match timeout(SILENCE, heard).await {
            Ok(heard) => heard?,
            Err(_) => return Err(Error::other(format!("{} of {total} deliveries did not come", total - next))),
        }
    }
    Ok(latencies)
}

/// Waits for more, and gives all but heartbeats, which are answered, to `handle`. Cancel safe but for an answer.
async fn hear(
    connection: &mut Connection,
    mut handle: impl FnMut(BrokerMessage<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut heartbeat = None;
    connection
        .read(|message| match message {
            BrokerMessage::Heartbeat(number) => {
                heartbeat = Some(number);
                Ok(())
            }
            other => handle(other),
        })
        .await?;
    if let Some(number) = heartbeat {
        connection.send_frames(&binary_frame(&ClientMessage::HeartbeatReply(number))).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_topics_have_their_turn() {
        for topics in [1, 10, 1000, 100_000] {
            let seen: BTreeSet<_> = (0..topics).map(|number: u64| number.wrapping_mul(STRIDE) % topics).collect();
            assert_eq!(seen.len() as u64, topics);
        }
    }
}
