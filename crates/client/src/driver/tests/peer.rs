//! A broker that does what a test says, step by step.

use std::collections::VecDeque;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use carillon_wire::{
    BrokerMessage, ClientMessage, CloseCode, ErrorCode, Headers, Id, Resumed, SUBPROTOCOL, Start, Topic,
    broker_message::{Delivery, ErrorReply, InStream, Marker, OkReply, Position, Welcome},
    client_message::Subscribe,
    decode,
    start::HistoryStart,
};
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Connect {
        token: Option<String>,
    },
    Publish {
        id: Option<u64>,
        topic: String,
        payload: Vec<u8>,
    },
    /// With a message id or an expected sequence.
    PublishKept {
        id: Option<u64>,
        payload: Vec<u8>,
        message_id: Option<String>,
        expected_sequence: Option<u64>,
    },
    Subscribe {
        id: u64,
        pattern: String,
    },
    /// With a start, as its fields say.
    SubscribeFrom {
        id: u64,
        pattern: String,
        start: String,
    },
    History {
        id: u64,
        pattern: String,
        start: String,
        max_messages: Option<u64>,
        through: Option<u64>,
    },
    Unsubscribe {
        subscription: u64,
    },
    HeartbeatReply(u64),
    Flush(u64),
    Refresh {
        id: u64,
        token: String,
    },
    Pong(Vec<u8>),
    Close(u16),
    /// The stream ended without a close frame.
    Gone,
}

/// The broker's end of one connection.
pub(super) struct Peer<S> {
    socket: WebSocket<S>,
    said: VecDeque<Said>,
    /// How many WebSocket messages came.
    pub(super) messages: usize,
}

/// Reads the head of the client's HTTP request.
pub(super) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// The answer that accepts an upgrade.
pub(super) fn accepting(head: &str) -> String {
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let accept = BASE64.encode(digest);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
}

/// A welcome with a heartbeat every 25 s.
pub(super) fn welcome() -> Welcome<'static> {
    Welcome {
        id: Id::from(0_u32),
        connection: "c1",
        server: "scripted",
        max_payload_bytes: 1000,
        max_message_bytes: 4096,
        max_subscriptions: 10,
        max_wildcards: 4,
        heartbeat_ms: 25_000,
    }
}

pub(super) fn ok(id: u64) -> BrokerMessage<'static> {
    BrokerMessage::ok(Id::new(id).unwrap())
}

pub(super) fn refuse(id: Option<u64>, code: ErrorCode) -> BrokerMessage<'static> {
    BrokerMessage::Error(ErrorReply {
        id: id.map(|id| Id::new(id).unwrap()),
        code,
        message: "as scripted",
        retry_after_ms: None,
        last_sequence: None,
    })
}

pub(super) fn delivery<'a>(topic: &'a str, payload: &'a [u8]) -> BrokerMessage<'a> {
    let topic = Topic::new(topic).unwrap();
    BrokerMessage::Delivery(Delivery { topic, payload, time_us: 1_000_000, headers: Headers::EMPTY, in_stream: None })
}

/// The stream and the epoch of the helpers below.
pub(super) const STREAM: &str = "orders";
pub(super) const EPOCH: &str = "e1";

pub(super) fn ok_at(id: u64, sequence: u64, resumed: Option<Resumed>) -> BrokerMessage<'static> {
    let id = Id::new(id).unwrap();
    let (stream, epoch) = (Some(STREAM), Some(EPOCH));
    BrokerMessage::Ok(OkReply { stream, sequence: Some(sequence), epoch, resumed, ..OkReply::new(id) })
}

pub(super) fn kept<'a>(topic: &'a str, payload: &'a [u8], sequence: u64) -> BrokerMessage<'a> {
    let in_stream = Some(InStream { stream: STREAM, sequence });
    let BrokerMessage::Delivery(plain) = delivery(topic, payload) else { panic!() };
    BrokerMessage::Delivery(Delivery { in_stream, ..plain })
}

pub(super) fn marker(id: u64, count: u64) -> BrokerMessage<'static> {
    BrokerMessage::Marker(Marker { subscription: Id::new(id).unwrap(), stream: STREAM, count })
}

pub(super) fn at(id: u64, sequence: u64) -> Position<'static> {
    Position { subscription: Id::new(id).unwrap(), stream: STREAM, epoch: EPOCH, sequence }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Accepts the upgrade.
    pub(super) async fn upgrade(mut stream: S) -> Self {
        let head = read_head(&mut stream).await;
        stream.write_all(accepting(&head).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        Self::after_upgrade(stream)
    }

    pub(super) fn after_upgrade(stream: S) -> Self {
        let mut socket = WebSocket::after_handshake(stream, Role::Server);
        socket.set_auto_close(false);
        socket.set_auto_pong(false);
        Self { socket, said: VecDeque::new(), messages: 0 }
    }

    /// Accepts the upgrade and welcomes the client. Gives its token.
    pub(super) async fn welcome(stream: S) -> (Self, Option<String>) {
        let mut peer = Self::upgrade(stream).await;
        let Said::Connect { token } = peer.hear().await else { panic!("the client must connect first") };
        peer.say(&[BrokerMessage::Welcome(welcome())]).await;
        (peer, token)
    }

    /// Sends these as one WebSocket message.
    pub(super) async fn say(&mut self, messages: &[BrokerMessage<'_>]) {
        let mut bytes = Vec::new();
        for message in messages {
            message.encode(&mut bytes);
        }
        self.send(Frame::binary(Payload::Owned(bytes))).await;
    }

    pub(super) async fn send(&mut self, frame: Frame<'_>) {
        let Frame { fin, opcode, ref payload, .. } = frame;
        let owned = Frame::new(fin, opcode, None, Payload::Owned(payload.to_vec()));
        self.socket.write_frame(owned).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    pub(super) async fn close(&mut self, code: CloseCode) {
        self.send(Frame::close(code.number(), b"as scripted")).await;
    }

    /// The next thing that the client says.
    pub(super) async fn hear(&mut self) -> Said {
        loop {
            if let Some(said) = self.said.pop_front() {
                return said;
            }
            let frame = match self.socket.read_frame().await {
                Ok(frame) => frame,
                Err(WebSocketError::UnexpectedEOF | WebSocketError::IoError(_)) => return Said::Gone,
                Err(error) => panic!("{error}"),
            };
            match frame.opcode {
                OpCode::Binary => {
                    self.messages += 1;
                    self.said.extend(decode::client_messages(&frame.payload).map(|message| said(message.unwrap())));
                }
                OpCode::Pong => return Said::Pong(frame.payload.to_vec()),
                OpCode::Close => return Said::Close(u16::from_be_bytes([frame.payload[0], frame.payload[1]])),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Hears a subscribe request for a pattern and accepts it. Gives its id.
    pub(super) async fn accept_subscription(&mut self, expected: &str) -> u64 {
        match self.hear().await {
            Said::Subscribe { id, pattern } if pattern == expected => {
                self.say(&[ok(id)]).await;
                id
            }
            other => panic!("expected a subscription to {expected}, not {other:?}"),
        }
    }

    /// Hears a subscribe request with a start. Gives its id and the start.
    pub(super) async fn hear_start(&mut self) -> (u64, String) {
        match self.hear().await {
            Said::SubscribeFrom { id, start, .. } => (id, start),
            other => panic!("expected a subscription with a start, not {other:?}"),
        }
    }

    /// Answers a flush and the close frame that follow a call of `close`.
    pub(super) async fn part(mut self) {
        match self.hear().await {
            Said::Flush(id) => self.say(&[ok(id)]).await,
            other => panic!("{other:?}"),
        }
        assert_eq!(self.hear().await, Said::Close(1000));
        self.close(CloseCode::Normal).await;
    }
}

fn said(message: ClientMessage<'_>) -> Said {
    match message {
        ClientMessage::Connect(m) => Said::Connect { token: m.token.map(str::to_owned) },
        ClientMessage::Publish(m) if m.message_id.is_some() || m.expected_sequence.is_some() => Said::PublishKept {
            id: m.id.map(Id::get),
            payload: m.payload.to_vec(),
            message_id: m.message_id.map(str::to_owned),
            expected_sequence: m.expected_sequence,
        },
        ClientMessage::Subscribe(Subscribe { id, pattern, start: Some(start), .. }) => {
            Said::SubscribeFrom { id: id.get(), pattern: pattern.as_str().to_owned(), start: start_words(start) }
        }
        ClientMessage::History(m) => Said::History {
            id: m.id.get(),
            pattern: m.pattern.as_str().to_owned(),
            start: match m.start {
                HistoryStart::At(start) => start_words(start),
                HistoryStart::LastByTopic { epoch, as_of, after } => format!("last values {epoch} {as_of} {after}"),
            },
            max_messages: m.max_messages,
            through: m.through,
        },
        ClientMessage::Publish(m) => {
            Said::Publish { id: m.id.map(Id::get), topic: m.topic.as_str().to_owned(), payload: m.payload.to_vec() }
        }
        ClientMessage::Subscribe(m) => Said::Subscribe { id: m.id.get(), pattern: m.pattern.as_str().to_owned() },
        ClientMessage::Unsubscribe(m) => Said::Unsubscribe { subscription: m.subscription.get() },
        ClientMessage::HeartbeatReply(number) => Said::HeartbeatReply(number.get()),
        ClientMessage::Ping(id) => Said::Flush(id.get()),
        ClientMessage::Refresh(m) => Said::Refresh { id: m.id.get(), token: m.token.to_owned() },
        other => panic!("{other:?}"),
    }
}

fn start_words(start: Start<'_>) -> String {
    match start {
        Start::Now => "now".to_owned(),
        Start::LastByTopic => "last values".to_owned(),
        Start::Newest(n) => format!("newest {n}"),
        Start::Behind { epoch, sequence } => format!("behind {epoch}:{sequence}"),
        Start::Time(time_us) => format!("time {time_us}"),
        Start::Beginning => "beginning".to_owned(),
    }
}
