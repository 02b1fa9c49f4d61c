//! Login flood: as fast as they can, attackers come with a token that somebody else has signed, with an API key whose
//! secret is wrong, and with nothing. Each attempt needs a TLS handshake of its own.
//!
//! The broker answers error 401, closes with 4401 (`unauthenticated`), and counts `refused`. Where an address has used up its
//! `quotas.address.failed_logins`, it closes with 4104 and looks at no credentials.

use std::io;

use carillon_benches::connection::binary_frame;
use carillon_wire::{ClientMessage, Headers, Id, client_message::Connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Attack;
use crate::{
    hostile::{ENDED, digest},
    scene::Scene,
    settings::Holdings,
};

/// At once.
const CONNECTIONS: usize = 32;

pub(super) const ATTACK: Attack = Attack {
    name: "login_flood",
    does: "32 at a time, and again and again, show forged tokens, wrong API keys, or nothing",
    bound: "one attempt for each connection; quotas.address.failed_logins",
    holds: |_| Holdings { handshakes: 2 * CONNECTIONS, websockets: 2 * CONNECTIONS, ..Holdings::default() },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| {
        complaints.unless_seen(evidence, &["error 401", "could not"]);
        complaints.unless_counted(evidence, &["carillon_logins_total{result=\"refused\"}"]);
        let replies = evidence.of("replies");
        complaints.unless(replies == 0, || format!("{replies} were let in"));
    },
};

async fn attack(scene: Scene, number: usize) -> io::Result<()> {
    let token = match number % 3 {
        0 => Some(scene.credentials.forged_token.as_str()),
        1 => Some(scene.credentials.forged_key.as_str()),
        _ => None,
    };
    let connect = Connect { id: Id::from(0), token, client: None, headers: Headers::EMPTY };
    let message = binary_frame(&ClientMessage::Connect(connect));
    scene
        .again(async || {
            let mut stream = scene.target.websocket(scene.address(number)).await?;
            stream.write_all(&message).await?;
            stream.flush().await?;
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
            digest(&mut said, &scene.tally);
            scene.tally.count(ENDED);
            Ok(())
        })
        .await;
    Ok(())
}
