//! `[[services]]`: who has API keys.

use carillon_access::{
    Identity, Source,
    identity::{ApiKeys, Service, ServiceKey},
};

use super::{
    expiry,
    file::{Entry, KeyEntry, ServiceEntry},
    report::Report,
    roles::Roles,
};

/// The services, each checked alone and then all together.
pub(super) fn api_keys(
    entries: Vec<Entry<ServiceEntry>>,
    roles: &Roles,
    report: &mut Report,
) -> (Vec<Service>, ApiKeys) {
    let before = report.problems();
    let mut services = Vec::new();
    for Entry { label, value } in entries {
        let before = report.problems();
        let service = service(&label, value, report);
        if report.problems() > before {
            continue;
        }
        match ApiKeys::new(vec![service.clone()]) {
            Err(error) => report.problem(&label, error),
            Ok(_) => roles.check(&identity(&service), &format!("{label}.roles"), report),
        }
        services.push(service);
    }
    let keys = ApiKeys::new(services.clone()).unwrap_or_else(|error| {
        // What is wrong with one alone has been told.
        if report.problems() == before {
            report.problem("services", error);
        }
        ApiKeys::default()
    });
    (services, keys)
}

/// Who a service is when it shows one of its keys.
pub(super) fn identity(service: &Service) -> Identity {
    let key = service.keys.first();
    Identity {
        subject: service.name.clone(),
        source: Source::ApiKey { name: key.map(|key| key.id.to_string()).unwrap_or_default() },
        roles: service.roles.clone(),
        claims: service.claims.clone(),
        own: None,
        token_id: None,
        issued_at_s: None,
        expires_at_s: None,
    }
}

fn service(label: &str, entry: ServiceEntry, report: &mut Report) -> Service {
    let ServiceEntry { name, roles, claims, keys } = entry;
    if roles.is_empty() {
        report.problem(format!("{label}.roles"), "without a role it could do nothing; name one");
    }
    let keys = keys.iter().enumerate().filter_map(|(index, entry)| {
        let name = if entry.id.is_empty() { format!("number {}", index + 1) } else { format!("{:?}", entry.id) };
        key(&format!("{label}.keys[{name}]"), entry, report)
    });
    Service { name, roles, claims, keys: keys.collect() }
}

fn key(label: &str, entry: &KeyEntry, report: &mut Report) -> Option<ServiceKey> {
    let mut told = |key: &str, error: String| {
        let advice = if key == "expires" { "" } else { "; `carillon key new` prints both" };
        report.problem(format!("{label}.{key}"), format!("{error}{advice}"));
    };
    let id = entry.id.parse().map_err(|error| told("id", format!("{error}"))).ok();
    let hash = entry.hash.parse().map_err(|error| told("hash", format!("{error}"))).ok();
    let expires = entry.expires.as_ref().map(expiry::unix_seconds).transpose();
    let expires_at_s = expires.map_err(|error| told("expires", error.to_string())).ok();
    Some(ServiceKey { id: id?, hash: hash?, expires_at_s: expires_at_s? })
}
