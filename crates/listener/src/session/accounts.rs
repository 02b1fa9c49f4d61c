//! Where a connection counts what it does: for itself, for its identity, and for its address.

use std::{net::IpAddr, sync::Arc, time::Duration};

use carillon_access::{
    Identity,
    quota::{Answer, Excess, OverQuota, Quota, Quotas, Usage},
};
use carillon_wire::ErrorCode;
use rand::Rng;

use crate::{
    clock::Moment,
    quota::{Account, Entered, Ledger, Scope, Scopes},
};

/// When to come back where nobody knows when there is room again; each client gets its own time out of the range, lest
/// all come back at the same moment.
const RETRY_AFTER: std::ops::Range<Duration> = Duration::from_secs(5)..Duration::from_secs(10);

/// The accounts of a connection whose client was let in.
#[derive(Debug)]
pub(crate) struct Accounts {
    ledger: Arc<Ledger>,
    own: Usage,
    identity: Entered,
    address: Account,
    quotas: Bounds,
}

/// The quotas that hold for one connection.
#[derive(Debug)]
struct Bounds {
    connection: Arc<Quotas>,
    identity: Arc<Quotas>,
    address: Arc<Quotas>,
}

impl Bounds {
    fn new(scopes: &Scopes, identity: &Identity) -> Self {
        Self {
            connection: Arc::clone(&scopes.connection),
            identity: scopes.of_identity(identity),
            address: Arc::clone(&scopes.address),
        }
    }
}

/// A request that is over a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) scope: Scope,
    pub(crate) quota: Quota,
    excess: Excess,
}

impl Accounts {
    /// Counts a connection `from` an address, where it counts already, for its identity, if that one's quota lets it.
    pub(crate) fn open(
        ledger: &Arc<Ledger>,
        scopes: &Arc<Scopes>,
        identity: &Identity,
        from: IpAddr,
        address: Account,
        moment: Moment,
    ) -> Result<Self, Over> {
        let quotas = Bounds::new(scopes, identity);
        let account = ledger.identity(identity, from, &quotas.identity, moment.nanos);
        account.bound_by(scopes, &quotas.identity);
        let entered = Entered::connection(ledger, Scope::Identity, account, &quotas.identity);
        let identity = entered.ok_or(Over::too_many_connections(Scope::Identity))?;
        Ok(Self { ledger: Arc::clone(ledger), own: Usage::new(moment.nanos), identity, address, quotas })
    }

    /// The configuration was read again, or the identity has got other roles.
    pub(crate) fn set_quotas(&mut self, scopes: &Arc<Scopes>, identity: &Identity) {
        self.quotas = Bounds::new(scopes, identity);
        self.own.fit(&self.quotas.connection);
        self.identity.account().bound_by(scopes, &self.quotas.identity);
        self.address.bound_by(scopes, &self.quotas.address);
    }

    /// The largest publication that is taken, in bytes, where a quota says so.
    pub(crate) fn max_payload_bytes(&self) -> Option<u64> {
        let Bounds { connection, identity, address } = &self.quotas;
        let scopes = [connection, identity, address].into_iter();
        let bounds = scopes.flat_map(|quotas| {
            let size = quotas.payload_bytes.filter(|most| most.mode.is_enforced()).map(|most| most.most);
            // More than a burst never fits.
            let burst = quotas.bytes.filter(|pace| pace.mode.is_enforced()).map(|pace| pace.rate.burst());
            [size, burst]
        });
        bounds.flatten().min()
    }

    /// The most subscriptions that the connection may have, where a quota says so.
    pub(crate) fn max_subscriptions(&self) -> Option<u64> {
        self.quotas.connection.subscriptions.filter(|most| most.mode.is_enforced()).map(|most| most.most)
    }

    /// A publication of so many bytes.
    pub(crate) fn publish(&mut self, bytes: u64, moment: Moment) -> Result<(), Over> {
        let now_ns = moment.nanos;
        let Self { ledger, own, quotas, .. } = self;
        if quotas.connection.bound_publications() {
            note(ledger, Scope::Connection, own.publish(&quotas.connection, bytes, now_ns))?;
        }
        let identity = self.identity.account();
        if quotas.identity.bound_publications() {
            let answer = identity.with(|usage| usage.publish(&quotas.identity, bytes, now_ns));
            note(ledger, Scope::Identity, answer).inspect_err(|_| own.unpublish(bytes))?;
        }
        if quotas.address.bound_publications() {
            let answer = self.address.with(|usage| usage.publish(&quotas.address, bytes, now_ns));
            note(ledger, Scope::Address, answer).inspect_err(|_| {
                own.unpublish(bytes);
                identity.with(|usage| usage.unpublish(bytes));
            })?;
        }
        Ok(())
    }

    /// A request that is no publication.
    pub(crate) fn request(&mut self, moment: Moment) -> Result<(), Over> {
        self.ask_all(
            |quotas| quotas.requests.is_some(),
            |usage, quotas| usage.request(quotas, moment.nanos),
            Usage::unrequest,
        )
    }

    /// One subscription more; to be taken back where it does not come about.
    pub(crate) fn enter_subscription(&mut self) -> Result<(), Over> {
        // All are counted, so that a quota that comes later knows of them.
        self.ask_all(|_| true, Usage::enter_subscription, |usage| usage.leave_subscriptions(1))
    }

    /// A subscription has ended, or did not come about.
    pub(crate) fn leave_subscription(&mut self) {
        self.own.leave_subscriptions(1);
        self.identity.account().with(|usage| usage.leave_subscriptions(1));
        self.address.with(|usage| usage.leave_subscriptions(1));
    }

    /// New credentials are about to be looked at.
    pub(crate) fn begin_login(&mut self, moment: Moment) -> Result<(), Over> {
        self.ask_all(
            |quotas| quotas.failed_logins.is_some(),
            |usage, quotas| usage.begin_login(quotas, moment.nanos),
            Usage::login_not_refused,
        )
    }

    /// They were not refused.
    pub(crate) fn login_not_refused(&mut self) {
        self.own.login_not_refused();
        self.identity.account().with(Usage::login_not_refused);
        self.address.with(Usage::login_not_refused);
    }

    /// Asks all three, those that `is_bound` says; where one refuses, those before it `take_back`.
    fn ask_all(
        &mut self,
        is_bound: impl Fn(&Quotas) -> bool,
        ask: impl Fn(&mut Usage, &Quotas) -> Answer,
        take_back: impl Fn(&mut Usage),
    ) -> Result<(), Over> {
        let Self { ledger, own, quotas, .. } = self;
        let identity = self.identity.account();
        if is_bound(&quotas.connection) {
            note(ledger, Scope::Connection, ask(own, &quotas.connection))?;
        }
        if is_bound(&quotas.identity) {
            let answer = identity.with(|usage| ask(usage, &quotas.identity));
            note(ledger, Scope::Identity, answer).inspect_err(|_| take_back(own))?;
        }
        if is_bound(&quotas.address) {
            let answer = self.address.with(|usage| ask(usage, &quotas.address));
            note(ledger, Scope::Address, answer).inspect_err(|_| {
                take_back(own);
                identity.with(&take_back);
            })?;
        }
        Ok(())
    }
}

impl Drop for Accounts {
    fn drop(&mut self) {
        let subscriptions = self.own.subscriptions();
        if subscriptions > 0 {
            self.identity.account().with(|usage| usage.leave_subscriptions(subscriptions));
            self.address.with(|usage| usage.leave_subscriptions(subscriptions));
        }
    }
}

fn note(ledger: &Ledger, scope: Scope, answer: Answer) -> Result<(), Over> {
    match answer {
        Ok(reported) if reported.is_empty() => Ok(()),
        Ok(reported) => {
            ledger.note_all_reported(scope, reported);
            Ok(())
        }
        Err(OverQuota { quota, excess }) => {
            ledger.note_enforced(scope.quota_name(quota));
            Err(Over { scope, quota, excess })
        }
    }
}

/// Somebody at an address presents credentials, who is not connected yet. Unless it was [`Attempt::not_refused`], it
/// counts as refused there.
#[derive(Debug)]
pub(crate) struct Attempt<'a>(&'a Account);

impl<'a> Attempt<'a> {
    pub(crate) fn begin(account: &'a Account, ledger: &Ledger, scopes: &Scopes, moment: Moment) -> Result<Self, Over> {
        let answer = account.with(|usage| usage.begin_login(&scopes.address, moment.nanos));
        note(ledger, Scope::Address, answer)?;
        Ok(Self(account))
    }

    pub(crate) fn not_refused(self) {
        self.0.with(Usage::login_not_refused);
    }
}

impl Over {
    /// That an identity or an address has as many connections as it may.
    pub(crate) const fn too_many_connections(scope: Scope) -> Self {
        Self { scope, quota: Quota::Connections, excess: Excess::Count }
    }

    pub(crate) const fn code(&self) -> ErrorCode {
        match (self.quota, self.scope, self.excess) {
            (Quota::PayloadBytes, ..) | (_, _, Excess::TooLarge) => ErrorCode::PayloadTooLarge,
            (Quota::Subscriptions, Scope::Connection, _) => ErrorCode::TooManySubscriptions,
            (_, _, Excess::Rate { .. }) => ErrorCode::RateExceeded,
            (_, _, Excess::Count) => ErrorCode::QuotaExceeded,
        }
    }

    /// How long to wait, where waiting helps.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.excess {
            Excess::Rate { retry_after } => Some(retry_after),
            Excess::Count if self.code() == ErrorCode::QuotaExceeded => Some(rand::rng().random_range(RETRY_AFTER)),
            Excess::Count | Excess::TooLarge => None,
        }
    }

    /// For the person at the other end.
    pub(crate) fn message(&self) -> String {
        let who = self.scope.name();
        let what = match self.quota {
            Quota::Connections => "connections",
            Quota::Handshakes => "handshakes",
            Quota::Subscriptions => "live subscriptions",
            Quota::PayloadBytes => return format!("this is larger than publications of this {who} may be"),
            Quota::Publications => "publications for each second",
            Quota::Bytes if self.excess == Excess::TooLarge => {
                return format!("this is larger than all that this {who} may publish at once");
            }
            Quota::Bytes => "published bytes for each second",
            Quota::Requests => "requests for each second",
            Quota::FailedLogins => "refused credentials",
        };
        match self.excess {
            Excess::Rate { .. } => format!("too many {what} from this {who}; wait as long as told, or send fewer"),
            _ => format!("this {who} has as many {what} as it may have at once"),
        }
    }
}
