//! An issuer's `jwks_url` and what belongs to it, from the access file.

use std::{ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use carillon_access::identity::{Algorithm, JwksTiming, Key};
use rustls::ClientConfig;

use super::url::JwksUrl;
use crate::{
    access::{file::IssuerEntry, report::Report},
    trust::Trust,
};

/// How long a fetch may take, from the look-up of the host to the last byte.
const FETCH_DEADLINE: Duration = Duration::from_secs(10);
/// The longest wait between two tries while the source is down.
const MAX_BACKOFF_S: u64 = 120;
const MAX_AGE_S: RangeInclusive<u64> = 60..=86_400;
const FLOOR_S: RangeInclusive<u64> = 1..=3_600;

/// Where an issuer's keys are fetched from, and how.
#[derive(Debug, Clone)]
pub struct JwksSource {
    /// Its `iss`.
    pub(super) issuer: String,
    pub(super) url: JwksUrl,
    pub(super) trust: Trust,
    pub(super) tls: Arc<ClientConfig>,
    /// What its tokens may be signed by: a document must have a key for one of these.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) timing: JwksTiming,
    pub(super) deadline: Duration,
}

impl JwksSource {
    /// Its `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether keys that were fetched there count here too.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.url == other.url && self.trust == other.trust
    }

    /// Whether a token of this issuer could be verified with one of these.
    pub(super) fn uses(&self, keys: &[Key]) -> bool {
        self.algorithms.iter().any(|algorithm| keys.iter().any(|key| key.fits(*algorithm)))
    }
}

/// Reads it from the issuer's entry; `label` is how errors name the entry. Relative paths start at `directory`.
pub(in crate::access) fn read(
    label: &str,
    url: &str,
    entry: &IssuerEntry,
    algorithms: &[Algorithm],
    directory: &Path,
    report: &mut Report,
) -> Option<JwksSource> {
    let timing = timing(label, entry, report);
    let url = url.parse().map_err(|error| report.problem(format!("{label}.jwks_url"), error)).ok();
    let (key, trust) = match &entry.jwks_ca_file {
        None => ("jwks_url", Ok(Trust::System)),
        Some(path) => {
            let path = directory.join(path);
            report.warn_if_others_may_write(&path);
            ("jwks_ca_file", Trust::of_file(&path))
        }
    };
    let trust = trust.and_then(|trust| Ok((trust.client_config()?, trust)));
    let trust = trust.map_err(|error| report.problem(format!("{label}.{key}"), error)).ok();
    let (url, (tls, trust)) = (url?, trust?);
    let (issuer, algorithms) = (entry.issuer.clone(), algorithms.to_owned());
    Some(JwksSource { issuer, url, trust, tls, algorithms, timing, deadline: FETCH_DEADLINE })
}

fn timing(label: &str, entry: &IssuerEntry, report: &mut Report) -> JwksTiming {
    let mut in_range = |key: &str, written: Option<u64>, default: u64, allowed: RangeInclusive<u64>| {
        let value = written.unwrap_or(default);
        if !allowed.contains(&value) {
            let (least, most) = (allowed.start(), allowed.end());
            report.problem(format!("{label}.{key}"), format!("found {value}, allowed: {least} to {most}"));
        }
        value
    };
    let usual = JwksTiming::default();
    let max_age_s = in_range("jwks_max_age_seconds", entry.jwks_max_age_seconds, usual.max_age_s, MAX_AGE_S);
    let floor_s = in_range("jwks_floor_seconds", entry.jwks_floor_seconds, usual.floor_s, FLOOR_S);
    if floor_s > max_age_s && FLOOR_S.contains(&floor_s) && MAX_AGE_S.contains(&max_age_s) {
        let message = format!("found {floor_s}, which is more than jwks_max_age_seconds ({max_age_s})");
        report.problem(format!("{label}.jwks_floor_seconds"), message);
    }
    JwksTiming { max_age_s, floor_s, max_backoff_s: MAX_BACKOFF_S.max(floor_s).min(max_age_s) }
}
