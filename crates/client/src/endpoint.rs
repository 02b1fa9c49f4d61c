//! Where the broker is: a `wss://` URL, taken apart.

use hyper::Uri;
use rustls::pki_types::ServerName;

const DEFAULT_PORT: u16 = 443;
const DEFAULT_PATH: &str = "/ws";

/// A checked URL.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Name or address, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What the certificate must be good for.
    pub(crate) server_name: ServerName<'static>,
    /// Path and query of the HTTP request.
    pub(crate) target: String,
    /// Value of the HTTP request's Host header.
    pub(crate) authority: String,
}

impl Endpoint {
    /// Host and port, for people.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(crate) fn parse(url: &str) -> Result<Self, UrlError> {
        let uri: Uri = url.parse().map_err(|error| UrlError::Syntax { reason: format!("{error}") })?;
        match uri.scheme_str() {
            Some("wss") => {}
            Some(scheme @ ("ws" | "http")) => return Err(UrlError::NotEncrypted { scheme: scheme.to_owned() }),
            Some(scheme) => return Err(UrlError::Scheme { scheme: scheme.to_owned() }),
            None => return Err(UrlError::NoScheme),
        }
        let authority = uri.authority().ok_or(UrlError::NoScheme)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        let in_brackets = authority.host();
        let host = in_brackets.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name =
            ServerName::try_from(host.clone()).map_err(|_| UrlError::Host { host: in_brackets.to_owned() })?;
        // `port_u16` has nothing both for no port and for one that is not a number up to 65535.
        let port = match (authority.port_u16(), authority.as_str().strip_prefix(in_brackets)) {
            (Some(port), _) => port,
            (None, Some("")) => DEFAULT_PORT,
            (None, _) => return Err(UrlError::Port),
        };
        let target = match uri.path_and_query().map_or("/", |target| target.as_str()) {
            "/" | "" => DEFAULT_PATH.to_owned(),
            target => match target.strip_prefix("/?") {
                Some(query) => format!("{DEFAULT_PATH}?{query}"),
                None => target.to_owned(),
            },
        };
        let authority = if port == DEFAULT_PORT { in_brackets.to_owned() } else { format!("{in_brackets}:{port}") };
        Ok(Self { host, port, server_name, target, authority })
    }
}

/// Why a URL does not name a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not a URL.
    #[error("{reason}; expected wss://HOST[:PORT][/PATH]")]
    Syntax {
        /// What the parser found.
        reason: String,
    },
    /// No `wss://` before the host.
    #[error("the scheme is missing; expected wss://HOST[:PORT][/PATH]")]
    NoScheme,
    /// `ws://` or `http://`.
    #[error("`{scheme}://` is not encrypted, and Carillon speaks only over TLS; write wss:// instead")]
    NotEncrypted {
        /// The scheme.
        scheme: String,
    },
    /// Another scheme.
    #[error("the scheme `{scheme}` is not known; write wss:// instead")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// User name or password before the host. They are not repeated here.
    #[error("it holds a user name or password, which the protocol has no place for; give a token instead")]
    Credentials,
    /// Neither a DNS name nor an IP address.
    #[error("`{host}` is neither a DNS name nor an IP address")]
    Host {
        /// What stands in the host's place.
        host: String,
    },
    /// Not a port.
    #[error("the port is not a number from 0 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, u16, String, String) {
        let endpoint = Endpoint::parse(url).unwrap();
        (endpoint.host, endpoint.port, endpoint.target, endpoint.authority)
    }

    fn expected(host: &str, port: u16, target: &str, authority: &str) -> (String, u16, String, String) {
        (host.to_owned(), port, target.to_owned(), authority.to_owned())
    }

    #[test]
    fn port_and_path_have_defaults() {
        assert_eq!(parts("wss://broker.test"), expected("broker.test", 443, "/ws", "broker.test"));
        assert_eq!(parts("wss://broker.test/"), expected("broker.test", 443, "/ws", "broker.test"));
        assert_eq!(parts("wss://broker.test:8443"), expected("broker.test", 8443, "/ws", "broker.test:8443"));
        assert_eq!(parts("wss://broker.test/?a=b"), expected("broker.test", 443, "/ws?a=b", "broker.test"));
        assert_eq!(parts("wss://broker.test/a/b?c"), expected("broker.test", 443, "/a/b?c", "broker.test"));
    }

    #[test]
    fn addresses_are_hosts() {
        assert_eq!(parts("wss://[::1]:8443/ws"), expected("::1", 8443, "/ws", "[::1]:8443"));
        assert_eq!(parts("wss://127.0.0.1"), expected("127.0.0.1", 443, "/ws", "127.0.0.1"));
    }

    #[test]
    fn what_is_not_encrypted_is_refused() {
        for scheme in ["ws", "http"] {
            let error = Endpoint::parse(&format!("{scheme}://broker.test")).unwrap_err();
            assert_eq!(error, UrlError::NotEncrypted { scheme: scheme.to_owned() });
        }
    }

    #[test]
    fn what_names_no_broker_is_refused() {
        assert_eq!(Endpoint::parse("broker.test:8443").unwrap_err(), UrlError::NoScheme);
        assert!(matches!(Endpoint::parse("ftp://broker.test"), Err(UrlError::Scheme { .. })));
        assert!(matches!(Endpoint::parse("wss://"), Err(UrlError::Syntax { .. })));
        assert!(matches!(Endpoint::parse("wss://a_b!"), Err(UrlError::Host { .. })));
        assert_eq!(Endpoint::parse("wss://broker.test:99999").unwrap_err(), UrlError::Port);
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        let error = Endpoint::parse("wss://user:secret@broker.test").unwrap_err();
        assert_eq!(error, UrlError::Credentials);
        assert!(!error.to_string().contains("secret"));
    }
}
