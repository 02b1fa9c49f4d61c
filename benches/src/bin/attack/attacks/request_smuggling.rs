//! Request smuggling: requests that two parties could understand differently, behind TLS, with a second request hidden in
//! each.
//!
//! The broker answers at most one request on a connection, so whatever is hidden has nobody to answer it: each gets one
//! refusal and the connection ends. Where the hidden bytes stand behind an upgrade that is good, they are no WebSocket
//! frames, and end it with 1002.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Attack;
use crate::{
    hostile::{ENDED, count_status, digest},
    scene::Scene,
    settings::Holdings,
};

/// At once.
const CONNECTIONS: usize = 8;

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: Y2FyaWxsb24gYmVuY2ggaw==\r\nSec-WebSocket-Protocol: carillon.v1\r\n";
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What stands between the request line and the rest, and whether the request is still a good one.
const AMBIGUOUS: [(&str, &str); 24] = [
    ("two lengths", "Host: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n"),
    ("length and chunked", "Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("chunked and length", "Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ("chunked", "Host: localhost\r\nTransfer-Encoding: chunked\r\n"),
    ("unknown coding", "Host: localhost\r\nTransfer-Encoding: xchunked\r\n"),
    ("chunked not last", "Host: localhost\r\nTransfer-Encoding: chunked, identity\r\n"),
    ("two codings", "Host: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ("coding with a tab", "Host: localhost\r\nTransfer-Encoding:\tchunked\r\n"),
    ("blank before colon", "Host: localhost\r\nTransfer-Encoding : chunked\r\n"),
    ("blank before length's colon", "Host: localhost\r\nContent-Length : 5\r\n"),
    ("folded line", "Host: localhost\r\nX-Folded: a\r\n Content-Length: 5\r\n"),
    ("length with plus", "Host: localhost\r\nContent-Length: +5\r\n"),
    ("length in hex", "Host: localhost\r\nContent-Length: 0x5\r\n"),
    ("negative length", "Host: localhost\r\nContent-Length: -5\r\n"),
    ("list of lengths", "Host: localhost\r\nContent-Length: 5, 5\r\n"),
    ("length above 64 bits", "Host: localhost\r\nContent-Length: 18446744073709551621\r\n"),
    ("two hosts", "Host: localhost\r\nHost: elsewhere.example\r\n"),
    ("no host", "X-None: 1\r\n"),
    ("NUL in a value", "Host: localhost\r\nX-Nul: a\0b\r\n"),
    ("bare CR in a value", "Host: localhost\r\nX-Cr: a\rContent-Length: 5\r\n"),
    ("blank line with a blank", "Host: localhost\r\n \r\n"),
    ("no colon", "Host: localhost\r\nContent-Length\r\n"),
    ("two keys", "Host: localhost\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
    ("two origins", "Host: localhost\r\nOrigin: https://a.example\r\nOrigin: https://b.example\r\n"),
];

const VERSIONS: [&str; 5] = [
    "GET /ws HTTP/1.0",
    "GET /ws HTTP/0.9",
    "GET /ws HTTP/2.0",
    "GET /ws HTTP/1.1\rGET /ws HTTP/1.1",
    "PRI * HTTP/2.0\r\n\r\nSM",
];

pub(super) const ATTACK: Attack = Attack {
    name: "request_smuggling",
    does: "8 at a time, and again and again, send ambiguous requests with another one hidden in each",
    bound: "one request for each connection",
    holds: |_| Holdings { handshakes: 2 * CONNECTIONS, requests: 2 * CONNECTIONS, ..Holdings::default() },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| {
        complaints.unless_seen(evidence, &["status 400"]);
        complaints.unless_seen(evidence, &["close 1002"]);
        for fault in ["accepted: ", "answered twice: "] {
            for what in evidence.tally.keys().filter(|what| what.starts_with(fault)) {
                complaints.0.push(what.clone());
            }
        }
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let ambiguous =
        AMBIGUOUS.map(|(name, headers)| (name, format!("GET /ws HTTP/1.1\r\n{headers}{UPGRADE}\r\n{HIDDEN}")));
    let versions = VERSIONS.map(|line| (line, format!("{line}\r\nHost: localhost\r\n{UPGRADE}\r\n{HIDDEN}")));
    let all: Vec<_> = ambiguous.into_iter().chain(versions).collect();
    // Each one at least once, however short the attack.
    for (name, request) in all.iter().skip(number).step_by(CONNECTIONS) {
        refused(&scene, number, name, request).await?;
    }
    behind_upgrade(&scene, number).await?;
    let mut cases = all.iter().cycle();
    scene
        .again(async || match cases.next() {
            Some((name, request)) => refused(&scene, number, name, request).await,
            None => Ok(()),
        })
        .await;
    Ok(())
}

async fn refused(scene: &Scene, number: usize, name: &str, request: &str) -> std::io::Result<()> {
    let answer = ask(scene, number, request).await?;
    count_status(&answer, &scene.tally);
    let text = String::from_utf8_lossy(&answer);
    if statuses(&text).any(|status| status.starts_with(['1', '2', '3'])) {
        scene.tally.count(format!("accepted: {name:?}"));
    }
    if statuses(&text).count() > 1 {
        scene.tally.count(format!("answered twice: {name:?}"));
    }
    Ok(())
}

/// A good upgrade that says it has no body, and then another request.
async fn behind_upgrade(scene: &Scene, number: usize) -> std::io::Result<()> {
    let head = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{UPGRADE}\r\n{HIDDEN}");
    let answer = ask(scene, number, &head).await?;
    count_status(&answer, &scene.tally);
    let text = String::from_utf8_lossy(&answer);
    if statuses(&text).count() > 1 {
        scene.tally.count("answered twice: behind an upgrade");
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let mut frames = answer.get(end..).unwrap_or_default().to_vec();
    digest(&mut frames, &scene.tally);
    Ok(())
}

/// The statuses of all answers in a text.
fn statuses(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with("HTTP/")).filter_map(|line| line.split(' ').nth(1))
}

async fn ask(scene: &Scene, number: usize, request: &str) -> std::io::Result<Vec<u8>> {
    let mut tls = scene.target.tls(scene.address(number)).await?;
    tls.write_all(request.as_bytes()).await?;
    tls.flush().await?;
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer).await;
    scene.tally.count(ENDED);
    Ok(answer)
}
