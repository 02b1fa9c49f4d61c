use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> OriginPattern {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> OriginPatternError {
    text.parse::<OriginPattern>().expect_err(text)
}

fn lets_in(listed: &str, origin: &str) -> bool {
    Origin::parse(origin).is_some_and(|origin| pattern(listed).matches(&origin))
}

#[test]
fn an_origin_is_its_scheme_host_and_port() {
    for (listed, same) in [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com", "HTTPS://App.Example.COM"),
        ("https://App.example.com", "https://app.example.com"),
        ("https://app.example.com", "https://app.example.com:443"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:8080", "http://app.example.com:8080"),
        ("https://[2001:db8::1]:8443", "https://[2001:DB8:0::1]:8443"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ] {
        assert!(lets_in(listed, same), "{listed} {same}");
    }
    for other in [
        "http://app.example.com",
        "https://app.example.com:80",
        "https://app.example.com:8443",
        "https://app.example.com.",
        "https://app.example.com.evil.org",
        "https://evil.org/app.example.com",
        "https://app.example.com@evil.org",
        "https://user@app.example.com",
        "https://user:443@app.example.com",
        "https://app.example.com/",
        "https://app.example.com:",
        "https://app.example.com:+443",
        "https://app.example.com:65979",
        "https://app.example.com ",
        "https://app.example.com, https://app.example.com",
        "https:app.example.com",
        "://app.example.com",
        "app.example.com",
        "null",
        "NULL",
        "",
    ] {
        assert!(!lets_in("https://app.example.com", other), "{other}");
    }
}

#[test]
fn a_star_is_one_label() {
    for (origin, expected) in [
        ("https://app.example.com", true),
        ("https://a-b_1.EXAMPLE.com", true),
        ("https://app.example.com:443", true),
        ("https://example.com", false),
        ("https://.example.com", false),
        ("https://a.b.example.com", false),
        ("https://evil-example.com", false),
        ("https://app.evil-example.com", false),
        ("https://app.example.com.evil.org", false),
        ("https://app.example.com.", false),
        ("https://app.example.com:8443", false),
        ("http://app.example.com", false),
        ("https://evil.org#.example.com", false),
        ("https://evil.org@app.example.com", false),
        ("https://*.example.com", false),
        ("https://%41.example.com", false),
        ("null", false),
    ] {
        assert_eq!(lets_in("https://*.example.com", origin), expected, "{origin}");
    }
    assert!(lets_in("http://*.example.com:8080", "http://app.example.com:8080"));
    assert!(!lets_in("http://*.example.com:8080", "http://app.example.com"));
}

#[test]
fn every_page_is_every_origin_and_not_the_lack_of_one() {
    for origin in ["https://anywhere.example", "http://localhost:3000", "tauri://localhost", "https://[::1]"] {
        assert!(lets_in("*", origin), "{origin}");
    }
    for none in ["null", "file://", "anything", "https://", "https://a..b"] {
        assert!(!lets_in("*", none), "{none}");
    }
    assert!(lets_in("null", "null") && !lets_in("null", "https://null"));
}

#[test]
fn what_was_written_wrongly_is_told_with_what_is_right() {
    for (text, expected) in [
        ("https://app.example.com/", "write \"https://app.example.com\""),
        ("https://app.example.com:8443/chat?x", "write \"https://app.example.com:8443\""),
        ("https://app.example.com.", "write \"https://app.example.com\""),
        ("https://bücher.example", "xn--"),
        ("https://*", "one whole label"),
        ("https://*.com", "one whole label"),
        ("https://*.example.com/", "one whole label"),
        ("https://*.*.example.com", "one whole label"),
        ("https://app-*.example.com", "one whole label"),
        ("https://app.*.com", "one whole label"),
        ("https://*.0.0.1", "one whole label"),
        ("https://*.[::1]", "one whole label"),
        ("*://app.example.com", "one whole label"),
        ("*.example.com", "one whole label"),
        ("app.example.com", "expected an origin"),
        ("https://user@app.example.com", "expected an origin"),
        ("https://app.example.com:99999", "expected an origin"),
        ("https://", "expected an origin"),
        ("", "expected an origin"),
        ("Null", "expected an origin"),
    ] {
        let told = error(text).to_string();
        assert!(told.contains(expected) && told.contains(&format!("{text:?}")), "{text}: {told}");
    }
    assert_eq!(error("https://*.example.com."), OriginPatternError::Wildcard("https://*.example.com.".into()));
}

proptest! {
    #[test]
    fn what_is_shown_is_the_same_pattern_and_origin(text in "[a-z]{1,4}://(\\*\\.)?[a-zA-Z0-9.:\\[\\]-]{1,12}(:[0-9]{1,5})?") {
        if let Ok(pattern) = text.parse::<OriginPattern>() {
            prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
        if let Some(origin) = Origin::parse(&text) {
            prop_assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
        }
    }

    #[test]
    fn a_star_lets_in_whoever_ends_so_and_nobody_else(
        host in "([ab-]{0,2}\\.){0,3}(example\\.com|example-com|b\\.com)",
    ) {
        let expected = host.strip_suffix(".example.com").is_some_and(|label| !label.is_empty() && !label.contains('.'));
        prop_assert_eq!(lets_in("https://*.example.com", &format!("https://{host}")), expected);
    }

    #[test]
    fn anything_is_parsed_without_a_panic(text: String) {
        let _ = (Origin::parse(&text), text.parse::<OriginPattern>());
    }
}
