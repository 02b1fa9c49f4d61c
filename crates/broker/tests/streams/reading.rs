//! Reading what is kept: every start of a subscription, and history without one.

use std::time::SystemTime;

use carillon_client::{
    Client, Ended, ErrorCode, Event, History, HistoryError, HistoryItem, Position, Start, SubscribeError,
    SubscribeOptions,
};

use crate::{
    events::{Told, event, kept_at, next, next_but_caught_up, numbered, publish, publish_numbers, subscribe, take},
    site::Site,
};

async fn sequences(mut history: History) -> Vec<u64> {
    let mut sequences = Vec::new();
    while let Some(item) = history.next().await.unwrap() {
        match item {
            HistoryItem::Message(message) => sequences.push(message.sequence().unwrap()),
            other => panic!("{other:?}"),
        }
    }
    sequences
}

/// 1 to 5 in `a`, 6 to 10 in `b`, 11 in `a`. Gives the position of 5, and a time between 5 and 6.
async fn eleven(client: &Client, prefix: &str) -> (Position, SystemTime) {
    let (a, b) = (format!("{prefix}.a"), format!("{prefix}.b"));
    publish_numbers(client, &a, 0..4).await;
    let fifth = kept_at(client.publish_acknowledged(&a, "4").await);
    let mut tail = subscribe(client, &a, Start::Newest(1)).await;
    let Event::Message(message) = event(&mut tail).await else { panic!("no message") };
    let after = message.time() + std::time::Duration::from_micros(1);
    // The broker's clock is this machine's.
    while SystemTime::now() <= after {}
    publish_numbers(client, &b, 5..10).await;
    publish_numbers(client, &a, 10..11).await;
    (fifth, after)
}

#[tokio::test]
async fn subscription_starts_where_it_is_told() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    for (prefix, pattern) in [("orders", "orders.>"), ("ticks", "ticks.*")] {
        let (fifth, time) = eleven(&client, prefix).await;
        for (start, first) in [
            (Start::Beginning, 0),
            (Start::Newest(3), 8),
            (Start::Newest(100), 0),
            (Start::Since(time), 5),
            (Start::Since(SystemTime::UNIX_EPOCH), 0),
            (Start::Now, 11),
        ] {
            let mut subscription = subscribe(&client, pattern, start).await;
            // Known before anything came, so that it can be kept at once.
            assert_eq!(subscription.position().map(Position::sequence), Some(first), "{pattern}");
            let expected = [numbered(first..11), vec![Told::CaughtUp(11)]].concat();
            assert_eq!(take(&mut subscription, expected.len()).await, expected);
        }
        let mut behind = subscribe(&client, pattern, Start::Behind(fifth)).await;
        assert!(matches!(next(&mut behind).await, Told::Resumed(..)));
        assert_eq!(take(&mut behind, 6).await, numbered(5..11));
        // Of an exact topic, what is its own.
        let mut exact = subscribe(&client, &format!("{prefix}.b"), Start::Beginning).await;
        let expected = [numbered(5..10), vec![Told::CaughtUp(11)]].concat();
        assert_eq!(take(&mut exact, 6).await, expected);

        let mut last = subscribe(&client, pattern, Start::LastByTopic).await;
        let expected = [numbered(9..11), vec![Told::CaughtUp(11)]].concat();
        assert_eq!(take(&mut last, 3).await, expected);
        assert_eq!(publish(&client, &format!("{prefix}.c"), "11").await, 12);
        for subscription in [&mut behind, &mut last] {
            assert_eq!(next_but_caught_up(subscription).await, numbered(11..12)[0]);
        }
    }
}

#[tokio::test]
async fn history_comes_in_pages_from_where_it_is_asked() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    for prefix in ["orders", "ticks"] {
        let (fifth, time) = eleven(&client, prefix).await;
        let pattern = format!("{prefix}.*");
        let history = |start| client.history(&pattern, start).unwrap();
        let range = |from: u64, to: u64| (from..=to).collect::<Vec<_>>();
        for page in [1, 2, 3, 11, 1000] {
            assert_eq!(sequences(history(Start::Beginning).max_messages(page)).await, range(1, 11));
            assert_eq!(sequences(history(Start::LastByTopic).max_messages(page)).await, [10, 11]);
            assert_eq!(sequences(history(Start::Newest(4)).max_messages(page)).await, range(8, 11));
            assert_eq!(sequences(history(Start::Since(time)).max_messages(page)).await, range(6, 11));
            let ranged = history(Start::Behind(fifth.clone())).through(8).max_messages(page);
            assert_eq!(sequences(ranged).await, range(6, 8));
        }
        assert_eq!(sequences(client.history(&format!("{prefix}.b"), Start::Beginning).unwrap()).await, range(6, 10));
        assert_eq!(sequences(client.history(&format!("{prefix}.z"), Start::Beginning).unwrap()).await, range(1, 0));

        // Pages as they are, and what was published between two of them.
        let mut paged = history(Start::Beginning).max_messages(8);
        let first = paged.next_page().await.unwrap().unwrap();
        assert_eq!((first.items.len(), first.position.sequence(), first.is_end), (8, 8, false));
        publish(&client, &format!("{prefix}.a"), "more").await;
        let second = paged.next_page().await.unwrap().unwrap();
        assert_eq!((second.items.len(), second.position.sequence(), second.is_end), (4, 12, true));
        assert!(paged.next_page().await.unwrap().is_none());

        // Last values are those of one moment, whatever is published between two pages.
        let mut values = history(Start::LastByTopic).max_messages(1);
        let Some(HistoryItem::Message(first)) = values.next().await.unwrap() else { panic!("no message") };
        publish(&client, &format!("{prefix}.a"), "newer").await;
        let Some(HistoryItem::Message(second)) = values.next().await.unwrap() else { panic!("no message") };
        assert_eq!((first.sequence(), second.sequence()), (Some(10), Some(12)));
        assert!(values.next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn page_is_asked_for_again_after_a_restart() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    publish_numbers(&client, "orders.a", 0..6).await;
    let mut history = client.history("orders.>", Start::Beginning).unwrap().max_messages(3);
    assert_eq!(history.next_page().await.unwrap().unwrap().items.len(), 3);
    broker.signal("STOP");
    let (page, _broker) = tokio::join!(history.next_page(), site.kill_and_restart(broker));
    let page = page.unwrap().unwrap();
    let HistoryItem::Message(first) = &page.items[0] else { panic!("{page:?}") };
    assert_eq!((page.items.len(), first.sequence(), page.is_end), (3, Some(4), true));
}

#[tokio::test]
async fn start_and_history_ask_for_one_stream() {
    let site = Site::new(&[]);
    let broker = site.start();
    let client = site.client(&broker).await;
    for pattern in ["loose.a", ">", "*.a"] {
        for start in [Start::Now, Start::Beginning, Start::LastByTopic] {
            let outcome = client.subscribe(pattern, SubscribeOptions::default().start(start)).await;
            let Err(SubscribeError::Refused { refusal, .. }) = outcome else { panic!("{outcome:?}") };
            assert_eq!(refusal.code, ErrorCode::NoStream);
        }
        let outcome = client.history(pattern, Start::Beginning).unwrap().next_page().await;
        let Err(HistoryError::Refused(refusal)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(refusal.code, ErrorCode::NoStream);
    }
    let outcome = client.history("orders.>", Start::Now).unwrap().next_page().await;
    let Err(HistoryError::Refused(refusal)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refusal.code, ErrorCode::InvalidStart);
    let two = client.subscribe_many(["orders.a", "orders.b"], SubscribeOptions::default().start(Start::Now)).await;
    assert!(matches!(two, Err(SubscribeError::ManyPatternsWithStart { patterns: 2 })), "{two:?}");
}

#[tokio::test]
async fn who_may_not_read_history_is_live_until_the_connection_is_lost_and_told_then() {
    let site = Site::with_access("[roles.guest]\npublish.allow = [\">\"]\nsubscribe.allow = [\">\"]\n");
    let broker = site.start();
    let client = site.client(&broker).await;
    for start in [Start::Beginning, Start::LastByTopic, Start::Newest(1), Start::Since(SystemTime::now())] {
        let outcome = client.subscribe("orders.>", SubscribeOptions::default().start(start)).await;
        let Err(SubscribeError::Refused { refusal, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(refusal.code, ErrorCode::Forbidden);
    }
    let outcome = client.history("orders.>", Start::Beginning).unwrap().next_page().await;
    assert!(matches!(outcome, Err(HistoryError::Refused(_))), "{outcome:?}");
    let mut started = subscribe(&client, "orders.>", Start::Now).await;
    let mut plain = client.subscribe("orders.>", SubscribeOptions::default()).await.unwrap();
    publish_numbers(&client, "orders.a", 0..1).await;
    assert_eq!(take(&mut started, 2).await, [vec![Told::CaughtUp(0)], numbered(0..1)].concat());
    assert_eq!(take(&mut plain, 1).await, numbered(0..1));

    let _broker = site.kill_and_restart(broker).await;
    let Event::Ended(Ended::Refused { refusal, .. }) = event(&mut started).await else { panic!("goes on") };
    assert_eq!(refusal.code, ErrorCode::Forbidden);
    assert!(started.next().await.is_none());
    assert!(matches!(event(&mut plain).await, Event::Reconnected(_)));
}
