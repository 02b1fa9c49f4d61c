//! Slow message: attackers who are in begin one WebSocket message and send it a byte at a time, for ever. So they never
//! answer a heartbeat, which they could not inside a message.
//!
//! The broker closes each with 4001 (`heartbeat_timeout`) when the second heartbeat is due: of a message that is under way,
//! at least 1 KiB must come between two heartbeats. Who sends just that much keeps a connection, and not more than
//! `limits.max_message_bytes` of memory.

use std::time::Duration;

use carillon_benches::connection::frame_head;

use super::Attack;
use crate::{
    hostile::{digest, trickle},
    scene::Scene,
    settings::Holdings,
};

const CONNECTIONS: usize = 200;

pub(super) const ATTACK: Attack = Attack {
    name: "slow_message",
    does: "200 connections with good tokens send one WebSocket message, a byte every 100 ms",
    bound: "deadlines.heartbeat_seconds, limits.max_message_bytes",
    holds: |size| Holdings {
        handshakes: size.of(CONNECTIONS),
        websockets: size.of(CONNECTIONS),
        ..Holdings::default()
    },
    run: |scene| scene.run(scene.size.of(CONNECTIONS), attack),
    judge: |evidence, complaints| {
        complaints.unless_all_ended(evidence);
        complaints.unless_seen(evidence, &["close 4001"]);
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let token = Some(scene.credentials.attacker.as_str());
    let stream = scene.target.connect_as(scene.address(number), token).await?.into_stream();
    let mut bytes = frame_head(0x82, 1 << 20);
    bytes.resize(bytes.len() + (1 << 14), 0xc0);
    let mut said = trickle(stream, &bytes, Duration::from_millis(100), &scene).await;
    digest(&mut said, &scene.tally);
    Ok(())
}
