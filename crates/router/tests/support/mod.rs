//! What the models of a connection have in common.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;

use carillon_router::{Limits, Waiting};
use carillon_wire::{Id, Overflow, Pattern, Topic};
use proptest::sample::Index;

/// What a match, a gap or an aside counts for.
pub(crate) const MATCH_BYTES: usize = 16;
/// Of one connection.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 5;

/// Of one connection, until the reply that ends them has left.
pub(crate) type Subscriptions = BTreeMap<Id, Subscription>;

pub(crate) struct Subscription {
    pub(crate) pattern: &'static str,
    pub(crate) overflow: Overflow,
    pub(crate) is_live: bool,
}

/// Live subscriptions that match.
pub(crate) fn matching(subscriptions: &Subscriptions, topic: Topic<'_>) -> Vec<Id> {
    let matches = |it: &Subscription| it.is_live && Pattern::new(it.pattern).unwrap().matches(topic);
    subscriptions.iter().filter(|(_, it)| matches(it)).map(|(id, _)| *id).collect()
}

/// Whether a message for these must not be dropped.
pub(crate) fn must_keep(subscriptions: &Subscriptions, ids: &[Id]) -> bool {
    ids.iter().any(|id| subscriptions[id].overflow == Overflow::Close)
}

/// Whether a message has room.
pub(crate) fn fits(waiting: Waiting, bytes: &[u8], limits: &Limits) -> bool {
    waiting.bytes + bytes.len() + MATCH_BYTES <= limits.outbox_bytes && waiting.messages < limits.outbox_messages
}

/// One of those that there are.
pub(crate) fn choose<T>(among: &mut [T], at: Index) -> Option<&mut T> {
    if among.is_empty() { None } else { Some(at.get_mut(among)) }
}
