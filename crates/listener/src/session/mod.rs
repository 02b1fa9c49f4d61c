//! The protocol of one connection, without its socket: what each message of a client does and how it is answered.
//!
//! ```text
//!   ┌──────────────────┐ connect  ┌───────────┐
//!   │ ExpectingConnect ├─────────▶│ Connected │
//!   └────────┬─────────┘ welcome  └─────┬─────┘
//!            │ anything else,           │ malformed bytes, overflow, drain,
//!            │ refused credentials      │ credentials that ran out or were revoked
//!            ▼                          ▼
//!         an Ending: the code and reason to close with
//! ```

pub(crate) mod accounts;
pub(crate) mod ending;
#[cfg(any(test, fuzzing))]
pub(crate) mod harness;
pub(crate) mod heartbeat;
mod login;
pub(crate) mod membership;
mod refusal;
mod requests;

use std::sync::Arc;

use carillon_metrics::ShardMetrics;
use carillon_router::ConnectionKey;
use carillon_wire::{ClientMessage, CloseCode, DecodeError, ErrorCode, Id, client_message::PUBLISH};
use tokio::time::Instant;

pub(crate) use ending::Ending;

use self::{heartbeat::Heartbeat, membership::Membership, refusal::count_refused};
use crate::{
    arrival::Arrival,
    clock::Moment,
    gate::Gate,
    hub::{Hub, Work},
    quota::Ledger,
    settings::Settings,
};

/// What waits to be told to one client, apart from its outbox. These are whole messages, back to back.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// May be sent at any moment.
    pub(crate) now: Vec<u8>,
    /// That publications were accepted: may be sent once they are in the queue of every shard.
    pub(crate) when_queued: Vec<u8>,
    /// How many publications into streams the keeper has not answered yet.
    pub(crate) awaited: usize,
}

/// What an answer from the keeper takes at most, as a rule: an id, the stream's name, sequence and epoch.
const ANSWER_BYTES: usize = 96;

impl Replies {
    pub(crate) fn size_bytes(&self) -> usize {
        self.now.len() + self.when_queued.len()
    }

    /// Whether so much waits, or is to come for sure, that the client has to read first.
    pub(crate) fn is_full(&self, max_bytes: usize) -> bool {
        self.size_bytes() + self.awaited * ANSWER_BYTES >= max_bytes
    }
}

/// What a session works with in one turn.
pub(crate) struct Turn<'t> {
    pub(crate) hub: &'t mut Hub,
    pub(crate) settings: &'t Settings,
    pub(crate) metrics: &'t ShardMetrics,
    pub(crate) replies: &'t mut Replies,
    pub(crate) gate: &'t Gate,
    pub(crate) ledger: &'t Arc<Ledger>,
    pub(crate) moment: Moment,
}

/// The state of one client's conversation.
#[derive(Debug)]
pub(crate) struct Session {
    key: ConnectionKey,
    /// The connection's name in the log.
    name: String,
    state: State,
    arrival: Arrival,
    pub(crate) heartbeat: Heartbeat,
}

#[derive(Debug)]
enum State {
    ExpectingConnect,
    Connected(Box<Membership>),
}

impl Session {
    pub(crate) fn new(key: ConnectionKey, name: String, arrival: Arrival, heartbeat: Heartbeat) -> Self {
        Self { key, name, state: State::ExpectingConnect, arrival, heartbeat }
    }

    /// The connection's name in the log, which the welcome told the client.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    /// When something about the credentials is due.
    pub(crate) fn membership_due(&self) -> Option<Instant> {
        match &self.state {
            State::ExpectingConnect => None,
            State::Connected(membership) => membership.due(),
        }
    }

    /// Who was let in, and until when.
    pub(crate) fn membership(&mut self) -> Option<&mut Membership> {
        match &mut self.state {
            State::ExpectingConnect => None,
            State::Connected(membership) => Some(membership),
        }
    }

    /// Does what one message asks. An `Err` ends the connection; what was done before stands.
    pub(crate) fn on_message(
        &mut self,
        message: Result<ClientMessage<'_>, DecodeError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let message = match message {
            Ok(message) => message,
            Err(DecodeError::Refused(refused)) => {
                if let State::Connected(membership) = &mut self.state
                    && !turn.may_request(refused.id, membership)
                {
                    return Ok(());
                }
                count_refused(turn.metrics, refused.op == PUBLISH, refused.code);
                turn.refuse(refused.id, refused.code, &refused.message);
                return if self.is_connected() { Ok(()) } else { Err(connect_expected()) };
            }
            Err(DecodeError::Malformed(malformed)) => {
                return Err(Ending::new(CloseCode::BadMessage, malformed.to_string()));
            }
        };
        match (&mut self.state, message) {
            (State::ExpectingConnect, ClientMessage::Connect(connect)) => self.on_connect(&connect, turn),
            (State::ExpectingConnect, other) => {
                let refusal = "the first message must be connect";
                turn.refuse(request_id(&other), ErrorCode::ConnectExpected, refusal);
                count_refused(turn.metrics, matches!(other, ClientMessage::Publish(_)), ErrorCode::ConnectExpected);
                Err(connect_expected())
            }
            (State::Connected(membership), message) => {
                match message {
                    ClientMessage::Publish(publish) => turn.publish(self.key, &publish, membership),
                    ClientMessage::HeartbeatReply(number) => {
                        turn.hub.spend(Work::Message);
                        self.heartbeat.answered(number);
                    }
                    other => turn.request(self.key, &other, membership),
                }
                Ok(())
            }
        }
    }
}

fn connect_expected() -> Ending {
    Ending::new(CloseCode::ConnectExpected, "the first message must be connect, and it must be valid")
}

fn request_id(message: &ClientMessage<'_>) -> Option<Id> {
    match message {
        ClientMessage::Connect(m) => Some(m.id),
        ClientMessage::Publish(m) => m.id,
        ClientMessage::Subscribe(m) => Some(m.id),
        ClientMessage::Unsubscribe(m) => Some(m.id),
        ClientMessage::Ping(id) => Some(*id),
        ClientMessage::Refresh(m) => Some(m.id),
        ClientMessage::History(m) => Some(m.id),
        _ => None,
    }
}
