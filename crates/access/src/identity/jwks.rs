//! Reading JWKS documents.

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

use super::{
    algorithm::Algorithm,
    key::{Key, KeyError},
};

/// The most bytes of a JWKS document; whoever fetches one need not read on.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// The most keys in a JWKS document, usable or not.
pub const MAX_DOCUMENT_KEYS: usize = 64;
/// The most bytes of a key's id.
pub const MAX_KEY_ID_BYTES: usize = 256;

/// What is in a JWKS document (RFC 7517).
#[derive(Debug, Clone)]
pub struct Jwks {
    /// The keys that may verify tokens, in the document's order; at least one.
    pub keys: Vec<Key>,
    /// What else was there and why it is not used, for the operator to see.
    pub skipped: Vec<Skipped>,
}

/// An entry of a JWKS document that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the document, from 1.
    pub number: usize,
    /// Why.
    pub reason: SkipReason,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {}", self.number, self.reason)
    }
}

/// Why an entry of a JWKS document is not used. Documents may well have such entries, for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// Not an object with the members that RFC 7517 asks for.
    #[error("it is not a JWK")]
    NotAJwk,
    /// Its `use` or `key_ops` names something else.
    #[error("its `use` or `key_ops` is not for verifying signatures")]
    OtherUse,
    /// Its `alg` is none that a published key may verify, or not one for its type of key.
    #[error("its `alg` is none of RS256, PS256, ES256 and EdDSA, or does not go with its type of key")]
    OtherAlgorithm,
    /// A shared secret or a private key: who can read the document can sign.
    #[error("it is a secret, which is none any more when it is published; the issuer should replace it")]
    Secret,
    /// An id of more than [`MAX_KEY_ID_BYTES`].
    #[error("its `kid` has more than {MAX_KEY_ID_BYTES} bytes")]
    LongId,
    /// Not a key that verifies.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Why a document gives no keys at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    #[error("the JWKS document has {0} bytes; at most {MAX_DOCUMENT_BYTES} are read")]
    TooLarge(usize),
    /// Not `{"keys": [...]}`.
    #[error("the JWKS document is not JSON of the form {{\"keys\": [...]}} (line {line}, column {column})")]
    NotJwks {
        /// The line, from 1.
        line: usize,
        /// The column.
        column: usize,
    },
    /// More entries than [`MAX_DOCUMENT_KEYS`].
    #[error("the JWKS document has {0} keys; at most {MAX_DOCUMENT_KEYS} are read")]
    TooMany(usize),
    /// No entry is usable.
    #[error("the JWKS document has no key that verifies tokens: {}", list(.0))]
    NoneUsable(Vec<Skipped>),
}

fn list(skipped: &[Skipped]) -> String {
    if skipped.is_empty() {
        return "it is empty".to_owned();
    }
    let some: Vec<_> = skipped.iter().take(4).map(Skipped::to_string).collect();
    some.join("; ")
}

impl Jwks {
    /// Reads a document. Entries that are not for us are skipped, as RFC 7517 asks; a document without any key for us
    /// is an error, so that it replaces no good one.
    pub fn parse(document: &[u8]) -> Result<Self, JwksError> {
        #[derive(Deserialize)]
        struct Document {
            // Entries are read one by one, so that a strange one does not take the others with it.
            keys: Vec<Value>,
        }

        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(JwksError::TooLarge(document.len()));
        }
        let Document { keys: entries } = serde_json::from_slice(document)
            .map_err(|error| JwksError::NotJwks { line: error.line(), column: error.column() })?;
        if entries.len() > MAX_DOCUMENT_KEYS {
            return Err(JwksError::TooMany(entries.len()));
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (index, entry) in entries.into_iter().enumerate() {
            match read_entry(entry) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(Skipped { number: index + 1, reason }),
            }
        }
        if keys.is_empty() { Err(JwksError::NoneUsable(skipped)) } else { Ok(Self { keys, skipped }) }
    }
}

fn read_entry(entry: Value) -> Result<Key, SkipReason> {
    // `d` is the private part of every kind of key pair.
    let has_private_part = entry.get("d").is_some();
    let jwk: Jwk = serde_json::from_value(entry).map_err(|_| SkipReason::NotAJwk)?;
    if has_private_part || matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
        return Err(SkipReason::Secret);
    }
    let common = &jwk.common;
    let other_use = common.public_key_use.as_ref().is_some_and(|used_for| *used_for != PublicKeyUse::Signature);
    let other_operations =
        common.key_operations.as_ref().is_some_and(|operations| !operations.contains(&KeyOperations::Verify));
    if other_use || other_operations {
        return Err(SkipReason::OtherUse);
    }
    let declared = common.key_algorithm.map(known).transpose()?;
    if common.key_id.as_ref().is_some_and(|id| id.len() > MAX_KEY_ID_BYTES) {
        return Err(SkipReason::LongId);
    }
    let key = Key::from_parameters(common.key_id.as_deref(), &jwk.algorithm)?.declared_for(declared);
    if Algorithm::ALL.into_iter().any(|algorithm| key.fits(algorithm)) {
        Ok(key)
    } else {
        Err(SkipReason::OtherAlgorithm)
    }
}

fn known(declared: KeyAlgorithm) -> Result<Algorithm, SkipReason> {
    match declared {
        KeyAlgorithm::RS256 => Ok(Algorithm::Rs256),
        KeyAlgorithm::PS256 => Ok(Algorithm::Ps256),
        KeyAlgorithm::ES256 => Ok(Algorithm::Es256),
        KeyAlgorithm::EdDSA => Ok(Algorithm::EdDsa),
        // HS256 among them: a key that is published is no secret.
        _ => Err(SkipReason::OtherAlgorithm),
    }
}
