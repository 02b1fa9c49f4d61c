//! Several issuers beside each other, and their configuration.

use serde_json::json;

use super::signer::{AUDIENCE, EC, ED, ISSUER, NOW_S, OTHER_ED, RSA, SECRET, Signer, claims};
use crate::identity::{
    Algorithm, IssuerConfig, IssuerError, IssuerKeys, NotAJwksIssuer, TokenError, Verifier,
    limits::{MAX_KEYS, MAX_LEEWAY_S},
};

fn fixed(issuer: &str, signer: &Signer, audience: &str) -> IssuerConfig {
    IssuerConfig::new(issuer, &[signer.algorithm], &[audience], IssuerKeys::Fixed(vec![signer.key(None)]))
}

#[test]
fn each_issuer_vouches_with_its_own_key_algorithm_and_audience_only() {
    let verifier = Verifier::new(vec![fixed("one", &ED, "a"), fixed("two", &EC, "b")]).unwrap();
    let verify = |signer: &Signer, issuer: &str, audience: &str| {
        verifier.verify(&signer.token(&claims(json!({ "iss": issuer, "aud": audience }))), NOW_S)
    };

    assert!(verify(&ED, "one", "a").is_ok());
    assert!(verify(&EC, "two", "b").is_ok());
    assert!(matches!(verify(&ED, "two", "b"), Err(TokenError::AlgorithmNotAllowed { .. })));
    assert_eq!(verify(&OTHER_ED, "one", "a"), Err(TokenError::BadSignature));
    assert!(matches!(verify(&ED, "one", "b"), Err(TokenError::WrongAudience(_))));
}

#[test]
fn unknown_issuers_are_named_in_the_error_and_the_known_are_not() {
    let verifier = Verifier::new(vec![fixed("two", &EC, "b"), fixed("one", &ED, "a")]).unwrap();
    for name in ["One", "one ", "", "three"] {
        let error = verifier.verify(&ED.token(&claims(json!({ "iss": name }))), NOW_S).unwrap_err();
        assert_eq!(error.to_string(), format!("unknown issuer {name:?}: this broker believes no tokens of it"));
        let TokenError::UnknownIssuer { known, .. } = error else { panic!("{error}") };
        assert_eq!(known, r#""one", "two""#);
    }
    for wrong in [json!(1), json!(["one"])] {
        let error = verifier.verify(&ED.token(&claims(json!({ "iss": wrong }))), NOW_S).unwrap_err();
        assert!(matches!(error, TokenError::ClaimForm { .. }), "{error}");
    }
}

#[test]
fn keys_from_a_jwks_document_come_later_and_replace_each_other() {
    let config = IssuerConfig::new(ISSUER, &[Algorithm::EdDsa], &[AUDIENCE], IssuerKeys::Jwks);
    let mut verifier = Verifier::new(vec![config]).unwrap();
    let old = ED.token_by("old", &claims(json!({})));
    let new = OTHER_ED.token_by("new", &claims(json!({})));

    let error = verifier.verify(&old, NOW_S).unwrap_err();
    assert_eq!(error, TokenError::NoKeysYet { issuer: ISSUER.to_owned() });
    assert_eq!(error.wants_keys_of(), Some(ISSUER));

    verifier.set_keys(ISSUER, [ED.key(Some("old"))].into()).unwrap();
    assert!(verifier.verify(&old, NOW_S).is_ok());
    assert!(matches!(verifier.verify(&new, NOW_S), Err(TokenError::UnknownKey { .. })));

    let in_use = verifier.clone();
    verifier.set_keys(ISSUER, [ED.key(Some("old")), OTHER_ED.key(Some("new"))].into()).unwrap();
    assert!(verifier.verify(&old, NOW_S).is_ok() && verifier.verify(&new, NOW_S).is_ok());
    assert!(in_use.verify(&new, NOW_S).is_err());

    verifier.set_keys(ISSUER, [OTHER_ED.key(Some("new"))].into()).unwrap();
    assert!(matches!(verifier.verify(&old, NOW_S), Err(TokenError::UnknownKey { .. })));
}

#[test]
fn a_key_without_an_id_stands_for_any() {
    let token = ED.token_by("any", &claims(json!({})));
    assert!(ED.verifier().verify(&token, NOW_S).is_ok());
    assert_eq!(OTHER_ED.verifier().verify(&token, NOW_S), Err(TokenError::BadSignature));
}

#[test]
fn keys_of_the_configuration_are_not_replaced() {
    let mut verifier = ED.verifier();
    let keys: std::sync::Arc<[_]> = [OTHER_ED.key(None)].into();

    assert_eq!(verifier.set_keys(ISSUER, keys.clone()), Err(NotAJwksIssuer));
    assert_eq!(verifier.set_keys("nobody", keys), Err(NotAJwksIssuer));
    assert!(verifier.verify(&ED.token(&claims(json!({}))), NOW_S).is_ok());
}

#[test]
fn a_configuration_that_cannot_work_or_is_not_safe_is_refused() {
    let error = |change: &dyn Fn(&mut IssuerConfig)| {
        let mut config = ED.config();
        change(&mut config);
        Verifier::new(vec![config]).unwrap_err()
    };
    let name = "\"https://issuer.example\"".to_owned();

    assert_eq!(error(&|config| config.issuer.clear()), IssuerError::NoName);
    assert_eq!(error(&|config| config.algorithms.clear()), IssuerError::NoAlgorithms(name.clone()));
    assert_eq!(error(&|config| config.audiences.clear()), IssuerError::NoAudience(name.clone()));
    assert_eq!(error(&|config| config.audiences.push(String::new())), IssuerError::NoAudience(name.clone()));
    assert_eq!(error(&|config| config.roles_claim.clear()), IssuerError::EmptyClaim(name.clone()));
    let leeway_s = MAX_LEEWAY_S + 1;
    assert_eq!(error(&|config| config.leeway_s = leeway_s), IssuerError::Leeway { issuer: name.clone(), leeway_s });
    for count in [0, MAX_KEYS + 1] {
        let keys = |config: &mut IssuerConfig| config.keys = IssuerKeys::Fixed(vec![ED.key(None); count]);
        assert_eq!(error(&keys), IssuerError::KeyCount { issuer: name.clone(), count });
    }
    let with_secret = |config: &mut IssuerConfig| {
        config.keys = IssuerKeys::Jwks;
        config.algorithms.push(Algorithm::Hs256);
    };
    assert_eq!(error(&with_secret), IssuerError::SecretInJwks(name));
    assert_eq!(
        error(&|config| config.algorithms.push(Algorithm::Ps256)).to_string(),
        r#"issuer "https://issuer.example" allows PS256, but none of its keys is an RSA public key"#
    );
    assert_eq!(
        error(&|config| config.keys = IssuerKeys::Fixed(vec![ED.key(None), RSA.key(None)])).to_string(),
        r#"key 2 of issuer "https://issuer.example" is an RSA public key, which none of its algorithms uses ("EdDSA")"#
    );
}

#[test]
fn one_name_is_one_issuer() {
    let error = Verifier::new(vec![ED.config(), SECRET.config()]).unwrap_err();
    assert_eq!(error, IssuerError::Twice(ISSUER.to_owned()));
}
