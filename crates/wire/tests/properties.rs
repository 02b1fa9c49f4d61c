//! Properties of the codec that hold for every input, not only for the test vectors.

#![allow(clippy::indexing_slicing, reason = "a test that indexes beyond the end fails, as it shall")]

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "support/generate.rs"]
mod generate;

use carillon_wire::{
    BrokerMessage, ClientMessage, DecodeError, ErrorCode, Headers, MAX_DEPTH, Malformed, client_message as client,
    decode::{broker_messages, client_messages},
    delivery::{Delivery, InStream, patch_delivery},
    headers::HeadersBuf,
};
use generate::{any_bytes, encoded, ids, integers, parts};
use proptest::{collection::vec, prelude::*};

/// Tells whether `part` lies inside `whole` in memory; an empty slice may point anywhere.
fn is_slice_of(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.is_empty() || (whole.start <= part.start && part.end <= whole.end)
}

/// The messages back to back, and where each ends.
fn batch<M>(messages: &[M], encode: impl Fn(&M, &mut Vec<u8>)) -> (Vec<u8>, Vec<usize>) {
    let mut batch = Vec::new();
    let mut encode_one = |message| {
        encode(message, &mut batch);
        batch.len()
    };
    let ends = messages.iter().map(&mut encode_one).collect();
    (batch, ends)
}

/// What is found in a batch of which only the bytes before `cut` are there.
fn what_a_cut_leaves<M: Copy>(messages: &[M], ends: &[usize], cut: usize) -> Vec<Result<M, DecodeError>> {
    let whole = ends.iter().filter(|end| **end <= cut).count();
    let mut left: Vec<_> = messages[..whole].iter().copied().map(Ok).collect();
    match cut {
        0 => left.push(Err(DecodeError::Malformed(Malformed::Empty))),
        // A cut between two messages leaves nothing over.
        _ if ends.contains(&cut) => {}
        _ => left.push(Err(DecodeError::Malformed(Malformed::Truncated))),
    }
    left
}

proptest! {
    #[test]
    fn client_messages_survive_the_wire(parts in parts()) {
        for message in parts.client_messages() {
            let bytes = encoded(|out| message.encode(out));
            prop_assert_eq!(client_messages(&bytes).collect::<Vec<_>>(), [Ok(message)]);
        }
    }

    #[test]
    fn broker_messages_survive_the_wire(parts in parts()) {
        for message in parts.broker_messages() {
            let bytes = encoded(|out| message.encode(out));
            prop_assert_eq!(broker_messages(&bytes).collect::<Vec<_>>(), [Ok(message)]);
        }
    }

    #[test]
    fn a_batch_is_its_messages_one_by_one(first in parts(), second in parts()) {
        let messages = [first.client_messages(), second.client_messages()].concat();
        let batch = encoded(|out| messages.iter().for_each(|message| message.encode(out)));
        prop_assert_eq!(client_messages(&batch).collect::<Result<Vec<_>, _>>(), Ok(messages));
        let messages = [first.broker_messages(), second.broker_messages()].concat();
        let batch = encoded(|out| messages.iter().for_each(|message| message.encode(out)));
        prop_assert_eq!(broker_messages(&batch).collect::<Result<Vec<_>, _>>(), Ok(messages));
    }

    #[test]
    fn what_stands_before_a_cut_message_holds(parts in parts(), at in any::<prop::sample::Index>()) {
        let messages = parts.client_messages();
        let (batch, ends) = batch(&messages, ClientMessage::encode);
        let cut = at.index(batch.len());
        let found: Vec<_> = client_messages(&batch[..cut]).collect();
        prop_assert_eq!(found, what_a_cut_leaves(&messages, &ends, cut));

        let messages = parts.broker_messages();
        let (batch, ends) = self::batch(&messages, BrokerMessage::encode);
        let cut = at.index(batch.len());
        let found: Vec<_> = broker_messages(&batch[..cut]).collect();
        prop_assert_eq!(found, what_a_cut_leaves(&messages, &ends, cut));
    }

    #[test]
    fn a_patched_delivery_is_the_one_with_that_time_and_sequence(
        parts in parts(), before in vec(any::<u8>(), 0..20), time_us in integers(), sequence in integers(),
    ) {
        let delivery = parts.delivery_in_stream();
        let mut bytes = before.clone();
        let time_at = delivery.encode_in_stream(&mut bytes);
        patch_delivery(&mut bytes[before.len()..], time_at, time_us, sequence).unwrap();
        let in_stream = delivery.in_stream.map(|place| InStream { sequence, ..place });
        let expected = BrokerMessage::Delivery(Delivery { time_us, in_stream, ..delivery });
        prop_assert_eq!(broker_messages(&bytes[before.len()..]).collect::<Vec<_>>(), [Ok(expected)]);
        prop_assert_eq!(&bytes[before.len()..], encoded(|out| expected.encode(out)));
        prop_assert_eq!(&bytes[..before.len()], before);
    }

    #[test]
    fn what_is_no_delivery_in_a_stream_is_not_patched(
        mut bytes in prop_oneof![any_bytes(), vec(prop_oneof![Just(0xcf), any::<u8>()], 0..30)],
        time_at in prop_oneof![0..40_usize, any::<usize>()],
    ) {
        let before = bytes.clone();
        let has_room = time_at
            .checked_add(8 + 1 + 8)
            .is_some_and(|end| time_at > 0 && end <= before.len());
        let is_patchable = has_room && before[time_at - 1] == 0xcf && before[before.len() - 9] == 0xcf;
        prop_assert_eq!(patch_delivery(&mut bytes, time_at, 0, 0).is_ok(), is_patchable);
        if !is_patchable {
            prop_assert_eq!(bytes, before);
        }
    }

    #[test]
    fn a_message_cut_or_changed_anywhere_ends_in_no_panic(
        parts in parts(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let of_clients = parts.client_messages().into_iter().map(|message| encoded(|out| message.encode(out)));
        let of_brokers = parts.broker_messages().into_iter().map(|message| encoded(|out| message.encode(out)));
        for mut bytes in of_clients.chain(of_brokers) {
            let at = at.index(bytes.len());
            prop_assert!(client_messages(&bytes[..at]).all(|found| found.is_err()));
            prop_assert!(broker_messages(&bytes[..at]).all(|found| found.is_err()));
            bytes[at] = byte;
            prop_assert!(client_messages(&bytes).count() > 0);
            prop_assert!(broker_messages(&bytes).count() > 0);
        }
    }

    #[test]
    fn a_refused_message_stops_none_behind_it(parts in parts(), op in 9..64_u8, id in ids()) {
        let messages = parts.client_messages();
        let refused = encoded(|out| {
            drop(rmp::encode::write_array_len(out, 2));
            drop(rmp::encode::write_uint(out, op.into()));
            drop(rmp::encode::write_uint(out, id.get()));
        });
        let mut batch = refused;
        for message in &messages {
            message.encode(&mut batch);
        }
        let mut found = client_messages(&batch);
        match found.next() {
            Some(Err(DecodeError::Refused(refused))) => {
                prop_assert_eq!((refused.op, refused.id, refused.code), (op, Some(id), ErrorCode::UnknownOp));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(found.collect::<Result<Vec<_>, _>>(), Ok(messages));
    }

    #[test]
    fn rest_goes_on_where_the_iterator_stopped(bytes in any_bytes(), steps in 0..5_usize) {
        let whole: Vec<_> = client_messages(&bytes).collect();
        let mut stopped = client_messages(&bytes);
        let mut pieces: Vec<_> = stopped.by_ref().take(steps).collect();
        if pieces.len() < whole.len() {
            pieces.extend(client_messages(stopped.rest()));
        } else {
            prop_assert!(stopped.rest().is_empty());
        }
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn any_bytes_decode_to_an_end(bytes in any_bytes()) {
        // Each message takes two bytes at least, and only the last one found may be malformed.
        let from_client: Vec<_> = client_messages(&bytes).collect();
        prop_assert!(from_client.len() <= bytes.len() / 2 + 1);
        let malformed = |found: &Result<_, _>| matches!(found, Err(DecodeError::Malformed(_)));
        prop_assert!(!from_client.iter().rev().skip(1).any(malformed));
        prop_assert!(broker_messages(&bytes).count() <= bytes.len() / 2 + 1);
    }

    #[test]
    fn what_decodes_is_encoded_to_the_same_meaning(bytes in any_bytes()) {
        for message in client_messages(&bytes).flatten() {
            let again = encoded(|out| message.encode(out));
            prop_assert_eq!(client_messages(&again).collect::<Vec<_>>(), [Ok(message)]);
        }
        for message in broker_messages(&bytes).flatten() {
            let again = encoded(|out| message.encode(out));
            prop_assert_eq!(broker_messages(&again).collect::<Vec<_>>(), [Ok(message)]);
        }
    }

    #[test]
    fn errors_stay_short_whatever_was_sent(name in vec(any::<char>(), 0..1_500), topic_is_it in any::<bool>()) {
        let name: String = name.into_iter().collect();
        let bytes = encoded(|out| {
            drop(rmp::encode::write_array_len(out, 3));
            drop(rmp::encode::write_uint(out, if topic_is_it { client::PUBLISH } else { client::SUBSCRIBE }.into()));
            drop(rmp::encode::write_uint(out, 1));
            drop(rmp::encode::write_str(out, &name));
        });
        if let Some(Err(DecodeError::Refused(refused))) = client_messages(&bytes).next() {
            prop_assert!(refused.message.chars().count() <= 900, "{}", refused.message.len());
            prop_assert!(!refused.message.contains(char::is_control), "{:?}", refused.message);
        }
    }

    #[test]
    fn payloads_and_headers_are_slices_of_the_input(parts in parts()) {
        for message in parts.client_messages() {
            let bytes = encoded(|out| message.encode(out));
            if let Some(Ok(ClientMessage::Publish(found))) = client_messages(&bytes).next() {
                prop_assert!(is_slice_of(found.payload, &bytes));
                prop_assert!(is_slice_of(found.headers.as_msgpack(), &bytes));
                prop_assert!(is_slice_of(found.topic.as_str().as_bytes(), &bytes));
            }
        }
        for message in parts.broker_messages() {
            let bytes = encoded(|out| message.encode(out));
            if let Some(Ok(BrokerMessage::Delivery(found))) = broker_messages(&bytes).next() {
                prop_assert!(is_slice_of(found.payload, &bytes));
                prop_assert!(is_slice_of(found.headers.as_msgpack(), &bytes));
            }
        }
    }

    #[test]
    fn headers_are_what_was_put_in(pairs in prop::collection::btree_map(".{0,40}", ".{0,300}", 0..20)) {
        let owned = HeadersBuf::from_iter(pairs.clone());
        let found: Vec<_> = owned.as_headers().iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        for (key, value) in &pairs {
            prop_assert_eq!(owned.as_headers().get(key), Some(value.as_str()));
        }
        prop_assert_eq!(found, pairs.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(Headers::from_msgpack(owned.as_headers().as_msgpack()).is_ok(), !owned.as_headers().is_empty());
    }
}

/// A ping whose later field nests so many arrays in each other.
fn ping_with_depth(arrays: usize) -> Vec<u8> {
    [vec![0x93, client::PING, 0x01], vec![0x91; arrays - 1], vec![0x90]].concat()
}

#[test]
fn messages_nest_8_deep_and_no_deeper() {
    let allowed = ping_with_depth(MAX_DEPTH - 1);
    assert_eq!(client_messages(&allowed).collect::<Vec<_>>(), [Ok(ClientMessage::Ping(1.into()))]);
    for arrays in [MAX_DEPTH, MAX_DEPTH + 1, 1_000_000] {
        let too_deep = ping_with_depth(arrays);
        let found: Vec<_> = client_messages(&too_deep).collect();
        assert_eq!(found, [Err(DecodeError::Malformed(Malformed::TooDeep))], "{arrays} arrays");
    }
    assert_eq!(MAX_DEPTH, 8);
}
