//! What all connections of a run share.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::ClientConfig;

use crate::{
    Dialect, Run, Target, Tickets,
    outcome::{Common, Negotiated},
    tls::Tls,
};

/// So many different reasons for lost connections are told.
const MAX_REASONS: usize = 5;

/// What all connections of a run share.
#[derive(Debug)]
pub(crate) struct Load<D> {
    pub(crate) dialect: D,
    pub(crate) target: Target,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) threads: usize,
    pub(crate) patience: Duration,
    topic: String,
    opened: AtomicU64,
    ready: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    reasons: Mutex<Vec<String>>,
    negotiated: Mutex<Negotiated>,
}

impl<D: Dialect> Load<D> {
    pub(crate) fn new(run: &Run<'_, D>, tickets: Tickets) -> Arc<Self> {
        Arc::new(Self {
            dialect: run.dialect.clone(),
            target: run.target.clone(),
            tls: run.target.config(tickets),
            threads: run.threads.max(1),
            patience: run.patience,
            // So that runs do not get each other's messages, nor what a stream kept of an earlier one.
            topic: format!("{}.{:08x}", run.topic, rand::random::<u32>()),
            opened: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            reasons: Mutex::default(),
            negotiated: Mutex::default(),
        })
    }

    /// The name of a topic of this run.
    pub(crate) fn topic(&self, number: impl Into<u64>) -> String {
        format!("{}.{}", self.topic, number.into())
    }

    pub(crate) fn count_handshake(&self, tls: &Tls) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let mut negotiated = unpoisoned(&self.negotiated);
        if negotiated.full + negotiated.resumed == 0 {
            let [version, suite, group] = tls.negotiated();
            *negotiated = Negotiated { version, suite, group, ..Negotiated::default() };
        }
        if tls.is_resumed() {
            negotiated.resumed += 1;
        } else {
            negotiated.full += 1;
        }
    }

    /// Forgets the handshakes so far, which were not measured.
    pub(crate) fn forget_handshakes(&self) {
        self.opened.store(0, Ordering::Relaxed);
        self.ready.store(0, Ordering::Relaxed);
        *unpoisoned(&self.negotiated) = Negotiated::default();
    }

    /// Counts a connection that could not be opened, or ended before it should.
    pub(crate) fn count_lost(&self, error: &io::Error) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.keep_reason("the server ended the connection"),
            _ => self.keep_reason(&error.to_string()),
        }
    }

    /// Counts a request that the broker refused.
    pub(crate) fn count_refused(&self, reason: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.keep_reason(reason);
    }

    fn keep_reason(&self, reason: &str) {
        let mut reasons = unpoisoned(&self.reasons);
        if reasons.len() < MAX_REASONS && !reasons.iter().any(|kept| kept == reason) {
            reasons.push(reason.to_owned());
        }
    }

    /// Counts a connection that is ready, and subscribed where it is to be.
    pub(crate) fn count_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that became ready, since the handshakes were forgotten.
    pub(crate) fn ready(&self) -> u64 {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What is known of the connections; the rest is for who measured.
    pub(crate) fn common(&self) -> Common {
        Common {
            dialect: self.dialect.name().to_owned(),
            connections: self.opened(),
            lost_connections: self.lost(),
            refused: self.refused(),
            reasons: unpoisoned(&self.reasons).clone(),
            tls: unpoisoned(&self.negotiated).clone(),
            ..Common::default()
        }
    }
}

/// Nothing that is shared here is left half done by a panic.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
