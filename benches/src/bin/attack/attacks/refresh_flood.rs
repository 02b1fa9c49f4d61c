//! Refresh flood: attackers who are in ask again and again to renew their credentials with a forged token, one by one, or
//! thousands of times in one message of 1 MiB. Each is a signature to check, and no handshake has to be paid for it.
//!
//! The broker answers each with error 401, and goes on with the credentials that there were; after a few, with error 202,
//! and looks at no credentials.

use carillon_benches::connection::{binary_frame, payload_frame};
use carillon_wire::{ClientMessage, Id, client_message::Refresh};

use super::Attack;
use crate::{hostile::Intruder, scene::Scene, settings::Holdings};

const CONNECTIONS: usize = 4;
const MESSAGE_BYTES: usize = 1 << 20;

pub(super) const ATTACK: Attack = Attack {
    name: "refresh_flood",
    does: "4 connections with good tokens refresh with forged ones, thousands in a message",
    bound: "quotas.connection.failed_logins, quotas.connection.requests",
    holds: |_| Holdings { websockets: CONNECTIONS, partial_messages: 2 * CONNECTIONS, ..Holdings::default() },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| {
        complaints.unless_seen(evidence, &["error 401"]);
        complaints.unless_counted(evidence, &["carillon_logins_total{result=\"refused\"}"]);
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut intruder = Intruder::enter(&scene, number).await?;
    intruder.listen();
    let refresh = ClientMessage::Refresh(Refresh { id: Id::from(1), token: &scene.credentials.forged_token });
    if number.is_multiple_of(2) {
        intruder.flood(&binary_frame(&refresh)).await;
    } else {
        let mut one = Vec::new();
        refresh.encode(&mut one);
        let payload = one.repeat(MESSAGE_BYTES / one.len());
        let message = payload_frame(&payload);
        intruder.flood(&message).await;
    }
    Ok(())
}
