//! Request smuggling: whatever a request looks like, and whatever stands behind it, it is one request. A refused one gets one
//! answer and the end of the stream; behind an accepted one everything is WebSocket.
//!
//! A proxy and the broker that see the end of a request in different places would let one client's bytes be taken for
//! another's request. So each attempt here carries a second request, which must never be answered.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in a test a panic is the message"
)]

mod support;

use std::io::{Read, Write};

use carillon_metrics::Phase;
use support::{Broker, frame, settings, upgrade_request};

/// The second request. Its answer would be 403, and would repeat the origin.
fn second() -> String {
    upgrade_request("Origin: https://second.example\r\n")
}

/// A right request, with this in place of `Host: localhost`.
fn with(headers: &str) -> Vec<u8> {
    upgrade_request("").replace("Host: localhost\r\n", headers).into_bytes()
}

/// A right request, with this in place of its request line.
fn line(line: &str) -> Vec<u8> {
    upgrade_request("").replace("GET /ws HTTP/1.1", line).into_bytes()
}

/// All that the broker says up to the end of the stream, when `bytes` come in pieces of this size.
fn conversation(broker: &Broker, bytes: &[u8], piece_bytes: usize) -> Vec<u8> {
    let mut stream = broker.tls_stream();
    for piece in bytes.chunks(piece_bytes) {
        // The broker may have answered and left before it was told everything.
        if stream.write_all(piece).and_then(|()| stream.flush()).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn count(bytes: &[u8], of: &[u8]) -> usize {
    bytes.windows(of.len()).filter(|window| *window == of).count()
}

/// One refusal, then the end; also when the bytes come one by one.
fn refused(what: &str, request: &[u8]) {
    let broker = Broker::start(settings());
    let bytes = [request, second().as_bytes(), &frame(0x89, b"second")].concat();
    for piece_bytes in [bytes.len(), 1] {
        let answer = conversation(&broker, &bytes, piece_bytes);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 4"), "{what}: {text:?}");
        assert_eq!(count(&answer, b"HTTP/1."), 1, "{what}: more than one answer: {text}");
        assert_eq!(count(&answer, b"second"), 0, "{what}: the second request was read: {text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}: no whole answer: {text:?}"));
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let is_whole = length.parse() == Ok(body.len()) || request.starts_with(b"HEAD ");
        assert!(is_whole, "{what}: {text}");
        assert!(head.contains("connection: close"), "{what}: {text}");
        assert_eq!(broker.count(|shard| shard.connections.of(Phase::WebSocket).get() as u64), 0, "{what}");
    }
    let failures = || broker.count(|shard| shard.handshake_failures.iter().map(|(_, count)| count.get()).sum());
    support::eventually(what, || failures() == 2);
}

/// One upgrade; what stands behind it is frames, and a request is no good frame.
fn accepted(what: &str, request: &[u8]) {
    let broker = Broker::start(settings());
    let bytes = [request, &frame(0x89, b"early"), second().as_bytes()].concat();
    for piece_bytes in [bytes.len(), 1] {
        let answer = conversation(&broker, &bytes, piece_bytes);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 101 "), "{what}: {text:?}");
        assert_eq!(count(&answer, b"HTTP/1."), 1, "{what}: more than one answer: {text}");
        let end = text.find("\r\n\r\n").unwrap() + 4;
        let frames = &answer[end..];
        assert!(frames.starts_with(b"\x8a\x05early"), "{what}: {frames:?}");
        assert_eq!((frames[7], &frames[9..11]), (0x88, &1002_u16.to_be_bytes()[..]), "{what}: {frames:?}");
        assert_eq!(frames.len(), 9 + usize::from(frames[8]), "{what}: something is behind the close frame");
    }
}

#[test]
fn a_body_is_refused_however_its_end_is_told() {
    let host = "Host: localhost\r\n";
    let cases = [
        ("a length", "Content-Length: 5\r\n", "hello"),
        ("a length of many digits", "Content-Length: 18446744073709551616\r\n", ""),
        ("a length with a sign", "Content-Length: +5\r\n", "hello"),
        ("a length below zero", "Content-Length: -1\r\n", ""),
        ("a length in hexadecimal", "Content-Length: 0x5\r\n", "hello"),
        ("a length of nothing", "Content-Length: \r\n", ""),
        ("a list of lengths", "Content-Length: 5, 5\r\n", "hello"),
        ("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ("two lengths, the first one 0", "Content-Length: 0\r\nContent-Length: 5\r\n", "hello"),
        ("two lengths, the last one 0", "Content-Length: 5\r\nContent-Length: 0\r\n", "hello"),
        ("chunks", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("chunks that never end", "Transfer-Encoding: chunked\r\n", "fffffff\r\n"),
        ("chunks with a trailer", "Transfer-Encoding: chunked\r\n", "0\r\nHost: second\r\n\r\n"),
        ("chunks, and a length", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("chunks, and a length of 0", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"),
        ("chunks twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("chunks of something", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("no chunks at the end", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("identity", "Transfer-Encoding: identity\r\n", ""),
        ("an encoding that nobody knows", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("chunks in quotes", "Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ("chunks behind a tab", "Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"),
        ("chunks behind a vertical tab", "Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        ("chunks before a blank", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("a body that waits to be asked for", "Content-Length: 5\r\nExpect: 100-continue\r\n", ""),
    ];
    for (what, headers, body) in cases {
        refused(what, &[&with(&format!("{host}{headers}")), body.as_bytes()].concat());
    }
    // As long as the second request is, so that it is the body for whoever believes the length.
    let length = second().len();
    refused("a request for a body", &with(&format!("{host}Content-Length: {length}\r\n")));
}

#[test]
fn headers_that_two_readers_read_differently_are_refused() {
    let cases = [
        ("a folded line", "Host: localhost\r\nX-Folded: a\r\n b\r\n"),
        ("a folded line by a tab", "Host: localhost\r\nX-Folded: a\r\n\tHost: second\r\n"),
        ("a folded first line", " Host: localhost\r\n"),
        ("a blank before the colon", "Host : localhost\r\n"),
        ("a tab before the colon", "Host\t: localhost\r\n"),
        ("a blank in a name", "Host: localhost\r\nX Spaced: a\r\n"),
        ("a name of nothing", "Host: localhost\r\n: a\r\n"),
        ("a line without a colon", "Host: localhost\r\nX-Nothing\r\n"),
        ("NUL in a name", "Host: localhost\r\nX-\0: a\r\n"),
        ("NUL in a value", "Host: localhost\r\nX-Nul: a\0b\r\n"),
        ("NUL behind a value", "Host: localhost\0\r\n"),
        ("a bare CR in a value", "Host: localhost\r\nX-Cr: a\rHost: second\r\n"),
        ("a bare CR at the end of a line", "Host: localhost\rX-Cr: a\r\n"),
        ("a bare LF at the end of a line", "Host: localhost\nX-Lf: a\r\n"),
        (
            "a bare LF that would be a part of a value for others",
            "Host: localhost\r\nX-Lf: a\nX-Forwarded-For: 192.0.2.1\r\n",
        ),
        ("a bare LF before the end of the head", "Host: localhost\r\nX-Lf: a\n"),
        ("another character for a line's end", "Host: localhost\r\nX-Nel\u{85}: a\r\n"),
        ("two hosts", "Host: localhost\r\nHost: second\r\n"),
        ("two hosts, one in another case", "hOST: second\r\nHost: localhost\r\n"),
    ];
    for (what, headers) in cases {
        refused(what, &with(headers));
    }
    refused("nothing but bare LF", upgrade_request("").replace("\r\n", "\n").as_bytes());
}

#[test]
fn request_lines_that_are_not_for_the_websocket_are_refused() {
    let lines = [
        "CONNECT localhost:443 HTTP/1.1",
        "CONNECT /ws HTTP/1.1",
        "GET localhost:443 HTTP/1.1",
        "GET https://localhost HTTP/1.1",
        "GET * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "HEAD /ws HTTP/1.1",
        "get /ws HTTP/1.1",
        "GET ws HTTP/1.1",
        "GET //ws HTTP/1.1",
        "GET /ws/ HTTP/1.1",
        "GET /ws/../ws HTTP/1.1",
        "GET /%77s HTTP/1.1",
        "GET /ws%00 HTTP/1.1",
        "GET /ws\0 HTTP/1.1",
        "GET /ws HTTP/1.1 HTTP/1.1",
        "GET  /ws HTTP/1.1",
        "GET\t/ws\tHTTP/1.1",
        " GET /ws HTTP/1.1",
        "GET /ws\r\n HTTP/1.1",
        "GET /ws http/1.1",
        "GET /ws HTTP/1.2",
        "GET /ws HTTP/2.0",
        "GET /ws HTTP/01.1",
        "GET /ws",
    ];
    for text in lines {
        refused(text, &line(text));
    }
}

#[test]
fn behind_an_upgrade_everything_is_websocket() {
    accepted("nothing unusual", &with("Host: localhost\r\n"));
    accepted("a body of nothing", &with("Host: localhost\r\nContent-Length: 0\r\n"));
    accepted("an empty line before the request", &[b"\r\n", &*with("Host: localhost\r\n")].concat());
    accepted("a query", &line("GET /ws?a=/other HTTP/1.1"));
    // The form for proxies, which every server has to understand (RFC 9112, section 3.2.2).
    accepted("the absolute form", &line("GET https://localhost/ws HTTP/1.1"));
}
