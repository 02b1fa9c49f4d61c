//! The HTTP part of a connection: one request, which becomes a WebSocket or gets an answer that says why not.

mod lines;
mod origin;
mod upgrade;

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{poll_fn, ready},
    io,
    net::IpAddr,
};

use bytes::Bytes;
use carillon_access::identity::Secret;
use carillon_metrics::HandshakeFailure;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Duration, timeout},
};

use self::lines::WatchedLines;
use crate::settings::Settings;

/// The path that the WebSocket is at.
pub const WEBSOCKET_PATH: &str = "/ws";

/// The smallest read buffer that hyper accepts.
const MIN_HEAD_BYTES: usize = 8 << 10;
/// For a refused client to read the answer.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);
/// What a refused client may still send before the socket is closed on it.
const DISCARDED_BYTES: u64 = 256 << 10;

/// A stream that became a WebSocket, and what the client had sent behind its request.
pub(crate) struct Upgraded<S> {
    pub(crate) stream: S,
    pub(crate) early: Bytes,
    /// What stood behind `Bearer` in the request's `Authorization`.
    pub(crate) authorization: Option<Secret>,
}

/// Answers one request. `Err` tells why the connection does not go on as a WebSocket; the client has been told.
///
/// `address` holds the peer's, and then the client's, if a trusted proxy tells it in the request.
///
/// The caller bounds the time. Dropping the future drops the stream.
pub(crate) async fn upgrade<S>(
    stream: S,
    address: &Cell<IpAddr>,
    settings: &Settings,
) -> Result<Upgraded<S>, HandshakeFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let peer = address.get();
    let outcome = Cell::new(Err(HandshakeFailure::HttpError));
    let authorization = RefCell::new(None);
    let has_bare_lf = Cell::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let answer = if has_bare_lf.get() {
            Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                HandshakeFailure::HttpError,
                "A line of the request ends with LF alone; lines end with CR LF.",
            ))
        } else {
            address.set(settings.proxies.client_address(peer, request.headers()));
            *authorization.borrow_mut() = bearer(request.headers());
            answer(request, settings)
        };
        let (response, result) = match answer {
            Ok(response) => (response, Ok(())),
            Err(refusal) => (refusal.response(), Err(refusal.failure)),
        };
        outcome.set(result);
        ready(Ok::<_, Infallible>(response))
    });
    let mut connection = http1::Builder::new()
        // The caller's deadline covers this and more.
        .header_read_timeout(None)
        // The answer is there at once. Else hyper would look for the client's end before it writes that, and TLS takes whoever
        // waits for the client for one with nothing to write.
        .half_close(true)
        .max_buf_size(settings.limits.max_http_head_bytes.max(MIN_HEAD_BYTES))
        .serve_connection(TokioIo::new(WatchedLines::new(stream, &has_bare_lf)), service);
    let served = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let stream = parts.io.into_inner().into_inner();
    match served.map_err(|_| HandshakeFailure::HttpError).and_then(|()| outcome.get()) {
        Ok(()) => Ok(Upgraded { stream, early: parts.read_buf, authorization: authorization.take() }),
        Err(failure) => {
            let _ = timeout(GOODBYE_DEADLINE, say_goodbye(stream)).await;
            Err(failure)
        }
    }
}

/// Ends a stream so that its last answer is read: closing while the client still sends would reset the connection.
pub(crate) async fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(DISCARDED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

/// The credentials of a request, as services can send them; browsers cannot. A header that is none of ours is passed
/// over: whether anybody comes in without credentials is decided where those of the connect message are.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(token.trim()))
}

/// The answer to a request that does not become a WebSocket.
pub(crate) struct Refusal {
    status: StatusCode,
    /// Whole sentences, for the person who reads them.
    text: String,
    header: Option<(hyper::header::HeaderName, HeaderValue)>,
    failure: HandshakeFailure,
}

impl Refusal {
    fn new(status: StatusCode, failure: HandshakeFailure, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), header: None, failure }
    }

    fn with_header(mut self, name: hyper::header::HeaderName, value: &'static str) -> Self {
        self.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(format!("{}\n", self.text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        // The text repeats some of the request.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // One request for each connection: nobody holds a slot by asking again and again.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some((name, value)) = &self.header {
            headers.insert(name, value.clone());
        }
        response
    }
}

fn answer(request: Request<Incoming>, settings: &Settings) -> Result<Response<Full<Bytes>>, Refusal> {
    if request.uri().path() != WEBSOCKET_PATH {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            HandshakeFailure::NotFound,
            format!("Nothing is at this path. This is a Carillon broker: its WebSocket is at {WEBSOCKET_PATH}."),
        ));
    }
    if request.method() != Method::GET {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            HandshakeFailure::BadUpgrade,
            "A WebSocket is asked for with GET.",
        )
        .with_header(ALLOW, "GET"));
    }
    upgrade::check(&request)?;
    origin::check(request.headers(), &settings.origins)?;
    upgrade::accept(request)
}
