//! The broker's questions to whoever connects, asked without a broker: for `token read` and `check-access`.

use carillon_access::{
    Identity, Permissions,
    identity::{ApiKeyError, Credential, Revoked, Service, ServiceKey, TokenError},
    permissions::PermissionsError,
};

use super::{Loaded, services};

/// Why somebody would not be let in.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// By the token.
    #[error("the token is not accepted: {0}")]
    Token(#[from] TokenError),
    /// By the API key.
    #[error("the API key is not accepted: {0}")]
    ApiKey(#[from] ApiKeyError),
    /// By the moment.
    #[error("all API keys of the service have expired")]
    NoKeyLeft,
    /// For want of credentials.
    #[error("nobody is let in without credentials (access.anonymous is false)")]
    NoCredentials,
    /// By a revocation.
    #[error("{0}")]
    Revoked(#[from] Revoked),
    /// By the roles.
    #[error("{0}")]
    Permissions(#[from] PermissionsError),
}

impl Loaded {
    /// Who presents this token or API key; without one, the anonymous identity.
    pub fn identify(&self, presented: Option<&str>, now_s: u64) -> Result<Identity, NotAdmitted> {
        Ok(match presented.map(Credential::of) {
            Some(Credential::ApiKey(key)) => self.rules.api_keys.verify(key, now_s)?,
            Some(Credential::Token(token)) => self.rules.tokens.verify(token, now_s)?,
            None => self.rules.anonymous.clone().ok_or(NotAdmitted::NoCredentials)?,
        })
    }

    /// What the identity may do, if it is let in.
    pub fn admit(&self, identity: &Identity) -> Result<Permissions, NotAdmitted> {
        self.rules.revocations.check(identity)?;
        Ok(self.rules.policy.permissions_of(identity)?)
    }

    /// Who a service is when it shows one of its keys; `None` if there is no such service.
    pub fn service_identity(&self, name: &str, now_s: u64) -> Option<Result<Identity, NotAdmitted>> {
        let service: &Service = self.services.iter().find(|service| service.name == name)?;
        let is_good = |key: &ServiceKey| key.expires_at_s.is_none_or(|expires_at_s| now_s < expires_at_s);
        let has_key = service.keys.iter().any(is_good);
        Some(if has_key { Ok(services::identity(service)) } else { Err(NotAdmitted::NoKeyLeft) })
    }
}
