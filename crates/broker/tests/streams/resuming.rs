//! Coming back without a loss: after a lost connection, a killed broker, and in another process.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use carillon_client::{
    Client, EpochReason, Event, PendingAck, Position, Resumption, Start, SubscribeOptions, Subscription,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    events::{Told, event, kept_at, next, numbered, publish, publish_numbers, subscribe, take},
    site::Site,
    support::{PATIENCE, told},
};

const IN_FLIGHT: usize = 32;

/// Publishes numbers with message ids, many at once, until it is told to stop, and gives how many there were. Each must be kept
/// once, so that the number tells the sequence.
async fn publish_until(client: Client, stop: Arc<AtomicBool>) -> u64 {
    let mut in_flight: VecDeque<PendingAck> = VecDeque::new();
    let (mut published, mut acknowledged) = (0_u64, 0_u64);
    while !stop.load(Ordering::Relaxed) || !in_flight.is_empty() {
        if in_flight.len() < IN_FLIGHT && !stop.load(Ordering::Relaxed) {
            let number = published.to_string();
            let publication = client.publication("orders.a", number.clone()).message_id(number);
            in_flight.push_back(publication.enqueue().await.unwrap());
            published += 1;
        } else if let Some(pending) = in_flight.pop_front() {
            acknowledged += 1;
            assert_eq!(kept_at(timeout(PATIENCE, pending).await.unwrap()).sequence(), acknowledged);
        }
    }
    published
}

#[tokio::test]
async fn each_message_comes_once_over_kills_of_the_broker_while_publishing_goes_on() {
    let site = Site::new(&[]);
    let mut broker = site.start();
    let (publisher, reader) = (site.client(&broker).await, site.client(&broker).await);
    let mut orders = subscribe(&reader, "orders.>", Start::Beginning).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publish_until(publisher.clone(), Arc::clone(&stop)));
    let mut seen = Vec::new();
    for round in 0..4 {
        // From the second round on: back, and a while on.
        let (mut is_back, mut more) = (round == 0, 0);
        while !is_back || more < 200 {
            match event(&mut orders).await {
                Event::Message(message) => {
                    seen.push((message.sequence(), message.payload().clone()));
                    more += 1;
                }
                Event::Resumed(resumed) => {
                    assert_eq!(resumed.outcome, Resumption::Continued);
                    assert!(resumed.reconnected.is_some());
                    is_back = true;
                }
                Event::CaughtUp(_) => {}
                other => panic!("{other:?}"),
            }
        }
        if round < 3 {
            broker = site.kill_and_restart(broker).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap();
    while seen.len() as u64 != published {
        if let Event::Message(message) = event(&mut orders).await {
            seen.push((message.sequence(), message.payload().clone()));
        }
    }
    for (number, (sequence, payload)) in (0..published).zip(&seen) {
        assert_eq!((*sequence, payload.as_ref()), (Some(number + 1), number.to_string().as_bytes()));
    }
    assert_eq!(publish(&publisher, "orders.a", "end").await, published + 1);
    let end = Told::Message(published + 1, "end".to_owned());
    while next(&mut orders).await != end {}
    assert_eq!(reader.counters().messages_passed_over, 0, "the broker repeats nothing");
}

#[tokio::test]
async fn subscriptions_of_one_client_resume_each_for_itself() {
    let site = Site::new(&[]);
    let mut broker = site.start();
    let (publisher, reader) = (site.client(&broker).await, site.client(&broker).await);
    let mut published = 0_u64;
    let mut subscriptions = Vec::new();
    for round in 0..4 {
        // Those of this connection begin in the middle of what others have, and while others catch up.
        for start in [Start::Beginning, Start::Now, Start::Newest(7)] {
            let first = match start {
                Start::Beginning => 0,
                Start::Now => published,
                _ => published.saturating_sub(7),
            };
            subscriptions.push((first, subscribe(&reader, "orders.*", start).await));
        }
        let more = published + 30;
        publish_numbers(&publisher, "orders.a", published..more).await;
        published = more;
        // Some take what there is, others leave it where it is.
        for (first, subscription) in subscriptions.iter_mut().step_by(2) {
            for message in numbered(*first..published) {
                assert_eq!(next_message(subscription).await, message);
            }
            *first = published;
        }
        if round < 3 {
            broker = site.kill_and_restart(broker).await;
        }
    }
    for (first, mut subscription) in subscriptions {
        for message in numbered(first..published) {
            assert_eq!(next_message(&mut subscription).await, message);
        }
        let position = subscription.position().unwrap();
        assert_eq!(position.sequence(), published);
    }
    assert_eq!(reader.counters().messages_passed_over, 0);
}

async fn next_message(subscription: &mut Subscription) -> Told {
    loop {
        match next(subscription).await {
            Told::CaughtUp(_) | Told::Resumed(Resumption::Continued, _) => {}
            other => return other,
        }
    }
}

#[tokio::test]
async fn memory_stream_tells_that_a_restart_took_it() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let mut ticks = subscribe(&client, "ticks.*", Start::Beginning).await;
    publish_numbers(&client, "ticks.a", 0..3).await;
    assert_eq!(take(&mut ticks, 4).await, [vec![Told::CaughtUp(0)], numbered(0..3)].concat());
    let before = ticks.position().unwrap().clone();
    let _broker = site.kill_and_restart(broker).await;
    let back = [Told::Resumed(Resumption::OtherEpoch, 0), Told::Epoch(EpochReason::Restarted, 1), Told::CaughtUp(0)];
    assert_eq!(take(&mut ticks, 3).await, back);
    publish_numbers(&client, "ticks.a", 0..2).await;
    assert_eq!(take(&mut ticks, 2).await, numbered(0..2));
    let after = ticks.position().unwrap();
    assert_ne!(after.epoch(), before.epoch());
    // Who comes with a position of the old epoch is told the same.
    let mut late = subscribe(&client, "ticks.*", Start::Behind(before)).await;
    assert_eq!(take(&mut late, 4).await, [back[..2].to_vec(), numbered(0..2)].concat());
}

#[tokio::test]
async fn subscription_without_start_spans_streams_and_other_topics_and_tells_that_it_was_away() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let mut all = client.subscribe("*.a", SubscribeOptions::default()).await.unwrap();
    let topics = ["orders.a", "loose.a", "ticks.a"];
    let round = async |all: &mut Subscription| {
        for topic in topics {
            client.publish_acknowledged(topic, "x").await.unwrap();
        }
        let mut streams = Vec::new();
        for _ in topics {
            let Event::Message(message) = event(all).await else { panic!("not a message") };
            streams.push((message.topic().to_owned(), message.stream().map(str::to_owned)));
        }
        streams.sort();
        let kept = |topic: &str, stream: Option<&str>| (topic.to_owned(), stream.map(str::to_owned));
        assert_eq!(streams, [kept("loose.a", None), kept("orders.a", Some("orders")), kept("ticks.a", Some("ticks"))]);
    };
    round(&mut all).await;
    assert_eq!(all.position(), None);
    let _broker = site.kill_and_restart(broker).await;
    assert!(matches!(event(&mut all).await, Event::Reconnected(_)));
    round(&mut all).await;
}

#[tokio::test]
async fn position_is_kept_as_text_and_used_by_another_process() {
    // A reader of a rare topic learns with a heartbeat how far it is complete.
    let site = Site::new(&[("DEADLINES__HEARTBEAT_SECONDS", "0.2")]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let mut rare = subscribe(&client, "orders.rare", Start::Beginning).await;
    publish(&client, "orders.rare", "first").await;
    publish_numbers(&client, "orders.often", 0..5).await;
    assert_eq!(take(&mut rare, 2).await, [Told::CaughtUp(0), Told::Message(1, "first".to_owned())]);
    let moved = async {
        while rare.position().unwrap().sequence() < 6 {
            // Nothing comes of it but the position.
            let event = timeout(std::time::Duration::from_millis(100), rare.next()).await;
            assert!(event.is_err(), "{event:?}");
        }
    };
    timeout(PATIENCE, moved).await.unwrap();
    let text = rare.position().unwrap().to_string();
    drop((rare, client));
    let broker = site.kill_and_restart(broker).await;
    let client = site.client(&broker).await;
    publish(&client, "orders.rare", "second").await;

    let output = site.run(&broker, &["sub", "--json", "--count", "1", "--from", &text, "orders.rare"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["resumed"]["outcome"], &lines[0]["resumed"]["sequence"]), (&"continued".into(), &6.into()));
    assert_eq!((&lines[1]["payload"], &lines[1]["sequence"]), (&"second".into(), &7.into()));
    // And back again, from what the command printed.
    let printed = format!("{}:{}", lines[1]["epoch"].as_str().unwrap(), lines[1]["sequence"]);
    let mut back = subscribe(&client, "orders.rare", Start::Behind(printed.parse::<Position>().unwrap())).await;
    assert_eq!(take(&mut back, 2).await, [Told::Resumed(Resumption::Continued, 7), Told::CaughtUp(7)]);
}
