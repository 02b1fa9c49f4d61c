//! What signed claims must be, and what becomes of them.

use serde_json::{Value, json};

use super::signer::{NOW_S, SECRET, claims, verdict};
use crate::{
    Identity,
    identity::{
        IssuerConfig, TokenError, Verifier,
        limits::{MAX_PATTERNS, MAX_ROLES},
    },
};

fn with(change: impl Fn(&mut IssuerConfig), claim_changes: Value) -> Result<Identity, TokenError> {
    let mut config = SECRET.config();
    change(&mut config);
    Verifier::new(vec![config]).unwrap().verify(&SECRET.token(&claims(claim_changes)), NOW_S)
}

#[test]
fn a_token_is_good_until_its_expiry_and_the_leeway_are_over() {
    let at = |exp: Value, leeway_s: u64| with(|config| config.leeway_s = leeway_s, json!({ "exp": exp }));

    assert!(at(json!(NOW_S + 1), 0).is_ok());
    assert_eq!(at(json!(NOW_S), 0), Err(TokenError::Expired { ago_s: 0 }));
    assert!(at(json!(NOW_S - 9), 10).is_ok());
    assert_eq!(at(json!(NOW_S - 10), 10), Err(TokenError::Expired { ago_s: 10 }));
    assert_eq!(at(json!(NOW_S - 12), 0).unwrap_err().to_string(), "the token expired 12 s ago; get a new one");
    assert_eq!(at(json!(0), 10), Err(TokenError::Expired { ago_s: NOW_S }));
    assert!(at(json!(u64::MAX), 10).is_ok());
}

#[test]
fn the_identity_ends_in_the_second_in_which_the_token_is_refused() {
    for leeway_s in [0, 10] {
        let mut config = SECRET.config();
        config.leeway_s = leeway_s;
        let verifier = Verifier::new(vec![config]).unwrap();
        let token = SECRET.token(&claims(json!({})));

        let ends_s = verifier.verify(&token, NOW_S).unwrap().expires_at_s.unwrap();
        assert!(verifier.verify(&token, ends_s - 1).is_ok());
        assert!(verifier.verify(&token, ends_s).is_err());
    }
}

#[test]
fn a_token_is_not_good_before_its_time() {
    for claim in ["nbf", "iat"] {
        let at = |time: Value, leeway_s: u64| with(|config| config.leeway_s = leeway_s, json!({ claim: time }));

        assert!(at(json!(NOW_S), 0).is_ok());
        assert_eq!(at(json!(NOW_S + 1), 0), Err(TokenError::InFuture { claim, in_s: 1 }));
        assert!(at(json!(NOW_S + 10), 10).is_ok());
        assert_eq!(at(json!(NOW_S + 11), 10), Err(TokenError::InFuture { claim, in_s: 11 }));
        assert!(at(json!(0), 0).is_ok());
    }
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "the times are small enough")]
fn fractions_of_a_second_never_make_a_token_good_for_longer() {
    let now = NOW_S as f64;
    let at = |changes: Value| with(|config| config.leeway_s = 0, changes);

    assert_eq!(at(json!({ "exp": now + 0.9 })), Err(TokenError::Expired { ago_s: 0 }));
    assert!(at(json!({ "exp": now + 1.0 })).is_ok());
    assert_eq!(at(json!({ "nbf": now + 0.1 })), Err(TokenError::InFuture { claim: "nbf", in_s: 1 }));
    assert_eq!(at(json!({ "iat": now - 0.5 })).unwrap().issued_at_s, Some(NOW_S - 1));
}

#[test]
fn times_are_numbers_that_can_be_times() {
    for claim in ["exp", "nbf", "iat"] {
        for wrong in [json!("1800000060"), json!(-1), json!(1e300), json!(true), json!([NOW_S + 60]), json!({})] {
            let error = verdict(json!({ claim: wrong })).unwrap_err();
            assert!(matches!(&error, TokenError::ClaimForm { claim: told, .. } if told == claim), "{wrong}: {error}");
        }
    }
    // A claim of null is there, and is not a time.
    let token = SECRET.token(&json!({ "iss": "https://issuer.example", "sub": "a", "aud": "carillon", "exp": null }));
    assert!(matches!(SECRET.verifier().verify(&token, NOW_S), Err(TokenError::ClaimForm { .. })));
}

#[test]
fn claims_that_every_token_needs_are_missed() {
    for claim in ["iss", "sub", "aud", "exp"] {
        assert_eq!(verdict(json!({ claim: null })), Err(TokenError::MissingClaim(claim.to_owned())));
    }
}

#[test]
fn claims_that_the_issuer_asks_for_are_missed() {
    let asks = |config: &mut IssuerConfig| config.required_claims = vec!["jti".to_owned()];

    assert_eq!(with(asks, json!({})), Err(TokenError::MissingClaim("jti".to_owned())));
    assert_eq!(with(asks, json!({ "jti": "t1" })).unwrap().token_id.as_deref(), Some("t1"));
}

#[test]
fn tokens_without_expiry_are_good_only_where_the_issuer_says_so() {
    let endless = with(|config| config.requires_expiry = false, json!({ "exp": null })).unwrap();
    assert_eq!(endless.expires_at_s, None);

    let expired = with(|config| config.requires_expiry = false, json!({ "exp": NOW_S - 1_000 }));
    assert_eq!(expired, Err(TokenError::Expired { ago_s: 1_000 }));
}

#[test]
fn audiences_are_one_or_several_and_one_of_ours_must_be_among_them() {
    for good in [json!("carillon"), json!(["carillon"]), json!(["billing", "carillon"])] {
        assert!(verdict(json!({ "aud": good })).is_ok(), "{good}");
    }
    for bad in [json!("billing"), json!("Carillon"), json!(""), json!([]), json!(["billing", "carillon2"])] {
        let error = verdict(json!({ "aud": bad })).unwrap_err();
        assert_eq!(error.to_string(), r#"wrong audience; expected one of "carillon""#, "{bad}");
    }
    for wrong in [json!(1), json!(["carillon", 1]), json!([["carillon"]]), json!({ "carillon": true })] {
        assert!(matches!(verdict(json!({ "aud": wrong })), Err(TokenError::ClaimForm { .. })), "{wrong}");
    }
}

#[test]
fn subjects_are_texts_that_a_list_of_revocations_can_hold() {
    for wrong in [json!(""), json!(" alice"), json!("alice\n"), json!("a\u{0}"), json!(1), json!("x".repeat(256))] {
        for claim in ["sub", "jti"] {
            let error = verdict(json!({ claim: wrong })).unwrap_err();
            assert!(matches!(&error, TokenError::ClaimForm { claim: told, .. } if told == claim), "{wrong}: {error}");
        }
    }
}

#[test]
fn roles_are_an_array_or_a_text_with_spaces() {
    let roles = |value: Value| verdict(json!({ "roles": value })).map(|identity| identity.roles);

    assert_eq!(verdict(json!({})).unwrap().roles, [""; 0]);
    assert_eq!(roles(json!(["a", "b", "a"])).unwrap(), ["a", "b"]);
    assert_eq!(roles(json!("  a b\ta ")).unwrap(), ["a", "b"]);
    for wrong in [json!(1), json!({ "a": true }), json!(["a", 1]), json!(["a", ""]), json!(["a\n"])] {
        assert!(matches!(roles(wrong.clone()), Err(TokenError::ClaimForm { .. })), "{wrong}");
    }
    let many = |count: usize| json!((0..count).map(|index| format!("r{index}")).collect::<Vec<_>>());
    assert_eq!(roles(many(MAX_ROLES)).unwrap().len(), MAX_ROLES);
    assert_eq!(roles(many(MAX_ROLES + 1)), Err(TokenError::TooManyRoles(MAX_ROLES + 1)));
}

#[test]
fn the_claim_with_the_roles_is_the_configured_one() {
    let claims = json!({ "roles": ["a"], "https://x.example/roles": ["b"], "realm_access": { "roles": ["c"] } });
    for (claim, role) in [("https://x.example/roles", "b"), ("/realm_access/roles", "c")] {
        let identity = with(|config| config.roles_claim = claim.to_owned(), claims.clone()).unwrap();
        assert_eq!(identity.roles, [role]);
    }
}

#[test]
fn claims_for_templates_are_those_that_are_configured_and_texts() {
    let named = |config: &mut IssuerConfig| config.template_claims = vec!["tenant".to_owned(), "region".to_owned()];

    let identity = with(named, json!({ "tenant": "acme", "email": "a@acme.example" })).unwrap();
    assert_eq!(identity.claims.into_iter().collect::<Vec<_>>(), [("tenant".to_owned(), "acme".to_owned())]);
    for wrong in [json!(1), json!(""), json!(["acme"])] {
        assert!(matches!(with(named, json!({ "tenant": wrong })), Err(TokenError::ClaimForm { .. })), "{wrong}");
    }
}

#[test]
fn own_patterns_are_read_by_operation() {
    assert_eq!(verdict(json!({})).unwrap().own, None);

    let own = verdict(json!({ "carillon": { "publish": ["a.b", "c.>"], "history": [] } })).unwrap().own.unwrap();
    let texts: Vec<_> = own.publish.as_ref().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["a.b", "c.>"]);
    assert_eq!(own.history.as_deref(), Some(&[][..]));
    assert_eq!((own.subscribe, own.presence), (None, None));
}

#[test]
fn own_patterns_that_are_not_valid_refuse_the_token() {
    let error = verdict(json!({ "carillon": { "subscribe": ["a", "b..c"] } })).unwrap_err().to_string();
    assert!(error.starts_with("pattern 2 of the token's `carillon.subscribe` is not valid: it has an empty token"));
    for wrong in [
        json!([]),
        json!("a.>"),
        json!({ "subscibe": ["a"] }),
        json!({ "publish": "a" }),
        json!({ "publish": null }),
        json!({ "publish": [1] }),
    ] {
        assert!(matches!(verdict(json!({ "carillon": wrong })), Err(TokenError::ClaimForm { .. })), "{wrong}");
    }
}

#[test]
fn own_patterns_are_counted_over_all_operations() {
    let split = |first: usize, second: usize| {
        verdict(json!({ "carillon": { "publish": vec!["a"; first], "subscribe": vec!["a"; second] } }))
    };
    assert!(split(MAX_PATTERNS - 1, 1).is_ok());
    assert_eq!(split(MAX_PATTERNS, 1), Err(TokenError::TooManyPatterns));
}
