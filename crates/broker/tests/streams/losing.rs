//! What streams lose, by retention, by a purge, or by an operator who removes all: always told, with what is gone.

use carillon_client::{EpochReason, GapReason, HistoryItem, Missing, Position, Resumption, Start, SubscribeOptions};

use crate::{
    events::{Told, next, next_but_caught_up, numbered, publish, publish_numbers, subscribe, take},
    site::Site,
};

#[tokio::test]
async fn retention_gap_is_told_with_its_range_to_who_was_away() {
    let site = Site::new(&[("STREAMS__ORDERS__MAX_MESSAGES", "10")]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let mut orders = subscribe(&client, "orders.>", Start::Beginning).await;
    publish_numbers(&client, "orders.a", 0..2).await;
    assert_eq!(take(&mut orders, 3).await, [vec![Told::CaughtUp(0)], numbered(0..2)].concat());
    let position = orders.position().unwrap().clone();
    drop(orders);
    publish_numbers(&client, "orders.a", 2..32).await;
    broker.wait_for_metric("carillon_stream_first_sequence{stream=\"orders\"}", 23);

    let mut again = subscribe(&client, "orders.>", Start::Behind(position.clone())).await;
    let lost = [Told::Resumed(Resumption::AfterGap, 22), Told::Gap(GapReason::Retention, 3, 22)].to_vec();
    assert_eq!(take(&mut again, 13).await, [lost, numbered(22..32), vec![Told::CaughtUp(32)]].concat());

    // Who wants messages alone gets it as an error, and goes on behind it.
    let mut messages = subscribe(&client, "orders.>", Start::Behind(position.clone())).await;
    let Some(Err(Missing::Gap(gap))) = messages.next_message().await else { panic!("no gap") };
    assert_eq!(gap.count, 20);
    assert_eq!(messages.next_message().await.unwrap().unwrap().sequence(), Some(23));

    // And who asks for history is told as well.
    let mut history = client.history("orders.>", Start::Behind(position)).unwrap();
    let Some(HistoryItem::Gap(gap)) = history.next().await.unwrap() else { panic!("no gap") };
    let range = gap.range.unwrap();
    assert_eq!((range.first, range.last), (3, 22));
}

#[tokio::test]
async fn what_newer_values_of_a_topic_replaced_is_no_gap() {
    let site = Site::new(&[("STREAMS__TICKS__MAX_MESSAGES_PER_TOPIC", "1")]);
    let broker = site.start();
    let client = site.client(&broker).await;
    let mut ticks = subscribe(&client, "ticks.*", Start::Beginning).await;
    publish(&client, "ticks.a", "0").await;
    assert_eq!(take(&mut ticks, 2).await, [vec![Told::CaughtUp(0)], numbered(0..1)].concat());
    let position = ticks.position().unwrap().clone();
    publish_numbers(&client, "ticks.a", 1..5).await;
    let mut again = subscribe(&client, "ticks.*", Start::Behind(position)).await;
    let resumed = Told::Resumed(Resumption::Continued, 1);
    assert_eq!(take(&mut again, 3).await, [vec![resumed], numbered(4..5), vec![Told::CaughtUp(5)]].concat());
}

#[tokio::test]
async fn purge_is_no_matter_to_who_is_live_and_a_gap_to_who_was_before_it() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    for (pattern, topic, stream) in [("orders.>", "orders.a", "orders"), ("ticks.*", "ticks.a", "ticks")] {
        let mut live = subscribe(&client, pattern, Start::Beginning).await;
        publish_numbers(&client, topic, 0..1).await;
        assert_eq!(take(&mut live, 2).await, [vec![Told::CaughtUp(0)], numbered(0..1)].concat());
        let position = live.position().unwrap().clone();
        publish_numbers(&client, topic, 1..5).await;
        assert_eq!(take(&mut live, 4).await, numbered(1..5));

        site.operate(&broker, &["purge", stream, "--before", "4", "--yes"]);
        publish_numbers(&client, topic, 5..6).await;
        assert_eq!(take(&mut live, 1).await, numbered(5..6));
        let mut away = subscribe(&client, pattern, Start::Behind(position)).await;
        let lost = vec![Told::Resumed(Resumption::AfterGap, 3), Told::Gap(GapReason::Purge, 2, 3)];
        assert_eq!(take(&mut away, 6).await, [lost, numbered(3..6), vec![Told::CaughtUp(6)]].concat());

        site.operate(&broker, &["purge", stream, "--all", "--yes"]);
        publish_numbers(&client, topic, 6..7).await;
        assert_eq!(take(&mut live, 1).await, numbered(6..7), "the epoch and its numbers go on");
        let mut first = subscribe(&client, pattern, Start::Beginning).await;
        assert_eq!(next(&mut first).await, Told::Message(7, "6".to_owned()));
    }
}

#[tokio::test]
async fn removal_begins_another_epoch_for_all_who_are_live() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    for (pattern, topic, stream) in [("orders.>", "orders.a", "orders"), ("ticks.*", "ticks.a", "ticks")] {
        let mut started = subscribe(&client, pattern, Start::Now).await;
        let mut plain = client.subscribe(pattern, SubscribeOptions::default()).await.unwrap();
        publish_numbers(&client, topic, 0..3).await;
        assert_eq!(take(&mut started, 4).await, [vec![Told::CaughtUp(0)], numbered(0..3)].concat());
        assert_eq!(take(&mut plain, 3).await, numbered(0..3));
        let before = started.position().unwrap().clone();

        site.operate(&broker, &["rm", stream, "--yes"]);
        publish_numbers(&client, topic, 0..2).await;
        assert_eq!(next(&mut started).await, Told::Epoch(EpochReason::Created, 1));
        for message in numbered(0..2) {
            assert_eq!(next_but_caught_up(&mut started).await, message);
        }
        assert_eq!(take(&mut plain, 3).await, [vec![Told::Epoch(EpochReason::Created, 1)], numbered(0..2)].concat());
        let after = started.position().unwrap().clone();
        assert_eq!((after.sequence(), after.epoch() == before.epoch()), (2, false));

        // Positions of the old epoch are not taken for those of the new one.
        let mut away = subscribe(&client, pattern, Start::Behind(before)).await;
        let changed = vec![Told::Resumed(Resumption::OtherEpoch, 0), Told::Epoch(EpochReason::Created, 1)];
        assert_eq!(take(&mut away, 4).await, [changed, numbered(0..2)].concat());
        let mut same = subscribe(&client, pattern, Start::Behind(after)).await;
        assert_eq!(take(&mut same, 2).await, [Told::Resumed(Resumption::Continued, 2), Told::CaughtUp(2)]);
    }
}

#[tokio::test]
async fn renewed_epoch_loses_nothing_that_both_epochs_have() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    for (pattern, topic, stream) in [("orders.>", "orders.a", "orders"), ("ticks.*", "ticks.a", "ticks")] {
        let mut live = subscribe(&client, pattern, Start::Now).await;
        publish_numbers(&client, topic, 0..3).await;
        assert_eq!(take(&mut live, 2).await, [vec![Told::CaughtUp(0)], numbered(0..1)].concat());
        let first = live.position().unwrap().clone();
        assert_eq!(take(&mut live, 2).await, numbered(1..3));
        site.operate(&broker, &["renew-epoch", stream, "--yes"]);
        assert_eq!(next(&mut live).await, Told::Epoch(EpochReason::Renewed, 4));
        publish_numbers(&client, topic, 3..4).await;
        assert_eq!(next_but_caught_up(&mut live).await, numbered(3..4)[0]);

        let mut away = subscribe(&client, pattern, Start::Behind(first.clone())).await;
        let changed = vec![Told::Resumed(Resumption::OtherEpoch, 1), Told::Epoch(EpochReason::Renewed, 2)];
        assert_eq!(take(&mut away, 5).await, [changed, numbered(1..4)].concat());

        // What was seen is no less seen because less is asked for, and nothing has changed then.
        let seen = live.position().unwrap().clone();
        for through in [2, 4, 100] {
            let mut history = client.history(pattern, Start::Behind(seen.clone())).unwrap().through(through);
            assert!(history.next().await.unwrap().is_none());
        }

        // A position that the stream has not come to, as after a restore without a renewed epoch.
        let epoch = live.position().unwrap().epoch().to_owned();
        let beyond = Position::new(epoch, 100).unwrap();
        let mut ahead = subscribe(&client, pattern, Start::Behind(beyond.clone())).await;
        let changed = [Told::Resumed(Resumption::OtherEpoch, 4), Told::Epoch(EpochReason::PositionAhead, 5)];
        assert_eq!(take(&mut ahead, 2).await, changed);
        let mut history = client.history(pattern, Start::Behind(beyond)).unwrap();
        assert!(matches!(history.next().await.unwrap(), Some(HistoryItem::EpochChanged { .. })));
        publish_numbers(&client, topic, 4..5).await;
        assert_eq!(next_but_caught_up(&mut ahead).await, numbered(4..5)[0]);
    }
}

#[tokio::test]
async fn history_tells_what_was_taken_between_two_pages() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    publish_numbers(&client, "orders.a", 0..6).await;
    let mut history = client.history("orders.>", Start::Beginning).unwrap().max_messages(2);
    assert_eq!(history.next_page().await.unwrap().unwrap().items.len(), 2);
    site.operate(&broker, &["purge", "orders", "--before", "5", "--yes"]);
    let page = history.next_page().await.unwrap().unwrap();
    let HistoryItem::Gap(gap) = &page.items[0] else { panic!("{page:?}") };
    let range = gap.range.as_ref().unwrap();
    assert_eq!((gap.reason, range.first, range.last, page.items.len()), (GapReason::Purge, 3, 4, 3));

    let mut history = client.history("orders.>", Start::Beginning).unwrap().max_messages(1);
    let before = history.next_page().await.unwrap().unwrap();
    site.operate(&broker, &["rm", "orders", "--yes"]);
    publish_numbers(&client, "orders.a", 0..1).await;
    let page = history.next_page().await.unwrap().unwrap();
    assert_ne!(page.position.epoch(), before.position.epoch());
    let [HistoryItem::EpochChanged { stream, .. }, HistoryItem::Message(message)] = &page.items[..] else {
        panic!("{page:?}")
    };
    assert_eq!((&**stream, message.sequence(), page.is_end), ("orders", Some(1), true));
}
