//! The client over real TLS on loopback: certificates, and servers that are none.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
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
