//! The test vectors of `proto/vectors/` as the tests read them, and messages in the same JSON form.

use std::{fmt::Write as _, path::PathBuf};

use carillon_wire::{
    BrokerMessage, ClientMessage, DecodeError, ErrorCode, Headers, Id, Malformed, Resumed, Start,
    broker_message as broker, client_message as client, start::HistoryStart,
};
use serde_json::{Value, json};

/// A file of `proto/`, as text.
pub(crate) fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One list of a vector file; a list that is missing or empty would make its test pass without a check.
pub(crate) fn vectors(file: &str, list: &str) -> Vec<Value> {
    let mut content: Value = serde_json::from_str(&read(&format!("vectors/{file}"))).expect("a vector file is JSON");
    match content[list].take() {
        Value::Array(vectors) if !vectors.is_empty() => vectors,
        other => panic!("{file} has no list `{list}` with vectors in it, but {other}"),
    }
}

/// A vector's text field.
pub(crate) fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("`{field}` is missing in {vector}"))
}

/// A vector's bytes.
pub(crate) fn bytes(vector: &Value) -> Vec<u8> {
    from_hex(text(vector, "hex"))
}

/// Bytes from their hex digits, two for each byte.
pub(crate) fn from_hex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "an odd number of hex digits: {digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_else(|error| panic!("{error}: {digits}")))
        .collect()
}

/// Bytes as hex digits, two for each byte.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes what is written");
        hex
    })
}

/// A client's message in the vectors' JSON form.
pub(crate) fn client_json(message: &ClientMessage<'_>) -> Value {
    match message {
        ClientMessage::Connect(client::Connect { id, token, client, headers }) => {
            json!({"type": "connect", "id": id.get(), "token": token, "client": client, "headers": pairs(*headers)})
        }
        ClientMessage::Publish(client::Publish { id, topic, payload, headers, message_id, expected_sequence }) => {
            json!({
                "type": "publish", "id": id.map(Id::get), "topic": topic.as_str(), "payload_hex": to_hex(payload),
                "headers": pairs(*headers), "message_id": message_id, "expected_sequence": expected_sequence,
            })
        }
        ClientMessage::Subscribe(client::Subscribe { id, pattern, overflow, start }) => json!({
            "type": "subscribe", "id": id.get(), "pattern": pattern.as_str(), "overflow": overflow.number(),
            "start": start.map(start_json),
        }),
        ClientMessage::History(client::History { id, pattern, start, max_messages, through }) => json!({
            "type": "history", "id": id.get(), "pattern": pattern.as_str(), "start": history_start_json(*start),
            "max_messages": max_messages, "through": through,
        }),
        ClientMessage::Unsubscribe(client::Unsubscribe { id, subscription }) => {
            json!({"type": "unsubscribe", "id": id.get(), "subscription": subscription.get()})
        }
        ClientMessage::HeartbeatReply(number) => json!({"type": "heartbeat_reply", "number": number.get()}),
        ClientMessage::Ping(id) => json!({"type": "ping", "id": id.get()}),
        ClientMessage::Refresh(client::Refresh { id, token }) => {
            json!({"type": "refresh", "id": id.get(), "token": token})
        }
        other => panic!("the vectors have no form for {other:?}"),
    }
}

fn start_json(start: Start<'_>) -> Value {
    match start {
        Start::Now => json!({"kind": "now"}),
        Start::LastByTopic => json!({"kind": "last_by_topic"}),
        Start::Newest(n) => json!({"kind": "newest", "n": n}),
        Start::Behind { epoch, sequence } => json!({"kind": "behind", "epoch": epoch, "sequence": sequence}),
        Start::Time(time_us) => json!({"kind": "time", "time_us": time_us}),
        Start::Beginning => json!({"kind": "beginning"}),
    }
}

fn history_start_json(start: HistoryStart<'_>) -> Value {
    match start {
        HistoryStart::At(start) => start_json(start),
        HistoryStart::LastByTopic { epoch, as_of, after } => {
            json!({"kind": "last_by_topic", "epoch": epoch, "as_of": as_of, "sequence": after})
        }
    }
}

/// A broker's message in the vectors' JSON form.
pub(crate) fn broker_json(message: &BrokerMessage<'_>) -> Value {
    match message {
        BrokerMessage::Welcome(welcome) => json!({
            "type": "welcome", "id": welcome.id.get(), "connection": welcome.connection, "server": welcome.server,
            "max_payload_bytes": welcome.max_payload_bytes, "max_message_bytes": welcome.max_message_bytes,
            "max_subscriptions": welcome.max_subscriptions, "max_wildcards": welcome.max_wildcards,
            "heartbeat_ms": welcome.heartbeat_ms,
        }),
        BrokerMessage::Ok(ok) => json!({
            "type": "ok", "id": ok.id.get(), "stream": ok.stream, "sequence": ok.sequence, "epoch": ok.epoch,
            "duplicate": ok.is_duplicate, "resumed": ok.resumed.map(Resumed::number),
        }),
        BrokerMessage::Error(broker::ErrorReply { id, code, message, retry_after_ms, last_sequence }) => json!({
            "type": "error", "id": id.map(Id::get), "code": code.number(), "message": message,
            "retry_after_ms": retry_after_ms, "last_sequence": last_sequence,
        }),
        BrokerMessage::Delivery(broker::Delivery { topic, payload, time_us, headers, in_stream }) => json!({
            "type": "delivery", "topic": topic.as_str(), "payload_hex": to_hex(payload), "time_us": time_us,
            "headers": pairs(*headers), "stream": in_stream.map(|place| place.stream),
            "sequence": in_stream.map(|place| place.sequence),
        }),
        BrokerMessage::Gap(broker::Gap { subscription, reason, count, range }) => json!({
            "type": "gap", "subscription": subscription.get(), "reason": reason.number(), "count": count,
            "first": range.map(|range| range.first), "last": range.map(|range| range.last),
            "stream": range.map(|range| range.stream),
        }),
        BrokerMessage::Marker(broker::Marker { subscription, stream, count }) => {
            json!({"type": "marker", "subscription": subscription.get(), "stream": stream, "count": count})
        }
        BrokerMessage::Live(position) => position_json("live", position),
        BrokerMessage::Position(position) => position_json("position", position),
        BrokerMessage::EpochChanged(broker::EpochChanged { subscription, stream, epoch, reason, from }) => json!({
            "type": "epoch", "subscription": subscription.get(), "stream": stream, "epoch": epoch,
            "reason": reason.number(), "from": from,
        }),
        BrokerMessage::Page(broker::Page { id, stream, epoch, count, sequence, is_end, as_of, gaps }) => json!({
            "type": "page", "id": id.get(), "stream": stream, "epoch": epoch, "count": count, "sequence": sequence,
            "is_end": is_end, "as_of": as_of, "gaps": gaps,
        }),
        BrokerMessage::Heartbeat(number) => json!({"type": "heartbeat", "number": number.get()}),
        BrokerMessage::Closing(broker::Closing { code, reason, retry_after_ms }) => json!({
            "type": "closing", "code": code.number(), "reason": reason, "retry_after_ms": retry_after_ms,
        }),
        BrokerMessage::Notice(broker::Notice { kind, message, in_ms }) => json!({
            "type": "notice", "kind": kind.number(), "message": message, "in_ms": in_ms,
        }),
        BrokerMessage::Ended(broker::Ended { subscription, code, message }) => json!({
            "type": "ended", "subscription": subscription.get(), "code": code.number(), "message": message,
        }),
        other => panic!("the vectors have no form for {other:?}"),
    }
}

fn position_json(kind: &str, position: &broker::Position<'_>) -> Value {
    json!({
        "type": kind, "subscription": position.subscription.get(), "stream": position.stream, "epoch": position.epoch,
        "sequence": position.sequence,
    })
}

fn pairs(headers: Headers<'_>) -> Vec<(&str, &str)> {
    headers.iter().collect()
}

/// What the broker's decoder found, as `batches.json` tells it.
pub(crate) fn client_outcome(found: &Result<ClientMessage<'_>, DecodeError>) -> Value {
    match found {
        Ok(message) => json!({"message": client_json(message)}),
        Err(DecodeError::Refused(refused)) => json!({"refused": {
            "op": refused.op, "code": refused.code.number(), "id": refused.id.map(Id::get),
        }}),
        Err(DecodeError::Malformed(why)) => json!({"malformed": malformed_name(*why)}),
    }
}

/// What a client's decoder found, as `batches.json` tells it.
pub(crate) fn broker_outcome(found: &Result<BrokerMessage<'_>, DecodeError>) -> Value {
    match found {
        Ok(message) => json!({"message": broker_json(message)}),
        Err(DecodeError::Refused(refused)) if refused.code == ErrorCode::UnknownOp => {
            json!({"skipped": {"op": refused.op}})
        }
        Err(DecodeError::Refused(refused)) => json!({"invalid": {"op": refused.op}}),
        Err(DecodeError::Malformed(why)) => json!({"malformed": malformed_name(*why)}),
    }
}

/// The vectors' name for what is wrong with the bytes.
pub(crate) fn malformed_name(why: Malformed) -> &'static str {
    match why {
        Malformed::Empty => "empty",
        Malformed::Truncated => "truncated",
        Malformed::ReservedByte => "reserved_byte",
        Malformed::TooDeep => "too_deep",
        Malformed::NotAnArray => "not_an_array",
        Malformed::NoOp => "no_op",
        other => panic!("the vectors have no name for {other:?}"),
    }
}
