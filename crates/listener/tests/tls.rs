//! Certificates and keys: which are read, what broken ones are told, and what a reload changes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in a test a panic is the message"
)]

mod support;

use std::{
    fs,
    io::{Read, Write},
    sync::Arc,
};

use base64::Engine;
use carillon_listener::{
    Listener, StartError, Tls,
    tls::{CertificateError, TlsError},
};
use carillon_metrics::{BrokerMetrics, CloseReason, ShardMetrics, TlsHandshake};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{AlertDescription, ProtocolVersion};
use support::{Broker, client_config, eventually, self_signed, settings, write_files};

fn certificate_error(certificate: &str, key: &str) -> (CertificateError, String) {
    let files = write_files(certificate, key);
    match Tls::from_files(&files.certificate, &files.key) {
        Err(TlsError::Certificate(error)) => {
            let text = error.to_string();
            (error, text)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn broken_files_are_named_with_what_is_wrong() {
    let (certificate, key) = self_signed();
    let (_, other_key) = self_signed();
    let cases = [
        (certificate_error(&certificate, &other_key), "key.pem is not the key of the certificate in"),
        (certificate_error("", &key), "certificate.pem: has no certificate"),
        (certificate_error(&certificate, ""), "key.pem: has 0 private keys"),
        (certificate_error(&certificate, &format!("{key}{other_key}")), "key.pem: has 2 private keys"),
        (certificate_error("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", &key), "is not valid PEM"),
        (certificate_error(&certificate, &certificate), "key.pem: has 0 private keys"),
    ];
    for ((_, text), expected) in cases {
        assert!(text.contains(expected), "{text}");
    }
    let missing = Tls::from_files("/nowhere/certificate.pem", "/nowhere/key.pem").unwrap_err().to_string();
    assert!(missing.contains("/nowhere/certificate.pem: cannot be read"), "{missing}");
}

/// The contents of the last element of a DER sequence: in PKCS#8 that is the key in its older form.
fn last_element(sequence: &[u8]) -> &[u8] {
    fn contents(der: &[u8]) -> (&[u8], &[u8]) {
        let short = usize::from(der[1]);
        let (head, length) = if short < 0x80 {
            (2, short)
        } else {
            let digits = &der[2..2 + (short & 0x7f)];
            (2 + digits.len(), digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
        };
        der[head..].split_at(length)
    }
    let (mut rest, _) = contents(sequence);
    loop {
        let (element, behind) = contents(rest);
        if behind.is_empty() {
            return element;
        }
        rest = behind;
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64::prelude::BASE64_STANDARD.encode(der))
}

#[test]
fn keys_in_each_form_and_chains_are_read() {
    let issuer_key = KeyPair::generate().unwrap();
    let mut issuer_params = CertificateParams::new(vec![]).unwrap();
    issuer_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = issuer_params.self_signed(&issuer_key).unwrap();
    let issuer_key = Issuer::from_params(&issuer_params, &issuer_key);
    for (algorithm, older_form) in
        [(&rcgen::PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY"), (&rcgen::PKCS_RSA_SHA256, "RSA PRIVATE KEY")]
    {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer_key).unwrap();
        let chain = format!("a comment\n{}{}", leaf.pem(), issuer.pem());
        for key in [key.serialize_pem(), pem(older_form, last_element(&key.serialize_der()))] {
            let files = write_files(&chain, &key);
            let tls = Tls::from_files(&files.certificate, &files.key).unwrap();
            assert_eq!(tls.chain(), [leaf.der().clone(), issuer.der().clone()]);
        }
    }
}

#[test]
fn a_port_in_use_is_named() {
    let broker = Broker::start(settings());
    let taken = carillon_listener::Settings { listen: broker.address, ..settings() };
    let metrics = [Arc::new(ShardMetrics::default())];
    let started =
        Listener::start(taken, &broker.tls, &broker.gate, Arc::new(BrokerMetrics::new("test", vec![])), &metrics, None);
    match started.map(|listener| listener.address()) {
        Err(error @ StartError::Bind { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&broker.address.to_string()) && text.contains("another program"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reload_is_for_new_connections_and_a_broken_file_keeps_the_old() {
    let broker = Broker::start(settings());
    let mut before = broker.client();
    // Without a session to resume, so that it looks at the certificate.
    let trusts_the_old = client_config(&broker.tls);
    let (certificate, key) = self_signed();

    fs::write(&broker.files.certificate, &certificate).unwrap();
    assert!(matches!(broker.tls.reload(), Err(TlsError::Certificate(CertificateError::Mismatch { .. }))));
    broker.client().ping();

    fs::write(&broker.files.key, &key).unwrap();
    broker.tls.reload().unwrap();
    before.ping();
    let mut refused = broker.tls_stream_with(&trusts_the_old);
    assert!(refused.write_all(b"x").and_then(|()| refused.flush()).is_err(), "the old certificate is still served");
    let mut accepted = broker.tls_stream_with(&client_config(&broker.tls));
    accepted.write_all(b"x").and_then(|()| accepted.flush()).unwrap();
}

#[test]
fn sessions_are_resumed_with_tickets_also_after_a_reload() {
    let broker = Broker::start(settings());
    broker.client().ping();
    broker.tls.reload().unwrap();
    broker.client().ping();
    assert_eq!(broker.count(|shard| shard.tls_handshakes.of(TlsHandshake::Full).get()), 1);
    assert_eq!(broker.count(|shard| shard.tls_handshakes.of(TlsHandshake::Resumed).get()), 1);
}

#[test]
fn tls_1_3_with_post_quantum_key_exchange_comes_first_and_1_2_is_there() {
    let broker = Broker::start(settings());
    let mut client = broker.client();
    client.ping();
    assert_eq!(client.stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(client.stream.conn.alpn_protocol(), None, "none was offered");
    let group = client.stream.conn.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name);
    assert_eq!(group, Some(rustls::NamedGroup::X25519MLKEM768));

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(broker.tls.chain().remove(0)).unwrap();
    let mut old = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = broker.tls_stream_with(&Arc::new(old));
    stream.write_all(support::upgrade_request("").as_bytes()).unwrap();
    assert!(support::read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn a_client_whose_record_was_changed_on_the_way_is_told_and_let_go() {
    let broker = Broker::start(settings());
    let mut client = broker.client();
    client.ping();
    client.stream.sock.write_all(&[23, 3, 3, 0, 20]).unwrap();
    client.stream.sock.write_all(&[0; 20]).unwrap();
    let refused = client.stream.read(&mut [0; 1]).unwrap_err();
    let alert = refused.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert_eq!(alert, Some(&rustls::Error::AlertReceived(AlertDescription::BadRecordMac)), "{refused}");
    eventually("gone", || broker.count(|shard| shard.connections_closed.of(CloseReason::Disconnected).get()) == 1);
}

#[test]
fn keys_change_while_messages_go_both_ways() {
    let broker = Broker::start(settings());
    let mut client = broker.client();
    for _ in 0..40 {
        client.stream.conn.refresh_traffic_keys().unwrap();
        client.ping();
    }
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_understood() {
    let broker = Broker::start(settings());
    let mut client = broker.client();
    client.ping();
    client.stream.conn.writer().write_all(&support::frame(0x89, b"in pieces")).unwrap();
    let mut record = Vec::new();
    client.stream.conn.write_tls(&mut record).unwrap();
    client.stream.sock.set_nodelay(true).unwrap();
    for byte in record {
        client.stream.sock.write_all(&[byte]).unwrap();
        std::thread::yield_now();
    }
    let mut pong = [0; 11];
    client.stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong[2..], b"in pieces");
}
