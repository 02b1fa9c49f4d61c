//! Applications that take nothing for a while.

use carillon_client::{Client, Event, GapReason, Resumption, Start, SubscribeOptions};

use crate::{
    events::{Told, event, next, publish, subscribe},
    site::Site,
    support::Broker,
};

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

/// A subscription did not keep up.
const FELL_BEHIND: &str = "carillon_stream_fell_behind_total{stream=\"orders\"}";
/// A socket took nothing for too long, which may come before its subscription falls behind.
const CLOSED: &str = "carillon_connections_closed_total{reason=\"write_timeout\"}";

/// Publishes large messages that begin with their number to these topics in turn, until this has happened and some more. Gives
/// how many there were.
async fn publish_until(happened: &str, broker: &Broker, client: &Client, topics: &[&str]) -> u64 {
    let mut published = 0;
    let mut rounds_more = 3;
    while rounds_more > 0 {
        if broker.metric(happened) > 0 {
            rounds_more -= 1;
        }
        for _ in 0..20 {
            for topic in topics {
                let payload = format!("{published:<LARGE_BYTES$}");
                client.publish_acknowledged(topic, payload).await.unwrap();
            }
            published += 1;
        }
        assert!(published < 10_000, "no {happened}");
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
    let published = publish_until(FELL_BEHIND, &broker, &publisher, &["orders.a"]).await;
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
async fn application_that_takes_nothing_is_closed_and_resumes_without_a_loss() {
    let stuck = [&SMALL[..], &[("DEADLINES__WRITE_SECONDS", "0.3")]].concat();
    let site = Site::new(&stuck);
    let broker = site.start();
    let publisher = site.client(&broker).await;
    let reader = site.builder(&broker).receive_queue_bytes(4096).connect().await.unwrap();
    let mut orders = subscribe(&reader, "orders.a", Start::Beginning).await;
    let published = publish_until(CLOSED, &broker, &publisher, &["orders.a"]).await;
    let (mut seen, mut resumed) = (0, 0);
    while seen < published || resumed == 0 {
        match next(&mut orders).await {
            Told::Message(sequence, payload) => {
                assert_eq!((sequence, payload.trim_end()), (seen + 1, seen.to_string().as_str()));
                seen += 1;
            }
            Told::Resumed(outcome, position) => {
                assert_eq!((outcome, position), (Resumption::Continued, seen));
                resumed += 1;
            }
            Told::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reader.counters().messages_passed_over, 0);
}

#[tokio::test]
async fn subscription_without_start_loses_nothing_of_streams_and_is_told_what_else_it_lost() {
    let site = Site::new(&SMALL);
    let broker = site.start();
    let publisher = site.client(&broker).await;
    let reader = site.builder(&broker).receive_queue_bytes(4096).connect().await.unwrap();
    let mut all = reader.subscribe("*.a", SubscribeOptions::default()).await.unwrap();
    let published = publish_until(FELL_BEHIND, &broker, &publisher, &["orders.a", "loose.a"]).await;
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
