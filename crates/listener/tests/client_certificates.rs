//! Client certificates: whose are taken, who their holders are, and what ends the connections that were made with them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test a panic is the message")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use carillon_access::{
    Policy,
    identity::{CertificateRules, IssuerConfig, IssuerKeys, Key, NameKind, Rule, Secret, Verifier},
    permissions::{Role, Rules as Patterns},
};
use carillon_listener::{
    Tls,
    gate::Rules,
    tls::{ClientFiles, TlsError},
};
use carillon_metrics::{HandshakeFailure, TlsHandshake};
use carillon_wire::{ClientMessage, client_message::Refresh};
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::{
    ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use support::{
    Broker, Client, Said, eventually,
    pki::{Authority, ClientCertificate, Door, client_config},
    settings,
};

const SECRET: &[u8] = b"a secret of thirty-two bytes and more";
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token(subject: &str) -> String {
    let claims = serde_json::json!({
        "iss": "https://id.test", "aud": "carillon", "sub": subject, "exp": now_s() + 600, "roles": ["own"],
    });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn rule(name: NameKind, pattern: &str, role: &str) -> Rule {
    Rule { name, pattern: pattern.to_owned(), roles: vec![role.to_owned()] }
}

fn policy() -> Policy {
    let allow = |pattern: &str| Patterns { allow: vec![pattern.to_owned()], deny: vec![] };
    let own = Role { publish: allow("own.{sub}"), subscribe: allow("own.{sub}"), ..Role::default() };
    let everything = Role { publish: allow(">"), subscribe: allow(">"), ..Role::default() };
    Policy::new([("own".to_owned(), own), ("everything".to_owned(), everything)]).unwrap()
}

/// Everybody may connect, and everything with a name has the role `own`.
fn rules() -> Rules {
    let key = Key::from_secret(None, &Secret::new(SECRET)).unwrap();
    let issuer =
        IssuerConfig::new("https://id.test", &["HS256".parse().unwrap()], &["carillon"], IssuerKeys::Fixed(vec![key]));
    Rules {
        tokens: Verifier::new(vec![issuer]).unwrap(),
        certificates: CertificateRules::new(vec![
            rule(NameKind::Uri, "spiffe://prod/*", "everything"),
            rule(NameKind::CommonName, "*", "own"),
        ])
        .unwrap(),
        policy: policy(),
        ..support::anonymous_may_do_everything()
    }
}

fn broker(door: &Door) -> Broker {
    let files = support::write_files("", "");
    Broker::start_with_tls(settings(), 2, rules(), door.tls.clone(), files)
}

/// What SIGHUP does.
fn reload(broker: &Broker, door: &Door, rules: Rules) {
    door.tls.reload().unwrap();
    broker.gate.replace(Rules { client_verifier: door.tls.client_verifier(), ..rules });
}

fn websocket(broker: &Broker, shown: Option<&ClientCertificate>) -> Client {
    Broker::upgrade(broker.tls_stream_with(&client_config(&broker.tls, shown, &BOTH)), "")
}

fn connected(broker: &Broker, shown: &ClientCertificate, token: Option<&str>) -> Client {
    let mut client = websocket(broker, Some(shown));
    assert_eq!(client.connect_with(token), Said::Welcome);
    client
}

/// Who one is, by the one topic that may be published to.
fn is_subject(client: &mut Client, subject: &str) -> bool {
    let id = client.id();
    let topic = format!("own.{subject}");
    let topic = carillon_wire::Topic::new(&topic).unwrap();
    let headers = carillon_wire::Headers::EMPTY;
    client.send(&ClientMessage::Publish(carillon_wire::client_message::Publish {
        id: Some(id),
        topic,
        payload: b"",
        headers,
        message_id: None,
        expected_sequence: None,
    }));
    client.next() == Said::Ok(id.get())
}

/// What a handshake, and an attempt to speak after it, fail with; the end of the stream says nothing.
fn alert(mut stream: StreamOwned<ClientConnection, TcpStream>) -> String {
    let sent = stream.write_all(support::upgrade_request("").as_bytes()).and_then(|()| stream.flush());
    sent.and_then(|()| stream.read(&mut [0])).map_or_else(|error| error.to_string(), |_| "an answer".to_owned())
}

#[test]
fn whoever_has_no_good_certificate_is_refused_and_the_reason_is_counted_and_told() {
    let (ca, other) = (Authority::new("clients"), Authority::new("others"));
    let (branch, revoked_branch, unlisted) =
        (ca.below("branch", 10), ca.below("revoked branch", 11), ca.below("unlisted", 12));
    let stale = Authority::new("stale");
    let crls = [
        ca.crl(&[1, 11]),
        branch.crl(&[2]),
        revoked_branch.crl(&[]),
        stale.crl_until(&[], SystemTime::now() - Duration::from_mins(1)),
    ]
    .concat();
    let door = Door::new(&[&ca, &stale], &crls, true);
    let broker = broker(&door);
    let over = |ca: &Authority| ca.issue_with("a", 5, |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1));
    let early = ca.issue_with("a", 6, |params| params.not_before = rcgen::date_time_ymd(2500, 1, 1));
    let server = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let cases = [
        (None, HandshakeFailure::ClientCertificateMissing, "CertificateRequired"),
        (Some(other.issue("a", 3)), HandshakeFailure::ClientCertificateUnknownCa, "UnknownCA"),
        (Some(over(&ca)), HandshakeFailure::ClientCertificateExpired, "CertificateExpired"),
        (Some(early), HandshakeFailure::ClientCertificateExpired, "CertificateExpired"),
        (Some(ca.issue("a", 1)), HandshakeFailure::ClientCertificateRevoked, "CertificateRevoked"),
        (Some(branch.issue("a", 2)), HandshakeFailure::ClientCertificateRevoked, "CertificateRevoked"),
        (Some(revoked_branch.issue("a", 3)), HandshakeFailure::ClientCertificateRevoked, "CertificateRevoked"),
        (Some(unlisted.issue("a", 3)), HandshakeFailure::ClientCertificateUnknownStatus, "UnknownCA"),
        (Some(stale.issue("a", 3)), HandshakeFailure::ClientCertificateUnknownStatus, "UnknownCA"),
        (Some(ca.issue_with("a", 3, server)), HandshakeFailure::ClientCertificateInvalid, "UnsupportedCertificate"),
    ];
    for version in BOTH {
        for (shown, reason, expected) in &cases {
            let count = |reason| broker.count(|shard| shard.handshake_failures.of(reason).get());
            let before = count(*reason);
            let config = client_config(&broker.tls, shown.as_ref(), &[version]);
            let told = alert(broker.tls_stream_with(&config));
            assert!(told.contains(expected), "{version:?} {reason:?}: {told}");
            eventually("the count", || count(*reason) == before + 1);
        }
        for good in [ca.issue("ann", 3), branch.issue("ann", 3)] {
            let config = client_config(&broker.tls, Some(&good), &[version]);
            let mut client = Broker::upgrade(broker.tls_stream_with(&config), "");
            client.connect();
            assert!(is_subject(&mut client, "ann"));
        }
    }
}

#[test]
fn the_certificate_says_who_its_holder_is_unless_a_token_does() {
    let ca = Authority::new("clients");
    let door = Door::new(&[&ca], "", false);
    let broker = broker(&door);
    let ann = ca.issue("ann", 1);

    let mut by_name = connected(&broker, &ann, None);
    assert!(is_subject(&mut by_name, "ann") && !is_subject(&mut by_name, "bob"));
    let uri = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![SanType::URI("spiffe://prod/api".try_into().unwrap())];
    };
    let mut by_uri = connected(&broker, &ca.issue_with("ann", 2, uri), None);
    assert!(is_subject(&mut by_uri, "bob"), "the first rule that matches gives its roles");
    let mut by_token = connected(&broker, &ann, Some(&token("bob")));
    assert!(is_subject(&mut by_token, "bob") && !is_subject(&mut by_token, "ann"));

    let mut wrong_token = websocket(&broker, Some(&ann));
    assert!(matches!(wrong_token.connect_with(Some("nonsense")), Said::Error { code: 401, .. }));
    let mut nobody = websocket(&broker, Some(&ca.issue(" ", 3)));
    let Said::Error { code: 401, message, .. } = nobody.connect_with(None) else { panic!("taken for anonymous") };
    assert!(message.contains("no certificate rule matches"), "{message}");
    let mut anonymous = websocket(&broker, None);
    anonymous.connect();
    assert!(is_subject(&mut anonymous, "bob"));
}

#[test]
fn of_several_lists_of_one_authority_the_newest_counts_wherever_it_stands() {
    let (ca, other) = (Authority::new("clients"), Authority::new("others"));
    let now = SystemTime::now();
    let ago = |hours| now - Duration::from_hours(hours);
    let (old, new) = (ca.crl_of(&[], (ago(48), now + Duration::from_hours(48)), 9), ca.crl(&[]));
    let new_by_time = ca.crl_of(&[1], (ago(24), now + Duration::from_hours(24)), 2);
    let new_by_number = ca.crl_of(&[1], (ago(48), now + Duration::from_hours(48)), 256);
    for lists in [[&old, &new_by_time], [&new_by_time, &old], [&old, &new_by_number], [&new_by_number, &old]] {
        let text = [new.as_str(), lists[0], &other.crl(&[]), lists[1]].concat();
        let door = Door::new(&[&ca, &other], &text, true);
        let broker = broker(&door);
        let told = alert(broker.tls_stream_with(&client_config(&broker.tls, Some(&ca.issue("ann", 1)), &BOTH)));
        assert!(told.contains("CertificateRevoked"), "{told}");
        connected(&broker, &ca.issue("bob", 2), None);
        connected(&broker, &other.issue("cid", 1), None);
        assert_eq!(door.tls.client_verifier().unwrap().crls().len(), 2);
    }
}

#[test]
fn a_chain_that_would_take_much_memory_is_refused() {
    let ca = Authority::new("clients");
    let door = Door::new(&[&ca], "", true);
    let broker = broker(&door);
    let along = |count: usize| {
        let mut shown = ca.issue("ann", 1);
        shown.chain.extend((0..count).map(|number| ca.issue("along", number as u64).chain.remove(0)));
        shown
    };
    connected(&broker, &along(10), None);
    let told = alert(broker.tls_stream_with(&client_config(&broker.tls, Some(&along(100)), &BOTH)));
    assert!(told.contains("AccessDenied"), "{told}");
    let invalid = HandshakeFailure::ClientCertificateInvalid;
    eventually("the count", || broker.count(|shard| shard.handshake_failures.of(invalid).get()) == 1);
}

#[test]
fn the_certificate_of_a_revoked_subject_lets_nobody_in_and_no_token_helps() {
    let ca = Authority::new("clients");
    let door = Door::new(&[&ca], "", true);
    let broker = broker(&door);
    let (ann, bob) = (ca.issue("ann", 1), ca.issue("bob", 2));
    let mut with_token = connected(&broker, &ann, Some(&token("zoe")));
    let mut stays = connected(&broker, &bob, Some(&token("zoe")));
    reload(&broker, &door, Rules { revocations: "subject ann".parse().unwrap(), ..rules() });
    is_closed(&mut with_token, "this subject is revoked");
    stays.ping();
    for shown in [None, Some(token("zoe"))] {
        let said = websocket(&broker, Some(&ann)).connect_with(shown.as_deref());
        assert!(matches!(said, Said::Error { code: 401, .. }), "{said:?}");
    }
}

#[test]
fn where_none_is_required_one_that_is_shown_must_be_good() {
    let (ca, other) = (Authority::new("clients"), Authority::new("others"));
    let door = Door::new(&[&ca], &ca.crl(&[1]), false);
    let broker = broker(&door);
    for (shown, expected) in [(ca.issue("ann", 1), "CertificateRevoked"), (other.issue("ann", 2), "UnknownCA")] {
        let told = alert(broker.tls_stream_with(&client_config(&broker.tls, Some(&shown), &BOTH)));
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_refresh_does_not_make_another_of_whoever_has_a_certificate() {
    let ca = Authority::new("clients");
    let door = Door::new(&[&ca], "", true);
    let broker = broker(&door);
    let refresh = |client: &mut Client, subject: &str| {
        let id = client.id();
        client.send(&ClientMessage::Refresh(Refresh { id, token: &token(subject) }));
        client.next()
    };
    let mut by_certificate = connected(&broker, &ca.issue("ann", 1), None);
    for subject in ["ann", "bob"] {
        let Said::Error { code: 401, message, .. } = refresh(&mut by_certificate, subject) else { panic!() };
        assert!(message.contains("another subject"), "{message}");
    }
    let mut by_token = connected(&broker, &ca.issue("ann", 1), Some(&token("bob")));
    assert!(matches!(refresh(&mut by_token, "bob"), Said::Ok(_)));
}

fn is_closed(client: &mut Client, reason: &str) {
    let (said, close) = client.until_close();
    let (code, told) = close.expect("a close frame");
    assert_eq!(code, 4401, "{said:?}");
    assert!(told.contains(reason), "{told}");
}

#[test]
fn a_reload_ends_the_connections_whose_certificates_it_takes_back_and_no_others() {
    let (ca, other) = (Authority::new("clients"), Authority::new("others"));
    let branch = ca.below("branch", 10);
    let lists = |of_ca: &[u64]| [ca.crl(of_ca), branch.crl(&[]), other.crl(&[])].concat();
    let door = Door::new(&[&ca, &other], &lists(&[]), true);
    let broker = broker(&door);
    let (ann, bob) = (ca.issue("ann", 1), ca.issue("bob", 2));
    let mut revoked = connected(&broker, &ann, None);
    let mut revoked_with_token = connected(&broker, &ann, Some(&token("zoe")));
    let mut not_connected = websocket(&broker, Some(&ann));
    let mut below = connected(&broker, &branch.issue("cid", 3), None);
    let mut others = connected(&broker, &other.issue("dan", 4), None);
    let mut stays = connected(&broker, &bob, None);
    let mut stays_with_token = connected(&broker, &bob, Some(&token("zoe")));

    fs::write(&door.crls, lists(&[1])).unwrap();
    reload(&broker, &door, rules());
    for client in [&mut revoked, &mut revoked_with_token] {
        is_closed(client, "is revoked");
    }
    assert!(matches!(not_connected.connect_with(Some(&token("zoe"))), Said::Error { code: 401, .. }));
    for client in [&mut below, &mut others, &mut stays, &mut stays_with_token] {
        client.ping();
    }

    fs::write(&door.crls, lists(&[1, 10])).unwrap();
    reload(&broker, &door, rules());
    is_closed(&mut below, "is revoked");
    others.ping();

    fs::write(&door.authorities, ca.pem()).unwrap();
    reload(&broker, &door, rules());
    is_closed(&mut others, "none of the authorities");
    stays.ping();
    stays_with_token.ping();
}

#[test]
fn changed_rules_for_certificates_hold_for_those_who_are_there() {
    let ca = Authority::new("clients");
    let door = Door::new(&[&ca], "", true);
    let broker = broker(&door);
    let uri = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![SanType::URI("spiffe://prod/api".try_into().unwrap())];
    };
    let mut renamed = connected(&broker, &ca.issue_with("api", 1, uri), None);
    let mut unknown = connected(&broker, &ca.issue("bob", 2), None);
    let mut promoted = connected(&broker, &ca.issue("ann", 3), None);
    let own = promoted.subscribe("own.ann");
    let changed = CertificateRules::new(vec![
        rule(NameKind::CommonName, "a*", "everything"),
        rule(NameKind::Uri, "spiffe://prod/*", "everything"),
    ]);
    reload(&broker, &door, Rules { certificates: changed.unwrap(), ..rules() });
    is_closed(&mut renamed, "as another subject");
    is_closed(&mut unknown, "no certificate rule matches");
    assert!(is_subject(&mut promoted, "bob"), "new roles");
    let reply = promoted.ask_unsubscribe(own);
    loop {
        match promoted.next() {
            Said::Ok(answered) => break assert_eq!(answered, reply),
            Said::Delivery { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_reload_that_finds_the_same_changes_nothing_and_one_that_fails_keeps_the_old() {
    let ca = Authority::new("clients");
    let door = Door::new(&[&ca], &ca.crl(&[]), true);
    let (config, verifier) = (door.tls.config(), door.tls.client_verifier().unwrap());
    let is_as_before =
        || Arc::ptr_eq(&door.tls.config(), &config) && Arc::ptr_eq(&door.tls.client_verifier().unwrap(), &verifier);
    door.tls.reload().unwrap();
    assert!(is_as_before());

    let error = |path: &std::path::Path, text: &str| {
        fs::write(path, text).unwrap();
        let error = door.tls.reload().unwrap_err();
        assert!(matches!(error, TlsError::Certificate(_)) && is_as_before(), "{error}");
        let told = error.to_string();
        assert!(told.starts_with(&path.display().to_string()), "{told}");
        told
    };
    let good = fs::read_to_string(&door.crls).unwrap();
    assert!(error(&door.crls, "").contains("has no revocation list"));
    let damaged = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    assert!(error(&door.crls, damaged).contains("a revocation list in it cannot be used"));
    fs::write(&door.crls, good).unwrap();
    assert!(error(&door.authorities, "").contains("authorities that issue client certificates"));
    let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert!(error(&door.authorities, damaged).contains("cannot be used as an authority"));

    fs::write(&door.authorities, ca.pem()).unwrap();
    fs::write(&door.crls, ca.crl(&[1])).unwrap();
    door.tls.reload().unwrap();
    assert!(!Arc::ptr_eq(&door.tls.config(), &config));
}

/// Connects twice with the same settings; tells how often a session was resumed.
fn resumed(first: &Broker, second: &Broker, config: &Arc<ClientConfig>) -> u64 {
    let count = |broker: &Broker| broker.count(|shard| shard.tls_handshakes.of(TlsHandshake::Resumed).get());
    let before = count(second);
    for broker in [first, second] {
        // Tickets come behind the handshake, so something must be read.
        let mut client = Broker::upgrade(broker.tls_stream_with(config), "");
        client.connect();
        client.ping();
    }
    count(second) - before
}

#[test]
fn sessions_with_client_certificates_are_not_resumed_and_no_other_ticket_opens_them() {
    let ca = Authority::new("clients");
    let shown = ca.issue("ann", 1);
    let (required, optional) = (Door::new(&[&ca], "", true), Door::new(&[&ca], "", false));
    for door in [&required, &optional] {
        let asking = broker(door);
        let (certificate, key) = (&door.files.certificate, &door.files.key);
        // The same name, certificate and key, so that the client takes both for one server.
        let open = || {
            let files = support::write_files("", "");
            Broker::start_with_tls(settings(), 1, rules(), Tls::from_files(certificate, key).unwrap(), files)
        };
        let open = open();
        for version in BOTH {
            let config = || client_config(&door.tls, Some(&shown), &[version]);
            assert_eq!(resumed(&open, &open, &config()), 1, "{version:?}: the test itself");
            assert_eq!(resumed(&asking, &asking, &config()), 0, "{version:?}");
            assert_eq!(resumed(&open, &asking, &config()), 0, "{version:?}");
            assert_eq!(resumed(&asking, &open, &config()), 0, "{version:?}");
            let config = config();
            connect(&asking, &config);
            fs::write(&door.authorities, [ca.pem(), Authority::new("one more").pem()].concat()).unwrap();
            reload(&asking, door, rules());
            assert_eq!(resumed(&asking, &asking, &config), 0, "{version:?}: across a reload");
        }
    }
    // Without a certificate a ticket of the open door does not help either.
    let asking = broker(&required);
    let open = Tls::from_files(&required.files.certificate, &required.files.key).unwrap();
    let open = Broker::start_with_tls(settings(), 1, rules(), open, support::write_files("", ""));
    for version in BOTH {
        let config = client_config(&required.tls, None, &[version]);
        connect(&open, &config);
        assert!(alert(asking.tls_stream_with(&config)).contains("CertificateRequired"));
    }
}

fn connect(broker: &Broker, config: &Arc<ClientConfig>) {
    let mut client = Broker::upgrade(broker.tls_stream_with(config), "");
    client.connect();
    client.ping();
}

#[test]
fn a_certificate_that_runs_out_ends_its_connections_also_those_with_a_token() {
    let ca = Authority::new("clients");
    let door = Door::new(&[&ca], "", true);
    let broker = broker(&door);
    let end = SystemTime::now() + Duration::from_secs(6);
    let shown = ca.issue_with("ann", 1, |params| params.not_after = end.into());
    let mut by_certificate = connected(&broker, &shown, None);
    let mut by_token = connected(&broker, &shown, Some(&token("bob")));
    let issuer_ends = |params: &mut rcgen::CertificateParams| params.not_after = end.into();
    // The one above it ends first.
    let branch = ca.below_with("branch", 10, issuer_ends);
    let mut below = connected(&broker, &branch.issue("ann", 1), None);
    let mut stays = connected(&broker, &ca.issue("cid", 2), None);
    for client in [&mut by_certificate, &mut by_token, &mut below] {
        assert!(matches!(client.next(), Said::Notice { in_ms: Some(in_ms) } if in_ms <= 7000));
        is_closed(client, "run out");
    }
    assert!(SystemTime::now() >= end);
    stays.ping();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (certificate, key) = support::self_signed();
    let files = support::write_files(&certificate, &key);
    let missing = ClientFiles { authorities: "/nowhere/ca.pem".into(), crls: vec![], is_required: true };
    let error = Tls::with_client_certificates(&files.certificate, &files.key, missing).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/ca.pem: cannot be read"), "{error}");
}
