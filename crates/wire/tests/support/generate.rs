//! Random messages, names and bytes for the property tests.

use carillon_wire::{
    BrokerMessage, ClientMessage, CloseCode, EpochReason, ErrorCode, GapReason, Id, NoticeKind, Overflow, Pattern,
    Resumed, Start, Topic, broker_message as broker, client_message as client, headers::HeadersBuf,
    start::HistoryStart,
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
    message_id: Option<String>,
    stream: String,
    epoch: String,
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
    let of_streams = (option::of(".{1,32}"), "[A-Za-z0-9_-]{1,64}", "[!-~]{1,64}");
    (numbers, texts, of_streams, payloads(), headers(), option::of(integers())).prop_map(
        |(
            (id, optional_id, numbers, code, small),
            (text, optional_text, topic, pattern),
            (message_id, stream, epoch),
            payload,
            headers,
            delay,
        )| {
            Parts {
                id,
                optional_id,
                numbers,
                code,
                small,
                text,
                message_id,
                stream,
                epoch,
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
        let starts = self.starts();
        let start = starts.get(usize::from(self.small) % (starts.len() + 1)).copied();
        let (token, client) = (Some(self.text.as_str()), self.optional_text.as_deref());
        let mut messages = vec![
            ClientMessage::Connect(client::Connect { id: self.id, token, client, headers }),
            ClientMessage::Connect(client::Connect { id: self.id, token: client, client: token, headers }),
            ClientMessage::Publish(client::Publish {
                id: self.optional_id,
                topic: self.topic(),
                payload: &self.payload,
                headers,
                message_id: self.message_id.as_deref(),
                expected_sequence: self.delay,
            }),
            ClientMessage::Subscribe(client::Subscribe { id: self.id, pattern, overflow, start }),
            ClientMessage::Refresh(client::Refresh { id: self.id, token: &self.text }),
            ClientMessage::Unsubscribe(client::Unsubscribe {
                id: self.id,
                subscription: self.optional_id.unwrap_or(Id::MAX),
            }),
            ClientMessage::HeartbeatReply(self.id),
            ClientMessage::Ping(self.id),
        ];
        let (id, through) = (self.id, self.delay);
        let max_messages = self.optional_id.map(|id| id.get().max(1));
        messages.extend(
            self.history_starts()
                .into_iter()
                .map(|start| ClientMessage::History(client::History { id, pattern, start, max_messages, through })),
        );
        messages
    }

    /// Every kind of start.
    fn starts(&self) -> [Start<'_>; 6] {
        [
            Start::Now,
            Start::LastByTopic,
            Start::Newest(self.numbers[0].max(1)),
            Start::Behind { epoch: &self.epoch, sequence: self.numbers[1] },
            Start::Time(self.numbers[2]),
            Start::Beginning,
        ]
    }

    fn history_starts(&self) -> Vec<HistoryStart<'_>> {
        let continued =
            HistoryStart::LastByTopic { epoch: &self.epoch, as_of: self.numbers[0], after: self.numbers[1] };
        let starts = self.starts().into_iter().filter(|start| *start != Start::Now);
        starts.map(HistoryStart::At).chain([continued]).collect()
    }

    pub(crate) fn delivery(&self) -> broker::Delivery<'_> {
        broker::Delivery {
            topic: self.topic(),
            payload: &self.payload,
            time_us: self.numbers[0],
            headers: self.headers.as_headers(),
            in_stream: None,
        }
    }

    pub(crate) fn delivery_in_stream(&self) -> broker::Delivery<'_> {
        let in_stream = Some(broker::InStream { stream: &self.stream, sequence: self.numbers[1] });
        broker::Delivery { in_stream, ..self.delivery() }
    }

    pub(crate) fn broker_messages(&self) -> Vec<BrokerMessage<'_>> {
        let [time_us, max_payload_bytes, max_message_bytes, max_subscriptions, max_wildcards] = self.numbers;
        let message = self.text.as_str();
        let (stream, epoch) = (self.stream.as_str(), self.epoch.as_str());
        let position = broker::Position { subscription: self.id, stream, epoch, sequence: max_message_bytes };
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
            BrokerMessage::ok(self.id),
            BrokerMessage::Ok(broker::OkReply {
                id: self.id,
                stream: self.delay.map(|_| stream),
                sequence: self.optional_id.map(Id::get),
                epoch: self.optional_text.as_ref().map(|_| epoch),
                is_duplicate: self.small.is_multiple_of(2),
                // 0 says the same as nil.
                resumed: self.delay.filter(|_| self.small != 0).map(|_| Resumed::from_number(self.small)),
            }),
            BrokerMessage::Error(broker::ErrorReply {
                id: self.optional_id,
                code: ErrorCode::from_number(self.code),
                message,
                retry_after_ms: self.delay,
                last_sequence: self.optional_id.map(Id::get),
            }),
            BrokerMessage::Delivery(self.delivery()),
            BrokerMessage::Delivery(self.delivery_in_stream()),
            BrokerMessage::Gap(broker::Gap {
                subscription: self.id,
                reason: GapReason::from_number(self.small),
                count: time_us,
                range: self.delay.map(|first| broker::GapRange { first, last: max_wildcards, stream }),
            }),
            BrokerMessage::Marker(broker::Marker { subscription: self.id, stream, count: time_us }),
            BrokerMessage::Live(position),
            BrokerMessage::Position(position),
            BrokerMessage::EpochChanged(broker::EpochChanged {
                subscription: self.id,
                stream,
                epoch,
                reason: EpochReason::from_number(self.small),
                from: time_us,
            }),
            BrokerMessage::Page(broker::Page {
                id: self.id,
                stream,
                epoch,
                count: time_us,
                sequence: max_payload_bytes,
                is_end: self.small.is_multiple_of(2),
                as_of: self.delay,
                gaps: self.small.into(),
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
    vec((0..=80_u8, vec(values(), 0..9)), 0..4).prop_map(|messages| {
        let arrays = messages.into_iter().map(|(op, fields)| {
            let marker = 0x91 + u8::try_from(fields.len()).expect("at most 8");
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
