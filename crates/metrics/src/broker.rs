//! What is counted for the broker as a whole.

use std::{
    sync::{PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{AcceptError, Gauge, JwksFetchResult, Labelled, QuotaHolder, QuotaName, ReloadResult, SharedCounter};

/// What is counted for the broker as a whole. Any thread may write; nothing here is on a hot path.
#[derive(Debug)]
pub struct BrokerMetrics {
    /// Failures to accept a connection.
    pub accept_errors: Labelled<AcceptError, SharedCounter>,
    /// Times that accepting paused, because descriptors or memory had run out.
    pub accept_pauses: SharedCounter,
    /// Connections that were closed at once, because of a quota.
    pub connections_refused: SharedCounter,
    /// Times that a quota was gone over and enforced.
    pub quotas_enforced: Labelled<QuotaName, SharedCounter>,
    /// Times that a quota was gone over that is only reported.
    pub quotas_reported: Labelled<QuotaName, SharedCounter>,
    /// Those whose use of the quotas is remembered now. Write it with `set` only.
    pub quota_entries: Labelled<QuotaHolder, Gauge>,
    /// Times that somebody came for whose use of the quotas there was no room, and who had to share.
    pub quota_entries_shared: Labelled<QuotaHolder, SharedCounter>,
    /// Reloads of the configuration, with certificates, keys, access rules and quotas.
    pub config_reloads: Labelled<ReloadResult, SharedCounter>,
    /// When the certificate in use runs out, in seconds since 1970. Write it with `set` only. 0 means not known.
    pub certificate_not_after_seconds: Gauge,
    /// When the first of the revocation lists for client certificates runs out, in seconds since 1970. 0 means that there
    /// are none. Write it with `set` only.
    pub client_crl_next_update_seconds: Gauge,
    /// Fetches of issuers' keys from their JWKS URLs.
    pub jwks_fetches: Labelled<JwksFetchResult, SharedCounter>,
    /// When the oldest keys in use that came from a JWKS URL were fetched, in seconds since 1970. 0 means that none were.
    /// Write it with `set` only.
    pub jwks_fetched_seconds: Gauge,
    /// Issuers with a JWKS URL whose keys have not come yet. Write it with `set` only.
    pub jwks_issuers_without_keys: Gauge,
    /// 1 while the broker takes connections, else 0. Write it with `set` only.
    pub ready: Gauge,
    version: &'static str,
    limits: RwLock<Vec<(&'static str, u64)>>,
    start_time_seconds: u64,
}

impl BrokerMetrics {
    /// Starts counting. `limits` are the configured bounds that a graph should show beside what they bound, each with the
    /// name it has in the configuration.
    pub fn new(version: &'static str, limits: Vec<(&'static str, u64)>) -> Self {
        Self {
            accept_errors: Labelled::default(),
            accept_pauses: SharedCounter::default(),
            connections_refused: SharedCounter::default(),
            quotas_enforced: Labelled::default(),
            quotas_reported: Labelled::default(),
            quota_entries: Labelled::default(),
            quota_entries_shared: Labelled::default(),
            config_reloads: Labelled::default(),
            certificate_not_after_seconds: Gauge::default(),
            client_crl_next_update_seconds: Gauge::default(),
            jwks_fetches: Labelled::default(),
            jwks_fetched_seconds: Gauge::default(),
            jwks_issuers_without_keys: Gauge::default(),
            ready: Gauge::default(),
            version,
            limits: RwLock::new(limits),
            // A clock before 1970 is wrong anyhow, and no reason not to start.
            start_time_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        }
    }

    /// The broker's version.
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The configured bounds, by name.
    pub fn limits(&self) -> Vec<(&'static str, u64)> {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration was read again.
    pub fn set_limits(&self, limits: Vec<(&'static str, u64)>) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// When this was made, in seconds since 1970.
    pub fn start_time_seconds(&self) -> u64 {
        self.start_time_seconds
    }
}
