//! A connection to a broker that does as little as it can: it parses what comes and keeps nothing.

use std::{
    io::{self, Error, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use carillon_wire::{
    BrokerMessage, ClientMessage, Headers, Id, Overflow, Pattern, SUBPROTOCOL, Topic,
    client_message::{Connect, Publish, Subscribe},
    decode,
};
use rustls::{ClientConfig, RootCertStore, client::Resumption, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Connections from one address; a port range holds about twice as many.
const CONNECTIONS_FOR_EACH_ADDRESS: usize = 10_000;
const READ_BYTES: usize = 32 << 10;

/// Where the broker is and how to trust it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address, on this machine.
    pub address: SocketAddr,
    config: Arc<ClientConfig>,
    receive_bytes: Option<u32>,
}

impl Target {
    /// Trusts the certificates in a PEM file. Every handshake is a full one, unless `resume`.
    pub fn new(address: SocketAddr, ca: &Path, resume: bool) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(ca)?;
        for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
            roots.add(certificate?).map_err(Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if !resume {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { address, config: Arc::new(config), receive_bytes: None })
    }

    /// Has the system take only about so many bytes before they are read, so that who reads slowly is felt soon.
    #[must_use]
    pub fn with_receive_bytes(self, bytes: u32) -> Self {
        Self { receive_bytes: Some(bytes), ..self }
    }

    /// Connects and waits for the welcome. `number` spreads many connections over source addresses.
    pub async fn connect(&self, number: usize) -> io::Result<Connection> {
        let last = u8::try_from(1 + number / CONNECTIONS_FOR_EACH_ADDRESS).unwrap_or(u8::MAX);
        self.connect_as(Ipv4Addr::new(127, 0, 0, last), None).await
    }

    /// Connects from an address, with a token or without, and waits for the welcome.
    pub async fn connect_as(&self, source: Ipv4Addr, token: Option<&str>) -> io::Result<Connection> {
        let mut stream = self.websocket(source).await?;
        let connect = Connect { id: Id::from(0), token, client: Some("carillon-benches"), headers: Headers::EMPTY };
        stream.write_all(&binary_frame(&ClientMessage::Connect(connect))).await?;
        stream.flush().await?;
        let mut connection = Connection { stream, buffer: Vec::new(), last_id: 0 };
        connection.expect_reply().await?;
        Ok(connection)
    }

    /// Connects up to the WebSocket, and says nothing there.
    pub async fn websocket(&self, source: Ipv4Addr) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = self.tls(source).await?;
        upgrade(&mut stream).await?;
        Ok(stream)
    }

    /// Connects up to TLS.
    pub async fn tls(&self, source: Ipv4Addr) -> io::Result<TlsStream<TcpStream>> {
        let tcp = self.tcp(source).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(Arc::clone(&self.config)).connect(server_name()?, tcp).await
    }

    /// Connects TCP alone.
    pub async fn tcp(&self, source: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        socket.connect(self.address).await
    }

    /// What a client says first: a whole TLS `ClientHello`.
    pub fn client_hello(&self) -> io::Result<Vec<u8>> {
        let mut client =
            rustls::ClientConnection::new(Arc::clone(&self.config), server_name()?).map_err(Error::other)?;
        let mut hello = Vec::new();
        client.write_tls(&mut hello)?;
        Ok(hello)
    }
}

fn server_name() -> io::Result<ServerName<'static>> {
    ServerName::try_from("localhost").map_err(Error::other)
}

async fn upgrade(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: Y2FyaWxsb24gYmVuY2ggaw==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(())
    } else {
        Err(Error::other(String::from_utf8_lossy(&head).into_owned()))
    }
}

/// A connection that was welcomed.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    last_id: u32,
}

impl Connection {
    /// Subscribes and waits for the reply.
    pub async fn subscribe(&mut self, pattern: &str) -> io::Result<()> {
        self.last_id += 1;
        let pattern = Pattern::new(pattern).map_err(Error::other)?;
        let subscribe = Subscribe { id: Id::from(self.last_id), pattern, overflow: Overflow::Close, start: None };
        self.send(&ClientMessage::Subscribe(subscribe)).await?;
        self.expect_reply().await
    }

    /// Publishes without asking for a reply.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) -> io::Result<()> {
        self.send_publication(None, topic, payload).await
    }

    /// Publishes, and does not wait for the reply, which carries the id that is returned.
    pub async fn publish_with_id(&mut self, topic: &str, payload: &[u8]) -> io::Result<Id> {
        self.last_id += 1;
        let id = Id::from(self.last_id);
        self.send_publication(Some(id), topic, payload).await?;
        Ok(id)
    }

    async fn send_publication(&mut self, id: Option<Id>, topic: &str, payload: &[u8]) -> io::Result<()> {
        let topic = Topic::new(topic).map_err(Error::other)?;
        self.send(&ClientMessage::Publish(Publish {
            id,
            topic,
            payload,
            headers: Headers::EMPTY,
            message_id: None,
            expected_sequence: None,
        }))
        .await
    }

    /// Waits until the broker has done all that was sent.
    pub async fn settle(&mut self) -> io::Result<()> {
        self.last_id += 1;
        self.send(&ClientMessage::Ping(Id::from(self.last_id))).await?;
        self.expect_reply().await
    }

    async fn expect_reply(&mut self) -> io::Result<()> {
        let mut is_done = false;
        while !is_done {
            self.read(|message| match message {
                BrokerMessage::Welcome(_) | BrokerMessage::Ok(_) => {
                    is_done = true;
                    Ok(())
                }
                other => Err(Error::other(format!("expected a reply, got {other:?}"))),
            })
            .await?;
        }
        Ok(())
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &ClientMessage<'_>) -> io::Result<()> {
        self.stream.write_all(&binary_frame(message)).await?;
        self.stream.flush().await
    }

    /// Sends messages that are encoded already, all in one WebSocket message.
    pub async fn send_encoded(&mut self, messages: &[u8]) -> io::Result<()> {
        self.stream.write_all(&payload_frame(messages)).await?;
        self.stream.flush().await
    }

    /// Sends frames that are made already, such as of [`payload_frame`].
    pub async fn send_frames(&mut self, frames: &[u8]) -> io::Result<()> {
        self.stream.write_all(frames).await?;
        self.stream.flush().await
    }

    /// Waits for more, and gives each message that is whole to `handle`.
    ///
    /// Cancel safe: what has come is handled by the next call.
    pub async fn read(&mut self, mut handle: impl FnMut(BrokerMessage<'_>) -> io::Result<()>) -> io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(Error::other("the broker ended the connection"));
        }
        let mut rest = self.buffer.as_slice();
        while let Some((opcode, payload, behind)) = split_frame(rest) {
            match opcode {
                0x2 => {
                    for message in decode::broker_messages(payload) {
                        handle(message.map_err(|error| Error::new(ErrorKind::InvalidData, error))?)?;
                    }
                }
                other => return Err(Error::other(format!("the broker sent a frame with opcode {other}"))),
            }
            rest = behind;
        }
        let done = self.buffer.len() - rest.len();
        self.buffer.drain(..done);
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// The stream, for whoever goes on by other rules. What was read and not handled yet is lost.
    pub fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }

    /// Answers a heartbeat.
    pub async fn answer(&mut self, number: Id) -> io::Result<()> {
        self.send(&ClientMessage::HeartbeatReply(number)).await
    }
}

/// A message in a WebSocket message of its own.
pub fn binary_frame(message: &ClientMessage<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    payload_frame(&payload)
}

/// A WebSocket message of messages that are encoded already.
pub fn payload_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_head(0x82, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// The head of a client's frame; `first` is its first byte, with the opcode and whether it is the last fragment.
pub fn frame_head(first: u8, payload_bytes: usize) -> Vec<u8> {
    let mut head = vec![first];
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(short @ 0..=125), _) => head.push(0x80 | short),
        (_, Ok(medium)) => {
            head.push(0xfe);
            head.extend(medium.to_be_bytes());
        }
        _ => {
            head.push(0xff);
            head.extend((payload_bytes as u64).to_be_bytes());
        }
    }
    // A mask of zeros is a mask: only browsers need to keep a script from choosing the bytes on the wire.
    head.extend([0; 4]);
    head
}

/// Opcode and payload of the first frame of a broker, and what is behind it. `None` where it has not come as a whole.
pub fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match second {
        126 => rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        short => (short.into(), rest),
    };
    let (payload, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((first & 0x0f, payload, behind))
}
