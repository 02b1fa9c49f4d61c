//! What the broker says, as tests compare it.

use carillon_wire::{
    BrokerMessage, Id, Resumed,
    broker_message::{Delivery, Gap, OkReply},
};

/// What came from the broker, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Welcome,
    Ok(u64),
    Error {
        id: Option<u64>,
        code: u16,
        message: String,
        retry_after_ms: Option<u64>,
    },
    Delivery {
        topic: String,
        payload: Vec<u8>,
        time_us: u64,
    },
    Gap {
        subscription: u64,
        count: u64,
    },
    Heartbeat(u64),
    Notice {
        in_ms: Option<u64>,
    },
    Ended {
        subscription: u64,
        code: u16,
    },
    Closing {
        code: u16,
        retry_after_ms: Option<u64>,
    },
    Pong(Vec<u8>),
    /// An ok that tells a place in a stream.
    OkAt {
        id: u64,
        sequence: u64,
        epoch: String,
        is_duplicate: bool,
        /// 0: nothing was resumed.
        resumed: u8,
    },
    /// A delivery out of a stream.
    Kept {
        topic: String,
        payload: Vec<u8>,
        stream: String,
        sequence: u64,
    },
    Marker {
        subscription: u64,
        count: u64,
    },
    Live {
        subscription: u64,
        epoch: String,
        sequence: u64,
    },
    Position {
        subscription: u64,
        epoch: String,
        sequence: u64,
    },
    Epoch {
        subscription: u64,
        epoch: String,
        reason: u8,
        from: u64,
    },
    Lost {
        subscription: u64,
        reason: u8,
        first: u64,
        last: u64,
    },
    Page {
        id: u64,
        epoch: String,
        count: u64,
        sequence: u64,
        is_end: bool,
        as_of: Option<u64>,
    },
    /// A close frame.
    Close {
        code: u16,
        reason: String,
    },
    /// The end of the stream.
    End,
}

impl From<BrokerMessage<'_>> for Said {
    fn from(message: BrokerMessage<'_>) -> Self {
        match message {
            BrokerMessage::Welcome(_) => Said::Welcome,
            BrokerMessage::Ok(OkReply {
                id,
                sequence: Some(sequence),
                epoch: Some(epoch),
                is_duplicate,
                resumed,
                ..
            }) => {
                let resumed = resumed.map_or(0, Resumed::number);
                Said::OkAt { id: id.get(), sequence, epoch: epoch.to_owned(), is_duplicate, resumed }
            }
            BrokerMessage::Ok(ok) => Said::Ok(ok.id.get()),
            BrokerMessage::Delivery(Delivery { topic, payload, in_stream: Some(at), .. }) => {
                let (topic, payload) = (topic.to_string(), payload.to_vec());
                Said::Kept { topic, payload, stream: at.stream.to_owned(), sequence: at.sequence }
            }
            BrokerMessage::Marker(m) => Said::Marker { subscription: m.subscription.get(), count: m.count },
            BrokerMessage::Live(m) => {
                Said::Live { subscription: m.subscription.get(), epoch: m.epoch.to_owned(), sequence: m.sequence }
            }
            BrokerMessage::Position(m) => {
                Said::Position { subscription: m.subscription.get(), epoch: m.epoch.to_owned(), sequence: m.sequence }
            }
            BrokerMessage::EpochChanged(m) => {
                let (epoch, reason) = (m.epoch.to_owned(), m.reason.number());
                Said::Epoch { subscription: m.subscription.get(), epoch, reason, from: m.from }
            }
            BrokerMessage::Gap(Gap { subscription, reason, range: Some(range), .. }) => {
                let (reason, first, last) = (reason.number(), range.first, range.last);
                Said::Lost { subscription: subscription.get(), reason, first, last }
            }
            BrokerMessage::Page(m) => {
                let (count, sequence, is_end, as_of) = (m.count, m.sequence, m.is_end, m.as_of);
                Said::Page { id: m.id.get(), epoch: m.epoch.to_owned(), count, sequence, is_end, as_of }
            }
            BrokerMessage::Error(m) => {
                let (code, message) = (m.code.number(), m.message.to_owned());
                Said::Error { id: m.id.map(Id::get), code, message, retry_after_ms: m.retry_after_ms }
            }
            BrokerMessage::Delivery(m) => {
                Said::Delivery { topic: m.topic.to_string(), payload: m.payload.to_vec(), time_us: m.time_us }
            }
            BrokerMessage::Gap(m) => Said::Gap { subscription: m.subscription.get(), count: m.count },
            BrokerMessage::Heartbeat(number) => Said::Heartbeat(number.get()),
            BrokerMessage::Closing(m) => Said::Closing { code: m.code.number(), retry_after_ms: m.retry_after_ms },
            BrokerMessage::Notice(m) => Said::Notice { in_ms: m.in_ms },
            BrokerMessage::Ended(m) => Said::Ended { subscription: m.subscription.get(), code: m.code.number() },
            other => panic!("unexpected {other:?}"),
        }
    }
}
