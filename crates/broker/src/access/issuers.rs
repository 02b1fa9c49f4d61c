//! `[[issuers]]`: whose tokens are believed.

use std::path::Path;

use carillon_access::identity::{
    Algorithm, IssuerConfig, IssuerKeys, Key, Verifier,
    limits::{MAX_CANDIDATES, MAX_LEEWAY_S},
};

use super::{
    file::{Entry, IssuerEntry},
    jwks_url::{self, JwksSource},
    key_file,
    report::Report,
    roles::Roles,
};

/// An issuer, and its keys unless they are in its configuration.
struct Issuer {
    config: IssuerConfig,
    published: Published,
}

/// What an issuer publishes as a JWKS document.
enum Published {
    Nothing,
    Keys(Vec<Key>),
    At(Box<JwksSource>),
}

/// The issuers, each checked alone and then all together, and where the keys of some are to be fetched. Relative paths
/// start at `directory`.
pub(super) fn read(
    entries: Vec<Entry<IssuerEntry>>,
    directory: &Path,
    roles: &Roles,
    report: &mut Report,
) -> (Verifier, Vec<JwksSource>) {
    let before = report.problems();
    let template_claims = roles.claims();
    let mut issuers = Vec::new();
    for Entry { label, value } in entries {
        let before = report.problems();
        let Some(issuer) = issuer(&label, value, directory, &template_claims, report) else { continue };
        if report.problems() > before {
            continue;
        }
        if let Err(error) = Verifier::new(vec![issuer.config.clone()]) {
            report.problem(&label, error);
        }
        issuers.push(issuer);
    }
    let configs = issuers.iter().map(|issuer| issuer.config.clone()).collect();
    let mut verifier = match Verifier::new(configs) {
        Ok(verifier) => verifier,
        Err(error) => {
            // What is wrong with one alone has been told.
            if report.problems() == before {
                report.problem("issuers", error);
            }
            return (Verifier::default(), Vec::new());
        }
    };
    let mut sources = Vec::new();
    for Issuer { config, published } in issuers {
        match published {
            Published::Nothing => {}
            Published::At(source) => sources.push(*source),
            Published::Keys(keys) => {
                if let Err(error) = verifier.set_keys(&config.issuer, keys.into()) {
                    report.problem("issuers", error);
                }
            }
        }
    }
    (verifier, sources)
}

fn issuer(
    label: &str,
    entry: IssuerEntry,
    directory: &Path,
    template_claims: &[String],
    report: &mut Report,
) -> Option<Issuer> {
    let algorithms = algorithms(label, &entry.algorithms, report);
    if let Some(leeway_s) = entry.leeway_seconds.filter(|leeway_s| *leeway_s > MAX_LEEWAY_S) {
        report.problem(
            format!("{label}.leeway_seconds"),
            format!("found {leeway_s}, allowed: 0 to {MAX_LEEWAY_S}; a clock that is further off has to be set"),
        );
    }
    let (keys, published) = keys(label, &entry, &algorithms, directory, report)?;
    let audiences: Vec<_> = entry.audiences.iter().map(String::as_str).collect();
    let mut config = IssuerConfig::new(&entry.issuer, &algorithms, &audiences, keys);
    template_claims.clone_into(&mut config.template_claims);
    config.required_claims = entry.required_claims;
    if let Some(leeway_s) = entry.leeway_seconds {
        config.leeway_s = leeway_s;
    }
    if let Some(claim) = entry.roles_claim {
        config.roles_claim = claim;
    }
    Some(Issuer { config, published })
}

fn algorithms(label: &str, names: &[String], report: &mut Report) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    for name in names {
        match name.parse::<Algorithm>() {
            Ok(algorithm) if algorithms.contains(&algorithm) => {}
            Ok(algorithm) => algorithms.push(algorithm),
            Err(error) => report.problem(format!("{label}.algorithms"), format!("found {name:?}: {error}")),
        }
    }
    algorithms
}

/// The keys: from files of their own, from a file with a document, or from a URL.
fn keys(
    label: &str,
    entry: &IssuerEntry,
    algorithms: &[Algorithm],
    directory: &Path,
    report: &mut Report,
) -> Option<(IssuerKeys, Published)> {
    if entry.jwks_url.is_none() {
        check_no_fetching(label, entry, report);
    }
    match (entry.key_files.is_empty(), &entry.jwks_file, &entry.jwks_url) {
        (false, None, None) => {
            let keys = from_files(label, entry, algorithms, directory, report)?;
            Some((IssuerKeys::Fixed(keys), Published::Nothing))
        }
        (true, Some(path), None) => {
            let keys = from_document(label, path, algorithms, directory, report)?;
            Some((IssuerKeys::Jwks, Published::Keys(keys)))
        }
        (true, None, Some(url)) => {
            let source = jwks_url::read(label, url, entry, algorithms, directory, report)?;
            Some((IssuerKeys::Jwks, Published::At(Box::new(source))))
        }
        (true, None, None) => {
            report.problem(
                format!("{label}.key_files"),
                "its keys are missing: name files with public keys in PEM (for HS256, with the secret), a jwks_file, or a \
                 jwks_url",
            );
            None
        }
        (_, file, _) => {
            let key = if file.is_some() { "jwks_file" } else { "jwks_url" };
            report.problem(format!("{label}.{key}"), "only one of key_files, jwks_file and jwks_url may be set");
            None
        }
    }
}

/// Whoever sets how keys are fetched believes that they are.
fn check_no_fetching(label: &str, entry: &IssuerEntry, report: &mut Report) {
    for (key, is_set) in [
        ("jwks_ca_file", entry.jwks_ca_file.is_some()),
        ("jwks_max_age_seconds", entry.jwks_max_age_seconds.is_some()),
        ("jwks_floor_seconds", entry.jwks_floor_seconds.is_some()),
    ] {
        if is_set {
            report.problem(format!("{label}.{key}"), "it belongs to a jwks_url, and none is set");
        }
    }
}

fn from_files(
    label: &str,
    entry: &IssuerEntry,
    algorithms: &[Algorithm],
    directory: &Path,
    report: &mut Report,
) -> Option<Vec<Key>> {
    let key = format!("{label}.key_files");
    let mut keys = Vec::new();
    for path in &entry.key_files {
        match key_file::read(&directory.join(path), algorithms, report) {
            Ok(read) => keys.push(read),
            Err(error) => report.problem(&key, error),
        }
    }
    for algorithm in algorithms {
        let count = keys.iter().filter(|key| key.fits(*algorithm)).count();
        if count > MAX_CANDIDATES {
            let message = format!(
                "{count} keys for {algorithm}, and keys in files have no ids, so a token could be of any; at most \
                 {MAX_CANDIDATES} are tried. A jwks_file gives its keys ids"
            );
            report.problem(&key, message);
        }
    }
    (keys.len() == entry.key_files.len()).then_some(keys)
}

fn from_document(
    label: &str,
    path: &str,
    algorithms: &[Algorithm],
    directory: &Path,
    report: &mut Report,
) -> Option<Vec<Key>> {
    let key = format!("{label}.jwks_file");
    let path = directory.join(path);
    match key_file::read_jwks(&path, report) {
        Err(error) => report.problem(key, error),
        Ok(keys) if algorithms.iter().any(|algorithm| keys.iter().any(|key| key.fits(*algorithm))) => {
            return Some(keys);
        }
        Ok(_) if algorithms.is_empty() => return Some(Vec::new()),
        Ok(_) => {
            let names: Vec<_> = algorithms.iter().map(ToString::to_string).collect();
            let message = format!("{} has no key for the issuer's algorithms ({})", path.display(), names.join(", "));
            report.problem(key, message);
        }
    }
    None
}
