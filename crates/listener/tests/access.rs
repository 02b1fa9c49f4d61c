//! Who is let in and what they may do: every kind of identity, every operation, allowed and denied.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test a panic is the message")]

mod support;

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use carillon_access::{
    Policy,
    identity::{
        ApiKeys, CertificateRules, IssuerConfig, IssuerKeys, Key, KeyId, NameKind, Revocations, Rule, Secret, Service,
        ServiceKey, Verifier, generate,
    },
    permissions::{Role, Rules as Patterns},
};
use carillon_listener::gate::Rules;
use carillon_metrics::LoginResult;
use carillon_wire::{ClientMessage, Id, Overflow, client_message::Refresh};
use jsonwebtoken::{EncodingKey, Header};
use rustls::version::TLS13;
use support::{
    Broker, Client, Said, eventually,
    pki::{Authority, ClientCertificate, Door, client_config},
    settings,
};

const SECRET: &[u8] = b"a secret of thirty-two bytes and more";

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token(subject: &str, expires_at_s: u64, roles: &[&str]) -> String {
    let claims = serde_json::json!({
        "iss": "https://id.test", "aud": "carillon", "sub": subject, "exp": expires_at_s,
        "jti": format!("{subject}-{expires_at_s}"), "iat": now_s(), "roles": roles,
    });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn patterns(allow: &[&str], deny: &[&str]) -> Patterns {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Patterns { allow: owned(allow), deny: owned(deny) }
}

/// Anonymous clients read `public.>`; role `user`, which certificates have too, reads and writes its own; the service writes
/// `public.>`.
fn rules() -> (Rules, String) {
    let mut rules = support::anonymous_may_do_everything();
    rules.anonymous.as_mut().unwrap().roles = vec!["reader".into()];
    let reader = Role { subscribe: patterns(&["public.>"], &["public.secret.>"]), ..Role::default() };
    let user = Role {
        publish: patterns(&["user.{sub}.>"], &[]),
        subscribe: patterns(&["user.{sub}.>", "public.>"], &["public.secret.>"]),
        ..Role::default()
    };
    let writer = Role { publish: patterns(&["public.>"], &["public.closed"]), ..Role::default() };
    rules.policy = Policy::new(
        [("reader", reader), ("user", user), ("writer", writer)].map(|(name, role)| (name.to_owned(), role)),
    )
    .unwrap();
    let key = Key::from_secret(None, &Secret::new(SECRET)).unwrap();
    let mut issuer =
        IssuerConfig::new("https://id.test", &["HS256".parse().unwrap()], &["carillon"], IssuerKeys::Fixed(vec![key]));
    issuer.leeway_s = 0;
    rules.tokens = Verifier::new(vec![issuer]).unwrap();
    let id: KeyId = "feed".parse().unwrap();
    let (printed, hash) = generate(&id, &[7; 32]);
    let keys = vec![ServiceKey { id, hash, expires_at_s: None }];
    let service = Service { name: "feed".into(), roles: vec!["writer".into()], claims: BTreeMap::new(), keys };
    rules.api_keys = ApiKeys::new(vec![service]).unwrap();
    let rule = Rule { name: NameKind::CommonName, pattern: "*".into(), roles: vec!["user".into()] };
    rules.certificates = CertificateRules::new(vec![rule]).unwrap();
    (rules, String::from_utf8(printed.expose().to_vec()).unwrap())
}

fn connected(broker: &Broker, credentials: Option<&str>) -> Client {
    let mut client = broker.websocket();
    assert_eq!(client.connect_with(credentials), Said::Welcome);
    client
}

/// The code that a publication with an id is refused with, 0 when it is accepted.
fn publish(client: &mut Client, topic: &str) -> u16 {
    let id = client.id();
    let topic = carillon_wire::Topic::new(topic).unwrap();
    let headers = carillon_wire::Headers::EMPTY;
    let publish = carillon_wire::client_message::Publish {
        id: Some(id),
        topic,
        payload: b"x",
        headers,
        message_id: None,
        expected_sequence: None,
    };
    client.send(&ClientMessage::Publish(publish));
    verdict(client.next(), id.get())
}

fn subscribe(client: &mut Client, pattern: &str) -> u16 {
    let id = client.ask_subscribe(pattern, Overflow::DropOldest);
    verdict(client.next(), id)
}

fn verdict(said: Said, id: u64) -> u16 {
    match said {
        Said::Ok(answered) if answered == id => 0,
        Said::Error { id: Some(answered), code, .. } if answered == id => code,
        other => panic!("{other:?}"),
    }
}

/// A token or key, and a certificate.
struct Shown<'a>(Option<&'a str>, Option<&'a ClientCertificate>);

impl Shown<'_> {
    fn connected(&self, broker: &Broker) -> Client {
        let Self(credentials, certificate) = self;
        let config = client_config(&broker.tls, *certificate, &[&TLS13]);
        let mut client = Broker::upgrade(broker.tls_stream_with(&config), "");
        assert_eq!(client.connect_with(*credentials), Said::Welcome);
        client
    }
}

#[test]
fn each_identity_may_do_what_its_roles_allow_and_nothing_else() {
    let (rules, key) = rules();
    let authority = Authority::new("clients");
    let door = Door::new(&[&authority], "", false);
    let broker = Broker::start_with_tls(settings(), 1, rules, door.tls, door.files);
    let (ann, bob) = (token("ann", now_s() + 600, &["user"]), authority.issue("bob", 1));
    // What is shown, then what it may publish to and subscribe to.
    let cases: [(Shown<'_>, &[&str], &[&str]); 5] = [
        (Shown(None, None), &[], &["public.a", "public.news.*"]),
        (Shown(Some(&ann), None), &["user.ann.x"], &["public.a", "public.news.*", "user.ann.>", "user.ann.x"]),
        (Shown(Some(&key), None), &["public.a", "public.secret.x"], &[]),
        (Shown(None, Some(&bob)), &["user.bob.x"], &["public.a", "public.news.*"]),
        (Shown(Some(&key), Some(&bob)), &["public.a", "public.secret.x"], &[]),
    ];
    let topics = ["public.a", "public.closed", "public.secret.x", "user.ann.x", "user.bob.x", "other"];
    let all_patterns = [
        "public.a",
        "public.news.*",
        "public.>",
        "public.*.x",
        "public.secret.x",
        "user.ann.>",
        "user.ann.x",
        "user.*.x",
        "user.>",
        "*",
        ">",
        "other",
    ];
    for (number, (shown, may_publish, may_subscribe)) in cases.into_iter().enumerate() {
        let mut client = shown.connected(&broker);
        for topic in topics {
            let expected = if may_publish.contains(&topic) { 0 } else { 403 };
            assert_eq!(publish(&mut client, topic), expected, "publish {topic} in case {number}");
        }
        for pattern in all_patterns {
            let expected = if may_subscribe.contains(&pattern) { 0 } else { 403 };
            let mut client = shown.connected(&broker);
            assert_eq!(subscribe(&mut client, pattern), expected, "subscribe {pattern} in case {number}");
        }
        client.ping();
    }
}

#[test]
fn who_is_not_let_in_is_told_why_and_closed() {
    let (mut rules, key) = rules();
    rules.anonymous = None;
    let broker = Broker::start_behind(settings(), 1, rules);
    let expired = token("ann", now_s() - 10, &["user"]);
    let unknown_role = token("ann", now_s() + 600, &["user", "admin"]);
    let wrong_key = format!("{}x", &key[..key.len() - 1]);
    let dotted = token("ann.bob", now_s() + 600, &["user"]);
    for (credentials, expected) in [
        (None, "without credentials"),
        (Some(expired.as_str()), "expired"),
        (Some(&unknown_role), "admin"),
        (Some(&wrong_key), "API key"),
        (Some(&dotted), "dot"),
        (Some("nonsense"), "token"),
    ] {
        let mut client = broker.websocket();
        let Said::Error { code, message, .. } = client.connect_with(credentials) else { panic!("let in") };
        assert_eq!(code, 401);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(credentials.is_none_or(|shown| shown == "nonsense" || !message.contains(shown)), "{message}");
        assert_eq!(client.until_close().1.unwrap().0, 4401);
    }
    assert_eq!(broker.count(|shard| shard.logins.of(LoginResult::Refused).get()), 6);
}

#[test]
fn services_may_show_their_credentials_in_the_request() {
    let (rules, key) = rules();
    let broker = Broker::start_behind(settings(), 1, rules);
    let mut client = broker.websocket_with(&format!("Authorization: Bearer {key}\r\n"));
    assert_eq!(client.connect_with(None), Said::Welcome);
    assert_eq!(publish(&mut client, "public.a"), 0);
}

#[test]
fn credentials_that_run_out_are_told_before_and_end_the_connection_unless_refreshed() {
    let (rules, _) = rules();
    let broker = Broker::start_behind(settings(), 1, rules);
    let mut leaving = connected(&broker, Some(&token("ann", now_s() + 8, &["user"])));
    let mut staying = connected(&broker, Some(&token("bob", now_s() + 8, &["user"])));
    for client in [&mut leaving, &mut staying] {
        assert!(matches!(client.next(), Said::Notice { in_ms: Some(in_ms) } if in_ms <= 8000));
    }
    let mut refresh = |token: &str| {
        let id = staying.id();
        staying.send(&ClientMessage::Refresh(Refresh { id, token }));
        verdict(staying.next(), id.get())
    };
    assert_eq!(refresh(&token("ann", now_s() + 600, &["user"])), 401, "another subject's");
    assert_eq!(refresh("nonsense"), 401);
    assert_eq!(refresh(&token("bob", now_s() + 600, &["user"])), 0);
    let (said, close) = leaving.until_close();
    assert!(matches!(said.as_slice(), [Said::Closing { code: 4401, .. }]), "{said:?}");
    assert_eq!(close.unwrap().0, 4401);
    staying.ping();
}

#[test]
fn a_refresh_ends_the_subscriptions_that_the_new_token_does_not_allow() {
    let (rules, _) = rules();
    let broker = Broker::start_behind(settings(), 1, rules);
    let mut client = connected(&broker, Some(&token("ann", now_s() + 600, &["user"])));
    let own = client.subscribe("user.ann.*");
    let public = client.subscribe("public.news.>");
    let id = client.id();
    client.send(&ClientMessage::Refresh(Refresh { id, token: &token("ann", now_s() + 700, &["reader"]) }));
    assert_eq!(client.next(), Said::Ok(id.get()));
    assert_eq!(client.next(), Said::Ended { subscription: own, code: 403 });
    let reply = client.ask_unsubscribe(public);
    assert_eq!(client.next(), Said::Ok(reply), "the other one lives on");
}

#[test]
fn replaced_rules_hold_for_those_who_are_there() {
    let (first, key) = rules();
    let broker = Broker::start_behind(settings(), 2, first);
    let mut revoked = connected(&broker, Some(&token("ann", now_s() + 600, &["user"])));
    let mut kept = connected(&broker, Some(&token("bob", now_s() + 600, &["user"])));
    let mut service = connected(&broker, Some(&key));
    let mut anonymous = connected(&broker, None);
    let open = kept.subscribe("public.news.>");
    let own = kept.subscribe("user.bob.>");

    let (mut second, _) = rules();
    second.revocations = "subject ann".parse::<Revocations>().unwrap();
    second.api_keys = ApiKeys::default();
    second.anonymous = None;
    let user = Role { subscribe: patterns(&["public.>"], &[]), ..Role::default() };
    second.policy = Policy::new([("user".to_owned(), user)]).unwrap();
    broker.gate.replace(second);

    for closed in [&mut revoked, &mut service, &mut anonymous] {
        assert_eq!(closed.until_close().1.expect("a close frame").0, 4401);
    }
    assert_eq!(kept.next(), Said::Ended { subscription: own, code: 403 });
    assert_eq!(publish(&mut kept, "user.bob.x"), 403);
    let reply = kept.ask_unsubscribe(open);
    assert_eq!(kept.next(), Said::Ok(reply));
    eventually("the refusals", || broker.count(|shard| shard.logins.of(LoginResult::Accepted).get()) == 4);
}

#[test]
fn tokens_end_with_their_issuer_and_not_with_one_of_its_keys() {
    let (first, _) = rules();
    let broker = Broker::start_behind(settings(), 2, first.clone());
    let shown = token("ann", now_s() + 600, &["user"]);
    let mut client = connected(&broker, Some(&shown));

    let key = |secret: &[u8]| IssuerKeys::Fixed(vec![Key::from_secret(None, &Secret::new(secret)).unwrap()]);
    let issuer = |name: &str| {
        let keys = key(b"another secret of thirty-two bytes");
        Verifier::new(vec![IssuerConfig::new(name, &["HS256".parse().unwrap()], &["carillon"], keys)]).unwrap()
    };
    broker.gate.replace(Rules { tokens: issuer("https://id.test"), ..first.clone() });
    client.ping();
    broker.gate.replace(Rules { tokens: issuer("https://other.test"), ..first });
    let (code, reason) = client.until_close().1.expect("a close frame");
    assert!(code == 4401 && reason.contains("unknown issuer"), "{code} {reason}");
}

#[test]
fn a_key_that_gets_an_end_ends_the_connections_that_used_it() {
    let (first, key) = rules();
    let broker = Broker::start_behind(settings(), 1, first.clone());
    let mut client = connected(&broker, Some(&key));
    let id: KeyId = "feed".parse().unwrap();
    let (_, hash) = generate(&id, &[7; 32]);
    let keys = vec![ServiceKey { id, hash, expires_at_s: Some(now_s() + 3) }];
    let service = Service { name: "feed".into(), roles: vec!["writer".into()], claims: BTreeMap::new(), keys };
    broker.gate.replace(Rules { api_keys: ApiKeys::new(vec![service]).unwrap(), ..first });
    let (said, close) = client.until_close();
    assert!(said.iter().any(|said| matches!(said, Said::Notice { .. })), "{said:?}");
    assert_eq!(close.expect("a close frame").0, 4401);
}

#[test]
fn a_key_that_is_given_to_another_service_ends_the_connections_of_the_first() {
    let (first, key) = rules();
    let broker = Broker::start_behind(settings(), 2, first.clone());
    let mut client = connected(&broker, Some(&key));
    broker.gate.replace(first.clone());
    client.ping();
    let id: KeyId = "feed".parse().unwrap();
    let (_, hash) = generate(&id, &[7; 32]);
    let keys = vec![ServiceKey { id, hash, expires_at_s: None }];
    let service = Service { name: "other".into(), roles: vec!["writer".into()], claims: BTreeMap::new(), keys };
    broker.gate.replace(Rules { api_keys: ApiKeys::new(vec![service]).unwrap(), ..first });
    let (code, reason) = client.until_close().1.expect("a close frame");
    assert!(code == 4401 && reason.contains("another subject"), "{code} {reason}");
}

#[test]
fn ids_of_ended_subscriptions_are_free_again() {
    let (rules, _) = rules();
    let broker = Broker::start_behind(settings(), 1, rules);
    let mut client = connected(&broker, Some(&token("ann", now_s() + 600, &["user"])));
    let own = client.subscribe("user.ann.*");
    let id = client.id();
    client.send(&ClientMessage::Refresh(Refresh { id, token: &token("ann", now_s() + 700, &["reader"]) }));
    assert_eq!(client.next(), Said::Ok(id.get()));
    assert_eq!(client.next(), Said::Ended { subscription: own, code: 403 });
    let again = carillon_wire::client_message::Subscribe {
        id: Id::new(own).unwrap(),
        pattern: carillon_wire::Pattern::new("public.a").unwrap(),
        overflow: Overflow::DropOldest,
        start: None,
    };
    client.send(&ClientMessage::Subscribe(again));
    assert_eq!(client.next(), Said::Ok(own));
}
