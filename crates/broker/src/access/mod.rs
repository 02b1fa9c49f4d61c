//! The access file and the list of revocations: who may connect and what they may do, from files to the rules that the
//! listener asks.
//!
//! [`load`] reads all that `[access]` of the configuration names, checks each part alone and then all together, and tells
//! every problem at once. What comes out is whole, so a broker that reads it again either takes all of it or stays as it is.
//!
//! It does not decide anything: `carillon-access` does. Reading fetches nothing: of an issuer with a JWKS URL it tells where
//! the keys are, and [`Fetchers`] gets them while the broker runs. Nothing that it tells shows a value of the files other
//! than names, patterns and paths, because a value may be a secret in the wrong place.
//!
//! Start with [`load`]; then `file` for what can be written, `issuers` and `services` for what becomes of it, and
//! `jwks_url` for the keys that are fetched.

mod admission;
mod anonymous;
mod certificates;
mod expiry;
mod file;
mod issuers;
mod jwks_url;
mod key_file;
mod report;
mod roles;
mod services;

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use carillon_access::identity::{Algorithm, Revocations, Secret, Service};
use carillon_listener::gate::Rules;

use self::{file::AccessFile, report::Report, roles::Roles};
use crate::config::{Access, ConfigError, RoleQuotas};

pub(crate) use self::report::{OTHERS_READ, OTHERS_WRITE, has_mode};
pub use self::{
    admission::{KeysNotFetched, NotAdmitted},
    jwks_url::{Fetchers, JwksSource},
};

/// What `[access]` and its files come to.
#[derive(Debug)]
pub struct Loaded {
    /// For the listener. Issuers with a JWKS URL have no keys yet.
    pub rules: Rules,
    /// Where the keys of those issuers are, for [`Fetchers`].
    pub sources: Vec<JwksSource>,
    /// The services, for those who ask what one may do.
    pub services: Vec<Service>,
    /// Whether a client certificate can say who somebody is.
    pub has_certificate_rules: bool,
    /// What roles change of the quotas, by their names.
    pub role_quotas: HashMap<String, RoleQuotas>,
    /// What is not wrong and should still be looked at, for the log.
    pub warnings: Vec<String>,
}

/// Reads the access file, its key files and the list of revocations.
///
/// Fails with every problem there is, except that an access file which cannot be read or is no TOML is told alone.
pub fn load(access: &Access) -> Result<Loaded, ConfigError> {
    let mut report = Report::default();
    let (file, directory) = match &access.file {
        Some(path) => {
            report.now_about(path);
            report.warn_if_others_may_write(path);
            (AccessFile::read(path, &mut report)?, path.parent().unwrap_or(Path::new("")))
        }
        None => (AccessFile::default(), Path::new("")),
    };
    let roles = Roles::compile(file.roles, anonymous::built_in_role(access), &mut report);
    let has_credentials = !(file.issuers.is_empty() && file.services.is_empty() && file.certificates.is_empty());
    if access.file.is_some() && !access.anonymous && !has_credentials && report.problems() == 0 {
        report.problem(
            "issuers",
            "nobody could connect: there is neither an issuer of tokens ([[issuers]]) nor a service ([[services]]) nor a rule \
             for client certificates ([[certificates]])",
        );
    }
    let (tokens, sources) = issuers::read(file.issuers, directory, &roles, &mut report);
    let (services, api_keys) = services::api_keys(file.services, &roles, &mut report);
    let has_certificate_rules = !file.certificates.is_empty();
    let certificates = certificates::rules(file.certificates, &roles, &mut report);
    let anonymous = anonymous::identity(access, &roles, &mut report);
    let revocations = access.revocations.as_deref().map(|path| read_revocations(path, &mut report));
    let warnings = report.finish()?;
    let rules = Rules {
        tokens,
        api_keys,
        certificates,
        // It is made with the listener's certificates, not here.
        client_verifier: None,
        anonymous,
        policy: roles.into_policy(),
        revocations: revocations.unwrap_or_default(),
        // Whoever puts the rules in force adds quotas, and the issuers whose keys are fetched.
        ..Rules::default()
    };
    Ok(Loaded { rules, sources, services, has_certificate_rules, role_quotas: file.quotas, warnings })
}

/// A list that cannot be read revokes nobody, so it is a problem: somebody may be in it.
fn read_revocations(path: &Path, report: &mut Report) -> Revocations {
    const KEY: &str = "access.revocations";
    report.now_about(path);
    report.warn_if_others_may_write(path);
    match fs::read_to_string(path) {
        Err(error) => report.problem(KEY, format!("cannot be read: {error}; an empty file revokes nobody")),
        Ok(text) => match text.parse() {
            Ok(revocations) => return revocations,
            Err(error) => report.problem(KEY, error),
        },
    }
    Revocations::default()
}

/// The moment that credentials are measured by, in unix seconds.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads the key that signs tokens by `algorithm`: for HS256 exactly the secret that a broker would take from this file,
/// for the others PEM.
pub(crate) fn read_signing_key(path: &Path, algorithm: Algorithm) -> Result<Secret, String> {
    key_file::read_signing(path, algorithm)
}

#[cfg(test)]
mod tests;
