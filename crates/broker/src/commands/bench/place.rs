//! Turns the options of a connection into what the load needs.

use std::{io, net::SocketAddr};

use carillon_bench::{Carillon, Target, TargetError, Trust};
use hyper::Uri;
use tokio::net::{TcpStream, lookup_host};

use crate::{commands::connection::Connection, dev::dev_ca_path};

const DEFAULT_PORT: u16 = 443;

/// A broker, and how it is spoken to.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) target: Target,
    pub(super) dialect: Carillon,
}

/// Why there is no way to the broker.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("`{0}` is no broker's address; expected wss://HOST[:PORT][/PATH]")]
    Url(String),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("no broker at {url}: {reason}")]
    Unreachable { url: String, reason: io::Error },
}

impl Place {
    /// Looks the broker up, and tries which of its addresses answers.
    pub(super) async fn find(connection: &Connection) -> Result<Self, PlaceError> {
        let url = connection.url();
        let wrong = || PlaceError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        if uri.scheme_str() != Some("wss") {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
        let address =
            reachable(host, port).await.map_err(|reason| PlaceError::Unreachable { url: url.to_owned(), reason })?;

        let dev_ca = dev_ca_path();
        let trust = connection.ca_file(&dev_ca).map_or(Trust::SystemRoots, |path| Trust::CaFile(path.to_owned()));
        let mut target = Target::new(address, host, &trust)?;
        if let Some((chain, key)) = connection.certificate_files() {
            target = target.with_client_certificate(chain, key)?;
        }
        let mut dialect = Carillon::default();
        if let Some(token) = connection.token() {
            dialect = dialect.with_token(token);
        }
        if let Some(path) = uri.path_and_query().map(hyper::http::uri::PathAndQuery::as_str).filter(|path| *path != "/")
        {
            dialect = dialect.with_path(path);
        }
        Ok(Self { target, dialect })
    }
}

/// The first of a host's addresses that takes a connection; all of the load goes there.
async fn reachable(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}
