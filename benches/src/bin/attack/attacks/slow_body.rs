//! Slow body: the attackers send whole heads of requests that announce a body, and then the body a byte at a time.
//!
//! The broker reads no body: it answers at once, `405` or `400`, and ends the connection. What still comes is discarded
//! for a second, so that the answer is read.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::Attack;
use crate::{
    hostile::{count_status, trickle},
    scene::Scene,
    settings::Holdings,
};

const CONNECTIONS: usize = 300;

pub(super) const ATTACK: Attack = Attack {
    name: "slow_body",
    does: "300 connections announce a body of 1 MB and send it a byte every 100 ms",
    bound: "no body is read; deadlines.http_head_seconds",
    holds: |size| Holdings { handshakes: size.of(CONNECTIONS), requests: size.of(CONNECTIONS), ..Holdings::default() },
    run: |scene| scene.run(scene.size.of(CONNECTIONS), attack),
    judge: |evidence, complaints| {
        complaints.unless_all_ended(evidence);
        complaints.unless_seen(evidence, &["status 4"]);
        let others = evidence.of("status") - evidence.of("status 4");
        complaints.unless(others == 0, || format!("{others} requests with a body had another answer than a refusal"));
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut tls = scene.target.tls(scene.address(number)).await?;
    let head = if number.is_multiple_of(2) {
        "POST /ws HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    } else {
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: Y2FyaWxsb24gYmVuY2ggaw==\r\nSec-WebSocket-Protocol: carillon.v1\r\nContent-Length: 1000000\r\n\r\n"
    };
    tls.write_all(head.as_bytes()).await?;
    tls.flush().await?;
    let answer = trickle(tls, &[b'a'; 4096], Duration::from_millis(100), &scene).await;
    count_status(&answer, &scene.tally);
    Ok(())
}
