//! Whatever is presented as a credential, nobody is let in by what no issuer signed and no service was given, and no error
//! could forge a line of a log.
//!
//! An input is what is presented. One that starts with `{` is the header and the claims of a token, in two lines of JSON,
//! which are signed here with the one secret that is known here: so mutations reach what comes behind the signature.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carillon_access::{
    Identity, Source,
    identity::{
        Algorithm, ApiKeys, Credential, IssuerConfig, IssuerKeys, Key, Secret, Service, ServiceKey, Verifier, generate,
        limits::SECRET_BYTES,
    },
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const NOW_S: u64 = 1_800_000_000;
/// What [`IssuerConfig::new`] sets.
const LEEWAY_S: u64 = 30;
const AUDIENCE: &str = "carillon";
/// Signs with every algorithm.
const ALL: &str = "https://all.example";
/// Has the same keys, and signs with ES256 only.
const ONE: &str = "https://one.example";
const SECRET: &[u8] = b"anybody may read this secret: it signs for fuzzing only";
const RSA: &[u8] = include_bytes!("../fixtures/rsa.pem");
const P256: &[u8] = include_bytes!("../fixtures/p256.pem");
const ED25519: &[u8] = include_bytes!("../fixtures/ed25519.pem");

/// All that the private keys ever signed that is good: they exist no more.
const SIGNED: [&str; 6] = [
    include_str!("../fixtures/hs256.jwt"),
    include_str!("../fixtures/rs256.jwt"),
    include_str!("../fixtures/ps256.jwt"),
    include_str!("../fixtures/es256.jwt"),
    include_str!("../fixtures/eddsa.jwt"),
    include_str!("../fixtures/one_algorithm.jwt"),
];

struct Door {
    tokens: Verifier,
    api_keys: ApiKeys,
    api_key: String,
}

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let keys = [
        Key::from_secret(Some("secret"), &Secret::new(SECRET)),
        Key::from_pem(Some("rsa"), RSA),
        Key::from_pem(None, P256),
        Key::from_pem(Some("ed25519"), ED25519),
    ];
    let keys = keys.map(|key| key.expect("a good key"));
    let es256_only = IssuerKeys::Fixed(vec![keys[2].clone()]);
    let mut all = IssuerConfig::new(ALL, &Algorithm::ALL, &[AUDIENCE], IssuerKeys::Fixed(keys.into()));
    all.template_claims = vec!["tenant".to_owned()];
    let one = IssuerConfig::new(ONE, &[Algorithm::Es256], &[AUDIENCE], es256_only);

    let id = "billing-1".parse().expect("a good id");
    let (api_key, hash) = generate(&id, &[7; SECRET_BYTES]);
    let keys = vec![ServiceKey { id, hash, expires_at_s: None }];
    let service = Service { name: "billing".to_owned(), roles: Vec::new(), claims: Default::default(), keys };
    let door = Door {
        tokens: Verifier::new(vec![all, one]).expect("good issuers"),
        api_keys: ApiKeys::new(vec![service]).expect("a good service"),
        api_key: String::from_utf8(api_key.expose().to_vec()).expect("a text"),
    };
    for token in SIGNED {
        door.tokens.verify(token, NOW_S).expect("a good token");
    }
    door.api_keys.verify(&door.api_key, NOW_S).expect("a good key");
    door
});

impl Door {
    fn identify(&self, presented: &str) -> Option<Identity> {
        let answer = match Credential::of(presented) {
            Credential::ApiKey(key) => self.api_keys.verify(key, NOW_S).map_err(|error| error.to_string()),
            Credential::Token(token) => self.tokens.verify(token, NOW_S).map_err(|error| error.to_string()),
        };
        answer.inspect_err(|told| assert!(told.len() < 2_000 && !told.contains(char::is_control), "{told:?}")).ok()
    }
}

/// Whether an issuer signed exactly this.
fn is_signed(token: &str) -> bool {
    SIGNED.into_iter().any(|signed| token == signed || is_mirrored(token, signed))
}

/// ECDSA itself has two signatures for each that is made: where (r, s) holds, (r, n - s) does too. Whoever has one can
/// write the other, so nothing may tell tokens apart by their text; the claims are the same.
fn is_mirrored(token: &str, signed: &str) -> bool {
    let header = URL_SAFE_NO_PAD.decode(signed.split('.').next().unwrap_or_default()).unwrap_or_default();
    let is_ecdsa = String::from_utf8_lossy(&header).contains("ES256");
    let (Some((message, signature)), Some((signed, other))) = (token.rsplit_once('.'), signed.rsplit_once('.')) else {
        return false;
    };
    let r = |signature| URL_SAFE_NO_PAD.decode(signature).ok()?.first_chunk::<32>().copied();
    is_ecdsa && message == signed && r(signature).is_some() && r(signature) == r(other)
}

fn sign(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Who was let in by a token that was signed with the secret is who its claims say, and in time.
fn check_signed_here(identity: &Identity, header: &str, claims: &str) {
    let read = |json| serde_json::from_str::<Value>(json).expect("the broker could read it");
    let (header, claims) = (read(header), read(claims));
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none());
    assert!(header.get("kid").is_none_or(|kid| kid == "secret"));

    assert_eq!(claims["iss"], ALL);
    assert_eq!(identity.source, Source::Token { issuer: ALL.to_owned() });
    assert_eq!(claims["sub"], identity.subject.as_str());
    let audience = &claims["aud"];
    assert!(audience == AUDIENCE || audience.as_array().is_some_and(|names| names.iter().any(|name| name == AUDIENCE)));
    let seconds = |claim: &str| claims.get(claim).map(|value| value.as_f64().expect("a number"));
    assert!(seconds("exp").is_some_and(|exp| exp > (NOW_S - LEEWAY_S) as f64));
    assert!(identity.expires_at_s.is_some_and(|end_s| end_s > NOW_S));
    assert!(["nbf", "iat"].into_iter().filter_map(seconds).all(|begin| begin < (NOW_S + LEEWAY_S + 1) as f64));
    assert_eq!(claims.get("jti").and_then(Value::as_str), identity.token_id.as_deref());
    assert_eq!(claims.get("tenant").and_then(Value::as_str), identity.claims.get("tenant").map(String::as_str));
    let roles = claims.get("roles").map(Value::to_string).unwrap_or_default();
    assert!(identity.roles.iter().all(|role| roles.contains(Value::from(role.as_str()).to_string().trim_matches('"'))));
    assert_eq!(claims.get("carillon").is_some(), identity.own.is_some());
}

fuzz_target!(|input: &str| {
    if input.starts_with('{') {
        let (header, claims) = input.split_once('\n').unwrap_or((input, ""));
        if let Some(identity) = DOOR.identify(&sign(header, claims)) {
            check_signed_here(&identity, header, claims);
        }
    } else if DOOR.identify(input).is_some() {
        assert!(is_signed(input) || input == DOOR.api_key, "let in by what nobody made");
    }
});
