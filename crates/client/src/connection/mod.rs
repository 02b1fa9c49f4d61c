//! One connection: dialled, upgraded, welcomed, and then a pair of halves that read and write frames.

pub(crate) mod certificate;
pub(crate) mod dial;
pub(crate) mod read;
mod upgrade;
pub(crate) mod write;

use std::{io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use carillon_wire::{
    BrokerMessage, ClientMessage, CloseCode, DecodeError, ErrorCode, Headers, Id, broker_message::Closing,
    client_message::Connect, decode,
};
use fastwebsockets::{Frame, Payload, Role, WebSocketWrite, after_handshake_split};
use tokio::{
    io::{AsyncRead, AsyncReadExt, Chain, ReadHalf, WriteHalf},
    time::Instant,
};

use self::{
    dial::Dial,
    read::{Heard, Incoming, Listening, ReadError, Reader},
    write::write,
};
use crate::{
    builder::Settings,
    error::{ConnectError, Refusal},
};

/// What this client calls itself.
pub(crate) const CLIENT: &str = concat!("carillon-client/", env!("CARGO_PKG_VERSION"));

/// The id of the connect message; the ids of a session start behind it.
const CONNECT_ID: u32 = 0;

/// How long a refused client waits for what the broker says about the close that comes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is read from: what came early, then the rest.
type Reading<S> = Listening<Chain<Cursor<Bytes>, ReadHalf<S>>>;

/// A connection that was welcomed.
pub(crate) struct Connection<S> {
    pub(crate) reader: Reader<Reading<S>>,
    pub(crate) writer: WebSocketWrite<WriteHalf<S>>,
    pub(crate) heard: Arc<Heard>,
    /// The WebSocket message that the welcome came in, for the session.
    pub(crate) first: Bytes,
}

/// Until when something must be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { at: Instant::now() + timeout, timeout }
    }

    /// Waits for one step.
    pub(crate) async fn bound<T>(
        self,
        waiting_for: &'static str,
        step: impl Future<Output = T>,
    ) -> Result<T, ConnectError> {
        tokio::time::timeout_at(self.at, step)
            .await
            .map_err(|_| ConnectError::Timeout { waiting_for, timeout: self.timeout })
    }
}

/// Makes a connection, from the token to the welcome, within the connect timeout.
pub(crate) async fn establish<D: Dial>(dialer: &D, settings: &Settings) -> Result<Connection<D::Io>, ConnectError> {
    let deadline = Deadline::after(settings.connect_timeout);
    let outcome = connect(dialer, settings, deadline).await;
    // A kept token may have run out since; a fresh one has not been tried then.
    let may_do_with_another = matches!(
        &outcome,
        Err(ConnectError::Refused(Refusal { code: ErrorCode::Unauthenticated, .. })
            | ConnectError::Closed { code: CloseCode::Unauthenticated, .. })
    );
    if may_do_with_another && settings.token_provider().is_some_and(|provider| provider.forget()) {
        return connect(dialer, settings, deadline).await;
    }
    outcome
}

/// One attempt with one token.
async fn connect<D: Dial>(
    dialer: &D,
    settings: &Settings,
    deadline: Deadline,
) -> Result<Connection<D::Io>, ConnectError> {
    let token = match &settings.token {
        None => None,
        Some(source) => Some(deadline.bound("a token", source.for_connection()).await?.map_err(ConnectError::Token)?),
    };
    let stream = dialer.dial(deadline).await?;
    // With TLS 1.3 a client is done with its handshake before the broker has seen its certificate: what the broker says
    // of that comes where the answer is waited for.
    let upgraded = deadline
        .bound("the answer to the WebSocket upgrade", upgrade::upgrade(stream, &settings.endpoint))
        .await?
        .map_err(|error| error.or_alert(&settings.endpoint))?;
    let heard = Arc::new(Heard::new());
    let (read_half, write_half) = tokio::io::split(upgraded.stream);
    let reading = Listening::new(upgraded.early.chain(read_half), Arc::clone(&heard));
    let (frames, mut writer) = after_handshake_split(reading, write_half, Role::Client);
    let mut reader = Reader::new(frames, settings.max_message_bytes);

    let mut connect = Vec::new();
    let name = settings.name.as_deref().unwrap_or(CLIENT);
    let message =
        Connect { id: Id::from(CONNECT_ID), token: token.as_deref(), client: Some(name), headers: Headers::EMPTY };
    ClientMessage::Connect(message).encode(&mut connect);
    deadline
        .bound("the connect message to leave", write(&mut writer, Frame::binary(Payload::Owned(connect))))
        .await?
        .map_err(|error| ConnectError::Broken { during: "before the broker's welcome", source: error.into() })?;
    let first = deadline.bound("the broker's welcome", welcome(&mut reader)).await??;
    Ok(Connection { reader, writer, heard, first })
}

/// Waits for the WebSocket message that holds the welcome.
async fn welcome<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Bytes, ConnectError> {
    loop {
        let incoming = reader.next().await.map_err(|error| match error {
            ReadError::Stream(reason) => {
                ConnectError::Broken { during: "before the broker's welcome", source: reason.into() }
            }
            ReadError::Protocol(_, reason) => ConnectError::NotCarillon(reason),
        })?;
        match incoming {
            Incoming::Message(first) => match holds_welcome(&first) {
                Ok(true) => return Ok(first),
                Ok(false) => {}
                Err(ConnectError::Refused(refusal)) => {
                    return Err(ConnectError::Refused(with_last_words(reader, first, refusal).await));
                }
                Err(error) => return Err(error),
            },
            Incoming::Close(code, reason) => return Err(ConnectError::Closed { code, reason, retry_after: None }),
            // The welcome takes less time than a ping would wait for its answer.
            Incoming::Ping(_) => {}
        }
    }
}

/// Whether the welcome is in a WebSocket message, or else why it will not come, if the message tells.
fn holds_welcome(message: &[u8]) -> Result<bool, ConnectError> {
    use BrokerMessage::{Delivery, Error, Gap, Ok as Done, Welcome};
    for message in decode::broker_messages(message) {
        match message {
            Ok(Welcome(welcome)) if welcome.id == Id::from(CONNECT_ID) => return Ok(true),
            Ok(Error(error)) if error.id == Some(Id::from(CONNECT_ID)) => {
                return Err(ConnectError::Refused(Refusal::from(&error)));
            }
            Ok(BrokerMessage::Closing(Closing { code, reason, retry_after_ms })) => {
                let retry_after = retry_after_ms.map(Duration::from_millis);
                return Err(ConnectError::Closed { code, reason: reason.to_owned(), retry_after });
            }
            Ok(Welcome(_) | Done(_) | Error(_) | Delivery(_) | Gap(_)) => {
                return Err(ConnectError::NotCarillon("its first message is no welcome".to_owned()));
            }
            // The protocol grows by messages that older clients pass over.
            Ok(_) => {}
            Err(DecodeError::Refused(refused)) if refused.code == ErrorCode::UnknownOp => {}
            Err(error) => {
                return Err(ConnectError::NotCarillon(format!("its first message cannot be read: {error}")));
            }
        }
    }
    Ok(false)
}

/// Waits for what the broker says about the close that follows a refusal: it may tell better when to come back.
async fn with_last_words<R: AsyncRead + Unpin>(reader: &mut Reader<R>, first: Bytes, mut refusal: Refusal) -> Refusal {
    let deadline = Instant::now() + LAST_WORDS;
    let mut incoming = Incoming::Message(first);
    loop {
        if let Incoming::Message(message) = &incoming {
            for message in decode::broker_messages(message) {
                if let Ok(BrokerMessage::Closing(closing)) = message {
                    refusal.retry_after = closing.retry_after_ms.map(Duration::from_millis).or(refusal.retry_after);
                    return refusal;
                }
            }
        }
        incoming = match tokio::time::timeout_at(deadline, reader.next()).await {
            Ok(Ok(next @ (Incoming::Message(_) | Incoming::Ping(_)))) => next,
            // However the connection ended, the refusal stands.
            Ok(Ok(Incoming::Close(..)) | Err(_)) | Err(_) => return refusal,
        };
    }
}
