//! The driver's ends of a connection's reading and writing futures.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use carillon_wire::CloseCode;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    connection::{
        read::{Heard, Incoming, ReadError},
        write::Outgoing,
    },
    session::Session,
};

/// How long an end waits for a close frame to leave, or for the broker's.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

pub(super) struct Link {
    pub(super) frames: mpsc::Receiver<Result<Incoming, ReadError>>,
    work: mpsc::Sender<Outgoing>,
    pub(super) done: mpsc::Receiver<Result<Vec<u8>, String>>,
    pub(super) heard: Arc<Heard>,
    /// The last ping's payload, until it is answered; of several only the last needs an answer.
    pub(super) pong: Option<Bytes>,
    /// The buffer for the next batch; none while one is being written.
    idle: Option<Vec<u8>>,
}

impl Link {
    pub(super) fn new(
        frames: mpsc::Receiver<Result<Incoming, ReadError>>,
        work: mpsc::Sender<Outgoing>,
        done: mpsc::Receiver<Result<Vec<u8>, String>>,
        heard: Arc<Heard>,
    ) -> Self {
        Self { frames, work, done, heard, pong: None, idle: Some(Vec::new()) }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle.is_some()
    }

    /// Has the next thing written, when nothing else is being written.
    pub(super) fn give_work(&mut self, session: &mut Session) {
        let Some(mut buffer) = self.idle.take() else { return };
        let outgoing = if let Some(payload) = self.pong.take() {
            Outgoing::Pong(payload)
        } else {
            session.take_batch(&mut buffer);
            if buffer.is_empty() {
                self.idle = Some(buffer);
                return;
            }
            Outgoing::Batch(buffer)
        };
        // There is room for one, and nothing else is under way.
        let sent = self.work.try_send(outgoing);
        debug_assert!(sent.is_ok(), "the writer takes one thing at a time");
    }

    pub(super) fn on_written(&mut self, buffer: Vec<u8>) {
        self.idle = Some(buffer);
    }

    /// Sends the close frame behind what is being written, if that does not take too long.
    pub(super) async fn say_goodbye(&mut self, code: CloseCode, reason: &str) {
        let leave = async {
            if self.idle.take().is_none() {
                self.done.recv().await;
            }
            if self.work.send(Outgoing::Close(code, reason.to_owned())).await.is_ok() {
                self.done.recv().await;
            }
        };
        let _ = timeout_at(Instant::now() + GOODBYE, leave).await;
    }

    /// Waits until the broker has closed its side, if that does not take too long.
    pub(super) async fn await_close(&mut self) {
        let close =
            async { while let Some(Ok(Incoming::Message(_) | Incoming::Ping(_))) = self.frames.recv().await {} };
        let _ = timeout_at(Instant::now() + GOODBYE, close).await;
    }
}
