//! Keeps web pages from what only an operator may ask.
//!
//! A browser runs pages of strangers beside whatever listens on loopback, and sends their requests there. Three things can
//! be told of such a request, whoever wrote the page:
//!
//! - To another origin than its own, a page sends only what a form could, unless the browser has asked first (a CORS
//!   preflight, an OPTIONS request). This listener never agrees to that, so a POST that carries [`HEADER`] is no page's. Nor
//!   can a page read the answer to a GET.
//! - A page whose server has made its own name point to this machine (DNS rebinding) is of the same origin, and may send
//!   every header and read every answer. But the browser names that host: so without a token, only hosts that nobody can
//!   rebind are served, which are IP addresses and `localhost`.
//! - A page does not know the token, where there is one; then any host will do.
//!
//! A body would be read by nobody, and is refused, so that nobody believes that it was heeded.

use std::net::IpAddr;

use hyper::{Request, StatusCode, body::Body, header::HOST};

use super::Refusal;

/// What every change must carry, with the value `1`. Browsers send no page's request with it to a stranger.
pub(crate) const HEADER: &str = "carillon-admin";

pub(super) fn check<B: Body>(request: &Request<B>, is_change: bool, has_token: bool) -> Result<(), Refusal> {
    if !request.body().is_end_stream() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "this takes no body; what is asked for stands in the URL"));
    }
    if !has_token && !request.headers().get(HOST).is_some_and(|host| host.to_str().is_ok_and(is_fixed)) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "without admin.token, streams are shown to those who ask for an IP address or for localhost: a name could be one \
             that a web page has made to point here",
        ));
    }
    if is_change && request.headers().get(HEADER).is_none_or(|value| value != "1") {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "the header `Carillon-Admin: 1` is needed, which a web page cannot send here",
        ));
    }
    Ok(())
}

/// Whether a `Host` is one that no name server can point elsewhere.
fn is_fixed(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_nobody_can_rebind_are_fixed() {
        for host in
            ["localhost", "LOCALHOST:8444", "127.0.0.1:8444", "[::1]:8444", "[::1]", "a.localhost:1", "10.0.0.1"]
        {
            assert!(is_fixed(host), "{host}");
        }
        for host in
            ["", "evil.example:8444", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example", "[evil]"]
        {
            assert!(!is_fixed(host), "{host}");
        }
    }
}
