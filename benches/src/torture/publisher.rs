//! A client that publishes, with many publications in flight.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    io,
    time::Duration,
};

use carillon_wire::{
    BrokerMessage, ClientMessage, ErrorCode, Headers, Id, Topic,
    broker_message::{ErrorReply, OkReply},
    client_message::Publish,
};
use rand::{Rng, rngs::StdRng};
use tokio::time::{sleep, timeout};

use super::{
    broker::PATIENCE,
    clients::{AFTER_FAILURE, Room, closing, may_try_again},
    plan::{STREAMS, payload},
    trouble::{broken, is_broken},
};
use crate::connection::Connection;

/// Publications that leave in one WebSocket message, in bytes: below what the broker takes.
const FRAME_BYTES: usize = 24 << 10;
/// After a refusal that tells no delay.
const AFTER_REFUSAL: Duration = Duration::from_millis(50);

/// Until a publisher with nothing to do looks again.
const WITHOUT_WORK: Duration = Duration::from_millis(10);

/// How a publisher makes sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// By a message id: what was not acknowledged is sent again, and must be kept once.
    Ids,
    /// Not at all: what was not acknowledged is kept or not.
    None,
    /// By message ids, and by demanding the topic's last sequence: one after the other.
    Expecting,
}

/// How much is still to be published by all together.
#[derive(Debug)]
pub(super) struct Pace {
    left: Cell<usize>,
    is_stopped: Cell<bool>,
}

impl Pace {
    /// So many new publications.
    pub(super) fn new(publications: usize) -> Self {
        Self { left: Cell::new(publications), is_stopped: Cell::new(false) }
    }

    /// So many more.
    pub(super) fn add(&self, publications: usize) {
        self.left.set(self.left.get() + publications);
    }

    /// No new ones any more, and whoever has nothing open is done.
    pub(super) fn stop(&self) {
        self.left.set(0);
        self.is_stopped.set(true);
    }

    fn take(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

/// A publisher, over all its connections.
#[derive(Debug)]
pub(super) struct Publisher {
    stream: usize,
    style: Style,
    random: StdRng,
    /// Makes message ids unlike those of other runs.
    run: u64,
    /// To be sent again, because nobody knows whether they were kept.
    again: VecDeque<u32>,
    /// In flight, by the ids of their requests.
    in_flight: HashMap<u64, u32>,
    last_request: u64,
    /// The last sequence of the one topic of those who demand it.
    last_sequence: u64,
    wait: Option<Duration>,
}

impl Publisher {
    pub(super) fn new(stream: usize, style: Style, run: u64, random: StdRng) -> Self {
        let (again, in_flight) = (VecDeque::new(), HashMap::new());
        Self { stream, style, random, run, again, in_flight, last_request: 0, last_sequence: 0, wait: None }
    }

    /// Publishes on one connection until it ends, or until nothing is left and everything is answered.
    pub(super) async fn publish(&mut self, room: &Room, pace: &Pace) -> io::Result<()> {
        let mut connection = room.connect().await?;
        let ended = self.converse(room, &mut connection, pace).await;
        self.abandon();
        ended
    }

    /// Publishes on one connection after the other until everything is answered.
    pub(super) async fn publish_all(&mut self, room: &Room, pace: &Pace) -> io::Result<()> {
        loop {
            match self.publish(room, pace).await {
                Err(error) if !is_broken(&error) && !room.is_over() => sleep(AFTER_FAILURE).await,
                ended => return ended,
            }
        }
    }

    async fn converse(&mut self, room: &Room, connection: &mut Connection, pace: &Pace) -> io::Result<()> {
        loop {
            if let Some(wait) = self.wait.take() {
                sleep(wait).await;
            }
            let frame = self.fill(room, pace);
            if !frame.is_empty() {
                connection.send_encoded(&frame).await?;
            }
            if !self.in_flight.is_empty() {
                self.read(room, connection).await?;
            } else if self.again.is_empty() {
                if pace.is_stopped.get() {
                    return Ok(());
                }
                self.listen(room, connection).await?;
            }
        }
    }

    /// What can be sent now, encoded.
    fn fill(&mut self, room: &Room, pace: &Pace) -> Vec<u8> {
        let window = match self.style {
            Style::Expecting => 1,
            // Sometimes many, and sometimes few.
            _ => self.random.random_range(1..=300),
        };
        let mut frame = Vec::new();
        while self.in_flight.len() < window && frame.len() < FRAME_BYTES {
            let number = match self.again.pop_front() {
                Some(number) => {
                    room.books(|books| books.sent_again(number));
                    number
                }
                None if pace.take() => self.begin(room),
                None => break,
            };
            self.encode(room, number, &mut frame);
        }
        frame
    }

    fn begin(&mut self, room: &Room) -> u32 {
        let topics = STREAMS[self.stream].topics;
        // The first topic of its stream belongs to the one who demands its sequence.
        let topic = if self.style == Style::Expecting { 0 } else { self.random.random_range(1..topics) };
        room.books(|books| books.publication(self.stream, topic, self.style != Style::None))
    }

    fn encode(&mut self, room: &Room, number: u32, frame: &mut Vec<u8>) {
        let (topic, payload) = (room.books(|books| books.topic(number)), payload(number));
        let Ok(topic) = Topic::new(&topic) else { return };
        let message_id = (self.style != Style::None).then(|| format!("{:x}-{number}", self.run));
        // Some do not even ask for an answer.
        let is_silent = self.style == Style::None && number.is_multiple_of(5) && !self.in_flight.is_empty();
        let id = if is_silent {
            None
        } else {
            self.last_request += 1;
            self.in_flight.insert(self.last_request, number);
            Id::new(self.last_request)
        };
        let expected_sequence = (self.style == Style::Expecting).then_some(self.last_sequence);
        let message_id = message_id.as_deref();
        let publish = Publish { id, topic, payload: &payload, headers: Headers::EMPTY, message_id, expected_sequence };
        ClientMessage::Publish(publish).encode(frame);
    }

    /// Waits for answers, which have to come.
    async fn read(&mut self, room: &Room, connection: &mut Connection) -> io::Result<()> {
        let read = timeout(PATIENCE, self.read_some(room, connection)).await;
        let (open, stream) = (self.in_flight.len(), STREAMS[self.stream].name);
        read.unwrap_or_else(|_| {
            Err(broken(format!("{open} publications to {stream} were not answered within {PATIENCE:?}")))
        })
    }

    /// Waits a moment for whatever comes.
    async fn listen(&mut self, room: &Room, connection: &mut Connection) -> io::Result<()> {
        timeout(WITHOUT_WORK, self.read_some(room, connection)).await.unwrap_or(Ok(()))
    }

    async fn read_some(&mut self, room: &Room, connection: &mut Connection) -> io::Result<()> {
        let mut heartbeats = Vec::new();
        let read = connection.read(|message| match message {
            BrokerMessage::Ok(ok) => self.on_ok(room, &ok),
            BrokerMessage::Error(error) => self.on_error(room, &error),
            BrokerMessage::Heartbeat(number) => {
                heartbeats.push(number);
                Ok(())
            }
            BrokerMessage::Closing(message) => Err(closing(&message)),
            other => Err(broken(format!("a publisher got {other:?}"))),
        });
        read.await?;
        for number in heartbeats {
            connection.answer(number).await?;
        }
        Ok(())
    }

    fn on_ok(&mut self, room: &Room, ok: &OkReply<'_>) -> io::Result<()> {
        let Some(number) = self.in_flight.remove(&ok.id.get()) else {
            return Err(broken(format!("the broker answers the request {}, which is not open", ok.id.get())));
        };
        let (Some(stream), Some(sequence), Some(epoch)) = (ok.stream, ok.sequence, ok.epoch) else {
            return Err(broken(format!("publication {number} was accepted without a place: {ok:?}")));
        };
        let is_current = room.books(|books| books.acknowledged(number, stream, (epoch, sequence), ok.is_duplicate))?;
        if is_current {
            self.last_sequence = sequence;
        } else if self.style != Style::None {
            self.again.push_back(number);
        }
        Ok(())
    }

    fn on_error(&mut self, room: &Room, error: &ErrorReply<'_>) -> io::Result<()> {
        let is_retained = error.code == ErrorCode::UnexpectedSequence && error.last_sequence == Some(0);
        if is_retained && room.books(|books| books.ledger(self.stream).has_retention()) {
            // The topic has no message any more.
            self.last_sequence = 0;
        } else if !may_try_again(error.code) {
            let what = if error.code == ErrorCode::UnexpectedSequence {
                format!("; its last one was {}, told in an acknowledgement", self.last_sequence)
            } else {
                String::new()
            };
            return Err(broken(format!("a publication was refused: {} {}{what}", error.code, error.message)));
        }
        room.books(|books| books.counts.refused += 1);
        self.wait = Some(error.retry_after_ms.map_or(AFTER_REFUSAL, |ms| Duration::from_millis(ms.min(500))));
        if let Some(number) = error.id.and_then(|id| self.in_flight.remove(&id.get()))
            && self.style != Style::None
        {
            self.again.push_back(number);
        }
        Ok(())
    }

    /// The connection has ended, and nobody knows what became of what was in flight.
    fn abandon(&mut self) {
        let mut open: Vec<_> = self.in_flight.drain().collect();
        open.sort_unstable();
        if self.style != Style::None {
            self.again.extend(open.into_iter().map(|(_, number)| number));
        }
    }
}
