//! Publishing once, and only if nothing has changed.

use carillon_client::{Client, ErrorCode, PublishError, Start};

use crate::{
    events::{Told, kept_at, publish, subscribe, take},
    site::Site,
};

async fn named(client: &Client, topic: &str, id: &str, payload: &str) -> carillon_client::Kept {
    let publication = client.publication(topic, payload.to_owned()).message_id(id);
    publication.acknowledged().await.unwrap().kept.unwrap()
}

#[tokio::test]
async fn message_id_is_kept_once_over_a_restart_of_the_broker() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let first = named(&client, "orders.a", "id-1", "first").await;
    let other_topic = named(&client, "orders.b", "id-1", "second").await;
    assert_eq!((first.is_duplicate, first.position.sequence(), other_topic.position.sequence()), (false, 1, 2));
    let broker = site.kill_and_restart(broker).await;
    let again = named(&client, "orders.a", "id-1", "another payload").await;
    assert_eq!((again.is_duplicate, &again.position), (true, &first.position));
    let from_elsewhere = named(&site.client(&broker).await, "orders.b", "id-1", "second").await;
    assert_eq!((from_elsewhere.is_duplicate, from_elsewhere.position), (true, other_topic.position));
    publish(&client, "orders.a", "end").await;
    let mut orders = subscribe(&client, "orders.>", Start::Beginning).await;
    let message = |sequence, payload: &str| Told::Message(sequence, payload.to_owned());
    let all = [message(1, "first"), message(2, "second"), message(3, "end"), Told::CaughtUp(3)];
    assert_eq!(take(&mut orders, 4).await, all);
}

#[tokio::test]
async fn publications_that_waited_for_a_restart_are_kept_in_their_order() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    publish(&client, "orders.a", "0").await;
    broker.signal("STOP");
    let mut pending = Vec::new();
    for number in 1..20 {
        let publication = client.publication("orders.a", number.to_string()).message_id(number.to_string());
        pending.push(publication.enqueue().await.unwrap());
    }
    // Some of them are on their way to a broker that never reads them.
    client.publish("orders.a", "not acknowledged").await.unwrap();
    let _broker = site.kill_and_restart(broker).await;
    for (sequence, pending) in (2..).zip(pending) {
        assert_eq!(kept_at(pending.await).sequence(), sequence);
    }
}

#[tokio::test]
async fn unexpected_sequence_tells_what_is_so_and_one_of_many_wins() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let expecting = |sequence| client.publication("orders.a", "x").expected_sequence(sequence).acknowledged();
    let refused = |outcome: Result<_, PublishError>| match outcome {
        Err(PublishError::Refused(refusal)) => (refusal.code, refusal.last_sequence),
        other => panic!("{other:?}"),
    };
    let unexpected = |last| (ErrorCode::UnexpectedSequence, Some(last));
    assert_eq!(refused(expecting(7).await), unexpected(0));
    assert_eq!(kept_at(expecting(0).await).sequence(), 1);
    assert_eq!(refused(expecting(0).await), unexpected(1));
    // What is published elsewhere does not count.
    assert_eq!(publish(&client, "orders.b", "other").await, 2);
    assert_eq!(kept_at(expecting(1).await).sequence(), 3);

    // What is known by its id is told again, though the topic has moved on since.
    let both = || client.publication("orders.a", "x").expected_sequence(3).message_id("id").acknowledged();
    let (first, again) = (both().await.unwrap().kept.unwrap(), both().await.unwrap().kept.unwrap());
    assert_eq!((first.position.sequence(), again.is_duplicate), (4, true));
    assert_eq!(first.position, again.position);

    let mut racing = Vec::new();
    for _ in 0..10 {
        let publication = client.publication("orders.a", "x").expected_sequence(4);
        racing.push(publication.enqueue().await.unwrap());
    }
    let mut won = 0;
    for outcome in racing {
        match outcome.await {
            Ok(ack) => {
                assert_eq!(ack.kept.unwrap().position.sequence(), 5);
                won += 1;
            }
            lost => assert_eq!(refused(lost), unexpected(5)),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn what_no_stream_keeps_is_not_promised() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    assert_eq!(client.publish_acknowledged("loose.a", "x").await.unwrap().kept, None);
    for publication in
        [client.publication("loose.a", "x").message_id("id"), client.publication("loose.a", "x").expected_sequence(0)]
    {
        let Err(PublishError::Refused(refusal)) = publication.acknowledged().await else { panic!("not refused") };
        assert_eq!(refusal.code, ErrorCode::NoStream);
    }
    for length in [0, 129] {
        let outcome = client.publication("orders.a", "x").message_id("i".repeat(length)).acknowledged().await;
        assert!(matches!(outcome, Err(PublishError::InvalidMessageId { bytes }) if bytes == length), "{outcome:?}");
    }
}
