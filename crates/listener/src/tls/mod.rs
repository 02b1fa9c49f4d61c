//! TLS as the door speaks it: 1.3 and 1.2, aws-lc-rs, post-quantum key exchange first, stateless tickets, or client
//! certificates and no tickets.
//!
//! rustls shakes hands (`handshake`) and gives its keys to a record layer of the door's own: `record` seals and opens,
//! `session` knows what may be said beside data, `buffers` is the memory that connections share, and `stream` brings
//! them together with the socket.

mod buffers;
mod certificates;
mod clients;
#[cfg(any(test, fuzzing))]
mod fuzzed;
mod gather;
mod handshake;
mod record;
mod session;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::CertificateDer,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

pub(crate) use buffers::Buffers;
pub use certificates::CertificateError;
pub(crate) use clients::ClientChain;
pub use clients::{ClientCertificateError, ClientFiles, ClientVerifier, Crl};
#[cfg(any(test, fuzzing))]
pub use fuzzed::{FuzzedHandshake, read_records, shake_hands as fuzz_handshake};
pub(crate) use handshake::{Shaken, shake_hands};
pub(crate) use stream::TlsSocket;

/// The one HTTP version that the WebSocket upgrade is defined for here (RFC 7301 name).
const ALPN_HTTP_1_1: &[u8] = b"http/1.1";
/// A connection is resumed with a ticket once, and gets its next one then.
const TICKETS_FOR_EACH_CONNECTION: usize = 1;
const FIRST_SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// The door's certificate and TLS settings. Cheap to clone; all clones see a reload.
///
/// The certificate is looked up for each handshake, so a reload is for new connections and leaves the settings, and
/// with them the key of the session tickets, as they are: clients that reconnect still resume.
///
/// Where clients are asked for certificates there are no tickets: a session that is resumed shows no certificate, so
/// nobody would look at its revocation. What a reload changes there makes new settings. No two of these share a
/// ticket key, so a ticket of a door that asks for less opens none that asks for more.
#[derive(Clone)]
pub struct Tls {
    serving: Arc<RwLock<Serving>>,
    resolver: Arc<CurrentCertificate>,
    provider: Arc<CryptoProvider>,
    certificate: PathBuf,
    key: PathBuf,
    clients: Option<Arc<ClientFiles>>,
}

/// What one handshake works with.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) config: Arc<ServerConfig>,
    /// Who judges the client's certificate, where one is asked for.
    pub(crate) verifier: Option<Arc<ClientVerifier>>,
}

/// Files that were read again, all of them good, and are not in use yet.
pub struct Reread {
    certified: Arc<CertifiedKey>,
    /// Where what is asked of clients has changed.
    serving: Option<Serving>,
}

impl Tls {
    /// Reads a certificate chain and its key from PEM files. Clients are not asked for certificates.
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        Self::new(certificate.into(), key.into(), None)
    }

    /// The same, and asks clients for certificates.
    pub fn with_client_certificates(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        clients: ClientFiles,
    ) -> Result<Self, TlsError> {
        Self::new(certificate.into(), key.into(), Some(Arc::new(clients)))
    }

    fn new(certificate: PathBuf, key: PathBuf, clients: Option<Arc<ClientFiles>>) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let certified = certificates::load(&certificate, &key, &provider)?;
        let resolver = Arc::new(CurrentCertificate(RwLock::new(certified)));
        let verifier = clients.as_deref().map(|files| ClientVerifier::load(files, &provider)).transpose()?;
        let serving = Serving::new(&provider, &resolver, verifier.map(Arc::new))?;
        Ok(Self { serving: Arc::new(RwLock::new(serving)), resolver, provider, certificate, key, clients })
    }

    /// Reads the same files again and uses what is in them. When one is broken, all stays as it was and the error tells
    /// why.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.use_reread(self.read_again()?);
        Ok(())
    }

    /// Reads the same files again, and leaves what is in use as it is.
    pub fn read_again(&self) -> Result<Reread, TlsError> {
        let certified = certificates::load(&self.certificate, &self.key, &self.provider)?;
        let Some(files) = &self.clients else { return Ok(Reread { certified, serving: None }) };
        let verifier = ClientVerifier::load(files, &self.provider)?;
        let is_known = self.client_verifier().is_some_and(|current| current.judges_like(&verifier));
        let serving = || Serving::new(&self.provider, &self.resolver, Some(Arc::new(verifier)));
        Ok(Reread { certified, serving: if is_known { None } else { Some(serving()?) } })
    }

    /// Uses what [`Tls::read_again`] has read.
    pub fn use_reread(&self, reread: Reread) {
        *self.resolver.0.write().unwrap_or_else(PoisonError::into_inner) = reread.certified;
        if let Some(serving) = reread.serving {
            *self.serving.write().unwrap_or_else(PoisonError::into_inner) = serving;
        }
    }

    /// The chain that new connections get, the server's own certificate first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.resolver.current().cert.clone()
    }

    /// The settings for rustls.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.serving().config
    }

    /// Who judges the certificates of clients that connect now, where they are asked for any. It stays the same one
    /// until a reload finds other authorities or revocation lists.
    pub fn client_verifier(&self) -> Option<Arc<ClientVerifier>> {
        self.serving().verifier
    }

    pub(crate) fn serving(&self) -> Serving {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).clone()
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
    /// A certificate, key or revocation list.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The settings; this does not depend on what the operator wrote.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

impl Serving {
    fn new(
        provider: &Arc<CryptoProvider>,
        resolver: &Arc<CurrentCertificate>,
        verifier: Option<Arc<ClientVerifier>>,
    ) -> Result<Self, rustls::Error> {
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&TLS13, &TLS12])?;
        let resolver = Arc::clone(resolver);
        let mut config = match &verifier {
            Some(verifier) => {
                let asked: Arc<ClientVerifier> = Arc::clone(verifier);
                builder.with_client_cert_verifier(asked).with_cert_resolver(resolver)
            }
            None => builder.with_no_client_auth().with_cert_resolver(resolver),
        };
        config.ignore_client_order = true;
        config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
        // The record layer after the handshake is the listener's own.
        config.enable_secret_extraction = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if verifier.is_some() {
            // No ticketer either: that is rustls' own default.
            config.send_tls13_tickets = 0;
        } else {
            // Tickets hold the session at the client, so that a reconnect storm meets neither a lock nor a full cache here.
            config.ticketer = aws_lc_rs::Ticketer::new()?;
            config.send_tls13_tickets = TICKETS_FOR_EACH_CONNECTION;
        }
        Ok(Self { config: Arc::new(config), verifier })
    }
}

/// What rustls takes by itself, with the suites of AES-128 and SHA-256 first: see `docs/decisions/0011-cipher-order.md`.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !FIRST_SUITES.contains(&suite.suite()));
    provider
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
