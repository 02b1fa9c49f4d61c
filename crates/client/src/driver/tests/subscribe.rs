//! Subscriptions: who gets what, what is missing, and what a slow application does.

use carillon_wire::{BrokerMessage, ErrorCode, GapReason, Id, broker_message::Gap};
use tokio::time::timeout;

use super::{peer::*, *};
use crate::{client::SubscribeOptions, error::SubscribeError, event::Event, subscription::Subscription};

/// Subscribes, with the broker's consent. Gives the id too.
pub(super) async fn subscribed(client: &Client, peer: &mut Peer<DuplexStream>, pattern: &str) -> (Subscription, u64) {
    let (subscription, id) =
        tokio::join!(client.subscribe(pattern, SubscribeOptions::default()), peer.accept_subscription(pattern));
    (subscription.unwrap(), id)
}

pub(super) async fn next_payload(subscription: &mut Subscription) -> String {
    match subscription.next().await {
        Some(Event::Message(message)) => String::from_utf8(message.payload().to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn one_delivery_reaches_every_subscription_that_matches() {
    let (_broker, mut peer, client) = connected().await;
    let (mut all, _) = subscribed(&client, &mut peer, ">").await;
    let (mut exact, _) = subscribed(&client, &mut peer, "a.b").await;
    let (mut twin, _) = subscribed(&client, &mut peer, "a.b").await;
    let (mut other, _) = subscribed(&client, &mut peer, "b.*").await;
    peer.say(&[delivery("a.b", b"1"), delivery("b.c", b"2")]).await;
    for subscription in [&mut exact, &mut twin, &mut all] {
        assert_eq!(next_payload(subscription).await, "1");
    }
    assert_eq!(next_payload(&mut all).await, "2");
    assert_eq!(next_payload(&mut other).await, "2");
    assert!(exact.try_next().is_none() && twin.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_once_to_a_subscription_of_several_patterns() {
    let (_broker, mut peer, client) = connected().await;
    let (many, ()) = tokio::join!(client.subscribe_many(["a.>", "a.b", "a.b"], SubscribeOptions::default()), async {
        peer.accept_subscription("a.>").await;
        peer.accept_subscription("a.b").await;
    });
    let mut many = many.unwrap();
    peer.say(&[delivery("a.b", b"1"), delivery("a.c", b"2")]).await;
    assert_eq!(next_payload(&mut many).await, "1");
    assert_eq!(next_payload(&mut many).await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_gap_goes_to_its_subscription_alone_and_keeps_its_place() {
    let (_broker, mut peer, client) = connected().await;
    let (mut first, _) = subscribed(&client, &mut peer, "a").await;
    let (mut second, id) = subscribed(&client, &mut peer, ">").await;
    let gap = Gap { subscription: Id::new(id).unwrap(), reason: GapReason::Overflow, count: 7, range: None };
    peer.say(&[delivery("a", b"1"), BrokerMessage::Gap(gap), delivery("a", b"2")]).await;
    assert_eq!(next_payload(&mut second).await, "1");
    match second.next().await {
        Some(Event::Gap(gap)) => assert_eq!((gap.pattern.as_str(), gap.count), (">", 7)),
        other => panic!("{other:?}"),
    }
    assert_eq!(next_payload(&mut second).await, "2");
    assert_eq!(next_payload(&mut first).await, "1");
    assert_eq!(next_payload(&mut first).await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_refused_pattern_refuses_the_whole_and_leaves_nothing_behind() {
    let (_broker, mut peer, client) = connected().await;
    let (outcome, ()) = tokio::join!(client.subscribe_many(["a", "b"], SubscribeOptions::default()), async {
        let kept = peer.accept_subscription("a").await;
        let Said::Subscribe { id, .. } = peer.hear().await else { panic!() };
        peer.say(&[refuse(Some(id), ErrorCode::Forbidden)]).await;
        assert_eq!(peer.hear().await, Said::Unsubscribe { subscription: kept });
    });
    assert!(matches!(outcome, Err(SubscribeError::Refused { pattern, .. }) if pattern == "b"));
}

#[tokio::test(start_paused = true)]
async fn invalid_patterns_are_not_sent() {
    let (_broker, _peer, client) = connected().await;
    let options = SubscribeOptions::default();
    assert!(matches!(client.subscribe("a.>.b", options.clone()).await, Err(SubscribeError::InvalidPattern { .. })));
    assert!(matches!(client.subscribe_many([], options).await, Err(SubscribeError::NoPattern)));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_subscription_unsubscribes() {
    let (_broker, mut peer, client) = connected().await;
    let (subscription, id) = subscribed(&client, &mut peer, "a").await;
    drop(subscription);
    assert_eq!(peer.hear().await, Said::Unsubscribe { subscription: id });
}

#[tokio::test(start_paused = true)]
async fn giving_up_a_subscription_before_its_reply_unsubscribes() {
    let (_broker, mut peer, client) = connected().await;
    let asking = tokio::spawn(async move { client.subscribe("a", SubscribeOptions::default()).await.map(drop) });
    let Said::Subscribe { id, .. } = peer.hear().await else { panic!() };
    asking.abort();
    assert_eq!(peer.hear().await, Said::Unsubscribe { subscription: id });
}

#[tokio::test(start_paused = true)]
async fn payloads_share_the_frame_that_they_came_in() {
    let (_broker, mut peer, client) = connected().await;
    let (mut first, _) = subscribed(&client, &mut peer, "a").await;
    let (mut second, _) = subscribed(&client, &mut peer, "*").await;
    peer.say(&[delivery("a", b"shared")]).await;
    let (Some(Event::Message(one)), Some(Event::Message(two))) = (first.next().await, second.next().await) else {
        panic!()
    };
    assert_eq!(one.payload().as_ptr(), two.payload().as_ptr());
    assert_eq!(one.time_us(), 1_000_000);
}

/// Sends deliveries of 1,000 bytes until the client stops taking them, or until there were `most`. Gives how many went out.
async fn flood(peer: &mut Peer<DuplexStream>, most: usize) -> usize {
    let payload = [b'x'; 1000];
    for sent in 0..most {
        let messages = [delivery("a", &payload)];
        if timeout(Duration::from_secs(1), peer.say(&messages)).await.is_err() {
            return sent;
        }
    }
    most
}

#[tokio::test(start_paused = true)]
async fn reading_stops_at_a_full_queue_and_goes_on_when_it_was_taken_from() {
    let settings = Settings { receive_queue_bytes: 10_000, ..settings() };
    let (_broker, mut peer, client) = connected_with(settings).await;
    let (mut slow, _) = subscribed(&client, &mut peer, "a").await;
    let sent = flood(&mut peer, 1000).await;
    // The queue, the pipe, and a few on the way.
    assert!(sent < 100, "{sent}");
    let mut held = 0;
    while slow.try_next().is_some() {
        held += 1;
    }
    assert!((9..=10).contains(&held), "{held}");
    assert!(timeout(Duration::from_secs(1), slow.next()).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn dropping_a_full_subscription_lets_the_others_go_on() {
    let settings = Settings { receive_queue_bytes: 10_000, ..settings() };
    let (_broker, mut peer, client) = connected_with(settings).await;
    let (slow, _) = subscribed(&client, &mut peer, "a").await;
    let (mut quick, _) = subscribed(&client, &mut peer, "b").await;
    for _ in 0..20 {
        peer.say(&[delivery("a", &[0; 1000])]).await;
    }
    peer.say(&[delivery("b", b"behind")]).await;
    assert!(timeout(Duration::from_secs(1), quick.next()).await.is_err());
    drop(slow);
    assert_eq!(next_payload(&mut quick).await, "behind");
}

#[tokio::test(start_paused = true)]
async fn a_reply_behind_a_full_queue_still_arrives() {
    let settings = Settings { receive_queue_bytes: 10_000, ..settings() };
    let (_broker, mut peer, client) = connected_with(settings).await;
    let (_slow, _) = subscribed(&client, &mut peer, "a").await;
    let pending = client.publication("b", "").enqueue().await.unwrap();
    let Said::Publish { id: Some(id), .. } = peer.hear().await else { panic!() };
    for _ in 0..20 {
        peer.say(&[delivery("a", &[0; 1000])]).await;
    }
    peer.say(&[ok(id)]).await;
    timeout(Duration::from_secs(1), pending).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_ends_subscriptions_even_when_their_queues_are_full() {
    let settings = Settings { receive_queue_bytes: 1000, ..settings() };
    let (_broker, mut peer, client) = connected_with(settings).await;
    let (mut slow, _) = subscribed(&client, &mut peer, "a").await;
    for _ in 0..20 {
        peer.say(&[delivery("a", &[0; 1000])]).await;
    }
    let (closed, ()) = tokio::join!(client.close(), peer.part());
    closed.unwrap();
    while let Some(event) = slow.next().await {
        assert!(matches!(event, Event::Message(_)));
    }
}
