//! How a connection ends: what the client is told, and what the operator's metrics show.

use std::{borrow::Cow, time::Duration};

use carillon_metrics::{CloseReason, DropReason};
use carillon_wire::CloseCode;

use crate::websocket::ProtocolError;

/// Why a connection is closed by the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) code: CloseCode,
    /// For the person at the other end.
    pub(crate) reason: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

impl Ending {
    pub(crate) fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into(), retry_after: None }
    }

    /// Whether what waits in the outbox still leaves before the close.
    pub(crate) fn flushes_outbox(&self) -> bool {
        self.code == CloseCode::Draining
    }

    pub(crate) fn close_reason(&self) -> CloseReason {
        match self.code {
            CloseCode::Normal => CloseReason::Normal,
            CloseCode::GoingAway => CloseReason::GoingAway,
            CloseCode::ProtocolError => CloseReason::ProtocolError,
            CloseCode::TextMessage => CloseReason::TextMessage,
            CloseCode::InvalidUtf8 => CloseReason::InvalidUtf8,
            CloseCode::MessageTooBig => CloseReason::MessageTooBig,
            CloseCode::WriteTimeout => CloseReason::WriteTimeout,
            CloseCode::HeartbeatTimeout => CloseReason::HeartbeatTimeout,
            CloseCode::SlowConsumer => CloseReason::SlowConsumer,
            CloseCode::Draining => CloseReason::Draining,
            CloseCode::BadMessage => CloseReason::BadMessage,
            CloseCode::Unauthenticated => CloseReason::Unauthenticated,
            CloseCode::ConnectExpected => CloseReason::NotConnected,
            CloseCode::ConnectTimeout => CloseReason::ConnectTimeout,
            CloseCode::Overloaded => CloseReason::Overloaded,
            CloseCode::Unavailable => CloseReason::Unavailable,
            CloseCode::QuotaExceeded => CloseReason::QuotaExceeded,
            _ => CloseReason::InternalError,
        }
    }

    /// How the messages that still wait are counted.
    pub(crate) fn drop_reason(&self) -> DropReason {
        match self.code {
            CloseCode::Draining => DropReason::Draining,
            CloseCode::SlowConsumer => DropReason::SlowConsumer,
            _ => DropReason::Disconnected,
        }
    }
}

impl From<ProtocolError> for Ending {
    fn from(error: ProtocolError) -> Self {
        Self::new(CloseCode::from_number(error.close_code()), error.to_string())
    }
}
