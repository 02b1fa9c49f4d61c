//! Tokens whose issuer publishes its keys at a URL, through real processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/issuer.rs"]
mod issuer;
mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use carillon::certs::DevCertificates;
use issuer::{Answer, ISSUER, Server, Signer};
use support::{Broker, PATIENCE, carillon, home, run, told, wait_for};
use tempfile::TempDir;

/// A configuration whose only issuer has its keys at a server of the test's.
struct Site {
    home: TempDir,
}

impl Site {
    fn new(server: &Server) -> Self {
        let site = Self { home: home() };
        let files = DevCertificates::make(site.home.path(), &[], SystemTime::now()).unwrap();
        site.write("login-ca.pem", &server.ca);
        site.write_access(&server.url());
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (certificate, key, access) = (text(files.certificate), text(files.key), text(site.path("access.toml")));
        site.write(
            "carillon.toml",
            &format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n[access]\nfile = {access:?}\n"),
        );
        site
    }

    fn write_access(&self, url: &str) {
        let issuer = format!("issuer = {ISSUER:?}\nalgorithms = [\"ES256\"]\naudiences = [\"carillon\"]");
        let keys = format!("jwks_url = {url:?}\njwks_ca_file = \"login-ca.pem\"\njwks_floor_seconds = 1");
        let role = "[roles.web]\npublish.allow = [\"user.{sub}.>\"]";
        self.write("access.toml", &format!("{role}\n[[issuers]]\n{issuer}\n{keys}\n"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn broker(&self) -> Broker {
        Broker::start_configured(self.home.path(), &self.path("carillon.toml"))
    }

    fn publish(&self, broker: &Broker, signer: &Signer) -> Output {
        let mut command = carillon(self.home.path());
        command.args(["pub", "user.alice.mood", "good", "--url", &broker.url()]).arg("--ca").arg(self.path("ca.pem"));
        command.env("CARILLON_TOKEN", signer.token("alice")).stdin(Stdio::null()).output().unwrap()
    }

    fn assert_published(&self, broker: &Broker, signer: &Signer) {
        let output = self.publish(broker, signer);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }

    /// A command that reads the configuration, with a token of this signer.
    fn about(&self, command: &[&str], signer: &Signer, rest: &[&str]) -> (Option<i32>, String) {
        let (config, token) = (self.path("carillon.toml"), signer.token("alice"));
        let config = ["--config", config.to_str().unwrap()];
        let output = run(self.home.path(), &[command, &[&token], &config, rest].concat());
        (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap() + &told(&output))
    }
}

#[test]
fn key_at_the_url_lets_in_and_after_a_rotation_its_successor() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let server = Server::start(Answer::of(&[&old]));
    let site = Site::new(&server);
    let broker = site.broker();
    broker.wait_for_metric("carillon_jwks_issuers_without_keys", 0);
    site.assert_published(&broker, &old);

    server.set(Answer::of(&[&new]));
    let start = Instant::now();
    loop {
        let output = site.publish(&broker, &new);
        if output.status.success() {
            break;
        }
        assert!(told(&output).contains("unknown key id"), "{}", told(&output));
        assert!(start.elapsed() < PATIENCE, "{}", told(&output));
        thread::sleep(Duration::from_millis(100));
    }
    let output = site.publish(&broker, &old);
    assert!(!output.status.success() && told(&output).contains("unknown key id"), "{}", told(&output));
    assert!(broker.metric("carillon_jwks_fetches_total{result=\"ok\"}") >= 2);
    assert!(broker.metric("carillon_jwks_fetched_timestamp_seconds") > 1_700_000_000);
}

#[test]
fn keys_outlast_their_source_and_reloads() {
    let signer = Signer::new("a");
    let server = Server::start(Answer::of(&[&signer]));
    let site = Site::new(&server);
    let mut broker = site.broker();
    broker.wait_for_metric("carillon_jwks_issuers_without_keys", 0);
    let requests = server.requests();
    server.set(Answer::with("503 Service Unavailable", "", ""));

    broker.signal("HUP");
    wait_for(&mut broker.log, "were read again");
    site.assert_published(&broker, &signer);
    assert_eq!(server.requests(), requests, "the reload fetched keys that it had");

    site.write_access("http://login.test/jwks");
    broker.signal("HUP");
    let line = wait_for(&mut broker.log, "the old ones stay in use");
    assert!(line.contains("must start with https://"), "{line}");
    site.assert_published(&broker, &signer);
}

#[test]
fn broker_starts_without_its_issuer_and_says_what_that_means() {
    let signer = Signer::new("a");
    let server = Server::start(Answer::with("301 Moved Permanently", "Location: /elsewhere\r\n", ""));
    let site = Site::new(&server);
    let mut broker = site.broker();
    let line = wait_for(&mut broker.log, "cannot be fetched");
    assert!(line.contains("its tokens are refused") && line.contains("redirects are not followed"), "{line}");
    let output = site.publish(&broker, &signer);
    assert!(told(&output).contains("are not known yet"), "{}", told(&output));
    assert_eq!(broker.metric("carillon_jwks_issuers_without_keys"), 1);

    server.set(Answer::of(&[&signer]));
    wait_for(&mut broker.log, "the issuer's keys have come");
    site.assert_published(&broker, &signer);
}

#[test]
fn commands_without_a_broker_fetch_the_keys_or_say_that_they_could_not() {
    let (signer, other) = (Signer::new("a"), Signer::new("b"));
    let server = Server::start(Answer::of(&[&signer]));
    let site = Site::new(&server);
    let read = |signer| site.about(&["token", "read"], signer, &[]);
    let check = |signer| site.about(&["check-access", "--as-token"], signer, &["publish", "user.alice.mood"]);

    let (code, text) = read(&signer);
    assert!(code == Some(0) && text.contains("verified: subject \"alice\""), "{code:?} {text}");
    let (code, text) = check(&signer);
    assert!(code == Some(0) && text.contains("allowed: role `web`"), "{code:?} {text}");
    for (code, text) in [read(&other), check(&other)] {
        assert!(code == Some(3) && text.contains("unknown key id \"b\""), "{code:?} {text}");
    }
    assert_eq!(server.requests(), 4);

    server.set(Answer::ok("<html></html>"));
    for (code, text) in [read(&signer), check(&signer)] {
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("signature cannot be checked") && text.contains("not JSON"), "{text}");
    }
}
