//! What is published into a stream reaches every reader once and in order, wherever it starts and whatever it misses.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the message"
)]

mod support;

use std::{
    num::{NonZeroU32, NonZeroU64},
    thread,
};

use carillon_listener::settings::Limits;
use carillon_metrics::RefusalReason;
use carillon_streams::stream::{Durability, Retention};
use carillon_wire::{ErrorCode, Start, start::HistoryStart};
use support::{
    Broker, Said, settings,
    streams::{Reader, definition},
};
use tempfile::TempDir;

const BOTH: [Durability; 2] = [Durability::Memory, Durability::Disk];

fn broker(durability: Durability, shards: usize) -> (Broker, TempDir) {
    let directory = TempDir::new().unwrap();
    let broker = Broker::start_keeping(settings(), shards, vec![definition("orders", durability)], directory.path());
    (broker, directory)
}

#[test]
fn a_publication_is_answered_with_its_place() {
    for durability in BOTH {
        let (broker, _directory) = broker(durability, 1);
        let mut client = broker.client();
        let (first, epoch, duplicate) = client.keep("orders.eu", b"1");
        assert_eq!((first, duplicate), (1, false));
        assert_eq!(client.keep("orders.us", b"2"), (2, epoch.clone(), false));

        let asked = client.ask_publish("orders.eu", b"3", Some("an id"), Some(1));
        assert!(matches!(client.next(), Said::OkAt { id, sequence: 3, is_duplicate: false, .. } if id == asked));
        let asked = client.ask_publish("orders.eu", b"3", Some("an id"), Some(1));
        assert!(matches!(client.next(), Said::OkAt { id, sequence: 3, is_duplicate: true, .. } if id == asked));
        let asked = client.ask_publish("orders.eu", b"4", None, Some(1));
        let unexpected = ErrorCode::UnexpectedSequence.number();
        assert!(matches!(client.next(), Said::Error { id, code, .. } if (id, code) == (Some(asked), unexpected)));

        for (message_id, expected) in [(Some("an id"), None), (None, Some(0))] {
            let asked = client.ask_publish("elsewhere", b"", message_id, expected);
            let no_stream = ErrorCode::NoStream.number();
            assert!(matches!(client.next(), Said::Error { id, code, .. } if (id, code) == (Some(asked), no_stream)));
        }
        assert_eq!(broker.count(|shard| shard.publications_refused.of(RefusalReason::NoStream).get()), 2);
        client.publish("elsewhere", b"what no stream keeps is answered as ever");
    }
}

#[test]
fn every_start_begins_where_it_says() {
    for durability in BOTH {
        let (broker, _directory) = broker(durability, 1);
        let mut publisher = broker.client();
        let mut epoch = String::new();
        for n in 1..=10_u64 {
            let topic = if n % 2 == 0 { "orders.even" } else { "orders.odd" };
            epoch = publisher.keep(topic, n.to_string().as_bytes()).1;
        }
        let all: Vec<u64> = (1..=12).collect();
        let starts: [(&str, Start<'_>, Vec<u64>); 8] = [
            ("orders.>", Start::Now, vec![11, 12]),
            ("orders.>", Start::LastByTopic, vec![9, 10, 11, 12]),
            ("orders.>", Start::Newest(3), vec![8, 9, 10, 11, 12]),
            ("orders.even", Start::Newest(2), vec![8, 10, 12]),
            ("orders.>", Start::Behind { epoch: &epoch, sequence: 4 }, all[4..].to_vec()),
            ("orders.odd", Start::Behind { epoch: &epoch, sequence: 10 }, vec![11]),
            ("orders.>", Start::Time(1), all.clone()),
            ("orders.*", Start::Beginning, all.clone()),
        ];
        let mut readers = Vec::new();
        for (pattern, start, expected) in starts {
            let mut reader = Reader::new(&broker);
            let id = reader.subscribe(pattern, start);
            readers.push((reader, id, expected));
        }
        publisher.keep("orders.odd", b"11");
        publisher.keep("orders.even", b"12");
        for (mut reader, id, expected) in readers {
            reader.read_until(|got| got[&id].messages.last().map(|it| it.0) == expected.last().copied());
            let sequences: Vec<_> = reader.got[&id].messages.iter().map(|it| it.0).collect();
            assert_eq!(sequences, expected);
            assert!(reader.got[&id].messages.iter().all(|(n, payload)| *payload == n.to_string().as_bytes()));
        }
    }
}

#[test]
fn a_start_asks_for_one_stream_and_for_sense() {
    let (broker, _directory) = broker(Durability::Memory, 1);
    let mut client = broker.client();
    let asked = client.ask_subscribe_from(">", Start::Beginning);
    let no_stream = ErrorCode::NoStream.number();
    assert!(matches!(client.next(), Said::Error { id, code, .. } if (id, code) == (Some(asked), no_stream)));
    client.subscribe(">");
    let asked = client.ask_history("elsewhere", HistoryStart::At(Start::Beginning), None, None);
    assert!(matches!(client.next(), Said::Error { id, code, .. } if (id, code) == (Some(asked), no_stream)));
}

#[test]
fn a_position_of_another_epoch_is_told_so() {
    let (broker, _directory) = broker(Durability::Disk, 1);
    let mut publisher = broker.client();
    for n in 0..5_u64 {
        publisher.keep("orders.a", n.to_string().as_bytes());
    }
    let mut reader = Reader::new(&broker);
    let id = reader.subscribe("orders.>", Start::Behind { epoch: "of-another-life", sequence: 3 });
    reader.read_through(id, 5);
    let got = &reader.got[&id];
    assert_eq!(got.resumed, 3);
    assert_eq!(got.epochs.len(), 1);
    assert_eq!(got.messages.len(), 5, "nothing is left out");
}

#[test]
fn a_position_that_retention_has_passed_is_told_the_gap() {
    for durability in BOTH {
        let directory = TempDir::new().unwrap();
        let mut few = definition("orders", durability);
        few.retention = Retention { max_messages: NonZeroU64::new(10), ..few.retention };
        let broker = Broker::start_keeping(settings(), 1, vec![few], directory.path());
        let mut publisher = broker.client();
        let mut epoch = String::new();
        for n in 1..=30_u64 {
            epoch = publisher.keep("orders.a", n.to_string().as_bytes()).1;
        }
        // On disk, retention has its turn each second.
        support::eventually("retention", || broker.keeper().status()[0].bounds.first == 21);
        let mut reader = Reader::new(&broker);
        let id = reader.subscribe("orders.>", Start::Behind { epoch: &epoch, sequence: 5 });
        reader.read_through(id, 30);
        let got = &reader.got[&id];
        assert_eq!((got.resumed, got.lost.as_slice()), (2, [(6, 20, 2)].as_slice()));
        assert_eq!(got.messages.iter().map(|it| it.0).collect::<Vec<_>>(), (21..=30).collect::<Vec<_>>());
    }
}

#[test]
fn what_newer_ones_of_the_topic_replaced_is_no_gap() {
    for durability in BOTH {
        let directory = TempDir::new().unwrap();
        let mut newest = definition("orders", durability);
        newest.retention = Retention { max_messages_per_topic: NonZeroU32::new(1), ..newest.retention };
        let broker = Broker::start_keeping(settings(), 1, vec![newest], directory.path());
        let mut publisher = broker.client();
        for n in 1..=20_u64 {
            publisher.keep(&format!("orders.{}", n % 4), n.to_string().as_bytes());
        }
        support::eventually("retention", || broker.keeper().status()[0].totals.messages == 4);
        let mut reader = Reader::new(&broker);
        let id = reader.subscribe("orders.>", Start::Beginning);
        reader.read_through(id, 20);
        assert_eq!(reader.got[&id].messages.iter().map(|it| it.0).collect::<Vec<_>>(), (17..=20).collect::<Vec<_>>());
        assert_eq!(reader.got[&id].lost, []);
    }
}

/// Readers of several patterns and starts come and go while others publish; some of them do not read for a while, and
/// their outboxes are small.
#[test]
fn between_history_and_live_there_is_no_hole_no_repeat_and_no_other_order() {
    for (durability, shards) in
        [(Durability::Memory, 1), (Durability::Memory, 2), (Durability::Disk, 1), (Durability::Disk, 2)]
    {
        let directory = TempDir::new().unwrap();
        let limits = Limits { outbox_bytes: 20_000, outbox_messages: 100, ..Limits::default() };
        let settings = carillon_listener::Settings { limits, ..settings() };
        let broker = Broker::start_keeping(settings, shards, vec![definition("orders", durability)], directory.path());
        let total = 3_000_u64;
        thread::scope(|scope| {
            for publisher in 0..2_u64 {
                let broker = &broker;
                scope.spawn(move || {
                    let mut client = broker.client();
                    for n in 0..total / 2 {
                        client.ask_publish(&format!("orders.{}", (n + publisher) % 7), &[b'x'; 300], None, None);
                        if n % 50 == 49 {
                            for _ in 0..50 {
                                assert!(matches!(client.next(), Said::OkAt { .. }));
                            }
                        }
                    }
                });
            }
            for n in 0..8_u64 {
                let broker = &broker;
                scope.spawn(move || {
                    let mut reader = Reader::new(broker);
                    let all = reader.subscribe("orders.>", Start::Beginning);
                    let one = reader.subscribe("orders.3", Start::Beginning);
                    let some = reader.subscribe("orders.*", Start::Behind { epoch: "x", sequence: 0 });
                    if n % 2 == 0 {
                        thread::sleep(std::time::Duration::from_millis(40 * n));
                    }
                    reader.read_through(all, total);
                    let last = reader.got[&all].messages.len();
                    assert_eq!(last as u64, total);
                    reader.read_until(|got| got[&some].messages.len() as u64 == total);
                    let got = &reader.got[&all].messages;
                    assert!(got.iter().zip(1..).all(|((sequence, _), n)| *sequence == n));
                    let expected = got.len() / 7;
                    reader.read_until(|got| got[&one].messages.len() >= expected);
                });
            }
        });
    }
}

#[test]
fn history_comes_in_pages_without_a_subscription() {
    for durability in BOTH {
        let (broker, _directory) = broker(durability, 1);
        let mut client = broker.client();
        for n in 1..=25_u64 {
            client.keep(&format!("orders.{}", n % 2), n.to_string().as_bytes());
        }
        let mut sequences = Vec::new();
        let mut position: Option<(String, u64)> = None;
        loop {
            let at = position.clone();
            let start = match &at {
                None => Start::Beginning,
                Some((epoch, sequence)) => Start::Behind { epoch, sequence: *sequence },
            };
            let asked = client.ask_history("orders.1", HistoryStart::At(start), Some(4), Some(20));
            let Said::Page { id, epoch, count, sequence, is_end, .. } = client.next() else { panic!("a page") };
            assert_eq!(id, asked);
            assert!(count <= 4);
            for _ in 0..count {
                let Said::Kept { sequence, .. } = client.next() else { panic!("a message") };
                sequences.push(sequence);
            }
            if is_end {
                break;
            }
            position = Some((epoch, sequence));
        }
        assert_eq!(sequences, (1..=19).step_by(2).collect::<Vec<_>>());

        let asked = client.ask_history("orders.*", HistoryStart::At(Start::LastByTopic), None, None);
        assert!(matches!(client.next(), Said::Page { id, count: 2, is_end: true, .. } if id == asked));
        assert!(matches!(client.next(), Said::Kept { sequence: 24, .. }));
        assert!(matches!(client.next(), Said::Kept { sequence: 25, .. }));
    }
}

#[test]
fn a_subscription_that_is_ended_at_once_gets_both_replies() {
    let (broker, _directory) = broker(Durability::Disk, 1);
    let mut client = broker.client();
    for n in 0..50 {
        client.keep("orders.a", &[n]);
    }
    for _ in 0..20 {
        let subscribed = client.ask_subscribe_from("orders.>", Start::Beginning);
        let ended = client.ask_unsubscribe(subscribed);
        let mut is_answered = false;
        loop {
            match client.next() {
                Said::Ok(id) | Said::OkAt { id, .. } if id == subscribed => {
                    assert!(!std::mem::replace(&mut is_answered, true), "answered twice");
                }
                Said::Ok(id) if id == ended => break,
                Said::Marker { .. } | Said::Kept { .. } | Said::Live { .. } => assert!(is_answered),
                other => panic!("{other:?}"),
            }
        }
        assert!(is_answered);
        client.ping();
    }
}
