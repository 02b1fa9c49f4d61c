use carillon_wire::broker_message::{Delivery, ErrorReply, Gap, InStream, OkReply, Position, Welcome};
use carillon_wire::{ErrorCode, GapReason};
use proptest::prelude::*;

use super::*;

/// What is heard of these bytes, and the answers.
fn heard(bytes: &[u8], message_ends: bool) -> io::Result<(Vec<Said>, usize, Vec<u8>)> {
    let (mut said, mut answer) = (Vec::new(), Vec::new());
    let used = Carillon::default().hear(bytes, message_ends, &mut answer, &mut |heard| {
        said.push(Said::from(heard));
        Ok(())
    })?;
    Ok((said, used, answer))
}

/// A [`Heard`] that owns what it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Delivery(Vec<u8>),
    Other(String),
}

impl From<Heard<'_>> for Said {
    fn from(heard: Heard<'_>) -> Self {
        match heard {
            Heard::Delivery(payload) => Self::Delivery(payload.to_vec()),
            other => Self::Other(format!("{other:?}")),
        }
    }
}

fn encoded(message: &BrokerMessage<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn delivery(topic: &str, payload: &[u8], time_us: u64, sequence: Option<u64>) -> Vec<u8> {
    encoded(&BrokerMessage::Delivery(Delivery {
        topic: Topic::new(topic).unwrap(),
        payload,
        time_us,
        headers: Headers::EMPTY,
        in_stream: sequence.map(|sequence| InStream { stream: "kept", sequence }),
    }))
}

/// Messages of a broker, and what they say.
fn message() -> impl Strategy<Value = (Vec<u8>, Option<Said>)> {
    let payload = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 250..300)];
    let other = |message: BrokerMessage<'_>, heard: Heard<'_>| Just((encoded(&message), Some(Said::from(heard))));
    prop_oneof![
        4 => ("[a-z]{1,40}", payload, any::<u32>(), prop::option::of(any::<u32>())).prop_map(
            |(topic, payload, time, sequence)| {
                let bytes = delivery(&topic, &payload, u64::from(time) << 10, sequence.map(u64::from));
                (bytes, Some(Said::Delivery(payload)))
            }
        ),
        1 => other(BrokerMessage::ok(Id::from(7)), Heard::Done(7)),
        1 => other(
            BrokerMessage::Ok(OkReply { stream: Some("kept"), sequence: Some(1), epoch: Some("e"), ..OkReply::new(Id::from(300)) }),
            Heard::Kept(300)
        ),
        1 => other(
            BrokerMessage::Error(ErrorReply {
                id: None, code: ErrorCode::Forbidden, message: "no", retry_after_ms: None, last_sequence: None,
            }),
            Heard::Refused(0, "no")
        ),
        1 => other(
            BrokerMessage::Live(Position { subscription: Id::from(1), stream: "kept", epoch: "e", sequence: 3 }),
            Heard::CaughtUp
        ),
        1 => other(
            BrokerMessage::Gap(Gap { subscription: Id::from(1), reason: GapReason::Overflow, count: 5, range: None }),
            Heard::Gap(5)
        ),
        1 => Just((encoded(&BrokerMessage::Heartbeat(Id::from(9))), None)),
    ]
}

proptest! {
    #[test]
    fn says_what_was_encoded_and_keeps_what_is_cut_off(
        messages in prop::collection::vec(message(), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Said> = messages.iter().filter_map(|(_, said)| said.clone()).collect();
        let cut = cut.index(bytes.len() + 1);
        let (mut said, used, mut answer) = heard(&bytes[..cut], false).unwrap();
        prop_assert!(used <= cut);
        let (behind, used_behind, more) = heard(&bytes[used..], true).unwrap();
        said.extend(behind);
        answer.extend(more);
        prop_assert_eq!(used + used_behind, bytes.len());
        prop_assert_eq!(said, expected);
        let heartbeats = messages.iter().filter(|(_, said)| said.is_none()).count();
        let mut one = Vec::new();
        ClientMessage::HeartbeatReply(Id::from(9)).encode(&mut one);
        prop_assert_eq!(answer, one.repeat(heartbeats));
    }

    #[test]
    fn any_bytes_are_heard_or_refused(bytes: Vec<u8>, message_ends: bool) {
        if let Ok((_, used, _)) = heard(&bytes, message_ends) {
            prop_assert!(used <= bytes.len());
        }
    }
}

#[test]
fn headers_do_not_hide_a_payload() {
    let pairs = [0x81, 0xa1, b'k', 0xa1, b'v'];
    let mut bytes = vec![0x95, 67, 0xa1, b't', 0xc4, 1, 42, 0];
    bytes.extend(pairs);
    let (said, used, _) = heard(&bytes, true).unwrap();
    assert_eq!((said, used), (vec![Said::Delivery(vec![42])], bytes.len()));
}

#[test]
fn welcome_makes_ready_and_malformed_ends() {
    let welcome = Welcome {
        id: Id::from(0),
        connection: "c-1",
        server: "s",
        max_payload_bytes: 1,
        max_message_bytes: 1,
        max_subscriptions: 1,
        max_wildcards: 1,
        heartbeat_ms: 1,
    };
    let (said, ..) = heard(&encoded(&BrokerMessage::Welcome(welcome)), true).unwrap();
    assert_eq!(said, [Said::from(Heard::Ready)]);
    assert!(heard(&[0xc1], true).is_err());
}
