//! A JWKS document, which comes from elsewhere: any bytes are read or refused, what is read are public keys within the
//! bounds, and tokens can be verified with them, whatever their numbers.
#![no_main]

use std::sync::LazyLock;

use carillon_access::identity::{
    Algorithm, IssuerConfig, IssuerKeys, Jwks, KeyKind, Verifier,
    limits::{MAX_DOCUMENT_KEYS, MAX_KEY_ID_BYTES},
};
use libfuzzer_sys::fuzz_target;

const ISSUER: &str = "https://all.example";
const NOW_S: u64 = 1_800_000_000;
const PUBLIC: [Algorithm; 4] = [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

/// One for each algorithm.
const TOKENS: [&str; 4] = [
    include_str!("../fixtures/rs256.jwt"),
    include_str!("../fixtures/ps256.jwt"),
    include_str!("../fixtures/es256.jwt"),
    include_str!("../fixtures/eddsa.jwt"),
];

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let config = IssuerConfig::new(ISSUER, &PUBLIC, &["carillon"], IssuerKeys::Jwks);
    Verifier::new(vec![config]).expect("a good issuer")
});

fuzz_target!(|document: &[u8]| {
    let Jwks { keys, skipped } = match Jwks::parse(document) {
        Ok(jwks) => jwks,
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 2_000 && !told.contains(char::is_control), "{told:?}");
            return;
        }
    };
    assert!(!keys.is_empty() && keys.len() + skipped.len() <= MAX_DOCUMENT_KEYS);
    for key in &keys {
        assert!(key.kind() != KeyKind::Secret && !key.fits(Algorithm::Hs256));
        assert!(PUBLIC.into_iter().any(|algorithm| key.fits(algorithm)));
        assert!(key.id().is_none_or(|id| id.len() <= MAX_KEY_ID_BYTES));
    }
    let mut verifier = VERIFIER.clone();
    verifier.set_keys(ISSUER, keys.into()).expect("an issuer with a document");
    for token in TOKENS {
        if let Ok(identity) = verifier.verify(token, NOW_S) {
            assert!(["alice", "bob"].contains(&identity.subject.as_str()));
        }
    }
});
