//! The client's task: it owns the session and whatever connection there is, and joins the two.
//!
//! Reading and writing run beside it, each in a future that lives as long as the connection, so that neither is ever dropped half
//! way through a frame, and that each goes on while the other waits.

mod link;
#[cfg(test)]
mod tests;
mod token;

use std::{pin::pin, sync::Arc};

use carillon_wire::CloseCode;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};

use self::{link::Link, token::TokenCall};
use crate::{
    backoff::Backoff,
    builder::Settings,
    client::Shared,
    command::Command,
    connection::{
        Connection,
        dial::Dial,
        establish,
        read::{Incoming, ReadError, read_loop},
        write::write_loop,
    },
    error::{ConnectError, ConnectionLost},
    event::Reconnected,
    observer::Notice,
    session::Session,
};

/// So many commands are taken at once.
const COMMANDS: usize = 256;
/// A connection that was silent for so many heartbeats is dead.
const HEARTBEATS_MISSED: u32 = 2;

type CloseReply = oneshot::Sender<Result<(), ConnectionLost>>;

/// What the application asked for last.
#[derive(Debug)]
struct Closing {
    replies: Vec<CloseReply>,
    deadline: Instant,
}

/// See the module's page.
pub(crate) struct Driver<D> {
    dialer: D,
    settings: Settings,
    commands: mpsc::UnboundedReceiver<Command>,
    shared: Arc<Shared>,
    session: Session,
    backoff: Backoff,
    closing: Option<Closing>,
}

impl<D: Dial> Driver<D> {
    pub(crate) fn new(
        dialer: D,
        settings: Settings,
        commands: mpsc::UnboundedReceiver<Command>,
        shared: Arc<Shared>,
    ) -> Self {
        let (observer, provider) = (Arc::clone(&shared.observer), settings.token_provider().cloned());
        let session = Session::new(observer, provider, settings.receive_queue_bytes);
        let backoff = Backoff::new(settings.reconnect);
        Self { dialer, settings, commands, shared, session, backoff, closing: None }
    }

    /// Runs the client, from its first connection to its end.
    pub(crate) async fn run(mut self, first: Connection<D::Io>) {
        let (mut connection, mut reconnected) = (first, None);
        let cause = loop {
            let made = Instant::now();
            let cause = self.serve(connection, reconnected).await;
            self.backoff.on_connection_ended(made.elapsed());
            match self.reconnect(cause).await {
                Ok((again, how)) => (connection, reconnected) = (again, Some(how)),
                Err(cause) => break cause,
            }
        };
        self.finish(&cause);
    }

    /// Works on one connection until it is lost.
    async fn serve(&mut self, connection: Connection<D::Io>, reconnected: Option<Reconnected>) -> ConnectionLost {
        let Connection { reader, writer, heard, first } = connection;
        let (into_frames, frames) = mpsc::channel(1);
        let (work, from_work) = mpsc::channel(1);
        let (into_done, done) = mpsc::channel(1);
        let link = Link::new(frames, work, done, heard);
        let reading = pin!(read_loop(reader, into_frames));
        let writing = pin!(write_loop(writer, from_work, into_done));
        self.session.on_connected(reconnected.as_ref());
        let conversing = pin!(async {
            if let Err(cause) = self.session.on_frame(&first) {
                return cause;
            }
            self.shared.welcomed(self.session.limits().max_payload_bytes);
            self.converse(link).await
        });
        tokio::select! {
            cause = conversing => cause,
            never = reading => match never {},
            never = writing => match never {},
        }
    }

    async fn converse(&mut self, mut link: Link) -> ConnectionLost {
        let mut commands = Vec::new();
        let mut was_backlogged = false;
        let mut token_call = TokenCall::default();
        loop {
            if let Some(provider) = self.session.wants_token() {
                token_call.start(&provider, self.settings.connect_timeout);
            }
            link.give_work(&mut self.session);
            if self.closing.is_some() && self.session.is_idle() && link.is_idle() {
                link.say_goodbye(CloseCode::Normal, "").await;
                link.await_close().await;
                return ConnectionLost::ClosedByApplication;
            }
            let is_backlogged = self.session.is_backlogged();
            if was_backlogged && !is_backlogged {
                // Silence while nobody listened means nothing.
                link.heard.now();
            }
            was_backlogged = is_backlogged;
            let silence = self.session.limits().heartbeat * HEARTBEATS_MISSED;
            let close_by = self.closing.as_ref().map(|closing| closing.deadline);
            let next_deadline = self.session.next_deadline();
            tokio::select! {
                Some(incoming) = link.frames.recv(), if !is_backlogged => {
                    if let Err(cause) = self.on_incoming(incoming, &mut link).await {
                        return cause;
                    }
                }
                () = self.shared.drained.notified(), if is_backlogged => {}
                taken = self.commands.recv_many(&mut commands, COMMANDS), if self.closing.is_none() => {
                    if taken == 0 {
                        self.begin_close(None);
                    }
                    for command in commands.drain(..) {
                        self.on_command(command);
                    }
                }
                outcome = token_call.finished(), if self.closing.is_none() => self.session.on_token(outcome),
                Some(written) = link.done.recv() => match written {
                    Ok(buffer) => {
                        link.on_written(buffer);
                        self.session.on_batch_written();
                    }
                    Err(reason) => return self.last_words(&mut link, reason).await,
                },
                () = sleep_until(link.heard.last() + silence), if !is_backlogged && !silence.is_zero() => {
                    if link.heard.last().elapsed() >= silence {
                        let cause = self.session.lost(ConnectionLost::Silent { silence });
                        link.say_goodbye(CloseCode::HeartbeatTimeout, "nothing was heard from the broker").await;
                        return cause;
                    }
                }
                () = at(next_deadline) => self.session.on_time(Instant::now()),
                () = at(close_by) => {
                    let reason = format!("not all was sent and answered within {:?}", self.settings.close_timeout);
                    return ConnectionLost::Broken { reason };
                }
            }
        }
    }

    async fn on_incoming(
        &mut self,
        incoming: Result<Incoming, ReadError>,
        link: &mut Link,
    ) -> Result<(), ConnectionLost> {
        match incoming {
            Ok(Incoming::Message(frame)) => {
                if let Err(cause) = self.session.on_frame(&frame) {
                    link.say_goodbye(CloseCode::BadMessage, &cause.to_string()).await;
                    return Err(cause);
                }
                Ok(())
            }
            Ok(Incoming::Ping(payload)) => {
                link.pong = Some(payload);
                Ok(())
            }
            Ok(Incoming::Close(code, reason)) => {
                // Some codes stand for what a frame did not say, and may not be sent back.
                let may_be_sent = fastwebsockets::CloseCode::from(code.number()).is_allowed();
                link.say_goodbye(if may_be_sent { code } else { CloseCode::Normal }, "").await;
                Err(self.session.closed_with(code, reason))
            }
            Err(ReadError::Stream(reason)) => Err(self.session.lost(ConnectionLost::Broken { reason })),
            Err(ReadError::Protocol(code, reason)) => {
                link.say_goodbye(code, &reason).await;
                Err(ConnectionLost::Protocol { code, reason })
            }
        }
    }

    /// Writing failed, most often because the broker closed the connection. It may have said why, and that still waits to be read.
    async fn last_words(&mut self, link: &mut Link, reason: String) -> ConnectionLost {
        let deadline = Instant::now() + link::GOODBYE;
        while let Ok(Some(incoming)) = tokio::time::timeout_at(deadline, link.frames.recv()).await {
            match incoming {
                Ok(Incoming::Message(frame)) => {
                    if let Err(cause) = self.session.on_frame(&frame) {
                        return cause;
                    }
                }
                Ok(Incoming::Ping(_)) => {}
                Ok(Incoming::Close(code, reason)) => return self.session.closed_with(code, reason),
                Err(_) => break,
            }
        }
        self.session.lost(ConnectionLost::Broken { reason })
    }

    fn on_command(&mut self, command: Command) {
        if let Some(reply) = self.session.on_command(command) {
            self.begin_close(Some(reply));
        }
    }

    fn begin_close(&mut self, reply: Option<CloseReply>) {
        let deadline = Instant::now() + self.settings.close_timeout;
        let closing = self.closing.get_or_insert(Closing { replies: Vec::new(), deadline });
        closing.replies.extend(reply);
        self.session.begin_close();
    }

    /// Connects again, as often as it takes and is allowed. Gives the cause of the client's end otherwise.
    async fn reconnect(&mut self, cause: ConnectionLost) -> Result<(Connection<D::Io>, Reconnected), ConnectionLost> {
        self.session.on_disconnected(&cause);
        let lost = Instant::now();
        let (advice, retry_after) = cause.advice(self.settings.token_provider().is_some());
        let mut retry_in = match self.closing {
            Some(_) => None,
            None => self.backoff.next_delay(advice, retry_after, &mut rand::rng()),
        };
        self.shared.observer.tell(&Notice::Disconnected { cause: cause.clone(), retry_in });
        let mut attempts = 0;
        let mut failure = None;
        while let Some(wait) = retry_in {
            attempts += 1;
            match self.attempt(wait).await {
                Some(Ok(connection)) => {
                    let downtime = lost.elapsed();
                    self.shared.observer.tell(&Notice::Reconnected { attempts, downtime });
                    return Ok((connection, Reconnected { cause, downtime }));
                }
                Some(Err(error)) => {
                    let error = Arc::new(error);
                    let (advice, retry_after) = error.advice();
                    retry_in = self.backoff.next_delay(advice, retry_after, &mut rand::rng());
                    self.shared.observer.tell(&Notice::ReconnectFailed { error: Arc::clone(&error), retry_in });
                    failure = Some(error);
                }
                None => return Err(cause),
            }
        }
        Err(failure.map_or(cause, ConnectionLost::ReconnectFailed))
    }

    /// One attempt to connect, after a wait. Meanwhile commands are taken; `None` when the application closes the client.
    async fn attempt(&mut self, wait: std::time::Duration) -> Option<Result<Connection<D::Io>, ConnectError>> {
        let (dialer, settings) = (&self.dialer, &self.settings);
        // Boxed, because it is large and over soon.
        let mut attempt = Box::pin(async {
            sleep(wait).await;
            establish(dialer, settings).await
        });
        loop {
            let next_deadline = self.session.next_deadline();
            let command = tokio::select! {
                outcome = &mut attempt => return Some(outcome),
                command = self.commands.recv() => command,
                () = at(next_deadline) => {
                    self.session.on_time(Instant::now());
                    continue;
                }
            };
            let close = match command {
                Some(command) => self.session.on_command(command).map(Some),
                None => Some(None),
            };
            if let Some(reply) = close {
                let replies = reply.into_iter().collect();
                self.closing = Some(Closing { replies, deadline: Instant::now() });
                self.session.begin_close();
                return None;
            }
        }
    }

    /// Tells everyone who still waits that nothing more will come.
    fn finish(mut self, cause: &ConnectionLost) {
        let (mut replies, ended) = match self.closing.take() {
            Some(closing) => (closing.replies, ConnectionLost::ClosedByApplication),
            None => (Vec::new(), cause.clone()),
        };
        self.shared.end(ended.clone());
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            replies.extend(self.session.on_command(command));
        }
        self.session.end(&ended);
        for reply in replies {
            let outcome =
                if matches!(cause, ConnectionLost::ClosedByApplication) { Ok(()) } else { Err(cause.clone()) };
            let _ = reply.send(outcome);
        }
    }
}

/// At that time, or never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
