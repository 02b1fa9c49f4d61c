//! Reading what a stream keeps, page by page.

use std::{io, rc::Rc};

use carillon_wire::{
    BrokerMessage, ClientMessage, GapReason, Id, PatternBuf, Start,
    broker_message::{Delivery, Gap, Page},
    client_message::History,
    start::HistoryStart,
};
use tokio::time::timeout;

use super::{
    broker::PATIENCE,
    clients::{Room, closing},
    plan::STREAMS,
    trouble::broken,
};
use crate::connection::Connection;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) stream: usize,
    pub(super) pattern: String,
    pub(super) from: From,
    pub(super) through: Option<u64>,
    pub(super) page_messages: Option<u64>,
}

/// From where.
#[derive(Debug, Clone)]
pub(super) enum From {
    Beginning,
    Behind(Rc<str>, u64),
    Newest(u64),
    Time(u64),
    LastByTopic,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Sequence, publication, and time in microseconds since 1970.
    pub(super) messages: Vec<(u64, u32, u64)>,
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) epoch: String,
    /// Complete up to here.
    pub(super) end: u64,
}

/// A page that is coming.
#[derive(Debug, Default)]
struct Coming {
    left: u64,
    gaps_left: u64,
    is_there: bool,
    is_end: bool,
    as_of: Option<u64>,
}

impl Coming {
    fn is_whole(&self) -> bool {
        self.is_there && self.left == 0 && self.gaps_left == 0
    }
}

/// Asks for one page after the other until the end. Nothing else may be going on on the connection.
pub(super) async fn read(room: &Room, connection: &mut Connection, question: &Question) -> io::Result<Found> {
    let pattern = PatternBuf::new(&question.pattern).map_err(io::Error::other)?;
    let mut found = Found::default();
    let mut as_of = None;
    let is_last_by_topic = matches!(question.from, From::LastByTopic);
    let mut page_number = 0_u32;
    loop {
        page_number += 1;
        let start = match (&question.from, as_of) {
            _ if page_number > 1 && !is_last_by_topic => {
                HistoryStart::At(Start::Behind { epoch: &found.epoch, sequence: found.end })
            }
            (From::LastByTopic, Some(as_of)) => {
                HistoryStart::LastByTopic { epoch: &found.epoch, as_of, after: found.end }
            }
            (From::LastByTopic, None) => HistoryStart::At(Start::LastByTopic),
            (From::Beginning, _) => HistoryStart::At(Start::Beginning),
            (From::Behind(epoch, sequence), _) => HistoryStart::At(Start::Behind { epoch, sequence: *sequence }),
            (From::Newest(n), _) => HistoryStart::At(Start::Newest(*n)),
            (From::Time(time_us), _) => HistoryStart::At(Start::Time(*time_us)),
        };
        let (id, through) = (Id::from(page_number), question.through);
        let (pattern, max_messages) = (pattern.as_pattern(), question.page_messages);
        connection.send(&ClientMessage::History(History { id, pattern, start, max_messages, through })).await?;
        let mut coming = Coming::default();
        while !coming.is_whole() {
            read_some(room, connection, question, id, &mut coming, &mut found).await?;
        }
        as_of = coming.as_of;
        if coming.is_end {
            return Ok(found);
        }
    }
}

async fn read_some(
    room: &Room,
    connection: &mut Connection,
    question: &Question,
    id: Id,
    coming: &mut Coming,
    found: &mut Found,
) -> io::Result<()> {
    let mut heartbeats = Vec::new();
    let read = connection.read(|message| match message {
        BrokerMessage::Page(page) if page.id == id && !coming.is_there => on_page(question, &page, coming, found),
        BrokerMessage::Delivery(delivery) if coming.left > 0 => {
            coming.left -= 1;
            on_delivery(room, question, &delivery, found)
        }
        BrokerMessage::Gap(gap) if gap.subscription == id && coming.gaps_left > 0 => {
            coming.gaps_left -= 1;
            on_gap(room, question, &gap, found)
        }
        BrokerMessage::Heartbeat(number) => {
            heartbeats.push(number);
            Ok(())
        }
        BrokerMessage::Closing(message) => Err(closing(&message)),
        other => Err(broken(format!("asking {question:?} brought {other:?}, where {coming:?}"))),
    });
    match timeout(PATIENCE, read).await {
        Ok(read) => read?,
        Err(_) => return Err(broken(format!("{question:?} was not answered within {PATIENCE:?}: {coming:?}"))),
    }
    for number in heartbeats {
        connection.answer(number).await?;
    }
    Ok(())
}

fn on_page(question: &Question, page: &Page<'_>, coming: &mut Coming, found: &mut Found) -> io::Result<()> {
    if page.stream != STREAMS[question.stream].name || page.sequence < found.end {
        return Err(broken(format!("{question:?} was answered with {page:?} behind {}", found.end)));
    }
    // Each page has to bring it on: else nobody would ever come to the end.
    if page.count == 0 && page.gaps == 0 && page.sequence == found.end && !page.is_end && !found.epoch.is_empty() {
        return Err(broken(format!("{question:?} does not get on with {page:?}")));
    }
    if !found.epoch.is_empty() && found.epoch != page.epoch {
        return Err(broken(format!("{question:?} meets another epoch: {page:?}")));
    }
    page.epoch.clone_into(&mut found.epoch);
    found.end = page.sequence;
    *coming = Coming { left: page.count, gaps_left: page.gaps, is_there: true, is_end: page.is_end, as_of: page.as_of };
    Ok(())
}

fn on_delivery(room: &Room, question: &Question, delivery: &Delivery<'_>, found: &mut Found) -> io::Result<()> {
    let Some(place) = delivery.in_stream.filter(|place| place.stream == STREAMS[question.stream].name) else {
        return Err(broken(format!("{question:?} found a message of {:?}", delivery.in_stream)));
    };
    let (last, last_time_us) = found.messages.last().map_or((0, 0), |(sequence, _, time_us)| (*sequence, *time_us));
    if place.sequence <= last || delivery.time_us < last_time_us {
        return Err(broken(format!(
            "{question:?} found {} of {} us behind {last} of {last_time_us} us",
            place.sequence, delivery.time_us
        )));
    }
    let topic = delivery.topic.as_str();
    let at = (found.epoch.as_str(), place.sequence);
    let number = room.books(|books| books.delivered(question.stream, at, topic, delivery.payload))?;
    found.messages.push((place.sequence, number, delivery.time_us));
    Ok(())
}

fn on_gap(room: &Room, question: &Question, gap: &Gap<'_>, found: &mut Found) -> io::Result<()> {
    let has_retention = room.books(|books| books.ledger(question.stream).has_retention());
    match gap.range {
        Some(range) if has_retention && gap.reason == GapReason::Retention => {
            found.gaps.push((range.first, range.last));
            Ok(())
        }
        _ => Err(broken(format!("{question:?} found {gap:?}"))),
    }
}
