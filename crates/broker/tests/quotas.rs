//! Quotas through real processes: from `carillon.toml` and the access file, and read again at SIGHUP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, process::Output, time::SystemTime};

use carillon::certs::DevCertificates;
use support::{Broker, carillon, home, told, wait_for};
use tempfile::TempDir;

const RELOADED: &str = "carillon_config_reloads_total{result=\"ok\"}";
const NOT_RELOADED: &str = "carillon_config_reloads_total{result=\"failed\"}";

/// A broker for everybody, with a configuration that can be written anew.
struct Site {
    home: TempDir,
}

impl Site {
    fn new(access: &str, more: &str) -> Self {
        let home = home();
        DevCertificates::make(home.path(), &[], SystemTime::now()).unwrap();
        let site = Self { home };
        site.write("access.toml", access);
        site.configure(more);
        site
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.home.path().join(name), text).unwrap();
    }

    fn configure(&self, more: &str) {
        let files = DevCertificates::in_directory(self.home.path());
        let [certificate, key, access] =
            [files.certificate, files.key, self.home.path().join("access.toml")].map(|path| path.display().to_string());
        let config = format!(
            "[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
             [access]\nfile = {access:?}\nanonymous = true\nanonymous_roles = [\"guest\"]\n{more}\n",
        );
        self.write("carillon.toml", &config);
    }

    fn start(&self) -> Broker {
        Broker::start_configured(self.home.path(), &self.home.path().join("carillon.toml"))
    }

    fn publish(&self, broker: &Broker, payload: &str) -> Output {
        let ca = self.home.path().join("ca.pem");
        let command = ["pub", "a", payload, "--url", &broker.url(), "--ca", ca.to_str().unwrap()];
        carillon(self.home.path()).args(command).output().unwrap()
    }
}

const GUEST: &str = "[roles.guest]\npublish.allow = [\"a\"]\n";

#[test]
fn quotas_are_read_again_with_the_configuration_and_what_needs_a_restart_is_told() {
    let site = Site::new(GUEST, "[quotas.identity]\npayload_bytes = 10");
    let mut broker = site.start();
    let refused = site.publish(&broker, "more than ten");
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    // The welcome has told the client, so that it does not even send it.
    assert!(told(&refused).contains("at most 10"), "{}", told(&refused));
    assert_eq!(broker.metric("carillon_limit{name=\"quotas.identity.payload_bytes\"}"), 10);

    site.configure("[quotas.identity]\npayload_bytes = 20\n[listen]\nbacklog = 7");
    broker.signal("HUP");
    broker.wait_for_metric(RELOADED, 1);
    let line = wait_for(&mut broker.log, "after a restart only");
    assert!(line.contains("listen.backlog") && !line.contains("quotas"), "{line}");
    assert_eq!(broker.metric("carillon_limit{name=\"quotas.identity.payload_bytes\"}"), 20);
    assert_eq!(site.publish(&broker, "more than ten").status.code(), Some(0));

    site.configure("[quotas]\nreport_only = [\"identity.payload\"]");
    broker.signal("HUP");
    broker.wait_for_metric(NOT_RELOADED, 1);
    let line = wait_for(&mut broker.log, "the old ones stay in use");
    assert!(line.contains("quotas.report_only") && line.contains("identity.payload_bytes"), "{line}");
    assert_eq!(site.publish(&broker, "more than twenty bytes long").status.code(), Some(3));

    site.configure("[quotas]\nreport_only = [\"identity.payload_bytes\"]\n[quotas.identity]\npayload_bytes = 20");
    broker.signal("HUP");
    broker.wait_for_metric(RELOADED, 2);
    assert_eq!(site.publish(&broker, "more than twenty bytes long").status.code(), Some(0));
    assert_eq!(broker.metric("carillon_quota_reported_total{quota=\"identity.payload_bytes\"}"), 1);
}

#[test]
fn a_role_has_quotas_of_its_own() {
    let site = Site::new(&format!("{GUEST}[roles.guest.quotas]\npayload_bytes = 5\n"), "");
    let broker = site.start();
    assert_eq!(site.publish(&broker, "short").status.code(), Some(0));
    assert_eq!(site.publish(&broker, "longer").status.code(), Some(3));
    site.write("access.toml", GUEST);
    broker.signal("HUP");
    broker.wait_for_metric(RELOADED, 1);
    assert_eq!(site.publish(&broker, "longer").status.code(), Some(0));
}
