//! A client certificate, which TLS has verified but others have made: whatever its bytes, its holder is nobody, or
//! somebody whose name stands in it and is one that a rule names.
#![no_main]

use std::sync::LazyLock;

use carillon_access::{
    Source,
    identity::{CertificateRules, MAX_NAME_BYTES, NameKind, Rule},
};
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<CertificateRules> = LazyLock::new(|| {
    let rule = |name, pattern: &str| {
        let roles = vec![pattern.to_owned()];
        Rule { name, pattern: pattern.to_owned(), roles }
    };
    let rules = vec![
        rule(NameKind::Uri, "spiffe://prod/*"),
        rule(NameKind::Dns, "*.example.com"),
        rule(NameKind::Email, "*@example.com"),
        rule(NameKind::CommonName, "service-*"),
    ];
    CertificateRules::new(rules).expect("good rules")
});

/// Whether `name` stands in `der` as it is, but for the case of letters.
fn stands_in(name: &str, der: &[u8]) -> bool {
    der.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
}

fuzz_target!(|der: &[u8]| {
    let identity = match RULES.identify(der) {
        Ok(identity) => identity,
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 8_000 && !told.contains(char::is_control), "{told:?}");
            return;
        }
    };
    let name = identity.subject.as_str();
    assert!((1..=MAX_NAME_BYTES).contains(&name.len()) && !name.contains(char::is_control) && name.trim() == name);
    assert!(stands_in(name, der));
    let [rule] = identity.roles.as_slice() else { panic!("each rule has one role") };
    let (start, end) = rule.split_once('*').expect("each rule has a star");
    let middle = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)).expect("the rule matches");
    assert!(!middle.is_empty());
    // What the star must not stand for, by the kind of name.
    let separator = ["/", ".", "@"].into_iter().find(|mark| start.ends_with(mark) || end.starts_with(mark));
    assert!(separator.is_none_or(|mark| !middle.contains(mark)));
    assert_eq!(identity.source, Source::Certificate);
    assert!(identity.expires_at_s.is_some());
});
