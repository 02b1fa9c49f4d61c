//! What signals do to a broker that runs.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::start::Broker;

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything was told and flushed, or the deadline for it passed.
    Drained,
    /// A second signal came while clients were still being told.
    Cut,
}

/// The signals that a broker heeds.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Reloads on SIGHUP, drains on the first SIGTERM or SIGINT, and gives up on the second.
    pub(super) async fn serve(mut self, mut broker: Broker) -> Ended {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => broker.reload(),
                () = stop(&mut self.terminate, &mut self.interrupt) => break,
            }
        }
        tracing::info!("draining: clients are told when to come back; a second signal leaves at once");
        let draining = broker.drain();
        tokio::pin!(draining);
        loop {
            tokio::select! {
                () = &mut draining => {
                    tracing::info!("drained");
                    return Ended::Drained;
                }
                () = stop(&mut self.terminate, &mut self.interrupt) => {
                    tracing::warn!("left before clients were told, because of a second signal");
                    return Ended::Cut;
                }
                _ = self.hangup.recv() => tracing::info!("nothing is reloaded while draining"),
            }
        }
    }
}

async fn stop(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
