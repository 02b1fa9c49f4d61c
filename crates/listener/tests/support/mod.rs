//! A real broker on loopback, and a client that says exactly what a test tells it to, byte by byte.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    clippy::struct_field_names,
    reason = "in a test a panic is the message, and lengths are its own"
)]

pub mod pki;
pub mod quotas;
mod said;
pub mod streams;

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use carillon_access::{Identity, Policy, Source, permissions::Role};
use carillon_listener::{
    Gate, Listener, OpenedStreams, Settings, Tls,
    gate::Rules,
    proxies::Proxies,
    settings::{Deadlines, Limits, Origins},
};
use carillon_metrics::{BrokerMetrics, ShardMetrics};
use carillon_wire::{
    ClientMessage, Headers, Id, Overflow, Pattern, Topic,
    client_message::{Connect, Publish, Subscribe, Unsubscribe},
    decode,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};
pub use said::Said;
use tempfile::TempDir;

/// Long enough that only a broker that does not answer at all runs into it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A broker with a certificate of its own.
pub struct Broker {
    pub address: SocketAddr,
    pub metrics: Vec<Arc<ShardMetrics>>,
    pub broker_metrics: Arc<BrokerMetrics>,
    pub tls: Tls,
    pub gate: Arc<Gate>,
    pub files: CertificateFiles,
    client_config: Arc<ClientConfig>,
    listener: Option<Listener>,
}

pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    _folder: TempDir,
}

pub fn settings() -> Settings {
    Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        backlog: 128,
        proxies: Proxies::default(),
        origins: Origins::default(),
        limits: Limits::default(),
        deadlines: Deadlines::default(),
    }
}

/// Rules under which nobody needs credentials, and everybody may do everything.
pub fn anonymous_may_do_everything() -> Rules {
    let rules = carillon_access::permissions::Rules { allow: vec![">".into()], deny: vec![] };
    let role = Role { publish: rules.clone(), subscribe: rules.clone(), history: rules.clone(), presence: rules };
    let anonymous = Identity {
        subject: "anonymous".into(),
        source: Source::Anonymous,
        roles: vec!["everything".into()],
        claims: BTreeMap::new(),
        own: None,
        token_id: None,
        issued_at_s: None,
        expires_at_s: None,
    };
    Rules {
        anonymous: Some(anonymous),
        policy: Policy::new([("everything".to_owned(), role)]).unwrap(),
        ..Rules::default()
    }
}

/// A certificate for localhost that signs itself, and its key.
pub fn self_signed() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

pub fn write_files(certificate: &str, key: &str) -> CertificateFiles {
    let folder = TempDir::new().unwrap();
    let files = CertificateFiles {
        certificate: folder.path().join("certificate.pem"),
        key: folder.path().join("key.pem"),
        _folder: folder,
    };
    std::fs::write(&files.certificate, certificate).unwrap();
    std::fs::write(&files.key, key).unwrap();
    files
}

impl Broker {
    /// A broker of one shard.
    pub fn start(settings: Settings) -> Self {
        Self::start_with(settings, 1)
    }

    pub fn start_with(settings: Settings, shards: usize) -> Self {
        Self::start_behind(settings, shards, anonymous_may_do_everything())
    }

    pub fn start_behind(settings: Settings, shards: usize, rules: Rules) -> Self {
        let (certificate, key) = self_signed();
        let files = write_files(&certificate, &key);
        let tls = Tls::from_files(&files.certificate, &files.key).unwrap();
        Self::start_with_tls(settings, shards, rules, tls, files)
    }

    /// A broker with TLS that was made from these files.
    pub fn start_with_tls(settings: Settings, shards: usize, rules: Rules, tls: Tls, files: CertificateFiles) -> Self {
        Self::start_all(settings, shards, rules, (tls, files), None)
    }

    fn start_all(
        settings: Settings,
        shards: usize,
        rules: Rules,
        (tls, files): (Tls, CertificateFiles),
        streams: Option<OpenedStreams>,
    ) -> Self {
        let gate = Arc::new(Gate::new(Rules { client_verifier: tls.client_verifier(), ..rules }));
        let metrics: Vec<_> = (0..shards).map(|_| Arc::new(ShardMetrics::default())).collect();
        let broker_metrics = Arc::new(BrokerMetrics::new("test", vec![]));
        let listener = Listener::start(settings, &tls, &gate, Arc::clone(&broker_metrics), &metrics, streams).unwrap();
        Self {
            address: listener.address(),
            metrics,
            broker_metrics,
            client_config: client_config(&tls),
            tls,
            gate,
            files,
            listener: Some(listener),
        }
    }

    /// TCP alone.
    pub fn tcp(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// TLS, and nothing said yet.
    pub fn tls_stream(&self) -> StreamOwned<ClientConnection, TcpStream> {
        self.tls_stream_with(&self.client_config)
    }

    pub fn tls_stream_with(&self, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), self.tcp())
    }

    /// A WebSocket that has said nothing yet.
    pub fn websocket(&self) -> Client {
        self.websocket_with("")
    }

    /// The same, with more headers in its request.
    pub fn websocket_with(&self, headers: &str) -> Client {
        Self::upgrade(self.tls_stream(), headers)
    }

    /// The same, over this stream.
    pub fn upgrade(mut stream: StreamOwned<ClientConnection, TcpStream>, headers: &str) -> Client {
        stream.write_all(upgrade_request(headers).as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Client { stream, buffer: Vec::new(), messages: Vec::new(), last_id: 0, close_sent: false }
    }

    /// A client that was welcomed.
    pub fn client(&self) -> Client {
        let mut client = self.websocket();
        client.connect();
        client
    }

    pub fn drain(&mut self) {
        self.listener.take().unwrap().drain();
    }

    /// The sum of a count over all shards.
    pub fn count(&self, of: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.metrics.iter().map(|shard| of(shard)).sum()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.drain();
        }
    }
}

pub fn client_config(tls: &Tls) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(tls.chain().remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A request that is right, with more headers (each ending in `\r\n`).
pub fn upgrade_request(more: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: carillon.v1\r\n{more}\r\n"
    )
}

/// Reads up to the empty line that ends the head of an HTTP answer.
pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            other => panic!("no HTTP answer ({other:?}) but {:?}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).unwrap()
}

/// A frame as a client must send it.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 0x7e);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 0x7f);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

pub struct Client {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
    messages: Vec<Said>,
    last_id: u32,
    close_sent: bool,
}

impl Client {
    pub fn id(&mut self) -> Id {
        self.last_id += 1;
        Id::from(self.last_id)
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).unwrap();
    }

    /// Sends MessagePack in one binary frame.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.send_raw(&frame(0x82, bytes));
    }

    pub fn send(&mut self, message: &ClientMessage<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send_bytes(&bytes);
    }

    pub fn connect(&mut self) {
        assert_eq!(self.connect_with(None), Said::Welcome);
    }

    /// Connects with credentials; tells the answer.
    pub fn connect_with(&mut self, token: Option<&str>) -> Said {
        let id = self.id();
        self.send(&ClientMessage::Connect(Connect { id, token, client: None, headers: Headers::EMPTY }));
        self.next()
    }

    pub fn ask_subscribe(&mut self, pattern: &str, overflow: Overflow) -> u64 {
        let id = self.id();
        let pattern = Pattern::new(pattern).unwrap();
        self.send(&ClientMessage::Subscribe(Subscribe { id, pattern, overflow, start: None }));
        id.get()
    }

    /// Subscribes and waits for the reply.
    pub fn subscribe(&mut self, pattern: &str) -> u64 {
        let id = self.ask_subscribe(pattern, Overflow::DropOldest);
        assert_eq!(self.next(), Said::Ok(id));
        id
    }

    pub fn ask_unsubscribe(&mut self, subscription: u64) -> u64 {
        let id = self.id();
        let subscription = Id::new(subscription).unwrap();
        self.send(&ClientMessage::Unsubscribe(Unsubscribe { id, subscription }));
        id.get()
    }

    /// Publishes and waits for the reply.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        let id = self.id();
        let topic = Topic::new(topic).unwrap();
        self.send(&ClientMessage::Publish(Publish {
            id: Some(id),
            topic,
            payload,
            headers: Headers::EMPTY,
            message_id: None,
            expected_sequence: None,
        }));
        assert_eq!(self.next(), Said::Ok(id.get()));
    }

    /// Publishes without asking for a reply.
    pub fn publish_unanswered(&mut self, topic: &str, payload: &[u8]) {
        let topic = Topic::new(topic).unwrap();
        self.send(&ClientMessage::Publish(Publish {
            id: None,
            topic,
            payload,
            headers: Headers::EMPTY,
            message_id: None,
            expected_sequence: None,
        }));
    }

    /// A request and its answer, which shows that all before it was done.
    pub fn ping(&mut self) {
        let id = self.id();
        self.send(&ClientMessage::Ping(id));
        assert_eq!(self.next(), Said::Ok(id.get()));
    }

    /// The next thing that the broker says.
    pub fn next(&mut self) -> Said {
        loop {
            if !self.messages.is_empty() {
                return self.messages.remove(0);
            }
            if self.take_frame() {
                continue;
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Said::End,
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the broker says nothing"),
                Err(_) => return Said::End,
            }
        }
    }

    /// The payload of the next delivery; anything else fails.
    pub fn delivery(&mut self) -> (String, Vec<u8>) {
        match self.next() {
            Said::Delivery { topic, payload, .. } => (topic, payload),
            other => panic!("expected a delivery, got {other:?}"),
        }
    }

    /// Everything up to the close frame or the end, heartbeats and deliveries left out; and that close.
    pub fn until_close(&mut self) -> (Vec<Said>, Option<(u16, String)>) {
        let mut said = Vec::new();
        loop {
            match self.next() {
                Said::Close { code, reason } => return (said, Some((code, reason))),
                Said::End => return (said, None),
                Said::Heartbeat(_) | Said::Delivery { .. } => {}
                other => said.push(other),
            }
        }
    }

    fn take_frame(&mut self) -> bool {
        let Some(&[first, second]) = self.buffer.first_chunk() else { return false };
        assert_eq!(second & 0x80, 0, "the broker must not mask");
        assert_eq!(first & 0x80, 0x80, "the broker does not fragment");
        let (head, length) = match second {
            126 if self.buffer.len() >= 4 => (4, usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]]))),
            127 if self.buffer.len() >= 10 => (10, u64::from_be_bytes(self.buffer[2..10].try_into().unwrap()) as usize),
            126 | 127 => return false,
            short => (2, usize::from(short)),
        };
        if self.buffer.len() < head + length {
            return false;
        }
        let payload: Vec<u8> = self.buffer.drain(..head + length).skip(head).collect();
        match first & 0x0f {
            2 => self.messages.extend(decode::broker_messages(&payload).map(|message| Said::from(message.unwrap()))),
            8 => {
                let (code, reason) = payload.split_at(2.min(payload.len()));
                self.messages.push(Said::Close {
                    code: code.try_into().map_or(1005, u16::from_be_bytes),
                    reason: String::from_utf8(reason.to_vec()).unwrap(),
                });
                if !std::mem::replace(&mut self.close_sent, true) {
                    let _ = self.stream.write_all(&frame(0x88, code)).and_then(|()| self.stream.flush());
                }
            }
            10 => self.messages.push(Said::Pong(payload)),
            other => panic!("unexpected opcode {other}"),
        }
        true
    }
}

/// Waits for something that another thread does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
