//! Packed messages: WebSocket messages of 1 MiB, each with hundreds of thousands of the smallest requests: answers to
//! heartbeats that nobody asked for, which need no reply, so that no bound on replies stops them; and pings, which do.
//!
//! Nothing of it is forbidden. A turn must end after its share of work though the message has more.

use carillon_benches::connection::payload_frame;
use carillon_wire::{ClientMessage, Id};

use super::Attack;
use crate::{hostile::Intruder, scene::Scene, settings::Holdings};

const CONNECTIONS: usize = 4;
const MESSAGE_BYTES: usize = 1 << 20;

pub(super) const ATTACK: Attack = Attack {
    name: "packed_messages",
    does: "4 connections send 1 MiB messages packed with the smallest requests, as fast as they can",
    bound: "limits.max_message_bytes, limits.reply_bytes, a turn's share of work",
    holds: |_| Holdings { websockets: CONNECTIONS, partial_messages: 2 * CONNECTIONS, ..Holdings::default() },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| complaints.unless_seen(evidence, &["KiB said"]),
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut intruder = Intruder::enter(&scene, number).await?;
    intruder.listen();
    let mut request = Vec::new();
    if number.is_multiple_of(2) {
        ClientMessage::HeartbeatReply(Id::from(0)).encode(&mut request);
    } else {
        ClientMessage::Ping(Id::from(0)).encode(&mut request);
    }
    let payload = request.repeat(MESSAGE_BYTES / request.len());
    let message = payload_frame(&payload);
    intruder.flood(&message).await;
    Ok(())
}
