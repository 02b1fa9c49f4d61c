//! The record layer against rustls' own, at both ends, and against what no honest client sends. No I/O.

mod handshake;
mod post_handshake;
mod received;

use std::{fs, io::Read as _, sync::Arc};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionTrafficSecrets, Error, ExtractedSecrets, RootCertStore,
    ServerConfig, SupportedCipherSuite,
    crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider},
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use super::{
    Tls,
    handshake::{Handshake, Step},
    record::{Opener, Sealer},
    session::{Read, ReadError, Session},
};

/// The door's own settings, with a certificate that signs itself.
fn server() -> Tls {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate_path, key_path) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    fs::write(&certificate_path, certificate.pem()).unwrap();
    fs::write(&key_path, key.serialize_pem()).unwrap();
    Tls::from_files(certificate_path, key_path).unwrap()
}

/// The suites that the door agrees to with its key.
fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    ALL_CIPHER_SUITES.iter().copied().filter(|suite| !format!("{suite:?}").contains("RSA"))
}

fn suite(name: CipherSuite) -> SupportedCipherSuite {
    ALL_CIPHER_SUITES.iter().copied().find(|suite| suite.suite() == name).unwrap()
}

fn client(server: &Tls, suite: SupportedCipherSuite) -> ClientConfig {
    let mut provider = default_provider();
    provider.cipher_suites = vec![suite];
    let version = if suite.tls13().is_some() { &TLS13 } else { &TLS12 };
    let mut roots = RootCertStore::empty();
    roots.add(server.chain().remove(0)).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config
}

/// Both ends of a connection, and what the client had sent behind its part of the handshake.
struct Pair {
    server: Session,
    behind: Vec<u8>,
    client: ClientConnection,
}

/// Shakes hands. The client's bytes come in pieces of `piece_bytes` at most, and `early` comes as soon as it may.
fn shake_hands(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    early: &[u8],
    piece_bytes: usize,
) -> Result<Pair, Error> {
    let mut client = ClientConnection::new(client, ServerName::try_from("localhost").unwrap()).unwrap();
    let mut handshake = Handshake::new(server)?;
    let (mut on_the_way, mut is_early_sent) = (Vec::new(), false);
    let mut send_early = |client: &mut ClientConnection| {
        if !client.is_handshaking() && !std::mem::replace(&mut is_early_sent, true) {
            std::io::Write::write_all(&mut client.writer(), early).unwrap();
        }
    };
    loop {
        match handshake.step()? {
            Step::Done => break,
            Step::Write => {
                receive(&mut client, &handshake.outgoing)?;
                handshake.outgoing.clear();
            }
            Step::Read => {
                send_early(&mut client);
                on_the_way.append(&mut sent(&mut client));
                assert!(!on_the_way.is_empty(), "both wait");
                let piece: Vec<u8> = on_the_way.drain(..piece_bytes.min(on_the_way.len())).collect();
                handshake.incoming.extend(piece);
            }
        }
    }
    let (server, mut behind) = handshake.finish()?;
    send_early(&mut client);
    behind.append(&mut on_the_way);
    behind.append(&mut sent(&mut client));
    Ok(Pair { server, behind, client })
}

/// Both ends of a connection that agrees on a suite.
fn pair(suite: SupportedCipherSuite) -> Pair {
    let server = server();
    shake_hands(server.config(), Arc::new(client(&server, suite)), b"", usize::MAX).unwrap()
}

/// Lets the client read records.
fn receive(client: &mut ClientConnection, mut records: &[u8]) -> Result<(), Error> {
    while !records.is_empty() {
        client.read_tls(&mut records).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// The records that the client has to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut records).unwrap();
    }
    records
}

/// Seals data, in as many rounds as it takes.
fn seal(server: &mut Session, data: &[u8]) -> Vec<u8> {
    let mut gather = super::gather::Gather::from(data);
    let (mut records, mut out) = (Vec::new(), vec![0; 40_000]);
    while gather.left() > 0 {
        let sealed = server.seal(&mut gather, &mut out).unwrap();
        records.extend_from_slice(&out[..sealed]);
    }
    records
}

/// All that the client understands of these records.
fn understood(client: &mut ClientConnection, mut records: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while !records.is_empty() {
        client.read_tls(&mut records).unwrap();
        let state = client.process_new_packets().unwrap();
        let start = data.len();
        data.resize(start + state.plaintext_bytes_to_read(), 0);
        client.reader().read_exact(&mut data[start..]).unwrap();
    }
    data
}

/// What came of reading records to their end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    data: Vec<u8>,
    is_closed: bool,
    /// What the server has to say to it.
    answers: Vec<u8>,
}

/// Reads all the records.
fn hear(server: &mut Session, records: &[u8]) -> Result<Heard, ReadError> {
    let (mut heard, mut records) = (Heard::default(), records.to_vec());
    loop {
        match server.read(&mut records, &mut heard.answers)? {
            Read::Data { plain, record_bytes } => {
                heard.data.extend_from_slice(&records[plain]);
                records.drain(..record_bytes);
            }
            Read::Done(record_bytes) => {
                records.drain(..record_bytes);
            }
            Read::Closed => return Ok(Heard { is_closed: true, ..heard }),
            Read::Incomplete => {
                assert_eq!(records, b"", "the end of a record is missing");
                return Ok(heard);
            }
        }
    }
}

/// A client that says whatever a test wants, properly sealed.
struct Rogue {
    sealer: Sealer,
    opener: Opener,
}

impl Rogue {
    /// Takes the place of a client.
    fn take_over(client: ClientConnection) -> Self {
        let suite = client.negotiated_cipher_suite().unwrap();
        let ExtractedSecrets { tx, rx } = client.dangerous_extract_secrets().unwrap();
        Self::of_secrets(suite, tx, rx)
    }

    fn of_secrets(
        suite: SupportedCipherSuite,
        tx: (u64, ConnectionTrafficSecrets),
        rx: (u64, ConnectionTrafficSecrets),
    ) -> Self {
        let version = suite.version().version;
        Self { sealer: Sealer::new(suite, tx).unwrap(), opener: Opener::new(version, rx).unwrap() }
    }

    fn seal(&mut self, kind: rustls::ContentType, content: &[u8]) -> Vec<u8> {
        let mut out = vec![0; content.len() + 100];
        let sealed = self.sealer.seal(kind, &mut content.into(), &mut out).unwrap();
        out.truncate(sealed);
        out
    }

    /// The one record that the server has sent.
    fn open(&mut self, record: &[u8]) -> (rustls::ContentType, Vec<u8>) {
        let mut record = record.to_vec();
        let opened = self.opener.open(&mut record).unwrap().unwrap();
        assert_eq!(opened.record_bytes, record.len());
        (opened.kind, record[opened.plain].to_vec())
    }
}

/// Both ends, the client's being a rogue's.
fn rogue_pair(suite: SupportedCipherSuite) -> (Session, Rogue) {
    let Pair { server, client, .. } = pair(suite);
    (server, Rogue::take_over(client))
}
