//! Who may do what, through real processes: `carillon serve` with an access file, `pub`, `sub`, `token`, `key`,
//! `check-access`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use carillon::certs::DevCertificates;
use carillon_client::{Client, PublishError, SubscribeError, SubscribeOptions};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use support::{Broker, carillon, home, run, told, wait_for};
use tempfile::TempDir;

const ISSUER: &str = "https://login.test";

/// What the tests' access file says beside the service's key.
const ACCESS: &str = r#"
[roles.web]
publish.allow = ["user.{sub}.>", "tenant.{tenant}.notes"]
subscribe.allow = ["user.{sub}.>", "news.>"]
subscribe.deny = ["news.drafts.>"]

[roles.billing]
publish.allow = ["invoices.>", "$own.>"]
subscribe.allow = ["*", "*.>"]

[[issuers]]
issuer = "https://login.test"
algorithms = ["ES256"]
audiences = ["carillon"]
key_files = ["login.pem"]
leeway_seconds = 0
"#;

/// A configuration with all its files, and the keys to what it lets in.
struct Site {
    home: TempDir,
    api_key: String,
}

impl Site {
    fn new() -> Self {
        let home = home();
        DevCertificates::make(home.path(), &[], SystemTime::now()).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let made = run(home.path(), &["key", "new", "--id", "billing-1"]);
        let made = String::from_utf8(made.stdout).unwrap();
        let after = |label: &str| made.split_once(label).unwrap().1.lines().next().unwrap().trim().to_owned();
        let (api_key, keys) = (after("key, for the service:"), after("hash, for the access file:"));
        let site = Self { home, api_key };
        site.write("login.pem", &key.public_key_pem());
        site.write("login-key.pem", &key.serialize_pem());
        site.write(
            "access.toml",
            &format!("{ACCESS}\n[[services]]\nname = \"billing\"\nroles = [\"billing\"]\n{keys}\n"),
        );
        site.write("revocations", "# nobody\n");
        let files = DevCertificates::in_directory(site.home.path());
        let config = format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}\n[access]\nfile = {:?}\nrevocations = {:?}\n",
            files.certificate.display().to_string(),
            files.key.display().to_string(),
            site.path("access.toml").display().to_string(),
            site.path("revocations").display().to_string()
        );
        site.write("carillon.toml", &config);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn text_of(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn broker(&self) -> Broker {
        Broker::start_configured(self.home.path(), &self.path("carillon.toml"))
    }

    /// A token for `alice` with role `web`, tenant `north` and what else is given.
    fn token(&self, more: &[&str]) -> String {
        let key = self.text_of("login-key.pem");
        let usual =
            ["--issuer", ISSUER, "--key", &key, "--algorithm", "ES256", "--role", "web", "--claim", "tenant=north"];
        let given = |flag: &str| more.contains(&flag);
        let rest = [("--sub", "alice"), ("--audience", "carillon")].into_iter().filter(|(flag, _)| !given(flag));
        let rest: Vec<_> = rest.flat_map(|(flag, value)| [flag, value]).collect();
        let output = run(self.home.path(), &[&["token", "mint"], &usual[..], &rest, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// `pub` or `sub`, with credentials.
    fn ask(&self, broker: &Broker, token: &str, args: &[&str]) -> Output {
        let mut command = carillon(self.home.path());
        command.args(args).args(["--url", &broker.url(), "--ca", &self.text_of("ca.pem")]);
        command.env("CARILLON_TOKEN", token).stdin(Stdio::null()).output().unwrap()
    }

    fn check(&self, args: &[&str]) -> Output {
        let config = self.text_of("carillon.toml");
        run(self.home.path(), &[&["check-access", "--config", &config], args].concat())
    }

    fn reader(&self, broker: &Broker, token: &str, pattern: &str, expected: u64) -> Reader {
        let child = carillon(self.home.path())
            .args(["sub", "--raw", "--no-reconnect", "--timeout", "30", pattern])
            .args(["--url", &broker.url(), "--ca", &self.text_of("ca.pem")])
            .env("CARILLON_TOKEN", token)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        broker.wait_for_metric("carillon_subscriptions", expected);
        Reader(child)
    }
}

/// A running `carillon sub`.
struct Reader(Child);

impl Reader {
    /// Waits for its end; gives its exit status and what it complained of.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut complaint = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        (self.0.wait().unwrap().code(), complaint)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn assert_refused(output: &Output, code: i32, text: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", told(output));
    assert!(told(output).contains(text), "expected {text:?} in {}", told(output));
}

#[test]
fn token_opens_what_its_roles_allow_and_nothing_else() {
    let site = Site::new();
    let broker = site.broker();
    let token = site.token(&[]);
    let mut reader = site.reader(&broker, &token, "user.alice.>", 1);

    let allowed = site.ask(&broker, &token, &["pub", "user.alice.mood", "good"]);
    assert_eq!(allowed.status.code(), Some(0), "{}", told(&allowed));
    let mut line = [0; 5];
    reader.0.stdout.take().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"good\n");

    let denied = site.ask(&broker, &token, &["pub", "user.bob.mood", "bad"]);
    assert_refused(&denied, 3, "not allowed to publish to `user.bob.mood`");
    let denied = site.ask(&broker, &token, &["sub", "news.>"]);
    assert_refused(&denied, 1, "not allowed to subscribe to `news.>`");
    let narrowed = site.token(&["--publish", "user.alice.mood"]);
    assert_eq!(site.ask(&broker, &narrowed, &["pub", "user.alice.mood", "x"]).status.code(), Some(0));
    assert_refused(&site.ask(&broker, &narrowed, &["pub", "user.alice.age", "x"]), 3, "not allowed to publish");
}

#[test]
fn api_key_opens_what_its_service_may() {
    let site = Site::new();
    let broker = site.broker();
    let allowed = site.ask(&broker, &site.api_key, &["pub", "invoices.7", "x"]);
    assert_eq!(allowed.status.code(), Some(0), "{}", told(&allowed));
    assert_refused(
        &site.ask(&broker, &site.api_key, &["pub", "orders.7", "x"]),
        3,
        "not allowed to publish to `orders.7`",
    );
    let wrong = format!("{}A", &site.api_key[..site.api_key.len() - 1]);
    if wrong != site.api_key {
        let refused = site.ask(&broker, &wrong, &["pub", "invoices.7", "x"]);
        assert_refused(&refused, 1, "API key");
        assert!(!told(&refused).contains(&wrong));
    }
}

#[test]
fn credentials_that_prove_nothing_are_refused_with_the_reason() {
    let site = Site::new();
    let broker = site.broker();
    let other = Site::new();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let key = EncodingKey::from_ec_pem(&fs::read(site.path("login-key.pem")).unwrap()).unwrap();
    let claims = json!({ "iss": ISSUER, "aud": "carillon", "sub": "alice", "exp": now_s - 5 });
    let expired = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
    for (token, reason) in [
        ("", "nobody in without credentials"),
        (expired.as_str(), "the token expired "),
        (&site.token(&["--audience", "others"]), "wrong audience; expected one of \"carillon\""),
        (&other.token(&[]), "the signature is not valid"),
        (&site.token(&["--role", "root"]), "role \"root\" does not exist here"),
        (&site.token(&["--sub", "a.b"]), "claim `sub` cannot be used in topics"),
        ("nonsense", "not a signed JWT"),
        (&other.api_key, "unknown API key"),
    ] {
        let output = site.ask(&broker, token, &["pub", "user.alice.mood", "x"]);
        assert_refused(&output, 1, reason);
        assert!(token.is_empty() || !told(&output).contains(token), "{}", told(&output));
        let check = if token.is_empty() {
            site.check(&["--as-anonymous", "publish", "a"])
        } else {
            site.check(&["--as-token", token, "publish", "a"])
        };
        assert_eq!(check.status.code(), Some(3), "{token}: {}", told(&check));
    }
}

/// What the broker does, in the exit status of `check-access`.
fn of_broker(site: &Site, broker: &Broker, token: &str, operation: &str, name: &str) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let builder = Client::builder(broker.url()).ca_file(site.path("ca.pem")).token(token);
        let client = builder.connect().await.unwrap();
        let refused = if operation == "publish" {
            match client.publication(name, "x".as_bytes().to_vec()).enqueue().await.unwrap().await {
                Ok(_) => false,
                Err(PublishError::Refused(_)) => true,
                Err(other) => panic!("{other}"),
            }
        } else {
            match client.subscribe_many([name], SubscribeOptions::default()).await {
                Ok(_) => false,
                Err(SubscribeError::Refused { .. }) => true,
                Err(other) => panic!("{other}"),
            }
        };
        if refused { 3 } else { 0 }
    })
}

#[test]
fn check_access_says_what_the_broker_does() {
    let site = Site::new();
    let broker = site.broker();
    let (alice, narrowed) = (site.token(&[]), site.token(&["--subscribe", "news.*"]));
    let mut verdicts = Vec::new();
    for (token, who) in [
        (&alice, &["--as-token", &alice][..]),
        (&alice, &["--sub", "alice", "--role", "web", "--claim", "tenant=north"]),
        (&narrowed, &["--as-token", &narrowed]),
        (&site.api_key, &["--as-token", &site.api_key]),
        (&site.api_key, &["--as-service", "billing"]),
    ] {
        for (operation, name) in [
            ("publish", "user.alice.a"),
            ("publish", "user.bob.a"),
            ("publish", "tenant.north.notes"),
            ("publish", "tenant.south.notes"),
            ("publish", "invoices.1"),
            ("publish", "$own.x"),
            ("subscribe", "news.today"),
            ("subscribe", "news.*"),
            ("subscribe", "news.>"),
            ("subscribe", "news.drafts.a"),
            ("subscribe", ">"),
        ] {
            let check = site.check(&[who, &[operation, name]].concat());
            let code = check.status.code().unwrap();
            let text = String::from_utf8(check.stdout).unwrap();
            assert_eq!(code, of_broker(&site, &broker, token, operation, name), "{operation} {name}: {text}");
            let verdict = text.lines().last().unwrap();
            assert_eq!(code == 0, verdict.starts_with("allowed: "), "{text}");
            verdicts.push(code);
        }
    }
    assert!(verdicts.contains(&0) && verdicts.contains(&3));
}

#[test]
fn check_access_names_the_rule_and_tells_usage_from_denial() {
    let site = Site::new();
    let said = |args: &[&str], code: i32| {
        let output = site.check(args);
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let alice = ["--sub", "alice", "--role", "web", "--claim", "tenant=north"];
    let as_alice = |operation: &str, name: &str, code| said(&[&alice[..], &[operation, name]].concat(), code);
    let text = as_alice("publish", "user.alice.a", 0);
    assert!(text.contains("allowed: role `web` allows publish `user.{sub}.>`, here `user.alice.>`"), "{text}");
    let text = as_alice("subscribe", "news.>", 3);
    assert!(text.contains("denied: role `web` denies subscribe `news.drafts.>`"), "{text}");
    assert!(as_alice("history", "news.>", 3).contains("no role allows history"));
    assert!(as_alice("publish", "user.*", 2).contains("is not a topic"));
    assert!(as_alice("subscribe", "a..b", 2).contains("is not a pattern"));
    let text = said(&["--as-service", "biling", "publish", "a"], 2);
    assert!(text.contains("there is no service \"biling\"; the access file has: \"billing\""), "{text}");
    assert!(said(&["--sub", "alice", "--role", "wbe", "publish", "a"], 3).contains("role \"wbe\" does not exist"));
    assert!(said(&["--sub", "alice", "--as-anonymous", "publish", "a"], 2).contains("cannot be used with"));
    assert!(said(&["publish", "a"], 2).contains("required"));

    site.write("revocations", "subject alice\nissued-before 1\n");
    assert!(as_alice("publish", "user.alice.a", 3).contains("this subject is revoked"));
    site.write("revocations", "subject\n");
    assert!(as_alice("publish", "user.alice.a", 2).contains("access.revocations (file "));
}

#[test]
fn tokens_are_read_with_and_without_verifying() {
    let site = Site::new();
    let token = site.token(&["--kid", "k"]);
    let read = |args: &[&str], stdin: &str| {
        let mut command = carillon(site.home.path());
        command.args(["token", "read"]).args(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text, _) = read(&[], &format!("{token}\n"));
    assert_eq!(code, Some(0));
    assert!(
        text.contains("\"kid\": \"k\"") && text.contains("\"sub\": \"alice\"") && text.contains("not verified"),
        "{text}"
    );

    let config = site.text_of("carillon.toml");
    let (code, text, _) = read(&["--config", &config, &site.token(&[])], "");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("verified: subject \"alice\", by a token of \"https://login.test\"; roles: \"web\""),
        "{text}"
    );
    let (code, text, _) = read(&["--config", &config, &Site::new().token(&[])], "");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("refused: the token is not accepted: the signature is not valid"), "{text}");
    let (code, text, _) = read(&["--config", &config], &site.api_key);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains(&site.api_key), "{text}");

    let (code, _, error) = read(&[], "a-secret");
    assert_eq!(code, Some(2));
    assert!(error.contains("three parts") && !error.contains("a-secret"), "{error}");
}

#[test]
fn key_of_another_algorithm_does_not_sign() {
    let site = Site::new();
    let (key, public) = (site.text_of("login-key.pem"), site.text_of("login.pem"));
    for (algorithm, key, expected) in [
        ("RS256", &key, "needs an RSA private key"),
        ("EdDSA", &key, "needs an Ed25519 private key"),
        ("HS256", &key, "it is PEM"),
        ("ES256", &public, "needs a P-256 private key"),
    ] {
        let mint = ["token", "mint", "--issuer", "i", "--audience", "a", "--sub", "s", "--key", key];
        let output = run(site.home.path(), &[&mint[..], &["--algorithm", algorithm]].concat());
        assert_refused(&output, 2, expected);
    }
}

#[test]
fn revocation_closes_a_live_connection_at_sighup() {
    let site = Site::new();
    let mut broker = site.broker();
    let (alice, bob) = (site.token(&[]), site.token(&["--sub", "bob"]));
    let mut revoked = site.reader(&broker, &alice, "user.alice.>", 1);
    let _stays = site.reader(&broker, &bob, "user.bob.>", 2);

    site.write("revocations", "subject alice\n");
    broker.signal("HUP");
    wait_for(&mut broker.log, "were read again");
    let (code, complaint) = revoked.end();
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("this subject is revoked"), "{complaint}");
    broker.wait_for_metric("carillon_subscriptions", 1);
    assert_refused(&site.ask(&broker, &alice, &["pub", "user.alice.mood", "x"]), 1, "this subject is revoked");
    assert_eq!(site.ask(&broker, &bob, &["pub", "user.bob.mood", "x"]).status.code(), Some(0));
}

#[test]
fn what_cannot_be_read_again_keeps_the_whole_old_state() {
    let site = Site::new();
    let mut broker = site.broker();
    let token = site.token(&[]);
    let works = |broker: &Broker| site.ask(broker, &token, &["pub", "user.alice.mood", "x"]).status.code() == Some(0);
    let access = fs::read_to_string(site.path("access.toml")).unwrap();
    site.write("revocations", "subject alice\n");
    let key = DevCertificates::in_directory(site.home.path()).key;
    let key_name = key.file_name().unwrap().to_str().unwrap().to_owned();
    let good_key = fs::read_to_string(&key).unwrap();
    let broken = [
        ("access.toml", "ouch = \"hunter2\"".to_owned(), access.clone()),
        ("login.pem", "hunter2".to_owned(), fs::read_to_string(site.path("login.pem")).unwrap()),
        (&key_name, "hunter2".to_owned(), good_key),
    ];
    for (failures, (name, bad, good)) in broken.into_iter().enumerate() {
        site.write(name, &bad);
        broker.signal("HUP");
        let line = wait_for(&mut broker.log, "the old ones stay in use");
        assert!(line.contains("\"level\":\"ERROR\"") && line.contains(name) && !line.contains("hunter2"), "{line}");
        assert_eq!(broker.metric("carillon_config_reloads_total{result=\"failed\"}"), failures as u64 + 1);
        assert!(works(&broker), "the revocation was taken although {name} is broken");
        site.write(name, &good);
    }
    broker.signal("HUP");
    wait_for(&mut broker.log, "were read again");
    assert!(!works(&broker));
    assert_eq!(broker.metric("carillon_config_reloads_total{result=\"ok\"}"), 1);
}

#[test]
fn changed_roles_hold_for_those_who_are_connected() {
    let site = Site::new();
    let mut broker = site.broker();
    let mut reader = site.reader(&broker, &site.token(&[]), "news.today", 1);
    let access = fs::read_to_string(site.path("access.toml")).unwrap();
    site.write("access.toml", &access.replace("news.drafts.>", "news.>"));
    broker.signal("HUP");
    wait_for(&mut broker.log, "were read again");
    let (code, complaint) = reader.end();
    assert_eq!(code, Some(1), "{complaint}");
}

#[test]
fn broker_that_lets_nobody_in_or_has_a_wrong_access_file_does_not_start() {
    let site = Site::new();
    let config = site.text_of("carillon.toml");
    let start = || run(site.home.path(), &["serve", "--config", &config, "--listen", "127.0.0.1:0"]);
    site.write("access.toml", "[roles.web]\n");
    assert_refused(&start(), 2, "nobody could connect");
    site.write(
        "access.toml",
        "[[services]]\nname = \"b\"\nroles = [\"x\"]\nkeys = [{ id = \"b\", hash = \"hunter2\" }]\n",
    );
    let output = start();
    assert_refused(&output, 2, "services[\"b\"].keys[\"b\"].hash (file ");
    assert!(!told(&output).contains("hunter2"));
    fs::remove_file(Path::new(&site.text_of("access.toml"))).unwrap();
    assert_refused(&start(), 2, "access.toml cannot be read");
}
