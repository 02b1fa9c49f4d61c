//! What a subscription is told about its way through a stream, beside the messages.

use carillon_router::{Aside, ConnectionKey, Router};
use carillon_streams::{
    keeper::Part,
    stream::{EpochChange, Gap, LossReason, Position},
};
use carillon_wire::{
    BrokerMessage, EpochReason, GapReason, Id,
    broker_message::{self as wire, GapRange},
};

/// A subscription and one of the streams that its messages come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) key: ConnectionKey,
    pub(super) subscription: Id,
    /// The stream's name.
    pub(super) stream: &'a str,
}

impl Place<'_> {
    /// From here on, only what a marker covers is for it.
    pub(super) fn tell_behind(self, router: &mut Router) {
        self.tell(router, &self.marker(0));
    }

    /// It has caught up, and is complete up to here.
    pub(super) fn tell_live(self, router: &mut Router, at: &Position) {
        let (epoch, sequence) = (at.epoch.as_str(), at.sequence);
        let live = wire::Position { subscription: self.subscription, stream: self.stream, epoch, sequence };
        self.tell(router, &BrokerMessage::Live(live));
    }

    /// It is complete up to here.
    pub(super) fn put_position(self, at: &Position, out: &mut Vec<u8>) {
        let (epoch, sequence) = (at.epoch.as_str(), at.sequence);
        let position = wire::Position { subscription: self.subscription, stream: self.stream, epoch, sequence };
        BrokerMessage::Position(position).encode(out);
    }

    /// Another epoch counts from here on.
    pub(super) fn tell_epoch(self, router: &mut Router, change: &EpochChange) {
        let epoch = wire::EpochChanged {
            subscription: self.subscription,
            stream: self.stream,
            epoch: change.epoch.as_str(),
            reason: epoch_reason(change),
            from: change.from,
        };
        self.tell(router, &BrokerMessage::EpochChanged(epoch));
    }

    /// This is lost.
    pub(super) fn tell_gap(self, router: &mut Router, gap: Gap) {
        self.tell(router, &self.gap(gap));
    }

    /// What a page has, one part behind the other.
    pub(super) fn tell_parts(self, router: &mut Router, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Messages { bytes, count, .. } => {
                    let head = encoded(&self.marker(*count));
                    router.push_aside(self.key, Aside { head, body: bytes.clone(), messages: *count });
                }
                Part::Lost(gap) => self.tell_gap(router, *gap),
            }
        }
    }

    /// The reply to a request for history, with its page. The place's subscription is the request.
    pub(super) fn tell_page(self, router: &mut Router, head: &wire::Page<'_>, parts: &[Part]) {
        let mut head = encoded(&BrokerMessage::Page(*head)).into_vec();
        for part in parts {
            match part {
                Part::Messages { bytes, count, .. } => {
                    let head = std::mem::take(&mut head).into();
                    router.push_aside(self.key, Aside { head, body: bytes.clone(), messages: *count });
                }
                Part::Lost(gap) => self.gap(*gap).encode(&mut head),
            }
        }
        if !head.is_empty() {
            self.push(router, head.into());
        }
    }

    fn marker(&self, count: u32) -> BrokerMessage<'_> {
        let (subscription, stream) = (self.subscription, self.stream);
        BrokerMessage::Marker(wire::Marker { subscription, stream, count: count.into() })
    }

    fn gap(&self, Gap { first, last, reason }: Gap) -> BrokerMessage<'_> {
        let reason = match reason {
            LossReason::Retention => GapReason::Retention,
            LossReason::Purge => GapReason::Purge,
            LossReason::Damage => GapReason::Damage,
        };
        let range = Some(GapRange { first, last, stream: self.stream });
        let count = last.saturating_sub(first).saturating_add(1);
        BrokerMessage::Gap(wire::Gap { subscription: self.subscription, reason, count, range })
    }

    fn tell(self, router: &mut Router, message: &BrokerMessage<'_>) {
        self.push(router, encoded(message));
    }

    fn push(self, router: &mut Router, head: Box<[u8]>) {
        // Of a connection that is gone, nobody asks any more.
        let _ = router.push_aside(self.key, Aside { head, body: bytes::Bytes::new(), messages: 0 });
    }
}

fn encoded(message: &BrokerMessage<'_>) -> Box<[u8]> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes.into()
}

fn epoch_reason(change: &EpochChange) -> EpochReason {
    use carillon_streams::stream::EpochReason as Reason;
    match change.reason {
        Reason::Created => EpochReason::Created,
        Reason::Restarted => EpochReason::Restarted,
        Reason::Repaired => EpochReason::Repaired,
        Reason::Renewed => EpochReason::Renewed,
        Reason::PositionAhead => EpochReason::PositionAhead,
    }
}
