//! Client certificates, from the configuration to the listener; and what an operator has to know of the files.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use carillon_listener::{
    origin::OriginPattern,
    settings::Origins,
    tls::{ClientFiles, ClientVerifier, Tls, TlsError},
};
use carillon_metrics::BrokerMetrics;

use crate::{
    certs::{CrlSummary, summarize},
    config::{self, ClientCertificates},
};

/// What the listener serves TLS with.
pub(super) fn tls(config: &config::Tls) -> Result<Tls, TlsError> {
    // The configuration's check has seen to it that those are there which are needed.
    let path = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
    let (certificate, key) = (path(&config.certificate), path(&config.key));
    let is_required = match config.client_certificates {
        ClientCertificates::Off => return Tls::from_files(certificate, key),
        ClientCertificates::Optional => false,
        ClientCertificates::Required => true,
    };
    let clients = ClientFiles { authorities: path(&config.client_ca), crls: config.client_crls.clone(), is_required };
    Tls::with_client_certificates(certificate, key, clients)
}

/// Shows when the first revocation list runs out, and logs what refuses clients, lets nobody in, or lets pages in, perhaps
/// unmeant.
pub(super) fn note(metrics: &BrokerMetrics, tls: &Tls, origins: &Origins, has_rules: bool, now: SystemTime) {
    let verifier = tls.client_verifier();
    let lists = verifier.as_deref().map(summaries).unwrap_or_default();
    let first = lists.iter().filter_map(|(_, list)| list.next_update).min();
    let first_s = first.map_or(0, |first| first.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    metrics.client_crl_next_update_seconds.set(i64::try_from(first_s).unwrap_or(i64::MAX));
    let warnings = match &verifier {
        Some(verifier) => about(verifier, &lists, now).into_iter().chain(about_origins(origins)).collect(),
        None if has_rules => {
            vec!["[[certificates]] of the access file does nothing while tls.client_certificates is \"off\"".to_owned()]
        }
        None => Vec::new(),
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Unlike a token, which a page has to have, a certificate is the browser's, which shows it for any page.
fn about_origins(origins: &Origins) -> Option<String> {
    let lets_strangers_in = |pattern: &&OriginPattern| ["*", "null"].contains(&pattern.to_string().as_str());
    let pattern = origins.allowed.iter().find(lets_strangers_in)?;
    Some(format!(
        "origins.allowed has \"{pattern}\", and clients are asked for certificates: any page that somebody with a certificate \
         looks at can connect in their name. List the pages that may"
    ))
}

/// The revocation lists, each with its file.
fn summaries(verifier: &ClientVerifier) -> Vec<(PathBuf, CrlSummary)> {
    verifier.crls().iter().filter_map(|crl| Some((crl.path.clone(), CrlSummary::of(&crl.der)?))).collect()
}

fn about(verifier: &ClientVerifier, lists: &[(PathBuf, CrlSummary)], now: SystemTime) -> Vec<String> {
    let over = lists.iter().filter(|(_, list)| list.has_run_out(now)).map(|(path, list)| {
        format!(
            "{}: the revocation list of {} ran out on {}; until there is a new one, the client certificates of that authority \
             are refused",
            path.display(),
            list.issuer,
            list.next_update_date
        )
    });
    let authorities = verifier.authorities().iter();
    let alone = authorities.filter(|authority| !lists.iter().any(|(_, list)| list.is_of(authority))).map(|authority| {
        let name = summarize(authority, 1).map_or_else(|_| "an authority".to_owned(), |summary| summary.subject);
        format!(
            "tls.client_crls has no revocation list of {name} in tls.client_ca; the client certificates of that authority are \
             refused"
        )
    });
    // Without any list, nobody is looked up.
    over.chain(alone.filter(|_| !lists.is_empty())).collect()
}
