//! Tokens that are as they should be, and their bounds.

use proptest::prelude::*;
use serde_json::json;

use super::signer::{EC, ED, ISSUER, NOW_S, OTHER_ED, RSA, SECRET, Signer, claims, part};
use crate::{
    Source,
    identity::{Algorithm, IssuerConfig, IssuerKeys, TokenError, Verifier, limits::MAX_TOKEN_BYTES},
};

#[test]
fn tokens_of_every_algorithm_are_verified_by_their_own_key_only() {
    let signers: [&Signer; 4] = [&SECRET, &RSA, &EC, &ED];
    for signer in signers {
        let token = signer.token(&claims(json!({})));

        let identity = signer.verifier().verify(&token, NOW_S).unwrap();
        assert_eq!(identity.subject, "alice");
        assert_eq!(identity.source, Source::Token { issuer: ISSUER.to_owned() });

        let other = match signer.algorithm {
            Algorithm::Hs256 => Signer::secret(&[7; 32]),
            algorithm => Signer::new(algorithm),
        };
        assert_eq!(other.verifier().verify(&token, NOW_S), Err(TokenError::BadSignature), "{}", signer.algorithm);
    }
}

#[test]
fn rsa_keys_verify_both_of_their_algorithms_where_both_are_allowed() {
    let both = [Algorithm::Rs256, Algorithm::Ps256];
    let config = IssuerConfig::new(ISSUER, &both, &["carillon"], IssuerKeys::Fixed(vec![RSA.key(None)]));
    let verifier = Verifier::new(vec![config]).unwrap();
    for algorithm in both {
        let token = RSA.sign_by(algorithm, &json!({ "alg": algorithm.name() }), &claims(json!({})));
        assert!(verifier.verify(&token, NOW_S).is_ok(), "{algorithm}");
    }
    // The header's algorithm decides how the signature is read, so the other one's does not pass.
    let crossed = RSA.sign_by(Algorithm::Ps256, &json!({ "alg": "RS256" }), &claims(json!({})));
    assert_eq!(verifier.verify(&crossed, NOW_S), Err(TokenError::BadSignature));
}

#[test]
fn any_change_of_a_token_ends_it() {
    let verifier = ED.verifier();
    let token = ED.token(&claims(json!({})));
    assert!(verifier.verify(&token, NOW_S).is_ok());
    for index in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(verifier.verify(&changed, NOW_S).is_err(), "byte {index}");
    }
}

#[test]
fn token_whose_signature_is_remembered_is_judged_by_the_time_and_keys_of_now() {
    let config = IssuerConfig::new(ISSUER, &[Algorithm::Es256], &["carillon"], IssuerKeys::Jwks);
    let mut verifier = Verifier::new(vec![config]).unwrap();
    verifier.set_keys(ISSUER, [EC.key(None)].into()).unwrap();
    let token = EC.token(&claims(json!({ "exp": NOW_S + 100 })));
    let identity = verifier.verify(&token, NOW_S).unwrap();
    assert_eq!(verifier.verify(&token, NOW_S), Ok(identity));

    let error = verifier.verify(&token, NOW_S + 1_000).unwrap_err();
    assert!(matches!(error, TokenError::Expired { .. }), "{error}");

    let other = Signer::new(Algorithm::Es256);
    let before = verifier.clone();
    verifier.set_keys(ISSUER, [other.key(None)].into()).unwrap();
    assert_eq!(verifier.verify(&token, NOW_S), Err(TokenError::BadSignature));
    assert!(before.verify(&token, NOW_S).is_ok());
}

#[test]
fn claims_of_one_token_do_not_go_with_the_signature_of_another() {
    let (alice, mallory) = (ED.token(&claims(json!({}))), ED.token(&claims(json!({ "sub": "mallory" }))));
    let signature = mallory.rsplit_once('.').unwrap().1;
    let message = alice.rsplit_once('.').unwrap().0;

    assert_eq!(ED.verifier().verify(&format!("{message}.{signature}"), NOW_S), Err(TokenError::BadSignature));
}

#[test]
fn tokens_are_read_up_to_their_longest_and_no_further() {
    // Base64 makes four bytes of three, so the padding is searched for.
    let padded = |bytes: usize| SECRET.token(&claims(json!({ "pad": "x".repeat(bytes) })));
    let fitting = (5_000..6_200).rev().find(|bytes| padded(*bytes).len() <= MAX_TOKEN_BYTES).unwrap();

    assert!(SECRET.verifier().verify(&padded(fitting), NOW_S).is_ok());
    let long = padded(fitting + 1);
    assert_eq!(SECRET.verifier().verify(&long, NOW_S), Err(TokenError::TooLong(long.len())));
}

#[test]
fn what_is_no_jwt_is_told_by_its_part() {
    let claims = part(&claims(json!({})));
    let header = part(&json!({ "alg": "EdDSA" }));
    let cases = [
        (String::new(), "three parts"),
        ("..".to_owned(), "header"),
        (format!("{header}.{claims}"), "three parts"),
        (format!("{header}.{claims}.a.b"), "three parts"),
        (format!("{header}.{claims}.a.b.c"), "three parts"),
        (format!("{header}=.{claims}.a"), "header is not"),
        (format!("{}.{claims}.a", part(&json!(["alg"]))), "header is not"),
        (format!("{}.{claims}.a", part(&json!({}))), "no `alg`"),
        (format!("{}.{claims}.a", part(&json!({ "alg": 1 }))), "`alg` is not"),
        (format!("{}.{claims}.a", part(&json!({ "alg": "EdDSA", "kid": 1 }))), "`kid` is not"),
        (format!("{}.{claims}.a", part(&json!({ "alg": "EdDSA", "typ": 1 }))), "`typ` is not"),
        (format!("{header}.{}.a", part(&json!("claims"))), "payload"),
        (format!("{header}.!.a"), "payload"),
    ];
    for (token, told) in cases {
        let error = ED.verifier().verify(&token, NOW_S).unwrap_err();
        assert!(matches!(error, TokenError::Malformed(_)), "{token}: {error}");
        assert!(error.to_string().contains(told), "{token}: {error}");
    }
}

#[test]
fn tokens_made_for_something_else_are_refused_by_their_type() {
    let typed = |typ: &str| ED.sign(&json!({ "alg": "EdDSA", "typ": typ }), &claims(json!({})));
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert!(ED.verifier().verify(&typed(typ), NOW_S).is_ok(), "{typ}");
    }
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", ""] {
        assert!(matches!(ED.verifier().verify(&typed(typ), NOW_S), Err(TokenError::WrongType(_))), "{typ}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_and_never_passes(token in ".{0,300}") {
        prop_assert!(ED.verifier().verify(&token, NOW_S).is_err());
    }

    #[test]
    fn arbitrary_parts_never_panic_and_never_pass(
        header in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), Just(br#"{"alg":"EdDSA"}"#.to_vec())],
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            any_json().prop_map(|json| json.to_string().into()),
        ],
        signature in "[A-Za-z0-9_-]{0,100}",
    ) {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
        let token = format!("{}.{}.{signature}", BASE64.encode(header), BASE64.encode(payload));
        prop_assert!(ED.verifier().verify(&token, NOW_S).is_err());
    }

    /// Whoever holds the key of one issuer can put anything into the claims, and gets no further than an error.
    #[test]
    fn arbitrary_claims_never_panic(name in "exp|nbf|iat|aud|sub|roles|carillon|jti", json in any_json()) {
        let _ = OTHER_ED.verifier().verify(&OTHER_ED.token(&claims(json!({ name: json }))), NOW_S);
    }

    #[test]
    fn errors_never_hold_the_token_or_its_claims(
        token in ".{0,80}",
        claim in "exp|nbf|iat|aud|sub|roles|carillon|jti|x",
    ) {
        let canary = "canary-in-a-claim";
        let signed = ED.token(&claims(json!({ claim: [{ canary: canary }, canary] })));
        if let Err(error) = ED.verifier().verify(&signed, NOW_S) {
            let told = format!("{error} {error:?}");
            prop_assert!(!told.contains(canary), "{}", told);
            prop_assert!(!signed.split('.').any(|part| told.contains(part)), "{}", told);
        }
        if token.len() > 12 {
            let error = ED.verifier().verify(&token, NOW_S).unwrap_err();
            let told = format!("{error} {error:?}");
            prop_assert!(!told.contains(&token));
        }
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        ".{0,20}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|value| json!(value)),
            prop::collection::hash_map("[a-z]{0,9}", inner, 0..6).prop_map(|value| json!(value)),
        ]
    })
}
