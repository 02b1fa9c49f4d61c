//! The client over real TLS on loopback: certificates, and servers that are none.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::PrivateKeyDer,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::peer::{Peer, Said, delivery, ok};
use crate::{Client, ConnectError, Event, SubscribeOptions};

/// A listening server and the authority that signed its certificate.
struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ca_pem: String,
}

impl Server {
    /// Its certificate is good for these names.
    async fn start(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::signed_by("authority", names, change).await
    }

    async fn signed_by(authority_name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.distinguished_name.push(DnType::CommonName, authority_name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            ca_pem: authority.pem(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn url(&self) -> String {
        format!("wss://localhost:{}", self.address().port())
    }

    async fn accept(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let (socket, _) = self.listener.accept().await?;
        self.acceptor.accept(socket).await
    }

    /// What a client makes of the TLS handshake.
    async fn refused(&self, ca_pem: &str) -> String {
        let connecting = Client::builder(self.url()).ca_pem(ca_pem).connect();
        let (outcome, _) = tokio::join!(connecting, self.accept());
        match outcome.unwrap_err() {
            error @ ConnectError::Tls { .. } => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn publishes_and_receives_over_tls() {
    let server = Server::start(&["localhost"], |_| {}).await;
    let script = async {
        let (mut peer, token) = Peer::welcome(server.accept().await.unwrap()).await;
        assert_eq!(token.as_deref(), Some("secret"));
        peer.accept_subscription("a.*").await;
        let Said::Publish { id: Some(id), topic, payload } = peer.hear().await else { panic!() };
        peer.say(&[ok(id), delivery(&topic, &payload)]).await;
        assert!(matches!(peer.hear().await, Said::Unsubscribe { .. }));
        peer.part().await;
    };
    let application = async {
        let client = Client::builder(server.url()).ca_pem(&*server.ca_pem).token("secret").connect().await.unwrap();
        let mut subscription = client.subscribe("a.*", SubscribeOptions::default()).await.unwrap();
        client.publish_acknowledged("a.b", vec![7; 900]).await.unwrap();
        match subscription.next().await {
            Some(Event::Message(message)) => assert_eq!(message.payload()[..], [7; 900]),
            other => panic!("{other:?}"),
        }
        drop(subscription);
        client.close().await.unwrap();
    };
    tokio::join!(application, script);
}

#[tokio::test]
async fn an_unknown_authority_is_told_with_what_to_do() {
    let server = Server::start(&["localhost"], |_| {}).await;
    for (name, advice) in [("another", "as CA file"), ("authority", "another key")] {
        let other = Server::signed_by(name, &["localhost"], |_| {}).await;
        let error = server.refused(&other.ca_pem).await;
        assert!(error.contains(advice), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_host_is_told_as_such() {
    let server = Server::start(&["elsewhere.test"], |_| {}).await;
    let error = server.refused(&server.ca_pem).await;
    assert!(error.contains("elsewhere.test") && error.contains("use a host name"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_told_as_such() {
    let server = Server::start(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    })
    .await;
    let error = server.refused(&server.ca_pem).await;
    assert!(error.contains("new certificate"), "{error}");
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_told_as_such() {
    let server = Server::start(&["localhost"], |_| {}).await;
    let plain = async {
        let (mut socket, _) = server.listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    };
    let connecting = Client::builder(server.url()).ca_pem(&*server.ca_pem).connect();
    let (outcome, _socket) = tokio::join!(connecting, plain);
    assert!(outcome.unwrap_err().to_string().contains("does not speak TLS"));
}

#[tokio::test]
async fn nobody_listening_is_told_with_the_address() {
    let server = Server::start(&["localhost"], |_| {}).await;
    let (url, ca_pem, port) = (server.url(), server.ca_pem.clone(), server.address().port());
    drop(server);
    let error = Client::builder(url).ca_pem(ca_pem).connect().await.unwrap_err();
    assert!(matches!(&error, ConnectError::Tcp { address, .. } if *address == format!("localhost:{port}")), "{error}");
}

#[tokio::test]
async fn files_that_hold_no_authority_are_refused_before_anything_is_sent() {
    let connect = |pem: &str| Client::builder("wss://localhost:1").ca_pem(pem).connect();
    for pem in ["", "no pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let error = connect(pem).await.unwrap_err();
        assert!(matches!(error, ConnectError::NoTrust { .. }) && !error.is_temporary(), "{error}");
    }
    let missing = Client::builder("wss://localhost:1").ca_file("/nowhere/ca.pem").connect().await.unwrap_err();
    assert!(matches!(&missing, ConnectError::CaFile { .. }), "{missing}");
    assert!(missing.to_string().contains("/nowhere/ca.pem"));
}

/// A server that takes clients with a certificate of `authority` alone.
async fn server_for(
    authority: &CertifiedIssuer<'static, KeyPair>,
    version: &'static SupportedProtocolVersion,
) -> Server {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    Server {
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        acceptor: TlsAcceptor::from(Arc::new(config)),
        ca_pem: authority.pem(),
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A client certificate and its key.
fn issued(
    authority: &CertifiedIssuer<'static, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    change(&mut params);
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_what_the_broker_says_of_it_is_told() {
    let (ca, other) = (authority("authority"), authority("another"));
    let good = issued(&ca, |_| {});
    let refused: [(_, &str); 4] = [
        (None, "takes no client without a certificate"),
        (Some(issued(&other, |_| {})), "does not know the authority"),
        (Some(issued(&ca, |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1))), "has run out"),
        (
            Some(issued(&ca, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
            "not made for clients",
        ),
    ];
    for version in [&TLS12, &TLS13] {
        let server = server_for(&ca, version).await;
        let builder = || Client::builder(server.url()).ca_pem(&*server.ca_pem);
        let script = async {
            let (peer, _) = Peer::welcome(server.accept().await.unwrap()).await;
            peer.part().await;
        };
        let application = async {
            let client = builder().client_certificate_pem(&*good.0, &*good.1).connect().await.unwrap();
            client.close().await.unwrap();
        };
        tokio::join!(application, script);

        for (shown, expected) in &refused {
            let turn_away = async {
                let (socket, _) = server.listener.accept().await.unwrap();
                let (_, mut socket) = server.acceptor.accept(socket).into_fallible().await.err().unwrap();
                // As long as the client may still be sending, so that no reset overtakes the alert.
                let _ = socket.read_to_end(&mut Vec::new()).await;
            };
            let builder = match shown {
                Some((certificate, key)) => builder().client_certificate_pem(&**certificate, &**key),
                None => builder(),
            };
            let (outcome, ()) = tokio::join!(builder.connect(), turn_away);
            let error = outcome.unwrap_err();
            assert!(matches!(error, ConnectError::Tls { .. }), "{version:?}: {error:?}");
            assert!(error.to_string().contains(expected), "{version:?}: {error}");
        }
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_shown_are_told_before_anything_is_sent() {
    let ca = authority("authority");
    let ((certificate, key), (_, other_key)) = (issued(&ca, |_| {}), issued(&ca, |_| {}));
    let connect = async |certificate: &str, key: &str| {
        let builder = Client::builder("wss://localhost:1").ca_pem(ca.pem());
        let error = builder.client_certificate_pem(certificate, key).connect().await.unwrap_err();
        assert!(matches!(error, ConnectError::ClientCertificate { .. }) && !error.is_temporary(), "{error}");
        error.to_string()
    };
    assert!(connect(&certificate, &other_key).await.contains("not the key of the certificate in"));
    assert!(connect("", &key).await.contains("no `BEGIN CERTIFICATE`"));
    assert!(connect(&certificate, &certificate).await.contains("no private key"));
    let builder = Client::builder("wss://localhost:1").ca_pem(ca.pem());
    let error =
        builder.client_certificate_files("/nowhere/client.pem", "/nowhere/key.pem").connect().await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/client.pem cannot be used as this client's certificate"), "{error}");
}
