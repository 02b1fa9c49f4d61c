//! Publish flood: with good tokens, attackers publish as fast as they can. Half ask for replies, half do not; half read
//! what comes back, half do not; all of them subscribe to all of it.
//!
//! The broker accepts what the quotas allow, and answers error 202 to the rest. Who asks for replies and does not read them is not read on
//! (`limits.reply_bytes`); who does not read deliveries gets gaps, and is dropped at the write deadline.

use carillon_benches::connection::{binary_frame, payload_frame};
use carillon_wire::{
    ClientMessage, Headers, Id, Overflow, Pattern, Topic,
    client_message::{Publish, Subscribe},
};

use super::Attack;
use crate::{hostile::Intruder, scene::Scene, settings::Holdings};

const CONNECTIONS: usize = 8;
const PAYLOAD: [u8; 128] = [b'x'; 128];
const MESSAGE_BYTES: usize = 64 << 10;

pub(super) const ATTACK: Attack = Attack {
    name: "publish_flood",
    does: "8 connections with good tokens publish as fast as they can, half of them without reading",
    bound: "quotas.*.publications, quotas.*.bytes, limits.reply_bytes, limits.outbox_bytes",
    holds: |_| Holdings {
        websockets: CONNECTIONS,
        partial_messages: CONNECTIONS,
        outboxes: CONNECTIONS,
        ..Holdings::default()
    },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| complaints.unless_counted(evidence, &["carillon_messages_received_total"]),
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut intruder = Intruder::enter(&scene, number).await?;
    if number.is_multiple_of(2) {
        intruder.listen();
    }
    let pattern = Pattern::new("attack.>").map_err(std::io::Error::other)?;
    let subscribe = Subscribe { id: Id::from(1), pattern, overflow: Overflow::DropOldest, start: None };
    intruder.say(&binary_frame(&ClientMessage::Subscribe(subscribe))).await;

    let topic = Topic::new("attack.flood").map_err(std::io::Error::other)?;
    let id = (number % 4 < 2).then(|| Id::from(2));
    let mut one = Vec::new();
    ClientMessage::Publish(Publish {
        id,
        topic,
        payload: &PAYLOAD,
        headers: Headers::EMPTY,
        message_id: None,
        expected_sequence: None,
    })
    .encode(&mut one);
    let payload = one.repeat(MESSAGE_BYTES / one.len());
    let message = payload_frame(&payload);
    intruder.flood(&message).await;
    Ok(())
}
