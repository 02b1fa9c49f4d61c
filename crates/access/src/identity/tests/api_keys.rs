//! API keys: their form, their rotation, and what does not pass for one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::signer::{ED, NOW_S, claims};
use crate::{
    Source,
    identity::{ApiKeyError, ApiKeys, Credential, KeyHash, KeyId, Service, ServiceError, ServiceKey, generate},
};

fn id(id: &str) -> KeyId {
    id.parse().unwrap()
}

/// A key's printed form and its entry in the configuration.
fn made(name: &str, byte: u8, expires_at_s: Option<u64>) -> (String, ServiceKey) {
    let (printed, hash) = generate(&id(name), &[byte; 32]);
    let printed = String::from_utf8(printed.expose().to_vec()).unwrap();
    (printed, ServiceKey { id: id(name), hash, expires_at_s })
}

fn service(name: &str, keys: Vec<ServiceKey>) -> Service {
    let claims = BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]);
    Service { name: name.to_owned(), roles: vec!["publisher".to_owned()], claims, keys }
}

#[test]
fn a_key_proves_its_service_with_the_configured_roles_and_claims() {
    let (printed, key) = made("billing-1", 1, Some(NOW_S + 9));
    let keys = ApiKeys::new(vec![service("billing", vec![key])]).unwrap();

    let identity = keys.verify(&printed, NOW_S).unwrap();
    assert_eq!(identity.subject, "billing");
    assert_eq!(identity.source, Source::ApiKey { name: "billing-1".to_owned() });
    assert_eq!(identity.roles, ["publisher"]);
    assert_eq!(identity.claims["tenant"], "acme");
    assert_eq!(identity.expires_at_s, Some(NOW_S + 9));
}

#[test]
fn two_keys_of_a_service_are_good_at_once_until_one_expires_or_goes() {
    let (old, old_key) = made("billing-1", 1, Some(NOW_S + 10));
    let (new, new_key) = made("billing-2", 2, None);
    let keys = ApiKeys::new(vec![service("billing", vec![old_key, new_key.clone()])]).unwrap();

    for printed in [&old, &new] {
        assert_eq!(keys.verify(printed, NOW_S + 9).unwrap().subject, "billing");
    }
    let expired = ApiKeyError::Expired { id: id("billing-1"), ago_s: 0 };
    assert_eq!(keys.verify(&old, NOW_S + 10), Err(expired));
    assert!(keys.verify(&new, u64::MAX).is_ok());

    let without = ApiKeys::new(vec![service("billing", vec![new_key])]).unwrap();
    assert_eq!(without.verify(&old, NOW_S), Err(ApiKeyError::Unknown));
}

#[test]
fn a_wrong_secret_answers_as_an_unknown_id_does() {
    let (printed, key) = made("a", 1, Some(0));
    let keys = ApiKeys::new(vec![service("s", vec![key])]).unwrap();
    let (wrong_secret, _) = made("a", 2, None);
    let (wrong_id, _) = made("b", 1, None);

    assert_eq!(keys.verify(&wrong_secret, NOW_S), Err(ApiKeyError::Unknown));
    assert_eq!(keys.verify(&wrong_id, NOW_S), Err(ApiKeyError::Unknown));
    // Only the holder of an expired key learns that it was one.
    assert!(matches!(keys.verify(&printed, NOW_S), Err(ApiKeyError::Expired { .. })));
}

#[test]
fn every_byte_of_the_hash_counts() {
    let (printed, key) = made("a", 1, None);
    let hex = key.hash.to_hex();
    for index in 0..hex.len() {
        let digit = if hex.as_bytes()[index] == b'0' { "1" } else { "0" };
        let hash = format!("{}{digit}{}", &hex[..index], &hex[index + 1..]).parse().unwrap();
        let keys = ApiKeys::new(vec![service("s", vec![ServiceKey { hash, ..key.clone() }])]).unwrap();
        assert_eq!(keys.verify(&printed, NOW_S), Err(ApiKeyError::Unknown), "digit {index}");
    }
}

#[test]
fn a_key_does_not_pass_for_another_of_the_same_service() {
    let (_, first) = made("one", 1, None);
    let (_, second) = made("two", 2, None);
    let keys = ApiKeys::new(vec![service("s", vec![first, second])]).unwrap();
    let (crossed, _) = made("one", 2, None);

    assert_eq!(keys.verify(&crossed, NOW_S), Err(ApiKeyError::Unknown));
}

#[test]
fn what_has_not_the_form_of_a_key_is_malformed() {
    let (printed, key) = made("a", 1, None);
    let keys = ApiKeys::new(vec![service("s", vec![key])]).unwrap();
    let (cut, long) = (&printed[..printed.len() - 1], format!("{printed}A"));
    let not_base64 = format!("{cut}!");
    for bad in [
        "",
        "ck_",
        "ck__",
        "ck_a",
        "ck_A_AA",
        cut,
        &long,
        &not_base64,
        &format!(" {printed}"),
        &printed.replace("ck_", "CK_"),
    ] {
        assert_eq!(keys.verify(bad, NOW_S), Err(ApiKeyError::Malformed), "{bad:?}");
    }
}

#[test]
fn the_printed_form_and_its_hash_are_the_documented_ones() {
    let (printed, hash) = generate(&id("a-1"), &[0xfb; 32]);

    let text = "ck_a-1_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s";
    assert_eq!(printed.expose(), text.as_bytes());
    // printf %s ck_a-1_... | sha256sum
    assert_eq!(hash.to_hex(), "e9272af854f20a8d6989cb6feaeffb8a8024b708347569b024ed73ea5dc2ce6e");
    assert_eq!(hash.to_hex().parse::<KeyHash>().unwrap().to_hex(), hash.to_hex());
    assert_eq!(hash.to_hex().to_uppercase().parse::<KeyHash>().unwrap().to_hex(), hash.to_hex());
}

#[test]
fn ids_and_hashes_have_their_form() {
    for bad in ["", "A", "a_b", "a b", "é", &"a".repeat(33)] {
        assert!(bad.parse::<KeyId>().is_err(), "{bad:?}");
    }
    assert!("a".repeat(32).parse::<KeyId>().is_ok());
    let with_sign = "+1".repeat(32);
    for bad in ["", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32), &with_sign] {
        assert!(bad.parse::<KeyHash>().is_err(), "{bad:?}");
    }
}

#[test]
fn services_that_cannot_be_told_apart_are_refused() {
    let key = |name: &str| made(name, 1, None).1;
    let error = |services: Vec<Service>| ApiKeys::new(services).unwrap_err();

    assert_eq!(error(vec![service("", vec![key("a")])]), ServiceError::Name(String::new()));
    assert_eq!(error(vec![service("a\n", vec![key("a")])]), ServiceError::Name("a\n".to_owned()));
    let twice = vec![service("s", vec![key("a")]), service("s", vec![key("b")])];
    assert_eq!(error(twice), ServiceError::NameTwice("s".to_owned()));
    let same_id = vec![service("s", vec![key("a")]), service("t", vec![key("a")])];
    assert_eq!(error(same_id), ServiceError::IdTwice(id("a")));
    for keys in [vec![], vec![key("a"), key("b"), key("c")]] {
        let count = keys.len();
        assert_eq!(error(vec![service("s", keys)]), ServiceError::KeyCount { service: "s".to_owned(), count });
    }
}

#[test]
fn debug_prints_nothing_of_a_key_or_its_hash() {
    let (printed, hash) = generate(&id("a"), &[1; 32]);
    let (_, key) = made("a", 1, None);
    let keys = ApiKeys::new(vec![service("s", vec![key])]).unwrap();
    let text = String::from_utf8(printed.expose().to_vec()).unwrap();

    let told = format!("{printed:?} {hash:?} {keys:?} {:?}", Credential::of(&text));
    assert!(told.starts_with("Secret KeyHash ApiKeys") && told.ends_with(" ApiKey"), "{told}");
    assert!(!told.contains(&text[5..]) && !told.contains(&hash.to_hex()) && !told.contains(&format!("{:?}", [1; 2])));
}

#[test]
fn credentials_are_told_apart_by_their_form() {
    let (printed, _) = made("a", 1, None);
    let token = ED.token(&claims(serde_json::json!({})));

    assert_eq!(Credential::of(&printed), Credential::ApiKey(printed.as_str()));
    assert_eq!(Credential::of(&token), Credential::Token(token.as_str()));
    for other in ["", "ck", "ck-a", "CK_a", " ck_a"] {
        assert_eq!(Credential::of(other), Credential::Token(other));
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_and_never_passes(text in "(ck_)?.{0,80}", end in "ck_[a-z]{1,3}_[A-Za-z0-9_-]{43}") {
        let keys = ApiKeys::new(vec![service("s", vec![made("a", 1, None).1])]).unwrap();
        prop_assert!(keys.verify(&text, NOW_S).is_err());
        prop_assert!(keys.verify(&end, NOW_S).is_err());
    }

    #[test]
    fn every_made_key_passes(random in any::<[u8; 32]>(), name in "[a-z0-9-]{1,32}") {
        let (printed, hash) = generate(&id(&name), &random);
        let key = ServiceKey { id: id(&name), hash, expires_at_s: None };
        let keys = ApiKeys::new(vec![service("s", vec![key])]).unwrap();
        prop_assert!(keys.verify(std::str::from_utf8(printed.expose()).unwrap(), NOW_S).is_ok());
    }
}
