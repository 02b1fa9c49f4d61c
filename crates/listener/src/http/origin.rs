//! Which web pages may connect. A browser sends a page's origin and its user's cookies and certificates with any
//! WebSocket that any page opens, so the broker has to ask where it comes from (RFC 6455, section 10.2).

use std::net::{Ipv4Addr, Ipv6Addr};

use carillon_metrics::HandshakeFailure;
use hyper::{HeaderMap, StatusCode, Uri, header::ORIGIN};

use super::Refusal;
use crate::settings::Origins;

pub(super) fn check(headers: &HeaderMap, allowed: &Origins) -> Result<(), Refusal> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let text = match (origins.next(), origins.next()) {
        (None, _) if allowed.require => "This broker asks for an Origin header, and the request has none.".to_owned(),
        (None, _) => return Ok(()),
        (Some(origin), None) => match origin.to_str() {
            Ok(origin) if is_allowed(origin, allowed) => return Ok(()),
            Ok(origin) => format!(
                "Pages from {origin:?} may not connect. The operator lists the origins that may, in `origins.allowed`."
            ),
            Err(_) => "The Origin header is not readable text.".to_owned(),
        },
        (Some(_), Some(_)) => "The request has more than one Origin header.".to_owned(),
    };
    Err(Refusal::new(StatusCode::FORBIDDEN, HandshakeFailure::Origin, text))
}

fn is_allowed(origin: &str, allowed: &Origins) -> bool {
    allowed.allowed.iter().any(|entry| entry == "*" || entry.eq_ignore_ascii_case(origin))
        || (allowed.allow_loopback && is_loopback(origin))
}

fn is_loopback(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return false;
    }
    // What a user name could hide behind is not an origin.
    let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else { return false };
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(origin: Option<&str>, allowed: &Origins) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        check(&headers, allowed).is_ok()
    }

    #[test]
    fn only_listed_origins_come_in() {
        let listed = Origins { allowed: vec!["https://app.example.com".into()], ..Origins::default() };
        assert!(verdict(Some("https://app.example.com"), &listed));
        assert!(verdict(Some("https://App.Example.com"), &listed));
        assert!(verdict(None, &listed), "services send no origin");
        for other in [
            "https://app.example.com.evil.org",
            "https://app.example.com:444",
            "http://app.example.com",
            "null",
            "https://localhost",
        ] {
            assert!(!verdict(Some(other), &listed), "{other}");
        }
    }

    #[test]
    fn loopback_means_the_host_and_nothing_that_looks_like_it() {
        let loopback = Origins { allow_loopback: true, ..Origins::default() };
        for inside in ["http://localhost:3000", "https://127.0.0.1", "http://127.9.9.9:1", "http://[::1]:8080"] {
            assert!(verdict(Some(inside), &loopback), "{inside}");
        }
        for outside in [
            "http://localhost.evil.org",
            "http://localhost@evil.org",
            "http://evil.org",
            "null",
            "file://",
            "tauri://localhost",
            "localhost",
            "http://128.0.0.1",
        ] {
            assert!(!verdict(Some(outside), &loopback), "{outside}");
        }
    }

    #[test]
    fn an_origin_can_be_demanded() {
        let strict = Origins { require: true, allowed: vec!["*".into()], ..Origins::default() };
        assert!(!verdict(None, &strict));
        assert!(verdict(Some("https://anywhere.example"), &strict));
    }
}
