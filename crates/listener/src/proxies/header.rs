//! The binary header of the PROXY protocol, version 2 (section 2.2 of its specification).
//!
//! ```text
//! 12 bytes  signature, which no other protocol starts with
//!  1        version (2) and command: LOCAL, a connection of the proxy's own, or PROXY, one for a client
//!  1        address family and transport
//!  2        bytes that follow, big-endian
//!           source address, destination address, source port, destination port
//!           TLVs: more about the connection, passed over here
//! ```
//!
//! Version 1, which is text, is not spoken: it has no length, so that a reader would have to look for its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What comes before the addresses.
const FIXED_BYTES: usize = 16;
/// The longest header that is taken. Addresses need 52 bytes; names, ciphers and unique ids that proxies add to them
/// have room, and whole certificates do not.
pub const MAX_HEADER_BYTES: usize = 1024;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const SIGNATURE_V1: [u8; 6] = *b"PROXY ";
/// The first byte of a TLS connection: the content type of a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE_RECORD: u8 = 22;

const VERSION_2: u8 = 0x20;
const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// What a header says of who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The proxy itself, to see whether this end is alive; or somebody of whom the proxy cannot tell.
    Proxy,
    /// A client at this address. Never IPv4 mapped into IPv6.
    Client(IpAddr),
}

/// How far the first bytes of a connection can be read as a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// So many bytes are needed in all, or more; not more than [`MAX_HEADER_BYTES`]. Whatever lies behind is not the
    /// header's.
    Incomplete(usize),
    /// The header is whole: the bytes up to here are its own.
    Whole {
        /// The length of the header.
        length: usize,
        /// What it says.
        source: Source,
    },
}

/// Why bytes are no header. It is for the log, so that the proxy can be set right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// TLS, or anything else that is not a header.
    #[error(
        "it starts with TLS and no PROXY header; let the proxy send PROXY protocol version 2 (HAProxy: send-proxy-v2)"
    )]
    Tls,
    /// Neither a header nor TLS.
    #[error(
        "it starts with something else than a PROXY header; let the proxy send PROXY protocol version 2 (HAProxy: send-proxy-v2)"
    )]
    Signature,
    /// The text form.
    #[error(
        "the proxy sends PROXY protocol version 1, and only version 2 is understood (HAProxy: send-proxy-v2 for send-proxy)"
    )]
    Version1,
    /// A version that did not exist when this was written.
    #[error("the PROXY header has version {0}, and only version 2 is understood")]
    Version(u8),
    /// A command that did not exist when this was written.
    #[error("the PROXY header has command {0}, and only LOCAL (0) and PROXY (1) are understood")]
    Command(u8),
    /// UDP, a socket of the proxy's machine, or nothing that was defined.
    #[error(
        "the PROXY header is for family and transport {0:#04x}, and only TCP over IPv4 (0x11) or IPv6 (0x21) comes here"
    )]
    Family(u8),
    /// Fewer bytes than the addresses need.
    #[error("the PROXY header says that {found} bytes follow, and its addresses need {least}")]
    TooShort {
        /// The length in the header.
        found: usize,
        /// The length of the addresses.
        least: usize,
    },
    /// More bytes than are taken.
    #[error(
        "the PROXY header is {0} bytes long, and {MAX_HEADER_BYTES} are taken; let the proxy send fewer TLVs, and no certificates"
    )]
    TooLong(usize),
}

/// Reads a header from the first bytes of a connection. It is refused as early as it can be known to be none.
///
/// ```
/// use carillon_listener::proxies::header::{Decoded, Source, decode};
///
/// let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
/// assert_eq!(decode(&bytes), Ok(Decoded::Incomplete(28)));
/// bytes.extend([192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x01, 0xbb]);
/// let source = Source::Client([192, 0, 2, 7].into());
/// assert_eq!(decode(&bytes), Ok(Decoded::Whole { length: 28, source }));
/// ```
pub fn decode(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    check_signature(bytes)?;
    let Some((&[version_and_command, family, length_high, length_low], behind)) =
        bytes.get(SIGNATURE.len()..).and_then(<[u8]>::split_first_chunk)
    else {
        return Ok(Decoded::Incomplete(FIXED_BYTES));
    };
    if version_and_command & 0xf0 != VERSION_2 {
        return Err(HeaderError::Version(version_and_command >> 4));
    }
    let follow = usize::from(u16::from_be_bytes([length_high, length_low]));
    let length = FIXED_BYTES + follow;
    if length > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLong(length));
    }
    let addresses = match (version_and_command & 0x0f, family) {
        // Whatever follows is not to be looked at.
        (LOCAL, _) | (PROXY, UNSPECIFIED) => Addresses::None,
        (PROXY, TCP_OVER_IPV4) => Addresses::V4,
        (PROXY, TCP_OVER_IPV6) => Addresses::V6,
        (PROXY, other) => return Err(HeaderError::Family(other)),
        (other, _) => return Err(HeaderError::Command(other)),
    };
    let least = addresses.bytes();
    if follow < least {
        return Err(HeaderError::TooShort { found: follow, least });
    }
    match behind.get(..follow).and_then(|block| addresses.source(block)) {
        Some(source) => Ok(Decoded::Whole { length, source }),
        None => Ok(Decoded::Incomplete(length)),
    }
}

fn check_signature(bytes: &[u8]) -> Result<(), HeaderError> {
    let starts_like = |signature: &[u8]| bytes.iter().zip(signature).all(|(found, expected)| found == expected);
    if starts_like(&SIGNATURE) {
        return Ok(());
    }
    if starts_like(&SIGNATURE_V1) {
        return Err(HeaderError::Version1);
    }
    Err(if bytes.first() == Some(&TLS_HANDSHAKE_RECORD) { HeaderError::Tls } else { HeaderError::Signature })
}

/// What stands in front of the TLVs.
#[derive(Clone, Copy)]
enum Addresses {
    None,
    V4,
    V6,
}

impl Addresses {
    /// Two addresses and two ports.
    fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::V4 => 2 * 4 + 2 * 2,
            Self::V6 => 2 * 16 + 2 * 2,
        }
    }

    /// The first of the addresses; `None` where the block does not hold it.
    fn source(self, block: &[u8]) -> Option<Source> {
        let address = match self {
            Self::None => return Some(Source::Proxy),
            Self::V4 => IpAddr::V4(Ipv4Addr::from(*block.first_chunk::<4>()?)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from(*block.first_chunk::<16>()?)),
        };
        Some(Source::Client(address.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header with whatever bytes.
    fn header(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_and_command, family]);
        bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend(block);
        bytes
    }

    fn block(source: IpAddr, tlvs: &[u8]) -> (u8, Vec<u8>) {
        let (family, mut block) = match source {
            IpAddr::V4(source) => (TCP_OVER_IPV4, [source.octets(), [198, 51, 100, 1]].concat()),
            IpAddr::V6(source) => (TCP_OVER_IPV6, [source.octets(), [0xfd; 16]].concat()),
        };
        block.extend([0x9c, 0x40, 0x01, 0xbb]);
        block.extend(tlvs);
        (family, block)
    }

    #[test]
    fn connections_of_the_proxy_itself_have_no_client() {
        for (version_and_command, family) in [(0x20, 0x00), (0x20, 0x11), (0x20, 0x31), (0x20, 0xff), (0x21, 0x00)] {
            for follow in [0, 1, 12, 200] {
                let bytes = header(version_and_command, family, &vec![0xff; follow]);
                let whole = Decoded::Whole { length: 16 + follow, source: Source::Proxy };
                assert_eq!(decode(&bytes), Ok(whole), "{version_and_command:#x} {family:#x}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_it_is() {
        let (tcp, addresses) = block([192, 0, 2, 7].into(), &[]);
        for (bytes, expected) in [
            (b"\x16\x03\x01".to_vec(), HeaderError::Tls),
            (b"GET / HTTP/1.1\r\n".to_vec(), HeaderError::Signature),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), HeaderError::Signature),
            (b"\r\n\n".to_vec(), HeaderError::Signature),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n".to_vec(), HeaderError::Version1),
            (b"POST".to_vec(), HeaderError::Signature),
            (header(0x11, tcp, &addresses), HeaderError::Version(1)),
            (header(0x31, tcp, &addresses), HeaderError::Version(3)),
            (header(0x22, tcp, &addresses), HeaderError::Command(2)),
            (header(0x21, 0x12, &addresses), HeaderError::Family(0x12)),
            (header(0x21, 0x31, &[0; 216]), HeaderError::Family(0x31)),
            (header(0x21, 0x10, &addresses), HeaderError::Family(0x10)),
            (header(0x21, tcp, &addresses[1..]), HeaderError::TooShort { found: 11, least: 12 }),
            (header(0x21, 0x21, &addresses), HeaderError::TooShort { found: 12, least: 36 }),
            (header(0x21, tcp, &[0; 1009]), HeaderError::TooLong(1025)),
            (header(0x20, 0, &vec![0; 65_535])[..16].to_vec(), HeaderError::TooLong(65_551)),
        ] {
            assert_eq!(decode(&bytes), Err(expected), "{:?}", &bytes[..bytes.len().min(20)]);
        }
    }

    #[test]
    fn the_longest_header_is_taken() {
        let (family, block) = block([192, 0, 2, 7].into(), &[0; 996]);
        let bytes = header(0x21, family, &block);
        let source = Source::Client([192, 0, 2, 7].into());
        assert_eq!(decode(&bytes), Ok(Decoded::Whole { length: MAX_HEADER_BYTES, source }));
    }

    proptest! {
        #[test]
        fn a_header_is_read_from_any_pieces_and_takes_its_own_bytes_only(
            source: IpAddr,
            tlvs in prop::collection::vec(any::<u8>(), 0..300),
            behind in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let (family, block) = block(source, &tlvs);
            let header = header(0x21, family, &block);
            for length in 0..header.len() {
                match decode(&header[..length]) {
                    Ok(Decoded::Incomplete(needed)) => {
                        prop_assert!(length < needed && needed <= header.len(), "{length} {needed}");
                    }
                    other => prop_assert!(false, "{length}: {other:?}"),
                }
            }
            let length = header.len();
            let whole = Ok(Decoded::Whole { length, source: Source::Client(source.to_canonical()) });
            prop_assert_eq!(decode(&[header, behind].concat()), whole);
        }

        #[test]
        fn anything_is_decoded_without_a_panic_and_a_refusal_stays_one(
            version_and_command: u8,
            family: u8,
            follow: u16,
            rest in prop::collection::vec(any::<u8>(), 0..1100),
            flip in prop::option::of((0..SIGNATURE.len(), 1_u8..)),
        ) {
            let mut bytes = SIGNATURE.to_vec();
            bytes.extend([version_and_command, family]);
            bytes.extend(follow.to_be_bytes());
            bytes.extend(rest);
            if let Some((place, bits)) = flip {
                bytes[place] ^= bits;
            }
            let mut refused = false;
            for length in 0..=bytes.len() {
                match decode(&bytes[..length]) {
                    Ok(Decoded::Incomplete(needed)) => {
                        prop_assert!(!refused && needed > length && needed <= MAX_HEADER_BYTES);
                    }
                    Ok(Decoded::Whole { length: whole, .. }) => {
                        prop_assert!(!refused && flip.is_none() && whole <= length);
                        prop_assert_eq!(whole, FIXED_BYTES + usize::from(follow));
                    }
                    Err(_) => refused = true,
                }
            }
            prop_assert!(flip.is_none() || refused);
        }
    }
}
