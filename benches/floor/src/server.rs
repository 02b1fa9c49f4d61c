//! The thread: one epoll, all connections, and what was ordered.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::TcpListener,
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    time::{ClockId, Timespec, clock_gettime},
};
use rustls::ServerConfig;
use slab::Slab;

use crate::{
    connection::{Connection, Scratch},
    frame,
    order::{BURST_EVERY_NS, Order},
};

/// The listener's; connections have their places.
const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 1024;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// Who reads a topic.
#[derive(Debug, Default)]
struct Topic {
    readers: Vec<usize>,
    /// How many of them have bytes that wait for their sockets.
    blocked: usize,
}

/// All of it.
pub(crate) struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    connections: Slab<Connection>,
    topics: Vec<Topic>,
    topics_by_name: HashMap<String, usize>,
    orders: Vec<(usize, Order)>,
    next_burst_ns: u64,
    scratch: Scratch,
    /// The frames of a burst.
    frames: Vec<u8>,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            config,
            connections: Slab::new(),
            topics: Vec::new(),
            topics_by_name: HashMap::new(),
            orders: Vec::new(),
            next_burst_ns: 0,
            scratch: Scratch::new(),
            frames: Vec::new(),
        })
    }

    /// Serves until the process is ended.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let now = now_ns();
            if now >= self.next_burst_ns && self.burst(now) {
                self.next_burst_ns = now + BURST_EVERY_NS;
            }
            let timeout = self.next_ns().map(|next| timespec(next.saturating_sub(now_ns())));
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                other => drop(other?),
            }
            for event in events.drain(..) {
                if event.data.u64() == LISTENER {
                    self.accept()?;
                } else if let Ok(key) = usize::try_from(event.data.u64()) {
                    self.serve(key, event.flags);
                }
            }
        }
    }

    /// When the next burst is due. A topic that waits for its sockets is woken by them.
    fn next_ns(&self) -> Option<u64> {
        let waiting = self.orders.iter().filter(|(topic, _)| !self.is_blocked(*topic));
        let next = waiting.map(|(_, order)| order.due_ns(order.sent)).min()?;
        Some(next.max(self.next_burst_ns))
    }

    fn is_blocked(&self, topic: usize) -> bool {
        self.topics.get(topic).is_none_or(|topic| topic.blocked > 0)
    }

    /// Sends what is due, and tells whether anything was.
    fn burst(&mut self, now: u64) -> bool {
        let mut orders = std::mem::take(&mut self.orders);
        let mut has_sent = false;
        for (topic, order) in &mut orders {
            let due = if self.is_blocked(*topic) { 0 } else { order.due(now) };
            if due > 0 {
                self.frames.clear();
                for number in order.sent..order.sent + due {
                    frame::write_head(1 + order.payload_bytes, &mut self.frames);
                    self.frames.push(frame::DELIVERY);
                    order.write_payload(number, now, &mut self.frames);
                }
                order.sent += due;
                has_sent = true;
                self.fan_out(*topic);
            }
        }
        orders.retain(|(_, order)| !order.is_done());
        self.orders = orders;
        has_sent
    }

    fn fan_out(&mut self, topic: usize) {
        let Some(topic) = self.topics.get_mut(topic) else { return };
        let mut ended = Vec::new();
        for &key in &topic.readers {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            match connection.send(&self.frames, &mut self.scratch) {
                Ok(()) if connection.is_blocked() => {
                    topic.blocked += 1;
                    let flags = EventFlags::IN | EventFlags::OUT;
                    let _ = epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(key as u64), flags);
                }
                Ok(()) => {}
                Err(_) => ended.push(key),
            }
        }
        for key in ended {
            self.end(key, false);
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client's fault, before it was here.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => continue,
                Err(error) => return Err(error),
            };
            let connection = Connection::new(stream, Arc::clone(&self.config))?;
            let entry = self.connections.vacant_entry();
            epoll::add(&self.epoll, &connection.stream, EventData::new_u64(entry.key() as u64), EventFlags::IN)?;
            entry.insert(connection);
        }
    }

    fn serve(&mut self, key: usize, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let was_blocked = connection.is_blocked();
        let mut answers = Vec::new();
        let mut done = Ok(());
        if flags.contains(EventFlags::OUT) {
            done = connection.flush();
        }
        if done.is_ok() && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let (topics, names, orders) = (&mut self.topics, &mut self.topics_by_name, &mut self.orders);
            let mut topic = connection.topic;
            let mut number_of = |name: &str| {
                *names.entry(name.to_owned()).or_insert_with(|| {
                    topics.push(Topic::default());
                    topics.len() - 1
                })
            };
            let mut joined = None;
            done = connection.read(&mut self.scratch, |request| match request.split_once(' ') {
                Some(("subscribe", rest)) => {
                    if let Some((number, name)) = rest.split_once(' ')
                        && let Ok(number) = number.parse()
                    {
                        joined = topic.is_none().then(|| number_of(name)).or(joined);
                        topic = topic.or(joined);
                        frame::write_done(number, &mut answers);
                    }
                }
                Some(("settle", number)) => {
                    if let Ok(number) = number.parse() {
                        frame::write_done(number, &mut answers);
                    }
                }
                Some(("order", rest)) => {
                    if let Ok(order) = rest.parse::<Order>() {
                        orders.push((number_of(&order.topic), order));
                    }
                }
                _ => {}
            });
            connection.topic = topic;
            if let Some(topic) = joined.and_then(|topic| topics.get_mut(topic)) {
                topic.readers.push(key);
                topic.blocked += usize::from(was_blocked);
            }
        }
        if done.is_ok() && !answers.is_empty() {
            done = connection.send(&answers, &mut self.scratch);
        }
        if done.is_err() {
            self.end(key, was_blocked);
        } else {
            self.note_blocked(key, was_blocked);
        }
    }

    /// Keeps what is known of who waits for its socket.
    fn note_blocked(&mut self, key: usize, was_blocked: bool) {
        let Some(connection) = self.connections.get(key) else { return };
        let is_blocked = connection.is_blocked();
        if was_blocked == is_blocked {
            return;
        }
        if let Some(topic) = connection.topic.and_then(|topic| self.topics.get_mut(topic)) {
            topic.blocked = if is_blocked { topic.blocked + 1 } else { topic.blocked.saturating_sub(1) };
        }
        let flags = if is_blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        let _ = epoll::modify(&self.epoll, &connection.stream, EventData::new_u64(key as u64), flags);
    }

    fn end(&mut self, key: usize, was_blocked: bool) {
        let Some(connection) = self.connections.try_remove(key) else { return };
        if let Some(topic) = connection.topic.and_then(|topic| self.topics.get_mut(topic)) {
            topic.readers.retain(|&reader| reader != key);
            topic.blocked -= usize::from(was_blocked).min(topic.blocked);
        }
    }
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * NS_PER_SECOND + nanoseconds.unwrap_or_default()
}

fn timespec(ns: u64) -> Timespec {
    let (seconds, rest) = (ns / NS_PER_SECOND, ns % NS_PER_SECOND);
    Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: i64::try_from(rest).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpStream},
        thread,
    };

    use rcgen::CertifiedKey;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::PrivateKeyDer};

    use super::*;

    type Client = StreamOwned<ClientConnection, TcpStream>;

    /// A floor, and what its clients trust. It ends with the test's process.
    fn floor() -> (SocketAddr, Arc<ClientConfig>) {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || Server::new(listener, Arc::new(config)).unwrap().run());
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        (address, Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
    }

    fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
        let tls = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
        let mut client = StreamOwned::new(tls, TcpStream::connect(address).unwrap());
        client.write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        client
    }

    /// With a mask of zeros.
    fn ask(client: &mut Client, request: &str) {
        let length = u8::try_from(request.len()).unwrap();
        assert!(length <= 125);
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], request.as_bytes()].concat();
        client.write_all(&frame).unwrap();
    }

    fn hear(client: &mut Client) -> Vec<u8> {
        let mut head = [0; 2];
        client.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0x82);
        let mut payload = vec![0; usize::from(head[1])];
        client.read_exact(&mut payload).unwrap();
        payload
    }

    #[test]
    fn every_reader_of_the_topic_gets_what_was_ordered() {
        let (address, config) = floor();
        let mut clients: Vec<_> = (0..3).map(|_| connect(address, &config)).collect();
        for (client, topic) in clients.iter_mut().zip(["a", "a", "b"]) {
            ask(client, &format!("subscribe 7 {topic}"));
            assert_eq!(hear(client), [frame::DONE, 7, 0, 0, 0]);
        }
        ask(&mut clients[2], "order a 500 inf 100 0");
        for client in &mut clients[..2] {
            for number in 0..500_u16 {
                let message = hear(client);
                assert_eq!((message[0], message.len()), (frame::DELIVERY, 101));
                assert_eq!(message[11..13], number.to_le_bytes());
            }
        }
        // Nothing of another's topic came before the answer.
        ask(&mut clients[2], "settle 8");
        assert_eq!(hear(&mut clients[2]), [frame::DONE, 8, 0, 0, 0]);
    }

    #[test]
    fn who_has_gone_leaves_the_topic_to_the_others() {
        let (address, config) = floor();
        let mut stays = connect(address, &config);
        let mut goes = connect(address, &config);
        for client in [&mut stays, &mut goes] {
            ask(client, "subscribe 1 a");
            hear(client);
        }
        drop(goes);
        // More than a socket holds: whoever has gone must not be waited for.
        ask(&mut stays, "order a 400 inf 60000 0");
        for _ in 0..400 {
            let mut head = [0; 4];
            stays.read_exact(&mut head).unwrap();
            assert_eq!(u16::from_be_bytes([head[2], head[3]]), 60_001);
            stays.read_exact(&mut vec![0; 60_001]).unwrap();
        }
    }
}
