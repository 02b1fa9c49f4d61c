//! The way to the broker: name, TCP, TLS.

use std::{io, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Deadline, certificate::Shown};
use crate::{endpoint::Endpoint, error::ConnectError};

/// Makes the byte stream that the WebSocket upgrade runs over. Tests put a scripted broker behind it.
pub(crate) trait Dial: Send + Sync + 'static {
    /// The stream.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Connects before the deadline.
    fn dial(&self, deadline: Deadline) -> impl Future<Output = Result<Self::Io, ConnectError>> + Send;
}

/// Dials over TCP and TLS.
pub(crate) struct TlsDialer {
    endpoint: Endpoint,
    connector: TlsConnector,
}

impl TlsDialer {
    pub(crate) fn new(
        endpoint: Endpoint,
        roots: RootCertStore,
        certificate: Option<Shown>,
    ) -> Result<Self, ConnectError> {
        // Not the process's default provider: a library must not depend on what the application installed.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions
            .map_err(|error| ConnectError::NoTrust { from: "the TLS set-up".to_owned(), reason: error.to_string() })?
            .with_root_certificates(roots);
        let mut config = match certificate {
            Some(shown) => shown.configure(builder)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { endpoint, connector: TlsConnector::from(Arc::new(config)) })
    }
}

impl Dial for TlsDialer {
    type Io = TlsStream<TcpStream>;

    async fn dial(&self, deadline: Deadline) -> Result<Self::Io, ConnectError> {
        let Endpoint { host, port, server_name, .. } = &self.endpoint;
        let address = || self.endpoint.address();
        let addresses = deadline
            .bound("the host's address", tokio::net::lookup_host((host.as_str(), *port)))
            .await?
            .map_err(|source| ConnectError::Resolve { host: host.clone(), source })?;
        let addresses: Vec<_> = addresses.collect();
        let socket = deadline
            .bound("the TCP connection", TcpStream::connect(addresses.as_slice()))
            .await?
            .map_err(|source| ConnectError::Tcp { address: address(), source })?;
        // What is written is whole batches already; waiting for more would only delay them.
        let _ = socket.set_nodelay(true);
        deadline
            .bound("the TLS handshake", self.connector.connect(server_name.clone(), socket))
            .await?
            .map_err(|source| ConnectError::Tls { address: address(), source })
    }
}

/// The authorities that this machine trusts.
pub(crate) fn system_roots() -> Result<RootCertStore, ConnectError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's store often has a few odd certificates; they are no reason to trust none of the others.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let reason = match found.errors.first() {
        Some(error) => error.to_string(),
        None => "there is none; install the system's CA certificates, or give a CA file".to_owned(),
    };
    Err(ConnectError::NoTrust { from: "this machine's certificate store".to_owned(), reason })
}

/// The authorities in a PEM file, and no others.
pub(crate) fn roots_from_file(path: &Path) -> Result<RootCertStore, ConnectError> {
    let pem = std::fs::read(path).map_err(|source| ConnectError::CaFile { path: path.to_owned(), source })?;
    roots_from_pem(&pem, &path.display().to_string())
}

/// The authorities in a PEM text, and no others. `from` is for the error.
pub(crate) fn roots_from_pem(mut pem: &[u8], from: &str) -> Result<RootCertStore, ConnectError> {
    let wrong = |reason: String| ConnectError::NoTrust { from: from.to_owned(), reason };
    let certificates: Vec<CertificateDer<'static>> = rustls_pemfile::certs(&mut pem)
        .collect::<Result<_, io::Error>>()
        .map_err(|error| wrong(format!("it is not valid PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("it has no `BEGIN CERTIFICATE` section".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(roots)
}
