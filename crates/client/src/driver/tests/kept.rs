//! Publications into streams: what the broker tells of them, and what is sent again.

use carillon_wire::{BrokerMessage, ErrorCode, broker_message::OkReply};
use tokio::time::Instant;

use super::{peer::*, *};
use crate::{
    error::{ConnectionLost, PublishError},
    publication::PendingAck,
};

async fn enqueue(client: &Client, payload: &'static str, within: Option<Duration>) -> PendingAck {
    let publication = client.publication("a", payload).message_id(format!("id-{payload}"));
    match within {
        Some(within) => publication.within(within),
        None => publication,
    }
    .enqueue()
    .await
    .unwrap()
}

/// Hears a publication with a message id. Gives its id and what it is.
async fn hear_kept(peer: &mut Peer<DuplexStream>) -> (u64, String) {
    match peer.hear().await {
        Said::PublishKept { id: Some(id), payload, message_id: Some(message_id), .. } => {
            let payload = String::from_utf8(payload).unwrap();
            assert_eq!(message_id, format!("id-{payload}"));
            (id, payload)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_acknowledgement_tells_where_the_message_is_kept() {
    let (_broker, mut peer, client) = connected().await;
    let pending = client.publication("a", "1").expected_sequence(6).enqueue().await.unwrap();
    let Said::PublishKept { id: Some(id), message_id: None, expected_sequence: Some(6), .. } = peer.hear().await else {
        panic!()
    };
    let BrokerMessage::Ok(reply) = ok_at(id, 7, None) else { panic!() };
    peer.say(&[BrokerMessage::Ok(OkReply { is_duplicate: true, ..reply })]).await;
    let kept = pending.await.unwrap().kept.unwrap();
    assert_eq!((&*kept.stream, kept.position.to_string().as_str(), kept.is_duplicate), (STREAM, "e1:7", true));
    let plain = client.publication("a", "1").enqueue().await.unwrap();
    let Said::Publish { id: Some(id), .. } = peer.hear().await else { panic!() };
    peer.say(&[ok(id)]).await;
    assert_eq!(plain.await.unwrap().kept, None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_condition_tells_what_is_so() {
    let (_broker, mut peer, client) = connected().await;
    let pending = client.publication("a", "1").expected_sequence(0).enqueue().await.unwrap();
    let Said::PublishKept { id: Some(id), .. } = peer.hear().await else { panic!() };
    let BrokerMessage::Error(mut error) = refuse(Some(id), ErrorCode::UnexpectedSequence) else { panic!() };
    error.last_sequence = Some(9);
    peer.say(&[BrokerMessage::Error(error)]).await;
    let Err(PublishError::Refused(refusal)) = pending.await else { panic!() };
    assert_eq!((refusal.code, refusal.last_sequence), (ErrorCode::UnexpectedSequence, Some(9)));
}

#[tokio::test(start_paused = true)]
async fn what_has_a_message_id_is_sent_again_first_and_in_order() {
    let (mut broker, mut peer, client) = connected().await;
    let first = enqueue(&client, "1", None).await;
    let unnamed = client.publication("a", "2").enqueue().await.unwrap();
    let third = enqueue(&client, "3", None).await;
    let mut old = Vec::new();
    for _ in 0..3 {
        if let Said::PublishKept { id, .. } = peer.hear().await {
            old.push(id.unwrap());
        }
    }
    drop(peer);
    assert!(matches!(unnamed.await, Err(PublishError::OutcomeUnknown(_))));
    let fourth = enqueue(&client, "4", None).await;
    let mut peer = broker.welcome().await;
    for (pending, payload) in [(first, "1"), (third, "3"), (fourth, "4")] {
        let (id, heard) = hear_kept(&mut peer).await;
        assert_eq!(heard, payload);
        assert!(!old.contains(&id));
        peer.say(&[ok_at(id, 1, None)]).await;
        assert!(pending.await.unwrap().kept.is_some());
    }
    assert_eq!(client.counters().publications_sent_again, 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_sending_again_does_not_claim_that_nobody_got_it() {
    let (mut broker, mut peer, client) = connected().await;
    let pending = enqueue(&client, "1", None).await;
    hear_kept(&mut peer).await;
    drop(peer);
    let mut peer = broker.welcome().await;
    let (id, _) = hear_kept(&mut peer).await;
    peer.say(&[refuse(Some(id), ErrorCode::Forbidden)]).await;
    assert!(matches!(
        pending.await,
        Err(PublishError::RefusedAgain { refusal, lost: ConnectionLost::Broken { .. } }) if refusal.code == ErrorCode::Forbidden
    ));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_time_that_was_given() {
    let (mut broker, mut peer, client) = connected().await;
    let within = Duration::from_secs(3);
    let start = Instant::now();
    let never = enqueue(&client, "1", Some(within)).await;
    let answered = enqueue(&client, "2", Some(within)).await;
    hear_kept(&mut peer).await;
    let (id, _) = hear_kept(&mut peer).await;
    peer.say(&[ok_at(id, 1, None)]).await;
    answered.await.unwrap();
    let outcome = never.await;
    assert!(matches!(outcome, Err(PublishError::TimedOut { was_sent: true, .. })), "{outcome:?}");
    assert!(start.elapsed() >= within && start.elapsed() < within + Duration::from_millis(20));
    // Its late answer is nobody's.
    peer.say(&[ok_at(1, 1, None)]).await;

    drop(peer);
    let stream = broker.stream().await;
    let start = Instant::now();
    let unsent = enqueue(&client, "3", Some(within)).await;
    assert!(matches!(unsent.await, Err(PublishError::TimedOut { was_sent: false, .. })));
    assert!(start.elapsed() < within + Duration::from_millis(20));
    let (mut peer, _) = Peer::welcome(stream).await;
    let last = enqueue(&client, "4", None).await;
    let (id, heard) = hear_kept(&mut peer).await;
    assert_eq!(heard, "4");
    peer.say(&[ok_at(id, 2, None)]).await;
    last.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_sent_again_is_unknown_when_the_client_ends() {
    let (mut broker, mut peer, client) = connected().await;
    let pending = enqueue(&client, "1", None).await;
    hear_kept(&mut peer).await;
    drop(peer);
    let mut peer = Peer::upgrade(broker.stream().await).await;
    assert!(matches!(peer.hear().await, Said::Connect { .. }));
    peer.say(&[refuse(Some(0), ErrorCode::Unauthenticated)]).await;
    assert!(matches!(pending.await, Err(PublishError::OutcomeUnknown(ConnectionLost::Broken { .. }))));
}

#[tokio::test(start_paused = true)]
async fn message_ids_that_cannot_be_are_not_sent() {
    let (_broker, _peer, client) = connected().await;
    for (id, bytes) in [(String::new(), 0), ("x".repeat(129), 129)] {
        let outcome = client.publication("a", "").message_id(id).enqueue().await;
        assert!(matches!(outcome, Err(PublishError::InvalidMessageId { bytes: told }) if told == bytes));
    }
}
