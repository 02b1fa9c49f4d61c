//! Where the broker is, how to trust it, and how the load's TLS is made.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde::Serialize;
use tokio::net::{TcpSocket, TcpStream};

use crate::tickets::TicketStore;

/// Connections from one source address; a range of ports holds more than twice as many.
const CONNECTIONS_FOR_EACH_ADDRESS: usize = 10_000;
/// The third number of a target's source addresses on loopback, 127.0.N.x: each target of a process has another. A port stays
/// taken for a minute after its connection, and with most of them taken, to find one costs more than the connection does.
static NEXT_NETWORK: AtomicU8 = AtomicU8::new(0);

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The authorities in a PEM file.
    CaFile(PathBuf),
    /// Those that the system trusts.
    SystemRoots,
}

/// How keys are agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyExchange {
    /// As any client of Carillon: X25519MLKEM768 first, then the classical groups.
    #[default]
    Default,
    /// X25519 alone, which every server of a comparison knows.
    X25519,
}

/// Whether TLS sessions are resumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tickets {
    /// Each handshake is a full one.
    #[default]
    Never,
    /// Each ticket that comes is kept, and used once.
    Kept,
}

/// A broker, and how to reach it.
#[derive(Debug, Clone)]
pub struct Target {
    address: SocketAddr,
    authority: String,
    server_name: ServerName<'static>,
    full: ClientConfig,
    tickets: Arc<TicketStore>,
    headers: Vec<(String, String)>,
    receive_bytes: Option<u32>,
    network: u8,
}

/// Why there is no way to a broker.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// What the certificate must be good for.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    ServerName(String),
    /// A file with certificates or a key.
    #[error("{} cannot be read: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// No authority to trust.
    #[error("there is no authority to trust: {0}")]
    NoTrust(String),
    /// TLS cannot be set up so.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Target {
    /// A broker at `address` whose certificate must be good for `server_name`.
    pub fn new(address: SocketAddr, server_name: &str, trust: &Trust) -> Result<Self, TargetError> {
        Self::with_key_exchange(address, server_name, trust, KeyExchange::Default)
    }

    /// The same, with keys agreed on in this way.
    pub fn with_key_exchange(
        address: SocketAddr,
        server_name: &str,
        trust: &Trust,
        key_exchange: KeyExchange,
    ) -> Result<Self, TargetError> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| TargetError::ServerName(server_name.to_owned()))?;
        let mut full = ClientConfig::builder_with_provider(Arc::new(provider(key_exchange)))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(trust)?)
            .with_no_client_auth();
        full.resumption = Resumption::disabled();
        let host = if server_name.contains(':') { format!("[{server_name}]") } else { server_name.to_owned() };
        Ok(Self {
            address,
            authority: format!("{host}:{}", address.port()),
            server_name: name,
            full,
            tickets: Arc::default(),
            headers: Vec::new(),
            receive_bytes: None,
            network: NEXT_NETWORK.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Shows a certificate: PEM files with the client's own, followed by those that issued it, and with its key.
    pub fn with_client_certificate(mut self, chain: &Path, key: &Path) -> Result<Self, TargetError> {
        let wrong = |path: &Path, error: &dyn std::fmt::Display| TargetError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(chain).and_then(Iterator::collect).map_err(|error| wrong(chain, &error))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
        let certified = rustls::sign::CertifiedKey::from_der(certificates, key, self.full.crypto_provider())?;
        self.full.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        Ok(self)
    }

    /// Sends one more header with every upgrade.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has the system take only about so many bytes before they are read, so that who reads slowly is felt soon.
    #[must_use]
    pub fn with_receive_bytes(self, bytes: u32) -> Self {
        Self { receive_bytes: Some(bytes), ..self }
    }

    /// Where the broker is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many tickets wait to be used.
    pub fn tickets_kept(&self) -> usize {
        self.tickets.len()
    }

    /// Has all handshakes be full ones, whose tickets are kept, until it is told otherwise.
    pub(crate) fn gather_tickets_only(&self, is_gathering: bool) {
        self.tickets.gather_only(is_gathering);
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn server_name(&self) -> ServerName<'static> {
        self.server_name.clone()
    }

    /// The settings of TLS for all connections of one run.
    pub(crate) fn config(&self, tickets: Tickets) -> Arc<ClientConfig> {
        let mut config = self.full.clone();
        if tickets == Tickets::Kept {
            let store: Arc<TicketStore> = Arc::clone(&self.tickets);
            config.resumption = Resumption::store(store);
        }
        Arc::new(config)
    }

    /// Connects TCP. On loopback `number` spreads many connections over source addresses, each of which has about 28,000
    /// ports.
    pub(crate) async fn connect_tcp(&self, number: usize) -> io::Result<TcpStream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = self.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if self.address.is_ipv4() && self.address.ip().is_loopback() {
            let last = u8::try_from(1 + number / CONNECTIONS_FOR_EACH_ADDRESS).unwrap_or(u8::MAX);
            socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, self.network, last)), 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

fn provider(key_exchange: KeyExchange) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if key_exchange == KeyExchange::X25519 {
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    }
    provider
}

fn roots(trust: &Trust) -> Result<RootCertStore, TargetError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::CaFile(path) => {
            let wrong =
                |error: &dyn std::fmt::Display| TargetError::File { path: path.clone(), reason: error.to_string() };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
                roots.add(certificate.map_err(|error| wrong(&error))?)?;
            }
            if roots.is_empty() {
                return Err(TargetError::NoTrust(format!("{} holds no certificate", path.display())));
            }
        }
        Trust::SystemRoots => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why = found.errors.first().map_or_else(|| "the system has none".to_owned(), ToString::to_string);
                return Err(TargetError::NoTrust(why));
            }
        }
    }
    Ok(roots)
}
