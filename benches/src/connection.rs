//! A connection to a broker that does as little as it can: it parses what comes and keeps nothing.

use std::{
    io::{self, Error},
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
#[derive(Clone)]
pub struct Target {
    /// Its address, on this machine.
    pub address: SocketAddr,
    config: Arc<ClientConfig>,
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
        Ok(Self { address, config: Arc::new(config) })
    }

    /// Connects and waits for the welcome. `number` spreads many connections over source addresses.
    pub async fn connect(&self, number: usize) -> io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        let last = u8::try_from(1 + number / CONNECTIONS_FOR_EACH_ADDRESS).unwrap_or(u8::MAX);
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0))?;
        let tcp = socket.connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(Error::other)?;
        let mut stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await?;
        upgrade(&mut stream).await?;
        let mut connection = Connection { stream, buffer: Vec::new(), last_id: 0 };
        let connect = Connect { id: Id::from(0), token: None, client: Some("carillon-load"), headers: Headers::EMPTY };
        connection.send(&ClientMessage::Connect(connect)).await?;
        connection.expect_reply().await?;
        Ok(connection)
    }
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
        let subscribe = Subscribe { id: Id::from(self.last_id), pattern, overflow: Overflow::Close };
        self.send(&ClientMessage::Subscribe(subscribe)).await?;
        self.expect_reply().await
    }

    /// Publishes without asking for a reply.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) -> io::Result<()> {
        let topic = Topic::new(topic).map_err(Error::other)?;
        self.send(&ClientMessage::Publish(Publish { id: None, topic, payload, headers: Headers::EMPTY })).await
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

    async fn send(&mut self, message: &ClientMessage<'_>) -> io::Result<()> {
        let mut payload = Vec::new();
        message.encode(&mut payload);
        // A mask of zeros is a mask: only browsers need to keep a script from choosing the bytes on the wire.
        let mut frame = vec![0x82];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ 0..=125), _) => frame.push(0x80 | short),
            (_, Ok(medium)) => {
                frame.push(0xfe);
                frame.extend(medium.to_be_bytes());
            }
            _ => {
                frame.push(0xff);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.append(&mut payload);
        self.stream.write_all(&frame).await?;
        self.stream.flush().await
    }

    /// Waits for more, and gives each message that is whole to `handle`.
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
                        handle(message.map_err(Error::other)?)?;
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

    /// Answers a heartbeat.
    pub async fn answer(&mut self, number: Id) -> io::Result<()> {
        self.send(&ClientMessage::HeartbeatReply(number)).await
    }
}

/// Opcode and payload of the first frame, and what is behind it.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match second {
        126 => rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        short => (short.into(), rest),
    };
    let (payload, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((first & 0x0f, payload, behind))
}
