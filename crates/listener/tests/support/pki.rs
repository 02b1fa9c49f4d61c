//! Authorities, the client certificates that they issue, and their revocation lists.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use carillon_listener::{Tls, tls::ClientFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tempfile::TempDir;

use super::{CertificateFiles, self_signed, write_files};

const DAY: Duration = Duration::from_hours(24);

/// An authority, or one below another.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What goes along with each certificate that it issues.
    above: Vec<CertificateDer<'static>>,
}

/// What a client shows.
pub struct ClientCertificate {
    pub chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(Self::params(name), KeyPair::generate().unwrap()).unwrap();
        Self { issuer, above: Vec::new() }
    }

    /// One that this one has issued, under a number.
    pub fn below(&self, name: &str, serial: u64) -> Self {
        self.below_with(name, serial, |_| {})
    }

    pub fn below_with(&self, name: &str, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params(name);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let above = [vec![issuer.der().clone()], self.above.clone()].concat();
        Self { issuer, above }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with this common name and number.
    pub fn issue(&self, name: &str, serial: u64) -> ClientCertificate {
        self.issue_with(name, serial, |_| {})
    }

    pub fn issue_with(
        &self,
        name: &str,
        serial: u64,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        ClientCertificate { chain: [vec![own], self.above.clone()].concat(), key }
    }

    /// A revocation list, in force for a day.
    pub fn crl(&self, revoked: &[u64]) -> String {
        self.crl_until(revoked, SystemTime::now() + DAY)
    }

    pub fn crl_until(&self, revoked: &[u64], next_update: SystemTime) -> String {
        self.crl_of(revoked, (SystemTime::now() - 30 * DAY, next_update), 1)
    }

    /// The same, in force from a time to a time, and with this number.
    pub fn crl_of(&self, revoked: &[u64], (from, to): (SystemTime, SystemTime), number: u64) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: (SystemTime::now() - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: from.into(),
            next_update: to.into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// The files of a door that asks for client certificates.
pub struct Door {
    pub tls: Tls,
    pub files: CertificateFiles,
    pub authorities: PathBuf,
    pub crls: PathBuf,
    _folder: TempDir,
}

impl Door {
    /// Takes certificates of these authorities; `crls` is the text of a file, or empty for no file.
    pub fn new(authorities: &[&Authority], crls: &str, is_required: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = self_signed();
        let files = write_files(&certificate, &key);
        let (authorities_file, crls_file) = (folder.path().join("ca.pem"), folder.path().join("crls.pem"));
        std::fs::write(&authorities_file, authorities.iter().map(|ca| ca.pem()).collect::<String>()).unwrap();
        std::fs::write(&crls_file, crls).unwrap();
        let clients = ClientFiles {
            authorities: authorities_file.clone(),
            crls: if crls.is_empty() { vec![] } else { vec![crls_file.clone()] },
            is_required,
        };
        let tls = Tls::with_client_certificates(&files.certificate, &files.key, clients).unwrap();
        Self { tls, files, authorities: authorities_file, crls: crls_file, _folder: folder }
    }
}

/// TLS of a client that shows this certificate, or none.
pub fn client_config(
    tls: &Tls,
    shown: Option<&ClientCertificate>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(tls.chain().remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap()
        }
    })
}
