//! What an issuer has that the broker has not: private keys, made here, and a free hand over what is signed.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey, jwk::Jwk};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::identity::{Algorithm, IssuerConfig, IssuerKeys, Key, Secret, TokenError, Verifier};

pub(super) const ISSUER: &str = "https://issuer.example";
pub(super) const AUDIENCE: &str = "carillon";
pub(super) const NOW_S: u64 = 1_800_000_000;

/// A private key or secret.
pub(super) struct Signer {
    pub(super) algorithm: Algorithm,
    encoding: EncodingKey,
    /// The public key in PEM; of a shared secret, its bytes.
    pub(super) shared: Vec<u8>,
}

pub(super) static SECRET: LazyLock<Signer> = LazyLock::new(|| Signer::secret(b"a secret that is long enough: 32"));
pub(super) static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::Rs256));
pub(super) static EC: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::Es256));
pub(super) static ED: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::EdDsa));
pub(super) static OTHER_ED: LazyLock<Signer> = LazyLock::new(|| Signer::new(Algorithm::EdDsa));

impl Signer {
    /// A key pair for one of the asymmetric algorithms.
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let pair = KeyPair::generate_for(match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDsa => &rcgen::PKCS_ED25519,
            Algorithm::Hs256 => unreachable!("made of bytes"),
        })
        .unwrap();
        let pem = pair.serialize_pem();
        let encoding = match algorithm {
            Algorithm::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        Self { algorithm, encoding: encoding.unwrap(), shared: pair.public_key_pem().into_bytes() }
    }

    /// Signs HS256 with any bytes at all, a public key's among them.
    pub(super) fn secret(bytes: &[u8]) -> Self {
        Self { algorithm: Algorithm::Hs256, encoding: EncodingKey::from_secret(bytes), shared: bytes.to_owned() }
    }

    /// What the broker is given.
    pub(super) fn key(&self, id: Option<&str>) -> Key {
        match self.algorithm {
            Algorithm::Hs256 => Key::from_secret(id, &Secret::new(self.shared.clone())).unwrap(),
            _ => Key::from_pem(id, &self.shared).unwrap(),
        }
    }

    /// The public key as an entry of a JWKS document, as the library that verifies writes it.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let read = match self.algorithm {
            Algorithm::Es256 => DecodingKey::from_ec_pem,
            Algorithm::EdDsa => DecodingKey::from_ed_pem,
            _ => DecodingKey::from_rsa_pem,
        };
        let jwk = Jwk::from_decoding_key(&read(&self.shared).unwrap(), Some(self.algorithm.to_library()));
        let mut jwk = serde_json::to_value(jwk.unwrap()).unwrap();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with a plain header.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "typ": "JWT", "alg": self.algorithm.name() }), claims)
    }

    /// A token that names its key.
    pub(super) fn token_by(&self, kid: &str, claims: &Value) -> String {
        self.sign(&json!({ "typ": "JWT", "alg": self.algorithm.name(), "kid": kid }), claims)
    }

    /// A token with any header, signed by this key and its own algorithm.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_by(self.algorithm, header, claims)
    }

    /// The same by another algorithm of the same kind of key.
    pub(super) fn sign_by(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, algorithm.to_library()).unwrap();
        format!("{message}.{signature}")
    }

    /// An issuer with this one key, which names no id.
    pub(super) fn config(&self) -> IssuerConfig {
        IssuerConfig::new(ISSUER, &[self.algorithm], &[AUDIENCE], IssuerKeys::Fixed(vec![self.key(None)]))
    }

    /// A verifier that knows only that issuer.
    pub(super) fn verifier(&self) -> Verifier {
        Verifier::new(vec![self.config()]).unwrap()
    }
}

/// One part of a token.
pub(super) fn part(content: &Value) -> String {
    URL_SAFE_NO_PAD.encode(content.to_string())
}

/// Claims that every issuer here accepts, with the given ones set, or taken away by null.
pub(super) fn claims(changes: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "exp": NOW_S + 60 });
    let Value::Object(changes) = changes else { unreachable!("an object") };
    for (name, value) in changes {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(&name);
        } else {
            claims[name] = value;
        }
    }
    claims
}

/// What the verifier of [`struct@SECRET`] says to these claims.
pub(super) fn verdict(changes: Value) -> Result<crate::Identity, TokenError> {
    SECRET.verifier().verify(&SECRET.token(&claims(changes)), NOW_S)
}
