//! What decoding and encoding allocate: nothing for what is valid, and never by a length that the peer declared.

#![allow(clippy::indexing_slicing, reason = "a test that indexes beyond the end fails, as it shall")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use allocation_counter::measure;
use carillon_wire::decode::{broker_messages, client_messages};
use support::{bytes, vectors};

/// The text of an error, with room to grow while it is written.
const ERROR_BYTES: u64 = 2_048;

#[test]
fn valid_messages_decode_without_an_allocation() {
    for list in ["canonical", "decode_only"] {
        for vector in vectors("client_messages.json", list) {
            let bytes = bytes(&vector);
            let used = measure(|| assert!(client_messages(&bytes).all(|found| found.is_ok())));
            assert_eq!(used.count_total, 0, "{}", vector["name"]);
        }
        for vector in vectors("broker_messages.json", list) {
            let bytes = bytes(&vector);
            let used = measure(|| assert!(broker_messages(&bytes).all(|found| found.is_ok())));
            assert_eq!(used.count_total, 0, "{}", vector["name"]);
        }
    }
}

#[test]
fn messages_are_encoded_without_an_allocation_where_there_is_room() {
    let mut out = Vec::with_capacity(1_024);
    for vector in vectors("broker_messages.json", "canonical") {
        let bytes = bytes(&vector);
        for message in broker_messages(&bytes).map(|found| found.expect("a valid one")) {
            out.clear();
            let used = measure(|| message.encode(&mut out));
            assert_eq!(used.count_total, 0, "{}", vector["name"]);
        }
    }
}

#[test]
fn invalid_messages_cost_no_more_than_their_error() {
    for list in ["refused_by_the_broker", "skipped_by_a_client", "invalid_for_a_client", "malformed"] {
        for vector in vectors("invalid.json", list) {
            let bytes = bytes(&vector);
            let used = measure(|| {
                let _ = (client_messages(&bytes).count(), broker_messages(&bytes).count());
            });
            assert!(used.bytes_total <= 2 * ERROR_BYTES, "{}: {} bytes", vector["name"], used.bytes_total);
        }
    }
}

/// Every kind of value with a length of its own, each declaring the most that its head can hold, as each of the
/// fields of a publication, with 64 bytes behind it.
#[test]
fn declared_lengths_are_never_reserved() {
    let heads: [&[u8]; 9] = [
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xc5, 0xff, 0xff],
        &[0xda, 0xff, 0xff],
        &[0xdc, 0xff, 0xff],
        &[0xde, 0xff, 0xff],
    ];
    let fields: [&[u8]; 5] = [&[0x02], &[0x01], &[0xa1, b'a'], &[0xc4, 0x00], &[0x80]];
    for head in heads {
        for at in 1..=fields.len() {
            let message = [&[0x96], &fields[..at].concat()[..], head, &[0x00; 64]].concat();
            let used = measure(|| assert!(client_messages(&message).next().is_some_and(|found| found.is_err())));
            assert!(used.bytes_total <= ERROR_BYTES, "{head:02x?} in field {at}: {} bytes", used.bytes_total);
        }
        let bare = [head, &[0x00; 64]].concat();
        let used = measure(|| assert!(client_messages(&bare).next().is_some_and(|found| found.is_err())));
        assert!(used.bytes_total <= ERROR_BYTES, "{head:02x?}: {} bytes", used.bytes_total);
    }
}
