//! The broker's questions to whoever connects, asked without a broker: for `token read` and `check-access`.

use carillon_access::{
    Identity, Permissions,
    identity::{Service, ServiceKey},
};
use carillon_listener::gate::Refused;
use tokio::runtime::Builder;

use super::{Loaded, jwks_url, services};

/// Why somebody would not be let in.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// As the broker itself would say it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// By the moment.
    #[error("all API keys of the service have expired")]
    NoKeyLeft,
}

/// Why nobody can say whether a token is good.
#[derive(Debug, thiserror::Error)]
#[error(
    "the token's signature cannot be checked, because the keys of issuer {issuer:?} could not be fetched: {reason}"
)]
pub struct KeysNotFetched {
    issuer: String,
    reason: String,
}

impl Loaded {
    /// Fetches the keys of the issuer that a token names, once, if that issuer has them at a JWKS URL. Blocks until they
    /// have come or the time for it is over, which is 10 s; not to be called from asynchronous code.
    pub fn fetch_keys_for(&mut self, presented: Option<&str>, now_s: u64) -> Result<(), KeysNotFetched> {
        let Err(NotAdmitted::Refused(Refused::Token(error))) = self.identify(presented, now_s) else { return Ok(()) };
        let wanted = error.wants_keys_of().and_then(|name| self.sources.iter().find(|source| source.issuer() == name));
        let Some(source) = wanted else { return Ok(()) };
        let issuer = source.issuer();
        let failed = |reason: String| KeysNotFetched { issuer: issuer.to_owned(), reason };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| failed(error.to_string()))?;
        let document = runtime.block_on(jwks_url::fetch(source)).map_err(|error| failed(error.to_string()))?;
        let set = self.rules.tokens.set_keys(issuer, document.jwks.keys.into());
        set.map_err(|error| failed(error.to_string()))
    }

    /// Who presents this token or API key; without one, the anonymous identity.
    pub fn identify(&self, presented: Option<&str>, now_s: u64) -> Result<Identity, NotAdmitted> {
        Ok(self.rules.identify(presented, None, now_s)?)
    }

    /// Who shows this client certificate, in DER, and nothing else. Whether TLS would take it is not asked.
    pub fn identify_certificate(&self, der: &[u8], now_s: u64) -> Result<Identity, NotAdmitted> {
        Ok(self.rules.identify(None, Some(der), now_s)?)
    }

    /// What the identity may do, if it is let in.
    pub fn admit(&self, identity: &Identity) -> Result<Permissions, NotAdmitted> {
        Ok(self.rules.permissions_of(identity)?)
    }

    /// Who a service is when it shows one of its keys; `None` if there is no such service.
    pub fn service_identity(&self, name: &str, now_s: u64) -> Option<Result<Identity, NotAdmitted>> {
        let service: &Service = self.services.iter().find(|service| service.name == name)?;
        let is_good = |key: &ServiceKey| key.expires_at_s.is_none_or(|expires_at_s| now_s < expires_at_s);
        let has_key = service.keys.iter().any(is_good);
        Some(if has_key { Ok(services::identity(service)) } else { Err(NotAdmitted::NoKeyLeft) })
    }
}
