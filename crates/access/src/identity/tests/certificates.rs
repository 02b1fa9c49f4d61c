//! Which names of client certificates become whose identity.

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use crate::{
    Identity, Source,
    identity::{CertificateError, CertificateRules, NameKind, Rule, RuleError, certificate_end_s, certificate_subject},
};

fn rule(name: NameKind, pattern: &str, role: &str) -> Rule {
    Rule { name, pattern: pattern.to_owned(), roles: vec![role.to_owned()] }
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn email(name: &str) -> SanType {
    SanType::Rfc822Name(name.try_into().unwrap())
}

/// A certificate with these names, in DER.
fn certificate(common_name: &str, names: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    params.self_signed(&pair).unwrap().der().to_vec()
}

fn identify(rules: &[Rule], der: &[u8]) -> Result<Identity, CertificateError> {
    CertificateRules::new(rules.to_vec()).unwrap().identify(der)
}

#[test]
fn every_kind_of_name_is_found_where_it_belongs_and_nowhere_else() {
    let kinds = [
        (NameKind::Uri, "spiffe://prod/api", certificate("x", vec![uri("spiffe://prod/api")])),
        (NameKind::Dns, "api.example.com", certificate("x", vec![dns("api.example.com")])),
        (NameKind::Email, "api@example.com", certificate("x", vec![email("api@example.com")])),
        (NameKind::CommonName, "api one", certificate("api one", vec![dns("x.example.com")])),
    ];
    for (kind, name, der) in &kinds {
        let identity = identify(&[rule(*kind, name, "r")], der).unwrap();
        assert_eq!((identity.subject.as_str(), identity.source), (*name, Source::Certificate));
        assert_eq!(identity.roles, ["r"]);
        for (other, ..) in kinds.iter().filter(|(other, ..)| other != kind) {
            assert!(identify(&[rule(*other, name, "r")], der).is_err(), "{other} for {kind}");
        }
    }
}

#[test]
fn the_identity_ends_with_the_certificate() {
    let identity = identify(&[rule(NameKind::CommonName, "a", "r")], &certificate("a", vec![])).unwrap();
    assert_eq!(identity.issued_at_s, Some(1_767_225_600));
    assert_eq!(identity.expires_at_s, Some(1_798_761_601));
    assert_eq!(certificate_end_s(&certificate("b", vec![])), Ok(1_798_761_601));
}

#[test]
fn a_subject_for_the_log_cannot_forge_a_line() {
    assert_eq!(certificate_subject(&certificate("api one", vec![])).unwrap(), "\"CN=api one\"");
    let forged = certificate_subject(&certificate("a\nb\u{202e}", vec![])).unwrap();
    assert!(!forged.contains(['\n', '\u{202e}']), "{forged}");
    assert_eq!(certificate_subject(b"nonsense"), Err(CertificateError::Damaged));
}

#[test]
fn a_star_stands_for_something_within_its_part_of_the_name() {
    let cases = [
        (NameKind::Dns, "*.example.com", "api.example.com", true),
        (NameKind::Dns, "*.EXAMPLE.com", "Api.Example.COM", true),
        (NameKind::Dns, "*.example.com", "a.b.example.com", false),
        (NameKind::Dns, "*.example.com", ".example.com", false),
        (NameKind::Dns, "*.example.com", "example.com", false),
        (NameKind::Dns, "*.example.com", "api.example.com.evil.org", false),
        (NameKind::Dns, "api-*.example.com", "api-7.example.com", true),
        (NameKind::Dns, "api.example.com", "xapi.example.com", false),
        (NameKind::Uri, "spiffe://prod/*", "spiffe://prod/api", true),
        (NameKind::Uri, "spiffe://prod/*", "spiffe://prod/ns/api", false),
        (NameKind::Uri, "spiffe://prod/*", "spiffe://prod/", false),
        (NameKind::Uri, "spiffe://prod/*", "spiffe://PROD/api", false),
        (NameKind::Email, "*@example.com", "a.b@example.com", true),
        (NameKind::Email, "*@example.com", "a@b@example.com", false),
        // The start and the end do not share characters.
        (NameKind::Email, "ab*ba@x", "aba@x", false),
    ];
    for (kind, pattern, name, matches) in cases {
        let san = match kind {
            NameKind::Uri => uri(name),
            NameKind::Dns => dns(name),
            _ => email(name),
        };
        let result = identify(&[rule(kind, pattern, "r")], &certificate("x", vec![san]));
        assert_eq!(result.is_ok(), matches, "{pattern} and {name}: {result:?}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = [
        rule(NameKind::Uri, "spiffe://prod/admin", "admin"),
        rule(NameKind::Uri, "spiffe://prod/*", "service"),
        rule(NameKind::CommonName, "*", "anybody"),
    ];
    let role = |der: &[u8]| identify(&rules, der).unwrap().roles.concat();

    assert_eq!(role(&certificate("x", vec![uri("spiffe://prod/admin")])), "admin");
    assert_eq!(role(&certificate("x", vec![uri("spiffe://prod/api")])), "service");
    assert_eq!(role(&certificate("x", vec![uri("spiffe://dev/api")])), "anybody");
}

#[test]
fn a_certificate_with_two_names_for_one_rule_is_nobodys() {
    let rules = [rule(NameKind::Dns, "*.example.com", "r")];

    let error = identify(&rules, &certificate("x", vec![dns("a.example.com"), dns("b.example.com")])).unwrap_err();
    let (first, other) = ("\"a.example.com\"".to_owned(), "\"b.example.com\"".to_owned());
    assert_eq!(error, CertificateError::Ambiguous { rule: 1, first, other });
    // The same name twice is one name.
    assert!(identify(&rules, &certificate("x", vec![dns("a.example.com"), dns("A.example.com")])).is_ok());
    assert!(identify(&rules, &certificate("x", vec![dns("a.example.com"), dns("a.example.org")])).is_ok());
}

#[test]
fn names_that_could_be_mistaken_are_none() {
    let anybody = [rule(NameKind::CommonName, "*", "r"), rule(NameKind::Dns, "*.example.com", "r")];
    for der in [
        certificate("admin\0.evil", vec![]),
        certificate("admin\nsubject", vec![]),
        certificate(" admin", vec![]),
        certificate("", vec![dns("*.example.com")]),
    ] {
        assert!(matches!(identify(&anybody, &der), Err(CertificateError::NoRule(_))));
    }
}

#[test]
fn a_certificate_that_no_rule_knows_is_told_by_its_names() {
    let der = certificate("api", vec![uri("spiffe://dev/api"), dns("api.example.org")]);
    let error = identify(&[rule(NameKind::Uri, "spiffe://prod/*", "r")], &der).unwrap_err();
    let told = r#"its names are URI "spiffe://dev/api", DNS "api.example.org", CN "api""#;
    assert!(error.to_string().ends_with(told), "{error}");
    assert!(identify(&[], &der).is_err());
}

#[test]
fn rules_have_a_pattern_with_one_star_at_most() {
    let good = rule(NameKind::Dns, "a", "r");
    for (pattern, error) in
        [("", RuleError::Empty(2)), ("*.*", RuleError::SeveralStars(2)), ("**", RuleError::SeveralStars(2))]
    {
        let rules = vec![good.clone(), rule(NameKind::Dns, pattern, "r")];
        assert_eq!(CertificateRules::new(rules).unwrap_err(), error);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        der in prop::collection::vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let rules = [rule(NameKind::CommonName, "*", "r")];
        prop_assert!(identify(&rules, &der).is_err());
        let mut damaged = certificate("a", vec![dns("a.example.com")]);
        let index = at.index(damaged.len());
        damaged[index] = byte;
        let _ = identify(&rules, &damaged);
        let _ = certificate_subject(&damaged);
    }
}
