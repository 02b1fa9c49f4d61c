//! What is published by a client, and what its subscriptions tell, as it is compared.

use carillon_client::{
    Ack, Client, EpochReason, Event, GapRange, GapReason, Position, PublishError, Resumption, Start, SubscribeOptions,
    Subscription,
};
use tokio::time::timeout;

use crate::support::PATIENCE;

/// Publishes with an acknowledgement and gives the sequence under which it is kept.
pub async fn publish(client: &Client, topic: &str, payload: &str) -> u64 {
    let ack = timeout(PATIENCE, client.publish_acknowledged(topic, payload.to_owned())).await.unwrap();
    kept_at(ack).sequence()
}

/// Publishes the numbers of a range, one after the other.
pub async fn publish_numbers(client: &Client, topic: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publish(client, topic, &number.to_string()).await;
    }
}

pub fn kept_at(ack: Result<Ack, PublishError>) -> Position {
    ack.unwrap().kept.expect("a stream keeps it").position
}

pub async fn subscribe(client: &Client, pattern: &str, start: Start) -> Subscription {
    client.subscribe(pattern, SubscribeOptions::default().start(start)).await.unwrap()
}

/// What a subscription told, without what differs from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Sequence and payload.
    Message(u64, String),
    /// Reason, first and last.
    Gap(GapReason, u64, u64),
    /// Reason, and from where on.
    Epoch(EpochReason, u64),
    /// Complete up to here.
    CaughtUp(u64),
    /// How, and behind what.
    Resumed(Resumption, u64),
    /// Anything else.
    Other(String),
}

/// The next event, in time.
pub async fn event(subscription: &mut Subscription) -> Event {
    let next = timeout(PATIENCE, subscription.next()).await;
    next.expect("something to be told").expect("the subscription goes on")
}

pub async fn next(subscription: &mut Subscription) -> Told {
    match event(subscription).await {
        Event::Message(message) => {
            let payload = String::from_utf8(message.payload().to_vec()).unwrap();
            Told::Message(message.sequence().unwrap_or_default(), payload)
        }
        Event::Gap(gap) => {
            let GapRange { first, last, .. } = gap.range.expect("a range of a stream");
            assert_eq!(gap.count, last - first + 1);
            Told::Gap(gap.reason, first, last)
        }
        Event::EpochChanged(change) => Told::Epoch(change.reason, change.from),
        Event::CaughtUp(live) => Told::CaughtUp(live.position.sequence()),
        Event::Resumed(resumed) => Told::Resumed(resumed.outcome, resumed.position.sequence()),
        other => Told::Other(format!("{other:?}")),
    }
}

/// The next event that says more than that all is there.
pub async fn next_but_caught_up(subscription: &mut Subscription) -> Told {
    loop {
        let told = next(subscription).await;
        if !matches!(told, Told::CaughtUp(_)) {
            return told;
        }
    }
}

/// So many of the next events.
pub async fn take(subscription: &mut Subscription, count: usize) -> Vec<Told> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(next(subscription).await);
    }
    all
}

/// Messages with these numbers as payloads, each kept under the number that follows.
pub fn numbered(numbers: std::ops::Range<u64>) -> Vec<Told> {
    numbers.map(|number| Told::Message(number + 1, number.to_string())).collect()
}
