//! What connections do not get: messages that are lost, and messages of streams that are to be read later.

use carillon_wire::Id;

use crate::{connections::ConnectionKey, streams::Fallen};

/// What was lost, for counters; a message once for each connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Messages dropped by the policy `drop_oldest`.
    pub drop_oldest: u64,
    /// Messages that waited for a connection, or were about to, when it was given up.
    pub slow_consumer: u64,
    /// Gaps begun because of the former.
    pub gaps: u64,
    /// Subscriptions that have fallen behind on a stream for want of room, once for each stream; those included whose
    /// connection was given up thereafter. Nothing of a stream is lost by it.
    pub fallen_behind: u64,
}

impl Dropped {
    /// Messages lost, whatever the reason.
    pub const fn messages(&self) -> u64 {
        self.drop_oldest + self.slow_consumer
    }
}

/// What connections do not get.
#[derive(Debug)]
pub(crate) struct Losses {
    /// Whose change is under way.
    pub(crate) connection: ConnectionKey,
    pub(crate) dropped: Dropped,
    fallen: Vec<Fallen>,
}

impl Default for Losses {
    fn default() -> Self {
        let (dropped, fallen) = (Dropped::default(), Vec::new());
        Self { connection: ConnectionKey::from_bits(0), dropped, fallen }
    }
}

impl Losses {
    /// Notes that a subscription of the connection whose change is under way has fallen behind.
    pub(crate) fn push_fallen(&mut self, subscription: Id, stream: u32, position: u64) {
        self.fallen.push(Fallen { connection: self.connection, subscription, stream, position });
    }

    /// Those that have fallen behind and were not told of yet.
    pub(crate) const fn fallen(&self) -> usize {
        self.fallen.len()
    }

    pub(crate) fn take_fallen(&mut self, fallen: &mut Vec<Fallen>) {
        fallen.append(&mut self.fallen);
    }

    /// Nobody is told of what has ended meanwhile.
    pub(crate) fn forget_fallen(&mut self, has_ended: impl Fn(&Fallen) -> bool) {
        self.fallen.retain(|fallen| !has_ended(fallen));
    }
}
