//! Handshakes of each kind, cut everywhere: none loses what the client sends behind it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    AlertDescription, HandshakeKind, client::Resumption, crypto::aws_lc_rs::default_provider, pki_types::PrivateKeyDer,
};

use super::{
    super::clients::ClientFiles, CipherSuite, ClientConfig, ClientConnection, Error, Handshake, Pair, RootCertStore,
    ServerConfig, ServerName, Step, TLS12, TLS13, Tls, client, fs, hear, receive, seal, sent, server, shake_hands,
    suite, suites, understood,
};

const EARLY: &[u8] = b"GET /ws HTTP/1.1";
/// One byte, a header and a bit, the sizes of what a small network gives, all.
const PIECES: [usize; 6] = [1, 7, 64, 536, 4_096, usize::MAX];

fn works(server: Arc<ServerConfig>, client: &Arc<ClientConfig>, piece_bytes: usize, kind: HandshakeKind) {
    let Pair { mut server, behind, mut client } = shake_hands(server, Arc::clone(client), EARLY, piece_bytes).unwrap();
    assert_eq!(client.handshake_kind(), Some(kind));
    assert_eq!(hear(&mut server, &behind).unwrap().data, EARLY, "in pieces of {piece_bytes}");
    let answer = seal(&mut server, b"HTTP/1.1 101");
    assert_eq!(understood(&mut client, &answer), b"HTTP/1.1 101");
}

#[test]
fn full_and_resumed_handshakes_lose_nothing_in_each_suite() {
    let server = server();
    for suite in suites() {
        for piece_bytes in PIECES {
            let client = Arc::new(client(&server, suite));
            works(server.config(), &client, piece_bytes, HandshakeKind::Full);
            works(server.config(), &client, piece_bytes, HandshakeKind::Resumed);
        }
    }
}

#[test]
fn a_client_that_must_be_asked_again_loses_nothing() {
    let server = server();
    let mut provider = default_provider();
    // It offers a share of a group first that the server does not know, and then one that it does.
    provider.kx_groups =
        vec![rustls::crypto::aws_lc_rs::kx_group::SECP384R1, rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768];
    let mut roots = RootCertStore::empty();
    roots.add(server.chain().remove(0)).unwrap();
    let mut narrow = default_provider();
    narrow.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768];
    let mut config = ServerConfig::builder_with_provider(Arc::new(narrow))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&server.config().cert_resolver));
    config.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    let client = Arc::new(client);
    let config = Arc::new(config);
    for piece_bytes in PIECES {
        let pair = shake_hands(Arc::clone(&config), Arc::clone(&client), EARLY, piece_bytes).unwrap();
        let Pair { mut server, behind, client } = pair;
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
        assert_eq!(hear(&mut server, &behind).unwrap().data, EARLY, "in pieces of {piece_bytes}");
    }
}

/// A door that asks for certificates, and a client that has one.
fn with_client_certificates(version: &'static rustls::SupportedProtocolVersion) -> (Tls, ClientConfig) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&authority, &authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(path("authority.pem"), authority_certificate.pem()).unwrap();
    fs::write(path("certificate.pem"), certificate.pem()).unwrap();
    fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let files = ClientFiles { authorities: path("authority.pem"), crls: vec![], is_required: true };
    let tls = Tls::with_client_certificates(path("certificate.pem"), path("key.pem"), files).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority_certificate.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    (tls, client)
}

#[test]
fn a_client_with_a_certificate_loses_nothing_though_it_gets_no_ticket() {
    for version in [&TLS13, &TLS12] {
        let (server, client) = with_client_certificates(version);
        let client = Arc::new(client);
        for piece_bytes in PIECES {
            works(server.config(), &client, piece_bytes, HandshakeKind::Full);
        }
    }
}

/// What the client hears of a first flight that some change was made to.
fn answer_to(change: impl FnOnce(&mut Vec<u8>)) -> (Option<Error>, Option<Error>) {
    let server = server();
    let config = Arc::new(client(&server, suite(CipherSuite::TLS13_AES_128_GCM_SHA256)));
    let mut client = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut handshake = Handshake::new(server.config()).unwrap();
    let mut hello = sent(&mut client);
    change(&mut hello);
    handshake.incoming = hello;
    match handshake.step() {
        Ok(Step::Read) => (None, None),
        Ok(Step::Write) => (None, receive(&mut client, &handshake.outgoing).err()),
        Ok(Step::Done) => panic!("nobody has finished"),
        Err(error) => {
            handshake.take_alert();
            (Some(error), receive(&mut client, &handshake.outgoing).err())
        }
    }
}

#[test]
fn who_breaks_the_handshake_is_told() {
    assert_eq!(answer_to(|_| ()), (None, None));
    let decode_error = Some(Error::AlertReceived(AlertDescription::DecodeError));
    let (error, heard) = answer_to(|hello| hello[9..].fill(0xff));
    assert!(error.is_some() && heard == decode_error, "{error:?} {heard:?}");
    // Long before so much could have come.
    let (error, heard) = answer_to(|hello| hello[3] = 0xff);
    assert!(error.is_some() && heard == decode_error, "{error:?} {heard:?}");
    let (error, heard) = answer_to(|hello| hello.extend(b"\xff\xff\xff\xff\xff"));
    assert_eq!((error, heard), (None, None), "garbage behind a hello is met when its turn comes");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]
    #[test]
    fn a_handshake_ends_in_keys_or_an_alert_whatever_becomes_of_the_clients_part(
        who in 0_u8..3,
        sizes: [u8; 2],
        said in proptest::collection::vec(proptest::num::u8::ANY, 0..12),
    ) {
        let input = [&[who][..], &sizes, &said].concat();
        super::super::fuzz_handshake(&super::super::FuzzedHandshake::new(server()), &input);
    }
}
