//! `[quotas]`: how much the broker, each connection, each identity and each address may do, and what roles change of that.

use std::{collections::HashMap, sync::Arc};

use carillon_access::quota::{Mode, Most, Pace, Quotas, Rate};
use carillon_listener::quota::{BrokerQuotas, Scopes};
use carillon_metrics::{Label, QuotaName};
use serde::{Deserialize, Serialize};

/// `[quotas]`. Everywhere 0 is no quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [quotas]")]
pub struct QuotasSection {
    /// Quotas that refuse nothing and are only counted, by their keys without the `quotas.` before.
    pub report_only: Vec<String>,
    /// The broker as a whole.
    pub broker: BrokerKeys,
    /// Each connection.
    pub connection: ConnectionKeys,
    /// Each identity.
    pub identity: IdentityKeys,
    /// Each address.
    pub address: AddressKeys,
}

/// `[quotas.broker]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [quotas.broker]")]
pub struct BrokerKeys {
    pub connections: u64,
    pub handshakes: u64,
    pub queued_bytes: u64,
}

/// `[quotas.connection]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [quotas.connection]")]
pub struct ConnectionKeys {
    pub subscriptions: u64,
    pub payload_bytes: u64,
    pub publications: PaceKeys,
    pub bytes: PaceKeys,
    pub requests: PaceKeys,
    pub failed_logins: PaceKeys,
}

/// `[quotas.identity]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [quotas.identity]")]
pub struct IdentityKeys {
    pub connections: u64,
    pub subscriptions: u64,
    pub payload_bytes: u64,
    pub publications: PaceKeys,
    pub bytes: PaceKeys,
    pub requests: PaceKeys,
    pub failed_logins: PaceKeys,
}

/// `[quotas.address]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section, [quotas.address]")]
pub struct AddressKeys {
    pub connections: u64,
    pub handshakes: u64,
    pub subscriptions: u64,
    pub payload_bytes: u64,
    pub publications: PaceKeys,
    pub bytes: PaceKeys,
    pub requests: PaceKeys,
    pub failed_logins: PaceKeys,
}

/// How many in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "{ per_second = 10, burst = 20 }")]
pub struct PaceKeys {
    /// For each second; 0 is no quota.
    pub per_second: u64,
    /// At once, after a rest; 0 is as many as for each second.
    pub burst: u64,
}

/// `[roles.NAME.quotas]` of the access file: what a role has in place of `[quotas.identity]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleQuotas {
    pub(crate) connections: Option<u64>,
    pub(crate) subscriptions: Option<u64>,
    pub(crate) payload_bytes: Option<u64>,
    pub(crate) publications: Option<PaceKeys>,
    pub(crate) bytes: Option<PaceKeys>,
    pub(crate) requests: Option<PaceKeys>,
    pub(crate) failed_logins: Option<PaceKeys>,
}

impl Default for QuotasSection {
    /// The listener's own defaults, as they are written.
    fn default() -> Self {
        let Scopes { broker, connection, identity, address, roles: _ } = Scopes::default();
        let most = |most: Option<Most>| most.map_or(0, |most| most.most);
        let pace = |pace: Option<Pace>| {
            pace.map_or_else(PaceKeys::default, |Pace { rate, .. }| PaceKeys {
                per_second: rate.per_second(),
                burst: rate.burst(),
            })
        };
        Self {
            report_only: Vec::new(),
            broker: BrokerKeys {
                connections: most(broker.connections),
                handshakes: most(broker.handshakes),
                queued_bytes: most(broker.queued_bytes),
            },
            connection: ConnectionKeys {
                subscriptions: most(connection.subscriptions),
                payload_bytes: most(connection.payload_bytes),
                publications: pace(connection.publications),
                bytes: pace(connection.bytes),
                requests: pace(connection.requests),
                failed_logins: pace(connection.failed_logins),
            },
            identity: IdentityKeys {
                connections: most(identity.connections),
                subscriptions: most(identity.subscriptions),
                payload_bytes: most(identity.payload_bytes),
                publications: pace(identity.publications),
                bytes: pace(identity.bytes),
                requests: pace(identity.requests),
                failed_logins: pace(identity.failed_logins),
            },
            address: AddressKeys {
                connections: most(address.connections),
                handshakes: most(address.handshakes),
                subscriptions: most(address.subscriptions),
                payload_bytes: most(address.payload_bytes),
                publications: pace(address.publications),
                bytes: pace(address.bytes),
                requests: pace(address.requests),
                failed_logins: pace(address.failed_logins),
            },
        }
    }
}

impl QuotasSection {
    /// For the listener, with what roles have in place of `[quotas.identity]`.
    pub fn scopes(&self, roles: &HashMap<String, RoleQuotas>) -> Scopes {
        let Self { broker, connection, identity, address, .. } = self;
        let roles = roles.iter().map(|(role, quotas)| {
            let keys = quotas.over(identity);
            (role.clone(), Arc::new(self.identity_quotas(&keys)))
        });
        Scopes {
            broker: BrokerQuotas {
                connections: self.most(broker.connections, QuotaName::BrokerConnections),
                handshakes: self.most(broker.handshakes, QuotaName::BrokerHandshakes),
                queued_bytes: self.most(broker.queued_bytes, QuotaName::BrokerQueuedBytes),
            },
            connection: Arc::new(Quotas {
                connections: None,
                handshakes: None,
                subscriptions: self.most(connection.subscriptions, QuotaName::ConnectionSubscriptions),
                payload_bytes: self.most(connection.payload_bytes, QuotaName::ConnectionPayloadBytes),
                publications: self.pace(connection.publications, QuotaName::ConnectionPublications),
                bytes: self.pace(connection.bytes, QuotaName::ConnectionBytes),
                requests: self.pace(connection.requests, QuotaName::ConnectionRequests),
                failed_logins: self.pace(connection.failed_logins, QuotaName::ConnectionFailedLogins),
            }),
            identity: Arc::new(self.identity_quotas(identity)),
            address: Arc::new(Quotas {
                connections: self.most(address.connections, QuotaName::AddressConnections),
                handshakes: self.most(address.handshakes, QuotaName::AddressHandshakes),
                subscriptions: self.most(address.subscriptions, QuotaName::AddressSubscriptions),
                payload_bytes: self.most(address.payload_bytes, QuotaName::AddressPayloadBytes),
                publications: self.pace(address.publications, QuotaName::AddressPublications),
                bytes: self.pace(address.bytes, QuotaName::AddressBytes),
                requests: self.pace(address.requests, QuotaName::AddressRequests),
                failed_logins: self.pace(address.failed_logins, QuotaName::AddressFailedLogins),
            }),
            roles: roles.collect(),
        }
    }

    fn identity_quotas(&self, keys: &IdentityKeys) -> Quotas {
        Quotas {
            connections: self.most(keys.connections, QuotaName::IdentityConnections),
            handshakes: None,
            subscriptions: self.most(keys.subscriptions, QuotaName::IdentitySubscriptions),
            payload_bytes: self.most(keys.payload_bytes, QuotaName::IdentityPayloadBytes),
            publications: self.pace(keys.publications, QuotaName::IdentityPublications),
            bytes: self.pace(keys.bytes, QuotaName::IdentityBytes),
            requests: self.pace(keys.requests, QuotaName::IdentityRequests),
            failed_logins: self.pace(keys.failed_logins, QuotaName::IdentityFailedLogins),
        }
    }

    fn mode(&self, name: QuotaName) -> Mode {
        let is_reported = self.report_only.iter().any(|key| key == name.name());
        if is_reported { Mode::ReportOnly } else { Mode::Enforce }
    }

    fn most(&self, most: u64, name: QuotaName) -> Option<Most> {
        (most > 0).then(|| Most { most, mode: self.mode(name) })
    }

    /// A pace that is none was refused by the configuration's check.
    fn pace(&self, keys: PaceKeys, name: QuotaName) -> Option<Pace> {
        let rate = Rate::new(keys.per_second, keys.burst()).ok()?;
        Some(Pace { rate, mode: self.mode(name) })
    }

    /// Every pace, with its key.
    pub(super) fn paces(&self) -> [(&'static str, PaceKeys); 12] {
        let Self { connection, identity, address, .. } = self;
        [
            ("quotas.connection.publications", connection.publications),
            ("quotas.connection.bytes", connection.bytes),
            ("quotas.connection.requests", connection.requests),
            ("quotas.connection.failed_logins", connection.failed_logins),
            ("quotas.identity.publications", identity.publications),
            ("quotas.identity.bytes", identity.bytes),
            ("quotas.identity.requests", identity.requests),
            ("quotas.identity.failed_logins", identity.failed_logins),
            ("quotas.address.publications", address.publications),
            ("quotas.address.bytes", address.bytes),
            ("quotas.address.requests", address.requests),
            ("quotas.address.failed_logins", address.failed_logins),
        ]
    }

    /// Every number for the metrics, by its key.
    pub(super) fn by_name(&self) -> Vec<(&'static str, u64)> {
        let Self { broker, connection, identity, address, .. } = self;
        let mut named = vec![
            ("quotas.broker.connections", broker.connections),
            ("quotas.broker.handshakes", broker.handshakes),
            ("quotas.broker.queued_bytes", broker.queued_bytes),
            ("quotas.connection.subscriptions", connection.subscriptions),
            ("quotas.connection.payload_bytes", connection.payload_bytes),
            ("quotas.identity.connections", identity.connections),
            ("quotas.identity.subscriptions", identity.subscriptions),
            ("quotas.identity.payload_bytes", identity.payload_bytes),
            ("quotas.address.connections", address.connections),
            ("quotas.address.handshakes", address.handshakes),
            ("quotas.address.subscriptions", address.subscriptions),
            ("quotas.address.payload_bytes", address.payload_bytes),
        ];
        named.extend(self.paces().map(|(key, pace)| (key, pace.per_second)));
        named.retain(|(_, value)| *value > 0);
        named
    }
}

impl PaceKeys {
    /// How many at once.
    pub(super) const fn burst(self) -> u64 {
        if self.burst == 0 { self.per_second } else { self.burst }
    }

    /// What is wrong with it.
    pub(crate) fn check(self) -> Result<(), String> {
        match Rate::new(self.per_second, self.burst()) {
            Err(error) if self.per_second > 0 => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}

impl RoleQuotas {
    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every pace that it sets, with its key.
    pub(crate) fn paces(&self) -> impl Iterator<Item = (&'static str, PaceKeys)> {
        let paces = [
            ("publications", self.publications),
            ("bytes", self.bytes),
            ("requests", self.requests),
            ("failed_logins", self.failed_logins),
        ];
        paces.into_iter().filter_map(|(key, pace)| Some((key, pace?)))
    }

    fn over(&self, general: &IdentityKeys) -> IdentityKeys {
        IdentityKeys {
            connections: self.connections.unwrap_or(general.connections),
            subscriptions: self.subscriptions.unwrap_or(general.subscriptions),
            payload_bytes: self.payload_bytes.unwrap_or(general.payload_bytes),
            publications: self.publications.unwrap_or(general.publications),
            bytes: self.bytes.unwrap_or(general.bytes),
            requests: self.requests.unwrap_or(general.requests),
            failed_logins: self.failed_logins.unwrap_or(general.failed_logins),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_listeners_own() {
        assert_eq!(QuotasSection::default().scopes(&HashMap::new()), Scopes::default());
    }

    #[test]
    fn each_key_reaches_the_quota_of_its_name_and_can_be_only_reported() {
        // Every number another one, so that no two can be mixed up unseen.
        let pace = |number| PaceKeys { per_second: number, burst: number + 1 };
        let section = QuotasSection {
            report_only: QuotaName::ALL.iter().map(|name| name.name().to_owned()).collect(),
            broker: BrokerKeys { connections: 1, handshakes: 2, queued_bytes: 3 },
            connection: ConnectionKeys {
                subscriptions: 10,
                payload_bytes: 11,
                publications: pace(12),
                bytes: pace(14),
                requests: pace(16),
                failed_logins: pace(18),
            },
            identity: IdentityKeys {
                connections: 20,
                subscriptions: 21,
                payload_bytes: 22,
                publications: pace(23),
                bytes: pace(25),
                requests: pace(27),
                failed_logins: pace(29),
            },
            address: AddressKeys {
                connections: 40,
                handshakes: 41,
                subscriptions: 42,
                payload_bytes: 43,
                publications: pace(44),
                bytes: pace(46),
                requests: pace(48),
                failed_logins: pace(50),
            },
        };
        let role = RoleQuotas { connections: Some(0), requests: Some(pace(60)), ..RoleQuotas::default() };
        let scopes = section.scopes(&HashMap::from([("guest".to_owned(), role)]));
        let most = |most| Some(Most { most, mode: Mode::ReportOnly });
        let pace = |number| Rate::new(number, number + 1).ok().map(|rate| Pace { rate, mode: Mode::ReportOnly });
        assert_eq!(scopes.broker.connections, most(1));
        assert_eq!(scopes.broker.handshakes, most(2));
        assert_eq!(scopes.broker.queued_bytes, most(3));
        let identity = Quotas {
            connections: most(20),
            handshakes: None,
            subscriptions: most(21),
            payload_bytes: most(22),
            publications: pace(23),
            bytes: pace(25),
            requests: pace(27),
            failed_logins: pace(29),
        };
        assert_eq!(*scopes.identity, identity);
        let guest = Quotas { connections: None, requests: pace(60), ..identity };
        assert_eq!(*scopes.roles["guest"], guest);
        let address = Quotas {
            connections: most(40),
            handshakes: most(41),
            subscriptions: most(42),
            payload_bytes: most(43),
            publications: pace(44),
            bytes: pace(46),
            requests: pace(48),
            failed_logins: pace(50),
        };
        assert_eq!(*scopes.address, address);
        let connection = Quotas {
            connections: None,
            handshakes: None,
            subscriptions: most(10),
            payload_bytes: most(11),
            publications: pace(12),
            bytes: pace(14),
            requests: pace(16),
            failed_logins: pace(18),
        };
        assert_eq!(*scopes.connection, connection);
    }
}
