//! Who has used what, over all shards: an account for each identity and each address, in bounded memory.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use carillon_access::{
    Identity, IdentityKey, Source,
    quota::{Answer, Idle, Network, Quotas, Reported, Table, Usage},
};
use carillon_metrics::{BrokerMetrics, QuotaHolder, QuotaName};

use super::{Handshakes, Scope, Scopes};

/// The accounts of all identities and addresses.
#[derive(Debug)]
pub(crate) struct Ledger {
    identities: Mutex<Table<Holder, Account>>,
    addresses: Mutex<Table<Network, Account>>,
    pub(crate) handshakes: Handshakes,
    metrics: Arc<BrokerMetrics>,
}

/// Whose account it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Identity(IdentityKey),
    /// All of those without credentials are one identity, and may still be many people.
    AnonymousAt(Network),
}

/// What one identity or address has used. It is remembered as long as somebody holds it or it is not idle.
#[derive(Debug, Clone)]
pub(crate) struct Account(Arc<Mutex<Used>>);

#[derive(Debug)]
struct Used {
    usage: Usage,
    /// What bounded it last, to know when it may be forgotten.
    quotas: Arc<Quotas>,
    /// The configuration that this was of, to know when that changes.
    scopes: Weak<Scopes>,
}

impl Ledger {
    /// `max_entries`: of identities, and of addresses. Those who find no room share one account.
    pub(crate) fn new(max_entries: u32, quotas: &Arc<Quotas>, metrics: Arc<BrokerMetrics>) -> Self {
        let shared = || Account::new(quotas, 0);
        Self {
            identities: Mutex::new(Table::new(max_entries, shared())),
            addresses: Mutex::new(Table::new(max_entries, shared())),
            handshakes: Handshakes::default(),
            metrics,
        }
    }

    /// The account of an identity, which came from an address.
    pub(crate) fn identity(&self, who: &Identity, from: IpAddr, quotas: &Arc<Quotas>, now_ns: u64) -> Account {
        let holder = match who.source {
            Source::Anonymous => Holder::AnonymousAt(Network::of(from)),
            _ => Holder::Identity(who.key()),
        };
        self.account(&self.identities, QuotaHolder::Identity, &holder, quotas, now_ns)
    }

    /// The account of an address.
    pub(crate) fn address(&self, address: IpAddr, quotas: &Arc<Quotas>, now_ns: u64) -> Account {
        self.account(&self.addresses, QuotaHolder::Address, &Network::of(address), quotas, now_ns)
    }

    fn account<K: Clone + Eq + std::hash::Hash>(
        &self,
        table: &Mutex<Table<K, Account>>,
        holder: QuotaHolder,
        key: &K,
        quotas: &Arc<Quotas>,
        now_ns: u64,
    ) -> Account {
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        let (place, account) = table.entry(key, &(), now_ns, |now_ns| Account::new(quotas, now_ns));
        let account = account.clone();
        self.metrics.quota_entries.of(holder).set(i64::try_from(table.len()).unwrap_or(i64::MAX));
        drop(table);
        if place.is_shared() {
            self.metrics.quota_entries_shared.of(holder).inc();
        }
        account
    }

    /// Counts what went over a quota that is enforced.
    pub(crate) fn note_enforced(&self, quota: QuotaName) {
        self.metrics.quotas_enforced.of(quota).inc();
    }

    /// Counts what went over a quota that is only reported.
    pub(crate) fn note_reported(&self, quota: QuotaName) {
        self.metrics.quotas_reported.of(quota).inc();
    }

    /// The same, for all quotas that one question went over.
    pub(crate) fn note_all_reported(&self, scope: Scope, reported: Reported) {
        for quota in reported.iter() {
            self.note_reported(scope.quota_name(quota));
        }
    }
}

impl Account {
    fn new(quotas: &Arc<Quotas>, now_ns: u64) -> Self {
        let (usage, quotas) = (Usage::new(now_ns), Arc::clone(quotas));
        Self(Arc::new(Mutex::new(Used { usage, quotas, scopes: Weak::new() })))
    }

    /// Says what bounds it from now on. Only where the configuration has changed, what is missing is fitted to that:
    /// whoever has credentials with other roles can change what bounds an identity as often as he likes.
    pub(crate) fn bound_by(&self, scopes: &Arc<Scopes>, quotas: &Arc<Quotas>) {
        let mut used = self.used();
        if !std::ptr::eq(used.scopes.as_ptr(), Arc::as_ptr(scopes)) {
            used.usage.fit(quotas);
            used.scopes = Arc::downgrade(scopes);
        }
        used.quotas = Arc::clone(quotas);
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        // What is done under the lock does not panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks or tells it something. Nothing waits while the lock is held.
    pub(crate) fn with<R>(&self, ask: impl FnOnce(&mut Usage) -> R) -> R {
        ask(&mut self.used().usage)
    }
}

impl Idle for Account {
    type Limits = ();

    fn is_idle(&self, (): &(), now_ns: u64) -> bool {
        // Others than the table hold it: they will count in it. Nobody can begin to hold it but through the table.
        if Arc::strong_count(&self.0) > 1 {
            return false;
        }
        let used = self.used();
        used.usage.is_idle(&used.quotas, now_ns)
    }
}

/// A connection that counts at its address, and its handshake.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) connection: Entered,
    /// Until the handshake is over.
    _handshake: Entered,
}

impl Counted {
    /// Counts a connection and its handshake for an address, if the quotas let it.
    pub(crate) fn enter(ledger: &Ledger, scopes: &Arc<Scopes>, address: IpAddr, now_ns: u64) -> Option<Self> {
        let account = ledger.address(address, &scopes.address, now_ns);
        account.bound_by(scopes, &scopes.address);
        let connection = Entered::connection(ledger, Scope::Address, account.clone(), &scopes.address)?;
        let handshake = Entered::handshake(ledger, account, &scopes.address)?;
        Some(Self { connection, _handshake: handshake })
    }
}

/// A connection, or a handshake, that counts in an account until it is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    account: Account,
    leave: fn(&mut Usage),
}

impl Entered {
    /// Counts a connection in, if the quota lets it; tells whether it does.
    pub(crate) fn connection(ledger: &Ledger, scope: Scope, account: Account, quotas: &Quotas) -> Option<Self> {
        let answer = account.with(|usage| usage.enter_connection(quotas));
        Self::from(ledger, scope, answer, account, Usage::leave_connection)
    }

    /// Counts a handshake in, if the quota lets it.
    pub(crate) fn handshake(ledger: &Ledger, account: Account, quotas: &Quotas) -> Option<Self> {
        let answer = account.with(|usage| usage.enter_handshake(quotas));
        Self::from(ledger, Scope::Address, answer, account, Usage::leave_handshake)
    }

    fn from(ledger: &Ledger, scope: Scope, answer: Answer, account: Account, leave: fn(&mut Usage)) -> Option<Self> {
        match answer {
            Ok(reported) => {
                ledger.note_all_reported(scope, reported);
                Some(Self { account, leave })
            }
            Err(over) => {
                ledger.note_enforced(scope.quota_name(over.quota));
                None
            }
        }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.account.with(self.leave);
    }
}
