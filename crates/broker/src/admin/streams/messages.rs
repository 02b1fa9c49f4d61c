//! A page of a stream's messages, as lines of JSON.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use carillon_streams::{
    keeper::{HistoryPage, Part},
    stream::{Origin, Resumed},
};
use carillon_wire::{
    broker_message::{BrokerMessage, Delivery},
    decode::broker_messages,
};

use super::{
    super::documents::{EpochChange, Gap, Line, Message, PageEnd, epoch_reason, loss_reason},
    wanted::Wanted,
};

/// A kept message that is none.
#[derive(Debug, thiserror::Error)]
#[error("a kept message could not be read: {0}; that is a defect of the broker, or of the memory of this machine")]
pub(super) struct Unreadable(String);

/// The page, with a last line that says where it goes on.
pub(super) fn lines(wanted: &Wanted, origin: &Origin, page: &HistoryPage, is_end: bool) -> Result<Vec<u8>, Unreadable> {
    let mut out = Vec::with_capacity(page.size_bytes() * 2);
    if wanted.names_epoch()
        && let Resumed::OtherEpoch(change) = &origin.resumed
    {
        let epoch = EpochChange {
            epoch: change.epoch.to_string(),
            reason: epoch_reason(change.reason).to_owned(),
            from: change.from,
        };
        append(&Line::Epoch { epoch }, &mut out);
    }
    for part in &page.parts {
        match part {
            Part::Lost(gap) => {
                let reason = loss_reason(gap.reason).to_owned();
                append(&Line::Gap { gap: Gap { first: gap.first, last: gap.last, reason } }, &mut out);
            }
            Part::Messages { bytes, .. } => {
                for message in broker_messages(bytes) {
                    match message.map_err(|error| Unreadable(error.to_string()))? {
                        BrokerMessage::Delivery(delivery) => append(&Line::Message(line_of(&delivery)), &mut out),
                        _ => return Err(Unreadable("it is no delivery".to_owned())),
                    }
                }
            }
        }
    }
    let end = PageEnd {
        epoch: page.epochs.current().to_string(),
        first_sequence: page.bounds.first,
        last_sequence: page.bounds.last,
        next: page.complete_through.saturating_add(1),
        is_end,
    };
    append(&Line::Page { page: end }, &mut out);
    Ok(out)
}

fn line_of<'a>(delivery: &Delivery<'a>) -> Message<'a> {
    let text = str::from_utf8(delivery.payload).ok();
    let pairs = delivery.headers.iter().map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)));
    Message {
        sequence: delivery.in_stream.map_or(0, |place| place.sequence),
        time_us: delivery.time_us,
        topic: delivery.topic.as_str().into(),
        headers: pairs.collect::<BTreeMap<_, _>>(),
        payload: text.map(Cow::Borrowed),
        payload_base64: text.is_none().then(|| BASE64.encode(delivery.payload).into()),
    }
}

fn append(line: &Line<'_>, out: &mut Vec<u8>) {
    let written = serde_json::to_writer(&mut *out, line);
    debug_assert!(written.is_ok(), "strings and numbers always have a JSON form");
    out.push(b'\n');
}
