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

pub(crate) mod ending;
pub(crate) mod heartbeat;
pub(crate) mod membership;
mod refusal;

use carillon_access::Operation;
use carillon_metrics::{LoginResult, ShardMetrics};
use carillon_router::ConnectionKey;
use carillon_wire::{
    BrokerMessage, ClientMessage, CloseCode, DecodeError, ErrorCode, Id,
    broker_message::{Ended, ErrorReply, Welcome},
    client_message::{Connect, PUBLISH, Publish, Refresh, Subscribe, Unsubscribe},
};
use tokio::time::Instant;

pub(crate) use ending::Ending;

use self::{heartbeat::Heartbeat, membership::Membership, refusal::count_refused};
use crate::{arrival::Arrival, clock::Moment, gate::Gate, hub::Hub, settings::Settings};

/// What the welcome says the server is.
const SERVER: &str = concat!("carillon/", env!("CARGO_PKG_VERSION"));

/// How much of a client's own description is logged.
const LOGGED_CLIENT_CHARACTERS: usize = 128;

/// What waits to be told to one client, apart from its outbox. These are whole messages, back to back.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// May be sent at any moment.
    pub(crate) now: Vec<u8>,
    /// That publications were accepted: may be sent once they are in the queue of every shard.
    pub(crate) when_queued: Vec<u8>,
}

impl Replies {
    pub(crate) fn size_bytes(&self) -> usize {
        self.now.len() + self.when_queued.len()
    }
}

/// What a session works with in one turn.
pub(crate) struct Turn<'t> {
    pub(crate) hub: &'t mut Hub,
    pub(crate) settings: &'t Settings,
    pub(crate) metrics: &'t ShardMetrics,
    pub(crate) replies: &'t mut Replies,
    pub(crate) gate: &'t Gate,
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
                    ClientMessage::Publish(publish) => turn.publish(&publish, membership),
                    ClientMessage::Subscribe(subscribe) => turn.subscribe(self.key, &subscribe, membership),
                    ClientMessage::Refresh(refresh) => turn.refresh(self.key, &refresh, membership),
                    ClientMessage::HeartbeatReply(number) => self.heartbeat.answered(number),
                    other => turn.other_request(self.key, &other),
                }
                Ok(())
            }
        }
    }

    fn on_connect(&mut self, connect: &Connect<'_>, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let from_request = self.arrival.authorization.take();
        let from_request = from_request.as_ref().and_then(|secret| std::str::from_utf8(secret.expose()).ok());
        let presented = connect.token.or(from_request);
        let membership = match turn.gate.admit(presented, turn.moment.unix_s()) {
            Ok(admitted) => Membership::new(admitted, turn.moment),
            Err(refused) => {
                turn.metrics.logins.of(LoginResult::Refused).inc();
                let reason = refused.to_string();
                turn.refuse(Some(connect.id), ErrorCode::Unauthenticated, &reason);
                return Err(Ending::new(CloseCode::Unauthenticated, reason));
            }
        };
        turn.metrics.logins.of(LoginResult::Accepted).inc();
        let limits = &turn.settings.limits;
        let welcome = BrokerMessage::Welcome(Welcome {
            id: connect.id,
            connection: &self.name,
            server: SERVER,
            max_payload_bytes: limits.max_payload_bytes as u64,
            max_message_bytes: limits.max_message_bytes as u64,
            max_subscriptions: limits.max_subscriptions as u64,
            max_wildcards: limits.max_wildcards as u64,
            heartbeat_ms: u64::try_from(turn.settings.deadlines.heartbeat.as_millis()).unwrap_or(u64::MAX),
        });
        turn.reply(&welcome);
        let client: String = connect.client.unwrap_or_default().chars().take(LOGGED_CLIENT_CHARACTERS).collect();
        tracing::debug!(connection = self.name, subject = membership.subject(), client, "connected");
        self.state = State::Connected(Box::new(membership));
        Ok(())
    }
}

impl Turn<'_> {
    fn publish(&mut self, publish: &Publish<'_>, membership: &Membership) {
        let refusal = if publish.topic.is_reserved() {
            Some((ErrorCode::ReservedTopic, "topics that start with `$` are the broker's own".to_owned()))
        } else if let Err(forbidden) = membership.permissions().check_publish(publish.topic) {
            Some((ErrorCode::Forbidden, forbidden.to_string()))
        } else {
            let bytes = publish.payload.len() + publish.headers.as_msgpack().len();
            let allowed = self.settings.limits.max_payload_bytes;
            (bytes > allowed).then(|| {
                let text = format!("payload and headers have {bytes} bytes together; at most {allowed} are allowed");
                (ErrorCode::PayloadTooLarge, text)
            })
        };
        if let Some((code, text)) = refusal {
            count_refused(self.metrics, true, code);
            self.refuse(publish.id, code, &text);
            return;
        }
        self.hub.publish(publish, self.moment);
        if let Some(id) = publish.id {
            BrokerMessage::Ok(id).encode(&mut self.replies.when_queued);
        }
    }

    fn subscribe(&mut self, key: ConnectionKey, subscribe: &Subscribe<'_>, membership: &Membership) {
        if let Err(forbidden) = membership.permissions().check(Operation::Subscribe, subscribe.pattern) {
            self.metrics.requests_refused.inc();
            self.refuse(Some(subscribe.id), ErrorCode::Forbidden, &forbidden.to_string());
            return;
        }
        match self.hub.subscribe(key, subscribe) {
            Ok(()) => self.reply(&BrokerMessage::Ok(subscribe.id)),
            Err(error) => {
                self.metrics.requests_refused.inc();
                self.refuse(Some(subscribe.id), refusal::subscribe_code(&error), &error.to_string());
            }
        }
    }

    fn unsubscribe(&mut self, key: ConnectionKey, unsubscribe: &Unsubscribe) {
        // When it is done, the outbox carries the reply, behind the last delivery.
        if let Err(error) = self.hub.unsubscribe(key, unsubscribe) {
            self.metrics.requests_refused.inc();
            self.refuse(Some(unsubscribe.id), ErrorCode::UnknownSubscription, &error.to_string());
        }
    }

    fn refresh(&mut self, key: ConnectionKey, refresh: &Refresh<'_>, membership: &mut Membership) {
        match membership.refresh(refresh.token, self.gate, self.moment) {
            Ok(()) => {
                self.metrics.logins.of(LoginResult::Refreshed).inc();
                self.reply(&BrokerMessage::Ok(refresh.id));
                self.end_forbidden_subscriptions(key, membership);
            }
            Err(refused) => {
                self.metrics.logins.of(LoginResult::Refused).inc();
                self.refuse(Some(refresh.id), ErrorCode::Unauthenticated, &refused.to_string());
            }
        }
    }

    /// Ends the subscriptions that are not allowed any more. What waits for them still leaves, before the message that
    /// tells of the end.
    pub(crate) fn end_forbidden_subscriptions(&mut self, key: ConnectionKey, membership: &Membership) {
        let permissions = membership.permissions();
        for (subscription, pattern) in self.hub.subscriptions(key) {
            if let Err(forbidden) = permissions.check(Operation::Subscribe, pattern.as_pattern()) {
                let message = forbidden.to_string();
                self.hub.end_subscription(key, &Ended { subscription, code: ErrorCode::Forbidden, message: &message });
            }
        }
    }

    fn other_request(&mut self, key: ConnectionKey, message: &ClientMessage<'_>) {
        match message {
            ClientMessage::Unsubscribe(unsubscribe) => self.unsubscribe(key, unsubscribe),
            ClientMessage::Ping(id) => self.reply(&BrokerMessage::Ok(*id)),
            ClientMessage::Connect(connect) => {
                self.metrics.requests_refused.inc();
                self.refuse(Some(connect.id), ErrorCode::AlreadyConnected, "the connection is already connected");
            }
            // The enum may grow before its request is served here.
            other => {
                self.metrics.requests_refused.inc();
                self.refuse(request_id(other), ErrorCode::Unsupported, "this broker does not offer this request");
            }
        }
    }

    pub(crate) fn reply(&mut self, message: &BrokerMessage<'_>) {
        message.encode(&mut self.replies.now);
    }

    fn refuse(&mut self, id: Option<Id>, code: ErrorCode, message: &str) {
        self.reply(&BrokerMessage::Error(ErrorReply { id, code, message, retry_after_ms: None }));
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
        _ => None,
    }
}
