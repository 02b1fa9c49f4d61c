//! One connection: a socket, its TLS, its WebSocket, and what a dialect makes of them.

use std::{cell::RefCell, io, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    io::Interest,
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use crate::{
    Dialect, Heard, Role,
    clock::now_ns,
    load::Load,
    tls::Tls,
    upgrade,
    upgrade::Answer,
    websocket::{CLOSE, Frames, put_frame},
};

/// What one read takes at most. One buffer serves all connections of a thread, as each read is done with before the next.
const READ_BYTES: usize = 256 << 10;
/// How long a connection may take to become ready.
const OPENING: Duration = Duration::from_mins(1);

/// Opens the connections of one thread.
pub(crate) struct Opener<D> {
    load: Arc<Load<D>>,
    buffer: Rc<RefCell<Vec<u8>>>,
}

impl<D> Clone for Opener<D> {
    fn clone(&self) -> Self {
        Self { load: Arc::clone(&self.load), buffer: Rc::clone(&self.buffer) }
    }
}

impl<D: Dialect> Opener<D> {
    pub(crate) fn new(load: Arc<Load<D>>) -> Self {
        Self { load, buffer: Rc::new(RefCell::new(vec![0; READ_BYTES])) }
    }

    pub(crate) fn load(&self) -> &Load<D> {
        &self.load
    }

    /// Opens a connection, and waits until requests may follow. `number` spreads connections over source addresses.
    pub(crate) async fn open(&self, number: usize, role: Role<'_>) -> io::Result<Connection<D>> {
        timeout(OPENING, self.open_unbounded(number, role)).await.map_err(|_: Elapsed| {
            io::Error::new(io::ErrorKind::TimedOut, format!("not ready within {} s", OPENING.as_secs()))
        })?
    }

    /// Opens a connection, and waits until it is subscribed.
    pub(crate) async fn open_subscribed(&self, number: usize, topic: &str) -> io::Result<Connection<D>> {
        let mut connection = self.open(number, Role::Subscriber { topic }).await?;
        timeout(OPENING, connection.subscribe(topic)).await.map_err(|_: Elapsed| {
            io::Error::new(io::ErrorKind::TimedOut, format!("not subscribed within {} s", OPENING.as_secs()))
        })??;
        Ok(connection)
    }

    async fn open_unbounded(&self, number: usize, role: Role<'_>) -> io::Result<Connection<D>> {
        let load = &self.load;
        let stream = load.target.connect_tcp(number).await?;
        let tls = Tls::new(Arc::clone(&load.tls), load.target.server_name())?;
        let upgrade = load.dialect.upgrade(role);
        let mut connection = Connection {
            stream,
            tls,
            dialect: load.dialect.clone(),
            buffer: Rc::clone(&self.buffer),
            upgrading: Some((Answer::default(), upgrade.subprotocol)),
            frames: Frames::default(),
            kept: Vec::new(),
            plain: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            last_request: 0,
        };
        connection.start_tls()?;
        while connection.tls.is_handshaking() {
            connection.turn(|_, _| Ok(())).await?;
        }
        load.count_handshake(&connection.tls);
        upgrade::request(&upgrade, load.target.authority(), load.target.headers(), &mut connection.plain);
        connection.flush()?;
        while connection.upgrading.is_some() {
            connection.turn(|_, _| Ok(())).await?;
        }
        let mut hello = Vec::new();
        if load.dialect.hello(role, &mut hello) {
            connection.queue(&hello);
            connection.wait_for(&|heard| matches!(heard, Heard::Ready)).await?;
        }
        Ok(connection)
    }
}

/// A connection that is ready, or becomes it.
///
/// All its methods are cancel safe: what has come is handled before they wait, and what is queued leaves with the next call.
pub(crate) struct Connection<D> {
    stream: TcpStream,
    tls: Tls,
    dialect: D,
    buffer: Rc<RefCell<Vec<u8>>>,
    /// Until the WebSocket is there: the answer, and the subprotocol that it must choose.
    upgrading: Option<(Answer, Option<&'static str>)>,
    frames: Frames,
    /// The beginning of a record whose end has not come.
    kept: Vec<u8>,
    /// Frames that wait to be encrypted.
    plain: Vec<u8>,
    /// Records that wait to be sent.
    outgoing: Vec<u8>,
    /// How much of these was sent.
    sent: usize,
    last_request: u32,
}

impl<D: Dialect> Connection<D> {
    /// A number for a request: from 1, unique in the connection.
    pub(crate) fn next_request(&mut self) -> u32 {
        self.last_request += 1;
        self.last_request
    }

    /// Puts bytes of the dialect into a WebSocket message, which leaves with the next [`flush`](Self::flush).
    pub(crate) fn queue(&mut self, message: &[u8]) {
        put_frame(self.dialect.opcode(), message, &mut self.plain);
    }

    /// How many bytes wait to be encrypted.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Sends what is queued, as far as the socket takes it at once. False: some of it waits.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if !self.plain.is_empty() {
            self.tls.encrypt(&self.plain, &mut self.kept, &mut self.outgoing)?;
            self.plain.clear();
        }
        while let Some(rest) = self.outgoing.get(self.sent..)
            && !rest.is_empty()
        {
            match self.stream.try_write(rest) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Waits until something came or can be sent, sends what can be, and hands what one read brought to `heard`, with the time
    /// of that read.
    pub(crate) async fn turn(&mut self, mut heard: impl FnMut(u64, Heard<'_>) -> io::Result<()>) -> io::Result<()> {
        self.wait().await?;
        self.read(&mut heard)?;
        self.flush()?;
        Ok(())
    }

    /// Sends what can be sent, and waits until something came or more can be sent.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        let is_flushed = self.flush()?;
        let interest = if is_flushed { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        self.stream.ready(interest).await?;
        Ok(())
    }

    /// Subscribes, and waits until the subscription is in force. Returns its request's number.
    pub(crate) async fn subscribe(&mut self, topic: &str) -> io::Result<u32> {
        let (mut message, request) = (Vec::new(), self.next_request());
        if self.dialect.subscribe(topic, request, &mut message) {
            self.queue(&message);
            self.settled(request).await?;
        }
        Ok(request)
    }

    /// Waits until a request that is queued is done, and all before it.
    pub(crate) async fn settled(&mut self, request: u32) -> io::Result<()> {
        let (mut message, settling) = (Vec::new(), self.next_request());
        let awaited = if self.dialect.settle(settling, &mut message) {
            self.queue(&message);
            settling
        } else {
            request
        };
        self.wait_for(
            &|heard| matches!(heard, Heard::Done(number) | Heard::Kept(number) if *number == awaited || *number == 0),
        )
        .await
    }

    /// Waits for an answer; a refusal is an error, all else is passed over.
    pub(crate) async fn wait_for(&mut self, is_it: &impl Fn(&Heard<'_>) -> bool) -> io::Result<()> {
        let mut has_come = false;
        while !has_come {
            self.turn(|_, heard| match heard {
                Heard::Refused(_, reason) => Err(io::Error::other(format!("refused: {reason}"))),
                heard => {
                    has_come |= is_it(&heard);
                    Ok(())
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Ends it as a client does that has done, without waiting for the server's answer.
    pub(crate) fn close(mut self) {
        const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();
        put_frame(CLOSE, &NORMAL, &mut self.plain);
        // Where it cannot be said, the end of the connection says it.
        let _ = self.flush();
    }

    /// Ends it as a lost network does: with a reset, and no word before.
    pub(crate) fn cut(self) {
        // Without it the peer sees an end instead, which is a cut all the same.
        let _ = self.stream.set_zero_linger();
    }

    fn start_tls(&mut self) -> io::Result<()> {
        self.tls.take(&mut [], &mut self.outgoing, &mut |_| Ok(()))?;
        self.flush()?;
        Ok(())
    }

    /// Hands what one read brings to `heard`, with the time of that read. Brings nothing where nothing came.
    pub(crate) fn read(&mut self, heard: &mut impl FnMut(u64, Heard<'_>) -> io::Result<()>) -> io::Result<()> {
        let Self { stream, tls, dialect, buffer, upgrading, frames, kept, plain, outgoing, .. } = self;
        let mut buffer = buffer.borrow_mut();
        let buffer = buffer.as_mut_slice();
        let Some((front, room)) = buffer.split_at_mut_checked(kept.len()) else {
            return Err(io::Error::other("a TLS record that has no end"));
        };
        let came = match stream.try_read(room) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(came) => came,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let now_ns = now_ns();
        front.copy_from_slice(kept);
        let filled = kept.len() + came;
        let filled = buffer.get_mut(..filled).unwrap_or_default();
        let taken = tls.take(filled, outgoing, &mut |bytes| {
            let bytes = match upgrading {
                None => bytes,
                Some((answer, subprotocol)) => match answer.take(bytes, *subprotocol)? {
                    None => return Ok(()),
                    Some(behind) => {
                        *upgrading = None;
                        behind
                    }
                },
            };
            frames.take(bytes, dialect, plain, &mut |what| heard(now_ns, what))
        })?;
        kept.clear();
        kept.extend_from_slice(filled.get(taken.bytes..).unwrap_or_default());
        if taken.has_ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}
