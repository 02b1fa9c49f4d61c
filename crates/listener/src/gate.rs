//! Who is let in, and what they may do: the rules as they are configured now, shared by all shards.
//!
//! A reload replaces the rules as a whole. Every connection then asks again for its own identity: one that is revoked is
//! closed, and a subscription that is no longer allowed is ended.

use std::sync::{Arc, PoisonError, RwLock};

use carillon_access::{
    Identity, Permissions, Policy, Source,
    identity::{ApiKeyError, ApiKeys, Credential, Revocations, Revoked, Secret, TokenError, Verifier},
    permissions::PermissionsError,
};
use tokio::sync::watch;

/// The rules at one time.
#[derive(Debug, Default)]
pub struct Rules {
    /// Whose tokens are believed. Without an issuer no token is.
    pub tokens: Verifier,
    /// The keys of services.
    pub api_keys: ApiKeys,
    /// Who one is without credentials; `None` lets nobody in without.
    pub anonymous: Option<Identity>,
    /// What each role may do.
    pub policy: Policy,
    /// Who is not let in any more, whatever they show.
    pub revocations: Revocations,
}

/// Somebody who was let in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) identity: Arc<Identity>,
    pub(crate) permissions: Permissions,
    /// What a service showed, to be looked at again when the rules change: its keys may have been taken out.
    api_key: Option<Arc<Secret>>,
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
    Token(#[from] TokenError),
    /// By the API key.
    #[error("the API key is not accepted: {0}")]
    ApiKey(#[from] ApiKeyError),
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

impl Rules {
    /// Who presents this token or API key, or nothing. Times are unix seconds.
    pub fn identify(&self, presented: Option<&str>, now_s: u64) -> Result<Identity, Refused> {
        Ok(match presented.map(Credential::of) {
            None => self.anonymous.clone().ok_or(Refused::NoCredentials)?,
            Some(Credential::ApiKey(key)) => self.api_keys.verify(key, now_s)?,
            Some(Credential::Token(token)) => self.tokens.verify(token, now_s)?,
        })
    }

    /// What an identity may do, if it is let in.
    pub fn permissions_of(&self, identity: &Identity) -> Result<Permissions, Refused> {
        self.revocations.check(identity)?;
        Ok(self.policy.permissions_of(identity)?)
    }

    fn admit(&self, presented: Option<&str>, now_s: u64) -> Result<Admitted, Refused> {
        let identity = self.identify(presented, now_s)?;
        let permissions = self.permissions_of(&identity)?;
        let is_key = matches!(identity.source, Source::ApiKey { .. });
        let api_key = presented.filter(|_| is_key).map(|key| Arc::new(Secret::new(key)));
        Ok(Admitted { identity: Arc::new(identity), permissions, api_key })
    }

    /// The same identity under these rules. A token is not verified again, because the keys that signed it may have
    /// been replaced since in good order; what takes tokens back are revocations.
    fn admit_again(&self, admitted: &Admitted, now_s: u64) -> Result<Admitted, Refused> {
        if let Some(key) = &admitted.api_key {
            return self.admit(std::str::from_utf8(key.expose()).ok(), now_s);
        }
        if admitted.identity.source == Source::Anonymous {
            return self.admit(None, now_s);
        }
        let permissions = self.permissions_of(&admitted.identity)?;
        Ok(Admitted { permissions, ..admitted.clone() })
    }
}

/// Holds the rules for all who ask.
#[derive(Debug)]
pub struct Gate {
    rules: RwLock<Arc<Rules>>,
    /// How often the rules were replaced.
    replaced: watch::Sender<u64>,
}

impl Gate {
    /// Begins with these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules: RwLock::new(Arc::new(rules)), replaced: watch::Sender::new(0) }
    }

    /// Replaces the rules, for those who come and for those who are there.
    pub fn replace(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.replaced.send_modify(|times| *times += 1);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// Lets somebody in, or says why not. Times are unix seconds.
    pub(crate) fn admit(&self, presented: Option<&str>, now_s: u64) -> Result<Admitted, Refused> {
        self.rules().admit(presented, now_s)
    }

    /// Whether somebody who is there may stay, and with what permissions.
    pub(crate) fn admit_again(&self, admitted: &Admitted, now_s: u64) -> Result<Admitted, Refused> {
        self.rules().admit_again(admitted, now_s)
    }

    /// New credentials for somebody who is there.
    pub(crate) fn refresh(&self, admitted: &Admitted, presented: &str, now_s: u64) -> Result<Admitted, Refused> {
        let renewed = self.admit(Some(presented), now_s)?;
        if renewed.identity.key() == admitted.identity.key() { Ok(renewed) } else { Err(Refused::AnotherSubject) }
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }
}
