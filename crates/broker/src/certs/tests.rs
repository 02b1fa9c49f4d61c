use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use carillon_listener::tls::Tls;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConnection, pki_types::CertificateDer, pki_types::ServerName,
    pki_types::pem::PemObject,
};
use tempfile::TempDir;

use super::{make::days, *};

fn made(hosts: &[&str]) -> (TempDir, DevCertificates) {
    let directory = tempfile::tempdir().unwrap();
    let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
    let files = DevCertificates::make(directory.path(), &hosts, SystemTime::now()).unwrap();
    (directory, files)
}

fn contents(files: &DevCertificates) -> [String; 4] {
    [&files.ca, &files.ca_key, &files.certificate, &files.key].map(|path| fs::read_to_string(path).unwrap())
}

/// A whole TLS handshake with a client that trusts the authority and nothing else.
fn handshake(files: &DevCertificates, host: &str) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned()).unwrap())?;
    let tls = Tls::from_files(&files.certificate, &files.key).unwrap();
    let mut server = ServerConnection::new(tls.config())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok(())
}

#[test]
fn clients_that_trust_the_authority_connect_by_every_name() {
    let (_directory, files) = made(&["broker.test", "192.0.2.7"]);
    for host in ["localhost", "127.0.0.1", "::1", "broker.test", "192.0.2.7"] {
        handshake(&files, host).unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    assert!(handshake(&files, "example.com").is_err());
}

#[test]
fn authority_is_good_for_its_own_hosts_alone() {
    let (_directory, files) = made(&[]);
    let authority = make::Authority::read(&files.ca, &files.ca_key, SystemTime::now()).unwrap();
    let other = authority.issue(&["example.com".to_owned()], SystemTime::now()).unwrap();
    fs::write(&files.certificate, other.certificate_pem).unwrap();
    fs::write(&files.key, other.key_pem).unwrap();
    assert!(handshake(&files, "example.com").is_err());
}

#[test]
fn keys_are_for_their_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a").join("b");
    let files = DevCertificates::make(&directory, &[], SystemTime::now()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&files.key), 0o600);
    assert_eq!(mode(&files.ca_key), 0o600);
    assert!(fs::read_dir(&directory).unwrap().all(|entry| !entry.unwrap().path().ends_with(".new")));
}

#[test]
fn files_say_what_they_were_made_for() {
    let (_directory, files) = made(&["broker.test"]);
    let [server] = read_chain(&files.certificate).unwrap().try_into().unwrap();
    assert_eq!(server.names, ["localhost", "127.0.0.1", "::1", "broker.test"]);
    assert!(!server.is_ca);
    assert!(server.not_after.duration_since(server.not_before).unwrap() <= days(366));
    assert!(server.not_after_seconds() > 1_700_000_000);
    let [ca] = read_chain(&files.ca).unwrap().try_into().unwrap();
    assert!(ca.is_ca);
    assert_eq!(server.issuer, ca.subject);
    let shown = server.to_string();
    assert!(shown.contains("not after:") && shown.contains("UTC") && shown.contains("broker.test"), "{shown}");
}

#[test]
fn host_that_is_none_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for host in ["", "a..b", "https://a", "-a.test", "a b", "ä.test", "*"] {
        let made = DevCertificates::make(directory.path(), &[host.to_owned()], SystemTime::now());
        assert!(matches!(made, Err(MakeError::Host(_))), "{host:?}");
    }
    DevCertificates::make(directory.path(), &["*.broker.test".to_owned()], SystemTime::now()).unwrap();
}

#[test]
fn what_is_whole_is_left_as_it_is() {
    let (directory, files) = made(&["broker.test"]);
    let before = contents(&files);
    assert_eq!(DevCertificates::ensure(directory.path(), SystemTime::now()).unwrap(), files);
    assert_eq!(contents(&files), before);
}

#[test]
fn server_certificate_near_its_end_is_renewed_under_the_same_authority() {
    let (directory, files) = made(&[]);
    let [ca, _, certificate, _] = contents(&files);
    DevCertificates::ensure(directory.path(), SystemTime::now() + days(330)).unwrap();
    assert_eq!(contents(&files)[2], certificate, "still 34 days to go");
    DevCertificates::ensure(directory.path(), SystemTime::now() + days(340)).unwrap();
    assert_ne!(contents(&files)[2], certificate);
    assert_eq!(contents(&files)[0], ca);
    handshake(&files, "localhost").unwrap_err();
}

#[test]
fn authority_near_its_end_is_replaced_with_all_it_issued() {
    let (directory, files) = made(&[]);
    let before = contents(&files);
    DevCertificates::ensure(directory.path(), SystemTime::now() + days(3_640)).unwrap();
    let after = contents(&files);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
}

#[test]
fn missing_broken_and_foreign_files_are_made_anew() {
    let (_other_directory, other) = made(&[]);
    let (directory, files) = made(&[]);
    let ensure = || {
        DevCertificates::ensure(directory.path(), SystemTime::now()).unwrap();
        handshake(&files, "localhost").unwrap();
    };
    fs::remove_file(&files.key).unwrap();
    ensure();
    fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    ensure();
    // Whole in itself, but another authority's.
    fs::copy(&other.certificate, &files.certificate).unwrap();
    fs::copy(&other.key, &files.key).unwrap();
    ensure();
    // An authority whose key is not its own.
    fs::copy(&other.ca_key, &files.ca_key).unwrap();
    ensure();
}

#[test]
fn file_without_a_certificate_is_told() {
    let (_directory, files) = made(&[]);
    assert!(matches!(read_chain(&files.key), Err(ReadError::NoCertificate(_))));
    assert!(matches!(read_chain(Path::new("/nonexistent")), Err(ReadError::Unreadable { .. })));
    fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(matches!(read_chain(&files.certificate), Err(ReadError::Damaged { number: 1, .. })));
}
