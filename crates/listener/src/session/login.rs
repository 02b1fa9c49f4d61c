//! Coming in, and staying in: what happens to credentials.

use std::time::Duration;

use carillon_access::Operation;
use carillon_metrics::LoginResult;
use carillon_router::ConnectionKey;
use carillon_wire::{
    BrokerMessage, CloseCode, ErrorCode, Id,
    broker_message::{Ended, Welcome},
    client_message::{Connect, Refresh},
};
use rand::Rng;

use super::{
    Ending, Session, State, Turn,
    accounts::{Accounts, Attempt, Over},
    membership::Membership,
};
use crate::{gate::Refused, quota::Scope, streams::HistoryReader};

/// What the welcome says the server is.
const SERVER: &str = concat!("carillon/", env!("CARGO_PKG_VERSION"));

/// How much of a client's own description is logged.
const LOGGED_CLIENT_CHARACTERS: usize = 128;

/// When to come back with a token whose key is being fetched; each client gets its own time out of the range.
const KEYS_PENDING: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_secs(3);

/// Why a client is not let in, or its new credentials are not taken.
#[derive(Debug)]
pub(super) enum NotLetIn {
    Refused(Refused),
    /// Its identity or its address has used up a quota.
    Over(Over),
}

impl NotLetIn {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refused) if refused.is_retriable() => ErrorCode::Unavailable,
            Self::Refused(_) => ErrorCode::Unauthenticated,
            Self::Over(over) => over.code(),
        }
    }

    fn close_code(&self) -> CloseCode {
        match self {
            Self::Refused(refused) if refused.is_retriable() => CloseCode::Unavailable,
            Self::Refused(_) => CloseCode::Unauthenticated,
            Self::Over(_) => CloseCode::QuotaExceeded,
        }
    }

    fn result(&self) -> LoginResult {
        match self {
            Self::Refused(refused) if refused.is_retriable() => LoginResult::Unavailable,
            Self::Refused(_) => LoginResult::Refused,
            Self::Over(_) => LoginResult::QuotaExceeded,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) => refused.is_retriable().then(|| rand::rng().random_range(KEYS_PENDING)),
            Self::Over(over) => over.retry_after(),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Refused(refused) => refused.to_string(),
            Self::Over(over) => over.message(),
        }
    }
}

impl From<Refused> for NotLetIn {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Over> for NotLetIn {
    fn from(over: Over) -> Self {
        Self::Over(over)
    }
}

/// Credentials for whose issuer keys are under way are not refused: nobody guesses by them, and none is verified.
pub(super) fn is_not_refused<T>(looked_at: &Result<T, Refused>) -> bool {
    looked_at.as_ref().err().is_none_or(Refused::is_retriable)
}

impl Session {
    /// Lets the client in and welcomes it, or tells why not and ends the connection.
    pub(super) fn on_connect(&mut self, connect: &Connect<'_>, turn: &mut Turn<'_>) -> Result<(), Ending> {
        let membership = match self.log_in(connect, turn) {
            Ok(membership) => membership,
            Err(not) => {
                turn.metrics.logins.of(not.result()).inc();
                let (message, retry_after) = (not.message(), not.retry_after());
                turn.refuse_until(Some(connect.id), not.code(), &message, retry_after);
                return Err(Ending { retry_after, ..Ending::new(not.close_code(), message) });
            }
        };
        turn.metrics.logins.of(LoginResult::Accepted).inc();
        let limits = &turn.settings.limits;
        let accounts = &membership.accounts;
        let welcome = BrokerMessage::Welcome(Welcome {
            id: connect.id,
            connection: &self.name,
            server: SERVER,
            max_payload_bytes: accounts.max_payload_bytes().unwrap_or(u64::MAX).min(limits.max_payload_bytes as u64),
            max_message_bytes: limits.max_message_bytes as u64,
            max_subscriptions: accounts.max_subscriptions().unwrap_or(u64::MAX).min(limits.max_subscriptions as u64),
            max_wildcards: limits.max_wildcards as u64,
            heartbeat_ms: u64::try_from(turn.settings.deadlines.heartbeat.as_millis()).unwrap_or(u64::MAX),
        });
        turn.reply(&welcome);
        let client: String = connect.client.unwrap_or_default().chars().take(LOGGED_CLIENT_CHARACTERS).collect();
        tracing::debug!(connection = self.name, subject = membership.subject(), client, "connected");
        self.state = State::Connected(Box::new(membership));
        Ok(())
    }

    fn log_in(&mut self, connect: &Connect<'_>, turn: &Turn<'_>) -> Result<Membership, NotLetIn> {
        let scopes = turn.gate.scopes();
        let counted = self.arrival.counted.as_ref();
        let account = counted.ok_or_else(|| Over::too_many_connections(Scope::Address))?.account().clone();
        let attempt = Attempt::begin(&account, turn.ledger, &scopes, turn.moment)?;
        let from_request = self.arrival.authorization.take();
        let from_request = from_request.as_ref().and_then(|secret| std::str::from_utf8(secret.expose()).ok());
        let presented = connect.token.or(from_request);
        let certificate = self.arrival.certificate.as_ref();
        let admitted = turn.gate.admit(presented, certificate, turn.moment.unix_s());
        if is_not_refused(&admitted) {
            attempt.not_refused();
        }
        let admitted = admitted?;
        let from = self.arrival.address;
        let accounts = Accounts::open(turn.ledger, &scopes, &admitted.identity, from, account, turn.moment)?;
        // The membership has it now. Kept here, it would keep the verifier of old after a reload.
        self.arrival.certificate = None;
        Ok(Membership::new(admitted, accounts, turn.moment))
    }
}

impl Turn<'_> {
    pub(super) fn refresh(&mut self, key: ConnectionKey, refresh: &Refresh<'_>, membership: &mut Membership) {
        match membership.refresh(refresh.token, self.gate, self.moment) {
            Ok(()) => {
                self.metrics.logins.of(LoginResult::Refreshed).inc();
                self.reply(&BrokerMessage::ok(refresh.id));
                self.end_forbidden_subscriptions(key, membership);
            }
            Err(not) => {
                self.metrics.logins.of(not.result()).inc();
                self.refuse_until(Some(refresh.id), not.code(), &not.message(), not.retry_after());
            }
        }
    }

    /// Ends the subscriptions that are not allowed any more, and reading of history that is not. What waits for them still
    /// leaves, before the message that tells of the end.
    pub(crate) fn end_forbidden_subscriptions(&mut self, key: ConnectionKey, membership: &mut Membership) {
        for (subscription, pattern) in self.hub.subscriptions(key) {
            if let Err(forbidden) = membership.permissions().check(Operation::Subscribe, pattern.as_pattern()) {
                self.end_forbidden(key, subscription, &forbidden.to_string(), membership);
            }
        }
        for (reader, pattern) in self.hub.history_readers(key) {
            let Err(forbidden) = membership.permissions().check(Operation::History, pattern.as_pattern()) else {
                continue;
            };
            match reader {
                HistoryReader::Subscription(subscription) => {
                    self.end_forbidden(key, subscription, &forbidden.to_string(), membership);
                }
                HistoryReader::Request(request) => {
                    self.hub.forget_history(key, request);
                    self.metrics.requests_refused.inc();
                    self.refuse(Some(request), ErrorCode::Forbidden, &forbidden.to_string());
                }
            }
        }
    }

    fn end_forbidden(&mut self, key: ConnectionKey, subscription: Id, message: &str, membership: &mut Membership) {
        let ended = Ended { subscription, code: ErrorCode::Forbidden, message };
        if self.hub.end_subscription(key, &ended) {
            self.reply(&BrokerMessage::ok(subscription));
        }
        membership.accounts.leave_subscription();
    }
}
