//! Why an issuer's keys could not be fetched.

use std::{error::Error, fmt, io, time::Duration};

use carillon_access::identity::{JwksError, limits::MAX_DOCUMENT_BYTES};
use carillon_metrics::JwksFetchResult;
use hyper::StatusCode;
use rustls::CertificateError;

/// Why an issuer's keys could not be fetched, for the operator.
#[derive(Debug, thiserror::Error)]
pub(in crate::access) enum FetchError {
    #[error("not done within {} s: it was still {doing}", limit.as_secs_f32())]
    Deadline { limit: Duration, doing: &'static str },
    #[error("the address of {host} cannot be found: {source}")]
    Lookup { host: String, source: io::Error },
    #[error("{address} takes no connection: {source}")]
    Connect { address: String, source: io::Error },
    #[error("TLS with {address} failed: {source}{}", advice(source))]
    Tls { address: String, source: io::Error },
    #[error("the exchange over HTTP broke off: {}", Chain(.0))]
    Http(#[from] hyper::Error),
    #[error("{0} is no URL that an HTTP request can be made of")]
    Target(String),
    #[error(
        "the answer is a redirect ({status}) to {}, and redirects are not followed; if that is where the keys are, name it \
         in jwks_url",
        to.as_deref().unwrap_or("nowhere")
    )]
    Redirect { status: StatusCode, to: Option<String> },
    #[error("the answer has the status {0}; only 200 brings keys")]
    Status(StatusCode),
    #[error("the answer has more than {MAX_DOCUMENT_BYTES} bytes, and so is no JWKS document")]
    TooLarge,
    #[error("the answer is encoded as {0}, which was not asked for")]
    Encoded(String),
    #[error(transparent)]
    Document(#[from] JwksError),
    #[error("the JWKS document has no key for the issuer's algorithms ({0})")]
    NoKeyFor(String),
}

impl FetchError {
    /// How it is counted.
    pub(super) const fn result(&self) -> JwksFetchResult {
        match self {
            Self::Deadline { .. } => JwksFetchResult::Timeout,
            Self::Lookup { .. } | Self::Connect { .. } | Self::Tls { .. } | Self::Http(_) | Self::Target(_) => {
                JwksFetchResult::Unreachable
            }
            Self::Redirect { .. } | Self::Status(_) => JwksFetchResult::BadStatus,
            Self::TooLarge | Self::Encoded(_) | Self::Document(_) | Self::NoKeyFor(_) => JwksFetchResult::BadDocument,
        }
    }
}

/// What to do about a certificate that nobody known has issued.
fn advice(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|source| source.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "; if its CA is a private one, name the CA's certificate in jwks_ca_file"
        }
        _ => "",
    }
}

/// An error with what caused it, which hyper's own text leaves out.
struct Chain<'a>(&'a hyper::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
