//! Where a subscription starts, and requests for history.

use carillon_router::{ConnectionKey, Router, SubscribeError};
use carillon_streams::{
    keeper::{HistoryStart, What},
    stream::{Cursor, Epoch, Origin, Position, Resumed, Start},
};
use carillon_wire::{
    BrokerMessage, Pattern, PatternBuf,
    broker_message::{self as wire},
    client_message::{History, Subscribe},
    start as asked,
};

use super::{
    Place, Streams,
    readers::{HistoryRead, Reader, Resumable, Stage},
    reading::Told,
};

/// Requests for history of one connection that are under way.
const MAX_HISTORIES: usize = 8;
/// Bytes of history that wait for a connection, at which no more is asked for it.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// Why a subscription does not start, or history is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    #[error(
        "no stream keeps everything that this pattern matches, so there is only `now`, without a start; ask for a \
         pattern that one of a stream's patterns contains"
    )]
    NoStream,
    #[error("{0}")]
    InvalidStart(&'static str),
    #[error(
        "{MAX_HISTORIES} requests for history are under way, or {MAX_WAITING_BYTES} bytes of it wait to be read by this \
         client; read them first"
    )]
    TooManyHistories,
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}

impl Streams {
    /// Begins a subscription with a start. The reply comes from [`on_reply`](Self::on_reply), or is told here where it is
    /// known at once.
    pub(crate) fn subscribe(
        &mut self,
        router: &mut Router,
        key: ConnectionKey,
        subscribe: &Subscribe<'_>,
        start: &asked::Start<'_>,
    ) -> Result<Option<Told>, NotStarted> {
        let stream = self.containing(subscribe.pattern)?;
        let start = start_of(start)?;
        let pattern = PatternBuf::from(subscribe.pattern);
        router.subscribe(key, subscribe.id, subscribe.pattern, subscribe.overflow)?;
        router.hold(key, subscribe.id, stream);
        self.readers
            .entry(key)
            .or_default()
            .resumable
            .insert(subscribe.id, Resumable { stream, told: 0, reads_history: start != Start::Now });
        let (subscription, is_now) = (subscribe.id, start == Start::Now);
        let mut reader = Reader { subscription, stream, pattern, stage: Stage::Starting(start), knows_log: false };
        let now = self.known.get(stream as usize).map(|known| known.origin(known.delivered)).filter(|_| is_now);
        let told = now.map(|origin| self.begin(router, key, &mut reader, &origin));
        if let Some(readers) = self.readers.get_mut(&key) {
            // Where it starts is soon found, and its client waits for the reply.
            readers.behind.push_front(reader);
        }
        Ok(told)
    }

    /// Asks for a page of history.
    pub(crate) fn history(
        &mut self,
        router: &Router,
        key: ConnectionKey,
        history: &History<'_>,
    ) -> Result<(), NotStarted> {
        let stream = self.containing(history.pattern)?;
        let start = history_start(&history.start)?;
        let pattern = PatternBuf::from(history.pattern);
        let under_way = self.readers.get(&key).map_or(0, |readers| readers.histories.len());
        let waiting_bytes = router.waiting(key).map_or(0, |waiting| waiting.aside_bytes);
        if under_way >= MAX_HISTORIES || waiting_bytes >= MAX_WAITING_BYTES {
            return Err(NotStarted::TooManyHistories);
        }
        if let Some(known) = self.known.get(stream as usize) {
            known.metrics.readers.history_requests.inc();
        }
        let max_messages = history.max_messages.map(|max| u32::try_from(max).unwrap_or(u32::MAX));
        let what = What::History { start, through: history.through, max_messages };
        let read = self.ask(key, stream, pattern.clone(), what);
        let history = HistoryRead { request: history.id, pattern, read };
        self.readers.entry(key).or_default().histories.push(history);
        Ok(())
    }

    fn containing(&self, pattern: Pattern<'_>) -> Result<u32, NotStarted> {
        let stream = self.routes.stream_containing(pattern).and_then(|stream| u32::try_from(stream).ok());
        stream.ok_or(NotStarted::NoStream)
    }

    /// It is known where a subscription starts: its reply, and what it has to be told first.
    pub(super) fn begin(
        &mut self,
        router: &mut Router,
        key: ConnectionKey,
        reader: &mut Reader,
        origin: &Origin,
    ) -> Told {
        let mut message = Vec::new();
        let told = |message| Told::message(key, message);
        let (Some(known), subscription) = (self.known.get(reader.stream as usize), reader.subscription) else {
            return told(message);
        };
        let (cursor, change) = Cursor::new(origin, &known.newest());
        reader.stage = Stage::On(cursor);
        if let Some(readers) = self.readers.get_mut(&key) {
            readers.note_told(subscription, origin.position);
        }
        let reply = wire::OkReply {
            id: subscription,
            stream: Some(known.name.as_str()),
            sequence: Some(origin.position),
            epoch: Some(origin.epochs.current().as_str()),
            is_duplicate: false,
            resumed: resumed_code(&origin.resumed),
        };
        BrokerMessage::Ok(reply).encode(&mut message);
        known.note_resumed(&origin.resumed);
        let place = Place { key, subscription, stream: known.name.as_str() };
        match &origin.resumed {
            Resumed::Fresh | Resumed::Continued => {}
            Resumed::AfterGap(gap) => {
                known.note_gap(gap.reason);
                place.tell_gap(router, *gap);
            }
            Resumed::OtherEpoch(change) => place.tell_epoch(router, change),
        }
        if let Some(change) = change {
            place.tell_epoch(router, &change);
        }
        told(message)
    }
}

impl super::Known {
    fn note_resumed(&self, resumed: &Resumed) {
        use carillon_metrics::ResumeOutcome as Outcome;
        let outcome = match resumed {
            Resumed::Fresh => return,
            Resumed::Continued => Outcome::Continued,
            Resumed::AfterGap(_) => Outcome::AfterGap,
            Resumed::OtherEpoch(_) => Outcome::OtherEpoch,
        };
        self.metrics.readers.resumes.of(outcome).inc();
    }
}

fn resumed_code(resumed: &Resumed) -> Option<carillon_wire::Resumed> {
    match resumed {
        Resumed::Fresh => None,
        Resumed::Continued => Some(carillon_wire::Resumed::Continued),
        Resumed::AfterGap(_) => Some(carillon_wire::Resumed::AfterGap),
        Resumed::OtherEpoch(_) => Some(carillon_wire::Resumed::OtherEpoch),
    }
}

fn start_of(start: &asked::Start<'_>) -> Result<Start, NotStarted> {
    Ok(match start {
        asked::Start::Now => Start::Now,
        asked::Start::LastByTopic => Start::LastByTopic,
        asked::Start::Newest(n) => Start::Newest(usize::try_from(*n).unwrap_or(usize::MAX)),
        asked::Start::Behind { epoch, sequence } => {
            Start::Behind(Position { epoch: epoch_of(epoch)?, sequence: *sequence })
        }
        asked::Start::Time(time_us) => Start::Time(*time_us),
        asked::Start::Beginning => Start::Beginning,
    })
}

fn history_start(start: &asked::HistoryStart<'_>) -> Result<HistoryStart, NotStarted> {
    match start {
        asked::HistoryStart::At(start) => start_of(start).map(HistoryStart::Start),
        asked::HistoryStart::LastByTopic { epoch, as_of, after } => {
            Ok(HistoryStart::LastByTopic { epoch: epoch_of(epoch)?, as_of: *as_of, after: *after })
        }
    }
}

fn epoch_of(text: &str) -> Result<Epoch, NotStarted> {
    Epoch::new(text).map_err(|_| NotStarted::InvalidStart("this is no epoch: give it as the broker told it"))
}
