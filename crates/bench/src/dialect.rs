//! How a kind of broker is spoken to.

use std::io;

/// What a connection is opened for. Its topic is the first that it has to do with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role<'a> {
    /// It reads.
    Subscriber {
        /// The first topic that it subscribes to.
        topic: &'a str,
    },
    /// It publishes.
    Publisher {
        /// The first topic that it publishes to.
        topic: &'a str,
    },
    /// It only is there, whether subscribed or not.
    Idle {
        /// The topic that it subscribes to, if it does.
        topic: &'a str,
    },
}

impl<'a> Role<'a> {
    /// The first topic that the connection has to do with.
    pub fn topic(self) -> &'a str {
        match self {
            Self::Subscriber { topic } | Self::Publisher { topic } | Self::Idle { topic } => topic,
        }
    }
}

/// The HTTP request that asks for a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// Path and query.
    pub path: String,
    /// Which the server must choose too.
    pub subprotocol: Option<&'static str>,
    /// More headers, beside those that an upgrade needs.
    pub headers: Vec<(String, String)>,
}

/// What a dialect heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The answer to [`Dialect::hello`]: requests may follow.
    Ready,
    /// The request with this number is done. 0, for a protocol whose answers carry no number: the oldest that waits.
    Done(u32),
    /// The same of a publication, which a stream keeps now.
    Kept(u32),
    /// The request with this number was refused; 0 as with `Done`, or it was none.
    Refused(u32, &'a str),
    /// A payload, for a subscription of this connection.
    Delivery(&'a [u8]),
    /// A subscription with a start has got all that was kept when it subscribed.
    CaughtUp,
    /// The broker says that so many deliveries, at least one, will never come.
    Gap(u64),
}

/// An order that the server itself publish. Only servers that are made for comparisons take one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Order<'a> {
    /// Where to.
    pub topic: &'a str,
    /// How many messages, numbered from 0, by publisher 0.
    pub messages: u64,
    /// How many of them in each second.
    pub per_second: f64,
    /// Size of each payload, with its stamp.
    pub payload_bytes: usize,
    /// When the first is due: nanoseconds of `CLOCK_MONOTONIC`.
    pub start_at_ns: u64,
}

/// How a kind of broker is spoken to over a WebSocket: turns requests into bytes, and bytes into what they say.
///
/// It keeps nothing between two calls. The engine makes frames and records of what it writes, and answers pings of the
/// WebSocket itself. Numbers of requests are at least 1 and unique in their connection.
pub trait Dialect: Clone + Send + Sync + 'static {
    /// What it is called in reports.
    fn name(&self) -> &'static str;

    /// How a connection with this role asks for its WebSocket.
    fn upgrade(&self, role: Role<'_>) -> Upgrade;

    /// Appends what is sent first, as one WebSocket message; then nothing is sent until [`Heard::Ready`]. False: nothing is,
    /// and the connection is ready at once.
    fn hello(&self, role: Role<'_>, out: &mut Vec<u8>) -> bool;

    /// Appends a subscription. It is in force once its request is done, or, where [`settle`](Self::settle) writes something,
    /// once that is. False: none is needed, as where the path of the upgrade subscribes.
    fn subscribe(&self, topic: &str, request: u32, out: &mut Vec<u8>) -> bool;

    /// Appends the end of the subscription that `subscription` was the request of. False: there is no such thing.
    fn unsubscribe(&self, topic: &str, subscription: u32, request: u32, out: &mut Vec<u8>) -> bool;

    /// Appends a publication that nothing answers.
    fn publish(&self, topic: &str, payload: &[u8], out: &mut Vec<u8>);

    /// Appends a publication that [`Heard::Done`] answers once the broker has it, and keeps it where a stream does. False:
    /// there is no such thing.
    fn publish_acknowledged(&self, _topic: &str, _payload: &[u8], _request: u32, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Appends a subscription to all that a stream keeps of a topic, and to what is published after. False: there is no such
    /// thing.
    fn subscribe_from_beginning(&self, _topic: &str, _request: u32, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Opcode of the frames that are sent: 1 for text, 2 for binary.
    fn opcode(&self) -> u8;

    /// Appends a request that is done when all before it is. False: there is no such thing.
    fn settle(&self, request: u32, out: &mut Vec<u8>) -> bool;

    /// Appends an order that the server itself publish. False: it cannot, and the load publishes.
    fn order(&self, _order: &Order<'_>, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Takes the payloads of data frames apart, as one stream of bytes, and returns how many of the bytes it has done with;
    /// the rest comes again, with more behind it.
    ///
    /// `message_ends`: the bytes end where a WebSocket message does. What is appended to `answer` is sent as one WebSocket
    /// message. An error, of its own or one that `heard` returned, ends the connection.
    fn hear<'a>(
        &self,
        bytes: &'a [u8],
        message_ends: bool,
        answer: &mut Vec<u8>,
        heard: &mut impl FnMut(Heard<'a>) -> io::Result<()>,
    ) -> io::Result<usize>;
}
