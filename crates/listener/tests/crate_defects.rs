//! What is known to be wrong in crates that a WebSocket server in Rust is built on, or easily made wrong with them, and
//! the test that keeps each out of this listener.
//!
//! | defect | where it is tested |
//! |---|---|
//! | the end of a large message stays in TLS until something else is written | [`the_end_of_a_large_message_waits_for_nothing_else`] |
//! | the bound on a message is one on each of its frames | `bad_input.rs`: `an_endless_message_is_refused_at_its_bound`; `decoder.rs`: `the_bound_counts_all_fragments` |
//! | a protocol error drops the socket without a close frame | `bad_input.rs`: `broken_frames_are_closed_with_the_right_code`; [`a_close_frame_reaches_a_client_that_goes_on_sending`] |
//! | frames without a mask are accepted | `bad_input.rs`: `broken_frames_are_closed_with_the_right_code` |
//! | close and pong of more than 125 bytes are accepted | [`control_frames_have_125_bytes_at_most`] |
//! | text that ends inside a character is accepted, or refused only at its end | [`text_is_checked_as_it_comes_and_up_to_its_end`]; `decoder.rs`: `a_bad_text_is_refused_before_its_end` |
//! | lengths in a longer form than they need are accepted | [`a_length_has_its_shortest_form`] |
//! | POST, HTTP/1.0, no Host or two, bad or double keys, any Origin are upgraded; a bad version gets 400 | `upgrade.rs`: `wrong_requests_are_refused_with_their_reason`; [`a_header_that_must_be_there_once_is_not_there_twice`] |
//! | HTTP/2 is spoken on a connection that agreed on HTTP/1.1 | [`http_2_is_spoken_to_nobody`] |
//! | small unread DATA frames of HTTP/2 use up the budget of all WebSockets of their connection | none: no HTTP/2 is spoken |
//! | `:protocol` of an extended CONNECT is compared with its case | none: no HTTP/2 is spoken |
//! | a TLS handshake, or the head of a request, may take for ever | `deadlines.rs`: `a_client_that_says_nothing_is_let_go_in_each_phase` |
//!
//! What could be smuggled past the upgrade is in `smuggling.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in a test a panic is the message"
)]

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use carillon_listener::settings::Limits;
use carillon_metrics::HandshakeFailure;
use carillon_wire::{
    ClientMessage, Headers, Id, Overflow, Pattern,
    client_message::{Connect, Subscribe},
};
use rustls::{AlertDescription, ClientConnection, StreamOwned, pki_types::ServerName};
use socket2::{Domain, Socket, Type};
use support::{Broker, client_config, eventually, frame, read_head, settings, upgrade_request};

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A client whose socket holds little: small segments and a small window keep the broker's own send buffer small too.
fn narrow_client(broker: &Broker) -> TlsStream {
    let socket = Socket::new(Domain::for_address(broker.address), Type::STREAM, None).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&broker.address.into()).unwrap();
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let tls = ClientConnection::new(client_config(&broker.tls), ServerName::try_from("localhost").unwrap()).unwrap();
    StreamOwned::new(tls, tcp)
}

/// Becomes a WebSocket that is subscribed to the topic `large`.
fn subscribe(stream: &mut TlsStream) {
    stream.write_all(upgrade_request("").as_bytes()).unwrap();
    read_head(stream);
    let requests = [
        ClientMessage::Connect(Connect { id: Id::from(1_u32), token: None, client: None, headers: Headers::EMPTY }),
        ClientMessage::Subscribe(Subscribe {
            id: Id::from(2_u32),
            pattern: Pattern::new("large").unwrap(),
            overflow: Overflow::DropOldest,
            start: None,
        }),
    ];
    for request in requests {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        stream.write_all(&frame(0x82, &bytes)).unwrap();
        read_message(stream);
    }
}

/// The payload of the next frame.
fn read_message(stream: &mut TlsStream) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut length = [0; 8];
    match head[1] {
        126 => stream.read_exact(&mut length[6..]).unwrap(),
        127 => stream.read_exact(&mut length).unwrap(),
        short => length[7] = short,
    }
    let mut payload = vec![0; u64::from_be_bytes(length) as usize];
    stream.read_exact(&mut payload).expect("the rest of a message");
    payload
}

#[test]
fn the_end_of_a_large_message_waits_for_nothing_else() {
    let mut settings = settings();
    // Nothing else is written that would take the rest along.
    settings.deadlines.heartbeat = Duration::from_hours(1);
    let broker = Broker::start(settings);
    let mut reader = narrow_client(&broker);
    subscribe(&mut reader);
    let mut publisher = broker.client();
    for more in 0..10 {
        let payload = vec![more as u8; (256 << 10) + more * 5_000];
        publisher.publish("large", &payload);
        let message = read_message(&mut reader);
        assert!(message.windows(4).any(|window| window == [more as u8; 4]) && message.len() > payload.len());
    }
}

fn close_after(broker: &Broker, bytes: &[u8]) -> Option<u16> {
    let mut client = broker.client();
    client.send_raw(bytes);
    client.until_close().1.map(|(code, _)| code)
}

#[test]
fn a_close_frame_reaches_a_client_that_goes_on_sending() {
    let broker = Broker::start(settings());
    for bad in [frame(0xc2, b"x"), frame(0x81, &[0xc0]), vec![0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let expected = close_after(&broker, &bad);
        assert!(matches!(expected, Some(1002 | 1007 | 1009)), "{expected:?}");
        let mut client = broker.client();
        client.send_raw(&bad);
        // A socket that is closed with bytes unread, or before all have come, resets the connection: writing fails, and
        // the close frame may be gone.
        for _ in 0..16 {
            client.send_raw(&frame(0x82, &vec![0; 60 << 10]));
        }
        assert_eq!(client.until_close().1.map(|(code, _)| code), expected);
    }
}

#[test]
fn control_frames_have_125_bytes_at_most() {
    let broker = Broker::start(settings());
    let close_reason = |bytes: usize| [&1000_u16.to_be_bytes()[..], &vec![b'.'; bytes - 2]].concat();
    for opcode in [0x88, 0x89, 0x8a] {
        assert_eq!(close_after(&broker, &frame(opcode, &close_reason(126))), Some(1002), "{opcode:x}");
        // Longer than any head tells in 16 bits.
        assert_eq!(close_after(&broker, &frame(opcode, &close_reason(70_000))), Some(1002), "{opcode:x}");
    }
    assert_eq!(close_after(&broker, &frame(0x88, &close_reason(125))), Some(1000));
    let mut client = broker.client();
    client.send_raw(&frame(0x8a, &[7; 125]));
    client.ping();
}

#[test]
fn text_is_checked_as_it_comes_and_up_to_its_end() {
    let broker = Broker::start(settings());
    let euro = "€".as_bytes();
    // Text that is UTF-8 gets 1003: no message of the protocol is text.
    let cases: [(&str, Vec<Vec<u8>>, u16); 6] = [
        ("a character in two fragments", vec![frame(0x01, &euro[..1]), frame(0x80, &euro[1..])], 1003),
        (
            "a character in three fragments",
            euro.chunks(1).zip([1, 0, 0x80]).map(|(b, first)| frame(first, b)).collect(),
            1003,
        ),
        ("the end inside a character", vec![frame(0x81, &euro[..2])], 1007),
        ("the end inside a character, in an empty fragment", vec![frame(0x01, &euro[..2]), frame(0x80, b"")], 1007),
        ("a bad byte, and no end of the message", vec![frame(0x01, b"good \xff")], 1007),
        ("a bad byte in the middle of a frame", vec![frame(0x81, b"good \xff and the rest")[..14].to_vec()], 1007),
    ];
    for (what, frames, code) in cases {
        assert_eq!(close_after(&broker, &frames.concat()), Some(code), "{what}");
    }
}

#[test]
fn a_length_has_its_shortest_form() {
    let mut settings = settings();
    settings.limits = Limits { max_message_bytes: 1 << 20, ..Limits::default() };
    let broker = Broker::start(settings);
    for opcode in [0x82, 0x02] {
        for (digits, length) in [(2, 0_u64), (2, 125), (8, 0), (8, 125), (8, 126), (8, 65_535)] {
            let mut bytes = vec![opcode, if digits == 2 { 0xfe } else { 0xff }];
            bytes.extend(&length.to_be_bytes()[8 - digits..]);
            bytes.extend(vec![0; 4 + length as usize]);
            assert_eq!(close_after(&broker, &bytes), Some(1002), "{length} in {digits} bytes");
        }
    }
}

#[test]
fn a_header_that_must_be_there_once_is_not_there_twice() {
    let mut settings = settings();
    settings.origins.allow_loopback = true;
    let broker = Broker::start(settings);
    let doubled = [
        ("Host: localhost", "400"),
        ("Sec-WebSocket-Version: 13", "426"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "400"),
        ("Origin: https://localhost", "403"),
    ];
    for (header, status) in doubled {
        let answer = |request: &str| {
            let mut stream = broker.tls_stream();
            stream.write_all(request.as_bytes()).unwrap();
            read_head(&mut stream)
        };
        let once = upgrade_request("Origin: https://localhost\r\n");
        assert!(answer(&once).starts_with("HTTP/1.1 101 "), "{header}");
        let twice = once.replace(header, &format!("{header}\r\n{header}"));
        assert!(answer(&twice).starts_with(&format!("HTTP/1.1 {status} ")), "{header}");
    }
}

/// What comes up to the end of the stream.
fn everything(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn http_2_is_spoken_to_nobody() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let broker = Broker::start(settings());
    let stream_with = |alpn: &[&[u8]]| {
        let mut config = (*client_config(&broker.tls)).clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        broker.tls_stream_with(&Arc::new(config))
    };

    let mut only_h2 = stream_with(&[b"h2"]);
    let refused = only_h2.flush().unwrap_err();
    let alert = refused.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert_eq!(alert, Some(&rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)), "{refused}");
    eventually("the count", || {
        broker.count(|shard| shard.handshake_failures.of(HandshakeFailure::TlsError).get()) == 1
    });

    // Whatever was agreed on, an HTTP/2 client that starts all the same hears no frame: it would begin with the length of
    // the server's settings.
    for alpn in [&[&b"h2"[..], b"http/1.1"][..], &[b"http/1.1"], &[]] {
        let mut stream = stream_with(alpn);
        stream.write_all(PREFACE).unwrap();
        let answer = everything(&mut stream);
        assert_eq!(stream.conn.alpn_protocol(), (!alpn.is_empty()).then_some(&b"http/1.1"[..]));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{:?}", String::from_utf8_lossy(&answer));
    }
    // The other way into HTTP/2 is passed over, as RFC 9110, section 7.8 allows.
    let mut upgrade = stream_with(&[b"http/1.1"]);
    let request = upgrade_request("HTTP2-Settings: AAMAAABkAAQAAP__\r\n")
        .replace("Connection: Upgrade", "Connection: Upgrade, HTTP2-Settings")
        .replace("Upgrade: websocket", "Upgrade: h2c");
    upgrade.write_all(request.as_bytes()).unwrap();
    assert!(everything(&mut upgrade).starts_with(b"HTTP/1.1 426 "));
}
