//! The broker's questions to whoever connects, asked without a broker: for `token read` and `check-access`.

use carillon_access::{
    Identity, Permissions,
    identity::{Service, ServiceKey},
};
use carillon_listener::gate::Refused;

use super::{Loaded, services};

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

impl Loaded {
    /// Who presents this token or API key; without one, the anonymous identity.
    pub fn identify(&self, presented: Option<&str>, now_s: u64) -> Result<Identity, NotAdmitted> {
        Ok(self.rules.identify(presented, now_s)?)
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
