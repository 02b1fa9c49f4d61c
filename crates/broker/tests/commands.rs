//! The command as it is typed: what it prints, and its exit status.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    time::SystemTime,
};

use carillon::certs::DevCertificates;
use support::{Broker, carillon, home, run, told, wait_for};

#[test]
fn serve_without_any_configuration_is_refused_with_advice() {
    let output = run(home().path(), &["serve"]);
    assert_eq!(output.status.code(), Some(2));
    let told = told(&output);
    assert!(told.contains("the configuration has 3 problems") && told.contains("carillon serve --dev"), "{told}");
}

#[test]
fn configuration_problem_names_variable_and_flag() {
    let home = home();
    let output = carillon(home.path())
        .args(["serve", "--dev", "--listen", "nowhere"])
        .env("CARILLON__LIMITS__MAX_CONECTIONS", "5")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = told(&output);
    assert!(told.contains("(variable CARILLON__LIMITS__MAX_CONECTIONS)"), "{told}");
    assert!(told.contains("(flag --listen)"), "{told}");
}

#[test]
fn dev_is_refused_off_loopback() {
    let output = run(home().path(), &["serve", "--dev", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("loopback only"));
}

#[test]
fn mismatched_certificate_and_key_stop_the_start() {
    let (home, other) = (home(), home());
    let files = DevCertificates::make(home.path(), &[], SystemTime::now()).unwrap();
    let others = DevCertificates::make(other.path(), &[], SystemTime::now()).unwrap();
    let output = carillon(home.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .env("CARILLON__ACCESS__FILE", "access.toml")
        .env("CARILLON__TLS__CERTIFICATE", &files.certificate)
        .env("CARILLON__TLS__KEY", &others.key)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = told(&output);
    assert!(told.contains("the files of [tls]") && told.contains(others.key.to_str().unwrap()), "{told}");
}

#[test]
fn port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin"] {
        let other = if flag == "--listen" { "--admin" } else { "--listen" };
        let output = run(home().path(), &["serve", "--dev", flag, &address, other, "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(1), "{flag}");
        assert!(told(&output).contains(&address), "{flag}: {}", told(&output));
    }
}

#[test]
fn broker_is_ready_reloads_and_drains() {
    let home = home();
    let mut broker = Broker::start(home.path());
    assert!(broker.ask("/readyz").starts_with("HTTP/1.1 200"));
    TcpStream::connect(broker.address).unwrap();

    broker.signal("HUP");
    wait_for(&mut broker.log, "read again");
    let key = DevCertificates::in_directory(&home.path().join("carillon").join("dev")).key;
    let whole = fs::read(&key).unwrap();
    fs::write(&key, "broken").unwrap();
    broker.signal("HUP");
    let line = wait_for(&mut broker.log, "the old ones stay in use");
    assert!(line.contains("\"level\":\"ERROR\"") && line.contains(key.to_str().unwrap()), "{line}");
    fs::write(&key, whole).unwrap();
    broker.signal("HUP");
    wait_for(&mut broker.log, "were read again");
    let metrics = broker.ask("/metrics");
    assert!(metrics.contains("carillon_config_reloads_total{result=\"failed\"} 1\n"), "{metrics}");
    assert!(metrics.contains("carillon_config_reloads_total{result=\"ok\"} 2\n"), "{metrics}");
    assert!(!metrics.contains("carillon_certificate_not_after_timestamp_seconds 0\n"), "{metrics}");

    broker.signal("TERM");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
}

#[test]
fn interrupt_drains_as_well() {
    let home = home();
    let mut broker = Broker::start(home.path());
    broker.signal("INT");
    assert_eq!(broker.child.wait().unwrap().code(), Some(0));
}

#[test]
fn dev_certificates_survive_a_restart() {
    let home = home();
    let ca = DevCertificates::in_directory(&home.path().join("carillon").join("dev")).ca;
    drop(Broker::start(home.path()));
    let first = fs::read(&ca).unwrap();
    drop(Broker::start(home.path()));
    assert_eq!(fs::read(&ca).unwrap(), first);
}

#[test]
fn certs_are_made_shown_and_not_written_over() {
    let (home, out) = (home(), home());
    let directory = out.path().to_str().unwrap();
    let make = ["certs", "dev", "--out", directory, "--host", "broker.test", "192.0.2.1"];
    assert_eq!(run(home.path(), &make).status.code(), Some(0));
    let files = DevCertificates::in_directory(out.path());
    let shown = run(home.path(), &["certs", "show", files.certificate.to_str().unwrap()]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("names:      localhost, 127.0.0.1, ::1, broker.test, 192.0.2.1\n"), "{text}");

    let before = fs::read(&files.key).unwrap();
    let again = run(home.path(), &make);
    assert_eq!(again.status.code(), Some(2));
    assert!(told(&again).contains("--force"));
    assert_eq!(fs::read(&files.key).unwrap(), before);
    assert_eq!(run(home.path(), &[&make[..], &["--force"]].concat()).status.code(), Some(0));
    assert_ne!(fs::read(&files.key).unwrap(), before);

    let none = run(home.path(), &["certs", "show", files.key.to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn version_names_the_protocol() {
    let output = run(home().path(), &["version"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        concat!("carillon ", env!("CARGO_PKG_VERSION"), "\nprotocol carillon.v1\n")
    );
}
