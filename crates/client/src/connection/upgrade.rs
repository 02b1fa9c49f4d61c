//! The WebSocket upgrade over HTTP/1.1, checked as RFC 6455 section 4.1 demands of a client.

use std::{io::Cursor, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use carillon_wire::SUBPROTOCOL;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{
        CONNECTION, HOST, HeaderMap, HeaderName, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
    },
};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{endpoint::Endpoint, error::ConnectError};

/// The answer's head may not be larger.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// This much of a refusal's body is shown.
const MAX_REASON_BYTES: usize = 1024;
/// Appended to the key, as RFC 6455 says.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A stream that speaks WebSocket from here on.
pub(super) struct Upgraded<S> {
    pub(super) stream: S,
    /// What the broker sent right behind its answer.
    pub(super) early: Cursor<Bytes>,
}

pub(super) async fn upgrade<S>(stream: S, endpoint: &Endpoint) -> Result<Upgraded<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = BASE64.encode(rand::random::<[u8; 16]>());
    let request = request(endpoint, &key)?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Hyper's own upgrade would box the stream; this way it comes back as it was.
    let mut connection = std::pin::pin!(connection.without_shutdown());
    let mut exchange = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            check(response.headers(), &key)
        } else {
            Err(refused(response).await)
        }
    });
    let mut ended = None;
    loop {
        tokio::select! {
            biased;
            outcome = &mut exchange => break outcome?,
            parts = &mut connection, if ended.is_none() => ended = Some(parts),
        }
    }
    let parts = match ended {
        Some(parts) => parts,
        None => connection.await,
    }
    .map_err(broken)?;
    Ok(Upgraded { stream: parts.io.into_inner(), early: Cursor::new(parts.read_buf) })
}

fn request(endpoint: &Endpoint, key: &str) -> Result<Request<Empty<Bytes>>, ConnectError> {
    Request::get(&endpoint.target)
        .header(HOST, &endpoint.authority)
        .header(USER_AGENT, super::CLIENT)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, key)
        .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .body(Empty::new())
        .map_err(|error| ConnectError::Broken { during: "making the HTTP request", source: error.into() })
}

fn broken(error: hyper::Error) -> ConnectError {
    ConnectError::Broken { during: "during the WebSocket upgrade", source: error.into() }
}

async fn refused(response: Response<Incoming>) -> ConnectError {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let body = match Limited::new(response.into_body(), MAX_REASON_BYTES).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().escape_debug().to_string(),
        Err(error) if error.is::<LengthLimitError>() => "(a long page)".to_owned(),
        Err(_) => String::new(),
    };
    ConnectError::Http { status, body, retry_after: retry_after.map(Duration::from_secs) }
}

/// Whether the answer accepts this very upgrade, and is a Carillon broker's.
fn check(headers: &HeaderMap, key: &str) -> Result<(), ConnectError> {
    let invalid = |reason: &'static str| Err(ConnectError::InvalidUpgrade { reason });
    if !has_token(headers, &UPGRADE, "websocket") {
        return invalid("it has no `Upgrade: websocket`");
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return invalid("it has no `Connection: Upgrade`");
    }
    let expected = accept_for(key);
    if single(headers, &SEC_WEBSOCKET_ACCEPT) != Some(expected.as_bytes()) {
        return invalid("its Sec-WebSocket-Accept does not belong to this request; a cache may have answered");
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return invalid("it has a WebSocket extension, and none was offered");
    }
    let other = match single(headers, &SEC_WEBSOCKET_PROTOCOL) {
        Some(protocol) if protocol == SUBPROTOCOL.as_bytes() => return Ok(()),
        Some(other) => format!("it chose the subprotocol `{}`; expected {SUBPROTOCOL}", other.escape_ascii()),
        None => format!("it did not choose the subprotocol {SUBPROTOCOL}; does the URL have the broker's path?"),
    };
    Err(ConnectError::NotCarillon(other))
}

fn accept_for(key: &str) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX).finalize())
}

/// The header's value, when it is there once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// Whether a header that is a list has a token, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(key: &str) -> HeaderMap {
        HeaderMap::from_iter([
            (UPGRADE, "WebSocket".parse().unwrap()),
            (CONNECTION, "keep-alive, Upgrade".parse().unwrap()),
            (SEC_WEBSOCKET_ACCEPT, accept_for(key).parse().unwrap()),
            (SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL.parse().unwrap()),
        ])
    }

    #[test]
    fn accept_is_that_of_the_rfc_example() {
        assert_eq!(accept_for("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn complaint(headers: &HeaderMap, key: &str) -> String {
        check(headers, key).unwrap_err().to_string()
    }

    #[test]
    fn lists_and_case_do_not_matter() {
        check(&answer("k"), "k").unwrap();
    }

    #[test]
    fn each_header_is_needed() {
        for name in [UPGRADE, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL] {
            let mut headers = answer("k");
            headers.remove(&name);
            assert!(check(&headers, "k").is_err(), "{name}");
        }
    }

    #[test]
    fn an_answer_to_another_key_is_refused() {
        assert!(complaint(&answer("k"), "other").contains("Sec-WebSocket-Accept"));
    }

    #[test]
    fn what_was_not_offered_is_refused() {
        let mut headers = answer("k");
        headers.insert(SEC_WEBSOCKET_PROTOCOL, "mqtt".parse().unwrap());
        assert!(complaint(&headers, "k").contains("mqtt"));
        let mut headers = answer("k");
        headers.append(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL.parse().unwrap());
        assert!(check(&headers, "k").is_err());
        let mut headers = answer("k");
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate".parse().unwrap());
        assert!(complaint(&headers, "k").contains("extension"));
    }
}
