//! From a client certificate to an identity.
//!
//! TLS has checked the certificate's chain, dates and revocation before; this decides who its holder is. Rules are
//! looked at in order, and the first that matches a name in the certificate decides.

use std::{collections::BTreeMap, fmt};

use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::name::{is_name, shown};
use crate::subject::{Identity, Source};

/// Which name of a certificate a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// A URI in the subject's alternative names, such as a SPIFFE id. `*` stops at `/`.
    Uri,
    /// A host in the subject's alternative names, without regard to case. `*` stops at a dot.
    Dns,
    /// A mail address in the subject's alternative names. `*` stops at `@`.
    Email,
    /// The subject's common name.
    CommonName,
}

/// A rule of the configuration: who has a certificate with such a name has these roles.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Where to look.
    pub name: NameKind,
    /// The whole name; one `*` in it stands for one or more characters, as far as [`NameKind`] lets it.
    pub pattern: String,
    /// The names of the roles.
    pub roles: Vec<String>,
}

/// The rules, checked.
#[derive(Debug, Clone, Default)]
pub struct CertificateRules {
    rules: Vec<Checked>,
}

#[derive(Debug, Clone)]
struct Checked {
    kind: NameKind,
    /// What stands before `*`, or the whole name.
    start: String,
    /// What stands after `*`, if there is one.
    end: Option<String>,
    roles: Vec<String>,
}

impl CertificateRules {
    /// Takes the rules of the configuration, the first to be asked first.
    pub fn new(rules: Vec<Rule>) -> Result<Self, RuleError> {
        let rules = rules.into_iter().enumerate().map(|(index, rule)| Checked::new(index + 1, rule));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Who the holder of a certificate (in DER, already verified by TLS) is. The subject is the name that matched,
    /// and the identity ends with the certificate.
    ///
    /// A rule that matches two different names of one certificate decides nothing: which of them its holder is would
    /// depend on their order.
    pub fn identify(&self, der: &[u8]) -> Result<Identity, CertificateError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Damaged)?;
        let names = names(&certificate)?;
        for (index, rule) in self.rules.iter().enumerate() {
            let mut matching = names.iter().filter(|(kind, name)| *kind == rule.kind && rule.matches(name));
            let Some((_, first)) = matching.next() else { continue };
            if let Some((_, other)) = matching.find(|(_, name)| name != first) {
                let (first, other) = (shown(first), shown(other));
                return Err(CertificateError::Ambiguous { rule: index + 1, first, other });
            }
            return Ok(Identity {
                subject: first.clone(),
                source: Source::Certificate,
                roles: rule.roles.clone(),
                claims: BTreeMap::new(),
                own: None,
                token_id: None,
                issued_at_s: u64::try_from(certificate.validity().not_before.timestamp()).ok(),
                expires_at_s: Some(end_s(&certificate)),
            });
        }
        Err(CertificateError::NoRule(name_list(&names)))
    }
}

/// When a certificate (in DER) ends, in unix seconds: the first one that does not belong to it.
pub fn certificate_end_s(der: &[u8]) -> Result<u64, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Damaged)?;
    Ok(end_s(&certificate))
}

/// The subject of a certificate (in DER) for a log, with which nothing has been proved: quoted, escaped and cut.
pub fn certificate_subject(der: &[u8]) -> Result<String, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Damaged)?;
    Ok(shown(&certificate.subject().to_string()))
}

fn end_s(certificate: &X509Certificate<'_>) -> u64 {
    // Its last second belongs to it.
    u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0).saturating_add(1)
}

/// Every name that a rule may look at: texts that can be a subject, and no hosts with a wildcard, which are many.
fn names(certificate: &X509Certificate<'_>) -> Result<Vec<(NameKind, String)>, CertificateError> {
    let alternative = certificate.subject_alternative_name().map_err(|_| CertificateError::Damaged)?;
    let general = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let alternative = general.filter_map(|name| match name {
        GeneralName::URI(uri) => Some((NameKind::Uri, (*uri).to_owned())),
        GeneralName::DNSName(host) if !host.contains('*') => Some((NameKind::Dns, host.to_ascii_lowercase())),
        GeneralName::RFC822Name(address) => Some((NameKind::Email, (*address).to_owned())),
        _ => None,
    });
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let common = common.map(|name| (NameKind::CommonName, name.to_owned()));
    Ok(alternative.chain(common).filter(|(_, name)| is_name(name)).collect())
}

fn name_list(names: &[(NameKind, String)]) -> String {
    let shown: Vec<_> = names.iter().take(8).map(|(kind, name)| format!("{kind} {}", shown(name))).collect();
    if shown.is_empty() { "none that a rule could look at".to_owned() } else { shown.join(", ") }
}

impl Checked {
    fn new(number: usize, rule: Rule) -> Result<Self, RuleError> {
        let Rule { name: kind, mut pattern, roles } = rule;
        if pattern.is_empty() {
            return Err(RuleError::Empty(number));
        }
        if kind == NameKind::Dns {
            pattern.make_ascii_lowercase();
        }
        let mut parts = pattern.split('*').map(str::to_owned);
        let (start, end) = (parts.next().unwrap_or_default(), parts.next());
        if parts.next().is_some() {
            return Err(RuleError::SeveralStars(number));
        }
        Ok(Self { kind, start, end, roles })
    }

    fn matches(&self, name: &str) -> bool {
        let Some(end) = &self.end else { return name == self.start };
        let middle = name.strip_prefix(self.start.as_str()).and_then(|rest| rest.strip_suffix(end.as_str()));
        middle
            .is_some_and(|middle| !middle.is_empty() && !self.kind.separator().is_some_and(|dot| middle.contains(dot)))
    }
}

impl NameKind {
    /// What `*` never stands for, so that a pattern does not reach into names that others may hand out.
    const fn separator(self) -> Option<char> {
        match self {
            Self::Uri => Some('/'),
            Self::Dns => Some('.'),
            Self::Email => Some('@'),
            Self::CommonName => None,
        }
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uri => "URI",
            Self::Dns => "DNS",
            Self::Email => "email",
            Self::CommonName => "CN",
        })
    }
}

/// What is wrong with a configured rule; rules are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// No pattern.
    #[error("certificate rule {0} has an empty pattern; it names a certificate's URI, DNS, email or CN")]
    Empty(usize),
    /// More than one `*`.
    #[error("certificate rule {0} has more than one `*`; at most one is allowed")]
    SeveralStars(usize),
}

/// Why a certificate proves nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It cannot be read.
    #[error("the client certificate cannot be read")]
    Damaged,
    /// No rule knows it.
    #[error("no certificate rule matches the client certificate; its names are {0}")]
    NoRule(String),
    /// A rule matches two of its names.
    #[error("certificate rule {rule} matches two names of the client certificate, {first} and {other}; it must be one")]
    Ambiguous {
        /// The rule, from 1.
        rule: usize,
        /// One name.
        first: String,
        /// Another one.
        other: String,
    },
}
