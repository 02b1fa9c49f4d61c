//! Keeps TLS tickets, so that as many connections can resume as tickets came.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    NamedGroup,
    client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
};

/// More are not kept; far more than connections that one process can open.
const MAX_TICKETS: usize = 1 << 17;

/// All tickets of one server. rustls' own store keeps 8 for each server, so a storm could not resume.
///
/// TLS 1.3: first in, first out, each used once. TLS 1.2: the newest, used by all.
#[derive(Debug, Default)]
pub(crate) struct TicketStore {
    kept: Mutex<Kept>,
    /// They are gathered, and not used yet.
    is_gathering: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl TicketStore {
    /// Only gathers tickets, or uses them too. Where a server gives one ticket for each handshake, those that gather would
    /// otherwise use up what they gather.
    pub(crate) fn gather_only(&self, is_gathering: bool) {
        self.is_gathering.store(is_gathering, Ordering::Relaxed);
    }

    fn is_gathering(&self) -> bool {
        self.is_gathering.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        self.kept().tls13.len()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here is left half done by a panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for TicketStore {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.kept().group = Some(group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept().group
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept().tls12 = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept().tls12.clone().filter(|_| !self.is_gathering())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.kept().tls12 = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut kept = self.kept();
        if kept.tls13.len() < MAX_TICKETS {
            kept.tls13.push_back(value);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.is_gathering() { None } else { self.kept().tls13.pop_front() }
    }
}
