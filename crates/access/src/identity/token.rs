//! Verifying tokens: from the presented text, by the issuer's keys, to claims that can be trusted.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    algorithm::KeyKind,
    claims,
    issuer::{IssuerConfig, IssuerError, IssuerKeys},
    key::Key,
    name::{shown, shown_list},
    token_error::TokenError,
    verified::VerifiedTokens,
};
use crate::subject::Identity;

/// The most bytes of a token.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The most keys that one token is checked against.
pub const MAX_CANDIDATES: usize = 4;

/// Verifies the tokens of all configured issuers. Cloning it is cheap, so that one can be changed while others are in
/// use.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    issuers: HashMap<String, Issuer>,
}

#[derive(Debug, Clone)]
struct Issuer {
    config: Arc<IssuerConfig>,
    /// `None` before the first JWKS document has come.
    keys: Option<Arc<KeySet>>,
}

/// Keys that came together, and what they were found to have signed.
#[derive(Debug)]
struct KeySet {
    keys: Arc<[Key]>,
    verified: VerifiedTokens,
}

impl KeySet {
    fn new(keys: Arc<[Key]>) -> Arc<Self> {
        Arc::new(Self { keys, verified: VerifiedTokens::default() })
    }
}

/// No issuer of that name has its keys from a JWKS document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no issuer of that name has its keys from a JWKS document")]
pub struct NotAJwksIssuer;

impl Verifier {
    /// Checks the issuers' configuration. Those with a JWKS URL refuse every token until [`Verifier::set_keys`].
    pub fn new(configs: Vec<IssuerConfig>) -> Result<Self, IssuerError> {
        let mut issuers = HashMap::new();
        for config in configs {
            config.check()?;
            let name = config.issuer.clone();
            let keys = match &config.keys {
                IssuerKeys::Fixed(keys) => Some(KeySet::new(keys.as_slice().into())),
                IssuerKeys::Jwks => None,
            };
            if issuers.insert(name.clone(), Issuer { config: config.into(), keys }).is_some() {
                return Err(IssuerError::Twice(name));
            }
        }
        Ok(Self { issuers })
    }

    /// Replaces the keys of an issuer that has them from a JWKS document. Tokens that its old keys signed are refused
    /// from then on, unless the new ones include them.
    pub fn set_keys(&mut self, issuer: &str, keys: Arc<[Key]>) -> Result<(), NotAJwksIssuer> {
        let issuer = self.issuers.get_mut(issuer).filter(|issuer| matches!(issuer.config.keys, IssuerKeys::Jwks));
        issuer.ok_or(NotAJwksIssuer)?.keys = Some(KeySet::new(keys));
        Ok(())
    }

    /// Who presents `token` at `now_s`, in unix seconds.
    ///
    /// Nothing in the token is believed before its signature holds, but for three things that only choose what it is
    /// measured by: the issuer's name, the algorithm, which must be one of that issuer's, and the key's id.
    ///
    /// That a signature holds is remembered for as long as the issuer's keys stay what they are, and asked of them once.
    /// All else is judged each time.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Identity, TokenError> {
        let unverified = Unverified::read(token)?;
        let issuer = self.issuer(unverified.issuer()?)?;
        let claims = issuer.verify_signature(unverified)?;
        claims::identify(&claims, &issuer.config, now_s)
    }

    /// Whether tokens of this issuer are believed at all, for those whose token was verified before the configuration
    /// changed.
    pub fn check_issuer(&self, name: &str) -> Result<(), TokenError> {
        self.issuer(name).map(|_| ())
    }

    fn issuer(&self, name: &str) -> Result<&Issuer, TokenError> {
        self.issuers.get(name).ok_or_else(|| {
            let mut known: Vec<_> = self.issuers.keys().map(String::as_str).collect();
            known.sort_unstable();
            TokenError::UnknownIssuer { found: shown(name), known: shown_list(known) }
        })
    }
}

impl Issuer {
    fn verify_signature(&self, token: Unverified<'_>) -> Result<VerifiedClaims, TokenError> {
        let issuer = &self.config.issuer;
        let algorithms = &self.config.algorithms;
        let algorithm = algorithms.iter().copied().find(|algorithm| algorithm.name() == token.algorithm);
        let algorithm = algorithm.ok_or_else(|| TokenError::AlgorithmNotAllowed {
            found: shown(&token.algorithm),
            issuer: shown(issuer),
            allowed: shown_list(algorithms.iter().map(|algorithm| algorithm.name())),
        })?;
        let known = self.keys.as_ref().ok_or_else(|| TokenError::NoKeysYet { issuer: issuer.clone() })?;
        let KeySet { keys, verified } = &**known;
        // A key without an id may be any; a token without one may mean any.
        let named = |key: &&Key| token.kid.is_none() || key.id().is_none() || key.id() == token.kid.as_deref();
        let candidates: Vec<&Key> = keys.iter().filter(named).filter(|key| key.fits(algorithm)).collect();
        match (candidates.len(), &token.kid) {
            (1..=MAX_CANDIDATES, _) => {}
            (0, Some(kid)) if !keys.iter().any(|key| key.id() == Some(kid)) => {
                return Err(TokenError::UnknownKey { kid: shown(kid), issuer: issuer.clone() });
            }
            (0, _) => {
                return Err(TokenError::NoKeyForAlgorithm { algorithm: algorithm.name(), issuer: shown(issuer) });
            }
            (count, _) => return Err(TokenError::AmbiguousKey(count)),
        }
        let verify = || candidates.iter().any(|key| key.verifies(algorithm, token.message, token.signature));
        let is_signed = match algorithm.key_kind() {
            // To remember it would cost as much.
            KeyKind::Secret => verify(),
            KeyKind::Rsa | KeyKind::P256 | KeyKind::Ed25519 => verified.is_signed(token.whole, verify),
        };
        if is_signed { Ok(VerifiedClaims(Value::Object(token.claims))) } else { Err(TokenError::BadSignature) }
    }
}

/// A token taken apart, of which nothing is known to be true.
struct Unverified<'a> {
    algorithm: String,
    kid: Option<String>,
    claims: Map<String, Value>,
    whole: &'a str,
    /// What is signed: the first two parts and the dot between them.
    message: &'a str,
    signature: &'a str,
}

/// Claims whose issuer has signed them. There is no other way to make one than by a valid signature.
pub(super) struct VerifiedClaims(Value);

impl VerifiedClaims {
    /// A claim by its name, or, where that starts with `/`, by its JSON pointer.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        if name.starts_with('/') { self.0.pointer(name) } else { self.0.get(name) }
    }
}

impl<'a> Unverified<'a> {
    fn read(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong(token.len()));
        }
        let parts = || TokenError::Malformed("it does not have three parts with dots between them");
        let (message, signature) = token.rsplit_once('.').ok_or_else(parts)?;
        let (header, payload) = message.split_once('.').ok_or_else(parts)?;
        if payload.contains('.') {
            return Err(parts());
        }
        let header = object(header).ok_or(TokenError::Malformed("its header is not a JSON object in base64url"))?;
        let claims = object(payload).ok_or(TokenError::Malformed("its payload is not a JSON object in base64url"))?;
        if header.contains_key("crit") {
            return Err(TokenError::CriticalHeader);
        }
        let typ = text(&header, "typ", "its header's `typ` is not a text")?;
        if let Some(typ) = typ.filter(|typ| !is_accepted_type(typ)) {
            return Err(TokenError::WrongType(shown(typ)));
        }
        let algorithm = text(&header, "alg", "its header's `alg` is not a text")?;
        let algorithm = algorithm.ok_or(TokenError::Malformed("its header has no `alg`"))?.to_owned();
        let kid = text(&header, "kid", "its header's `kid` is not a text")?.map(str::to_owned);
        Ok(Self { algorithm, kid, claims, whole: token, message, signature })
    }

    fn issuer(&self) -> Result<&str, TokenError> {
        let issuer = self.claims.get("iss").ok_or_else(|| TokenError::MissingClaim("iss".to_owned()))?;
        issuer.as_str().ok_or_else(|| TokenError::ClaimForm { claim: "iss".to_owned(), expected: "a text" })
    }
}

/// Whether a token of this type is made to let somebody in. Issuers sign others with the same keys, such as logout and
/// security event tokens, which name a subject and an audience too.
fn is_accepted_type(typ: &str) -> bool {
    ["JWT", "at+jwt", "application/at+jwt"].iter().any(|accepted| typ.eq_ignore_ascii_case(accepted))
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn text<'m>(
    header: &'m Map<String, Value>,
    member: &str,
    problem: &'static str,
) -> Result<Option<&'m str>, TokenError> {
    match header.get(member) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(TokenError::Malformed(problem)),
    }
}
