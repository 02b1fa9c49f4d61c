//! Coming back without a loss: after a lost connection, a killed broker, a slow application, and in another process.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use carillon_client::{
    Client, EpochReason, Event, GapReason, PendingAck, Position, Resumption, Start, SubscribeOptions,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    site::{Site, Told, event, kept_at, next, numbered, publish, publish_numbers, subscribe, take},
    support::{Broker, PATIENCE, told},
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
async fn memory_stream_tells_that_a_restart_took_it() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let mut ticks = subscribe(&client, "ticks.*", Start::Beginning).await;
    publish_numbers(&client, "ticks.a", 0..3).await;
    assert_eq!(take(&mut ticks, 4).await, [vec![Told::CaughtUp(0)], numbered(0..3)].concat());
    let before = ticks.position().unwrap().clone();
    let _broker = site.kill_and_restart(broker).await;
    let back = [
        Told::Resumed(Resumption::OtherEpoch, 0),
        Told::Epoch(EpochReason::Restarted, 1),
        Told::CaughtUp(0),
    ];
    assert_eq!(take(&mut ticks, 3).await, back);
    publish_numbers(&client, "ticks.a", 0..2).await;
    assert_eq!(take(&mut ticks, 2).await, numbered(0..2));
    let after = ticks.position().unwrap();
    assert_ne!(after.epoch(), before.epoch());
    // Who comes with a position of the old epoch is told the same.
    let mut late = subscribe(&client, "ticks.*", Start::Behind(before)).await;
    assert_eq!(take(&mut late, 4).await, [back[..2].to_vec(), numbered(0..2)].concat());
}

/// Payloads so large that sockets do not hold many of them.
const LARGE_BYTES: usize = 16 * 1024;
/// What an application that takes nothing can hold up is a few of these; a client's socket is never stuck.
const SMALL: [(&str, &str); 6] = [
    ("LIMITS__REPLY_BYTES", "32768"),
    ("LIMITS__MAX_PAYLOAD_BYTES", "20000"),
    ("LIMITS__MAX_MESSAGE_BYTES", "40000"),
    ("LIMITS__OUTBOX_BYTES", "65536"),
    ("DEADLINES__WRITE_SECONDS", "3600"),
    ("DEADLINES__HEARTBEAT_SECONDS", "3600"),
];

/// Publishes large messages that begin with their number to these topics in turn, until a subscription has fallen behind and
/// some more. Gives how many there were.
async fn publish_until_behind(broker: &Broker, client: &Client, topics: &[&str]) -> u64 {
    let mut published = 0;
    let fell_behind = "carillon_stream_fell_behind_total{stream=\"orders\"}";
    let mut rounds_more = 3;
    while rounds_more > 0 {
        if broker.metric(fell_behind) > 0 {
            rounds_more -= 1;
        }
        for _ in 0..20 {
            for topic in topics {
                let payload = format!("{published:<LARGE_BYTES$}");
                client.publish_acknowledged(topic, payload).await.unwrap();
            }
            published += 1;
        }
        assert!(published < 10_000, "nobody falls behind");
    }
    published
}

#[tokio::test]
async fn slow_application_gets_all_of_a_stream_and_is_live_again() {
    let site = Site::new(&SMALL);
    let broker = site.start();
    let publisher = site.client(&broker).await;
    let reader = site.builder(&broker).receive_queue_bytes(4096).connect().await.unwrap();
    let mut orders = subscribe(&reader, "orders.a", Start::Now).await;
    let published = publish_until_behind(&broker, &publisher, &["orders.a"]).await;
    let (mut seen, mut caught_up) = (0, 0);
    // Once at its beginning, and once it is live again.
    while seen < published || caught_up < 2 {
        match next(&mut orders).await {
            Told::Message(sequence, payload) => {
                assert_eq!((sequence, payload.trim_end()), (seen + 1, seen.to_string().as_str()));
                seen += 1;
            }
            Told::CaughtUp(_) => caught_up += 1,
            other => panic!("{other:?}"),
        }
    }
    publish(&publisher, "orders.a", "live").await;
    assert_eq!(next(&mut orders).await, Told::Message(published + 1, "live".to_owned()));
    assert_eq!(reader.counters().reconnects, 0);
}

#[tokio::test]
async fn subscription_without_start_loses_nothing_of_streams_and_is_told_what_else_it_lost() {
    let site = Site::new(&SMALL);
    let broker = site.start();
    let publisher = site.client(&broker).await;
    let reader = site.builder(&broker).receive_queue_bytes(4096).connect().await.unwrap();
    let mut all = reader.subscribe("*.a", SubscribeOptions::default()).await.unwrap();
    let published = publish_until_behind(&broker, &publisher, &["orders.a", "loose.a"]).await;
    let (mut kept, mut loose, mut lost) = (0, 0, 0);
    while kept < published || loose + lost < published {
        match event(&mut all).await {
            Event::Message(message) if message.stream().is_some() => {
                assert_eq!((message.stream(), message.sequence()), (Some("orders"), Some(kept + 1)));
                kept += 1;
            }
            Event::Message(_) => loose += 1,
            Event::Gap(gap) => {
                assert_eq!((gap.reason, gap.range), (GapReason::Overflow, None));
                lost += gap.count;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((kept, loose + lost), (published, published));
}

#[tokio::test]
async fn subscription_without_start_spans_streams_and_other_topics_and_tells_that_it_was_away() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let mut all = client.subscribe("*.a", SubscribeOptions::default()).await.unwrap();
    let topics = ["orders.a", "loose.a", "ticks.a"];
    let round = async |all: &mut carillon_client::Subscription| {
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
        assert_eq!(streams, [
            kept("loose.a", None),
            kept("orders.a", Some("orders")),
            kept("ticks.a", Some("ticks"))
        ]);
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
