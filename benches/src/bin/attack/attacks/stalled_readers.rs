//! Stalled readers: attackers subscribe to a topic that one of them publishes 1 KiB messages to as fast as it can, and to
//! the pair's, and never read.
//!
//! What waits for each is bounded by `limits.outbox_bytes`, and messages are shared; above it the oldest is dropped, with a
//! gap. A socket that takes no byte for `deadlines.write_seconds` is dropped (`write_timeout`).

use carillon_benches::connection::{binary_frame, payload_frame};
use carillon_wire::{
    ClientMessage, Headers, Id, Overflow, Pattern, Topic,
    client_message::{Publish, Subscribe},
};

use super::Attack;
use crate::{hostile::Intruder, scene::Scene, settings::Holdings};

const READERS: usize = 50;
const PAYLOAD_BYTES: usize = 1 << 10;
const PUBLICATIONS_AT_ONCE: usize = 60;

pub(super) const ATTACK: Attack = Attack {
    name: "stalled_readers",
    does: "50 connections with good tokens subscribe and never read; one more publishes at full speed",
    bound: "limits.outbox_bytes, deadlines.write_seconds",
    holds: |size| Holdings {
        handshakes: size.of(READERS),
        websockets: size.of(READERS) + 1,
        outboxes: size.of(READERS),
        ..Holdings::default()
    },
    run: |scene| scene.run(scene.size.of(READERS) + 1, attack),
    judge: |evidence, complaints| {
        complaints.unless_counted(evidence, &["carillon_messages_received_total"]);
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut intruder = Intruder::enter(&scene, number).await?;
    if number == 0 {
        intruder.listen();
        let topic = Topic::new("attack.firehose").map_err(std::io::Error::other)?;
        let publish = Publish {
            id: None,
            topic,
            payload: &[b'x'; PAYLOAD_BYTES],
            headers: Headers::EMPTY,
            message_id: None,
            expected_sequence: None,
        };
        let mut one = Vec::new();
        ClientMessage::Publish(publish).encode(&mut one);
        let payload = one.repeat(PUBLICATIONS_AT_ONCE);
        let message = payload_frame(&payload);
        intruder.flood(&message).await;
        return Ok(());
    }
    for (id, pattern) in [(1, "attack.>"), (2, "pair.>")] {
        let pattern = Pattern::new(pattern).map_err(std::io::Error::other)?;
        let subscribe = Subscribe { id: Id::from(id), pattern, overflow: Overflow::DropOldest, start: None };
        intruder.say(&binary_frame(&ClientMessage::Subscribe(subscribe))).await;
    }
    // It does not hear heartbeats either, so it does nothing any more.
    intruder.stay().await;
    Ok(())
}
