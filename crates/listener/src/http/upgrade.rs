//! The WebSocket upgrade (RFC 6455, section 4.2.1), strict in all that it demands of a client's request.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use carillon_metrics::HandshakeFailure;
use carillon_wire::SUBPROTOCOL;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{
        CONTENT_LENGTH, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
    },
};

use super::Refusal;

/// Bytes of a key before base64 (RFC 6455, section 4.1).
const KEY_BYTES: usize = 16;

/// Checks everything but the origin.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11 {
        return Err(bad("A WebSocket needs HTTP/1.1."));
    }
    if count(headers, &HOST) != 1 {
        return Err(bad("The request must have exactly one Host header."));
    }
    if headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
    {
        return Err(bad("A request for a WebSocket has no body."));
    }
    if !fastwebsockets::upgrade::is_upgrade_request(request) {
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            HandshakeFailure::BadUpgrade,
            "This is a WebSocket endpoint: the request needs `Connection: Upgrade` and `Upgrade: websocket`.",
        )
        .with_header(UPGRADE, "websocket"));
    }
    if !is_one(headers, &SEC_WEBSOCKET_VERSION, |version| version == b"13") {
        return Err(Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            HandshakeFailure::BadUpgrade,
            "The request needs `Sec-WebSocket-Version: 13`.",
        )
        .with_header(SEC_WEBSOCKET_VERSION, "13"));
    }
    if !is_one(headers, &SEC_WEBSOCKET_KEY, is_key) {
        return Err(bad("The request needs one Sec-WebSocket-Key: 16 random bytes in base64."));
    }
    if !offers_subprotocol(headers) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            HandshakeFailure::Subprotocol,
            format!("This broker speaks the WebSocket subprotocol {SUBPROTOCOL}; the request must offer it in Sec-WebSocket-Protocol."),
        )
        .with_header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL));
    }
    Ok(())
}

/// The answer that makes a WebSocket of a request that was checked.
pub(super) fn accept(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
    let (response, _hyper_keeps_no_stream) =
        fastwebsockets::upgrade::upgrade(request).map_err(|_| bad("The request is not for a WebSocket."))?;
    let mut response = response.map(|_| Full::default());
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

fn bad(text: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, HandshakeFailure::BadUpgrade, text)
}

fn count(headers: &HeaderMap, name: &HeaderName) -> usize {
    headers.get_all(name).iter().count()
}

fn is_one(headers: &HeaderMap, name: &HeaderName, accept: impl Fn(&[u8]) -> bool) -> bool {
    count(headers, name) == 1 && headers.get(name).is_some_and(|value| accept(value.as_bytes()))
}

fn is_key(key: &[u8]) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

fn offers_subprotocol(headers: &HeaderMap) -> bool {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|offered| offered.trim() == SUBPROTOCOL)
}
