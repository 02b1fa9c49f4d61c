//! How many connections are on their way to being a WebSocket, over all shards.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// Counts handshakes, and lets the acceptor wait for one to end.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    under_way: AtomicU64,
    ended: Notify,
    is_somebody_waiting: AtomicBool,
}

/// Somebody waits for a handshake to end, until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a AtomicBool);

/// One handshake, until it is dropped.
#[derive(Debug)]
pub(crate) struct Handshake(Arc<Shared>);

impl Handshakes {
    pub(crate) fn under_way(&self) -> u64 {
        self.0.under_way.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) -> Handshake {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        Handshake(Arc::clone(&self.0))
    }

    /// Says that somebody waits, so that those who take their time give way.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.0.is_somebody_waiting.store(true, Ordering::Relaxed);
        Waiting(&self.0.is_somebody_waiting)
    }

    /// Whether somebody waits for a handshake to end.
    pub(crate) fn is_somebody_waiting(&self) -> bool {
        self.0.is_somebody_waiting.load(Ordering::Relaxed)
    }

    /// Returns when one has ended since the last call. For one caller; cancel-safe.
    pub(crate) async fn one_ended(&self) {
        self.0.ended.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.notify_one();
    }
}
