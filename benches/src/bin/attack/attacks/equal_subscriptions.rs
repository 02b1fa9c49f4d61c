//! Equal subscriptions: attackers subscribe again and again to what the pair publishes, as their tokens allow, and then
//! just read. Each message goes out once to each of them, but every subscription has to be looked at.
//!
//! A connection has 16 live subscriptions to one pattern at most: more are refused with error 416, and with 202 where they
//! come faster than the requests that are allowed.

use carillon_benches::connection::payload_frame;
use carillon_wire::{ClientMessage, Id, Overflow, Pattern, client_message::Subscribe};

use super::Attack;
use crate::{
    hostile::Intruder,
    scene::Scene,
    settings::{Holdings, MAX_SUBSCRIPTIONS},
};

const CONNECTIONS: usize = 4;
/// What a connection may have of one pattern (PROTOCOL.md, SUBSCRIBE).
const EQUAL_SUBSCRIPTIONS: usize = 16;
const REQUESTS_AT_ONCE: usize = 500;
const PATTERN: &str = "pair.>";

pub(super) const ATTACK: Attack = Attack {
    name: "equal_subscriptions",
    does: "4 connections with good tokens ask 10,000 times each to subscribe to the pair's topic",
    bound: "16 live subscriptions of a connection to one pattern",
    holds: |_| Holdings {
        websockets: CONNECTIONS,
        outboxes: CONNECTIONS,
        subscriptions: CONNECTIONS * EQUAL_SUBSCRIPTIONS,
        ..Holdings::default()
    },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| complaints.unless_seen(evidence, &["replies", "error 416"]),
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut intruder = Intruder::enter(&scene, number).await?;
    intruder.listen();
    let pattern = Pattern::new(PATTERN).map_err(std::io::Error::other)?;
    let mut ids = (1..=MAX_SUBSCRIPTIONS).filter_map(|id| u32::try_from(id).ok()).peekable();
    while intruder.is_in() && ids.peek().is_some() {
        let mut payload = Vec::new();
        for id in ids.by_ref().take(REQUESTS_AT_ONCE) {
            let subscribe = Subscribe { id: Id::from(id), pattern, overflow: Overflow::DropOldest, start: None };
            ClientMessage::Subscribe(subscribe).encode(&mut payload);
        }
        let message = payload_frame(&payload);
        intruder.say(&message).await;
    }
    intruder.stay().await;
    Ok(())
}
