//! The page at `/watch`: a whole client in a browser that shows what the broker delivers. It is there for development
//! alone, because whoever opens it needs no credentials.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};
use rustls::crypto::{GetRandomFailed, aws_lc_rs};

use super::answer::{text, with_type};

const HTML: &str = "text/html; charset=utf-8";
const PAGE: &str = include_str!("watch.html");

/// The page, for a broker whose clients connect to `broker`.
///
/// It may run its own script and style, which carry a number that is new each time, connect to this machine, and nothing
/// else: a payload that made it into the page as HTML could still do nothing.
pub(super) fn page(broker: SocketAddr) -> Response<Full<Bytes>> {
    let Ok(nonce) = nonce() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no random numbers\n");
    };
    let url = format!("wss://localhost:{}/ws", broker.port());
    let mut answer = with_type(StatusCode::OK, HTML, PAGE.replace("{nonce}", &nonce).replace("{broker}", &url));
    let headers: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_SECURITY_POLICY, policy(&nonce)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    answer.headers_mut().extend(headers);
    answer
}

fn policy(nonce: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
         connect-src wss://localhost:* wss://127.0.0.1:*; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// 128 random bits, as hexadecimal digits.
fn nonce() -> Result<String, GetRandomFailed> {
    let mut bits = [0; 16];
    aws_lc_rs::default_provider().secure_random.fill(&mut bits)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bits)))
}
