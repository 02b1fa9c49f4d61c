//! How much: the quotas as they are configured now, and who has used what of them.
//!
//! A connection counts in three places: for itself, for the identity that its client proved, and for the address that it
//! came from. What it has used for itself stays on its shard. The other two are shared by all shards, so each is behind a
//! lock of its own, which publications and requests take only where such a quota is set.
//!
//! ```text
//!   accept ──▶ address: connections, handshakes        (Entered, until the socket or the handshake ends)
//!   connect ─▶ address: failed logins ─▶ identity: connections
//!   requests ▶ connection, identity, address: publications, bytes, requests, subscriptions   (session/accounts.rs)
//! ```

mod handshakes;
mod ledger;

use std::{collections::HashMap, sync::Arc};

use carillon_access::{
    Identity,
    quota::{Mode, Most, Pace, Quota, Quotas, Rate},
};
use carillon_metrics::QuotaName;

pub(crate) use self::{
    handshakes::{Handshake, Handshakes},
    ledger::{Account, Counted, Entered, Ledger},
};

/// All quotas, by whom they bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes {
    /// The broker as a whole.
    pub broker: BrokerQuotas,
    /// Each connection.
    pub connection: Arc<Quotas>,
    /// Each identity none of whose roles says more. Those without credentials are told apart by their address.
    pub identity: Arc<Quotas>,
    /// Each address: an IPv4 address, or the /64 of an IPv6 address.
    pub address: Arc<Quotas>,
    /// Identities that have a role, by the role's name, in place of `identity`.
    pub roles: HashMap<String, Arc<Quotas>>,
}

/// What bounds the broker as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerQuotas {
    /// Connections, handshakes included. One more is closed before its handshake.
    pub connections: Option<Most>,
    /// Connections on their way to being a WebSocket. One more waits until one is through, or gives way.
    pub handshakes: Option<Most>,
    /// Bytes of messages that wait for their readers, each counted once, of replies, and of messages that have not come
    /// in whole. Beyond, the connections with more than a fair share give: see `shard/memory.rs`.
    pub queued_bytes: Option<Most>,
}

impl Scopes {
    /// What bounds an identity: of each quota the most generous that one of its roles has.
    pub(crate) fn of_identity(&self, identity: &Identity) -> Arc<Quotas> {
        let mut roles = identity.roles.iter().map(|role| self.roles.get(role).unwrap_or(&self.identity));
        let Some(first) = roles.next() else { return Arc::clone(&self.identity) };
        roles.fold(
            Arc::clone(first),
            |most, role| {
                if Arc::ptr_eq(&most, role) { most } else { Arc::new(most.or_more(role)) }
            },
        )
    }
}

impl Default for Scopes {
    /// The documented defaults.
    fn default() -> Self {
        Self {
            broker: BrokerQuotas { connections: most(100_000), handshakes: most(4_000), queued_bytes: most(1 << 30) },
            connection: Arc::new(Quotas {
                publications: pace(100_000, 100_000),
                bytes: pace(128 << 20, 128 << 20),
                requests: pace(1_000, 20_000),
                failed_logins: pace(1, 5),
                ..Quotas::default()
            }),
            identity: Arc::new(Quotas { connections: most(20_000), subscriptions: most(100_000), ..Quotas::default() }),
            address: Arc::new(Quotas {
                connections: most(20_000),
                handshakes: most(1_000),
                subscriptions: most(500_000),
                failed_logins: pace(10, 100),
                ..Quotas::default()
            }),
            roles: HashMap::new(),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "no quota is None, and these are the defaults that are one")]
const fn most(most: u64) -> Option<Most> {
    Some(Most { most, mode: Mode::Enforce })
}

const fn pace(per_second: u64, burst: u64) -> Option<Pace> {
    match Rate::new(per_second, burst) {
        Ok(rate) => Some(Pace { rate, mode: Mode::Enforce }),
        Err(_) => None,
    }
}

/// Who is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Connection,
    Identity,
    Address,
}

impl Scope {
    /// As it stands in error messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Identity => "identity",
            Self::Address => "address",
        }
    }

    /// What a quota of this scope is called in the configuration and the metrics.
    pub(crate) const fn quota_name(self, quota: Quota) -> QuotaName {
        match (self, quota) {
            // One connection has no number of connections or handshakes.
            (Self::Connection, Quota::Connections | Quota::Handshakes | Quota::Subscriptions) => {
                QuotaName::ConnectionSubscriptions
            }
            (Self::Connection, Quota::PayloadBytes) => QuotaName::ConnectionPayloadBytes,
            (Self::Connection, Quota::Publications) => QuotaName::ConnectionPublications,
            (Self::Connection, Quota::Bytes) => QuotaName::ConnectionBytes,
            (Self::Connection, Quota::Requests) => QuotaName::ConnectionRequests,
            (Self::Connection, Quota::FailedLogins) => QuotaName::ConnectionFailedLogins,
            // A handshake has no identity yet.
            (Self::Identity, Quota::Connections | Quota::Handshakes) => QuotaName::IdentityConnections,
            (Self::Identity, Quota::Subscriptions) => QuotaName::IdentitySubscriptions,
            (Self::Identity, Quota::PayloadBytes) => QuotaName::IdentityPayloadBytes,
            (Self::Identity, Quota::Publications) => QuotaName::IdentityPublications,
            (Self::Identity, Quota::Bytes) => QuotaName::IdentityBytes,
            (Self::Identity, Quota::Requests) => QuotaName::IdentityRequests,
            (Self::Identity, Quota::FailedLogins) => QuotaName::IdentityFailedLogins,
            (Self::Address, Quota::Connections) => QuotaName::AddressConnections,
            (Self::Address, Quota::Handshakes) => QuotaName::AddressHandshakes,
            (Self::Address, Quota::Subscriptions) => QuotaName::AddressSubscriptions,
            (Self::Address, Quota::PayloadBytes) => QuotaName::AddressPayloadBytes,
            (Self::Address, Quota::Publications) => QuotaName::AddressPublications,
            (Self::Address, Quota::Bytes) => QuotaName::AddressBytes,
            (Self::Address, Quota::Requests) => QuotaName::AddressRequests,
            (Self::Address, Quota::FailedLogins) => QuotaName::AddressFailedLogins,
        }
    }
}
