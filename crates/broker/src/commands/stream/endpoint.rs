//! Where an admin listener is.

use std::{fmt, str::FromStr};

use hyper::Uri;

use crate::commands::connection::is_loopback_host;

/// The admin listener's usual port.
const PORT: u16 = 8444;

/// Host and port of an admin listener, and whether it speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
}

/// Why a text is no place of an admin listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EndpointError {
    #[error("an address and a port are needed, or a URL, as in 127.0.0.1:8444 or https://broker.example.com:8444")]
    Malformed,
    #[error("off loopback the admin listener speaks TLS alone; write https://")]
    PlainOffLoopback,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (scheme, place) = text.split_once("://").map_or((None, text), |(scheme, place)| (Some(scheme), place));
        let place = place.strip_suffix('/').unwrap_or(place);
        let uri: Uri = place.parse().map_err(|_| EndpointError::Malformed)?;
        let authority = uri.authority().filter(|authority| authority.as_str() == place && !place.contains('@'));
        let authority = authority.ok_or(EndpointError::Malformed)?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => PORT,
            Some(rest) => rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or(EndpointError::Malformed)?,
            None => return Err(EndpointError::Malformed),
        };
        let bare = authority.host().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(authority.host()).to_owned();
        let is_tls = match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => !is_loopback_host(&host),
            Some("https") => true,
            Some("http") if is_loopback_host(&host) => false,
            Some("http") => return Err(EndpointError::PlainOffLoopback),
            Some(_) => return Err(EndpointError::Malformed),
        };
        if host.is_empty() || port == 0 {
            return Err(EndpointError::Malformed);
        }
        Ok(Self { host, port, is_tls })
    }
}

impl Endpoint {
    /// Host and port, as they stand in a URL.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_urls_are_understood() {
        for (text, expected) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("localhost", "http://localhost:8444"),
            ("[::1]:9000", "http://[::1]:9000"),
            ("http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
            ("https://localhost:9000", "https://localhost:9000"),
            ("broker.example.com:9000", "https://broker.example.com:9000"),
            ("HTTPS://broker.example.com", "https://broker.example.com:8444"),
        ] {
            assert_eq!(
                text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in
            ["", "http://", "127.0.0.1:0", "127.0.0.1:x", "ftp://localhost", "http://a@localhost", "http://localhost/x"]
        {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError::Malformed), "{text}");
        }
        assert_eq!("http://broker.example.com".parse::<Endpoint>(), Err(EndpointError::PlainOffLoopback));
    }
}
