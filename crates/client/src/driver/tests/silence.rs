//! Heartbeats, pings, and connections that are dead or break the protocol.

use std::sync::Arc;

use carillon_wire::{BrokerMessage, Id};
use fastwebsockets::{Frame, OpCode, Payload};
use tokio::time::{Instant, sleep, timeout};

use super::{peer::*, subscribe::subscribed, *};
use crate::error::ConnectionLost;

#[tokio::test(start_paused = true)]
async fn heartbeats_are_answered_with_their_number() {
    let (_broker, mut peer, _client) = connected().await;
    for number in [7_u32, 8] {
        sleep(Duration::from_secs(25)).await;
        peer.say(&[BrokerMessage::Heartbeat(Id::from(number))]).await;
        assert_eq!(peer.hear().await, Said::HeartbeatReply(number.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn websocket_pings_are_answered() {
    let (_broker, mut peer, _client) = connected().await;
    peer.send(Frame::new(true, OpCode::Ping, None, Payload::Owned(b"hi".to_vec()))).await;
    assert_eq!(peer.hear().await, Said::Pong(b"hi".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_connection_silent_for_two_heartbeats_is_dead() {
    let notices = Arc::new(Notices::default());
    let (mut broker, client) = start_with(settings(), Some(notices.handler()));
    let mut peer = broker.welcome().await;
    let _client = client.await.unwrap().unwrap();
    let start = Instant::now();
    assert_eq!(peer.hear().await, Said::Close(4001));
    broker.stream().await;
    assert!((Duration::from_secs(50)..Duration::from_millis(50_300)).contains(&start.elapsed()));
    assert!(matches!(&notices.take()[0], Notice::Disconnected { cause: ConnectionLost::Silent { .. }, .. }));
}

#[tokio::test(start_paused = true)]
async fn any_byte_is_a_sign_of_life() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut subscription, _) = subscribed(&client, &mut peer, "a").await;
    for _ in 0..5 {
        sleep(Duration::from_secs(49)).await;
        peer.say(&[delivery("a", b"1")]).await;
        subscription.next().await.unwrap();
    }
    assert!(broker.ends.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn silence_does_not_count_while_the_client_itself_does_not_read() {
    let settings = Settings { receive_queue_bytes: 1000, ..settings() };
    let (mut broker, mut peer, client) = connected_with(settings).await;
    let (mut slow, _) = subscribed(&client, &mut peer, "a").await;
    for _ in 0..5 {
        peer.say(&[delivery("a", &[0; 1000])]).await;
    }
    sleep(Duration::from_mins(10)).await;
    for _ in 0..5 {
        timeout(Duration::from_secs(1), slow.next()).await.unwrap().unwrap();
    }
    sleep(Duration::from_secs(49)).await;
    assert!(broker.ends.try_recv().is_err());
    sleep(Duration::from_secs(2)).await;
    assert!(broker.ends.try_recv().is_ok(), "listening again, silence counts again");
}

/// Which close code the client answers with.
async fn answer_to(frame: Frame<'static>) -> Said {
    let (_broker, mut peer, _client) = connected().await;
    peer.send(frame).await;
    peer.hear().await
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_breaks_the_protocol_is_told_so() {
    let binary = |bytes: Vec<u8>| Frame::binary(Payload::Owned(bytes));
    assert_eq!(answer_to(Frame::text(Payload::Owned(b"hi".to_vec()))).await, Said::Close(1003));
    assert_eq!(answer_to(binary(vec![0; 17 * 1024])).await, Said::Close(1009));
    assert_eq!(answer_to(binary(vec![0xc1])).await, Said::Close(4400));
    // A delivery to a topic that is none: to pass over it would lose it in silence.
    assert_eq!(answer_to(binary(b"\x93\x43\xa1*\xc4\x00".to_vec())).await, Said::Close(4400));
}

#[tokio::test(start_paused = true)]
async fn messages_of_later_versions_are_passed_over() {
    let (_broker, mut peer, _client) = connected().await;
    // An op that nobody has been given, and a notice.
    let mut bytes = b"\x92\x7f\x01\x92\x4a\x01".to_vec();
    BrokerMessage::Heartbeat(Id::from(3_u32)).encode(&mut bytes);
    peer.send(Frame::binary(Payload::Owned(bytes))).await;
    assert_eq!(peer.hear().await, Said::HeartbeatReply(3));
}
