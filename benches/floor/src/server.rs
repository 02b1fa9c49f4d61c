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
