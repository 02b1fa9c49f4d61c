//! The newest message of one topic among many.

use std::{
    io::{self, Error},
    time::Instant,
};

use carillon_benches::{broker::Broker, connection::Connection, histogram::Histogram};
use carillon_wire::{
    BrokerMessage, ClientMessage, Id, Overflow, Pattern, Start,
    client_message::{History, Subscribe, Unsubscribe},
    start::HistoryStart,
};

use super::{Measure, ms};
use crate::{
    bench::{Bench, forget_files},
    meter::Meter,
    report::{Bound, Finding},
};

/// How many are asked for, one after the other.
const QUERIES: usize = 1_000;
const GOAL_MS: f64 = 10.0;
/// What no request of a [`Connection`] itself has.
const FIRST_ID: u32 = 1_000_000;

pub(super) const MEASURE: Measure = Measure {
    name: "last",
    goal: "the last message of one topic among 10,000 in 10,000,000 in under 10 ms",
    run: |bench| Box::pin(run(bench)),
};

/// How it is asked for.
#[derive(Clone, Copy)]
enum Way {
    /// A subscription that starts with the newest one, until it is live.
    Subscribe,
    /// A page of the newest one.
    HistoryNewest,
    /// A page of last values.
    HistoryLast,
}

async fn run(bench: &mut Bench) -> io::Result<Vec<Finding>> {
    let (site, broker) = bench.filled().await?;
    broker.terminate()?;
    let mut found = Vec::new();
    for (way, what, is_cold) in [
        (Way::Subscribe, "SUBSCRIBE newest 1, until live", false),
        (Way::HistoryNewest, "HISTORY newest 1", false),
        (Way::HistoryLast, "HISTORY last by topic", false),
        (Way::HistoryNewest, "HISTORY newest 1, files on disk alone", true),
    ] {
        if is_cold {
            forget_files(&site)?;
        }
        let broker = bench.start(&site)?;
        let mut connection = broker.target(&site.authority())?.connect(0).await?;
        found.push(query(bench, &broker, &mut connection, way, what).await?);
        broker.terminate()?;
    }
    Ok(found)
}

async fn query(
    bench: &Bench,
    broker: &Broker,
    connection: &mut Connection,
    way: Way,
    what: &str,
) -> io::Result<Finding> {
    let topics = bench.topics();
    let mut latencies = Histogram::default();
    let before = broker.settled_metrics().await?;
    let meter = Meter::begin(broker)?;
    for number in 0..QUERIES {
        let topic = topics.get(rand::random_range(0..topics.len())).ok_or_else(|| Error::other("no topics"))?;
        let id = u32::try_from(number * 2).map_err(Error::other)? + FIRST_ID;
        let begun = Instant::now();
        ask(connection, way, id, topic).await?;
        latencies.record(begun.elapsed());
    }
    let cost = meter.read(broker)?;
    let since = broker.settled_metrics().await?.since(&before);
    Ok(Finding {
        what: what.to_owned(),
        value: ms(latencies.quantile(0.99)),
        unit: "ms p99",
        bound: Bound::AtMost(GOAL_MS),
        messages: latencies.count(),
        cost,
        details: vec![
            ("p50 ms", ms(latencies.quantile(0.5))),
            ("max ms", ms(latencies.max())),
            ("MB read from disk", since.sum("carillon_store_read_bytes_total") / 1e6),
        ],
    })
}

/// Asks, and waits for the message and the end of the answer.
async fn ask(connection: &mut Connection, way: Way, id: u32, topic: &str) -> io::Result<()> {
    let pattern = Pattern::new(topic).map_err(Error::other)?;
    let start = match way {
        Way::Subscribe | Way::HistoryNewest => Start::Newest(1),
        Way::HistoryLast => Start::LastByTopic,
    };
    connection
        .send(&match way {
            Way::Subscribe => ClientMessage::Subscribe(Subscribe {
                id: Id::from(id),
                pattern,
                overflow: Overflow::DropOldest,
                start: Some(start),
            }),
            Way::HistoryNewest | Way::HistoryLast => ClientMessage::History(History {
                id: Id::from(id),
                pattern,
                start: HistoryStart::At(start),
                max_messages: None,
                through: None,
            }),
        })
        .await?;
    let (mut has_message, mut is_answered) = (false, false);
    while !(has_message && is_answered) {
        connection
            .read(|message| {
                match message {
                    BrokerMessage::Delivery(delivery) if delivery.topic.as_str() == topic => has_message = true,
                    BrokerMessage::Live(_) | BrokerMessage::Page(_) => is_answered = true,
                    BrokerMessage::Ok(_) | BrokerMessage::Marker(_) => {}
                    other => return Err(Error::other(format!("a query was answered with {other:?}"))),
                }
                Ok(())
            })
            .await?;
    }
    if matches!(way, Way::Subscribe) {
        let unsubscribe = Unsubscribe { id: Id::from(id + 1), subscription: Id::from(id) };
        connection.send(&ClientMessage::Unsubscribe(unsubscribe)).await?;
        connection.settle().await?;
    }
    Ok(())
}
