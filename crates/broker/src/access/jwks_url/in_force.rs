//! The keys that were fetched last and the rules that hold, changed together.
//!
//! A reload brings rules without these keys, while a fetch may bring new keys at any moment. One lock over both sees to
//! it that the gate never has older keys than the last that came.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use carillon_access::identity::Key;
use carillon_listener::{Gate, gate::Rules};
use carillon_metrics::BrokerMetrics;

use super::JwksSource;

/// The gate, with the keys that are fetched for it.
#[derive(Debug)]
pub(super) struct InForce {
    gate: Arc<Gate>,
    metrics: Arc<BrokerMetrics>,
    /// By issuer; `None` where they have not come yet.
    latest: Mutex<BTreeMap<String, Option<Latest>>>,
}

#[derive(Debug, Clone)]
struct Latest {
    keys: Arc<[Key]>,
    /// Unix time.
    fetched_at_s: u64,
}

/// An issuer as a reload finds it.
pub(super) struct Wanted<'a> {
    pub(super) source: &'a JwksSource,
    /// Whether keys that were fetched before still count.
    pub(super) is_kept: bool,
}

impl InForce {
    pub(super) fn new(gate: Arc<Gate>, metrics: Arc<BrokerMetrics>) -> Self {
        Self { gate, metrics, latest: Mutex::default() }
    }

    /// Puts new rules in force, with the keys of the issuers that are kept.
    pub(super) fn replace(&self, mut rules: Rules, wanted: &[Wanted<'_>]) {
        let mut latest = self.lock();
        let before = std::mem::take(&mut *latest);
        for Wanted { source, is_kept } in wanted {
            let kept = before.get(&source.issuer).cloned().flatten().filter(|kept| *is_kept && source.uses(&kept.keys));
            if let Some(kept) = &kept
                && let Err(error) = rules.tokens.set_keys(&source.issuer, Arc::clone(&kept.keys))
            {
                tracing::error!(issuer = source.issuer, %error, "the issuer's keys are not kept");
            }
            latest.insert(source.issuer.clone(), kept);
        }
        self.gate.replace(rules);
        self.note(&latest);
    }

    /// Puts an issuer's new keys in force, which were fetched at that Unix time.
    pub(super) fn set_keys(&self, issuer: &str, keys: &Arc<[Key]>, fetched_at_s: u64) {
        let mut latest = self.lock();
        // Otherwise a reload has taken the issuer away meanwhile.
        if let Some(entry) = latest.get_mut(issuer)
            && self.gate.set_keys(issuer, Arc::clone(keys)).is_ok()
        {
            *entry = Some(Latest { keys: Arc::clone(keys), fetched_at_s });
            self.note(&latest);
        }
    }

    fn note(&self, latest: &BTreeMap<String, Option<Latest>>) {
        let oldest_s = latest.values().flatten().map(|latest| latest.fetched_at_s).min().unwrap_or(0);
        let missing = latest.values().filter(|latest| latest.is_none()).count();
        let gauge = |value| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.jwks_fetched_seconds.set(gauge(oldest_s));
        self.metrics.jwks_issuers_without_keys.set(gauge(missing as u64));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<Latest>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
