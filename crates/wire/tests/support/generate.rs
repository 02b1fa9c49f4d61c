//! Random messages, names and bytes for the property tests.

use carillon_wire::{
    BrokerMessage, ClientMessage, CloseCode, ErrorCode, GapReason, Id, NoticeKind, Overflow, Pattern, Topic,
    broker_message as broker, client_message as client, headers::HeadersBuf,
};
use proptest::{collection::vec, option, prelude::*};

/// Tokens from a small alphabet, so that patterns and topics meet often.
const TOKEN: &str = "[ab]{1,2}|[é$][a]?";

pub(crate) fn topics() -> impl Strategy<Value = String> {
    vec(TOKEN, 1..=5).prop_map(|tokens| tokens.join("."))
}

pub(crate) fn patterns() -> impl Strategy<Value = String> {
    let token = prop_oneof![3 => TOKEN, 1 => Just("*".to_owned())];
    (vec(token, 0..=5), any::<bool>())
        .prop_filter("a pattern has a token", |(tokens, rest)| *rest || !tokens.is_empty())
        .prop_map(|(mut tokens, rest)| {
            if rest {
                tokens.push(">".to_owned());
            }
            tokens.join(".")
        })
}

pub(crate) fn ids() -> impl Strategy<Value = Id> {
    prop_oneof![0..=300_u64, 65_530..=65_540_u64, 0..=Id::MAX.get()].prop_map(|n| Id::new(n).expect("below 2^53"))
}

pub(crate) fn integers() -> impl Strategy<Value = u64> {
    ids().prop_map(Id::get)
}

pub(crate) fn headers() -> impl Strategy<Value = HeadersBuf> {
    vec((".{0,40}", ".{0,40}"), 0..20).prop_map(HeadersBuf::from_iter)
}

/// Lengths on both sides of every boundary between MessagePack's forms of `bin`.
pub(crate) fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        prop_oneof![Just(255), Just(256), Just(65_535), Just(65_536)].prop_map(|length: usize| vec![0xc1; length])
    ]
}

/// Owned parts, of which each test makes every kind of message.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    id: Id,
    optional_id: Option<Id>,
    numbers: [u64; 5],
    code: u16,
    small: u8,
    text: String,
    optional_text: Option<String>,
    topic: String,
    pattern: String,
    payload: Vec<u8>,
    headers: HeadersBuf,
    delay: Option<u64>,
}

pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let numbers = (ids(), option::of(ids()), prop::array::uniform5(integers()), any::<u16>(), any::<u8>());
    let texts = (".{0,300}", option::of(".{0,40}"), topics(), patterns());
    (numbers, texts, payloads(), headers(), option::of(integers())).prop_map(
        |((id, optional_id, numbers, code, small), (text, optional_text, topic, pattern), payload, headers, delay)| {
            Parts {
                id,
                optional_id,
                numbers,
                code,
                small,
                text,
                optional_text,
                topic,
                pattern,
                payload,
                headers,
                delay,
            }
        },
    )
}

impl Parts {
    fn topic(&self) -> Topic<'_> {
        Topic::new(&self.topic).expect("made to be one")
    }

    pub(crate) fn client_messages(&self) -> Vec<ClientMessage<'_>> {
        let headers = self.headers.as_headers();
        let pattern = Pattern::new(&self.pattern).expect("made to be one");
        let overflow = Overflow::ALL[usize::from(self.small) % Overflow::ALL.len()];
        let (token, client) = (Some(self.text.as_str()), self.optional_text.as_deref());
        vec![
            ClientMessage::Connect(client::Connect { id: self.id, token, client, headers }),
            ClientMessage::Connect(client::Connect { id: self.id, token: client, client: token, headers }),
            ClientMessage::Publish(client::Publish {
                id: self.optional_id,
                topic: self.topic(),
                payload: &self.payload,
                headers,
            }),
            ClientMessage::Subscribe(client::Subscribe { id: self.id, pattern, overflow }),
            ClientMessage::Refresh(client::Refresh { id: self.id, token: &self.text }),
            ClientMessage::Unsubscribe(client::Unsubscribe {
                id: self.id,
                subscription: self.optional_id.unwrap_or(Id::MAX),
            }),
            ClientMessage::HeartbeatReply(self.id),
            ClientMessage::Ping(self.id),
        ]
    }

    pub(crate) fn broker_messages(&self) -> Vec<BrokerMessage<'_>> {
        let [time_us, max_payload_bytes, max_message_bytes, max_subscriptions, max_wildcards] = self.numbers;
        let message = self.text.as_str();
        let connection = self.optional_text.as_deref().unwrap_or_default();
        vec![
            BrokerMessage::Welcome(broker::Welcome {
                id: self.id,
                connection,
                server: message,
                max_payload_bytes,
                max_message_bytes,
                max_subscriptions,
                max_wildcards,
                heartbeat_ms: time_us,
            }),
            BrokerMessage::Ok(self.id),
            BrokerMessage::Error(broker::ErrorReply {
                id: self.optional_id,
                code: ErrorCode::from_number(self.code),
                message,
                retry_after_ms: self.delay,
            }),
            BrokerMessage::Delivery(broker::Delivery {
                topic: self.topic(),
                payload: &self.payload,
                time_us,
                headers: self.headers.as_headers(),
            }),
            BrokerMessage::Gap(broker::Gap {
                subscription: self.id,
                reason: GapReason::from_number(self.small),
                count: time_us,
            }),
            BrokerMessage::Heartbeat(self.id),
            BrokerMessage::Closing(broker::Closing {
                code: CloseCode::from_number(self.code),
                reason: message,
                retry_after_ms: self.delay,
            }),
            BrokerMessage::Notice(broker::Notice {
                kind: NoticeKind::from_number(self.small),
                message,
                in_ms: self.delay,
            }),
            BrokerMessage::Ended(broker::Ended {
                subscription: self.id,
                code: ErrorCode::from_number(self.code),
                message,
            }),
        ]
    }
}

pub(crate) fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

/// MessagePack values at random, valid ones and nearly valid ones, for whole messages that are mostly well formed.
fn values() -> impl Strategy<Value = Vec<u8>> {
    let scalar = prop_oneof![
        Just(vec![0xc0]),
        any::<u64>().prop_map(|n| encoded(|out| drop(rmp::encode::write_uint(out, n)))),
        any::<i64>().prop_map(|n| encoded(|out| drop(rmp::encode::write_sint(out, n)))),
        any::<f64>().prop_map(|n| encoded(|out| drop(rmp::encode::write_f64(out, n)))),
        ".{0,20}".prop_map(|text| encoded(|out| drop(rmp::encode::write_str(out, &text)))),
        patterns().prop_map(|text| encoded(|out| drop(rmp::encode::write_str(out, &text)))),
        vec(any::<u8>(), 0..20).prop_map(|bytes| encoded(|out| drop(rmp::encode::write_bin(out, &bytes)))),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    scalar.prop_recursive(10, 40, 4, |inner| {
        (vec(inner, 0..4), any::<bool>()).prop_map(|(values, map)| {
            let count = u8::try_from(values.len()).expect("at most 3");
            let marker = if map { 0x80 | (count / 2) } else { 0x90 | count };
            std::iter::once(marker).chain(values.concat()).collect()
        })
    })
}

pub(crate) fn nearly_messages() -> impl Strategy<Value = Vec<u8>> {
    vec((0..=75_u8, vec(values(), 0..8)), 0..4).prop_map(|messages| {
        let arrays = messages.into_iter().map(|(op, fields)| {
            let marker = 0x91 + u8::try_from(fields.len()).expect("at most 7");
            [vec![marker, op], fields.concat()].concat()
        });
        arrays.collect::<Vec<_>>().concat()
    })
}

pub(crate) fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        nearly_messages(),
        (nearly_messages(), any::<prop::sample::Index>()).prop_map(|(mut bytes, at)| {
            bytes.truncate(at.index(bytes.len() + 1));
            bytes
        })
    ]
}
