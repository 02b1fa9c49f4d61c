//! How `pub`, `sub` and `bench` reach a broker.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use carillon_client::{Client, ClientBuilder, ConnectError, ReconnectPolicy};
use hyper::Uri;

use super::{EXIT_FAILURE, EXIT_USAGE, fail};
use crate::{config::Secret, dev::dev_ca_path};

/// The broker refused some of the publications.
pub(super) const EXIT_REFUSED: u8 = 3;
/// The time that `--timeout` gives was over; the status of timeout(1).
pub(super) const EXIT_TIMEOUT: u8 = 124;

/// Where the broker is, and who asks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The broker's URL; the path defaults to /ws
    #[arg(long, value_name = "URL", env = "CARILLON_URL", default_value = "wss://localhost:8443/ws")]
    url: String,
    /// PEM file with the authorities to trust [default: for a broker on loopback what `serve --dev` made, where it is there;
    /// else the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file with this client's own certificate, for a broker that asks for one, followed by those that issued it
    #[arg(long, value_name = "FILE", env = "CARILLON_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", env = "CARILLON_KEY", requires = "cert")]
    key: Option<PathBuf>,
    /// Token or API key to connect with; better given in the environment, where other users cannot see it
    #[arg(long, value_name = "TOKEN", env = "CARILLON_TOKEN", hide_env_values = true, value_parser = super::secret())]
    token: Option<Secret>,
    /// Give up after this long, with exit status 124
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

/// A time of more than nothing.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "a number of seconds is needed, as in 2.5".to_owned())?;
    match Duration::try_from_secs_f64(number) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout),
        _ => Err("the time must be more than 0 seconds, and less than an age of the world".to_owned()),
    }
}

impl Connection {
    /// Connects, once; `reconnect` says what happens when the connection is lost later.
    pub(super) async fn open(&self, reconnect: ReconnectPolicy) -> Result<Client, ConnectError> {
        self.builder(&dev_ca_path()).reconnect(reconnect).connect().await
    }

    fn builder(&self, dev_ca: &Path) -> ClientBuilder {
        let mut builder = Client::builder(&self.url).name(concat!("carillon/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = self.ca_file(dev_ca) {
            builder = builder.ca_file(ca);
        }
        if let Some((cert, key)) = self.certificate_files() {
            builder = builder.client_certificate_files(cert, key);
        }
        match self.token() {
            Some(token) => builder.token(token),
            None => builder,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The client's own certificate and its key. A variable that is set to nothing means none.
    pub(super) fn certificate_files(&self) -> Option<(&Path, &Path)> {
        fn given(path: Option<&PathBuf>) -> Option<&Path> {
            path.map(PathBuf::as_path).filter(|path| !path.as_os_str().is_empty())
        }
        given(self.cert.as_ref()).zip(given(self.key.as_ref()))
    }

    /// The token or API key. A variable that is set to nothing means none.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(Secret::expose).filter(|token| !token.is_empty())
    }

    /// The file with the authorities to trust; none: the system's.
    pub(super) fn ca_file<'a>(&'a self, dev_ca: &'a Path) -> Option<&'a Path> {
        self.ca.as_deref().or_else(|| (is_loopback(&self.url) && dev_ca.exists()).then_some(dev_ca))
    }

    /// Runs what a command does, but not longer than it may take.
    pub(super) async fn within_timeout(&self, command: impl Future<Output = ExitCode>) -> ExitCode {
        within(self.timeout, command).await
    }
}

/// Runs what a command does, but not longer than this.
pub(super) async fn within(timeout: Option<Duration>, command: impl Future<Output = ExitCode>) -> ExitCode {
    match timeout {
        None => command.await,
        Some(timeout) => match tokio::time::timeout(timeout, command).await {
            Ok(code) => code,
            Err(_) => fail(EXIT_TIMEOUT, &format_args!("not done within {timeout:?}")),
        },
    }
}

/// The policy for when the connection is lost.
pub(super) fn policy(reconnect: bool) -> ReconnectPolicy {
    if reconnect { ReconnectPolicy::default() } else { ReconnectPolicy::never() }
}

/// Tells why there is no connection.
pub(super) fn refused(error: &ConnectError) -> ExitCode {
    let code = match error {
        ConnectError::Url(_)
        | ConnectError::CaFile { .. }
        | ConnectError::NoTrust { .. }
        | ConnectError::ClientCertificate { .. } => EXIT_USAGE,
        _ => EXIT_FAILURE,
    };
    fail(code, error)
}

fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    is_loopback_host(uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']'))
}

/// Whether a host, without brackets, is this machine.
pub(super) fn is_loopback_host(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        connection: Connection,
    }

    fn parsed(flags: &[&str]) -> Connection {
        Line::try_parse_from([&["carillon"], flags].concat()).unwrap().connection
    }

    #[test]
    fn development_authority_is_for_loopback_alone() {
        let here = tempfile::NamedTempFile::new().unwrap();
        for url in ["wss://localhost:8443", "wss://127.0.0.2/ws", "wss://[::1]:8443/ws", "wss://a.localhost"] {
            assert_eq!(parsed(&["--url", url]).ca_file(here.path()), Some(here.path()), "{url}");
        }
        for url in ["wss://broker.example.com", "wss://localhost.example.com", "not a url"] {
            assert_eq!(parsed(&["--url", url]).ca_file(here.path()), None, "{url}");
        }
    }

    #[test]
    fn given_authority_comes_first_and_a_missing_one_is_none() {
        let here = tempfile::NamedTempFile::new().unwrap();
        let given = parsed(&["--url", "wss://localhost", "--ca", "given.pem"]);
        assert_eq!(given.ca_file(here.path()), Some(Path::new("given.pem")));
        assert_eq!(parsed(&["--url", "wss://localhost"]).ca_file(Path::new("/nowhere/ca.pem")), None);
    }

    #[test]
    fn token_is_not_shown() {
        let connection = parsed(&["--token", "a-secret"]);
        assert!(!format!("{connection:?} {:?}", connection.builder(Path::new(""))).contains("a-secret"));
    }

    #[test]
    fn certificate_and_key_come_together() {
        let both = parsed(&["--cert", "client.pem", "--key", "client-key.pem"]);
        assert!(both.cert.is_some() && both.key.is_some());
        for alone in [["--cert", "client.pem"], ["--key", "client-key.pem"]] {
            assert!(Line::try_parse_from(["carillon", alone[0], alone[1]]).is_err(), "{alone:?}");
        }
    }

    #[test]
    fn timeouts_are_positive_seconds() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        for wrong in ["0", "-1", "soon", "NaN", "1e99", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
