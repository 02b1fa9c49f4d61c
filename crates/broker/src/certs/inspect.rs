//! What is in a certificate.

use std::{
    fmt, fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    time::{Duration, SystemTime},
};

use x509_parser::{
    extensions::GeneralName,
    pem::Pem,
    prelude::{FromDer, X509Certificate},
    time::ASN1Time,
};

use super::ReadError;

/// What people ask about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Whom it is about.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// The hosts that it is good for.
    pub names: Vec<String>,
    /// Before it, it is not valid yet.
    pub not_before: SystemTime,
    /// After it, it is not valid any more.
    pub not_after: SystemTime,
    /// Whether it may issue others.
    pub is_ca: bool,
    dates: (String, String),
}

impl Summary {
    /// When it ends, in seconds since 1970; 0 for anything before.
    pub fn not_after_seconds(&self) -> u64 {
        self.not_after.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() { "(none)".to_owned() } else { self.names.join(", ") };
        writeln!(f, "subject:    {}{}", self.subject, if self.is_ca { "  (an authority)" } else { "" })?;
        writeln!(f, "issuer:     {}", self.issuer)?;
        writeln!(f, "names:      {names}")?;
        writeln!(f, "not before: {}", self.dates.0)?;
        write!(f, "not after:  {}", self.dates.1)
    }
}

/// Tells about every certificate in a PEM file, in the file's order.
pub fn read_chain(path: &Path) -> Result<Vec<Summary>, ReadError> {
    let pem = fs::read(path).map_err(|source| ReadError::Unreadable { path: path.into(), source })?;
    let mut chain = Vec::new();
    for block in Pem::iter_from_buffer(&pem) {
        let block = block.map_err(|error| ReadError::NotPem { path: path.into(), message: error.to_string() })?;
        if block.label == "CERTIFICATE" {
            chain.push(summarize(&block.contents, chain.len() + 1)?);
        }
    }
    if chain.is_empty() { Err(ReadError::NoCertificate(path.into())) } else { Ok(chain) }
}

/// Tells about one certificate, in DER; `number` is its place in its chain, for the error.
pub fn summarize(der: &[u8], number: usize) -> Result<Summary, ReadError> {
    let damaged = |message: String| ReadError::Damaged { number, message };
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| damaged(error.to_string()))?;
    let alternative = certificate.subject_alternative_name().map_err(|error| damaged(error.to_string()))?;
    let validity = certificate.validity();
    Ok(Summary {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names: alternative.map(|names| names.value.general_names.iter().map(host).collect()).unwrap_or_default(),
        not_before: moment(validity.not_before),
        not_after: moment(validity.not_after),
        is_ca: certificate.is_ca(),
        dates: (date(validity.not_before), date(validity.not_after)),
    })
}

/// Whether the first certificate of the file carries the signature of this authority.
pub(super) fn is_issued_by(certificate: &Path, authority_pem: &str) -> bool {
    let issued = || -> Option<bool> {
        let pem = fs::read(certificate).ok()?;
        let leaf = Pem::iter_from_buffer(&pem).next()?.ok()?;
        let authority = Pem::iter_from_buffer(authority_pem.as_bytes()).next()?.ok()?;
        let (leaf, authority) = (leaf.parse_x509().ok()?, authority.parse_x509().ok()?);
        Some(leaf.verify_signature(Some(authority.public_key())).is_ok())
    };
    issued().unwrap_or(false)
}

fn host(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| Ipv4Addr::from(octets).to_string());
            let v6 = || <[u8; 16]>::try_from(*bytes).map(|octets| Ipv6Addr::from(octets).to_string());
            v4.or_else(|_| v6()).unwrap_or_else(|_| "a malformed IP address".to_owned())
        }
        other => other.to_string(),
    }
}

pub(super) fn moment(time: ASN1Time) -> SystemTime {
    let seconds = Duration::from_secs(time.timestamp().unsigned_abs());
    if time.timestamp() < 0 { SystemTime::UNIX_EPOCH - seconds } else { SystemTime::UNIX_EPOCH + seconds }
}

pub(super) fn date(time: ASN1Time) -> String {
    let time = time.to_datetime();
    format!("{} {:02}:{:02}:{:02} UTC", time.date(), time.hour(), time.minute(), time.second())
}
