//! What is published reaches those who subscribed, once, in order, on one shard and across shards.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in a test a panic is the message"
)]

mod support;

use carillon_wire::{ClientMessage, Headers, Id, Topic, client_message::Publish};
use support::{Broker, Said, settings};

#[test]
fn a_message_reaches_every_matching_connection_once() {
    let broker = Broker::start(settings());
    let mut exact = broker.client();
    let mut several = broker.client();
    let mut other = broker.client();
    exact.subscribe("orders.eu.created");
    several.subscribe("orders.*.created");
    several.subscribe("orders.>");
    several.subscribe(">");
    other.subscribe("orders.us.created");
    let mut publisher = broker.client();
    publisher.publish("orders.eu.created", b"first");
    publisher.publish("orders.us.created", b"second");

    assert_eq!(exact.delivery(), ("orders.eu.created".into(), b"first".to_vec()));
    assert_eq!(other.delivery(), ("orders.us.created".into(), b"second".to_vec()));
    assert_eq!(several.delivery().1, b"first");
    assert_eq!(several.delivery().1, b"second", "one copy of the first, whatever the number of its patterns");
}

#[test]
fn a_publisher_gets_its_own_messages_when_it_subscribed() {
    let broker = Broker::start(settings());
    let mut client = broker.client();
    client.subscribe("a");
    client.publish_unanswered("a", b"to myself");
    assert_eq!(client.delivery().1, b"to myself");
}

#[test]
fn no_delivery_follows_the_reply_to_unsubscribe() {
    let broker = Broker::start(settings());
    let mut reader = broker.client();
    let mut publisher = broker.client();
    let subscription = reader.subscribe("a");
    for _ in 0..100 {
        publisher.publish("a", b"x");
    }
    let reply = reader.ask_unsubscribe(subscription);
    let mut delivered = 0;
    loop {
        match reader.next() {
            Said::Delivery { .. } => delivered += 1,
            Said::Ok(id) if id == reply => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(delivered, 100, "what was published before is still delivered");
    publisher.publish("a", b"late");
    reader.ping();
    let again = reader.ask_unsubscribe(subscription);
    assert!(matches!(reader.next(), Said::Error { id, code: 404, .. } if id == Some(again)));
}

#[test]
fn times_do_not_go_back() {
    let broker = Broker::start(settings());
    let mut client = broker.client();
    client.subscribe("a");
    let mut last = 1_600_000_000_000_000;
    for _ in 0..100 {
        client.publish_unanswered("a", b"");
        match client.next() {
            Said::Delivery { time_us, .. } => {
                assert!(time_us >= last);
                last = time_us;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn messages_cross_shards_in_order() {
    let broker = Broker::start_with(settings(), 3);
    // The acceptor fills the shard with the fewest connections, so that these lie on all of them.
    let mut readers: Vec<_> = (0..6).map(|_| broker.client()).collect();
    for reader in &mut readers {
        reader.subscribe("numbers.*");
    }
    for shard in &broker.metrics {
        assert_eq!(shard.connections_opened.get(), 2);
    }
    let mut publisher = broker.client();
    for number in 0..500_u32 {
        publisher.publish_unanswered("numbers.all", &number.to_be_bytes());
    }
    for reader in &mut readers {
        for number in 0..500_u32 {
            assert_eq!(reader.delivery().1, number.to_be_bytes());
        }
    }
}

#[test]
fn a_large_message_and_small_ones_behind_it_arrive_whole() {
    let broker = Broker::start_with(settings(), 2);
    let mut readers = [broker.client(), broker.client()];
    for reader in &mut readers {
        reader.subscribe("a");
    }
    let mut publisher = broker.client();
    let large: Vec<u8> = (0..1_048_576_u32).map(|number| number as u8).collect();
    for _ in 0..3 {
        publisher.publish("a", &large);
        publisher.publish("a", b"small");
    }
    for reader in &mut readers {
        for _ in 0..3 {
            assert_eq!(reader.delivery().1, large);
            assert_eq!(reader.delivery().1, b"small");
        }
    }
}

#[test]
fn many_requests_in_one_websocket_message_are_all_answered() {
    // Far more replies than may wait, so that the broker has to stop in the middle of a message and go on later.
    let mut settings = settings();
    settings.limits.reply_bytes = 256;
    let broker = Broker::start_with(settings, 2);
    let mut client = broker.client();
    let mut bytes = Vec::new();
    for number in 1000..6000_u32 {
        let (topic, headers) = (Topic::new("a").unwrap(), Headers::EMPTY);
        let id = Some(Id::from(number));
        ClientMessage::Publish(Publish {
            id,
            topic,
            payload: b"x",
            headers,
            message_id: None,
            expected_sequence: None,
        })
        .encode(&mut bytes);
    }
    client.send_bytes(&bytes);
    for number in 1000..6000 {
        assert_eq!(client.next(), Said::Ok(number));
    }
}

#[test]
fn a_message_in_many_pieces_is_one_message() {
    let broker = Broker::start(settings());
    let mut client = broker.client();
    client.subscribe("a");
    let mut bytes = Vec::new();
    let (topic, headers) = (Topic::new("a").unwrap(), Headers::EMPTY);
    ClientMessage::Publish(Publish {
        id: None,
        topic,
        payload: b"in pieces",
        headers,
        message_id: None,
        expected_sequence: None,
    })
    .encode(&mut bytes);
    let (start, rest) = bytes.split_at(3);
    let (middle, end) = rest.split_at(4);
    client.send_raw(&support::frame(0x02, start));
    client.send_raw(&support::frame(0x89, b"a ping between"));
    client.send_raw(&support::frame(0x00, middle));
    for byte in support::frame(0x80, end) {
        client.send_raw(&[byte]);
    }
    assert_eq!(client.next(), Said::Pong(b"a ping between".to_vec()));
    assert_eq!(client.delivery().1, b"in pieces");
}

#[test]
fn what_was_published_before_the_end_reaches_all_shards() {
    let broker = Broker::start_with(settings(), 3);
    let mut readers: Vec<_> = (0..3).map(|_| broker.client()).collect();
    for reader in &mut readers {
        reader.subscribe("a");
    }
    let publication = [0x94, 0x02, 0xc0, 0xa1, b'a', 0xc4, 0x01, b'x'];
    for last_words in [&[0xc1][..], &[0x92, 0x06, 0x01]] {
        let mut publisher = broker.client();
        publisher.send_bytes(&[&publication, last_words].concat());
        drop(publisher);
        for reader in &mut readers {
            assert_eq!(reader.delivery().1, b"x");
        }
    }
}

/// So many of the deliveries below fit into what the kernel keeps for a socket, whether or not its reader gets its turn.
const COUNT: usize = 6_000;

/// Publications of seven bytes, as many as fit into one WebSocket message.
fn many_small_publications(count: usize) -> Vec<u8> {
    [0x94, 0x02, 0xc0, 0xa1, b'a', 0xc4, 0x00].repeat(count)
}

#[test]
fn a_reader_that_keeps_up_loses_nothing_to_one_huge_message() {
    for shards in [1, 2] {
        let mut settings = settings();
        // Far less than the message has, and a few more than one turn of the shard.
        settings.limits.outbox_messages = 600;
        let broker = Broker::start_with(settings, shards);
        // The first is on the publisher's shard, the second, where there are two, on the other.
        let mut readers: Vec<_> = (0..2).map(|_| broker.client()).collect();
        for reader in &mut readers {
            reader.subscribe("a");
        }
        let mut publisher = broker.client();
        let readers: Vec<_> = readers
            .into_iter()
            .map(|mut reader| {
                std::thread::spawn(move || {
                    for number in 0..COUNT {
                        let said = reader.next();
                        assert!(matches!(said, Said::Delivery { .. }), "{said:?} came after {number}");
                    }
                })
            })
            .collect();
        publisher.send_bytes(&many_small_publications(COUNT));
        for reader in readers {
            reader.join().unwrap();
        }
    }
}

#[test]
fn shards_whose_queues_are_full_do_not_wait_for_each_other() {
    let mut settings = settings();
    settings.limits.reply_bytes = 4096;
    settings.limits.max_payload_bytes = 1 << 10;
    settings.limits.max_message_bytes = 1 << 20;
    settings.limits.shard_queue_bytes = 64 << 10;
    let broker = Broker::start_with(settings, 2);
    let publishers: Vec<_> = (0..6)
        .map(|_| {
            let mut sender = broker.client();
            std::thread::spawn(move || {
                // With ids, so that replies wait for the other shard's queue.
                let mut bytes = Vec::new();
                for number in 1000..21_000_u32 {
                    let (topic, headers) = (Topic::new("a.b.c.d").unwrap(), Headers::EMPTY);
                    let publish = Publish {
                        id: Some(Id::from(number)),
                        topic,
                        payload: b"x",
                        headers,
                        message_id: None,
                        expected_sequence: None,
                    };
                    ClientMessage::Publish(publish).encode(&mut bytes);
                }
                sender.send_bytes(&bytes);
                for number in 1000..21_000 {
                    assert_eq!(sender.next(), Said::Ok(number));
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.join().unwrap();
    }
}
