//! Which web pages may connect. A browser sends a page's origin and its user's cookies and certificates with any
//! WebSocket that any page opens, so the broker has to ask where it comes from (RFC 6455, section 10.2).

use carillon_metrics::HandshakeFailure;
use hyper::{HeaderMap, StatusCode, header::ORIGIN};

use super::Refusal;
use crate::{origin::Origin, settings::Origins};

pub(super) fn check(headers: &HeaderMap, allowed: &Origins) -> Result<(), Refusal> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let text = match (origins.next(), origins.next()) {
        (None, _) if allowed.require => {
            "This broker asks for an Origin header (`origins.require`), and the request has none.".to_owned()
        }
        (None, _) => return Ok(()),
        (Some(origin), None) => match origin.to_str().map(|text| (text, Origin::parse(text))) {
            Ok((_, Some(origin))) if is_allowed(&origin, allowed) => return Ok(()),
            Ok((_, Some(Origin::Null))) => "Pages without an origin (\"null\": sandboxed frames, local files) may not \
                 connect. The operator can list \"null\" in `origins.allowed`, which lets in such pages of anybody."
                .to_owned(),
            Ok((text, Some(_))) => format!(
                "Pages from {text:?} may not connect. The operator lists the origins that may, in `origins.allowed`."
            ),
            Ok((text, None)) => format!("The Origin header {text:?} is no origin, which is scheme://host[:port]."),
            Err(_) => "The Origin header is not readable text.".to_owned(),
        },
        (Some(_), Some(_)) => "The request has more than one Origin header.".to_owned(),
    };
    Err(Refusal::new(StatusCode::FORBIDDEN, HandshakeFailure::Origin, text))
}

fn is_allowed(origin: &Origin, allowed: &Origins) -> bool {
    allowed.allowed.iter().any(|pattern| pattern.matches(origin)) || (allowed.allow_loopback && origin.is_loopback())
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
        let listed = Origins { allowed: vec!["https://app.example.com".parse().unwrap()], ..Origins::default() };
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
            "http://127.0.0.1.evil.org",
        ] {
            assert!(!verdict(Some(outside), &loopback), "{outside}");
        }
    }

    #[test]
    fn an_origin_can_be_demanded() {
        let strict = Origins { require: true, allowed: vec!["*".parse().unwrap()], ..Origins::default() };
        assert!(!verdict(None, &strict));
        assert!(verdict(Some("https://anywhere.example"), &strict));
    }

    #[test]
    fn a_refusal_tells_the_origin_and_where_to_list_it() {
        let told = |origin: &str| {
            let headers = HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())]);
            check(&headers, &Origins::default()).unwrap_err().text
        };
        let text = told("https://app.example.com");
        assert!(text.contains("\"https://app.example.com\"") && text.contains("`origins.allowed`"), "{text}");
        assert!(told("null").contains("list \"null\" in `origins.allowed`"));
        assert!(told("https://user@app.example.com").contains("is no origin"));
    }
}
