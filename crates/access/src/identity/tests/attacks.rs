//! Tokens that try to choose how they are verified.

use serde_json::{Value, json};

use super::signer::{AUDIENCE, EC, ED, ISSUER, NOW_S, OTHER_ED, RSA, SECRET, Signer, claims, part};
use crate::identity::{Algorithm, IssuerConfig, IssuerKeys, TokenError, Verifier, limits::MAX_CANDIDATES};

fn unsigned(alg: &str, signature: &str) -> String {
    format!("{}.{}.{signature}", part(&json!({ "alg": alg })), part(&claims(json!({}))))
}

#[test]
fn unsigned_tokens_are_refused_however_none_is_written() {
    for verifier in [SECRET.verifier(), RSA.verifier(), EC.verifier(), ED.verifier()] {
        for alg in ["none", "None", "NONE", "nOnE", "", "null"] {
            for signature in ["", "AA"] {
                let error = verifier.verify(&unsigned(alg, signature), NOW_S).unwrap_err();
                assert!(matches!(error, TokenError::AlgorithmNotAllowed { .. }), "{alg:?}: {error}");
            }
        }
    }
}

#[test]
fn an_empty_signature_is_no_signature() {
    for signer in [&*SECRET, &RSA, &EC, &ED] {
        let token = unsigned(signer.algorithm.name(), "");
        assert_eq!(signer.verifier().verify(&token, NOW_S), Err(TokenError::BadSignature));
    }
}

/// The classic: everybody has the public key, so everybody could make an HMAC with it.
#[test]
fn a_public_key_is_never_taken_for_a_shared_secret() {
    for signer in [&*RSA, &EC, &ED] {
        let pem = &signer.shared;
        let der = pem_content(pem);
        for secret in [pem.clone(), pem.trim_ascii().to_vec(), der] {
            let forged = Signer::secret(&secret).token(&claims(json!({})));
            let error = signer.verifier().verify(&forged, NOW_S).unwrap_err();
            assert!(matches!(error, TokenError::AlgorithmNotAllowed { .. }), "{error}");

            // Neither where the issuer also has a secret, so that HS256 is allowed.
            let algorithms = [signer.algorithm, Algorithm::Hs256];
            let keys = IssuerKeys::Fixed(vec![signer.key(None), SECRET.key(None)]);
            let mixed = Verifier::new(vec![IssuerConfig::new(ISSUER, &algorithms, &[AUDIENCE], keys)]).unwrap();
            assert_eq!(mixed.verify(&forged, NOW_S), Err(TokenError::BadSignature));
        }
    }
}

fn pem_content(pem: &[u8]) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text: String = std::str::from_utf8(pem).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(text).unwrap()
}

#[test]
fn a_valid_signature_by_an_algorithm_that_the_issuer_does_not_list_is_refused() {
    let pss = RSA.sign_by(Algorithm::Ps256, &json!({ "alg": "PS256" }), &claims(json!({})));

    let error = RSA.verifier().verify(&pss, NOW_S).unwrap_err();
    let told = r#"algorithm "PS256" is not allowed for issuer "https://issuer.example"; allowed: "RS256""#;
    assert_eq!(error.to_string(), told);
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let mut jwk = OTHER_ED.jwk("evil");
    for (kid, expected) in [
        (Value::Null, TokenError::BadSignature),
        (json!("evil"), TokenError::UnknownKey { kid: "\"evil\"".to_owned(), issuer: ISSUER.to_owned() }),
    ] {
        let keys = IssuerKeys::Fixed(vec![ED.key(Some("good"))]);
        let verifier = Verifier::new(vec![IssuerConfig::new(ISSUER, &[Algorithm::EdDsa], &[AUDIENCE], keys)]).unwrap();
        let mut header =
            json!({ "alg": "EdDSA", "jwk": jwk, "jku": "https://evil.example/jwks", "x5u": "https://evil.example" });
        if !kid.is_null() {
            header["kid"] = kid;
        }
        assert_eq!(verifier.verify(&OTHER_ED.sign(&header, &claims(json!({}))), NOW_S), Err(expected));
        jwk["kid"] = json!("good");
    }
}

#[test]
fn key_ids_are_names_and_nothing_else() {
    let keys = IssuerKeys::Fixed(vec![ED.key(Some("k1")), OTHER_ED.key(Some("k2"))]);
    let verifier = Verifier::new(vec![IssuerConfig::new(ISSUER, &[Algorithm::EdDsa], &[AUDIENCE], keys)]).unwrap();

    assert!(verifier.verify(&ED.token_by("k1", &claims(json!({}))), NOW_S).is_ok());
    assert!(verifier.verify(&OTHER_ED.token(&claims(json!({}))), NOW_S).is_ok());
    // Signed by one key, naming the other.
    assert_eq!(verifier.verify(&ED.token_by("k2", &claims(json!({}))), NOW_S), Err(TokenError::BadSignature));
    for kid in ["", "K1", "k1 ", "k1\0", "../../dev/null", "k1' OR '1'='1", "k3"] {
        let error = verifier.verify(&ED.token_by(kid, &claims(json!({}))), NOW_S).unwrap_err();
        assert!(matches!(error, TokenError::UnknownKey { .. }), "{kid:?}: {error}");
        assert_eq!(error.wants_keys_of(), Some(ISSUER));
    }
}

#[test]
fn long_and_strange_key_ids_are_cut_and_escaped_in_errors() {
    let keys = IssuerKeys::Fixed(vec![ED.key(Some("k1"))]);
    let verifier = Verifier::new(vec![IssuerConfig::new(ISSUER, &[Algorithm::EdDsa], &[AUDIENCE], keys)]).unwrap();
    let token = ED.token_by(&format!("\n\u{1b}[2J{}", "k".repeat(3_000)), &claims(json!({})));

    let told = verifier.verify(&token, NOW_S).unwrap_err().to_string();
    assert!(told.starts_with(r#"unknown key id "\n\u{1b}[2Jkkk"#) && told.len() < 200, "{told}");
}

#[test]
fn a_key_named_with_an_algorithm_of_another_kind_is_not_used() {
    let keys = IssuerKeys::Fixed(vec![RSA.key(Some("rsa")), EC.key(Some("ec"))]);
    let both = [Algorithm::Rs256, Algorithm::Es256];
    let verifier = Verifier::new(vec![IssuerConfig::new(ISSUER, &both, &[AUDIENCE], keys)]).unwrap();

    let error = verifier.verify(&EC.token_by("rsa", &claims(json!({}))), NOW_S).unwrap_err();
    assert!(matches!(error, TokenError::NoKeyForAlgorithm { algorithm: "ES256", .. }), "{error}");
    assert_eq!(error.wants_keys_of(), None);
}

#[test]
fn a_token_that_names_no_key_is_not_tried_with_ever_so_many() {
    let verifier = |count: u8| {
        let keys = (0..count).map(|byte| Signer::secret(&[byte; 32]).key(None)).chain([SECRET.key(None)]).collect();
        let config = IssuerConfig::new(ISSUER, &[Algorithm::Hs256], &[AUDIENCE], IssuerKeys::Fixed(keys));
        Verifier::new(vec![config]).unwrap()
    };
    let token = SECRET.token(&claims(json!({})));

    let most = u8::try_from(MAX_CANDIDATES).unwrap();
    assert!(verifier(most - 1).verify(&token, NOW_S).is_ok());
    assert_eq!(verifier(most).verify(&token, NOW_S), Err(TokenError::AmbiguousKey(MAX_CANDIDATES + 1)));
}

#[test]
fn headers_that_must_be_understood_are_not_passed_over() {
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), Value::Null] {
        let header = json!({ "alg": "EdDSA", "crit": crit, "b64": true });
        let token = ED.sign(&header, &claims(json!({})));
        assert_eq!(ED.verifier().verify(&token, NOW_S), Err(TokenError::CriticalHeader), "{crit}");
    }
}

#[test]
fn deeply_nested_claims_are_refused_and_do_not_overflow_the_stack() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    let deep = format!("{{\"iss\":{}", "[".repeat(5_000));
    let token = format!("{}.{}.AA", part(&json!({ "alg": "EdDSA" })), BASE64.encode(deep));

    assert!(matches!(ED.verifier().verify(&token, NOW_S), Err(TokenError::Malformed(_))));
}
