//! Client certificates: whose are taken, why one is not, and what is kept of one that was.

use std::{path::PathBuf, sync::Arc, time::Duration};

use carillon_access::identity::{CrlHead, certificate_end_s, certificate_subject};
use carillon_metrics::HandshakeFailure;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::certificates::{self, CertificateError};

/// What a client may show, with all that it sends along. TLS keeps it for as long as the connection lasts, and so does
/// whoever judges it again.
const MAX_CHAIN_BYTES: usize = 16 << 10;

/// Whether clients must show a certificate, and the files by which it is judged.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    /// PEM file with the authorities that issue client certificates.
    pub authorities: PathBuf,
    /// PEM files with revocation lists. Without any, nothing is looked up; with one, each certificate on the way to an
    /// authority needs a current list of its issuer.
    pub crls: Vec<PathBuf>,
    /// Whether who shows no certificate is refused.
    pub is_required: bool,
}

/// A revocation list and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// Its file.
    pub path: PathBuf,
    /// The list.
    pub der: CertificateRevocationListDer<'static>,
}

/// Judges client certificates by what the files held when they were read.
#[derive(Debug)]
pub struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    crls: Vec<Crl>,
}

impl ClientVerifier {
    pub(super) fn load(files: &ClientFiles, provider: &Arc<CryptoProvider>) -> Result<Self, CertificateError> {
        let authorities = certificates::read_authorities(&files.authorities)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            let unusable = |source| CertificateError::UnusableAuthority { path: files.authorities.clone(), source };
            roots.add(authority.clone()).map_err(unusable)?;
        }
        let roots = Arc::new(roots);
        let builder = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let mut crls = Vec::new();
        for path in &files.crls {
            let lists = certificates::read_crls(path)?;
            // Each file alone, so that the error can name it.
            let unusable = |source| CertificateError::UnusableCrl { path: path.clone(), source };
            builder().with_crls(lists.clone()).build().map_err(unusable)?;
            crls.extend(lists.into_iter().map(|der| Crl { path: path.clone(), der }));
        }
        let crls = newest(crls);
        // The whole chain is looked up, and a status that cannot be told refuses: both are the builder's own defaults.
        let lists = crls.iter().map(|crl| crl.der.clone());
        let builder = builder().with_crls(lists).enforce_revocation_expiration();
        let builder = if files.is_required { builder } else { builder.allow_unauthenticated() };
        let unusable = |source| CertificateError::UnusableCrl { path: files.authorities.clone(), source };
        let webpki = builder.build().map_err(unusable)?;
        Ok(Self { webpki, authorities, crls })
    }

    /// The authorities whose certificates are taken.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// The revocation lists that count: of several about the same certificates the newest.
    pub fn crls(&self) -> &[Crl] {
        &self.crls
    }

    /// Whether it was made from the same authorities and lists.
    pub(super) fn judges_like(&self, other: &Self) -> bool {
        self.authorities == other.authorities && self.crls == other.crls
    }

    /// Judges a certificate with those that came along, in DER, the client's own first. The time is unix seconds.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now_s: u64) -> Result<(), ClientCertificateError> {
        let (own, others) = chain.split_first().ok_or(ClientCertificateError::Missing)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
        self.judge(own, others, now).map(|_| ()).map_err(|error| ClientCertificateError::of(&error))
    }

    fn judge(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes: usize = others.iter().map(|other| other.len()).sum();
        if own.len().saturating_add(bytes) > MAX_CHAIN_BYTES {
            return Err(rustls::CertificateError::ApplicationVerificationFailure.into());
        }
        self.webpki.verify_client_cert(own, others, now)
    }
}

/// Of several lists about the same certificates the newest, and those that are left from new to old: webpki asks the
/// first one that is about a certificate, and no other.
fn newest(crls: Vec<Crl>) -> Vec<Crl> {
    let mut heads: Vec<_> = crls.into_iter().map(|crl| (CrlHead::of(&crl.der), crl)).collect();
    heads.sort_by(|(one, _), (other, _)| match (one, other) {
        (Some(one), Some(other)) => other.cmp_age(one),
        (one, other) => other.is_some().cmp(&one.is_some()),
    });
    let mut kept: Vec<(Option<CrlHead>, Crl)> = Vec::with_capacity(heads.len());
    for (head, crl) in heads {
        let is_superseded = |(newer, _): &(Option<CrlHead>, Crl)| {
            newer.as_ref().zip(head.as_ref()).is_some_and(|(newer, head)| newer.has_scope_of(head))
        };
        if !kept.iter().any(is_superseded) {
            kept.push((head, crl));
        }
    }
    kept.into_iter().map(|(_, crl)| crl).collect()
}

/// Verifies as webpki does, and tells the log whose certificate was refused: the handshake's error does not say.
impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.judge(end_entity, intermediates, now);
        if let Err(error) = &verified {
            let subject = certificate_subject(end_entity).unwrap_or_default();
            tracing::debug!(%subject, reason = %ClientCertificateError::of(error), "a client certificate is refused");
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// The certificate that a client has shown and proved to be its own, with those that it sent along. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ClientChain {
    chain: Arc<[CertificateDer<'static>]>,
    /// Who has found it good.
    verifier: Arc<ClientVerifier>,
    ends_at_s: u64,
}

impl ClientChain {
    /// Takes the chain of a handshake that `verifier` judged.
    pub(crate) fn of_handshake(chain: &[CertificateDer<'_>], verifier: Arc<ClientVerifier>, now_s: u64) -> Self {
        let mut ends = chain.iter().map(|certificate| certificate_end_s(certificate).unwrap_or(0));
        let own_end_s = ends.next().unwrap_or(0);
        // What had ended before was sent along and not needed.
        let ends_at_s = ends.filter(|end_s| *end_s > now_s).fold(own_end_s, u64::min);
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Self { chain, verifier, ends_at_s }
    }

    /// The client's own certificate, in DER.
    pub(crate) fn own(&self) -> &[u8] {
        self.chain.first().map_or(&[], |own| own.as_ref())
    }

    /// When the first certificate of the chain ends, in unix seconds.
    pub(crate) fn ends_at_s(&self) -> u64 {
        self.ends_at_s
    }

    /// The same chain, judged by the verifier of now.
    pub(crate) fn judged_by(&self, verifier: &Arc<ClientVerifier>, now_s: u64) -> Result<Self, ClientCertificateError> {
        if self.ends_at_s <= now_s {
            return Err(ClientCertificateError::OutOfDate);
        }
        if !Arc::ptr_eq(&self.verifier, verifier) {
            verifier.verify(&self.chain, now_s)?;
        }
        Ok(Self { verifier: Arc::clone(verifier), ..self.clone() })
    }
}

/// Why a client certificate is not taken. Who shows it may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientCertificateError {
    /// There is none, and one is required.
    #[error("there is none")]
    Missing,
    /// By its issuer.
    #[error("none of the authorities that this broker takes has issued it")]
    UnknownAuthority,
    /// By its dates, or those of one on its way to the authority.
    #[error("it has run out, or its time has not come")]
    OutOfDate,
    /// By a revocation list.
    #[error("it, or a certificate that issued it, is revoked")]
    Revoked,
    /// For want of a revocation list.
    #[error("this broker has no current revocation list of its issuer, and so cannot tell whether it is revoked")]
    UnknownStatus,
    /// By its size, with those that came along.
    #[error("it has more than {MAX_CHAIN_BYTES} bytes, with the certificates that came along")]
    TooLarge,
    /// By anything else in it.
    #[error("it is damaged, not for clients, or its signature does not hold")]
    Invalid,
}

impl ClientCertificateError {
    /// What an error of a handshake says of the client's certificate, if it is about that.
    pub(crate) fn of_handshake(error: &Error) -> Option<Self> {
        // A server looks at no other certificates than its clients'.
        match error {
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
                Some(Self::of(error))
            }
            _ => None,
        }
    }

    fn of(error: &Error) -> Self {
        use rustls::CertificateError as Certificate;
        match error {
            Error::NoCertificatesPresented => Self::Missing,
            Error::InvalidCertRevocationList(_) => Self::UnknownStatus,
            Error::InvalidCertificate(error) => match error {
                Certificate::UnknownIssuer => Self::UnknownAuthority,
                Certificate::Revoked => Self::Revoked,
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. } => Self::OutOfDate,
                Certificate::UnknownRevocationStatus
                | Certificate::ExpiredRevocationList
                | Certificate::ExpiredRevocationListContext { .. } => Self::UnknownStatus,
                // Nobody else says this.
                Certificate::ApplicationVerificationFailure => Self::TooLarge,
                _ => Self::Invalid,
            },
            _ => Self::Invalid,
        }
    }
}

impl From<ClientCertificateError> for HandshakeFailure {
    fn from(error: ClientCertificateError) -> Self {
        match error {
            ClientCertificateError::Missing => Self::ClientCertificateMissing,
            ClientCertificateError::UnknownAuthority => Self::ClientCertificateUnknownCa,
            ClientCertificateError::OutOfDate => Self::ClientCertificateExpired,
            ClientCertificateError::Revoked => Self::ClientCertificateRevoked,
            ClientCertificateError::UnknownStatus => Self::ClientCertificateUnknownStatus,
            ClientCertificateError::TooLarge | ClientCertificateError::Invalid => Self::ClientCertificateInvalid,
        }
    }
}
