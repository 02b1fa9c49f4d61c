//! The URL of a JWKS document.

use std::{fmt, str::FromStr};

use hyper::Uri;
use rustls::pki_types::ServerName;

const HTTPS_PORT: u16 = 443;
const MAX_URL_BYTES: usize = 2048;

/// An `https` URL, taken apart for who fetches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JwksUrl {
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What the certificate has to be for.
    pub(super) server_name: ServerName<'static>,
    /// Host and port as they were written.
    pub(super) authority: String,
    /// Path and query.
    pub(super) target: String,
}

/// Why something is no URL to fetch keys from. It does not repeat what was written: that may have a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("it must start with https://, because whoever can change what is fetched can sign tokens")]
    NotHttps,
    #[error("there must be no user name or password in it; public keys need none")]
    UserInfo,
    #[error("there must be no fragment (`#`) in it; it is never sent")]
    Fragment,
    #[error("expected a URL of up to {MAX_URL_BYTES} bytes, as in \"https://login.example.com/.well-known/jwks.json\"")]
    Malformed,
}

impl FromStr for JwksUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        if !text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Err(UrlError::NotHttps);
        }
        if text.len() > MAX_URL_BYTES {
            return Err(UrlError::Malformed);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => HTTPS_PORT,
            Some(rest) => rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or(UrlError::Malformed)?,
            None => return Err(UrlError::Malformed),
        };
        let bare = authority.host().strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(authority.host()).to_owned();
        let server_name = ServerName::try_from(host.clone()).map_err(|_| UrlError::Malformed)?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { host, port, server_name, authority: authority.to_string(), target })
    }
}

/// Without the query, which may hold what is not for the log.
impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "https://{}{path}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        for (text, host, port, target, shown) in [
            ("https://login.test", "login.test", 443, "/", "https://login.test/"),
            ("HTTPS://login.test:8443/a?key=k", "login.test", 8443, "/a?key=k", "https://login.test:8443/a"),
            ("https://[::1]:1/a", "::1", 1, "/a", "https://[::1]:1/a"),
            ("https://127.0.0.1/a", "127.0.0.1", 443, "/a", "https://127.0.0.1/a"),
        ] {
            let url: JwksUrl = text.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port, url.target.as_str()), (host, port, target));
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused_without_repeating_it() {
        for (text, expected) in [
            ("http://hunter2.test/jwks", UrlError::NotHttps),
            ("login.test/jwks", UrlError::NotHttps),
            ("file:///etc/keys", UrlError::NotHttps),
            ("", UrlError::NotHttps),
            ("httpsé//x", UrlError::NotHttps),
            ("https://user:hunter2@login.test/", UrlError::UserInfo),
            ("https://login.test/#keys", UrlError::Fragment),
            ("https://", UrlError::Malformed),
            ("https:///jwks", UrlError::Malformed),
            ("https://login.test:99999/", UrlError::Malformed),
            ("https://login.test:/", UrlError::Malformed),
            ("https://login test/", UrlError::Malformed),
            ("https://-/", UrlError::Malformed),
        ] {
            let error = text.parse::<JwksUrl>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
        let long = format!("https://login.test/{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(long.parse::<JwksUrl>(), Err(UrlError::Malformed));
    }
}
