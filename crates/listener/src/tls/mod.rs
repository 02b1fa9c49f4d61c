//! TLS as the door speaks it: 1.3 and 1.2, aws-lc-rs, post-quantum key exchange first, stateless tickets.

mod certificates;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

pub use certificates::CertificateError;

/// The one HTTP version that the WebSocket upgrade is defined for here (RFC 7301 name).
const ALPN_HTTP_1_1: &[u8] = b"http/1.1";
/// A connection is resumed with a ticket once, and gets its next one then.
const TICKETS_FOR_EACH_CONNECTION: usize = 1;

/// The door's certificate and TLS settings. Cheap to clone; all clones see a reload.
///
/// The certificate is looked up for each handshake, so a reload is for new connections and leaves the settings, and
/// with them the key of the session tickets, as they are: clients that reconnect still resume.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    resolver: Arc<CurrentCertificate>,
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Reads a certificate chain and its key from PEM files.
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified = certificates::load(&certificate, &key, &provider)?;
        let resolver = Arc::new(CurrentCertificate(RwLock::new(certified)));
        let config = Arc::new(server_config(provider, Arc::clone(&resolver))?);
        Ok(Self { config, resolver, certificate, key })
    }

    /// Reads the same files again. When they are broken, the old certificate stays and the error tells why.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let certified = certificates::load(&self.certificate, &self.key, self.config.crypto_provider())?;
        *self.resolver.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }

    /// The chain that new connections get, the server's own certificate first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.resolver.current().cert.clone()
    }

    /// The settings for rustls.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The settings; this does not depend on what the operator wrote.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

fn server_config(
    provider: Arc<CryptoProvider>,
    resolver: Arc<CurrentCertificate>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    // Tickets hold the session at the client, so that a reconnect storm meets neither a lock nor a full cache here.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS_FOR_EACH_CONNECTION;
    Ok(config)
}

struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl CurrentCertificate {
    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for CurrentCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurrentCertificate")
    }
}
