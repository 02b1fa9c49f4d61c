//! Client certificates through real processes: `carillon certs client`, `serve`, `pub`, `sub`, `check-access`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Output, Stdio},
    time::{Duration, SystemTime},
};

use carillon::certs::DevCertificates;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use support::{Broker, carillon, home, run, told, wait_for};
use tempfile::TempDir;
use x509_parser::prelude::{FromDer, X509Certificate};

const DAY: Duration = Duration::from_hours(24);

const ACCESS: &str = r#"
[roles.own]
publish.allow = ["own.{sub}"]
subscribe.allow = ["own.{sub}", "news"]

[[certificates]]
common_name = "a*"
roles = ["own"]
"#;

/// A broker's files, and certificates of its development authority for `ann`, `abe` and `bob`.
struct Site {
    home: TempDir,
}

impl Site {
    fn new(mode: &str) -> Self {
        let site = Self { home: home() };
        let files = DevCertificates::make(site.home.path(), &[], SystemTime::now()).unwrap();
        for name in ["ann", "abe", "bob"] {
            let made = run(site.home.path(), &["certs", "client", "--name", name, "--out", &site.text_of("")]);
            assert_eq!(made.status.code(), Some(0), "{}", told(&made));
        }
        site.revoke(&[], SystemTime::now() + DAY);
        site.write("access.toml", ACCESS);
        let quoted = |name: &str| format!("{:?}", site.text_of(name));
        let config = format!(
            "[tls]\ncertificate = {:?}\nkey = {:?}\nclient_certificates = {mode:?}\nclient_ca = {}\nclient_crls = [{}]\n\
             [access]\nfile = {}\n",
            files.certificate.display().to_string(),
            files.key.display().to_string(),
            quoted("ca.pem"),
            quoted("crl.pem"),
            quoted("access.toml"),
        );
        site.write("carillon.toml", &config);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn text_of(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A list of the authority, as it would write it with openssl.
    fn revoke(&self, names: &[&str], next_update: SystemTime) {
        let serial = |name: &&str| {
            let der = CertificateDer::from_pem_file(self.path(&format!("client-{name}.pem"))).unwrap();
            X509Certificate::from_der(&der).unwrap().1.raw_serial().to_vec()
        };
        let entry = |name: &&str| RevokedCertParams {
            serial_number: SerialNumber::from(serial(name)),
            revocation_time: SystemTime::now().into(),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (SystemTime::now() - 30 * DAY).into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: names.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let key = KeyPair::from_pem(&fs::read_to_string(self.path("ca-key.pem")).unwrap()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(self.path("ca.pem")).unwrap(), key).unwrap();
        self.write("crl.pem", &params.signed_by(&issuer).unwrap().pem().unwrap());
    }

    fn broker(&self) -> Broker {
        Broker::start_configured(self.home.path(), &self.path("carillon.toml"))
    }

    /// The arguments of `pub` or `sub` with what leads them to the broker, as this client.
    fn arguments(&self, broker: &Broker, name: &str, args: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        all.extend(["--url".to_owned(), broker.url(), "--ca".to_owned(), self.text_of("ca.pem")]);
        if !name.is_empty() {
            let (cert, key) = (format!("client-{name}.pem"), format!("client-{name}-key.pem"));
            all.extend(["--cert".to_owned(), self.text_of(&cert), "--key".to_owned(), self.text_of(&key)]);
        }
        all
    }

    fn ask(&self, broker: &Broker, name: &str, args: &[&str]) -> Output {
        carillon(self.home.path()).args(self.arguments(broker, name, args)).stdin(Stdio::null()).output().unwrap()
    }
}

#[track_caller]
fn assert_told(output: &Output, code: i32, text: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", told(output));
    assert!(told(output).contains(text), "expected {text:?} in {}", told(output));
}

#[test]
fn the_certificate_opens_what_its_rule_allows_and_other_clients_are_told_what_is_missing() {
    let site = Site::new("required");
    let broker = site.broker();
    assert_told(&site.ask(&broker, "ann", &["pub", "own.ann", "x"]), 0, "");
    assert_told(&site.ask(&broker, "ann", &["pub", "own.abe", "x"]), 3, "not allowed to publish to `own.abe`");
    assert_told(&site.ask(&broker, "bob", &["pub", "own.bob", "x"]), 1, "no certificate rule matches");
    let missing = site.ask(&broker, "", &["pub", "own.ann", "x"]);
    assert_told(&missing, 1, "the broker takes no client without a certificate");
    let count = broker.metric("carillon_handshake_failures_total{reason=\"client_certificate_missing\"}");
    assert_eq!(count, 1);

    let mut by_environment = carillon(site.home.path());
    by_environment.env("CARILLON_CERT", site.path("client-ann.pem"));
    by_environment.env("CARILLON_KEY", site.path("client-ann-key.pem"));
    let output = by_environment.args(site.arguments(&broker, "", &["pub", "own.ann", "x"])).output().unwrap();
    assert_told(&output, 0, "");
    let mut wrong_key = site.arguments(&broker, "ann", &["pub", "own.ann", "x"]);
    *wrong_key.last_mut().unwrap() = site.text_of("client-bob-key.pem");
    let output = carillon(site.home.path()).args(wrong_key).output().unwrap();
    assert_told(&output, 2, "it is not the key of the certificate in");
}

#[test]
fn a_revoked_certificate_ends_its_live_connection_at_sighup() {
    let site = Site::new("optional");
    let mut broker = site.broker();
    let reader = |name: &str, subscriptions: u64| {
        let args = site.arguments(&broker, name, &["sub", "news", "--no-reconnect", "--timeout", "30"]);
        let child = carillon(site.home.path()).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        broker.wait_for_metric("carillon_subscriptions", subscriptions);
        child
    };
    let (mut revoked, mut stays) = (reader("ann", 1), reader("abe", 2));

    site.revoke(&["ann"], SystemTime::now() + DAY);
    broker.signal("HUP");
    wait_for(&mut broker.log, "were read again");
    let mut complaint = String::new();
    revoked.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert_eq!(revoked.wait().unwrap().code(), Some(1), "{complaint}");
    assert!(complaint.contains("the client certificate is not accepted any more"), "{complaint}");
    broker.wait_for_metric("carillon_subscriptions", 1);
    assert_told(&site.ask(&broker, "ann", &["pub", "own.ann", "x"]), 1, "is revoked: get a new one");
    assert_told(&site.ask(&broker, "abe", &["pub", "own.abe", "x"]), 0, "");

    site.write("crl.pem", "nonsense");
    broker.signal("HUP");
    let line = wait_for(&mut broker.log, "the old ones stay in use");
    assert!(line.contains("crl.pem: has no revocation list"), "{line}");
    assert_told(&site.ask(&broker, "ann", &["pub", "own.ann", "x"]), 1, "is revoked");
    stays.kill().unwrap();
    stays.wait().unwrap();
}

#[test]
fn a_list_that_ran_out_refuses_and_is_told_in_the_log_and_the_metrics() {
    let site = Site::new("required");
    let over = SystemTime::now() - DAY;
    site.revoke(&[], over);
    let mut broker = site.broker();
    assert_told(&site.ask(&broker, "ann", &["pub", "own.ann", "x"]), 1, "has no current revocation list");
    let over_s = over.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(broker.metric("carillon_client_crl_next_update_timestamp_seconds"), over_s);
    broker.signal("HUP");
    wait_for(&mut broker.log, "ran out on");
    wait_for(&mut broker.log, "were read again");

    site.revoke(&[], SystemTime::now() + DAY);
    broker.signal("HUP");
    wait_for(&mut broker.log, "were read again");
    assert_told(&site.ask(&broker, "ann", &["pub", "own.ann", "x"]), 0, "");
}

#[test]
fn letting_every_page_in_is_warned_of_because_browsers_show_certificates_for_any() {
    let site = Site::new("optional");
    let config = fs::read_to_string(site.path("carillon.toml")).unwrap();
    site.write("carillon.toml", &format!("{config}\n[origins]\nallowed = [\"https://app.example.com\", \"*\"]\n"));
    let mut broker = site.broker();
    broker.signal("HUP");
    let line = wait_for(&mut broker.log, "origins.allowed");
    assert!(line.contains("any page"), "{line}");
}

#[test]
fn check_access_knows_whose_a_certificate_is() {
    let site = Site::new("required");
    let check = |name: &str, topic: &str| {
        let (config, file) = (site.text_of("carillon.toml"), site.text_of(&format!("client-{name}.pem")));
        let output =
            run(site.home.path(), &["check-access", "--config", &config, "--as-certificate", &file, "publish", topic]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = check("ann", "own.ann");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("subject \"ann\", by a client certificate; roles: \"own\""), "{text}");
    assert_eq!(check("ann", "own.abe").0, Some(3));
    let (code, text) = check("bob", "own.bob");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("no certificate rule matches"), "{text}");
    assert_eq!(check("nobody", "a").0, Some(2));
}

#[test]
fn a_client_certificate_needs_an_authority_and_a_plain_name() {
    let home = home();
    let directory = home.path().join("certs");
    let out = directory.to_str().unwrap();
    let make = |name: &str| run(home.path(), &["certs", "client", "--name", name, "--out", out]);
    assert_told(&make("ann"), 2, "no development authority");
    assert!(!directory.exists());
    DevCertificates::make(&directory, &[], SystemTime::now()).unwrap();
    assert_told(&make("../ann"), 2, "is no name for a client");
    assert_told(&make("ann"), 0, "");
    assert_told(&make("ann"), 2, "--force writes over it");
}
