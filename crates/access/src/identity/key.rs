//! Keys that verify tokens.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};

use super::{
    algorithm::{Algorithm, KeyKind},
    secret::Secret,
};

/// The fewest bytes of a shared secret: as many as HS256's hash has, as RFC 7518 asks.
pub const MIN_SECRET_BYTES: usize = 32;

/// A key that verifies an issuer's tokens, checked when it is made, so that a wrong one is found when the configuration
/// is read and not at the first token. It knows what it is, and is never used with an algorithm for another kind.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    kind: KeyKind,
    /// The one algorithm that the key's publisher declared it for.
    declared: Option<Algorithm>,
    decoding: DecodingKey,
}

impl Key {
    /// A shared secret for HS256 of at least [`MIN_SECRET_BYTES`]. `id` is what tokens name it by (`kid`); a key
    /// without one stands for any.
    pub fn from_secret(id: Option<&str>, secret: &Secret) -> Result<Self, KeyError> {
        let bytes = secret.expose();
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(KeyError::ShortSecret(bytes.len()));
        }
        // Everybody may have a public key, so as a secret it would let everybody sign.
        if pem_labels(bytes).next().is_some() {
            return Err(KeyError::PemAsSecret);
        }
        Ok(Self::new(id, KeyKind::Secret, DecodingKey::from_secret(bytes)))
    }

    /// A public key in PEM (`PUBLIC KEY` or `RSA PUBLIC KEY`): RSA, P-256 or Ed25519. `id` is what tokens name it by
    /// (`kid`); a key without one stands for any.
    pub fn from_pem(id: Option<&str>, pem: &[u8]) -> Result<Self, KeyError> {
        let mut labels = pem_labels(pem);
        match (labels.next(), labels.next()) {
            (None, _) => return Err(KeyError::NotPem),
            (Some(_), Some(_)) => return Err(KeyError::SeveralInPem),
            (Some(label), None) if label.ends_with(b"PRIVATE KEY") => return Err(KeyError::PrivateKey),
            (Some(b"PUBLIC KEY" | b"RSA PUBLIC KEY"), None) => {}
            (Some(_), None) => return Err(KeyError::NotAPublicKey),
        }
        let readers = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
        let read = readers.into_iter().find_map(|read| read(pem).ok()).ok_or(KeyError::Unsupported)?;
        let jwk = Jwk::from_decoding_key(&read, None).map_err(|_| KeyError::Damaged)?;
        Self::from_parameters(id, &jwk.algorithm)
    }

    /// A public key from its parameters in a JWK.
    pub(super) fn from_parameters(id: Option<&str>, parameters: &AlgorithmParameters) -> Result<Self, KeyError> {
        match parameters {
            AlgorithmParameters::RSA(rsa) => Self::rsa(id, &decode(&rsa.n)?, &decode(&rsa.e)?),
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
                Self::p256(id, &decode(&ec.x)?, &decode(&ec.y)?)
            }
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
                let point = decode(&okp.x)?;
                if point.len() != 32 {
                    return Err(KeyError::Damaged);
                }
                Ok(Self::new(id, KeyKind::Ed25519, DecodingKey::from_ed_der(&point)))
            }
            _ => Err(KeyError::Unsupported),
        }
    }

    fn rsa(id: Option<&str>, modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let modulus = strip_zeros(modulus);
        let exponent = strip_zeros(exponent);
        let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::RsaBits(bits));
        }
        // An exponent of 1 makes every message its own signature; large ones only make verification slow.
        let small_or_even = exponent.last().is_none_or(|last| last % 2 == 0) || matches!(exponent, [1]);
        if small_or_even || exponent.len() > 4 {
            return Err(KeyError::Damaged);
        }
        Ok(Self::new(id, KeyKind::Rsa, DecodingKey::from_rsa_raw_components(modulus, exponent)))
    }

    fn p256(id: Option<&str>, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        if x.len() != 32 || y.len() != 32 {
            return Err(KeyError::Damaged);
        }
        let point = [&[4], x, y].concat();
        let on_curve = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).parse().is_ok();
        if !on_curve {
            return Err(KeyError::Damaged);
        }
        Ok(Self::new(id, KeyKind::P256, DecodingKey::from_ec_der(&point)))
    }

    fn new(id: Option<&str>, kind: KeyKind, decoding: DecodingKey) -> Self {
        Self { id: id.map(str::to_owned), kind, declared: None, decoding }
    }

    /// The same key, good for one algorithm only.
    pub(super) fn declared_for(self, declared: Option<Algorithm>) -> Self {
        Self { declared, ..self }
    }

    /// What tokens name it by.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What it is.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether a signature by `algorithm` may be checked with it.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.key_kind() && self.declared.is_none_or(|declared| declared == algorithm)
    }

    /// Whether `signature` (base64url) is this key's for `message`, by `algorithm`; never if it does not fit.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, algorithm.to_library())
                .unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind, declared, decoding: _ } = self;
        f.debug_struct("Key").field("id", id).field("kind", kind).field("declared", declared).finish_non_exhaustive()
    }
}

/// Why something is no key to verify tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A shared secret that could be guessed.
    #[error("the secret has {0} bytes; HS256 needs at least {MIN_SECRET_BYTES} random ones (`openssl rand 32`)")]
    ShortSecret(usize),
    /// PEM where secret bytes belong.
    #[error("it is PEM, so a key pair's or a certificate, not a shared secret; give it as a public key")]
    PemAsSecret,
    /// No PEM block at all.
    #[error("no PEM block (`-----BEGIN PUBLIC KEY-----`) in it")]
    NotPem,
    /// More than one PEM block.
    #[error("more than one PEM block in it; give each key a file of its own")]
    SeveralInPem,
    /// The half that only the issuer may have.
    #[error("it is a private key, which only the issuer may have; give its public key (`openssl pkey -pubout`)")]
    PrivateKey,
    /// A certificate, or something else in PEM.
    #[error("it is not a public key; a certificate's is printed by `openssl x509 -pubkey -noout`")]
    NotAPublicKey,
    /// A kind of key or curve that no algorithm here uses.
    #[error("this kind of key is not supported; RSA, P-256 and Ed25519 are")]
    Unsupported,
    /// An RSA key that is too small to be safe, or too large to be verified with quickly.
    #[error("the RSA key has {0} bits; 2048 to 8192 are allowed")]
    RsaBits(usize),
    /// The parameters are not those of a key.
    #[error("the key is damaged: its numbers are not those of a valid public key")]
    Damaged,
}

/// The labels of the PEM blocks in `bytes`, in order.
fn pem_labels(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.trim_ascii().strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----"))
}

fn decode(base64url: &str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(base64url).map_err(|_| KeyError::Damaged)
}

fn strip_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
