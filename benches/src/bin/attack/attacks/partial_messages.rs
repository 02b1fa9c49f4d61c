//! Partial messages: each of many attackers sends all of a 1 MiB message but its last byte, and leaves it there.
//!
//! The broker has to keep them, `limits.max_message_bytes` for each connection (a growing buffer is up to twice that), until
//! the heartbeats that nobody answers end the connections with 4001.

use carillon_benches::connection::frame_head;
use tokio::io::AsyncWriteExt;

use super::Attack;
use crate::{
    hostile::{digest, trickle},
    scene::Scene,
    settings::Holdings,
};

const CONNECTIONS: usize = 100;
const MESSAGE_BYTES: usize = 1 << 20;
const BINARY: u8 = 0x82;

pub(super) const ATTACK: Attack = Attack {
    name: "partial_messages",
    does: "100 connections with good tokens each leave a message of 1 MiB without its last byte",
    bound: "limits.max_message_bytes, deadlines.heartbeat_seconds",
    holds: |size| Holdings {
        handshakes: size.of(CONNECTIONS),
        websockets: size.of(CONNECTIONS),
        partial_messages: size.of(CONNECTIONS),
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
    let mut stream = scene.target.connect_as(scene.address(number), token).await?.into_stream();
    stream.write_all(&frame_head(BINARY, MESSAGE_BYTES)).await?;
    stream.write_all(&vec![0xc0; MESSAGE_BYTES - 1]).await?;
    stream.flush().await?;
    let mut said = trickle(stream, &[], scene.settings.deadline, &scene).await;
    digest(&mut said, &scene.tally);
    Ok(())
}
