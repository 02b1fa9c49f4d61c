//! Who is let in, and what they may do: the rules as they are configured now, shared by all shards.
//!
//! A reload replaces the rules as a whole. Every connection then asks again for its own identity: one that is revoked is
//! closed, and a subscription that is no longer allowed is ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use carillon_access::{
    Identity, Permissions, Policy, Source,
    identity::{
        ApiKeyError, ApiKeys, CertificateError, CertificateRules, Credential, Key, NotAJwksIssuer, Revocations,
        Revoked, Secret, TokenError, Verifier,
    },
    permissions::PermissionsError,
};
use tokio::sync::{Notify, watch};

use crate::{
    quota::Scopes,
    tls::{ClientCertificateError, ClientChain, ClientVerifier},
};

/// The rules at one time.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Whose tokens are believed. Without an issuer no token is.
    pub tokens: Verifier,
    /// The issuers, by `iss`, whose keys are fetched while the broker runs, and how their fetcher is asked for new ones.
    pub fetched: HashMap<String, KeyRequests>,
    /// The keys of services.
    pub api_keys: ApiKeys,
    /// Who one is by a client certificate.
    pub certificates: CertificateRules,
    /// Who judges client certificates: the one of the listener's [`Tls`](crate::Tls). It judges those again that were
    /// shown before it came.
    pub client_verifier: Option<Arc<ClientVerifier>>,
    /// Who one is without credentials; `None` lets nobody in without.
    pub anonymous: Option<Identity>,
    /// What each role may do.
    pub policy: Policy,
    /// Who is not let in any more, whatever they show.
    pub revocations: Revocations,
    /// How much of it.
    pub quotas: Arc<Scopes>,
}

/// How whoever fetches an issuer's keys hears that a token named one that is not there. All that are not answered yet
/// count as one request, so asking never waits and nothing grows.
#[derive(Debug, Clone, Default)]
pub struct KeyRequests(Arc<Notify>);

impl KeyRequests {
    /// Asks for the issuer's keys to be fetched again.
    pub fn ask(&self) {
        self.0.notify_one();
    }

    /// Waits until somebody has asked since this returned last. Cancel-safe.
    pub async fn asked(&self) {
        self.0.notified().await;
    }
}

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) identity: Arc<Identity>,
    pub(crate) permissions: Permissions,
    /// What a service showed, to be looked at again when the rules change: its keys may have been taken out.
    api_key: Option<Arc<Secret>>,
    /// What its handshake was made with, whether or not that says who it is: it is let in only as long as this is good.
    certificate: Option<ClientChain>,
}

impl Admitted {
    /// When it ends, in unix seconds: the identity, or before that the certificate.
    pub(crate) fn ends_at_s(&self) -> Option<u64> {
        self.certificate.iter().map(ClientChain::ends_at_s).chain(self.identity.expires_at_s).min()
    }
}

/// Why somebody is not let in. Who connects is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// For want of credentials.
    #[error("this broker lets nobody in without credentials; connect with a token")]
    NoCredentials,
    /// By the token.
    #[error("the token is not accepted: {0}")]
    Token(#[source] TokenError),
    /// By the token for now: it names a key that its issuer may have by now, and the issuer's keys are being asked for.
    #[error("the token is not accepted yet: {0}")]
    KeysPending(#[source] TokenError),
    /// By the API key.
    #[error("the API key is not accepted: {0}")]
    ApiKey(#[from] ApiKeyError),
    /// By the client certificate, which has been good for TLS once.
    #[error("the client certificate is not accepted any more: {0}")]
    ClientCertificate(#[from] ClientCertificateError),
    /// By who the client certificate says one is.
    #[error("{0}")]
    CertificateIdentity(#[from] CertificateError),
    /// By the rules, which have changed.
    #[error("the rules know these credentials as another subject's now; connect again")]
    Renamed,
    /// By a revocation.
    #[error("{0}")]
    Revoked(#[from] Revoked),
    /// By the roles.
    #[error("{0}")]
    Permissions(#[from] PermissionsError),
    /// A refresh with somebody else's credentials.
    #[error("the new credentials are another subject's; connect again with them")]
    AnotherSubject,
}

impl Refused {
    /// Whether the same credentials may be good in a moment, without anybody doing anything about it.
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::KeysPending(_))
    }
}

impl Rules {
    /// Who presents this token or API key, or this certificate (in DER, found good by TLS), or nothing. Times are unix
    /// seconds.
    ///
    /// A token or key says who one is, whatever certificate comes with it: it was meant for this, and a certificate may
    /// be one that a whole machine shares. Without one it is the certificate. Whoever shows one that is nobody's is
    /// refused, as with a token, and never taken for somebody without credentials.
    pub fn identify(
        &self,
        presented: Option<&str>,
        certificate: Option<&[u8]>,
        now_s: u64,
    ) -> Result<Identity, Refused> {
        Ok(match (presented.map(Credential::of), certificate) {
            (Some(Credential::ApiKey(key)), _) => self.api_keys.verify(key, now_s)?,
            (Some(Credential::Token(token)), _) => {
                self.tokens.verify(token, now_s).map_err(|error| self.refuse(error))?
            }
            (None, Some(certificate)) => self.certificates.identify(certificate)?,
            (None, None) => self.anonymous.clone().ok_or(Refused::NoCredentials)?,
        })
    }

    /// Asks for the issuer's keys where they are fetched, and new ones could make the token good.
    fn refuse(&self, error: TokenError) -> Refused {
        match error.wants_keys_of().and_then(|issuer| self.fetched.get(issuer)) {
            Some(requests) => {
                requests.ask();
                Refused::KeysPending(error)
            }
            None => Refused::Token(error),
        }
    }

    /// What an identity may do, if it is let in.
    pub fn permissions_of(&self, identity: &Identity) -> Result<Permissions, Refused> {
        self.revocations.check(identity)?;
        Ok(self.policy.permissions_of(identity)?)
    }

    fn admit(
        &self,
        presented: Option<&str>,
        certificate: Option<&ClientChain>,
        now_s: u64,
    ) -> Result<Admitted, Refused> {
        let certificate = certificate.map(|chain| self.judge(chain, now_s)).transpose()?;
        let identity = self.identify(presented, certificate.as_ref().map(ClientChain::own), now_s)?;
        let permissions = self.permissions_of(&identity)?;
        let is_key = matches!(identity.source, Source::ApiKey { .. });
        let api_key = presented.filter(|_| is_key).map(|key| Arc::new(Secret::new(key)));
        Ok(Admitted { identity: Arc::new(identity), permissions, api_key, certificate })
    }

    /// Whether a certificate is still good, and whoever the rules know its holder as is not revoked, also where a token
    /// says who it is. Where none are asked for, none is.
    fn judge(&self, chain: &ClientChain, now_s: u64) -> Result<ClientChain, Refused> {
        let verifier = self.client_verifier.as_ref().ok_or(ClientCertificateError::UnknownAuthority)?;
        let judged = chain.judged_by(verifier, now_s)?;
        if !self.revocations.is_empty()
            && let Ok(holder) = self.certificates.identify(judged.own())
        {
            self.revocations.check(&holder)?;
        }
        Ok(judged)
    }

    /// The same identity under these rules. A token is not verified again, because the keys that signed it may have
    /// been replaced since in good order; what takes tokens back are revocations, and that their issuer is gone. A
    /// certificate is, because nothing but its authority and that one's revocation lists takes it back.
    fn admit_again(&self, admitted: &Admitted, now_s: u64) -> Result<Admitted, Refused> {
        let certificate = admitted.certificate.as_ref();
        let same_by = |presented: Option<&str>| {
            let again = self.admit(presented, certificate, now_s)?;
            let is_same = again.identity.key() == admitted.identity.key();
            if is_same { Ok(again) } else { Err(Refused::Renamed) }
        };
        if let Some(key) = &admitted.api_key {
            return same_by(std::str::from_utf8(key.expose()).ok());
        }
        match &admitted.identity.source {
            Source::Anonymous => self.admit(None, None, now_s),
            Source::Certificate => same_by(None),
            source => {
                if let Source::Token { issuer } = source {
                    self.tokens.check_issuer(issuer).map_err(Refused::Token)?;
                }
                let certificate = certificate.map(|chain| self.judge(chain, now_s)).transpose()?;
                let permissions = self.permissions_of(&admitted.identity)?;
                Ok(Admitted { permissions, certificate, ..admitted.clone() })
            }
        }
    }
}

/// Holds the rules for all who ask.
#[derive(Debug)]
pub struct Gate {
    rules: RwLock<Arc<Rules>>,
    /// Held by whoever changes the rules, so that two do not undo each other while nobody who only asks has to wait.
    changing: Mutex<()>,
    /// How often the rules were replaced.
    replaced: watch::Sender<u64>,
}

impl Gate {
    /// Begins with these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules: RwLock::new(Arc::new(rules)), changing: Mutex::default(), replaced: watch::Sender::new(0) }
    }

    /// Replaces the rules, for those who come and for those who are there.
    pub fn replace(&self, rules: Rules) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(rules);
        self.replaced.send_modify(|times| *times += 1);
    }

    /// Replaces the keys of an issuer whose keys come from a JWKS document, for those who come. Those who are there are
    /// not asked again: their tokens were good, and keys are replaced in good order.
    pub fn set_keys(&self, issuer: &str, keys: Arc<[Key]>) -> Result<(), NotAJwksIssuer> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rules = Rules::clone(&self.rules());
        rules.tokens.set_keys(issuer, keys)?;
        self.put(rules);
        Ok(())
    }

    fn put(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// Lets somebody in, or says why not. Times are unix seconds.
    pub(crate) fn admit(
        &self,
        presented: Option<&str>,
        certificate: Option<&ClientChain>,
        now_s: u64,
    ) -> Result<Admitted, Refused> {
        self.rules().admit(presented, certificate, now_s)
    }

    /// Whether somebody who is there may stay, and with what permissions.
    pub(crate) fn admit_again(&self, admitted: &Admitted, now_s: u64) -> Result<Admitted, Refused> {
        self.rules().admit_again(admitted, now_s)
    }

    /// New credentials for somebody who is there.
    pub(crate) fn refresh(&self, admitted: &Admitted, presented: &str, now_s: u64) -> Result<Admitted, Refused> {
        let renewed = self.admit(Some(presented), admitted.certificate.as_ref(), now_s)?;
        if renewed.identity.key() == admitted.identity.key() { Ok(renewed) } else { Err(Refused::AnotherSubject) }
    }

    /// The quotas that hold now.
    pub(crate) fn scopes(&self) -> Arc<Scopes> {
        Arc::clone(&self.rules().quotas)
    }

    /// The rules that hold now.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use carillon_access::identity::{Algorithm, IssuerConfig, IssuerKeys, Jwks};

    use super::*;

    const ISSUER: &str = "https://login.test";

    fn rules(is_fetched: bool) -> (Rules, KeyRequests) {
        let config = IssuerConfig::new(ISSUER, &[Algorithm::EdDsa], &["carillon"], IssuerKeys::Jwks);
        let requests = KeyRequests::default();
        let fetched = is_fetched.then(|| (ISSUER.to_owned(), requests.clone())).into_iter().collect();
        (Rules { tokens: Verifier::new(vec![config]).unwrap(), fetched, ..Rules::default() }, requests)
    }

    fn key(id: &str) -> Arc<[Key]> {
        // Any 32 bytes will do: what is asked here is which key a token means, not whether it signed.
        let x = URL_SAFE_NO_PAD.encode([7; 32]);
        let document = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{id}","x":"{x}"}}]}}"#);
        Jwks::parse(document.as_bytes()).unwrap().keys.into()
    }

    fn refusal(gate: &Gate, kid: &str) -> Refused {
        let part = |json: String| URL_SAFE_NO_PAD.encode(json);
        let header = part(format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#));
        let token = format!("{header}.{}.c2lnbmF0dXJl", part(format!(r#"{{"iss":"{ISSUER}"}}"#)));
        gate.admit(Some(&token), None, 0).unwrap_err()
    }

    async fn was_asked(requests: &KeyRequests) -> bool {
        tokio::select! {
            biased;
            () = requests.asked() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn token_of_an_unknown_key_asks_for_keys_until_it_is_known() {
        let (rules, requests) = rules(true);
        let gate = Gate::new(rules);
        let replaced = gate.watch();
        assert!(refusal(&gate, "a").is_retriable());
        assert!(was_asked(&requests).await);

        gate.set_keys(ISSUER, key("b")).unwrap();
        for _ in 0..1_000 {
            assert!(refusal(&gate, "a").is_retriable());
        }
        assert!(was_asked(&requests).await);
        assert!(!was_asked(&requests).await, "a thousand requests are not one");

        gate.set_keys(ISSUER, key("a")).unwrap();
        let refused = refusal(&gate, "a");
        assert!(matches!(refused, Refused::Token(TokenError::BadSignature)), "{refused}");
        assert!(!refused.is_retriable() && !was_asked(&requests).await);
        assert!(!replaced.has_changed().unwrap(), "connections were asked again because of keys");
    }

    #[tokio::test]
    async fn unknown_key_of_an_issuer_with_files_is_refused_for_good() {
        let (mut rules, requests) = rules(false);
        rules.tokens.set_keys(ISSUER, key("b")).unwrap();
        let gate = Gate::new(rules);
        assert!(!refusal(&gate, "a").is_retriable());
        assert!(!was_asked(&requests).await);
        assert_eq!(gate.set_keys("https://other.test", key("a")), Err(NotAJwksIssuer));
    }
}
