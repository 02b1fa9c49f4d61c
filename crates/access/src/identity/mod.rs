//! Who is connected, and how that is proved: tokens, API keys, client certificates, and what revokes them.
//!
//! Nothing here does I/O or reads a clock. Keys, JWKS documents and lists of revocations come in as values and the time
//! as an argument in unix seconds; who fetches, reads files and swaps the parts of a running broker is elsewhere.
//! Nothing here decides what an identity may do either.
//!
//! A presented credential goes by its form ([`Credential::of`]) to [`Verifier::verify`] or [`ApiKeys::verify`], a
//! client certificate to [`CertificateRules::identify`]. What comes out is an [`Identity`](crate::Identity), which
//! [`Revocations::check`] may refuse, then and at any time later. Errors are safe to log and to send to the peer: they
//! never hold the credential, a key, or a claim but the issuer's and the key's id, shortened and escaped.

use std::fmt;

mod algorithm;
mod api_key;
mod certificate;
mod claims;
mod crl;
mod issuer;
mod jwks;
mod jwks_cache;
mod key;
mod name;
mod revocation;
mod secret;
mod token;
mod token_error;
mod verified;

pub use algorithm::{Algorithm, KeyKind, UnknownAlgorithm};
pub use api_key::{
    ApiKeyError, ApiKeys, HashError, IdError, KeyHash, KeyId, Service, ServiceError, ServiceKey, generate,
};
pub use certificate::{
    CertificateError, CertificateRules, NameKind, Rule, RuleError, certificate_end_s, certificate_subject,
};
pub use crl::CrlHead;
pub use issuer::{IssuerConfig, IssuerError, IssuerKeys};
pub use jwks::{Jwks, JwksError, SkipReason, Skipped};
pub use jwks_cache::{Action, Fetched, JwksCache, JwksTiming};
pub use key::{Key, KeyError};
pub use name::MAX_NAME_BYTES;
pub use revocation::{LineProblem, RevocationError, Revocations, Revoked};
pub use secret::Secret;
pub use token::{NotAJwksIssuer, Verifier};
pub use token_error::TokenError;

/// The bounds on what is presented and configured.
pub mod limits {
    pub use super::{
        api_key::{MAX_ID_CHARS, MAX_KEYS_OF_A_SERVICE, SECRET_BYTES},
        claims::{MAX_PATTERNS, MAX_ROLES},
        issuer::{MAX_KEYS, MAX_LEEWAY_S},
        jwks::{MAX_DOCUMENT_BYTES, MAX_DOCUMENT_KEYS, MAX_KEY_ID_BYTES},
        key::MIN_SECRET_BYTES,
        revocation::{MAX_ENTRIES, MAX_LINE_BYTES},
        token::{MAX_CANDIDATES, MAX_TOKEN_BYTES},
    };
}

/// A credential as a client presents it: one text, whichever kind it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// It starts with `ck_`, as every API key does. No token can: that is not how base64url of a JSON object starts.
    ApiKey(&'a str),
    /// Anything else.
    Token(&'a str),
}

impl<'a> Credential<'a> {
    /// Tells them apart.
    pub fn of(presented: &'a str) -> Self {
        if presented.starts_with(api_key::PREFIX) { Self::ApiKey(presented) } else { Self::Token(presented) }
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiKey(_) => "ApiKey",
            Self::Token(_) => "Token",
        })
    }
}

#[cfg(test)]
mod tests;
