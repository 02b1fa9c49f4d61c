//! A server that speaks as much of `carillon.v1` as a load needs, and does what a broker must not do where it is told to.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use carillon_bench::{Target, Trust};
use carillon_wire::{
    BrokerMessage, ClientMessage, ErrorCode, Headers, Id,
    broker_message::{Delivery, ErrorReply, OkReply, Welcome},
    decode,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, split},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

/// What the server does to the publication with this number, from 0, on the way to its first subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    Drop(u64),
    Repeat(u64),
    /// Delivers it behind the next one.
    Swap(u64),
    /// Ends the subscriber's connection.
    Cut(u64),
    /// Does nothing at all for so long, before it.
    Stall(u64, Duration),
    /// Refuses it.
    Refuse(u64),
}

/// A server that ends with its runtime.
pub struct Server {
    address: SocketAddr,
    directory: TempDir,
}

#[derive(Default)]
struct State {
    published: u64,
    subscribers: Vec<Subscriber>,
    held: Option<Vec<u8>>,
}

struct Subscriber {
    /// Its connection, and its subscription there.
    key: (usize, Id),
    topic: String,
    out: mpsc::UnboundedSender<Out>,
}

enum Out {
    Message(Vec<u8>),
    End,
}

impl Server {
    /// Starts one that has this fault, and gives resumable sessions or none.
    pub async fn start(fault: Fault, gives_tickets: bool) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), cert.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()))
            .unwrap();
        config.send_tls13_tickets = usize::from(gives_tickets);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
                // A load that ends, or cuts its connections, is no error here.
                tokio::spawn(async move { serve(stream, number, acceptor, state, fault).await.ok() });
            }
        });
        Self { address, directory }
    }

    pub fn target(&self) -> Target {
        let ca: PathBuf = self.directory.path().join("ca.pem");
        Target::new(self.address, "localhost", &Trust::CaFile(ca)).unwrap()
    }
}

async fn serve(
    stream: TcpStream,
    number: usize,
    acceptor: TlsAcceptor,
    state: Arc<Mutex<State>>,
    fault: Fault,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = split(acceptor.accept(stream).await?);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reader.read_u8().await?);
    }
    writer.write_all(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: carillon.v1\r\n\r\n").await?;
    let (out, mut outgoing) = mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        while let Some(Out::Message(message)) = outgoing.recv().await {
            writer.write_all(&frame(&message)).await?;
            writer.flush().await?;
        }
        // The client is told nothing but the end.
        io::Result::Ok(())
    });
    let reading = read(&mut reader, number, &out, &state, fault);
    tokio::select! {
        _ = reading => {}
        _ = writing => {}
    }
    state.lock().unwrap().subscribers.retain(|subscriber| subscriber.key.0 != number);
    Ok(())
}

async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    number: usize,
    out: &mpsc::UnboundedSender<Out>,
    state: &Mutex<State>,
    fault: Fault,
) -> io::Result<()> {
    let mut subscriptions: HashMap<Id, String> = HashMap::new();
    loop {
        let Some(payload) = client_frame(reader).await? else { return Ok(()) };
        for message in decode::client_messages(&payload) {
            let mut reply = Vec::new();
            match message.unwrap() {
                ClientMessage::Connect(connect) => BrokerMessage::Welcome(Welcome {
                    id: connect.id,
                    connection: "c",
                    server: "s",
                    max_payload_bytes: 1 << 20,
                    max_message_bytes: 1 << 20,
                    max_subscriptions: 100,
                    max_wildcards: 4,
                    heartbeat_ms: 0,
                })
                .encode(&mut reply),
                ClientMessage::Subscribe(subscribe) => {
                    let (topic, out) = (subscribe.pattern.as_str().to_owned(), out.clone());
                    subscriptions.insert(subscribe.id, topic.clone());
                    let subscriber = Subscriber { key: (number, subscribe.id), topic, out };
                    state.lock().unwrap().subscribers.push(subscriber);
                    BrokerMessage::ok(subscribe.id).encode(&mut reply);
                }
                ClientMessage::Unsubscribe(unsubscribe) => {
                    let key = (number, unsubscribe.subscription);
                    state.lock().unwrap().subscribers.retain(|subscriber| subscriber.key != key);
                    BrokerMessage::ok(unsubscribe.id).encode(&mut reply);
                }
                ClientMessage::Ping(id) => BrokerMessage::ok(id).encode(&mut reply),
                ClientMessage::Publish(publish) => {
                    let index = {
                        let mut state = state.lock().unwrap();
                        state.published += 1;
                        state.published - 1
                    };
                    if let Fault::Stall(at, stall) = fault
                        && at == index
                    {
                        tokio::time::sleep(stall).await;
                    }
                    if fault == Fault::Refuse(index) {
                        BrokerMessage::Error(ErrorReply {
                            id: publish.id,
                            code: ErrorCode::Forbidden,
                            message: "not this one",
                            retry_after_ms: None,
                            last_sequence: None,
                        })
                        .encode(&mut reply);
                    } else {
                        state.lock().unwrap().deliver(fault, index, publish.topic.as_str(), publish.payload);
                        if let Some(id) = publish.id {
                            let kept =
                                OkReply { stream: Some("s"), sequence: Some(1), epoch: Some("e"), ..OkReply::new(id) };
                            BrokerMessage::Ok(kept).encode(&mut reply);
                        }
                    }
                }
                other => panic!("a load does not send {other:?}"),
            }
            if !reply.is_empty() {
                let _ = out.send(Out::Message(reply));
            }
        }
    }
}

impl State {
    fn deliver(&mut self, fault: Fault, index: u64, topic: &str, payload: &[u8]) {
        let mut message = Vec::new();
        let delivery = Delivery {
            topic: carillon_wire::Topic::new(topic).unwrap(),
            payload,
            time_us: index,
            headers: Headers::EMPTY,
            in_stream: None,
        };
        BrokerMessage::Delivery(delivery).encode(&mut message);
        for (place, subscriber) in self.subscribers.iter().filter(|subscriber| subscriber.topic == topic).enumerate() {
            let send = |message: &[u8]| drop(subscriber.out.send(Out::Message(message.to_vec())));
            match fault {
                Fault::Drop(at) if place == 0 && at == index => {}
                Fault::Repeat(at) if place == 0 && at == index => {
                    send(&message);
                    send(&message);
                }
                Fault::Swap(at) if place == 0 && at == index => self.held = Some(message.clone()),
                Fault::Cut(at) if place == 0 && at == index => drop(subscriber.out.send(Out::End)),
                _ => send(&message),
            }
            if let Fault::Swap(at) = fault
                && place == 0
                && at < index
                && let Some(held) = self.held.take()
            {
                send(&held);
            }
        }
    }
}

/// A frame of a server.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    if let Ok(short @ 0..=125) = u8::try_from(payload.len()) {
        frame.push(short);
    } else {
        frame.push(126);
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    frame.extend_from_slice(payload);
    frame
}

/// The payload of a frame of this load, whose masks are zeros; none when it closes.
async fn client_frame(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let first = reader.read_u8().await?;
    let length = match reader.read_u8().await? & 0x7f {
        126 => u64::from(reader.read_u16().await?),
        127 => reader.read_u64().await?,
        short => short.into(),
    };
    assert_eq!(reader.read_u32().await?, 0);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    reader.read_exact(&mut payload).await?;
    Ok((first & 0x0f != 0x8).then_some(payload))
}
