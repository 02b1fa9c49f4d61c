//! Records by themselves: the vectors of RFC 8448, every length, every cut, every bit.

use std::io::IoSlice;

use proptest::prelude::*;

use super::*;

/// What each end of the connection of RFC 8448, section 3, seals with after the handshake.
const CLIENT: (&str, &str) = ("17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9");
const SERVER: (&str, &str) = ("9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984");
/// The 50 bytes 0 to 49, from each end. The server's first record is a ticket.
const CLIENT_DATA: (u64, &str) = (
    0,
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2\
     977014bd1e3deae63aeebb21694915e4",
);
const SERVER_DATA: (u64, &str) = (
    1,
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a2\
     1c0047c2abf332540dd032e167c2955d",
);
const CLIENT_CLOSE: (u64, &str) = (1, "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3");
const SERVER_CLOSE: (u64, &str) = (2, "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9");

const LAYOUTS: [(Layout, &Algorithm); 6] = [
    (Layout::Tls13, &AES_128_GCM),
    (Layout::Tls13, &AES_256_GCM),
    (Layout::Tls13, &CHACHA20_POLY1305),
    (Layout::Tls12Explicit, &AES_128_GCM),
    (Layout::Tls12Explicit, &AES_256_GCM),
    (Layout::Tls12Derived, &CHACHA20_POLY1305),
];

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn key((layout, algorithm): (Layout, &'static Algorithm), sequence: u64) -> Key {
    let bytes: Vec<u8> = (0..).take(algorithm.key_len()).collect();
    Key::from_parts(layout, algorithm, &bytes, [7; NONCE_LEN], sequence).unwrap()
}

fn rfc_key((digits, iv): (&str, &str), sequence: u64) -> Key {
    Key::from_parts(Layout::Tls13, &AES_128_GCM, &unhex(digits), unhex(iv).try_into().unwrap(), sequence).unwrap()
}

/// Both ends of one direction.
fn ends(layout: (Layout, &'static Algorithm)) -> (Sealer, Opener) {
    (Sealer { key: key(layout, 0), limit: SEQUENCE_END }, Opener { key: key(layout, 0) })
}

fn seal(sealer: &mut Sealer, kind: ContentType, plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; plain.len() + MAX_OVERHEAD_BYTES];
    let sealed = sealer.seal(kind, &mut plain.into(), &mut out).unwrap();
    out.truncate(sealed);
    out
}

/// A record with just this inside, whatever it is.
fn seal_raw(key: &mut Key, inner: &[u8]) -> Vec<u8> {
    let is_explicit = key.layout == Layout::Tls12Explicit;
    let body_bytes = inner.len() + TAG_BYTES + if is_explicit { EXPLICIT_NONCE_BYTES } else { 0 };
    let [high, low] = record_length(body_bytes);
    let header = [23, 3, 3, high, low];
    let nonce = key.nonce();
    let mut sealed = inner.to_vec();
    let aad = if key.layout == Layout::Tls13 { header.to_vec() } else { key.tls12_aad(header, inner.len()).to_vec() };
    key.aead.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed).unwrap();
    key.sequence += 1;
    let explicit = if is_explicit { &nonce[NONCE_LEN - EXPLICIT_NONCE_BYTES..] } else { &[] };
    [&header, explicit, &sealed].concat()
}

fn open_raw(layout: (Layout, &'static Algorithm), inner: &[u8]) -> Result<(ContentType, Vec<u8>), AlertDescription> {
    let mut record = seal_raw(&mut key(layout, 0), inner);
    let opened = Opener { key: key(layout, 0) }.open(&mut record).map_err(|refused| refused.alert)?;
    let opened = opened.expect("it is whole");
    Ok((opened.kind, record[opened.plain].to_vec()))
}

#[test]
fn the_records_of_rfc_8448_are_opened_and_sealed_to_the_bit() {
    let data: Vec<u8> = (0..50).collect();
    for (key, (sequence, record), kind, plain) in [
        (CLIENT, CLIENT_DATA, ContentType::ApplicationData, &data[..]),
        (SERVER, SERVER_DATA, ContentType::ApplicationData, &data[..]),
        (CLIENT, CLIENT_CLOSE, ContentType::Alert, &[1, 0]),
        (SERVER, SERVER_CLOSE, ContentType::Alert, &[1, 0]),
    ] {
        let mut record = unhex(record);
        let mut sealer = Sealer { key: rfc_key(key, sequence), limit: SEQUENCE_END };
        assert_eq!(seal(&mut sealer, kind, plain), record);
        let opened = Opener { key: rfc_key(key, sequence) }.open(&mut record).unwrap().unwrap();
        assert_eq!((opened.kind, &record[opened.plain], opened.record_bytes), (kind, plain, record.len()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_is_opened_in_order_and_in_each_layout(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9_000), 0..6),
        layout in prop::sample::select(&LAYOUTS[..]),
    ) {
        let (mut sealer, mut opener) = ends(layout);
        let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut gather = Gather::from(&slices[..]);
        let mut records = Vec::new();
        while gather.left() > 0 {
            let mut out = vec![0; MAX_PLAIN_BYTES + MAX_OVERHEAD_BYTES];
            let sealed = sealer.seal(ContentType::ApplicationData, &mut gather, &mut out).unwrap();
            records.extend_from_slice(&out[..sealed]);
        }
        let mut plain = Vec::new();
        while let Some(opened) = opener.open(&mut records).unwrap() {
            prop_assert_eq!(opened.kind, ContentType::ApplicationData);
            plain.extend_from_slice(&records[opened.plain]);
            records.drain(..opened.record_bytes);
        }
        prop_assert!(records.is_empty());
        prop_assert_eq!(plain, pieces.concat());
    }

    #[test]
    fn arbitrary_bytes_are_never_opened(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        length in 0..300_u16,
        layout in prop::sample::select(&LAYOUTS[..]),
    ) {
        let [high, low] = length.to_be_bytes();
        for (byte, header) in bytes.iter_mut().zip([23, 3, 3, high, low]) {
            *byte = header;
        }
        prop_assert!(!matches!(ends(layout).1.open(&mut bytes), Ok(Some(_))));
    }
}

#[test]
fn the_front_of_a_record_is_waited_with_and_left_as_it_is() {
    for layout in LAYOUTS {
        let (mut sealer, mut opener) = ends(layout);
        let record = seal(&mut sealer, ContentType::ApplicationData, b"some application data");
        for end in 0..record.len() {
            let mut front = record[..end].to_vec();
            assert_eq!(opener.open(&mut front), Ok(None), "{end}");
            assert_eq!(front, record[..end]);
        }
        assert!(opener.open(&mut record.clone()).unwrap().is_some());
    }
}

#[test]
fn a_record_with_any_bit_flipped_is_not_opened() {
    for layout in LAYOUTS {
        for kind in [ContentType::ApplicationData, ContentType::Alert] {
            let record = seal(&mut ends(layout).0, kind, b"a message");
            for bit in 0..record.len() * 8 {
                let mut flipped = record.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let refused = match ends(layout).1.open(&mut flipped) {
                    Err(refused) => refused.alert,
                    // It says that it is longer.
                    Ok(None) if (3 * 8..5 * 8).contains(&bit) => continue,
                    opened => panic!("{layout:?}, bit {bit}: {opened:?}"),
                };
                let expected: &[AlertDescription] = match bit / 8 {
                    0 => &[AlertDescription::UnexpectedMessage, AlertDescription::BadRecordMac],
                    3 | 4 => &[AlertDescription::RecordOverflow, AlertDescription::BadRecordMac],
                    _ => &[AlertDescription::BadRecordMac],
                };
                assert!(expected.contains(&refused), "{layout:?}, bit {bit}: {refused:?}");
            }
        }
    }
}

#[test]
fn records_do_not_come_twice_in_another_order_or_with_another_key() {
    for layout in LAYOUTS {
        let (mut sealer, mut opener) = ends(layout);
        let [first, second] = [b"1", b"2"].map(|plain| seal(&mut sealer, ContentType::ApplicationData, plain));
        let bad = |opened: Result<Option<Opened>, Refused>| opened.unwrap_err().alert == AlertDescription::BadRecordMac;
        assert!(bad(ends(layout).1.open(&mut second.clone())));
        assert!(opener.open(&mut first.clone()).is_ok());
        assert!(bad(opener.open(&mut first.clone())));
        let mut other = Opener { key: Key { iv: [8; NONCE_LEN], ..key(layout, 0) } };
        assert!(bad(other.open(&mut first.clone())));
    }
}

#[test]
fn a_record_is_as_long_as_any_may_be_and_no_longer() {
    for layout in LAYOUTS {
        let max = layout.0.max_body_bytes();
        for (length, expected) in [(max, Ok(None)), (max + 1, Err(AlertDescription::RecordOverflow))] {
            let [high, low] = record_length(length);
            // Its header is enough to tell.
            let opened = ends(layout).1.open(&mut [23, 3, 3, high, low]).map_err(|refused| refused.alert);
            assert_eq!(opened, expected, "{layout:?}, {length}");
        }
    }
}

#[test]
fn plain_text_is_as_long_as_any_may_be_and_no_longer() {
    for layout in LAYOUTS.into_iter().filter(|layout| layout.0 == Layout::Tls13) {
        let longest = [&[1; MAX_PLAIN_BYTES][..], &[23]].concat();
        assert_eq!(open_raw(layout, &longest).unwrap().1.len(), MAX_PLAIN_BYTES);
        for too_long in [[&longest[..], &[23]].concat(), [&longest[..], &[0]].concat(), vec![0; longest.len() + 1]] {
            assert_eq!(open_raw(layout, &too_long), Err(AlertDescription::RecordOverflow));
        }
        // As long as one may be with the padding, and no plain text of more than that is inside.
        let all_inner = [&[1; MAX_PLAIN_BYTES][..], &[1]].concat();
        assert_eq!(open_raw(layout, &all_inner).unwrap().0, ContentType::from(1));
    }
    for layout in LAYOUTS.into_iter().filter(|layout| layout.0 != Layout::Tls13) {
        assert_eq!(open_raw(layout, &[1; MAX_PLAIN_BYTES]).unwrap().1.len(), MAX_PLAIN_BYTES);
        assert_eq!(open_raw(layout, &vec![1; MAX_PLAIN_BYTES + 1]), Err(AlertDescription::RecordOverflow));
    }
}

#[test]
fn padding_is_taken_away_and_is_not_all() {
    let layout = LAYOUTS[0];
    for padding_bytes in [0, 1, 15, 16, 255, 16_000] {
        let padding = vec![0; padding_bytes];
        let padded = [b"data\0\0", &[23][..], &padding].concat();
        assert_eq!(open_raw(layout, &padded), Ok((ContentType::ApplicationData, b"data\0\0".to_vec())));
        let empty = [&[23][..], &padding].concat();
        assert_eq!(open_raw(layout, &empty), Ok((ContentType::ApplicationData, vec![])));
        assert_eq!(open_raw(layout, &padding), Err(AlertDescription::UnexpectedMessage));
    }
}

#[test]
fn a_record_too_short_for_its_tag_is_refused() {
    for layout in LAYOUTS {
        for length in 0..layout.0.overhead_bytes() - usize::from(layout.0 == Layout::Tls13) {
            let mut record = [&[23, 3, 3][..], &record_length(length), &[0; 40][..length]].concat();
            let refused = ends(layout).1.open(&mut record).unwrap_err();
            assert_eq!(refused.alert, AlertDescription::BadRecordMac, "{layout:?}, {length}");
        }
    }
}

#[test]
fn types_that_no_record_has_now_are_refused_before_their_end() {
    for layout in LAYOUTS {
        for kind in 0..=u8::MAX {
            let is_tls12 = layout.0 != Layout::Tls13;
            let is_expected = kind == 23 || (is_tls12 && (kind == 21 || kind == 22));
            let opened = ends(layout).1.open(&mut [kind, 3, 3, 1, 0]);
            match opened {
                Ok(None) => assert!(is_expected, "{kind}"),
                refused => {
                    assert_eq!(refused.unwrap_err().alert, AlertDescription::UnexpectedMessage);
                    assert!(!is_expected, "{kind}");
                }
            }
        }
    }
}

#[test]
fn no_sequence_number_wraps() {
    for layout in LAYOUTS {
        let (mut sealer, mut opener) = ends(layout);
        for end in [SEQUENCE_END - 1, u64::MAX] {
            (sealer.key.sequence, opener.key.sequence) = (end, end);
            assert_eq!(sealer.records_left(), u64::from(end < SEQUENCE_END));
            let mut out = [0; 100];
            let sealed = sealer.seal(ContentType::Alert, &mut (&b"x"[..]).into(), &mut out);
            if end < SEQUENCE_END {
                assert!(opener.open(&mut out[..sealed.unwrap()]).unwrap().is_some());
                assert_eq!(sealer.records_left(), 0);
            } else {
                assert_eq!(sealed, Err(SealError::UsedUp));
                let refused = opener.open(&mut [&[23, 3, 3, 0, 30][..], &[0; 30]].concat()).unwrap_err();
                assert_eq!(refused.alert, AlertDescription::InternalError);
            }
        }
    }
}

#[test]
fn each_suite_has_its_confidentiality_limit() {
    use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    for suite in ALL_CIPHER_SUITES {
        let name = format!("{suite:?}");
        let (key, iv) = ([1; 32].into(), rustls::crypto::cipher::Iv::new([2; NONCE_LEN]));
        let secrets = if name.contains("CHACHA") {
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }
        } else {
            ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        };
        let left = Sealer::new(*suite, (5, secrets)).unwrap().records_left();
        assert_eq!(left, if name.contains("CHACHA") { SEQUENCE_END - 5 } else { (1 << 24) - 5 }, "{name}");
    }
}
