//! Seals and opens the records of a connection whose handshake is done: TLS 1.3 (RFC 8446, section 5) and 1.2 (RFC 5246,
//! section 6.2) with AES-GCM (RFC 5288) and ChaCha20-Poly1305 (RFC 7905). No I/O, and no meaning of what is inside.

#[cfg(test)]
mod tests;

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite};

use super::gather::Gather;

/// The most plain text that one record carries.
pub(super) const MAX_PLAIN_BYTES: usize = 1 << 14;
/// The most that a sealed record has beyond its plain text: header, explicit nonce or inner type, tag.
pub(super) const MAX_OVERHEAD_BYTES: usize = HEADER_BYTES + EXPLICIT_NONCE_BYTES + TAG_BYTES;
/// The longest record that a client may send, with its header.
pub(super) const MAX_RECORD_BYTES: usize = HEADER_BYTES + MAX_PLAIN_BYTES + 2048;

const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
/// The part of the nonce that AES-GCM sends along in TLS 1.2.
const EXPLICIT_NONCE_BYTES: usize = 8;
const INNER_TYPE_BYTES: usize = 1;
/// What every record says of its version, in both versions.
const VERSION: [u8; 2] = [3, 3];
/// No sequence number comes this far: it must not wrap.
const SEQUENCE_END: u64 = u64::MAX - (1 << 16);

/// Why a record is not opened: with the alert that tells the client, and what was wrong with it for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(super) struct Refused {
    pub(super) alert: AlertDescription,
    what: &'static str,
}

impl Refused {
    pub(super) fn new(alert: AlertDescription, what: &'static str) -> Self {
        Self { alert, what }
    }
}

/// Why something cannot be sealed, or a key not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    #[error("the keys of the connection are used up")]
    UsedUp,
    #[error("the cipher refuses a key or a record")]
    Cipher,
}

/// How the parts of a record lie, and what of them is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// The type is inside, behind the plain text, and the nonce is derived.
    Tls13,
    /// The nonce is sent in part.
    Tls12Explicit,
    /// The nonce is derived.
    Tls12Derived,
}

impl Layout {
    fn explicit_nonce_bytes(self) -> usize {
        if self == Self::Tls12Explicit { EXPLICIT_NONCE_BYTES } else { 0 }
    }

    fn overhead_bytes(self) -> usize {
        let inner = if self == Self::Tls13 { INNER_TYPE_BYTES } else { 0 };
        self.explicit_nonce_bytes() + inner + TAG_BYTES
    }

    /// The longest body that RFC 8446, section 5.2, or RFC 5246, section 6.2.3, lets a record have.
    fn max_body_bytes(self) -> usize {
        MAX_PLAIN_BYTES + if self == Self::Tls13 { 256 } else { 2048 }
    }
}

/// The key of one direction, and how many records it has protected.
struct Key {
    layout: Layout,
    aead: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Key {
    fn new(version: ProtocolVersion, secrets: (u64, ConnectionTrafficSecrets)) -> Result<Self, SealError> {
        let (sequence, secrets) = secrets;
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(SealError::Cipher),
        };
        let layout = match version {
            ProtocolVersion::TLSv1_3 => Layout::Tls13,
            ProtocolVersion::TLSv1_2 if algorithm == &CHACHA20_POLY1305 => Layout::Tls12Derived,
            ProtocolVersion::TLSv1_2 => Layout::Tls12Explicit,
            _ => return Err(SealError::Cipher),
        };
        let iv = iv.as_ref().try_into().map_err(|_| SealError::Cipher)?;
        Self::from_parts(layout, algorithm, key.as_ref(), iv, sequence)
    }

    fn from_parts(
        layout: Layout,
        algorithm: &'static Algorithm,
        key: &[u8],
        iv: [u8; NONCE_LEN],
        sequence: u64,
    ) -> Result<Self, SealError> {
        let aead = UnboundKey::new(algorithm, key).map_err(|_| SealError::Cipher)?;
        Ok(Self { layout, aead: LessSafeKey::new(aead), iv, sequence })
    }

    /// The nonce of the next record, where it is derived. No two records of a key have the same sequence number.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce.iter_mut().rev().zip(self.sequence.to_be_bytes().iter().rev()) {
            *byte ^= sequence;
        }
        nonce
    }

    /// What TLS 1.2 authenticates beside the plain text.
    fn tls12_aad(&self, header: [u8; HEADER_BYTES], plain_bytes: usize) -> [u8; 13] {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = self.sequence.to_be_bytes();
        let [kind, major, minor, ..] = header;
        let [high, low] = record_length(plain_bytes);
        [s0, s1, s2, s3, s4, s5, s6, s7, kind, major, minor, high, low]
    }
}

/// A length as a header tells it. No record is longer than what fits.
fn record_length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

/// Seals records.
pub(super) struct Sealer {
    key: Key,
    /// So many records the key may protect before it gives an attacker an advantage.
    limit: u64,
}

impl Sealer {
    pub(super) fn new(
        suite: SupportedCipherSuite,
        secrets: (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, SealError> {
        let common = match suite {
            SupportedCipherSuite::Tls13(suite) => &suite.common,
            SupportedCipherSuite::Tls12(suite) => &suite.common,
        };
        let limit = common.confidentiality_limit.min(SEQUENCE_END);
        Ok(Self { key: Key::new(suite.version().version, secrets)?, limit })
    }

    /// How many records of application data the key may protect still.
    pub(super) fn records_left(&self) -> u64 {
        self.limit.saturating_sub(self.key.sequence)
    }

    #[cfg(test)]
    pub(super) fn leave_records(&mut self, records: u64) {
        self.limit = self.key.sequence + records;
    }

    /// Seals one record of what comes next, at most [`MAX_PLAIN_BYTES`], at the front of `out`. Returns its length. `out` must
    /// have room for [`MAX_OVERHEAD_BYTES`] more than the plain text.
    ///
    /// The caller keeps to [`Sealer::records_left`]; alerts may go beyond.
    pub(super) fn seal(
        &mut self,
        kind: ContentType,
        plain: &mut Gather<'_>,
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        if self.key.sequence >= SEQUENCE_END {
            return Err(SealError::UsedUp);
        }
        let layout = self.key.layout;
        let plain_bytes = plain.left().min(MAX_PLAIN_BYTES);
        let body_bytes = plain_bytes + layout.overhead_bytes();
        let outer = if layout == Layout::Tls13 { ContentType::ApplicationData } else { kind };
        let [high, low] = record_length(body_bytes);
        let header = [u8::from(outer), VERSION[0], VERSION[1], high, low];
        let nonce = self.key.nonce();

        let (head, body) = out.split_first_chunk_mut().ok_or(SealError::Cipher)?;
        *head = header;
        let body = body.get_mut(..body_bytes).ok_or(SealError::Cipher)?;
        let (explicit, body) = body.split_at_mut_checked(layout.explicit_nonce_bytes()).ok_or(SealError::Cipher)?;
        // Where it is sent, it is the derived one's end, which is unique as well.
        explicit.copy_from_slice(nonce.get(NONCE_LEN - explicit.len()..).ok_or(SealError::Cipher)?);
        if layout == Layout::Tls13 {
            self.encrypt(nonce, &header, plain, &[u8::from(kind)], body)?;
        } else {
            let aad = self.key.tls12_aad(header, plain_bytes);
            self.encrypt(nonce, &aad, plain, &[], body)?;
        }
        self.key.sequence += 1;
        Ok(HEADER_BYTES + body_bytes)
    }

    /// Encrypts what comes next, and the inner type behind it, into `body`, which ends with the tag.
    fn encrypt(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        plain: &mut Gather<'_>,
        inner_type: &[u8],
        body: &mut [u8],
    ) -> Result<(), SealError> {
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(aad));
        let aead = &self.key.aead;
        let behind_bytes = inner_type.len() + TAG_BYTES;
        let plain_bytes = body.len().checked_sub(behind_bytes).ok_or(SealError::Cipher)?;
        // Measured: a copy costs AES-GCM a tenth or more, and ChaCha20 less than a second call of it for one byte does.
        let piece = if aead.algorithm() == &CHACHA20_POLY1305 { None } else { plain.take_piece(plain_bytes) };
        let sealed = if let Some(piece) = piece {
            let (cipher, behind) = body.split_at_mut_checked(plain_bytes).ok_or(SealError::Cipher)?;
            aead.seal_out_of_place_scatter(nonce, aad, piece, cipher, inner_type, behind)
        } else {
            let (inner, tag) = body.split_at_mut_checked(plain_bytes + inner_type.len()).ok_or(SealError::Cipher)?;
            let (front, end) = inner.split_at_mut_checked(plain_bytes).ok_or(SealError::Cipher)?;
            plain.copy_to(front);
            end.copy_from_slice(inner_type);
            aead.seal_in_place_scatter(nonce, aad, inner, &[], tag)
        };
        sealed.map_err(|_| SealError::Cipher)
    }
}

/// Opens records.
pub(super) struct Opener {
    key: Key,
}

/// A record that was opened in place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) kind: ContentType,
    /// Where its plain text lies.
    pub(super) plain: Range<usize>,
    /// Its length when it came.
    pub(super) record_bytes: usize,
}

impl Opener {
    pub(super) fn new(version: ProtocolVersion, secrets: (u64, ConnectionTrafficSecrets)) -> Result<Self, SealError> {
        Ok(Self { key: Key::new(version, secrets)? })
    }

    /// Whether it is TLS 1.3.
    pub(super) fn is_tls13(&self) -> bool {
        self.key.layout == Layout::Tls13
    }

    /// Opens the record at the front of `received`, in place. `None` if it has not come whole. After an error nothing
    /// may be read any more, so that a key meets one forgery at most.
    pub(super) fn open(&mut self, received: &mut [u8]) -> Result<Option<Opened>, Refused> {
        let Some((header, behind)) = received.split_first_chunk_mut() else { return Ok(None) };
        let header: [u8; HEADER_BYTES] = *header;
        let layout = self.key.layout;
        let body_bytes = self.check(header)?;
        let Some(body) = behind.get_mut(..body_bytes) else { return Ok(None) };
        if self.key.sequence >= SEQUENCE_END {
            return Err(Refused::new(AlertDescription::InternalError, "the client has used up its key"));
        }
        let bad_mac = || Refused::new(AlertDescription::BadRecordMac, "a record is not what the client sealed");
        let (explicit, sealed) = body.split_at_mut_checked(layout.explicit_nonce_bytes()).ok_or_else(bad_mac)?;
        let cipher_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or_else(bad_mac)?;
        let (cipher, tag) = sealed.split_at_mut_checked(cipher_bytes).ok_or_else(bad_mac)?;
        let mut nonce = self.key.nonce();
        if layout == Layout::Tls12Explicit {
            let (salt, rest) = self.key.iv.split_at(NONCE_LEN - EXPLICIT_NONCE_BYTES);
            debug_assert_eq!(rest.len(), explicit.len());
            for (byte, from) in nonce.iter_mut().zip(salt.iter().chain(explicit.iter())) {
                *byte = *from;
            }
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = if layout == Layout::Tls13 {
            self.key.aead.open_in_place_separate_tag(nonce, Aad::from(&header), tag, cipher)
        } else {
            let aad = self.key.tls12_aad(header, cipher_bytes);
            self.key.aead.open_in_place_separate_tag(nonce, Aad::from(&aad), tag, cipher)
        };
        let inner = opened.map_err(|_| bad_mac())?;
        self.key.sequence += 1;
        let (kind, plain_bytes) = if layout == Layout::Tls13 { unpad(inner)? } else { (header[0].into(), inner.len()) };
        if plain_bytes > MAX_PLAIN_BYTES {
            return Err(too_long());
        }
        let start = HEADER_BYTES + layout.explicit_nonce_bytes();
        Ok(Some(Opened { kind, plain: start..start + plain_bytes, record_bytes: HEADER_BYTES + body_bytes }))
    }

    /// Checks what a header says; returns the length of what follows.
    fn check(&self, header: [u8; HEADER_BYTES]) -> Result<usize, Refused> {
        let [kind, _, _, high, low] = header;
        let is_expected = match ContentType::from(kind) {
            ContentType::ApplicationData => true,
            // In TLS 1.3 they are inside.
            ContentType::Alert | ContentType::Handshake => !self.is_tls13(),
            _ => false,
        };
        if !is_expected {
            return Err(Refused::new(AlertDescription::UnexpectedMessage, "a record has a type that none has now"));
        }
        let body_bytes = usize::from(u16::from_be_bytes([high, low]));
        if body_bytes > self.key.layout.max_body_bytes() { Err(too_long()) } else { Ok(body_bytes) }
    }
}

fn too_long() -> Refused {
    Refused::new(AlertDescription::RecordOverflow, "a record is longer than any may be")
}

/// Tells the type that stands behind the plain text, and the length of that (RFC 8446, section 5.4).
fn unpad(inner: &[u8]) -> Result<(ContentType, usize), Refused> {
    if inner.len() > MAX_PLAIN_BYTES + INNER_TYPE_BYTES {
        return Err(too_long());
    }
    let plain_bytes = inner.iter().rposition(|byte| *byte != 0);
    let found = plain_bytes.and_then(|plain_bytes| Some((ContentType::from(*inner.get(plain_bytes)?), plain_bytes)));
    found.ok_or_else(|| Refused::new(AlertDescription::UnexpectedMessage, "a record is all padding"))
}
