//! Why a token proves nothing.

use carillon_wire::topic::NameError;

use super::{claims::MAX_PATTERNS, claims::MAX_ROLES, token::MAX_CANDIDATES, token::MAX_TOKEN_BYTES};

/// Why a token proves nothing. What it repeats of a token is its issuer, algorithm, type, and key id, quoted,
/// escaped and cut; never another claim, and never the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than any token that is read.
    #[error("the token has {0} bytes; at most {MAX_TOKEN_BYTES} are read")]
    TooLong(usize),
    /// Not the form of a signed JWT.
    #[error("this is not a signed JWT: {0}")]
    Malformed(&'static str),
    /// A header that this broker would have to understand, and does not (`crit`).
    #[error("the token's header names extensions that must be understood (`crit`); none is")]
    CriticalHeader,
    /// A JWT, but made for something else (`typ`).
    #[error("the token's type is {0}; allowed are \"JWT\", \"at+jwt\" and none")]
    WrongType(String),
    /// No such issuer is configured.
    #[error("unknown issuer {found}: this broker believes no tokens of it")]
    UnknownIssuer {
        /// Its `iss`.
        found: String,
        /// Those that are. It is for the operator: a stranger with a token of no worth does not learn whose have some.
        known: String,
    },
    /// Signed by an algorithm that this issuer's tokens may not have.
    #[error("algorithm {found} is not allowed for issuer {issuer}; allowed: {allowed}")]
    AlgorithmNotAllowed {
        /// Its `alg`.
        found: String,
        /// Its issuer.
        issuer: String,
        /// The issuer's algorithms.
        allowed: String,
    },
    /// The issuer's JWKS has not been fetched yet; see [`TokenError::wants_keys_of`].
    #[error("the keys of issuer {} are not known yet; try again in a moment", super::name::shown(.issuer))]
    NoKeysYet {
        /// The issuer, as configured.
        issuer: String,
    },
    /// Signed by a key that none of the issuer's is; see [`TokenError::wants_keys_of`].
    #[error("unknown key id {kid} of issuer {}", super::name::shown(.issuer))]
    UnknownKey {
        /// Its `kid`.
        kid: String,
        /// The issuer, as configured.
        issuer: String,
    },
    /// The issuer has no key for this algorithm among those that the token could mean.
    #[error("issuer {issuer} has no such key for algorithm {algorithm}")]
    NoKeyForAlgorithm {
        /// Its `alg`.
        algorithm: &'static str,
        /// Its issuer.
        issuer: String,
    },
    /// Too many keys could be meant.
    #[error(
        "{0} keys of the issuer could have signed it; at most {MAX_CANDIDATES} are tried, so it must name one (`kid`)"
    )]
    AmbiguousKey(usize),
    /// The signature is no key's.
    #[error("the signature is not valid: the token was changed, or signed with another key")]
    BadSignature,
    /// Its time is over.
    #[error("the token expired {ago_s} s ago; get a new one")]
    Expired {
        /// Since when, without the leeway.
        ago_s: u64,
    },
    /// Its time has not come (`nbf`), or it was issued in the future (`iat`): a clock is wrong.
    #[error("the token's `{claim}` is {in_s} s in the future; compare the clocks of the issuer and the broker")]
    InFuture {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// How far, without the leeway.
        in_s: u64,
    },
    /// A claim that must be there is not.
    #[error("the token has no claim `{0}`, which its issuer's configuration asks for")]
    MissingClaim(String),
    /// A claim is not what it has to be.
    #[error("the token's claim `{claim}` is not {expected}")]
    ClaimForm {
        /// Which.
        claim: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// Made for somebody else.
    #[error("wrong audience; expected one of {0}")]
    WrongAudience(String),
    /// More roles than are read.
    #[error("the token has {0} roles; at most {MAX_ROLES} are allowed")]
    TooManyRoles(usize),
    /// More patterns of its own than are read.
    #[error("the token has more than {MAX_PATTERNS} patterns of its own")]
    TooManyPatterns,
    /// One of its own patterns is none.
    #[error("pattern {number} of the token's `carillon.{operation}` is not valid: {problem}")]
    BadPattern {
        /// `publish`, `subscribe`, `history` or `presence`.
        operation: &'static str,
        /// Its place, from 1.
        number: usize,
        /// What is wrong.
        problem: NameError,
    },
}

impl TokenError {
    /// The issuer, as configured, whose keys may have changed: where it has a JWKS URL, fetching it may mend this
    /// error.
    pub fn wants_keys_of(&self) -> Option<&str> {
        match self {
            Self::NoKeysYet { issuer } | Self::UnknownKey { issuer, .. } => Some(issuer),
            _ => None,
        }
    }
}
