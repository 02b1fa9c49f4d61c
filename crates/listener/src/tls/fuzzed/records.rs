//! For the fuzzer and a test: whatever comes, and in whatever pieces, nothing is read but what the client sealed, in its
//! order, up to the first record that is not as it was sealed.

use std::rc::Rc;

use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, SupportedCipherSuite,
    crypto::{aws_lc_rs::ALL_CIPHER_SUITES, cipher::Iv},
};

use super::super::{
    buffers::Received,
    record::{MAX_OVERHEAD_BYTES, Opener, Sealer},
    session::{Read, Session},
};

/// One of each layout and cipher, of those whose keys have 32 bytes.
const SUITES: [CipherSuite; 4] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// What a client has sent.
#[derive(Default)]
struct Sent {
    bytes: Vec<u8>,
    /// The application data in it, up to where it was spoilt.
    data: Vec<u8>,
    is_spoilt: bool,
    /// There is nothing in it but application data.
    is_plain: bool,
}

/// Reads what `input` tells: a suite, the sizes of the pieces that come, and what is sent: each time what it is, its length,
/// and its bytes.
///
/// # Panics
///
/// Where something is read that was not sealed, or lost that was.
pub fn read_records(input: &[u8]) {
    let &[suite, small, large, ref said @ ..] = input else { return };
    let name = SUITES.iter().cycle().nth(suite.into());
    let Some(suite) = ALL_CIPHER_SUITES.iter().find(|suite| Some(&suite.suite()) == name) else { return };
    let sent = say(*suite, said);
    let mut pieces = [usize::from(small).max(1), usize::from(large) * 100 + 1].into_iter().cycle();
    let (data, is_whole) = hear(*suite, &sent.bytes, &mut pieces);
    assert!(sent.data.starts_with(&data), "something was read that was not sealed");
    assert!(!sent.is_plain || (is_whole && data == sent.data), "something was lost");
}

fn secrets(suite: SupportedCipherSuite) -> (u64, ConnectionTrafficSecrets) {
    let (key, iv) = ([1; 32].into(), Iv::new([2; 12]));
    let is_chacha = format!("{suite:?}").contains("CHACHA");
    (
        0,
        if is_chacha {
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }
        } else {
            ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        },
    )
}

fn say(suite: SupportedCipherSuite, mut said: &[u8]) -> Sent {
    let mut sealer = Sealer::new(suite, secrets(suite)).expect("a key of the suite's length");
    let mut sent = Sent { is_plain: true, ..Sent::default() };
    while let &[what, length, ref rest @ ..] = said {
        let (content, rest) = rest.split_at(usize::from(length).min(rest.len()));
        said = rest;
        let mut out = vec![0; content.len() + MAX_OVERHEAD_BYTES];
        let mut seal = |kind: ContentType| {
            let sealed = sealer.seal(kind, &mut content.into(), &mut out).expect("a key that is not used up");
            out.truncate(sealed);
            out.clone()
        };
        match what % 4 {
            0 => {
                sent.bytes.extend(seal(ContentType::ApplicationData));
                sent.add(content);
                // So many are refused in a row.
                sent.is_plain &= !content.is_empty();
            }
            // Any type. In TLS 1.3 that of 0 is padding, and the type stands before it.
            1 => {
                sent.is_plain = false;
                sent.bytes.extend(seal(ContentType::from(what / 4)));
                let inner = [content, &[what / 4]].concat();
                let end = inner.iter().rposition(|byte| *byte != 0);
                match end.and_then(|end| inner.get(..end).zip(inner.get(end))) {
                    Some((data, 23)) if suite.tls13().is_some() => sent.add(data),
                    _ if what / 4 == 23 => sent.add(content),
                    _ => {}
                }
            }
            2 if content.is_empty() => {}
            2 => {
                sent.bytes.extend(content);
                sent.spoil();
            }
            _ => {
                let mut record = seal(ContentType::ApplicationData);
                let at = usize::from(what / 4) % record.len();
                if let Some(byte) = record.get_mut(at) {
                    *byte ^= 1 << (length % 8);
                }
                sent.bytes.extend(record);
                sent.spoil();
            }
        }
    }
    sent
}

impl Sent {
    fn add(&mut self, data: &[u8]) {
        if !self.is_spoilt {
            self.data.extend(data);
        }
    }

    fn spoil(&mut self) {
        self.is_spoilt = true;
        self.is_plain = false;
    }
}

/// What is read, and whether all was.
fn hear(suite: SupportedCipherSuite, mut coming: &[u8], pieces: &mut impl Iterator<Item = usize>) -> (Vec<u8>, bool) {
    let key = |_| "a key of the suite's length";
    let sealer = Sealer::new(suite, secrets(suite)).map_err(key);
    let opener = Opener::new(suite.version().version, secrets(suite)).map_err(key);
    let (Ok(sealer), Ok(opener)) = (sealer, opener) else { return (Vec::new(), false) };
    let mut session = Session::of_keys(sealer, opener);
    let mut received = Received::new(Rc::default(), Vec::new());
    let (mut data, mut answers) = (Vec::new(), Vec::new());
    loop {
        match session.read(received.records_mut(), &mut answers) {
            Ok(Read::Data { plain, record_bytes }) => {
                received.opened(plain, record_bytes);
                // Half of it now, half after a pause.
                let half = received.plain().len() / 2;
                for part in [half, usize::MAX] {
                    let taken = part.min(received.plain().len());
                    data.extend(received.plain().get(..taken).unwrap_or_default());
                    received.consume(taken);
                    received.park();
                }
            }
            Ok(Read::Done(record_bytes)) => received.skip(record_bytes),
            Ok(Read::Incomplete) => {
                received.park();
                let room = received.room();
                let bytes = pieces.next().unwrap_or(1).min(coming.len()).min(room.len());
                let (piece, rest) = coming.split_at(bytes);
                let Some(front) = room.get_mut(..bytes) else { return (data, false) };
                front.copy_from_slice(piece);
                received.received(bytes);
                coming = rest;
                if bytes == 0 {
                    return (data, received.records_mut().is_empty());
                }
            }
            Ok(Read::Closed) => return (data, false),
            Err(error) => {
                session.end(&error, &mut answers);
                return (data, false);
            }
        }
    }
}
