//! How a client is set up, and the token it connects with.

use std::{
    error::Error,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::RootCertStore;

use crate::{
    backoff::ReconnectPolicy,
    client::Client,
    connection::{
        certificate::ClientCertificate,
        dial::{TlsDialer, roots_from_file, roots_from_pem, system_roots},
    },
    endpoint::Endpoint,
    error::ConnectError,
    observer::{Notice, NoticeHandler},
    token::{TokenProvider, TokenSource},
};

/// Which authorities are trusted.
#[derive(Debug)]
enum Trust {
    System,
    File(PathBuf),
    Pem(Vec<u8>),
    Store(RootCertStore),
}

/// What a client works with over all its connections.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) token: Option<TokenSource>,
    pub(crate) name: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) reconnect: ReconnectPolicy,
    pub(crate) max_message_bytes: usize,
    pub(crate) send_queue_bytes: usize,
    pub(crate) receive_queue_bytes: usize,
}

impl Settings {
    pub(crate) fn token_provider(&self) -> Option<&Arc<TokenProvider>> {
        match &self.token {
            Some(TokenSource::Provider(provider)) => Some(provider),
            Some(TokenSource::Fixed(_)) | None => None,
        }
    }
}

/// Sets a client up. Made by [`Client::builder`].
///
/// ```no_run
/// # async fn example() -> Result<(), carillon_client::ConnectError> {
/// use carillon_client::Client;
///
/// let client = Client::builder("wss://broker.example.com")
///     .ca_file("/etc/carillon/ca.pem")
///     .token("a secret")
///     .name("invoices/2.1")
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `connect` is called"]
pub struct ClientBuilder {
    url: String,
    trust: Trust,
    certificate: Option<ClientCertificate>,
    token: Option<TokenSource>,
    name: Option<String>,
    connect_timeout: Duration,
    close_timeout: Duration,
    reconnect: ReconnectPolicy,
    max_message_bytes: usize,
    send_queue_bytes: usize,
    receive_queue_bytes: usize,
    on_notice: Option<NoticeHandler>,
}

impl ClientBuilder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            trust: Trust::System,
            certificate: None,
            token: None,
            name: None,
            connect_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(10),
            reconnect: ReconnectPolicy::default(),
            max_message_bytes: 16 * 1024 * 1024,
            send_queue_bytes: 8 * 1024 * 1024,
            receive_queue_bytes: 8 * 1024 * 1024,
            on_notice: None,
        }
    }

    /// Trusts the authorities in this PEM file, and no others. Without this or its siblings, the system's are trusted.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.trust = Trust::File(path.as_ref().to_owned());
        self
    }

    /// Trusts the authorities in this PEM text, and no others.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust = Trust::Pem(pem.into());
        self
    }

    /// Trusts these authorities, and no others.
    pub fn root_store(mut self, roots: RootCertStore) -> Self {
        self.trust = Trust::Store(roots);
        self
    }

    /// Shows this certificate to a broker that asks for one: a PEM file with the client's own certificate, followed by those
    /// that issued it, and one with its private key, without a passphrase. They are read once, by [`ClientBuilder::connect`].
    /// A broker that lets the client in by its certificate needs no token.
    pub fn client_certificate_files(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let (certificate, key) = (certificate.as_ref().to_owned(), key.as_ref().to_owned());
        self.certificate = Some(ClientCertificate::Files { certificate, key });
        self
    }

    /// The same, from PEM texts.
    pub fn client_certificate_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some(ClientCertificate::Pem { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Connects with this token or API key each time. Without one the client is who its certificate says, or anonymous.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(TokenSource::Fixed(token.into()));
        self
    }

    /// Asks for a token before a connection, and again when the broker tells that the credentials run out: then the live
    /// connection is refreshed with the new token, which is kept for further connections until the broker refuses it.
    ///
    /// There is never more than one call under way, and each has the connect timeout at most. One that fails while
    /// reconnecting is repeated with the next attempt. One that fails to refresh is a
    /// [`Notice::RefreshFailed`], and the connection goes on until its credentials have run
    /// out; then the client connects again.
    ///
    /// ```
    /// # use carillon_client::Client;
    /// let builder = Client::builder("wss://broker.example.com")
    ///     .token_provider(|| async { Ok(std::fs::read_to_string("/run/secrets/carillon")?) });
    /// ```
    pub fn token_provider<P, F>(mut self, provide: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        self.token = Some(TokenSource::provider(provide));
        self
    }

    /// What the application calls itself, best with its version; for the operator's log.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long one attempt to connect may take, from the token to the broker's welcome. 10 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long [`Client::close`] may take. 10 s by default.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// How the client comes back when its connection is lost. The first connection is attempted once, whatever the policy.
    pub fn reconnect(mut self, policy: ReconnectPolicy) -> Self {
        self.reconnect = policy;
        self
    }

    /// The largest WebSocket message, in bytes, that the client takes from the broker; it closes the connection on a larger one.
    /// 16 MiB by default. It must not be below the broker's own limit.
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// How many bytes of publications may wait to be sent or acknowledged, each with 64 bytes on top. 8 MiB by default; then
    /// publishing waits.
    pub fn send_queue_bytes(mut self, bytes: usize) -> Self {
        self.send_queue_bytes = bytes;
        self
    }

    /// How many bytes of events may wait in one subscription, each with 128 bytes on top. 8 MiB by default; then the client stops
    /// reading. The bound may be passed by what is in one WebSocket message, and by four times its size while the
    /// application waits for a reply, which may stand behind the messages that fill the queue. It also bounds a page of history.
    pub fn receive_queue_bytes(mut self, bytes: usize) -> Self {
        self.receive_queue_bytes = bytes;
        self
    }

    /// Calls this with everything that happens to the client beside what its calls return. It is called on the client's task, so
    /// it must not block.
    pub fn on_notice(mut self, handler: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.on_notice = Some(Box::new(handler));
        self
    }

    /// Connects, once. It must be called within a tokio runtime with its I/O and time drivers; the client's task runs there.
    ///
    /// # Errors
    /// [`ConnectError`] says what failed, from the URL to the broker's welcome.
    ///
    /// # Cancel safety
    /// When the future is dropped, the attempt is given up and nothing stays behind.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let endpoint = Endpoint::parse(&self.url)?;
        let roots = match self.trust {
            Trust::Store(roots) => roots,
            Trust::File(path) => roots_from_file(&path)?,
            Trust::Pem(pem) => roots_from_pem(&pem, "the given PEM text")?,
            Trust::System => system_roots()?,
        };
        let certificate = self.certificate.map(ClientCertificate::read).transpose()?;
        let dialer = TlsDialer::new(endpoint.clone(), roots, certificate)?;
        let settings = Settings {
            endpoint,
            token: self.token,
            name: self.name,
            connect_timeout: self.connect_timeout,
            close_timeout: self.close_timeout,
            reconnect: self.reconnect,
            max_message_bytes: self.max_message_bytes,
            send_queue_bytes: self.send_queue_bytes,
            receive_queue_bytes: self.receive_queue_bytes,
        };
        Client::start(dialer, settings, self.on_notice).await
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("url", &self.url).field("token", &self.token).finish_non_exhaustive()
    }
}
