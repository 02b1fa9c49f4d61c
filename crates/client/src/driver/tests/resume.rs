//! Subscriptions with a start: what they ask for again after a lost connection, and what the application is told.

use std::collections::VecDeque;

use carillon_wire::{
    BrokerMessage, EpochReason, ErrorCode, GapReason, Id, Resumed,
    broker_message::{Ended, EpochChanged, Gap, GapRange},
};

use super::{
    peer::*,
    subscribe::{next_payload, subscribed},
    *,
};
use crate::{
    client::SubscribeOptions,
    error::SubscribeError,
    event::{Event, Missing},
    start::Start,
    subscription::Subscription,
};

/// Subscribes with a start that the broker accepts behind a sequence. Gives the id too.
async fn started(
    client: &Client,
    peer: &mut Peer<DuplexStream>,
    start: Start,
    said: &str,
    sequence: u64,
) -> (Subscription, u64) {
    let options = SubscribeOptions::default().start(start);
    let (subscription, id) = tokio::join!(client.subscribe("a.*", options), async {
        let (id, start) = peer.hear_start().await;
        assert_eq!(start, said);
        peer.say(&[ok_at(id, sequence, None)]).await;
        id
    });
    (subscription.unwrap(), id)
}

/// Loses the connection, and gives the next one and what is asked for on it.
async fn lose(broker: &mut Broker, peer: Peer<DuplexStream>) -> (Peer<DuplexStream>, u64, String) {
    drop(peer);
    let mut peer = broker.welcome().await;
    let (id, start) = peer.hear_start().await;
    (peer, id, start)
}

fn gap(id: u64, first: u64, last: u64) -> BrokerMessage<'static> {
    let range = Some(GapRange { first, last, stream: STREAM });
    let (reason, count) = (GapReason::Retention, last - first + 1);
    BrokerMessage::Gap(Gap { subscription: Id::new(id).unwrap(), reason, count, range })
}

fn position(subscription: &Subscription) -> String {
    subscription.position().unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn it_resumes_behind_the_last_that_came_and_no_message_comes_twice() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut subscription, id) = started(&client, &mut peer, Start::Beginning, "beginning", 0).await;
    peer.say(&[marker(id, 2), kept("a.b", b"1", 1), kept("a.b", b"3", 3), BrokerMessage::Live(at(id, 3))]).await;
    peer.say(&[kept("a.c", b"4", 4)]).await;
    assert_eq!(next_payload(&mut subscription).await, "1");
    assert_eq!(position(&subscription), "e1:1");
    assert_eq!(next_payload(&mut subscription).await, "3");
    assert!(matches!(subscription.next().await, Some(Event::CaughtUp(live)) if live.position.sequence() == 3));
    assert_eq!(next_payload(&mut subscription).await, "4");
    let (mut peer, id, start) = lose(&mut broker, peer).await;
    assert_eq!(start, "behind e1:4");
    peer.say(&[ok_at(id, 4, Some(Resumed::Continued)), marker(id, 2), kept("a.c", b"4", 4), kept("a.c", b"6", 6)])
        .await;
    match subscription.next().await {
        Some(Event::Resumed(resumed)) => {
            assert_eq!((resumed.outcome, resumed.position.sequence()), (Resumed::Continued, 4));
            assert!(resumed.reconnected.is_some());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next_payload(&mut subscription).await, "6");
    assert_eq!(client.counters().messages_passed_over, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_rare_topic_resumes_where_it_is_complete() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut subscription, id) = started(&client, &mut peer, Start::Now, "now", 10).await;
    assert!(subscription.try_next().is_none());
    assert_eq!(position(&subscription), "e1:10");
    peer.say(&[BrokerMessage::Live(at(id, 10)), BrokerMessage::Position(at(id, 5000))]).await;
    assert!(matches!(subscription.next().await, Some(Event::CaughtUp(_))));
    assert!(tokio::time::timeout(Duration::from_secs(1), subscription.next()).await.is_err());
    assert_eq!(position(&subscription), "e1:5000");
    let (_peer, _, start) = lose(&mut broker, peer).await;
    assert_eq!(start, "behind e1:5000");
}

#[tokio::test(start_paused = true)]
async fn the_original_start_is_asked_for_again_until_there_is_a_position() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut subscription, _) = started(&client, &mut peer, Start::LastByTopic, "last values", 0).await;
    let (mut peer, id, start) = lose(&mut broker, peer).await;
    assert_eq!(start, "last values");
    peer.say(&[ok_at(id, 0, None), marker(id, 1), kept("a.b", b"7", 7)]).await;
    // Nothing was given before, so there is nothing to tell.
    assert_eq!(next_payload(&mut subscription).await, "7");
    let (_peer, _, start) = lose(&mut broker, peer).await;
    assert_eq!(start, "behind e1:7");
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_not_forgotten_when_the_connection_breaks_before_it_is_told() {
    let (mut broker, mut peer, client) = connected().await;
    let behind = Start::Behind("e1:2".parse().unwrap());
    let options = SubscribeOptions::default().start(behind);
    let (subscription, ()) = tokio::join!(client.subscribe("a.*", options), async {
        let (id, start) = peer.hear_start().await;
        assert_eq!(start, "behind e1:2");
        peer.say(&[ok_at(id, 8, Some(Resumed::AfterGap))]).await;
    });
    let mut subscription = subscription.unwrap();
    let (mut peer, id, start) = lose(&mut broker, peer).await;
    assert_eq!(start, "behind e1:2");
    peer.say(&[ok_at(id, 8, Some(Resumed::AfterGap)), gap(id, 3, 8)]).await;
    for is_new in [true, false] {
        match subscription.next().await {
            Some(Event::Resumed(resumed)) => {
                assert_eq!((resumed.outcome, resumed.reconnected.is_none()), (Resumed::AfterGap, is_new));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(position(&subscription), "e1:2");
    }
    match subscription.next_message().await {
        Some(Err(Missing::Gap(gap))) => {
            let range = gap.range.unwrap();
            assert_eq!((gap.reason, gap.count, range.first, range.last), (GapReason::Retention, 6, 3, 8));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(position(&subscription), "e1:8");
    let (_peer, _, start) = lose(&mut broker, peer).await;
    assert_eq!(start, "behind e1:8");
}

#[tokio::test(start_paused = true)]
async fn another_epoch_goes_on_with_its_own_sequences() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut subscription, id) = started(&client, &mut peer, Start::Now, "now", 100).await;
    let epoch = EpochChanged {
        subscription: Id::new(id).unwrap(),
        stream: STREAM,
        epoch: "e2",
        reason: EpochReason::Restarted,
        from: 1,
    };
    peer.say(&[BrokerMessage::EpochChanged(epoch), marker(id, 1), kept("a.b", b"1", 1)]).await;
    match subscription.next_message().await {
        Some(Err(Missing::EpochChanged(change))) => {
            assert_eq!((&*change.epoch, change.reason, change.from), ("e2", EpochReason::Restarted, 1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next_payload(&mut subscription).await, "1");
    assert_eq!(position(&subscription), "e2:1");
    let (_peer, _, start) = lose(&mut broker, peer).await;
    assert_eq!(start, "behind e2:1");
}

#[tokio::test(start_paused = true)]
async fn deliveries_go_to_the_marker_or_to_all_who_are_live() {
    let (_broker, mut peer, client) = connected().await;
    let (mut live, _) = subscribed(&client, &mut peer, "a.b").await;
    let (mut behind, id) = started(&client, &mut peer, Start::Beginning, "beginning", 0).await;
    peer.say(&[kept("a.b", b"5", 5), delivery("a.b", b"plain"), marker(id, 1), kept("a.b", b"1", 1)]).await;
    peer.say(&[marker(id, 1), kept("a.b", b"5", 5), BrokerMessage::Live(at(id, 5)), kept("a.b", b"6", 6)]).await;
    for expected in ["5", "plain", "6"] {
        assert_eq!(next_payload(&mut live).await, expected);
    }
    assert!(live.try_next().is_none());
    let mut expected = VecDeque::from(["plain", "1", "5", "6"]);
    while let Some(event) = behind.try_next() {
        if let Event::Message(message) = event {
            assert_eq!(message.payload(), expected.pop_front().unwrap());
        }
    }
    assert!(expected.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_knows_no_starts_is_not_believed() {
    let (_broker, mut peer, client) = connected().await;
    let options = SubscribeOptions::default().start(Start::Beginning);
    let (outcome, ()) = tokio::join!(client.subscribe("a", options.clone()), async {
        let (id, _) = peer.hear_start().await;
        peer.say(&[ok(id)]).await;
        assert_eq!(peer.hear().await, Said::Unsubscribe { subscription: id });
        // The next request's id.
        peer.say(&[ok(id + 1)]).await;
    });
    let Err(SubscribeError::Refused { refusal, .. }) = outcome else { panic!() };
    assert_eq!(refusal.code, ErrorCode::Unsupported);
    let many = client.subscribe_many(["a", "b"], options).await;
    assert!(matches!(many, Err(SubscribeError::ManyPatternsWithStart { patterns: 2 })));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_ended_before_its_start_was_found_is_told_why() {
    let (_broker, mut peer, client) = connected().await;
    let options = SubscribeOptions::default().start(Start::Beginning);
    let (outcome, ()) = tokio::join!(client.subscribe("a", options), async {
        let (id, _) = peer.hear_start().await;
        peer.say(&[ok(id)]).await;
        assert_eq!(peer.hear().await, Said::Unsubscribe { subscription: id });
        let subscription = Id::new(id).unwrap();
        let ended = Ended { subscription, code: ErrorCode::Forbidden, message: "not allowed" };
        peer.say(&[BrokerMessage::Ended(ended), refuse(Some(id + 1), ErrorCode::UnknownSubscription)]).await;
    });
    let Err(SubscribeError::Refused { refusal, .. }) = outcome else { panic!() };
    assert_eq!(refusal.code, ErrorCode::Forbidden);
}

#[tokio::test(start_paused = true)]
async fn a_position_never_goes_back_within_an_epoch() {
    let (mut broker, mut peer, client) = connected().await;
    let (mut subscription, id) = started(&client, &mut peer, Start::Now, "now", 10).await;
    peer.say(&[BrokerMessage::Live(at(id, 10)), kept("a.b", b"12", 12), BrokerMessage::Position(at(id, 11))]).await;
    assert!(matches!(subscription.next().await, Some(Event::CaughtUp(_))));
    assert_eq!(next_payload(&mut subscription).await, "12");
    assert!(tokio::time::timeout(Duration::from_secs(1), subscription.next()).await.is_err());
    assert_eq!(position(&subscription), "e1:12");
    let (_peer, _, start) = lose(&mut broker, peer).await;
    assert_eq!(start, "behind e1:12");
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_a_marker_announced_must_come() {
    let (mut broker, mut peer, client) = connected().await;
    let (_subscription, id) = started(&client, &mut peer, Start::Beginning, "beginning", 0).await;
    peer.say(&[marker(id, 2), kept("a.b", b"1", 1), marker(id, 1)]).await;
    assert_eq!(peer.hear().await, Said::Close(4400));
    drop(client);
    assert!(broker.ends.recv().await.is_none());
}
