//! Brokers with quotas, and what clients say that run into them.

#![expect(clippy::unnecessary_wraps, reason = "no quota is None")]

use std::{collections::HashMap, sync::Arc};

use carillon_access::quota::{Mode, Most, Quotas};
use carillon_listener::{
    gate::Rules,
    quota::{BrokerQuotas, Scopes},
};
use carillon_metrics::QuotaName;
use carillon_wire::{ClientMessage, Headers, Topic, client_message::Publish};

use super::{Broker, Client, Said, anonymous_may_do_everything, settings};

/// No quota at all.
pub fn none() -> Scopes {
    let quotas = Arc::new(Quotas::default());
    Scopes {
        broker: BrokerQuotas::default(),
        connection: Arc::clone(&quotas),
        identity: Arc::clone(&quotas),
        address: quotas,
        roles: HashMap::new(),
    }
}

pub fn most(most: u64) -> Option<Most> {
    Some(Most { most, mode: Mode::Enforce })
}

pub fn rules(scopes: Scopes) -> Rules {
    Rules { quotas: Arc::new(scopes), ..anonymous_may_do_everything() }
}

pub fn start(scopes: Scopes) -> Broker {
    Broker::start_behind(settings(), 1, rules(scopes))
}

pub fn enforced(broker: &Broker, quota: QuotaName) -> u64 {
    broker.broker_metrics.quotas_enforced.of(quota).get()
}

pub fn publish(client: &mut Client, payload: &[u8]) -> Said {
    let id = client.id();
    let topic = Topic::new("a").unwrap();
    client.send(&ClientMessage::Publish(Publish {
        id: Some(id),
        topic,
        payload,
        headers: Headers::EMPTY,
        message_id: None,
        expected_sequence: None,
    }));
    client.next()
}

/// The error's code; 0 where it was not refused.
pub fn code_of(said: &Said) -> u16 {
    match said {
        Said::Error { code, .. } => *code,
        Said::Ok(_) => 0,
        other => panic!("{other:?}"),
    }
}

/// Waits for the answer to what was asked last, and then for all that was done.
pub fn settle(client: &mut Client) {
    assert!(matches!(client.next(), Said::Ok(_)));
    client.ping();
}
