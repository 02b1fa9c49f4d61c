//! A client behind a proxy is where the proxy says, if the proxy is one that is trusted; and nobody else says anything.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "in a test a panic is the message"
)]

mod support;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, Once},
    time::{Duration, Instant},
};

use carillon_access::quota::{Mode, Most, Quotas};
use carillon_listener::{
    gate::Rules,
    proxies::{Proxies, ProxyProtocol},
    quota::Scopes,
};
use carillon_metrics::HandshakeFailure;
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use socket2::{Domain, Socket, Type};
use support::{
    Broker, PATIENCE, Said, anonymous_may_do_everything, client_config, eventually, read_head, settings,
    upgrade_request,
};

const LOOPBACK: &str = "127.0.0.0/8";
const ELSEWHERE: &str = "192.0.2.0/24";

type TlsClient = StreamOwned<ClientConnection, TcpStream>;

fn behind(trusted: &str, protocol: ProxyProtocol) -> Broker {
    log();
    let mut settings = settings();
    settings.proxies = Proxies { trusted: vec![trusted.parse().unwrap()], protocol };
    Broker::start(settings)
}

/// A PROXY header of version 2 for a client with this IPv4 address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[127, 0, 0, 1], &[0x9c, 0x40], &[0x20, 0xfb]].concat();
    header_with(0x21, 0x11, &addresses)
}

fn header_with(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([version_and_command, family]);
    bytes.extend((block.len() as u16).to_be_bytes());
    bytes.extend(block);
    bytes
}

fn tls_over(broker: &Broker, tcp: TcpStream) -> TlsClient {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(client_config(&broker.tls), name).unwrap(), tcp)
}

/// Becomes a WebSocket; what the broker's log says of it is then written.
fn upgrade(mut stream: TlsClient, headers: &str) -> TlsClient {
    stream.write_all(upgrade_request(headers).as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// A socket from an address of this test's own, all of which are loopback.
fn tcp_from(broker: &Broker, address: [u8; 4]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&broker.address.into()).unwrap();
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

fn open_behind(broker: &Broker, proxy_header: &[u8]) -> TlsClient {
    let mut tcp = broker.tcp();
    tcp.write_all(proxy_header).unwrap();
    upgrade(tls_over(broker, tcp), "")
}

/// The broker ends this connection, without having said anything.
fn assert_refused(mut tcp: TcpStream) {
    let mut rest = Vec::new();
    match tcp.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    assert!(rest.is_empty(), "{rest:?}");
}

fn failures(broker: &Broker, reason: HandshakeFailure) -> u64 {
    broker.count(|shard| shard.handshake_failures.of(reason).get())
}

/// What the brokers of this program have logged. Each test looks for an address or a text of its own.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn log() {
    static ONCE: Once = Once::new();
    struct Writer;
    impl Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            LOG.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    ONCE.call_once(|| {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).with_writer(|| Writer).init();
    });
}

fn lines_with(text: &str) -> Vec<String> {
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

fn assert_logged(texts: &[&str]) {
    eventually(&texts.join(" "), || {
        lines_with(texts[0]).iter().any(|line| texts.iter().all(|text| line.contains(text)))
    });
}

#[test]
fn a_proxy_header_tells_the_address_and_the_handshake_follows_it() {
    let broker = behind(LOOPBACK, ProxyProtocol::ProxyV2);
    let _stream = open_behind(&broker, &header([203, 0, 113, 1]));
    assert_logged(&["address=203.0.113.1 peer=127.0.0.1", "open"]);

    let client = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let with_tlvs = [&client[..], &[0; 16], &[1, 2, 3, 4], &[0x04, 0, 3, b'a', b'b', b'c']].concat();
    let _stream = open_behind(&broker, &header_with(0x21, 0x21, &with_tlvs));
    assert_logged(&["address=2001:db8::1 peer=127.0.0.1", "open"]);
}

#[test]
fn connections_of_the_proxy_itself_have_its_address() {
    let broker = behind(LOOPBACK, ProxyProtocol::ProxyV2);
    for (proxy, header) in [(41, header_with(0x20, 0, &[])), (42, header_with(0x21, 0, &[9; 20]))] {
        let mut tcp = tcp_from(&broker, [127, 0, 0, proxy]);
        tcp.write_all(&header).unwrap();
        let _stream = upgrade(tls_over(&broker, tcp), "");
        assert_logged(&[&format!("address=127.0.0.{proxy} peer=127.0.0.{proxy}"), "open"]);
    }
    assert_eq!(failures(&broker, HandshakeFailure::ProxyHeader), 0);
}

#[test]
fn a_header_and_what_follows_may_come_byte_by_byte() {
    let broker = behind(LOOPBACK, ProxyProtocol::ProxyV2);
    let mut tcp = broker.tcp();
    for byte in header([203, 0, 113, 2]) {
        tcp.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let _stream = upgrade(tls_over(&broker, tcp), "");
    assert_logged(&["address=203.0.113.2"]);
}

#[test]
fn a_header_from_elsewhere_is_no_tls() {
    let broker = behind(ELSEWHERE, ProxyProtocol::ProxyV2);
    let mut tcp = broker.tcp();
    tcp.write_all(&header([203, 0, 113, 3])).unwrap();
    assert_refused(tcp);
    eventually("the count", || failures(&broker, HandshakeFailure::PlainText) == 1);
    // Whoever is not behind a proxy sends none.
    let _stream = upgrade(broker.tls_stream(), "");
    assert!(lines_with("203.0.113.3").is_empty());
}

#[test]
fn a_trusted_proxy_must_send_a_header_that_is_understood() {
    let broker = behind(LOOPBACK, ProxyProtocol::ProxyV2);
    let cases: [(&[u8], &str); 7] = [
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "starts with TLS"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "something else"),
        (b"PROXY TCP4 203.0.113.4 127.0.0.1 1 2\r\n", "version 1"),
        (b"\r\n\r\n\0\r\nQUIT\r\n\r\n", "something else"),
        (&header_with(0x21, 0x31, &[0; 216]), "0x31"),
        (&header_with(0x21, 0x11, &[0; 1009]), "1025 bytes long"),
        (&header_with(0x21, 0x11, &[0; 11]), "need 12"),
    ];
    for (index, (bytes, reason)) in cases.iter().enumerate() {
        let mut tcp = broker.tcp();
        // It may be refused before all of it is written.
        let _ = tcp.write_all(bytes);
        assert_refused(tcp);
        eventually("the count", || failures(&broker, HandshakeFailure::ProxyHeader) == index as u64 + 1);
        assert_logged(&[reason, "PROXY header"]);
    }
}

#[test]
fn a_trusted_proxy_that_says_nothing_is_refused_in_time_and_told_what_to_set() {
    log();
    let mut settings = settings();
    settings.proxies = Proxies { trusted: vec![LOOPBACK.parse().unwrap()], protocol: ProxyProtocol::ProxyV2 };
    settings.deadlines.tls_handshake = Duration::from_secs(1);
    let broker = Broker::start(settings);
    let began = Instant::now();
    let mut slow = broker.tcp();
    slow.write_all(&header([203, 0, 113, 5])[..20]).unwrap();
    assert_refused(slow);
    assert!(began.elapsed() >= Duration::from_secs(1));
    eventually("the count", || failures(&broker, HandshakeFailure::ProxyHeader) == 1);
    assert_logged(&["deadlines.tls_handshake_seconds", "send-proxy-v2", "WARN"]);

    // Header and handshake have one deadline together.
    let mut tcp = broker.tcp();
    tcp.write_all(&header([203, 0, 113, 6])).unwrap();
    assert_refused(tcp);
    eventually("the count", || failures(&broker, HandshakeFailure::TlsTimeout) == 1);
    assert_logged(&["address=203.0.113.6", "tls_timeout"]);
}

#[test]
fn a_port_check_is_nothing_to_warn_of() {
    let broker = behind(LOOPBACK, ProxyProtocol::ProxyV2);
    drop(broker.tcp());
    eventually("the count", || failures(&broker, HandshakeFailure::ProxyHeader) == 1);
    assert_logged(&["without a byte", "DEBUG"]);
}

#[test]
fn headers_of_a_request_tell_the_address_where_their_sender_is_trusted() {
    for (protocol, right, wrong, number) in [
        (ProxyProtocol::XForwardedFor, "X-Forwarded-For", "Forwarded", 10),
        (ProxyProtocol::Forwarded, "Forwarded", "X-Forwarded-For", 20),
    ] {
        let entry = |name: &str, last: u8| {
            let node = if name == "Forwarded" { "for=" } else { "" };
            format!("{name}: 198.51.100.{last}, \"\r\n{name}: {node}203.0.113.{last}\r\n")
        };
        let broker = behind("127.0.0.1", protocol);
        let _stream = upgrade(broker.tls_stream(), &(entry(right, number) + &entry(wrong, number + 1)));
        assert_logged(&[&format!("address=203.0.113.{number} peer=127.0.0.1"), "open"]);

        let elsewhere = behind(ELSEWHERE, protocol);
        let tcp = tcp_from(&elsewhere, [127, 0, 0, number + 2]);
        let _stream = upgrade(tls_over(&elsewhere, tcp), &entry(right, number + 2));
        assert_logged(&[&format!("address=127.0.0.{last} peer=127.0.0.{last}", last = number + 2), "open"]);
        for other in [number + 1, number + 2] {
            assert!(lines_with(&format!("203.0.113.{other}")).is_empty());
        }
    }
}

#[test]
fn a_request_that_is_refused_is_logged_with_its_clients_address() {
    let broker = behind(LOOPBACK, ProxyProtocol::XForwardedFor);
    let mut stream = broker.tls_stream();
    let headers = "X-Forwarded-For: 203.0.113.30\r\nOrigin: https://evil.example\r\n";
    stream.write_all(upgrade_request(headers).as_bytes()).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 403 "));
    drop(stream);
    assert_logged(&["address=203.0.113.30", "reason=\"origin\""]);
}

/// Where each client may have one connection.
fn one_each(protocol: ProxyProtocol) -> Broker {
    let one = Quotas { connections: Some(Most { most: 1, mode: Mode::Enforce }), ..Quotas::default() };
    let scopes = Scopes { address: Arc::new(one), ..Scopes::default() };
    let rules = Rules { quotas: Arc::new(scopes), ..anonymous_may_do_everything() };
    let mut settings = settings();
    settings.proxies = Proxies { trusted: vec![LOOPBACK.parse().unwrap()], protocol };
    Broker::start_behind(settings, 1, rules)
}

#[test]
fn clients_behind_one_proxy_have_quotas_of_their_own() {
    let broker = one_each(ProxyProtocol::ProxyV2);
    let _first = open_behind(&broker, &header([203, 0, 113, 51]));
    let _other = open_behind(&broker, &header([203, 0, 113, 52]));
    let mut second = broker.tcp();
    second.write_all(&header([203, 0, 113, 51])).unwrap();
    assert_refused(second);
    eventually("the count", || failures(&broker, HandshakeFailure::QuotaExceeded) == 1);

    // Here the address is known only when the connection is a WebSocket, so that it can be told.
    let broker = one_each(ProxyProtocol::XForwardedFor);
    let mut first = broker.websocket_with("X-Forwarded-For: 203.0.113.53\r\n");
    first.connect();
    let mut other = broker.websocket_with("X-Forwarded-For: 203.0.113.54\r\n");
    other.connect();
    let mut second = broker.websocket_with("X-Forwarded-For: 203.0.113.53\r\n");
    assert!(matches!(second.connect_with(None), Said::Error { code: 203, .. }));
    assert_eq!(second.until_close().1.unwrap().0, 4104);
    first.ping();
}
