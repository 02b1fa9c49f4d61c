//! Tiny fragments: one message in fragments of one byte, as fast as the socket takes them, and messages that consist of
//! empty fragments without end.
//!
//! The broker puts the first together up to `limits.max_message_bytes` and then closes with 1009; the attackers come again.
//! Empty fragments are allowed by RFC 6455 and add nothing: they cost the time to read them, 64 KiB in a turn.

use carillon_benches::connection::frame_head;

use super::Attack;
use crate::{hostile::Intruder, scene::Scene, settings::Holdings};

const CONNECTIONS: usize = 8;
const FRAGMENTS_AT_ONCE: usize = 2_000;
/// Binary, with more to follow.
const FIRST: u8 = 0x02;
/// With more to follow.
const NEXT: u8 = 0x00;

pub(super) const ATTACK: Attack = Attack {
    name: "tiny_fragments",
    does: "8 connections send a message in fragments of 1 byte, or of none, as fast as they can",
    bound: "64 KiB of input in a turn; limits.max_message_bytes",
    holds: |_| Holdings { websockets: CONNECTIONS, partial_messages: CONNECTIONS, ..Holdings::default() },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| complaints.unless_seen(evidence, &["close 1009", "close 4104", "KiB said"]),
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let payload_bytes = number % 2;
    let fragment = |first: u8| {
        let mut frame = frame_head(first, payload_bytes);
        frame.resize(frame.len() + payload_bytes, 0xc0);
        frame
    };
    let (first, more) = (fragment(FIRST), fragment(NEXT).repeat(FRAGMENTS_AT_ONCE));
    scene
        .again(async || {
            let mut intruder = Intruder::enter(&scene, number).await?;
            intruder.listen_only();
            intruder.say(&first).await;
            intruder.flood(&more).await;
            Ok(())
        })
        .await;
    Ok(())
}
