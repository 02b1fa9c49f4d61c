//! The HTTP upgrade is strict, and each refusal says what was wrong.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in a test a panic is the message"
)]

mod support;

use std::io::{Read, Write};

use carillon_listener::settings::Origins;
use support::{Broker, settings, upgrade_request};

fn answer(broker: &Broker, request: &str) -> String {
    let mut stream = broker.tls_stream();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
        }
        if answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_right_request_is_accepted() {
    let broker = Broker::start(settings());
    let answer = answer(&broker, &upgrade_request("")).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    // The key and its answer are the example of RFC 6455, section 1.3.
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: carillon.v1\r\n"), "{answer}");
    assert!(!answer.contains("sec-websocket-extensions"), "{answer}");
}

#[test]
fn wrong_requests_are_refused_with_their_reason() {
    let broker = Broker::start(settings());
    let right = upgrade_request("");
    let cases = [
        ("another path", right.replace("/ws", "/"), "404"),
        ("another method", right.replace("GET", "POST"), "405"),
        ("HTTP/1.0", right.replace("HTTP/1.1", "HTTP/1.0"), "400"),
        ("no host", right.replace("Host: localhost\r\n", ""), "400"),
        ("two hosts", right.replace("Host: localhost\r\n", "Host: localhost\r\nHost: other\r\n"), "400"),
        ("no upgrade", right.replace("Upgrade: websocket\r\n", ""), "426"),
        ("another upgrade", right.replace("Upgrade: websocket", "Upgrade: h2c"), "426"),
        ("no connection", right.replace("Connection: Upgrade\r\n", ""), "426"),
        ("another version", right.replace("Version: 13", "Version: 8"), "426"),
        ("no version", right.replace("Sec-WebSocket-Version: 13\r\n", ""), "426"),
        ("no key", right.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), "400"),
        ("a short key", right.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "400"),
        ("a key that is not base64", right.replace("dGhlIHNhbXBsZSBub25jZQ==", "????????????????????????"), "400"),
        ("two keys", right.replace("Host", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nHost"), "400"),
        ("no subprotocol", right.replace("Sec-WebSocket-Protocol: carillon.v1\r\n", ""), "400"),
        ("another subprotocol", right.replace("carillon.v1", "mqtt, carillon.v2, CARILLON.V1"), "400"),
        ("a body", upgrade_request("Content-Length: 5\r\n") + "hello", "400"),
        ("a chunked body", upgrade_request("Transfer-Encoding: chunked\r\n"), "400"),
        ("a page's origin", upgrade_request("Origin: https://evil.example\r\n"), "403"),
    ];
    for (what, request, status) in cases {
        let answer = answer(&broker, &request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) || answer.starts_with(&format!("HTTP/1.0 {status} ")),
            "{what}: {answer}"
        );
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(text.trim_end().ends_with('.'), "{what}: the answer says nothing: {answer}");
        if what.contains("version") {
            assert!(head.to_ascii_lowercase().contains("sec-websocket-version: 13"), "{answer}");
        }
    }
}

#[test]
fn several_subprotocols_may_be_offered_in_any_form() {
    let broker = Broker::start(settings());
    for offered in ["mqtt, carillon.v1", "carillon.v1,other", "other\r\nSec-WebSocket-Protocol:  carillon.v1 "] {
        let request = upgrade_request("").replace("carillon.v1", offered);
        assert!(answer(&broker, &request).starts_with("HTTP/1.1 101 "), "{offered}");
    }
}

#[test]
fn a_listed_origin_is_let_in() {
    let mut settings = settings();
    settings.origins = Origins { allowed: vec!["https://app.example.com".parse().unwrap()], ..Origins::default() };
    let broker = Broker::start(settings);
    let request = |origin: &str| upgrade_request(&format!("Origin: {origin}\r\n"));
    assert!(answer(&broker, &request("https://app.example.com")).starts_with("HTTP/1.1 101 "));
    assert!(answer(&broker, &request("https://app.example.com.evil.org")).starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_frame_right_behind_the_request_is_not_lost() {
    let broker = Broker::start(settings());
    let mut stream = broker.tls_stream();
    let mut bytes = upgrade_request("").into_bytes();
    bytes.extend(support::frame(0x89, b"early"));
    stream.write_all(&bytes).unwrap();
    let head = support::read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\x8a\x05early");
}
