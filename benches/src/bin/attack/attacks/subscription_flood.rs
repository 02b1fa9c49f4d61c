//! Subscription flood: with good tokens, half of the attackers subscribe and unsubscribe as fast as they can, half
//! subscribe to patterns with as many wildcards as are allowed until they are refused, and go on asking.
//!
//! The broker answers each request; above a rate of requests with error 202, above the subscriptions of
//! one identity with 203, above `limits.max_subscriptions` with 416.

use carillon_benches::connection::payload_frame;
use carillon_wire::{
    ClientMessage, Id, Overflow, Pattern,
    client_message::{Subscribe, Unsubscribe},
};

use super::Attack;
use crate::{
    hostile::Intruder,
    scene::Scene,
    settings::{Holdings, IDENTITY_SUBSCRIPTIONS},
};

const CONNECTIONS: usize = 8;
const REQUESTS_AT_ONCE: u32 = 500;

pub(super) const ATTACK: Attack = Attack {
    name: "subscription_flood",
    does: "8 connections with good tokens subscribe and unsubscribe as fast as they can",
    bound: "quotas.*.requests, quotas.*.subscriptions, limits.max_subscriptions, limits.max_wildcards",
    holds: |_| Holdings {
        websockets: CONNECTIONS,
        partial_messages: CONNECTIONS,
        subscriptions: IDENTITY_SUBSCRIPTIONS,
        ..Holdings::default()
    },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| {
        complaints.unless_seen(evidence, &["error 202", "error 203", "error 416"]);
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let mut intruder = Intruder::enter(&scene, number).await?;
    intruder.listen();
    let is_leaving = number.is_multiple_of(2);
    let mut last_id = 0;
    while intruder.is_in() {
        intruder.say(&requests(&mut last_id, number, is_leaving)).await;
    }
    Ok(())
}

/// Some hundreds of requests in one message.
fn requests(last_id: &mut u32, number: usize, is_leaving: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    for _ in 0..REQUESTS_AT_ONCE {
        *last_id += 1;
        let subscription = Id::from(*last_id);
        let pattern = format!("attack.*.*.n{number}.*.m{last_id}.*.>");
        if let Ok(pattern) = Pattern::new(&pattern) {
            ClientMessage::Subscribe(Subscribe {
                id: subscription,
                pattern,
                overflow: Overflow::DropOldest,
                start: None,
            })
            .encode(&mut payload);
        }
        if is_leaving {
            *last_id += 1;
            ClientMessage::Unsubscribe(Unsubscribe { id: Id::from(*last_id), subscription }).encode(&mut payload);
        }
    }
    payload_frame(&payload)
}
