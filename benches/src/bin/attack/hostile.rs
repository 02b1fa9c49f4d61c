//! What attackers have in common: reading what they are told, saying things slowly, and saying things without end.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use carillon_benches::connection::{binary_frame, split_frame};
use carillon_wire::{BrokerMessage, ClientMessage, Id, decode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
    time::{interval, sleep, sleep_until, timeout_at},
};
use tokio_rustls::client::TlsStream;

use crate::scene::{AFTER_FAILURE, Scene, Tally};

/// How connections end that the broker has ended.
pub(crate) const ENDED: &str = "ended by the broker";
/// How connections end that the broker has not.
pub(crate) const STILL_OPEN: &str = "still open at the end";

/// Says the bytes one by one, with a pause between two, and listens until the broker ends the connection. Returns what
/// it said.
pub(crate) async fn trickle<S>(mut stream: S, bytes: &[u8], pause: Duration, scene: &Scene) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let started = Instant::now();
    let mut said = Vec::new();
    let mut ticks = interval(pause);
    let mut bytes = bytes.iter();
    loop {
        tokio::select! {
            read = stream.read_buf(&mut said) => if matches!(read, Ok(0) | Err(_)) {
                let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                scene.tally.count(ENDED);
                scene.tally.largest("ms until the last was ended", ms);
                return said;
            },
            _ = ticks.tick() => if let Some(byte) = bytes.next() {
                // Where that fails, reading tells the end.
                let _ = stream.write_all(&[*byte]).await;
                let _ = stream.flush().await;
            },
            () = sleep_until(scene.gives_up().into()) => {
                scene.tally.count(STILL_OPEN);
                return said;
            }
        }
    }
}

/// Counts the HTTP status of an answer.
pub(crate) fn count_status(answer: &[u8], tally: &Tally) {
    let text = String::from_utf8_lossy(answer);
    match text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)) {
        Some(status) => tally.count(format!("status {status}")),
        None if answer.is_empty() => tally.count("no answer"),
        None => tally.count("an answer that is not HTTP"),
    }
}

/// Takes all WebSocket frames that are whole out of what was read, and counts what they say. Returns the last heartbeat
/// that asks for an answer.
pub(crate) fn digest(read: &mut Vec<u8>, tally: &Tally) -> Option<Id> {
    let mut heartbeat = None;
    let mut rest = read.as_slice();
    while let Some((opcode, payload, behind)) = split_frame(rest) {
        match opcode {
            0x2 => decode::broker_messages(payload).for_each(|message| match message {
                Ok(BrokerMessage::Heartbeat(number)) => heartbeat = Some(number),
                Ok(message) => tally.count(describe(&message)),
                Err(error) => tally.count(format!("nonsense: {error}")),
            }),
            0x8 => {
                let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
                tally.count(format!("close {code}"));
            }
            0xa => tally.count("pongs"),
            other => tally.count(format!("frames with opcode {other}")),
        }
        rest = behind;
    }
    let done = read.len() - rest.len();
    read.drain(..done);
    heartbeat
}

fn describe(message: &BrokerMessage<'_>) -> String {
    match message {
        BrokerMessage::Welcome(_) | BrokerMessage::Ok(_) => "replies".to_owned(),
        BrokerMessage::Delivery(_) => "deliveries".to_owned(),
        BrokerMessage::Gap(_) => "gaps".to_owned(),
        BrokerMessage::Error(error) => format!("error {} {}", error.code.number(), error.code),
        BrokerMessage::Closing(closing) if closing.retry_after_ms.is_some() => {
            format!("closing {} with a delay", closing.code)
        }
        BrokerMessage::Closing(closing) => format!("closing {}", closing.code),
        BrokerMessage::Ended(ended) => format!("subscriptions ended: {}", ended.code),
        _ => "other messages".to_owned(),
    }
}

type Stream = TlsStream<TcpStream>;

/// One attacker who is in.
pub(crate) struct Intruder {
    write: WriteHalf<Stream>,
    read: Option<ReadHalf<Stream>>,
    /// Answers to heartbeats that wait for the writer.
    answers: Rc<RefCell<Vec<u8>>>,
    scene: Scene,
    until: Instant,
    is_out: bool,
}

impl Intruder {
    /// Comes in with credentials that are good. Whoever is not let in tries again, as long as the attack lasts.
    pub(crate) async fn enter(scene: &Scene, number: usize) -> io::Result<Self> {
        let token = Some(scene.credentials.attacker.as_str());
        loop {
            match scene.target.connect_as(scene.address(number), token).await {
                Ok(connection) => return Ok(Self::new(connection.into_stream(), scene)),
                Err(error) if !scene.is_on() => return Err(error),
                Err(_) => sleep(AFTER_FAILURE).await,
            }
        }
    }

    /// Goes on with a stream that is a WebSocket.
    pub(crate) fn new(stream: Stream, scene: &Scene) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self {
            write,
            read: Some(read),
            answers: Rc::default(),
            scene: scene.clone(),
            until: Instant::now() + scene.lasts,
            is_out: false,
        }
    }

    /// Reads all that comes from now on, and answers heartbeats. Without this or the next, nothing is read.
    pub(crate) fn listen(&mut self) {
        let answers = Rc::clone(&self.answers);
        self.listen_in_background(move |number| {
            answers.borrow_mut().extend(binary_frame(&ClientMessage::HeartbeatReply(number)));
        });
    }

    /// Reads all that comes from now on, and answers no heartbeat: inside a message one cannot.
    pub(crate) fn listen_only(&mut self) {
        self.listen_in_background(|_| {});
    }

    fn listen_in_background(&mut self, answer: impl Fn(Id) + 'static) {
        let Some(mut stream) = self.read.take() else { return };
        let tally = self.scene.tally.clone();
        tokio::task::spawn_local(async move {
            let mut read = Vec::with_capacity(64 << 10);
            loop {
                match stream.read_buf(&mut read).await {
                    Ok(0) | Err(_) => return tally.count(ENDED),
                    Ok(_) => {
                        if let Some(number) = digest(&mut read, &tally) {
                            answer(number);
                        }
                    }
                }
            }
        });
    }

    /// Says this once. Gives up at the end of the attack, or where the broker has ended the connection.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        if self.is_out {
            return;
        }
        let answers = std::mem::take(&mut *self.answers.borrow_mut());
        let writing = async {
            self.write.write_all(&answers).await?;
            self.write.write_all(bytes).await?;
            self.write.flush().await
        };
        match timeout_at(self.until.into(), writing).await {
            Ok(Ok(())) => self.scene.tally.add("KiB said", bytes.len() as u64 >> 10),
            Ok(Err(_)) => self.is_out = true,
            // Half of it may have been said: nothing may follow.
            Err(_) => {
                self.scene.tally.count("blocked at the end");
                self.is_out = true;
            }
        }
        // The readers get their turn too, whatever the socket takes.
        tokio::task::yield_now().await;
    }

    /// Whether more can be said.
    pub(crate) fn is_in(&self) -> bool {
        !self.is_out && Instant::now() < self.until
    }

    /// Says the same again and again.
    pub(crate) async fn flood(&mut self, bytes: &[u8]) {
        while self.is_in() {
            self.say(bytes).await;
        }
    }

    /// Does nothing but answer heartbeats, until the attack ends.
    pub(crate) async fn stay(&mut self) {
        while self.is_in() {
            self.say(&[]).await;
            sleep_until((Instant::now() + Duration::from_millis(50)).min(self.until).into()).await;
        }
    }
}
