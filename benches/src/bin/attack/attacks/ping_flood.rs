//! Ping flood: pings of 125 bytes as fast as the socket takes them, by four who read the pongs, four who do not, and
//! four who have not even sent their connect message.
//!
//! The broker answers with pongs, as RFC 6455 asks; of those that wait it keeps 1 KiB, the latest. A turn takes 64 KiB of
//! input, so others have theirs between. Who takes no pong is dropped at the write deadline; who does not connect is
//! closed with 4102 (`connect_timeout`), twice its deadline at the latest.

use carillon_benches::connection::frame_head;

use super::Attack;
use crate::{hostile::Intruder, scene::Scene, settings::Holdings};

const CONNECTIONS: usize = 12;
const PINGS_AT_ONCE: usize = 120;
const PING: u8 = 0x89;

pub(super) const ATTACK: Attack = Attack {
    name: "ping_flood",
    does: "12 connections send pings of 125 bytes as fast as they can",
    bound: "64 KiB of input in a turn; deadlines.write_seconds, deadlines.connect_seconds",
    holds: |_| Holdings { websockets: CONNECTIONS, ..Holdings::default() },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| {
        complaints.unless_seen(evidence, &["pongs"]);
        complaints.unless_seen(evidence, &["KiB said"]);
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut intruder = if number % 3 == 2 {
        Intruder::new(scene.target.websocket(scene.address(number)).await?, &scene)
    } else {
        Intruder::enter(&scene, number).await?
    };
    if number % 3 != 1 {
        intruder.listen();
    }
    let mut ping = frame_head(PING, 125);
    ping.extend([b'p'; 125]);
    intruder.flood(&ping.repeat(PINGS_AT_ONCE)).await;
    Ok(())
}
