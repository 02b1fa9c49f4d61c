//! Bad input gets a clear error, and nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in a test a panic is the message"
)]

mod support;

use std::io::{Read, Write};

use carillon_listener::settings::Limits;
use carillon_metrics::{CloseReason, RefusalReason};
use carillon_wire::Overflow;
use support::{Broker, Client, Said, frame, settings, upgrade_request};

/// Runs something bad beside a pair that behaves well, and checks that the pair goes on undisturbed.
fn beside_a_pair(broker: &Broker, bad: impl FnOnce(&Broker)) {
    let mut reader = broker.client();
    let mut publisher = broker.client();
    reader.subscribe("well.behaved");
    publisher.publish("well.behaved", b"before");
    bad(broker);
    publisher.publish("well.behaved", b"after");
    assert_eq!(reader.delivery().1, b"before");
    assert_eq!(reader.delivery().1, b"after");
}

/// What the broker closes with after these bytes behind the upgrade.
fn close_after(broker: &Broker, bytes: &[u8]) -> (u16, String) {
    let mut client = broker.client();
    client.send_raw(bytes);
    client.until_close().1.expect("a close frame")
}

fn refused(client: &mut Client, message: &[u8]) -> (Option<u64>, u16, String) {
    client.send_bytes(message);
    match client.next() {
        Said::Error { id, code, message, .. } => (id, code, message),
        other => panic!("expected an error, got {other:?}"),
    }
}

#[test]
fn broken_frames_are_closed_with_the_right_code() {
    let broker = Broker::start(settings());
    let mut huge = vec![0x82, 0xff];
    huge.extend((1_u64 << 63).to_be_bytes());
    huge.extend([0; 4]);
    let mut non_minimal = vec![0x82, 0xfe, 0, 5];
    non_minimal.extend([0; 9]);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a length of 2^63", huge, 1002),
        ("a length that is not minimal", non_minimal, 1002),
        ("no mask", vec![0x82, 0x01, 0x90], 1002),
        ("a reserved bit", frame(0xc2, b"x"), 1002),
        ("an unknown opcode", frame(0x83, b"x"), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("a message inside another", [frame(0x02, b"x"), frame(0x82, b"x")].concat(), 1002),
        ("a fragmented ping", frame(0x09, b"x"), 1002),
        ("a long ping", vec![0x89, 0xfe, 0, 126], 1002),
        ("a long close", vec![0x88, 0xfe, 0, 126], 1002),
        ("a close of one byte", frame(0x88, b"x"), 1002),
        ("a close code that must not be sent", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("a close reason that is not UTF-8", frame(0x88, &[3, 232, 0xff]), 1007),
        ("text", frame(0x81, b"hello"), 1003),
        ("text that is not UTF-8", frame(0x81, &[0xc0]), 1007),
    ];
    beside_a_pair(&broker, |broker| {
        for (what, bytes, code) in cases {
            let close = close_after(broker, &bytes);
            assert_eq!(close.0, code, "{what}: {close:?}");
            assert!(!close.1.is_empty(), "{what}: the reason says nothing");
        }
    });
}

#[test]
fn an_endless_message_is_refused_at_its_bound() {
    let mut settings = settings();
    settings.limits = Limits { max_payload_bytes: 1000, max_message_bytes: 2000, ..Limits::default() };
    let broker = Broker::start(settings);
    beside_a_pair(&broker, |broker| {
        let mut fragments = frame(0x02, &[0x90; 900]);
        fragments.extend(frame(0x00, &[0x90; 900]));
        fragments.extend(frame(0x00, &[0x90; 900]));
        assert_eq!(close_after(broker, &fragments).0, 1009);
        // Its length alone is enough: nothing is waited for, or reserved.
        let mut announced = vec![0x82, 0xff];
        announced.extend((1_u64 << 40).to_be_bytes());
        announced.extend([0; 4]);
        assert_eq!(close_after(broker, &announced).0, 1009);
    });
}

#[test]
fn a_truncated_frame_waits_and_ends_with_its_connection() {
    let broker = Broker::start(settings());
    beside_a_pair(&broker, |broker| {
        let mut client = broker.client();
        client.send_raw(&frame(0x82, &[0x93, 0x06])[..5]);
        drop(client);
        support::eventually("the count", || {
            broker.count(|shard| shard.connections_closed.of(CloseReason::Disconnected).get()) > 0
        });
    });
}

#[test]
fn bytes_that_are_no_message_close_with_4400_and_what_stood_before_holds() {
    let broker = Broker::start(settings());
    let mut reader = broker.client();
    reader.subscribe("a");
    let bad: [&[u8]; 6] =
        [&[], &[0xc1], &[0x05], &[0x92, 0x06], &[0x90], &[0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x90]];
    for bytes in bad {
        let mut client = broker.client();
        let publication = [0x94, 0x02, 0xc0, 0xa1, b'a', 0xc4, 0x00];
        if bytes.is_empty() {
            client.send_bytes(&publication);
            client.send_bytes(bytes);
        } else {
            client.send_bytes(&[&publication, bytes].concat());
        }
        let (said, close) = client.until_close();
        assert_eq!(said, [Said::Closing { code: 4400, retry_after_ms: None }], "{bytes:x?}");
        assert_eq!(close.unwrap().0, 4400);
        reader.delivery();
    }
}

#[test]
fn requests_that_are_refused_leave_the_connection_as_it_was() {
    let broker = Broker::start(settings());
    beside_a_pair(&broker, |broker| {
        let mut client = broker.client();
        let topic_not_utf8 = [0x93, 0x02, 0x07, 0xa1, 0xff];
        assert!(matches!(refused(&mut client, &topic_not_utf8), (Some(7), 400, _)));
        assert!(matches!(refused(&mut client, b"\x93\x02\x07\xa3a.."), (Some(7), 412, _)));
        assert!(matches!(refused(&mut client, b"\x93\x02\x07\xa3a.*"), (Some(7), 412, _)));
        assert!(
            matches!(refused(&mut client, b"\x93\x02\xc0\xa2 a"), (None, 412, _)),
            "without an id, but not unheard"
        );
        assert!(matches!(refused(&mut client, b"\x93\x02\x07\xa2$a"), (Some(7), 417, _)));
        assert!(matches!(refused(&mut client, b"\x93\x03\x08\xa3>.a"), (Some(8), 414, _)));
        assert!(matches!(refused(&mut client, b"\x93\x03\x08\xa9*.*.*.*.*"), (Some(8), 414, _)));
        assert!(matches!(refused(&mut client, b"\x94\x03\x08\xa1a\x07"), (Some(8), 415, _)), "no such policy");
        assert!(matches!(refused(&mut client, b"\x92\x63\x09"), (Some(9), 405, _)), "an unknown op");
        assert!(matches!(refused(&mut client, b"\x93\x04\x0a\x63"), (Some(10), 404, _)));
        assert!(matches!(refused(&mut client, b"\x92\x01\x0b"), (Some(11), 411, _)), "connected already");
        client.ping();
        let refusals = |reason| broker.count(|shard| shard.publications_refused.of(reason).get());
        assert_eq!(refusals(RefusalReason::InvalidTopic), 3);
        assert_eq!(refusals(RefusalReason::ReservedTopic), 1);
        assert_eq!(broker.count(|shard| shard.requests_refused.get()), 6);
    });
}

#[test]
fn an_oversized_payload_is_refused_and_one_at_the_bound_is_not() {
    let mut settings = settings();
    settings.limits.max_payload_bytes = 1000;
    let broker = Broker::start(settings);
    let mut client = broker.client();
    client.subscribe("a");
    let mut publish = |bytes: usize| {
        let mut message = vec![0x94, 0x02, 0x05, 0xa1, b'a', 0xc5];
        message.extend((bytes as u16).to_be_bytes());
        message.extend(vec![0; bytes]);
        client.send_bytes(&message);
        client.next()
    };
    assert!(matches!(publish(1001), Said::Error { id: Some(5), code: 413, message, .. } if message.contains("1000")));
    assert_eq!(publish(1000), Said::Ok(5));
}

#[test]
fn the_bounds_on_subscriptions_are_kept() {
    let mut settings = settings();
    settings.limits.max_subscriptions = 3;
    let broker = Broker::start(settings);
    let mut client = broker.client();
    let first = client.subscribe("a");
    client.subscribe("b");
    client.subscribe("c");
    let fourth = client.ask_subscribe("d", Overflow::DropOldest);
    assert!(matches!(client.next(), Said::Error { id, code: 416, .. } if id == Some(fourth)));
    let reply = client.ask_unsubscribe(first);
    assert_eq!(client.next(), Said::Ok(reply));
    client.subscribe("d");
    // An id that a live subscription has.
    let second = first as u8 + 1;
    let taken = [0x93, 0x03, second, 0xa1, b'e'];
    assert!(matches!(refused(&mut client, &taken), (Some(id), 409, _) if id == first + 1));
}

#[test]
fn a_request_before_connect_is_refused_and_closed() {
    let broker = Broker::start(settings());
    for request in [&b"\x92\x06\x05"[..], b"\x93\x03\x05\xa1a", b"\x92\x63\x05"] {
        let mut client = broker.websocket();
        client.send_bytes(request);
        let (said, close) = client.until_close();
        assert!(
            matches!(said.as_slice(), [Said::Error { id: Some(5), .. }, Said::Closing { code: 4402, .. }]),
            "{said:?}"
        );
        assert_eq!(close.unwrap().0, 4402);
    }
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let broker = Broker::start(settings());
    beside_a_pair(&broker, |broker| {
        let mut stream = broker.tls_stream();
        let flood = "X-Filler: 0123456789abcdef\r\n".repeat(4000);
        let _ = stream.write_all(upgrade_request(&flood).as_bytes()).and_then(|()| stream.flush());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    });
}

#[test]
fn plain_http_is_told_to_use_tls_and_garbage_is_closed() {
    let broker = Broker::start(settings());
    beside_a_pair(&broker, |broker| {
        let mut http = broker.tcp();
        http.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wss://"), "{answer}");

        let mut garbage = broker.tcp();
        garbage.write_all(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        let mut answer = Vec::new();
        let _ = garbage.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    });
}

#[test]
fn nobody_waits_for_handshakes_that_do_not_go_on() {
    let broker = Broker::start(settings());
    beside_a_pair(&broker, |broker| {
        let half_open: Vec<_> = (0..200)
            .map(|number| {
                let mut tcp = broker.tcp();
                // The start of a handshake record that never goes on; every other one says nothing at all.
                if number % 2 == 0 {
                    tcp.write_all(&[22, 3, 1, 2, 0]).unwrap();
                }
                tcp
            })
            .collect();
        broker.client().ping();
        assert_eq!(broker.count(|shard| shard.handshake_failures.iter().map(|(_, count)| count.get()).sum()), 0);
        drop(half_open);
    });
}

#[test]
fn pings_beyond_number_are_answered_without_memory_beyond_bound() {
    let broker = Broker::start(settings());
    beside_a_pair(&broker, |broker| {
        let mut client = broker.client();
        let pings = frame(0x89, &[7; 125]).repeat(5000);
        client.send_raw(&pings);
        let id = client.id();
        client.send(&carillon_wire::ClientMessage::Ping(id));
        let mut pongs = 0;
        loop {
            match client.next() {
                Said::Pong(payload) => {
                    assert_eq!(payload, [7; 125]);
                    pongs += 1;
                }
                Said::Ok(answered) if answered == id.get() => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(pongs > 0);
    });
}
