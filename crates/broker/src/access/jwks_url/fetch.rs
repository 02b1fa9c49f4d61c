//! One fetch of a JWKS document: look up, connect, ask, read.

use std::{net::SocketAddr, pin::pin, time::Duration};

use carillon_access::identity::{Jwks, limits::MAX_DOCUMENT_BYTES};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{JwksSource, error::FetchError};

/// The answer's head may not be larger.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// One address that swallows everything must not use up the time for the others.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// This much of where a redirect leads is shown.
const MAX_LOCATION_CHARS: usize = 200;

/// What a fetch brought.
#[derive(Debug)]
pub(in crate::access) struct Document {
    /// Its keys; at least one is for the issuer's algorithms.
    pub(in crate::access) jwks: Jwks,
    /// How long the source says that it may be kept. A source that says 0, as many do for everything they serve, says
    /// nothing that could be heeded: without any keeping there is no verifying.
    pub(super) max_age_s: Option<u64>,
}

/// Fetches the document, within the source's deadline. Cancel-safe: given up, it leaves nothing behind.
pub(in crate::access) async fn fetch(source: &JwksSource) -> Result<Document, FetchError> {
    let deadline = Deadline { at: Instant::now() + source.deadline, limit: source.deadline };
    let stream = connect(source, deadline).await?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    let mut exchange = pin!(async {
        let answer =
            deadline.bound("waiting for the answer", async { Ok(sender.send_request(request(source)?).await?) });
        read(source, answer.await?, deadline).await
    });
    let mut connection = pin!(connection);
    let mut has_ended = false;
    loop {
        tokio::select! {
            biased;
            outcome = &mut exchange => return outcome,
            // Its errors are the exchange's too.
            _ = &mut connection, if !has_ended => has_ended = true,
        }
    }
}

async fn connect(source: &JwksSource, deadline: Deadline) -> Result<TlsStream<TcpStream>, FetchError> {
    let url = &source.url;
    let addresses = deadline.bound("looking up the host", async {
        let found = lookup_host((url.host.as_str(), url.port)).await;
        found.map(alternating).map_err(|source| FetchError::Lookup { host: url.host.clone(), source })
    });
    let mut failed = FetchError::Lookup { host: url.host.clone(), source: std::io::ErrorKind::NotFound.into() };
    for address in addresses.await? {
        let attempt = async { timeout(CONNECT_LIMIT, TcpStream::connect(address)).await.map_err(Into::into).flatten() };
        match deadline.bound("connecting", async { Ok(attempt.await) }).await? {
            Err(source) => failed = FetchError::Connect { address: address.to_string(), source },
            Ok(socket) => {
                let handshake = TlsConnector::from(source.tls.clone()).connect(url.server_name.clone(), socket);
                let failed = |source| FetchError::Tls { address: address.to_string(), source };
                return deadline.bound("in the TLS handshake", async { handshake.await.map_err(failed) }).await;
            }
        }
    }
    Err(failed)
}

/// IPv4 and IPv6 by turns, beginning with what the system puts first, so that a family without a route costs one try.
fn alternating(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut v4, mut v6) = (0, 0);
    let mut turns: Vec<_> = addresses
        .map(|address| {
            let turn = if address.is_ipv4() { &mut v4 } else { &mut v6 };
            *turn += 1;
            (*turn, address)
        })
        .collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, address)| address).collect()
}

fn request(source: &JwksSource) -> Result<Request<Empty<Bytes>>, FetchError> {
    Request::get(&source.url.target)
        .header(HOST, &source.url.authority)
        .header(USER_AGENT, concat!("carillon/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|_| FetchError::Target(source.url.to_string()))
}

async fn read(source: &JwksSource, answer: Response<Incoming>, deadline: Deadline) -> Result<Document, FetchError> {
    let (head, body) = answer.into_parts();
    if head.status.is_redirection() {
        // Without the query, which often repeats that of the URL, and may hold what is not for the log.
        let place = |to: &[u8]| shown(to.split(|byte| b"?#".contains(byte)).next().unwrap_or_default());
        let to = head.headers.get(LOCATION).map(|to| place(to.as_bytes()));
        return Err(FetchError::Redirect { status: head.status, to });
    }
    if head.status != StatusCode::OK {
        return Err(FetchError::Status(head.status));
    }
    if let Some(encoding) = head.headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(FetchError::Encoded(shown(encoding.as_bytes())));
    }
    // What says that it is too large need not be read to its end.
    if body.size_hint().lower() > MAX_DOCUMENT_BYTES as u64 {
        return Err(FetchError::TooLarge);
    }
    let body = deadline.bound("reading the answer", async {
        Limited::new(body, MAX_DOCUMENT_BYTES).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(broken) => FetchError::Http(*broken),
            Err(error) => {
                debug_assert!(error.is::<LengthLimitError>(), "nothing else can fail");
                FetchError::TooLarge
            }
        })
    });
    let jwks = Jwks::parse(&body.await?.to_bytes())?;
    if !source.uses(&jwks.keys) {
        let names: Vec<_> = source.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        return Err(FetchError::NoKeyFor(names.join(", ")));
    }
    Ok(Document { jwks, max_age_s: max_age_s(&head.headers).filter(|max_age_s| *max_age_s > 0) })
}

/// `max-age` of `Cache-Control`, in seconds.
fn max_age_s(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        let is_max_age = name.trim().eq_ignore_ascii_case("max-age");
        is_max_age.then(|| value.trim().trim_matches('"').parse().ok()).flatten()
    })
}

/// What came from outside, safe to look at.
fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(MAX_LOCATION_CHARS).collect();
    format!("{text:?}")
}

/// The end of the time for all steps together.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    async fn bound<T>(
        self,
        doing: &'static str,
        step: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        timeout_at(self.at, step).await.unwrap_or(Err(FetchError::Deadline { limit: self.limit, doing }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_take_turns() {
        let of = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = of(&["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let expected = of(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"]);
        assert_eq!(alternating(found.into_iter()), expected);
    }

    #[test]
    fn age_is_found_among_other_directives() {
        for (values, expected) in [
            (&["public, max-age=300"][..], Some(300)),
            (&["no-transform", "Max-Age = \"60\""], Some(60)),
            (&["s-maxage=7"], None),
            (&["max-age=soon"], None),
            (&["max-age=-1"], None),
            (&[], None),
        ] {
            let headers = values.iter().map(|value| (CACHE_CONTROL, value.parse().unwrap()));
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name, value);
            }
            assert_eq!(max_age_s(&map), expected, "{values:?}");
        }
    }
}
