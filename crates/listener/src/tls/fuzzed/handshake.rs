//! For the fuzzer: whatever comes in the place of a client's part of a handshake, and in whatever pieces, it ends in keys, in
//! an alert or in waiting for more; and nothing that an honest client sends is lost.

use std::{array::IntoIter, io::Write as _, iter::Cycle, slice::ChunksExact, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use super::super::{
    Tls,
    handshake::{Handshake, MAX_INCOMING_BYTES, Step},
    session::{Read, Session},
};

/// What an honest client sends behind its part.
const BEHIND: &[u8] = b"GET /ws HTTP/1.1";
/// More rounds than any handshake has, so that one without an end is a finding.
const MAX_ROUNDS: usize = 100_000;

/// A door, and clients that trust it: one of each version of TLS.
#[derive(Debug)]
pub struct Fuzzed {
    tls: Tls,
    clients: [Arc<ClientConfig>; 2],
}

impl Fuzzed {
    /// Of a door with a certificate that signs itself, for `localhost`.
    ///
    /// # Panics
    ///
    /// Where rustls does not take the certificate.
    pub fn new(tls: Tls) -> Self {
        let client = |version| {
            let mut roots = RootCertStore::empty();
            tls.chain().into_iter().for_each(|certificate| roots.add(certificate).expect("a certificate"));
            let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
            let builder = builder.with_protocol_versions(&[version]).expect("a version that has suites");
            let mut config = builder.with_root_certificates(roots).with_no_client_auth();
            config.resumption = Resumption::disabled();
            Arc::new(config)
        };
        let clients = [client(&TLS13), client(&TLS12)];
        Self { tls, clients }
    }
}

/// Shakes hands as `input` tells: with a client of which version, or with none; the sizes of pieces; and then what comes from
/// none, or how an honest client's bytes are changed, for each of its flights where and by what. Changes that change
/// nothing leave it honest.
///
/// # Panics
///
/// Where an honest client is not let in, or loses something, or where a handshake does not end.
pub fn shake_hands(fuzzed: &Fuzzed, input: &[u8]) {
    let &[who, small, large, ref said @ ..] = input else { return };
    let pieces = [usize::from(small).max(1), usize::from(large) * 16 + 1];
    let Ok(handshake) = Handshake::new(fuzzed.tls.config()) else { return };
    let version = usize::from(who % 3).checked_sub(1);
    let Some(config) = version.and_then(|version| fuzzed.clients.get(version)) else {
        let mut pieces = pieces.into_iter().cycle();
        let mut coming = said;
        let _ = run(handshake, |_| {
            let bytes = pieces.next().unwrap_or(1).min(coming.len());
            coming.split_off(..bytes).unwrap_or_default().to_vec()
        });
        return;
    };
    let mut client = Client::new(Arc::clone(config), pieces, said);
    let shaken = run(handshake, |outgoing| client.more(outgoing));
    if client.is_honest {
        let (mut session, mut behind) = shaken.expect("an honest client is let in");
        client.speak();
        behind.append(&mut client.sent);
        let (mut data, mut answers) = (Vec::new(), Vec::new());
        while let Ok(Read::Data { plain, record_bytes }) = session.read(&mut behind, &mut answers) {
            data.extend_from_slice(behind.get(plain).unwrap_or_default());
            behind.drain(..record_bytes);
        }
        assert_eq!(data, BEHIND, "what is sent behind the handshake comes");
    }
}

/// A client whose bytes are changed on their way.
struct Client<'i> {
    tls: ClientConnection,
    /// For each flight where, and by what.
    changes: ChunksExact<'i, u8>,
    pieces: Cycle<IntoIter<usize, 2>>,
    sent: Vec<u8>,
    /// Nothing was changed.
    is_honest: bool,
    has_spoken: bool,
}

impl<'i> Client<'i> {
    fn new(config: Arc<ClientConfig>, pieces: [usize; 2], said: &'i [u8]) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        Self {
            tls: ClientConnection::new(config, name).expect("settings that were made for it"),
            changes: said.chunks_exact(3),
            pieces: pieces.into_iter().cycle(),
            sent: Vec::new(),
            is_honest: true,
            has_spoken: false,
        }
    }

    /// Hears what the server says, and gives the next piece.
    fn more(&mut self, mut outgoing: &[u8]) -> Vec<u8> {
        while !outgoing.is_empty() && self.tls.read_tls(&mut outgoing).is_ok() {
            let _ = self.tls.process_new_packets();
        }
        self.speak();
        let bytes = self.pieces.next().unwrap_or(1).min(self.sent.len());
        self.sent.drain(..bytes).collect()
    }

    /// Says what it has to say by now.
    fn speak(&mut self) {
        if !self.tls.is_handshaking() && !std::mem::replace(&mut self.has_spoken, true) {
            let _ = self.tls.writer().write_all(BEHIND);
        }
        let start = self.sent.len();
        while self.tls.wants_write() && self.tls.write_tls(&mut self.sent).is_ok() {}
        if start < self.sent.len()
            && let Some(&[high, low, by]) = self.changes.next()
            && let Some(byte) = self.sent.get_mut(start + usize::from(u16::from_be_bytes([high & 7, low])))
        {
            self.is_honest &= by == 0;
            *byte ^= by;
        }
    }
}

/// Shakes hands to the end, if it comes to one. `more` is given what the server says, and gives what comes: nothing once there
/// is no more.
fn run(mut handshake: Handshake, mut more: impl FnMut(&[u8]) -> Vec<u8>) -> Option<(Session, Vec<u8>)> {
    for _ in 0..MAX_ROUNDS {
        match handshake.step() {
            Ok(Step::Done) => {
                let piece = more(&std::mem::take(&mut handshake.outgoing));
                let (session, mut behind) = handshake.finish().ok()?;
                behind.extend(piece);
                return Some((session, behind));
            }
            Ok(Step::Write) => {}
            Ok(Step::Read) if handshake.incoming.len() >= MAX_INCOMING_BYTES => return None,
            Ok(Step::Read) => {
                let piece = more(&std::mem::take(&mut handshake.outgoing));
                if piece.is_empty() {
                    return None;
                }
                handshake.incoming.extend(piece);
            }
            Err(_) => {
                handshake.take_alert();
                return None;
            }
        }
    }
    panic!("the handshake has no end");
}
