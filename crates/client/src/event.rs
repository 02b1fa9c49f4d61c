//! What a subscription gives to the application.

use std::{fmt, sync::Arc, time::Duration};

use carillon_wire::{EpochReason, GapReason, PatternBuf, Resumed as Resumption};

use crate::{
    error::{ConnectionLost, Refusal},
    message::Message,
    position::Position,
};

/// The next thing that happened on a subscription, in the order in which it happened.
///
/// What is missing comes as a value, not as a log line, because only the application knows what it must do then: fetch the
/// state anew, or go on. [`Gap`](Event::Gap), [`EpochChanged`](Event::EpochChanged) and
/// [`Reconnected`](Event::Reconnected) say that messages are, or may be, missing; the others lose nothing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A message was published to a topic that matches.
    Message(Message),
    /// Messages of this subscription are lost here: the broker dropped them, because this client did not take them fast
    /// enough, or the stream does not have them any more.
    Gap(Gap),
    /// Another epoch of the stream counts from here on: sequences that were told before mean nothing any more, and what was
    /// kept may have changed.
    EpochChanged(EpochChanged),
    /// A subscription with a start has everything that the stream has; what follows was published after that. It may fall
    /// behind later, which loses nothing, and catch up again.
    CaughtUp(CaughtUp),
    /// A subscription with a start is at its position again: after a reconnect, or at its beginning if that was
    /// [`Start::Behind`](crate::Start::Behind). No message comes twice, and what is lost comes as a [`Gap`](Event::Gap) or an
    /// [`EpochChanged`](Event::EpochChanged) right behind this.
    Resumed(Resumed),
    /// The connection was lost, and a subscription without a start lives again on a new one. What was published in between
    /// is missing, and nobody can tell how many messages that were. A subscription with a start would have resumed.
    Reconnected(Reconnected),
    /// Nothing more will come: always the last event, unless the application itself ended the subscription.
    Ended(Ended),
}

/// Messages that are lost, at the place where they would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Which of the subscription's patterns they matched.
    pub pattern: PatternBuf,
    /// Why they are missing.
    pub reason: GapReason,
    /// How many there were. Of a stream, the length of the range, whatever topics were in it.
    pub count: u64,
    /// Which of a stream; none for messages that no stream keeps.
    pub range: Option<GapRange>,
}

/// Sequences of a stream that are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GapRange {
    /// The stream's name.
    pub stream: Arc<str>,
    /// The first that is missing.
    pub first: u64,
    /// The last that is missing.
    pub last: u64,
}

/// Another epoch counts from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochChanged {
    /// Which of the subscription's patterns it concerns.
    pub pattern: PatternBuf,
    /// The stream's name.
    pub stream: Arc<str>,
    /// The epoch that counts.
    pub epoch: Arc<str>,
    /// Why.
    pub reason: EpochReason,
    /// Messages go on with this sequence.
    pub from: u64,
}

/// A subscription has everything that its stream has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaughtUp {
    /// The stream's name.
    pub stream: Arc<str>,
    /// Complete up to here.
    pub position: Position,
}

/// A subscription is back at its position.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resumed {
    /// The stream's name.
    pub stream: Arc<str>,
    /// Exactly one of: all follows; something is lost, and a gap says what; another epoch counts, and what follows says which.
    pub outcome: Resumption,
    /// Messages behind this follow.
    pub position: Position,
    /// The connection that was lost; none where the subscription is a new one.
    pub reconnected: Option<Reconnected>,
}

/// The connection was lost and made again.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reconnected {
    /// Why the connection was lost.
    pub cause: ConnectionLost,
    /// From the moment when the loss was noticed to the new connection.
    pub downtime: Duration,
}

/// Why nothing more comes.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The connection is gone, and the client does not come back.
    #[error(transparent)]
    ConnectionLost(ConnectionLost),
    /// The broker ended the subscription while it was live, most often because this client may not have it any more. The
    /// client does not ask for it again by itself.
    #[error("the broker ended the subscription to {pattern:?}: {refusal}")]
    ByBroker {
        /// Which pattern. The other patterns of the subscription have ended with it.
        pattern: String,
        /// Why.
        refusal: Refusal,
    },
    /// After a reconnect the broker refused a pattern that it had accepted before.
    #[error("after reconnecting, the broker refused the subscription to {pattern:?}: {refusal}")]
    Refused {
        /// Which pattern.
        pattern: String,
        /// Why.
        refusal: Refusal,
    },
}

/// What stands in the way of [`Subscription::next_message`](crate::Subscription::next_message): messages are, or may be,
/// missing here. The next call goes on behind it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// Messages are lost.
    #[error("{0}")]
    Gap(Gap),
    /// Another epoch counts.
    #[error("{0}")]
    EpochChanged(EpochChanged),
    /// The connection was lost, and what was published meanwhile is not known.
    #[error("messages may be missing, the connection was away for {:.1?}: {}", .0.downtime, .0.cause)]
    Reconnected(Reconnected),
    /// Nothing more comes.
    #[error(transparent)]
    Ended(Ended),
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pattern, reason, count, range } = self;
        match range {
            None => write!(f, "{count} messages of {} are missing here: {reason}", pattern.as_str()),
            // How many of them had a topic that matches, nobody can tell any more.
            Some(GapRange { stream, first, last }) => {
                write!(f, "sequences {first} to {last} of the stream {stream} are missing here: {reason}")
            }
        }
    }
}

impl fmt::Display for EpochChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, epoch, reason, from, .. } = self;
        match reason {
            // The only reason for which the epoch may be the one that the reader named.
            EpochReason::PositionAhead => write!(
                f,
                "the stream {stream} ends before the position that was given; it goes on with sequence {from} of the \
                 epoch {epoch}: {reason}"
            ),
            _ => write!(f, "the stream {stream} has another epoch, {epoch}, from sequence {from} on: {reason}"),
        }
    }
}

impl Event {
    /// The message, or what the application must know of; none for what loses nothing.
    pub(crate) fn into_message(self) -> Option<Result<Message, Missing>> {
        match self {
            Self::Message(message) => Some(Ok(message)),
            Self::Gap(gap) => Some(Err(Missing::Gap(gap))),
            Self::EpochChanged(change) => Some(Err(Missing::EpochChanged(change))),
            Self::Reconnected(how) => Some(Err(Missing::Reconnected(how))),
            Self::Ended(ended) => Some(Err(Missing::Ended(ended))),
            // What was lost on the way stands right behind it.
            Self::Resumed(_) | Self::CaughtUp(_) => None,
        }
    }
}
