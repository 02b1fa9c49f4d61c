//! What can go wrong, for the one who has to do something about it: a type for each thing that one asks of a client.

mod connect;

use std::{error::Error, sync::Arc, time::Duration};

use carillon_wire::{
    CloseCode, ErrorCode, MAX_MESSAGE_ID_BYTES,
    broker_message::{Ended, ErrorReply},
    code::Return,
    topic::NameError,
};

pub use connect::ConnectError;

/// What the broker refused, and why: a request, or a subscription that it had accepted before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code}, {})", code.number())]
pub struct Refusal {
    /// What to do about it; its range tells whether the same request may succeed later.
    pub code: ErrorCode,
    /// What was wrong and what is allowed, in the broker's words.
    pub message: String,
    /// How long to wait before the same request may succeed, where the broker told.
    pub retry_after: Option<Duration>,
    /// With [`ErrorCode::UnexpectedSequence`]: the sequence of the topic's newest message, 0 if it has none.
    pub last_sequence: Option<u64>,
}

impl Refusal {
    /// One that was not the broker's, or tells no more than this.
    pub(crate) fn new(code: ErrorCode, message: String) -> Self {
        Self { code, message, retry_after: None, last_sequence: None }
    }

    /// Whether the same request may succeed later, with nothing changed by this side.
    pub fn is_temporary(&self) -> bool {
        !matches!(self.code.number(), 400..=499)
    }
}

impl From<&ErrorReply<'_>> for Refusal {
    fn from(reply: &ErrorReply<'_>) -> Self {
        Self {
            code: reply.code,
            message: reply.message.to_owned(),
            retry_after: reply.retry_after_ms.map(Duration::from_millis),
            last_sequence: reply.last_sequence,
        }
    }
}

impl From<&Ended<'_>> for Refusal {
    fn from(ended: &Ended<'_>) -> Self {
        Self::new(ended.code, ended.message.to_owned())
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionLost {
    /// The broker closed it. The code's range says whether to come back ([`CloseCode::client_returns`]).
    #[error("the broker closed the connection: {} ({code}, {})", if reason.is_empty() { "no reason given" } else { reason }, code.number())]
    Closed {
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        reason: String,
        /// When to come back, where the broker told.
        retry_after: Option<Duration>,
    },
    /// Two heartbeats were due, and not a byte came: the connection is dead, whatever the operating system believes.
    #[error("nothing was heard from the broker for {silence:?}; the connection counts as dead")]
    Silent {
        /// How long.
        silence: Duration,
    },
    /// The connection broke without a word from the broker.
    #[error("the connection broke: {reason}")]
    Broken {
        /// What the operating system or TLS said.
        reason: String,
    },
    /// The broker sent what the protocol, or this client's bound on a message, does not allow.
    #[error("the broker broke the protocol: {reason}")]
    Protocol {
        /// What the broker was told.
        code: CloseCode,
        /// What it was.
        reason: String,
    },
    /// After an earlier loss, the client could not connect again, and is not to try any more.
    #[error("the connection was lost, and connecting again failed: {0}")]
    ReconnectFailed(Arc<ConnectError>),
    /// [`Client::close`](crate::Client::close) was called, or all handles to the client were dropped.
    #[error("the client was closed")]
    ClosedByApplication,
}

impl ConnectionLost {
    /// What a client does after this loss, and how long the broker asked it to stay away.
    ///
    /// `has_fresh_credentials` tells that each connection gets its own: then credentials that ran out on a live
    /// connection are no reason to stay away.
    pub(crate) fn advice(&self, has_fresh_credentials: bool) -> (Return, Option<Duration>) {
        match self {
            Self::Closed { code: CloseCode::Unauthenticated, retry_after, .. } if has_fresh_credentials => {
                (Return::AfterDelay, *retry_after)
            }
            Self::Closed { code, retry_after, .. } => (code.client_returns(), *retry_after),
            // A message that is too large for this client's own bound is one message; what follows may fit.
            Self::Protocol { code, .. } if *code != CloseCode::MessageTooBig => (Return::Never, None),
            Self::Silent { .. } | Self::Broken { .. } | Self::Protocol { .. } => (Return::AfterDelay, None),
            Self::ReconnectFailed(error) => error.advice(),
            Self::ClosedByApplication => (Return::Never, None),
        }
    }
}

/// Why a message was not published, or is not known to be.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic does not follow the grammar. Nothing was sent.
    #[error("the topic {topic:?} is not valid: {source}")]
    InvalidTopic {
        /// The topic as given.
        topic: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// Payload and headers are larger than the broker takes. Nothing was sent.
    #[error("payload and headers have {bytes} bytes together; this broker takes at most {max_bytes}")]
    TooLarge {
        /// How large they are, in bytes.
        bytes: u64,
        /// What the broker takes, in bytes.
        max_bytes: u64,
    },
    /// A message id has 1 to 128 bytes. Nothing was sent.
    #[error("the message id has {bytes} bytes; it may have 1 to {MAX_MESSAGE_ID_BYTES}")]
    InvalidMessageId {
        /// How long it is.
        bytes: usize,
    },
    /// The broker refused it: nobody got it. Only after [`ErrorCode::StreamUnavailable`] it is not known whether it was kept.
    #[error("the broker refused the publication: {0}")]
    Refused(Refusal),
    /// It was sent, and the connection ended before the broker answered: it may or may not have been accepted.
    /// Publishing it again may make a second copy, unless it has a [message id](crate::Publication::message_id).
    #[error("it is not known whether the publication was accepted, because the reply did not come: {0}")]
    OutcomeUnknown(ConnectionLost),
    /// It has a message id and was sent again after the connection was lost, and then the broker refused it. It is not known
    /// whether it was kept when it was sent before.
    #[error(
        "the broker refused the publication when it was sent again, and whether it was kept before is not known: {refusal} \
         (sent again because: {lost})"
    )]
    RefusedAgain {
        /// Why it was refused.
        refusal: Refusal,
        /// What ended the connection that it was sent on before.
        lost: ConnectionLost,
    },
    /// No answer came in the time that was [given](crate::Publication::within).
    #[error("no answer to the publication came within {within:?}; {}", if *was_sent {
        "whether it was accepted is not known"
    } else {
        "it was not sent"
    })]
    TimedOut {
        /// The time.
        within: Duration,
        /// Whether it left this client, so that it may have been accepted. If not, nobody got it.
        was_sent: bool,
    },
    /// The client has ended. The message was not sent.
    #[error("the message was not sent: {0}")]
    Ended(ConnectionLost),
}

/// Why the credentials of a live connection were not renewed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The application's token provider failed.
    #[error("no token to refresh the connection with: {0}")]
    Token(Arc<dyn Error + Send + Sync>),
    /// The application's token provider took longer than the connect timeout.
    #[error("no token to refresh the connection with came within {timeout:?}")]
    Timeout {
        /// The connect timeout.
        timeout: Duration,
    },
    /// The broker did not accept the token, because it is not valid or another subject's.
    #[error("the broker refused to refresh the connection: {0}")]
    Refused(Refusal),
}

/// Why there is no subscription.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// A pattern does not follow the grammar. Nothing was sent.
    #[error("the pattern {pattern:?} is not valid: {source}")]
    InvalidPattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// A subscription must name one pattern at least.
    #[error("a subscription must name at least one pattern")]
    NoPattern,
    /// A subscription with a start has a position in one stream, and so one pattern.
    #[error("a subscription with a start has one pattern, and this one has {patterns}; make one for each pattern")]
    ManyPatternsWithStart {
        /// How many.
        patterns: usize,
    },
    /// The broker refused it.
    #[error("the broker refused the subscription to {pattern:?}: {refusal}")]
    Refused {
        /// Which pattern.
        pattern: String,
        /// Why.
        refusal: Refusal,
    },
    /// The client has ended.
    #[error("there is no subscription: {0}")]
    Ended(ConnectionLost),
}

/// Why there is no page of history.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The pattern does not follow the grammar. Nothing was sent.
    #[error("the pattern {pattern:?} is not valid: {source}")]
    InvalidPattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The broker refused it.
    #[error("the broker refused to read history: {0}")]
    Refused(Refusal),
    /// The page is larger than this client takes; ask for [fewer messages](crate::History::max_messages).
    #[error(
        "a page of history has more than {max_bytes} bytes, the bound of a receive queue; ask for fewer messages in a page"
    )]
    PageTooLarge {
        /// What the client takes, in bytes.
        max_bytes: usize,
    },
    /// The client has ended.
    #[error("there is no history: {0}")]
    Ended(ConnectionLost),
}
