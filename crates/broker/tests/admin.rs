//! The admin listener over real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, SystemTime},
};

use carillon::{
    admin::{AdminListener, NotReady, Readiness, Settings, StartError},
    certs::DevCertificates,
    config::Secret,
};
use carillon_listener::tls::Tls;
use carillon_metrics::{BrokerMetrics, Exporter, ShardMetrics};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

const TOKEN: &str = "a-token-of-some-length";

fn loopback() -> Settings {
    Settings::new(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn start(settings: Settings) -> Result<(AdminListener, Arc<Readiness>), StartError> {
    let metrics = Arc::new(BrokerMetrics::new("0.0.0", Vec::new()));
    let readiness = Arc::new(Readiness::starting(Arc::clone(&metrics)));
    let exporter = Exporter::new(metrics, vec![Arc::new(ShardMetrics::default())]).unwrap();
    AdminListener::start(settings, exporter, Arc::clone(&readiness)).map(|admin| (admin, readiness))
}

/// What comes back for a request line with these headers, until the listener closes.
fn ask(admin: &AdminListener, line: &str, headers: &str) -> String {
    talk(TcpStream::connect(admin.address()).unwrap(), line, headers)
}

fn talk(mut stream: impl Read + Write, line: &str, headers: &str) -> String {
    write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn every_route_answers() {
    let (admin, _) = start(loopback()).unwrap();
    let metrics = ask(&admin, "GET /metrics", "");
    assert_eq!(status(&metrics), "200");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4\r\n"), "{metrics}");
    assert!(body(&metrics).contains("\ncarillon_ready 0\n"));

    assert_eq!(body(&ask(&admin, "GET /healthz", "")), "ok\n");
    let routes = ask(&admin, "GET /", "");
    assert!(["/metrics", "/healthz", "/readyz"].iter().all(|route| body(&routes).contains(route)), "{routes}");
    assert!(!body(&routes).contains("/watch"), "{routes}");
    let missing = ask(&admin, "GET /metric", "");
    assert_eq!(status(&missing), "404");
    assert!(body(&missing).contains("/metrics"));
}

#[test]
fn page_is_there_only_where_it_is_offered() {
    let (admin, _) = start(loopback()).unwrap();
    assert_eq!(status(&ask(&admin, "GET /watch", "")), "404");
    admin.offer_watch(SocketAddr::from(([127, 0, 0, 1], 18443)));
    assert!(body(&ask(&admin, "GET /", "")).contains("/watch"));
    let page = ask(&admin, "GET /watch", "");
    assert_eq!(status(&page), "200");
    assert!(page.contains("content-type: text/html; charset=utf-8\r\n"), "{page}");
    assert!(body(&page).contains("\"wss://localhost:18443/ws\""), "{page}");
    assert!(!body(&page).contains("{nonce}"), "{page}");
}

#[test]
fn page_has_a_new_nonce_each_time() {
    let (admin, _) = start(loopback()).unwrap();
    admin.offer_watch(SocketAddr::from(([127, 0, 0, 1], 18443)));
    let nonces = [(); 2].map(|()| {
        let page = ask(&admin, "GET /watch", "");
        let (_, after) = page.split_once("script-src 'nonce-").unwrap();
        let nonce = after.split('\'').next().unwrap().to_owned();
        assert_eq!(body(&page).matches(&format!("nonce=\"{nonce}\"")).count(), 2, "{page}");
        nonce
    });
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn readiness_tells_its_reasons() {
    let (admin, readiness) = start(loopback()).unwrap();
    let starting = ask(&admin, "GET /readyz", "");
    assert_eq!((status(&starting), body(&starting).starts_with("starting")), ("503", true));
    readiness.clear(&NotReady::Starting);
    let ready = ask(&admin, "GET /readyz", "");
    assert_eq!((status(&ready), body(&ready)), ("200", "ready\n"));
    assert!(ask(&admin, "GET /metrics", "").contains("\ncarillon_ready 1\n"));
    readiness.raise(NotReady::Draining);
    let draining = ask(&admin, "GET /readyz", "");
    assert_eq!((status(&draining), body(&draining).starts_with("draining")), ("503", true));
    assert!(ask(&admin, "GET /metrics", "").contains("\ncarillon_ready 0\n"));
}

#[test]
fn head_has_the_headers_and_no_body() {
    let (admin, _) = start(loopback()).unwrap();
    let answer = ask(&admin, "HEAD /healthz", "");
    assert_eq!((status(&answer), body(&answer)), ("200", ""));
    assert!(answer.contains("content-length: 3\r\n"), "{answer}");
}

#[test]
fn other_methods_are_told_which_are_allowed() {
    let (admin, _) = start(loopback()).unwrap();
    for line in ["POST /metrics", "DELETE /", "OPTIONS /readyz"] {
        let answer = ask(&admin, line, "Content-Length: 0\r\n");
        assert_eq!(status(&answer), "405", "{line}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
    assert_eq!(status(&ask(&admin, "POST /nothing", "Content-Length: 0\r\n")), "404");
}

#[test]
fn token_is_needed_on_every_route_when_there_is_one() {
    let (admin, _) = start(Settings { token: Some(Secret::new(TOKEN)), ..loopback() }).unwrap();
    for route in ["/", "/metrics", "/healthz", "/readyz", "/nothing"] {
        let answer = ask(&admin, &format!("GET {route}"), "");
        assert_eq!(status(&answer), "401", "{route}");
        assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
    }
    let with = |value: &str| {
        let answer = ask(&admin, "GET /healthz", &format!("Authorization: {value}\r\n"));
        status(&answer).to_owned()
    };
    assert_eq!(with(&format!("Bearer {TOKEN}")), "200");
    assert_eq!(with(&format!("bearer {TOKEN}")), "200");
    assert_eq!(with(TOKEN), "401");
    assert_eq!(with(&format!("Basic {TOKEN}")), "401");
    assert_eq!(with(&format!("Bearer {TOKEN}x")), "401");
    assert_eq!(with(&format!("Bearer {}", &TOKEN[1..])), "401");
    assert_eq!(with("Bearer "), "401");
}

#[test]
fn off_loopback_both_tls_and_a_token_are_needed() {
    let directory = tempfile::tempdir().unwrap();
    let files = DevCertificates::make(directory.path(), &[], SystemTime::now()).unwrap();
    let tls = Tls::from_files(&files.certificate, &files.key).unwrap();
    let everywhere = || Settings::new(SocketAddr::from(([0, 0, 0, 0], 0)));
    let refused = |settings| matches!(start(settings), Err(StartError::Open(_)));
    assert!(refused(everywhere()));
    assert!(refused(Settings { tls: Some(tls.clone()), ..everywhere() }));
    assert!(refused(Settings { token: Some(Secret::new(TOKEN)), ..everywhere() }));

    let (admin, _) = start(Settings { tls: Some(tls), token: Some(Secret::new(TOKEN)), ..everywhere() }).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", admin.address().port())).unwrap();
    let answer = talk(StreamOwned::new(client, socket), "GET /healthz", &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert_eq!((status(&answer), body(&answer)), ("200", "ok\n"));

    let mut plain = TcpStream::connect(("127.0.0.1", admin.address().port())).unwrap();
    write!(plain, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "plain text was answered");
}

/// Waits until the other side closes.
fn closed(mut stream: TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

const NEVER: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_millis(20);

#[test]
fn connection_that_sends_half_a_head_is_closed() {
    let settings = Settings { head_deadline: SOON, connection_deadline: NEVER, ..loopback() };
    let (admin, _) = start(settings).unwrap();
    let mut stream = TcpStream::connect(admin.address()).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    closed(stream);
}

#[test]
fn connection_that_says_nothing_is_closed() {
    let settings = Settings { head_deadline: SOON, connection_deadline: NEVER, ..loopback() };
    let (admin, _) = start(settings).unwrap();
    closed(TcpStream::connect(admin.address()).unwrap());
    let settings = Settings { head_deadline: NEVER, connection_deadline: SOON, ..loopback() };
    let (admin, _) = start(settings).unwrap();
    closed(TcpStream::connect(admin.address()).unwrap());
}

#[test]
fn connection_above_the_bound_is_closed_and_others_go_on() {
    let (admin, _) = start(Settings { max_connections: 1, ..loopback() }).unwrap();
    let mut first = TcpStream::connect(admin.address()).unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    // The listener accepts in order: when the second is closed, the first has its place.
    closed(TcpStream::connect(admin.address()).unwrap());
    let answer = {
        first.write_all(b"Host: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).unwrap();
        answer
    };
    assert_eq!(status(&answer), "200");
}

#[test]
fn port_in_use_is_told_with_its_address() {
    let (admin, _) = start(loopback()).unwrap();
    let told = start(Settings::new(admin.address())).err().unwrap().to_string();
    assert!(told.contains(&admin.address().to_string()) && told.contains("--admin"), "{told}");
}

#[test]
fn dropped_listener_answers_no_more() {
    let (admin, _) = start(loopback()).unwrap();
    let address = admin.address();
    drop(admin);
    assert!(TcpStream::connect(address).is_err());
}
