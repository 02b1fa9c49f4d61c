//! Reads PEM files: a certificate chain and its key, authorities, revocation lists.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer},
    server::VerifierBuilderError,
    sign::CertifiedKey,
};
use rustls_pemfile::Item;

/// Why a certificate, key or revocation list cannot be used. Each names its file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not PEM.
    #[error("{}: is not valid PEM: {source}", path.display())]
    NotPem {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it.
        source: io::Error,
    },
    /// The file has no certificate in it.
    #[error("{}: has no certificate; expected the server's own first, then those that issued it, each as BEGIN CERTIFICATE", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no private key, or more than one.
    #[error("{}: has {found} private keys; expected one, as BEGIN PRIVATE KEY (PKCS#8), BEGIN RSA PRIVATE KEY (PKCS#1) or BEGIN EC PRIVATE KEY (SEC1), without a passphrase", path.display())]
    NotOneKey {
        /// Which file.
        path: PathBuf,
        /// How many are in it.
        found: usize,
    },
    /// The key is of a kind that cannot be used.
    #[error("{}: the key cannot be used: {source}", path.display())]
    UnusableKey {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The key is not the one that the certificate is about.
    #[error("{} is not the key of the certificate in {}: {source}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the comparison gave.
        source: rustls::Error,
    },
    /// The file has no authority in it.
    #[error("{}: has no certificate; expected those of the authorities that issue client certificates, each as BEGIN CERTIFICATE", .0.display())]
    NoAuthority(PathBuf),
    /// A certificate is none that others can be measured by.
    #[error("{}: a certificate in it cannot be used as an authority: {source}", path.display())]
    UnusableAuthority {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The file has no revocation list in it.
    #[error("{}: has no revocation list; expected BEGIN X509 CRL (`openssl crl -inform DER` makes that of the other form)", .0.display())]
    NoCrl(PathBuf),
    /// A revocation list cannot be read, or says what is not understood.
    #[error("{}: a revocation list in it cannot be used: {source}", path.display())]
    UnusableCrl {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

/// Reads a certificate chain and its key, and checks that they belong together.
pub(super) fn load(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    let chain = read_chain(certificate)?;
    let signer = provider
        .key_provider
        .load_private_key(read_key(key)?)
        .map_err(|source| CertificateError::UnusableKey { path: key.into(), source })?;
    let certified = CertifiedKey::new(chain, signer);
    certified.keys_match().map_err(|source| CertificateError::Mismatch {
        certificate: certificate.into(),
        key: key.into(),
        source,
    })?;
    Ok(Arc::new(certified))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = read_certificates(path)?;
    if chain.is_empty() { Err(CertificateError::NoCertificate(path.into())) } else { Ok(chain) }
}

/// Reads the certificates of authorities.
pub(super) fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let authorities = read_certificates(path)?;
    if authorities.is_empty() { Err(CertificateError::NoAuthority(path.into())) } else { Ok(authorities) }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let certificates = read_pem(path)?.into_iter().filter_map(|item| match item {
        Item::X509Certificate(certificate) => Some(certificate),
        _ => None,
    });
    Ok(certificates.collect())
}

/// Reads revocation lists.
pub(super) fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
    let lists = read_pem(path)?.into_iter().filter_map(|item| match item {
        Item::Crl(list) => Some(list),
        _ => None,
    });
    let lists: Vec<_> = lists.collect();
    if lists.is_empty() { Err(CertificateError::NoCrl(path.into())) } else { Ok(lists) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let mut keys: Vec<PrivateKeyDer<'static>> = read_pem(path)?
        .into_iter()
        .filter_map(|item| match item {
            Item::Pkcs8Key(key) => Some(key.into()),
            Item::Pkcs1Key(key) => Some(key.into()),
            Item::Sec1Key(key) => Some(key.into()),
            _ => None,
        })
        .collect();
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (last, others) => {
            Err(CertificateError::NotOneKey { path: path.into(), found: others + usize::from(last.is_some()) })
        }
    }
}

fn read_pem(path: &Path) -> Result<Vec<Item>, CertificateError> {
    let pem = fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.into(), source })?;
    rustls_pemfile::read_all(&mut pem.as_slice())
        .collect::<Result<_, _>>()
        .map_err(|source| CertificateError::NotPem { path: path.into(), source })
}
