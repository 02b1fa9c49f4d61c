//! Equal subscriptions: attackers subscribe again and again to what the pair publishes, as their tokens allow, and then
//! just read. Each message goes out once to each of them, but every subscription has to be looked at.
//!
//! `quotas.identity.subscriptions` bounds what one identity may add to each message of others: more are refused with error
//! 203, and with 202 where they come faster than the requests that are allowed.

use carillon_benches::connection::frame_head;
use carillon_wire::{ClientMessage, Id, Overflow, Pattern, client_message::Subscribe};

use super::Attack;
use crate::{
    hostile::Intruder,
    scene::Scene,
    settings::{Holdings, IDENTITY_SUBSCRIPTIONS, MAX_SUBSCRIPTIONS},
};

const CONNECTIONS: usize = 4;
const REQUESTS_AT_ONCE: usize = 500;
const PATTERN: &str = "pair.>";
const BINARY: u8 = 0x82;

pub(super) const ATTACK: Attack = Attack {
    name: "equal_subscriptions",
    does: "4 connections with good tokens subscribe 10,000 times each to the pair's topic",
    bound: "quotas.identity.subscriptions, limits.max_subscriptions",
    holds: |_| Holdings {
        websockets: CONNECTIONS,
        outboxes: CONNECTIONS,
        subscriptions: IDENTITY_SUBSCRIPTIONS,
        ..Holdings::default()
    },
    run: |scene| {
        Box::pin(async move {
            scene.all(CONNECTIONS, attack).await;
            Ok(())
        })
    },
    judge: |evidence, complaints| complaints.unless_seen(evidence, &["replies"]),
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut intruder = Intruder::enter(&scene, number).await?;
    intruder.listen();
    let pattern = Pattern::new(PATTERN).map_err(std::io::Error::other)?;
    let mut ids = (1..=MAX_SUBSCRIPTIONS).filter_map(|id| u32::try_from(id).ok()).peekable();
    while intruder.is_in() && ids.peek().is_some() {
        let mut payload = Vec::new();
        for id in ids.by_ref().take(REQUESTS_AT_ONCE) {
            let subscribe = Subscribe { id: Id::from(id), pattern, overflow: Overflow::DropOldest };
            ClientMessage::Subscribe(subscribe).encode(&mut payload);
        }
        let mut message = frame_head(BINARY, payload.len());
        message.extend(payload);
        intruder.say(&message).await;
    }
    intruder.stay().await;
    Ok(())
}
