//! Publications: order, outcomes, bounds, and the end.

use carillon_wire::{CloseCode, ErrorCode};

use super::{peer::*, *};
use crate::error::{ConnectionLost, PublishError};

fn published(topic: &str, payload: &[u8]) -> Said {
    Said::Publish { id: None, topic: topic.to_owned(), payload: payload.to_vec() }
}

#[tokio::test(start_paused = true)]
async fn publications_leave_in_order_and_share_websocket_messages_within_the_limit() {
    let (_broker, mut peer, client) = connected().await;
    let before = peer.messages;
    for number in 0..100_u8 {
        client.publish("a.b", vec![number; 100]).await.unwrap();
    }
    for number in 0..100_u8 {
        assert_eq!(peer.hear().await, published("a.b", &[number; 100]));
    }
    // 100 of them are more than 10,000 bytes, and one message holds 4,096.
    let used = peer.messages - before;
    assert!((3..20).contains(&used), "{used}");
}

#[tokio::test(start_paused = true)]
async fn acknowledgement_and_refusal_reach_who_asked() {
    let (_broker, mut peer, client) = connected().await;
    let first = client.publication("a", "1").header("k", "v").enqueue().await.unwrap();
    let second = client.publication("b", "2").enqueue().await.unwrap();
    let (Said::Publish { id: Some(one), .. }, Said::Publish { id: Some(two), .. }) =
        (peer.hear().await, peer.hear().await)
    else {
        panic!()
    };
    peer.say(&[refuse(Some(two), ErrorCode::ReservedTopic), ok(one)]).await;
    first.await.unwrap();
    assert!(matches!(second.await, Err(PublishError::Refused(r)) if r.code == ErrorCode::ReservedTopic));
}

#[tokio::test(start_paused = true)]
async fn refusal_of_what_nobody_awaits_is_counted_and_noticed() {
    let notices = std::sync::Arc::new(Notices::default());
    let (mut broker, client) = start_with(settings(), Some(notices.handler()));
    let mut peer = broker.welcome().await;
    let client = client.await.unwrap().unwrap();
    client.publish("a", "1").await.unwrap();
    let flushing = {
        let client = client.clone();
        tokio::spawn(async move { client.flush().await })
    };
    assert_eq!(peer.hear().await, published("a", b"1"));
    let Said::Flush(id) = peer.hear().await else { panic!() };
    peer.say(&[refuse(None, ErrorCode::Forbidden), ok(id)]).await;
    flushing.await.unwrap().unwrap();
    assert_eq!(client.counters().publications_refused, 1);
    assert!(matches!(&notices.take()[..], [Notice::PublicationRefused(r)] if r.code == ErrorCode::Forbidden));
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_would_refuse_is_not_sent() {
    let (_broker, _peer, client) = connected().await;
    assert!(matches!(client.publish("a..b", "").await, Err(PublishError::InvalidTopic { .. })));
    let too_large = client.publish("a", vec![0; 1001]).await;
    assert!(matches!(too_large, Err(PublishError::TooLarge { bytes: 1001, max_bytes: 1000 })));
}

#[tokio::test(start_paused = true)]
async fn outcome_is_unknown_when_the_connection_ends_before_the_reply() {
    let (_broker, mut peer, client) = connected().await;
    let pending = client.publication("a", "1").enqueue().await.unwrap();
    assert!(matches!(peer.hear().await, Said::Publish { .. }));
    drop(peer);
    assert!(matches!(pending.await, Err(PublishError::OutcomeUnknown(ConnectionLost::Broken { .. }))));
}

#[tokio::test(start_paused = true)]
async fn publications_wait_for_the_next_connection_and_then_for_room() {
    let settings = Settings { send_queue_bytes: 1000, ..settings() };
    let (mut broker, peer, client) = connected_with(settings).await;
    drop(peer);
    let mut stream = broker.stream().await;
    // Nobody answers the upgrade, so nothing leaves.
    let mut queued = 0_u8;
    while tokio::time::timeout(Duration::from_secs(1), client.publish("a", vec![queued; 100])).await.is_ok() {
        queued += 1;
    }
    assert_eq!(queued, 5, "each takes its bytes and 64");
    let head = read_head(&mut stream).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, accepting(&head).as_bytes()).await.unwrap();
    let mut peer = Peer::after_upgrade(stream);
    assert!(matches!(peer.hear().await, Said::Connect { .. }));
    peer.say(&[carillon_wire::BrokerMessage::Welcome(welcome())]).await;
    for number in 0..queued {
        assert_eq!(peer.hear().await, published("a", &[number; 100]));
    }
    client.publish("a", "room again").await.unwrap();
    assert_eq!(peer.hear().await, published("a", b"room again"));
}

#[tokio::test(start_paused = true)]
async fn unacknowledged_publications_keep_their_place_in_the_queue() {
    let settings = Settings { send_queue_bytes: 1000, ..settings() };
    let (_broker, mut peer, client) = connected_with(settings).await;
    let mut pending = Vec::new();
    while let Ok(ack) =
        tokio::time::timeout(Duration::from_secs(1), client.publication("a", vec![0; 100]).enqueue()).await
    {
        pending.push(ack.unwrap());
    }
    assert_eq!(pending.len(), 5);
    let Said::Publish { id: Some(id), .. } = peer.hear().await else { panic!() };
    peer.say(&[ok(id)]).await;
    client.publish("a", vec![0; 100]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_shrinks_with_the_next_connection_is_kept() {
    let (mut broker, peer, client) = connected().await;
    drop(peer);
    let stream = broker.stream().await;
    let waiting = client.publication("a", vec![0; 900]).enqueue().await.unwrap();
    let mut peer = Peer::upgrade(stream).await;
    assert!(matches!(peer.hear().await, Said::Connect { .. }));
    let smaller = carillon_wire::broker_message::Welcome { max_payload_bytes: 800, ..welcome() };
    peer.say(&[carillon_wire::BrokerMessage::Welcome(smaller)]).await;
    assert!(matches!(waiting.await, Err(PublishError::TooLarge { bytes: 900, max_bytes: 800 })));
}

#[tokio::test(start_paused = true)]
async fn where_the_welcome_tells_no_limits_the_defaults_hold() {
    let (mut broker, client) = start_with(settings(), None);
    let mut peer = Peer::upgrade(broker.stream().await).await;
    assert!(matches!(peer.hear().await, Said::Connect { .. }));
    let silent = carillon_wire::broker_message::Welcome { max_payload_bytes: 0, max_message_bytes: 0, ..welcome() };
    peer.say(&[carillon_wire::BrokerMessage::Welcome(silent)]).await;
    let client = client.await.unwrap().unwrap();
    let outcome = client.publish("a", vec![0; (1 << 20) + 1]).await;
    assert!(matches!(outcome, Err(PublishError::TooLarge { bytes: 1_048_577, max_bytes: 1_048_576 })));
}

#[tokio::test(start_paused = true)]
async fn close_sends_what_waits_and_awaits_what_is_due() {
    let (_broker, mut peer, client) = connected().await;
    client.publish("a", "1").await.unwrap();
    let pending = client.publication("b", "2").enqueue().await.unwrap();
    let closing = {
        let client = client.clone();
        tokio::spawn(async move { client.close().await })
    };
    assert_eq!(peer.hear().await, published("a", b"1"));
    let Said::Publish { id: Some(id), .. } = peer.hear().await else { panic!() };
    peer.say(&[ok(id)]).await;
    peer.part().await;
    closing.await.unwrap().unwrap();
    pending.await.unwrap();
    assert!(matches!(client.publish("a", "").await, Err(PublishError::Ended(ConnectionLost::ClosedByApplication))));
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_gives_up_after_its_timeout() {
    let (_broker, _peer, client) = connected().await;
    let start = tokio::time::Instant::now();
    assert!(client.close().await.is_err());
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_handles_are_gone_sends_what_waits_and_leaves() {
    let (_broker, mut peer, client) = connected().await;
    client.publish("a", "last").await.unwrap();
    drop(client);
    assert_eq!(peer.hear().await, published("a", b"last"));
    peer.part().await;
}

#[tokio::test(start_paused = true)]
async fn an_ended_client_tells_why_and_names_what_it_discarded() {
    let notices = std::sync::Arc::new(Notices::default());
    let (mut broker, client) = start_with(settings(), Some(notices.handler()));
    let mut peer = broker.welcome().await;
    let client = client.await.unwrap().unwrap();
    peer.close(CloseCode::Draining).await;
    drop(peer);
    let mut again = Peer::upgrade(broker.stream().await).await;
    client.publish("a", "").await.unwrap();
    let pending = client.publication("b", "").enqueue().await.unwrap();
    assert!(matches!(again.hear().await, Said::Connect { .. }));
    again.say(&[refuse(Some(0), ErrorCode::Unauthenticated)]).await;
    assert!(matches!(pending.await, Err(PublishError::Ended(ConnectionLost::ReconnectFailed(_)))));
    assert!(matches!(client.publish("a", "").await, Err(PublishError::Ended(ConnectionLost::ReconnectFailed(_)))));
    assert_eq!(client.counters().publications_discarded, 1);
    assert!(matches!(notices.take().last(), Some(Notice::PublicationsDiscarded { count: 1, .. })));
}
