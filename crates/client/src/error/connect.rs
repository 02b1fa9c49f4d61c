//! Why a connection could not be made.

use std::{error::Error, io, path::PathBuf, time::Duration};

use carillon_wire::{CloseCode, code::Return};
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::Refusal;
use crate::endpoint::{Endpoint, UrlError};

/// Why a connection could not be made. The text is for whoever has to set it right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL does not name a broker.
    #[error("the broker's URL is not valid: {0}")]
    Url(#[from] UrlError),
    /// The file with the certificates to trust cannot be read.
    #[error("the CA file {} cannot be read: {source}", path.display())]
    CaFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate to trust, or one that is not a certificate.
    #[error("{from} holds no usable CA certificate: {reason}")]
    NoTrust {
        /// Where it should have come from.
        from: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The client's own certificate, or its key, cannot be used.
    #[error("{from} cannot be used as this client's certificate: {reason}")]
    ClientCertificate {
        /// Where it should have come from.
        from: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The application's token provider failed.
    #[error("no token to connect with: {0}")]
    Token(#[source] Box<dyn Error + Send + Sync>),
    /// No address is known for the host.
    #[error("the address of {host} was not found: {source}")]
    Resolve {
        /// The URL's host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No TCP connection.
    #[error("{address} cannot be reached: {source}")]
    Tcp {
        /// Host and port.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// TLS failed; for certificates the text tells what to do.
    #[error("no TLS connection to {address}: {source}{}", hint(source))]
    Tls {
        /// Host and port.
        address: String,
        /// What TLS said; the inner error is a [`rustls::Error`] unless the socket failed.
        source: io::Error,
    },
    /// The server answered the WebSocket upgrade with another status.
    #[error("the server refused the WebSocket upgrade with HTTP status {status}{}{body}", if body.is_empty() { "" } else { ": " })]
    Http {
        /// The HTTP status.
        status: u16,
        /// The first bytes of the answer's body, which tell why.
        body: String,
        /// When to come back, where the server told in seconds.
        retry_after: Option<Duration>,
    },
    /// The answer to the WebSocket upgrade is not as RFC 6455 demands: something between client and broker gave it, or
    /// changed it.
    #[error("the answer to the WebSocket upgrade is not valid: {reason}")]
    InvalidUpgrade {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server does not speak `carillon.v1`: it is another service.
    #[error("the server at the URL is no Carillon broker: {0}")]
    NotCarillon(String),
    /// The broker refused to connect the client.
    #[error("the broker refused the connection: {0}")]
    Refused(Refusal),
    /// The broker closed the connection before it welcomed the client.
    #[error("the broker closed the connection before its welcome: {reason} ({code}, {})", code.number())]
    Closed {
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        reason: String,
        /// When to come back, where the broker told.
        retry_after: Option<Duration>,
    },
    /// The connection broke on the way.
    #[error("the connection broke {during}: {source}")]
    Broken {
        /// What was under way.
        during: &'static str,
        /// What the operating system, TLS, or the peer said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connect timeout ran out.
    #[error("no connection within {timeout:?}; the client was still waiting for {waiting_for}")]
    Timeout {
        /// What did not come.
        waiting_for: &'static str,
        /// The connect timeout.
        timeout: Duration,
    },
}

impl ConnectError {
    /// Whether the same attempt may succeed later, with nothing changed on this side.
    pub fn is_temporary(&self) -> bool {
        self.advice().0 != Return::Never
    }

    /// The same, unless the connection broke by a TLS alert: then that is the error.
    pub(crate) fn or_alert(self, endpoint: &Endpoint) -> Self {
        if let Self::Broken { source, .. } = &self
            && let Some(alert @ rustls::Error::AlertReceived(_)) = tls_error(source.as_ref())
        {
            return Self::Tls { address: endpoint.address(), source: io::Error::other(alert.clone()) };
        }
        self
    }

    /// What a client that wants to reconnect does after this failure, and how long it was asked to stay away.
    pub(crate) fn advice(&self) -> (Return, Option<Duration>) {
        let later = Return::AfterDelay;
        match self {
            // So a broker refuses. Its 404 is missing here, because a proxy says that too before a broker is behind it.
            Self::Http { status: 400 | 403 | 405 | 426 | 431, .. } => (Return::Never, None),
            Self::Http { retry_after, .. } => (later, *retry_after),
            Self::Refused(refusal) if refusal.is_temporary() => (later, refusal.retry_after),
            Self::Url(_)
            | Self::CaFile { .. }
            | Self::NoTrust { .. }
            | Self::ClientCertificate { .. }
            | Self::NotCarillon(_)
            | Self::Refused(_) => (Return::Never, None),
            Self::Closed { code, retry_after, .. } => (code.client_returns(), *retry_after),
            Self::Token(_)
            | Self::Resolve { .. }
            | Self::Tcp { .. }
            | Self::Tls { .. }
            | Self::InvalidUpgrade { .. }
            | Self::Broken { .. }
            | Self::Timeout { .. } => (later, None),
        }
    }
}

/// The TLS error that lies at the bottom of another one.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(tls);
        }
        next = error.source();
    }
    None
}

/// What to do about a TLS failure, where that is known.
fn hint(error: &io::Error) -> &'static str {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::UnknownIssuer => {
                "; the certificate is signed by an authority that this client does not trust: give it that authority's \
                 certificate as CA file"
            }
            CertificateError::BadSignature => {
                "; the CA file has an authority of that name, but another key: was the authority made anew since?"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "; use a host name or address that the certificate was made for, or have one made for this host"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "; the broker needs a new certificate, unless this machine's clock is wrong"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "; this machine's clock is wrong, or the broker's was when the certificate was made"
            }
            _ => "",
        },
        Some(rustls::Error::AlertReceived(alert)) => alert_hint(*alert),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "; what listens there does not speak TLS: is it another service's port?"
        }
        _ => "",
    }
}

/// What the broker's last word says of this client's certificate: the broker looks at nothing else that could call it so.
fn alert_hint(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired => {
            "; the broker takes no client without a certificate: give this client one, with its key"
        }
        AlertDescription::UnknownCA => {
            "; the broker does not take this client's certificate: it does not know the authority that issued it, or has no \
             current revocation list of that authority"
        }
        AlertDescription::CertificateExpired => {
            "; this client's certificate, or one that issued it, has run out or is not valid yet, unless the broker's clock is \
             wrong"
        }
        AlertDescription::CertificateRevoked => {
            "; this client's certificate, or one that issued it, is revoked: get a new one"
        }
        AlertDescription::UnsupportedCertificate => {
            "; this client's certificate was not made for clients (extended key usage clientAuth)"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => {
            "; the broker does not take this client's certificate; the broker's log tells why at level debug"
        }
        _ => "",
    }
}
