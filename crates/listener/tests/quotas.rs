//! Quotas over real connections: who is refused, with what, and that others are not.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::unnecessary_wraps, reason = "a test may")]

mod support;

use std::{io::Read, net::TcpStream, sync::Arc, time::Duration};

use carillon_access::{
    identity::{Algorithm, IssuerConfig, IssuerKeys, Verifier},
    quota::{Mode, Most, Pace, Quotas, Rate},
};
use carillon_listener::{
    gate::{KeyRequests, Rules},
    quota::{BrokerQuotas, Scopes},
};
use carillon_metrics::{HandshakeFailure, LoginResult, Phase, QuotaHolder, QuotaName};
use carillon_wire::{ClientMessage, Overflow, client_message::Refresh};
use support::{
    Broker, Client, Said, eventually,
    quotas::{code_of, enforced, most, none, publish, rules, start},
    settings,
};

const UNAVAILABLE: u16 = 201;
const RATE_EXCEEDED: u16 = 202;
const QUOTA_EXCEEDED: u16 = 203;
const PAYLOAD_TOO_LARGE: u16 = 413;
const TOO_MANY_SUBSCRIPTIONS: u16 = 416;
const CLOSED_FOR_QUOTA: u16 = 4104;

/// As slow as can be, after so many at once.
fn once(burst: u64) -> Option<Pace> {
    Some(Pace { rate: Rate::new(1, burst).unwrap(), mode: Mode::Enforce })
}

fn reported(pace: Option<Pace>) -> Option<Pace> {
    pace.map(|pace| Pace { mode: Mode::ReportOnly, ..pace })
}

fn subscribe(client: &mut Client, pattern: &str) -> Said {
    client.ask_subscribe(pattern, Overflow::DropOldest);
    client.next()
}

/// Asks again and again until the rate is exceeded, and tells how often it was not. That is the burst, and one more for each
/// second that passed.
fn until_exceeded(mut ask: impl FnMut() -> u16) -> u64 {
    let mut within = 0;
    eventually("the rate is exceeded", || {
        let is_exceeded = ask() == RATE_EXCEEDED;
        within += u64::from(!is_exceeded);
        is_exceeded
    });
    within
}

/// Runs with a quota set for each of the three in turn, and tells which name its count has.
fn for_each_scope(quotas: &Quotas, names: [QuotaName; 3], run: impl Fn(&Broker)) {
    for (scope, name) in names.into_iter().enumerate() {
        let mut scopes = none();
        *[&mut scopes.connection, &mut scopes.identity, &mut scopes.address][scope] = Arc::new(quotas.clone());
        let broker = start(scopes);
        run(&broker);
        assert!(enforced(&broker, name) > 0, "{name:?} was not counted");
        let others = QuotaName::of_all().filter(|other| *other != name);
        assert!(others.into_iter().all(|other| enforced(&broker, other) == 0), "{name:?}");
    }
}

trait AllNames {
    fn of_all() -> std::vec::IntoIter<QuotaName>;
}

impl AllNames for QuotaName {
    fn of_all() -> std::vec::IntoIter<QuotaName> {
        <QuotaName as carillon_metrics::Label>::ALL.to_vec().into_iter()
    }
}

#[test]
fn publications_beyond_the_rate_are_refused_with_when_to_come_back() {
    let quotas = Quotas { publications: once(3), ..Quotas::default() };
    let names = [QuotaName::ConnectionPublications, QuotaName::IdentityPublications, QuotaName::AddressPublications];
    for_each_scope(&quotas, names, |broker| {
        let mut client = broker.client();
        let within = until_exceeded(|| match publish(&mut client, b"x") {
            Said::Error { code, message, retry_after_ms, .. } => {
                assert!((1..=1_000).contains(&retry_after_ms.unwrap()), "{retry_after_ms:?}");
                assert!(message.contains("too many publications"), "{message}");
                code
            }
            said => code_of(&said),
        });
        assert!(within >= 3, "{within}");
        // Only publications are bounded.
        client.ping();
        assert_eq!(broker.count(|shard| shard.messages_received.get()), within);
    });
}

#[test]
fn bytes_beyond_the_rate_are_refused_and_what_never_fits_is_told_apart() {
    let quotas = Quotas { bytes: once(5_000), ..Quotas::default() };
    let names = [QuotaName::ConnectionBytes, QuotaName::IdentityBytes, QuotaName::AddressBytes];
    for_each_scope(&quotas, names, |broker| {
        let mut client = broker.client();
        // A byte comes back for each second, so this much not in the time that a test has.
        assert_eq!(code_of(&publish(&mut client, &[0; 4_000])), 0);
        assert_eq!(code_of(&publish(&mut client, &[0; 4_000])), RATE_EXCEEDED);
        assert_eq!(code_of(&publish(&mut client, &[0; 500])), 0);
        match publish(&mut client, &[0; 5_001]) {
            Said::Error { code, retry_after_ms, .. } => {
                assert_eq!((code, retry_after_ms), (PAYLOAD_TOO_LARGE, None));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn payloads_beyond_the_size_are_refused() {
    let quotas = Quotas { payload_bytes: most(100), ..Quotas::default() };
    let names = [QuotaName::ConnectionPayloadBytes, QuotaName::IdentityPayloadBytes, QuotaName::AddressPayloadBytes];
    for_each_scope(&quotas, names, |broker| {
        let mut client = broker.client();
        assert_eq!(code_of(&publish(&mut client, &[0; 100])), 0);
        assert_eq!(code_of(&publish(&mut client, &[0; 101])), PAYLOAD_TOO_LARGE);
    });
}

#[test]
fn requests_beyond_the_rate_are_refused_but_for_unsubscribe() {
    let quotas = Quotas { requests: once(3), ..Quotas::default() };
    let names = [QuotaName::ConnectionRequests, QuotaName::IdentityRequests, QuotaName::AddressRequests];
    for_each_scope(&quotas, names, |broker| {
        let mut client = broker.client();
        let first = client.subscribe("a");
        assert!(until_exceeded(|| code_of(&subscribe(&mut client, "b"))) >= 2);
        let unsubscribe = client.ask_unsubscribe(first);
        assert_eq!(client.next(), Said::Ok(unsubscribe));
        assert_eq!(code_of(&publish(&mut client, b"x")), 0);
    });
}

#[test]
fn subscriptions_beyond_the_number_are_refused_until_others_end() {
    let quotas = Quotas { subscriptions: most(2), ..Quotas::default() };
    let names = [QuotaName::ConnectionSubscriptions, QuotaName::IdentitySubscriptions, QuotaName::AddressSubscriptions];
    for_each_scope(&quotas, names, |broker| {
        let mut client = broker.client();
        let first = client.subscribe("a");
        client.subscribe("b");
        let refused = code_of(&subscribe(&mut client, "c"));
        assert!([TOO_MANY_SUBSCRIPTIONS, QUOTA_EXCEEDED].contains(&refused), "{refused}");
        // One that is refused for another reason takes no place.
        let unsubscribe = client.ask_unsubscribe(first);
        assert_eq!(client.next(), Said::Ok(unsubscribe));
        assert!(matches!(subscribe(&mut client, "*.*.*.*.*.*"), Said::Error { code: 414, .. }));
        client.subscribe("d");
        assert_ne!(code_of(&subscribe(&mut client, "e")), 0);
        // Those of a connection that has gone are gone.
        drop(client);
        eventually("gone", || broker.metrics[0].connections.of(Phase::WebSocket).get() == 0);
        let mut next = broker.client();
        next.subscribe("a");
        next.subscribe("b");
    });
}

#[test]
fn an_identity_with_as_many_connections_as_it_may_have_is_told_to_come_back() {
    let broker = start(Scopes { identity: Arc::new(Quotas { connections: most(2), ..Quotas::default() }), ..none() });
    let mut first = broker.client();
    let second = broker.client();
    let mut third = broker.websocket();
    assert_eq!(code_of(&third.connect_with(None)), QUOTA_EXCEEDED);
    let (said, close) = third.until_close();
    assert!(
        matches!(said[..], [Said::Closing { code: CLOSED_FOR_QUOTA, retry_after_ms: Some(5_000..=10_000) }]),
        "{said:?}"
    );
    assert_eq!(close.unwrap().0, CLOSED_FOR_QUOTA);
    assert_eq!(enforced(&broker, QuotaName::IdentityConnections), 1);
    assert_eq!(broker.count(|shard| shard.logins.of(LoginResult::QuotaExceeded).get()), 1);
    first.ping();
    drop(second);
    eventually("room", || broker.websocket().connect_with(None) == Said::Welcome);
}

#[test]
fn an_address_with_as_many_connections_as_it_may_have_gets_no_handshake() {
    let broker = start(Scopes { address: Arc::new(Quotas { connections: most(2), ..Quotas::default() }), ..none() });
    let mut first = broker.client();
    let second = broker.client();
    assert_eq!(broker.tcp().read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(broker.broker_metrics.connections_refused.get(), 1);
    assert_eq!(enforced(&broker, QuotaName::AddressConnections), 1);
    // Another address has its own.
    let elsewhere = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    elsewhere.bind(&std::net::SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    elsewhere.connect(&broker.address.into()).unwrap();
    eventually("another address", || broker.metrics[0].connections.of(Phase::TlsHandshake).get() == 1);
    first.ping();
    drop(second);
    eventually("room", || broker.metrics[0].connections.of(Phase::WebSocket).get() == 1);
    broker.client().ping();
}

#[test]
fn a_broker_with_as_many_connections_as_it_may_have_closes_one_more() {
    let broker = start(Scopes { broker: BrokerQuotas { connections: most(2), ..BrokerQuotas::default() }, ..none() });
    let mut first = broker.client();
    let second = broker.client();
    assert_eq!(broker.tcp().read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(broker.broker_metrics.connections_refused.get(), 1);
    assert_eq!(enforced(&broker, QuotaName::BrokerConnections), 1);
    first.ping();
    drop(second);
    eventually("room", || broker.metrics[0].connections.of(Phase::WebSocket).get() == 1);
    broker.client().ping();
}

#[test]
fn one_address_cannot_have_all_handshakes() {
    let broker = start(Scopes { address: Arc::new(Quotas { handshakes: most(3), ..Quotas::default() }), ..none() });
    let mut settled: Vec<_> = (0..4).map(|_| broker.client()).collect();
    let silent: Vec<TcpStream> = (0..3).map(|_| broker.tcp()).collect();
    eventually("all silent", || broker.metrics[0].connections.of(Phase::TlsHandshake).get() == 3);
    assert_eq!(broker.tcp().read(&mut [0; 1]).unwrap_or(0), 0);
    assert_eq!(enforced(&broker, QuotaName::AddressHandshakes), 1);
    for client in &mut settled {
        client.ping();
    }
    drop(silent);
    eventually("none silent", || broker.metrics[0].connections.of(Phase::TlsHandshake).get() == 0);
    broker.client().ping();
}

#[test]
fn handshakes_beyond_the_brokers_number_wait_and_come_through() {
    let broker = start(Scopes { broker: BrokerQuotas { handshakes: most(2), ..BrokerQuotas::default() }, ..none() });
    let mut settled = broker.client();
    let silent: Vec<TcpStream> = (0..2).map(|_| broker.tcp()).collect();
    eventually("all silent", || broker.metrics[0].connections.of(Phase::TlsHandshake).get() == 2);
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| broker.client().ping());
        eventually("one waits", || enforced(&broker, QuotaName::BrokerHandshakes) > 0);
        settled.ping();
        assert_eq!(broker.broker_metrics.connections_refused.get(), 0);
        drop(silent);
        waiting.join()
    });
    waiting.unwrap();
}

#[test]
fn half_open_connections_give_way_to_those_who_wait() {
    let mut settings = settings();
    settings.deadlines.tls_handshake = Duration::from_secs(10);
    let scopes = Scopes { broker: BrokerQuotas { handshakes: most(2), ..BrokerQuotas::default() }, ..none() };
    let broker = Broker::start_behind(settings, 1, rules(scopes));
    let silent: Vec<TcpStream> = (0..2).map(|_| broker.tcp()).collect();
    eventually("all silent", || broker.metrics[0].connections.of(Phase::TlsHandshake).get() == 2);
    // Nobody waits for them, so they may take their time.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(broker.metrics[0].connections.of(Phase::TlsHandshake).get(), 2);
    broker.client().ping();
    let failures = |reason| broker.count(|shard| shard.handshake_failures.of(reason).get());
    assert!(failures(HandshakeFailure::GaveWay) > 0);
    drop(silent);
}

#[test]
fn an_address_with_too_many_refused_credentials_is_not_even_looked_at() {
    let broker = start(Scopes { address: Arc::new(Quotas { failed_logins: once(2), ..Quotas::default() }), ..none() });
    let refused = until_exceeded(|| {
        let mut client = broker.websocket();
        let code = code_of(&client.connect_with(Some("no token")));
        if code == RATE_EXCEEDED {
            let (said, _) = client.until_close();
            let is_told =
                matches!(said[..], [Said::Closing { code: CLOSED_FOR_QUOTA, retry_after_ms: Some(1..=1_000) }]);
            assert!(is_told, "{said:?}");
        }
        code
    });
    assert!(refused >= 2, "{refused}");
    assert_eq!(enforced(&broker, QuotaName::AddressFailedLogins), 1);
    assert_eq!(broker.count(|shard| shard.logins.of(LoginResult::Refused).get()), refused);
}

#[test]
fn credentials_that_are_good_use_nothing_up() {
    let broker = start(Scopes { address: Arc::new(Quotas { failed_logins: once(1), ..Quotas::default() }), ..none() });
    for _ in 0..20 {
        broker.client().ping();
    }
}

#[test]
fn refused_refreshes_count_as_refused_credentials() {
    let quotas = Quotas { failed_logins: once(2), ..Quotas::default() };
    let names = [QuotaName::ConnectionFailedLogins, QuotaName::IdentityFailedLogins, QuotaName::AddressFailedLogins];
    for_each_scope(&quotas, names, |broker| {
        let mut client = broker.client();
        let mut refresh = || {
            let id = client.id();
            client.send(&ClientMessage::Refresh(Refresh { id, token: "no token" }));
            code_of(&client.next())
        };
        assert!(until_exceeded(&mut refresh) >= 2);
        client.ping();
    });
}

#[test]
fn a_quota_that_is_only_reported_refuses_nothing_and_is_counted() {
    let mut scopes = none();
    scopes.address = Arc::new(Quotas {
        publications: reported(once(1)),
        connections: Some(Most { most: 1, mode: Mode::ReportOnly }),
        ..Quotas::default()
    });
    let broker = start(scopes);
    let _other = broker.client();
    let mut client = broker.client();
    for _ in 0..5 {
        assert_eq!(code_of(&publish(&mut client, b"x")), 0);
    }
    let reported = &broker.broker_metrics.quotas_reported;
    // One of five is within, and one more for each second that passed.
    assert!((1..=4).contains(&reported.of(QuotaName::AddressPublications).get()));
    assert_eq!(reported.of(QuotaName::AddressConnections).get(), 1);
    assert!(QuotaName::of_all().all(|name| enforced(&broker, name) == 0));
}

#[test]
fn quotas_that_are_replaced_hold_for_those_who_are_there() {
    let broker = start(none());
    let mut client = broker.client();
    for _ in 0..5 {
        assert_eq!(code_of(&publish(&mut client, b"x")), 0);
    }
    let slow = Quotas { publications: once(1), ..Quotas::default() };
    broker.gate.replace(rules(Scopes { connection: Arc::new(slow), ..none() }));
    eventually("the new quota", || code_of(&publish(&mut client, b"x")) == RATE_EXCEEDED);
    broker.gate.replace(rules(none()));
    eventually("no quota", || code_of(&publish(&mut client, b"x")) == 0);
}

#[test]
fn who_has_a_role_with_a_quota_has_that_one() {
    let mut scopes = none();
    scopes.identity = Arc::new(Quotas { publications: once(1), ..Quotas::default() });
    scopes.roles.insert("everything".to_owned(), Arc::new(Quotas { publications: once(4), ..Quotas::default() }));
    let broker = start(scopes);
    let mut client = broker.client();
    assert!(until_exceeded(|| code_of(&publish(&mut client, b"x"))) >= 4);
}

#[test]
fn those_for_whom_there_is_no_entry_share_one() {
    let mut settings = settings();
    settings.limits.quota_entries = 1;
    let quotas = Arc::new(Quotas { publications: once(2), ..Quotas::default() });
    let broker = Broker::start_behind(settings, 1, rules(Scopes { address: quotas, ..none() }));
    let mut client = broker.client();
    client.ping();
    assert_eq!(broker.broker_metrics.quota_entries.of(QuotaHolder::Address).get(), 1);
    let elsewhere = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    elsewhere.bind(&std::net::SocketAddr::from(([127, 0, 0, 3], 0)).into()).unwrap();
    elsewhere.connect(&broker.address.into()).unwrap();
    let shared = broker.broker_metrics.quota_entries_shared.of(QuotaHolder::Address);
    eventually("shared", || shared.get() == 1);
    assert_eq!(broker.broker_metrics.quota_entries.of(QuotaHolder::Address).get(), 1);
}

#[test]
fn a_smaller_burst_makes_nobody_wait_for_what_a_larger_one_let_through() {
    let of = |burst| Arc::new(Quotas { publications: once(burst), ..Quotas::default() });
    for scope in 0..3 {
        let with = |burst| {
            let mut scopes = none();
            *[&mut scopes.connection, &mut scopes.identity, &mut scopes.address][scope] = of(burst);
            scopes
        };
        let broker = start(with(1_000));
        let mut client = broker.client();
        for _ in 0..200 {
            assert_eq!(code_of(&publish(&mut client, b"x")), 0);
        }
        broker.gate.replace(rules(with(1)));
        eventually("the smaller burst", || match publish(&mut client, b"x") {
            Said::Error { retry_after_ms, .. } => retry_after_ms.unwrap() <= 1_000,
            said => code_of(&said) == 0,
        });
        eventually("within it again", || code_of(&publish(&mut client, b"x")) == 0);
    }
}

#[test]
fn credentials_whose_keys_are_under_way_are_not_refused_ones() {
    // An EdDSA key `a` of https://login.test.
    const TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2xvZ2luLnRlc3QifQ.c2lnbmF0dXJl";
    let config = IssuerConfig::new("https://login.test", &[Algorithm::EdDsa], &["carillon"], IssuerKeys::Jwks);
    let address = Arc::new(Quotas { failed_logins: once(1), ..Quotas::default() });
    let broker = Broker::start_behind(
        settings(),
        1,
        Rules {
            tokens: Verifier::new(vec![config]).unwrap(),
            fetched: [("https://login.test".to_owned(), KeyRequests::default())].into(),
            ..rules(Scopes { address, ..none() })
        },
    );
    for _ in 0..10 {
        assert_eq!(code_of(&broker.websocket().connect_with(Some(TOKEN))), UNAVAILABLE);
    }
}
