//! What is in a revocation list.

use std::time::SystemTime;

use x509_parser::{
    prelude::{FromDer, X509Certificate},
    revocation_list::CertificateRevocationList,
};

use super::inspect::{date, moment};

/// What an operator has to know of a revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSummary {
    /// Whose certificates it is about.
    pub issuer: String,
    /// After it, it says nothing any more.
    pub next_update: Option<SystemTime>,
    /// The same, for people.
    pub next_update_date: String,
    issuer_der: Vec<u8>,
}

impl CrlSummary {
    /// Tells about a revocation list in DER, if it is one.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, list) = CertificateRevocationList::from_der(der).ok()?;
        let next_update = list.next_update();
        Some(Self {
            issuer: list.issuer().to_string(),
            next_update: next_update.map(moment),
            next_update_date: next_update.map(date).unwrap_or_default(),
            issuer_der: list.issuer().as_raw().to_vec(),
        })
    }

    /// Whether it is about the certificates of this authority, given in DER.
    pub fn is_of(&self, authority: &[u8]) -> bool {
        X509Certificate::from_der(authority).is_ok_and(|(_, authority)| authority.subject().as_raw() == self.issuer_der)
    }

    /// Whether its time is over.
    pub fn has_run_out(&self, now: SystemTime) -> bool {
        self.next_update.is_some_and(|next_update| next_update < now)
    }
}
