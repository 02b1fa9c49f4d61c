//! What waits in memory for all clients together is bounded: who has to give, and who notices nothing.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::time::Duration;

use carillon_listener::quota::{BrokerQuotas, Scopes};
use carillon_metrics::{CloseReason, DropReason, QuotaName};
use carillon_wire::{ClientMessage, Headers, Overflow, Topic, client_message::Publish};
use support::{
    Broker, Client, Said, eventually, frame,
    quotas::{code_of, enforced, most, none, publish, rules, settle, start},
    settings,
};

const CLOSED_FOR_SLOWNESS: u16 = 4002;

#[test]
fn readers_that_hold_too_much_together_lose_as_their_policies_say_and_others_nothing() {
    const PAYLOAD: usize = 64 << 10;
    let mut settings = settings();
    settings.limits.outbox_bytes = 2 << 20;
    // However long it takes on a busy machine.
    settings.deadlines.heartbeat = Duration::from_hours(1);
    let broker = Broker::start_behind(
        settings,
        1,
        rules(Scopes { broker: BrokerQuotas { queued_bytes: most(4 << 20), ..BrokerQuotas::default() }, ..none() }),
    );
    // None of these goes over its own bound: each is for one topic alone, and gets less than an outbox holds.
    let mut stalled: Vec<_> = (0..12).map(|_| broker.client()).collect();
    for (number, client) in stalled.iter_mut().enumerate() {
        client.ask_subscribe(&format!("stalled.{number}"), Overflow::DropOldest);
        settle(client);
    }
    let mut closing = broker.client();
    closing.ask_subscribe("closing", Overflow::Close);
    settle(&mut closing);
    let mut reader = broker.client();
    reader.subscribe("read");
    let mut publisher = broker.client();
    let payload = vec![7; PAYLOAD];
    // Beyond what the kernel takes for a socket that is not read.
    for _ in 0..120 {
        for number in 0..stalled.len() {
            publisher.publish_unanswered(&format!("stalled.{number}"), &payload);
        }
        publisher.publish_unanswered("closing", &payload);
        publisher.publish("read", b"x");
        assert_eq!(reader.delivery().1, b"x");
    }
    let held = || broker.metrics[0].queued_bytes.get() + broker.metrics[0].buffered_bytes.get();
    eventually("within the quota", || held() <= 4 << 20);
    assert!(enforced(&broker, QuotaName::BrokerQueuedBytes) > 0);
    assert!(broker.count(|shard| shard.messages_dropped.of(DropReason::DropOldest).get()) > 0);
    // Whoever lost is told how many, and goes on.
    let mut received = 0;
    let mut lost = 0;
    while received + lost < 120 {
        match stalled[0].next() {
            Said::Delivery { .. } => received += 1,
            Said::Gap { count, .. } => lost += count,
            Said::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received + lost, 120);
    stalled[0].ping();
    let (_, close) = closing.until_close();
    assert_eq!(close.map(|(code, _)| code), Some(CLOSED_FOR_SLOWNESS));
    reader.ping();
}

#[test]
fn parts_of_messages_that_are_too_much_together_are_let_go() {
    const PART: usize = 900 << 10;
    let quotas = BrokerQuotas { queued_bytes: most(6 << 20), ..BrokerQuotas::default() };
    let broker = start(Scopes { broker: quotas, ..none() });
    let mut bystander = broker.client();
    let mut uploading: Vec<_> = (0..10).map(|_| broker.client()).collect();
    for client in &mut uploading {
        let whole = frame(0x82, &vec![0; 1 << 20]);
        // An error is a connection that was closed meanwhile, which is what is waited for.
        let _ = std::io::Write::write_all(&mut client.stream, &whole[..PART]);
        let _ = std::io::Write::flush(&mut client.stream);
    }
    eventually("let go", || enforced(&broker, QuotaName::BrokerQueuedBytes) > 0);
    eventually("within the quota", || broker.metrics[0].buffered_bytes.get() <= 6 << 20);
    eventually("told", || broker.count(|shard| shard.connections_closed.of(CloseReason::Overloaded).get()) > 0);
    bystander.ping();
    assert_eq!(code_of(&publish(&mut bystander, &[0; 10 << 10])), 0);
}

/// A client for which the kernel holds little, so that it is the broker that holds what it does not read.
fn client_with_a_small_window(broker: &Broker, bytes: usize) -> Client {
    let client = broker.client();
    socket2::SockRef::from(&client.stream.sock).set_recv_buffer_size(bytes).unwrap();
    client
}

#[test]
fn replies_that_are_not_read_and_are_too_much_together_are_let_go() {
    const QUOTA: i64 = 512 << 10;
    let mut settings = settings();
    settings.limits.reply_bytes = 64 << 10;
    let quotas = BrokerQuotas { queued_bytes: most(QUOTA.unsigned_abs()), ..BrokerQuotas::default() };
    let broker = Broker::start_behind(settings, 1, rules(Scopes { broker: quotas, ..none() }));
    let mut bystander = broker.client();
    let mut asking: Vec<_> = (0..12).map(|_| client_with_a_small_window(&broker, 4 << 10)).collect();
    let mut requests = Vec::new();
    for _ in 0..8_000 {
        // Refused with some words on why.
        let (id, topic) = (Some(carillon_wire::Id::from(7)), Topic::new("$a").unwrap());
        ClientMessage::Publish(Publish {
            id,
            topic,
            payload: b"",
            headers: Headers::EMPTY,
            message_id: None,
            expected_sequence: None,
        })
        .encode(&mut requests);
    }
    for client in &mut asking {
        client.stream.sock.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        // An error is a connection that was closed meanwhile, which is what is waited for.
        let _ = std::io::Write::write_all(&mut client.stream, &frame(0x82, &requests));
        let _ = std::io::Write::flush(&mut client.stream);
    }
    eventually("let go", || broker.count(|shard| shard.connections_closed.of(CloseReason::Overloaded).get()) > 0);
    eventually("within the quota", || broker.metrics[0].buffered_bytes.get() <= QUOTA);
    bystander.ping();
}

#[test]
fn nobody_keeps_more_than_a_fair_share_however_little_each_holds() {
    const QUOTA: i64 = 1 << 20;
    let quotas = BrokerQuotas { queued_bytes: most(QUOTA.unsigned_abs()), ..BrokerQuotas::default() };
    let broker = start(Scopes { broker: quotas, ..none() });
    let mut uploading: Vec<_> = (0..40).map(|_| broker.client()).collect();
    let part = &frame(0x82, &vec![0; 100 << 10])[..48 << 10];
    for client in &mut uploading {
        let _ = std::io::Write::write_all(&mut client.stream, part);
        let _ = std::io::Write::flush(&mut client.stream);
    }
    eventually("too much", || enforced(&broker, QuotaName::BrokerQueuedBytes) > 0);
    eventually("within the quota", || broker.metrics[0].buffered_bytes.get() <= QUOTA);
    // The shortage is over: who comes now has room for a large message.
    eventually("room", || {
        let mut client = broker.client();
        let id = client.id();
        let (topic, payload) = (Topic::new("a").unwrap(), &vec![0; 300 << 10][..]);
        client.send(&ClientMessage::Publish(Publish {
            id: Some(id),
            topic,
            payload,
            headers: Headers::EMPTY,
            message_id: None,
            expected_sequence: None,
        }));
        client.next() == Said::Ok(id.get())
    });
}

#[test]
fn readers_that_hold_little_lose_nothing_to_those_who_hold_much_on_another_shard() {
    const PAYLOAD: usize = 64 << 10;
    const MODEST: usize = 12;
    let mut settings = settings();
    settings.limits.outbox_bytes = 4 << 20;
    let quotas = BrokerQuotas { queued_bytes: most(10 << 20), ..BrokerQuotas::default() };
    let broker = Broker::start_behind(settings, 2, rules(Scopes { broker: quotas, ..none() }));
    // They come to the shards in turn: all that hold much are on the other shard.
    let mut clients: Vec<_> = (0..10).map(|_| client_with_a_small_window(&broker, PAYLOAD / 2)).collect();
    let mut publisher = broker.client();
    for number in [0, 1, 3, 5, 7, 9] {
        clients[number].ask_subscribe(&number.to_string(), Overflow::DropOldest);
        settle(&mut clients[number]);
    }
    let payload = vec![7; PAYLOAD];
    for _ in 0..MODEST {
        publisher.publish("0", &payload);
    }
    for _ in 0..50 {
        for number in [1, 3, 5, 7, 9] {
            publisher.publish(&number.to_string(), &payload);
        }
    }
    let held = || broker.metrics.iter().map(|shard| shard.queued_bytes.get() + shard.buffered_bytes.get()).sum::<i64>();
    eventually("too much", || enforced(&broker, QuotaName::BrokerQueuedBytes) > 0);
    eventually("within the quota", || held() <= 10 << 20);
    for _ in 0..MODEST {
        assert_eq!(clients[0].delivery().1.len(), PAYLOAD);
    }
    clients[0].ping();
}
