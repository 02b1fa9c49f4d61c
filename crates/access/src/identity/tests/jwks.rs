//! What is read out of JWKS documents, and what is passed over.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::signer::{AUDIENCE, EC, ED, ISSUER, NOW_S, RSA, Signer, claims};
use crate::identity::{
    Algorithm, IssuerConfig, IssuerKeys, Jwks, JwksError, KeyError, SkipReason, Skipped, TokenError, Verifier,
    limits::{MAX_DOCUMENT_BYTES, MAX_DOCUMENT_KEYS, MAX_KEY_ID_BYTES},
};

fn parse(keys: &[Value]) -> Result<Jwks, JwksError> {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes())
}

/// Why an entry is passed over when it stands beside a good one.
fn skipped(entry: Value) -> SkipReason {
    let jwks = parse(&[entry, ED.jwk("good")]).unwrap();
    assert_eq!(jwks.keys.len(), 1);
    assert_eq!(jwks.skipped.len(), 1);
    assert_eq!(jwks.skipped[0].number, 1);
    jwks.skipped[0].reason
}

fn changed(signer: &Signer, member: &str, value: Value) -> Value {
    let mut jwk = signer.jwk("k");
    jwk[member] = value;
    jwk
}

#[test]
fn keys_of_every_kind_verify_what_their_owners_sign() {
    let jwks = parse(&[RSA.jwk("rsa"), EC.jwk("ec"), ED.jwk("ed")]).unwrap();
    assert_eq!(jwks.skipped, []);
    let algorithms = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    let config = IssuerConfig::new(ISSUER, &algorithms, &[AUDIENCE], IssuerKeys::Jwks);
    let mut verifier = Verifier::new(vec![config]).unwrap();
    verifier.set_keys(ISSUER, jwks.keys.into()).unwrap();

    for (signer, kid) in [(&*RSA, "rsa"), (&EC, "ec"), (&ED, "ed")] {
        assert!(verifier.verify(&signer.token_by(kid, &claims(json!({}))), NOW_S).is_ok(), "{kid}");
        let unknown = verifier.verify(&signer.token_by("other", &claims(json!({}))), NOW_S);
        assert!(matches!(unknown, Err(TokenError::UnknownKey { .. })), "{kid}: {unknown:?}");
    }
}

#[test]
fn a_key_is_used_for_its_declared_algorithm_only() {
    let fits = |jwk: Value| {
        let key = parse(&[jwk]).unwrap().keys.remove(0);
        Algorithm::ALL.into_iter().filter(|algorithm| key.fits(*algorithm)).collect::<Vec<_>>()
    };
    assert_eq!(fits(RSA.jwk("k")), [Algorithm::Rs256]);
    assert_eq!(fits(changed(&RSA, "alg", json!("PS256"))), [Algorithm::Ps256]);
    let mut undeclared = RSA.jwk("k");
    undeclared.as_object_mut().unwrap().remove("alg");
    assert_eq!(fits(undeclared), [Algorithm::Rs256, Algorithm::Ps256]);
}

#[test]
fn entries_for_others_are_skipped_with_their_reason() {
    assert_eq!(skipped(changed(&RSA, "use", json!("enc"))), SkipReason::OtherUse);
    assert_eq!(skipped(changed(&RSA, "key_ops", json!(["sign"]))), SkipReason::OtherUse);
    assert_eq!(skipped(changed(&RSA, "alg", json!("RSA-OAEP"))), SkipReason::OtherAlgorithm);
    assert_eq!(skipped(changed(&RSA, "alg", json!("RS512"))), SkipReason::OtherAlgorithm);
    assert_eq!(skipped(changed(&RSA, "alg", json!("XX256"))), SkipReason::OtherAlgorithm);
    assert_eq!(skipped(changed(&RSA, "alg", json!("HS256"))), SkipReason::OtherAlgorithm);
    assert_eq!(skipped(changed(&RSA, "alg", json!("ES256"))), SkipReason::OtherAlgorithm);
    assert_eq!(skipped(changed(&RSA, "kty", json!("AKP"))), SkipReason::Key(KeyError::Unsupported));
    assert_eq!(skipped(changed(&EC, "crv", json!("secp256k1"))), SkipReason::Key(KeyError::Unsupported));
    assert_eq!(skipped(changed(&EC, "crv", json!("P-384"))), SkipReason::Key(KeyError::Unsupported));
    assert_eq!(skipped(changed(&ED, "crv", json!("P-256"))), SkipReason::Key(KeyError::Unsupported));
    assert_eq!(skipped(json!("k")), SkipReason::NotAJwk);
    assert_eq!(skipped(changed(&RSA, "kid", json!(1))), SkipReason::NotAJwk);
    assert!(parse(&[changed(&RSA, "kid", json!("k".repeat(MAX_KEY_ID_BYTES)))]).is_ok());
    assert_eq!(skipped(changed(&RSA, "kid", json!("k".repeat(MAX_KEY_ID_BYTES + 1)))), SkipReason::LongId);
}

#[test]
fn published_secrets_are_never_used() {
    assert_eq!(skipped(json!({ "kty": "oct", "k": "A".repeat(43), "kid": "s" })), SkipReason::Secret);
    assert_eq!(skipped(changed(&ED, "d", json!("AAAA"))), SkipReason::Secret);
}

#[test]
fn numbers_that_are_no_key_are_skipped() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    let damaged = SkipReason::Key(KeyError::Damaged);
    let number = |bytes: usize| json!(BASE64.encode(vec![0xff; bytes]));

    assert_eq!(skipped(changed(&RSA, "n", number(255))), SkipReason::Key(KeyError::RsaBits(2040)));
    assert_eq!(skipped(changed(&RSA, "n", number(1025))), SkipReason::Key(KeyError::RsaBits(8200)));
    assert_eq!(skipped(changed(&RSA, "n", json!(""))), SkipReason::Key(KeyError::RsaBits(0)));
    assert_eq!(skipped(changed(&RSA, "n", json!("not base64!"))), damaged);
    for exponent in [&[][..], &[0], &[1], &[2], &[0, 1], &[1, 0, 0, 0, 1]] {
        assert_eq!(skipped(changed(&RSA, "e", json!(BASE64.encode(exponent)))), damaged, "{exponent:?}");
    }
    assert_eq!(skipped(changed(&ED, "x", number(31))), damaged);
    assert_eq!(skipped(changed(&EC, "x", number(33))), damaged);
    // The right bytes, with the border between the coordinates in the wrong place.
    let ec = EC.jwk("k");
    let [x, y] = ["x", "y"].map(|member| BASE64.decode(ec[member].as_str().unwrap()).unwrap());
    let mut shifted = changed(&EC, "x", json!(BASE64.encode([&x[..], &y[..1]].concat())));
    shifted["y"] = json!(BASE64.encode(&y[1..]));
    assert_eq!(skipped(shifted), damaged);
    // 32 bytes that are no coordinate of a point on the curve.
    assert_eq!(skipped(changed(&EC, "x", number(32))), damaged);
}

#[test]
fn zeros_in_front_of_numbers_are_passed_over() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    let jwk = RSA.jwk("k");
    let modulus = BASE64.decode(jwk["n"].as_str().unwrap()).unwrap();
    let padded = changed(&RSA, "n", json!(BASE64.encode([vec![0], modulus].concat())));
    let mut verifier =
        Verifier::new(vec![IssuerConfig::new(ISSUER, &[Algorithm::Rs256], &[AUDIENCE], IssuerKeys::Jwks)]).unwrap();
    verifier.set_keys(ISSUER, parse(&[padded]).unwrap().keys.into()).unwrap();

    assert!(verifier.verify(&RSA.token_by("k", &claims(json!({}))), NOW_S).is_ok());
}

#[test]
fn documents_without_a_key_for_us_are_errors() {
    let skipped = vec![Skipped { number: 1, reason: SkipReason::OtherUse }];
    let error = parse(&[changed(&ED, "use", json!("enc"))]).unwrap_err();
    assert_eq!(error, JwksError::NoneUsable(skipped));
    assert!(error.to_string().contains("key 1: its `use` or `key_ops` is not for verifying"), "{error}");
    assert_eq!(parse(&[]).unwrap_err(), JwksError::NoneUsable(vec![]));
    for text in ["", "null", "[]", "{}", r#"{"keys": {}}"#, "<html>"] {
        assert!(matches!(Jwks::parse(text.as_bytes()), Err(JwksError::NotJwks { .. })), "{text}");
    }
}

#[test]
fn documents_are_read_up_to_their_bounds() {
    let document = |bytes: usize| {
        let mut document = json!({ "keys": [ED.jwk("k")] }).to_string();
        document.push_str(&" ".repeat(bytes - document.len()));
        Jwks::parse(document.as_bytes())
    };
    assert!(document(MAX_DOCUMENT_BYTES).is_ok());
    assert_eq!(document(MAX_DOCUMENT_BYTES + 1).unwrap_err(), JwksError::TooLarge(MAX_DOCUMENT_BYTES + 1));

    assert_eq!(parse(&vec![ED.jwk("k"); MAX_DOCUMENT_KEYS]).unwrap().keys.len(), MAX_DOCUMENT_KEYS);
    let error = parse(&vec![ED.jwk("k"); MAX_DOCUMENT_KEYS + 1]).unwrap_err();
    assert_eq!(error, JwksError::TooMany(MAX_DOCUMENT_KEYS + 1));
}

proptest! {
    #[test]
    fn arbitrary_documents_never_panic(document in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Jwks::parse(&document).is_err());
    }

    #[test]
    fn arbitrary_parameters_never_panic(
        kty in "RSA|EC|OKP|oct",
        crv in "P-256|P-384|P-521|Ed25519",
        numbers in prop::collection::vec("[A-Za-z0-9_-]{0,60}", 4),
    ) {
        let [n, e, x, y] = numbers.try_into().unwrap();
        let _ = parse(&[json!({ "kty": kty, "crv": crv, "n": n, "e": e, "x": x, "y": y, "k": n })]);
    }
}
