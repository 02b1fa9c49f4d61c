//! A development authority, and the certificates that it issues. ECDSA on P-256, because every client knows it.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use carillon_listener::tls::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
};

use super::{DevCertificates, MakeError, inspect};

const AUTHORITY_LIFE: Duration = days(3_650);
/// Mozilla's recommendations for servers allow 366 days; some browsers refuse more than 398.
const SERVER_LIFE: Duration = days(365);
/// What ends sooner is made anew.
const RENEW_AHEAD: Duration = days(30);
/// For clients whose clocks are behind.
const CLOCK_SKEW: Duration = days(1);

pub(super) const fn days(count: u32) -> Duration {
    Duration::from_hours(24).saturating_mul(count)
}

/// The names that every development certificate is good for.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// An authority with its key: whoever has it can issue certificates for the authority's hosts, and for no others.
pub(super) struct Authority {
    certificate_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(super) struct Issued {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

impl Authority {
    /// A new authority for this machine and for `hosts`.
    pub(super) fn new(hosts: &[String], now: SystemTime) -> Result<Self, MakeError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "Carillon development");
        params.distinguished_name.push(DnType::CommonName, "Carillon development CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Its key lies in a home directory and people put it into their browsers: it must be good for nothing else.
        let permitted_subtrees = all_hosts(hosts).map(permitted).collect::<Result<_, _>>()?;
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate_pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { certificate_pem, key_pem, issuer: Issuer::new(params, key) })
    }

    /// The authority that is kept in these files, if it can be used for a while yet.
    pub(super) fn read(certificate: &Path, key: &Path, now: SystemTime) -> Option<Self> {
        // That the key is the certificate's is what the listener checks of its own pair.
        Tls::from_files(certificate, key).ok().filter(|_| lasts(certificate, now))?;
        let (certificate_pem, key_pem) = (fs::read_to_string(certificate).ok()?, fs::read_to_string(key).ok()?);
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(&key_pem).ok()?).ok()?;
        Some(Self { certificate_pem, key_pem, issuer })
    }

    /// A certificate for a server on this machine and on `hosts`.
    pub(super) fn issue(&self, hosts: &[String], now: SystemTime) -> Result<Issued, MakeError> {
        let mut params = CertificateParams::new(all_hosts(hosts).map(str::to_owned).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, "Carillon development server");
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth, now)
    }

    /// A certificate for a client, which is known by its common name.
    pub(super) fn issue_client(&self, name: &str, now: SystemTime) -> Result<Issued, MakeError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth, now)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
        now: SystemTime,
    ) -> Result<Issued, MakeError> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now - CLOCK_SKEW + SERVER_LIFE).into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(super) fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

/// Whether the server's certificate is whole, lasts, and is this authority's.
pub(super) fn is_usable(files: &DevCertificates, authority: &Authority, now: SystemTime) -> bool {
    Tls::from_files(&files.certificate, &files.key).is_ok()
        && lasts(&files.certificate, now)
        && inspect::is_issued_by(&files.certificate, authority.certificate_pem())
}

fn lasts(certificate: &Path, now: SystemTime) -> bool {
    inspect::read_chain(certificate)
        .ok()
        .and_then(|chain| chain.into_iter().next())
        .is_some_and(|summary| summary.not_after > now + RENEW_AHEAD)
}

fn all_hosts(hosts: &[String]) -> impl Iterator<Item = &str> {
    LOOPBACK.into_iter().chain(hosts.iter().map(String::as_str).filter(|host| !LOOPBACK.contains(host)))
}

fn permitted(host: &str) -> Result<GeneralSubtree, MakeError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        return Ok(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits)));
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(MakeError::Host(host.to_owned()));
    }
    Ok(GeneralSubtree::DnsName(name.to_owned()))
}
