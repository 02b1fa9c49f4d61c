//! What the configuration says of an issuer of tokens.

use super::{
    algorithm::{Algorithm, KeyKind},
    key::Key,
    name::{shown, shown_list},
};

/// The most keys that the configuration gives one issuer.
pub const MAX_KEYS: usize = 16;
/// The longest leeway: beyond it a clock is not imprecise but wrong.
pub const MAX_LEEWAY_S: u64 = 600;

/// An issuer of tokens and what its tokens must be. [`IssuerConfig::new`] sets what every issuer needs and strict
/// values for the rest.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// Its `iss`, to the letter.
    pub issuer: String,
    /// The algorithms that its tokens may be signed by. A token's own `alg` only picks one of these.
    pub algorithms: Vec<Algorithm>,
    /// What stands for this broker in `aud`; a token must have one of them.
    pub audiences: Vec<String>,
    /// Where its keys come from.
    pub keys: IssuerKeys,
    /// How far the clocks may differ: a token is taken for this long after `exp` and before `nbf`. At most
    /// [`MAX_LEEWAY_S`].
    pub leeway_s: u64,
    /// Whether a token must have `exp`. One without it is good until it is revoked.
    pub requires_expiry: bool,
    /// Claims that must be there beside `iss`, `sub` and `aud`, such as `jti` or `iat`.
    pub required_claims: Vec<String>,
    /// The claim with the roles: an array of texts, or one text with spaces between them. A name, or, where it starts
    /// with `/`, a JSON pointer (`/realm_access/roles`).
    pub roles_claim: String,
    /// The claims that the templates of permissions may name. A token need not have them; those it has must be texts.
    pub template_claims: Vec<String>,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone)]
pub enum IssuerKeys {
    /// From the configuration.
    Fixed(Vec<Key>),
    /// From a JWKS document, which is fetched elsewhere; see [`Verifier::set_keys`](super::Verifier::set_keys).
    Jwks,
}

impl IssuerConfig {
    /// An issuer with 30 s of leeway, whose tokens must expire and have their roles in `roles`.
    pub fn new(issuer: &str, algorithms: &[Algorithm], audiences: &[&str], keys: IssuerKeys) -> Self {
        Self {
            issuer: issuer.to_owned(),
            algorithms: algorithms.to_owned(),
            audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            keys,
            leeway_s: 30,
            requires_expiry: true,
            required_claims: Vec::new(),
            roles_claim: "roles".to_owned(),
            template_claims: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), IssuerError> {
        let issuer = || shown(&self.issuer);
        if self.issuer.is_empty() {
            return Err(IssuerError::NoName);
        }
        if self.algorithms.is_empty() {
            return Err(IssuerError::NoAlgorithms(issuer()));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(IssuerError::NoAudience(issuer()));
        }
        if self.leeway_s > MAX_LEEWAY_S {
            return Err(IssuerError::Leeway { issuer: issuer(), leeway_s: self.leeway_s });
        }
        let mut claims = self.required_claims.iter().chain(&self.template_claims).chain([&self.roles_claim]);
        if claims.any(String::is_empty) {
            return Err(IssuerError::EmptyClaim(issuer()));
        }
        match &self.keys {
            IssuerKeys::Jwks if self.algorithms.contains(&Algorithm::Hs256) => Err(IssuerError::SecretInJwks(issuer())),
            IssuerKeys::Jwks => Ok(()),
            IssuerKeys::Fixed(keys) => self.check_keys(keys),
        }
    }

    fn check_keys(&self, keys: &[Key]) -> Result<(), IssuerError> {
        let issuer = || shown(&self.issuer);
        if !(1..=MAX_KEYS).contains(&keys.len()) {
            return Err(IssuerError::KeyCount { issuer: issuer(), count: keys.len() });
        }
        let names = || shown_list(self.algorithms.iter().map(|algorithm| algorithm.name()));
        for (index, key) in keys.iter().enumerate() {
            if !self.algorithms.iter().any(|algorithm| key.fits(*algorithm)) {
                let (number, kind) = (index + 1, key.kind());
                return Err(IssuerError::UnusedKey { issuer: issuer(), number, kind, algorithms: names() });
            }
        }
        for algorithm in &self.algorithms {
            if !keys.iter().any(|key| key.fits(*algorithm)) {
                let (algorithm, kind) = (algorithm.name(), algorithm.key_kind());
                return Err(IssuerError::NoKeyFor { issuer: issuer(), algorithm, kind });
            }
        }
        Ok(())
    }
}

/// What is wrong with the configuration of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// No `iss`.
    #[error("an issuer has no name; its name is what its tokens have as `iss`")]
    NoName,
    /// Two of one name.
    #[error("issuer {} is configured twice; put all its keys into one entry", shown(.0))]
    Twice(String),
    /// No algorithm.
    #[error("issuer {0} has no algorithms; name those that it signs with, out of HS256, RS256, PS256, ES256 and EdDSA")]
    NoAlgorithms(String),
    /// No audience, or an empty one.
    #[error(
        "issuer {0} has no audience; name what is in `aud` of its tokens for this broker, to refuse those for others"
    )]
    NoAudience(String),
    /// More than [`MAX_LEEWAY_S`].
    #[error("issuer {issuer} has a leeway of {leeway_s} s; at most {MAX_LEEWAY_S} s are allowed")]
    Leeway {
        /// Which.
        issuer: String,
        /// Its leeway.
        leeway_s: u64,
    },
    /// The name of a claim is empty.
    #[error("issuer {0} has a claim without a name among those that it reads")]
    EmptyClaim(String),
    /// No key, or more than [`MAX_KEYS`].
    #[error("issuer {issuer} has {count} keys; 1 to {MAX_KEYS} are allowed, or a JWKS URL instead of them")]
    KeyCount {
        /// Which.
        issuer: String,
        /// How many it has.
        count: usize,
    },
    /// A key that no allowed algorithm uses.
    #[error("key {number} of issuer {issuer} is {kind}, which none of its algorithms uses ({algorithms})")]
    UnusedKey {
        /// Which.
        issuer: String,
        /// The key, from 1.
        number: usize,
        /// What it is.
        kind: KeyKind,
        /// The issuer's algorithms.
        algorithms: String,
    },
    /// An algorithm that no key can verify.
    #[error("issuer {issuer} allows {algorithm}, but none of its keys is {kind}")]
    NoKeyFor {
        /// Which.
        issuer: String,
        /// The algorithm.
        algorithm: &'static str,
        /// What it needs.
        kind: KeyKind,
    },
    /// HS256 with a JWKS document.
    #[error("issuer {0} allows HS256 with a JWKS URL; a secret that is published is none, so give it a key file")]
    SecretInJwks(String),
}
