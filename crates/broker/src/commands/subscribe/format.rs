//! How messages are printed.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use carillon_client::{EpochChanged, Event, Gap, GapRange, Message, Position, Resumed};
use serde::Serialize;
use serde_json::json;

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Topic and payload on one line, for people.
    Text,
    /// The payload and a newline.
    Raw,
    /// A JSON object on one line.
    Json,
}

/// A message as a JSON object.
#[derive(Debug, Serialize)]
struct JsonMessage<'a> {
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// Instead of `payload` where that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    time: String,
    headers: BTreeMap<&'a str, &'a str>,
    #[serde(flatten)]
    kept: Option<Kept<'a>>,
}

/// Where a message is in the stream that keeps it.
#[derive(Debug, Clone, Copy, Serialize)]
struct Kept<'a> {
    stream: &'a str,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
}

impl Format {
    /// Appends one message.
    pub(super) fn message(self, message: &Message, out: &mut Vec<u8>) {
        let headers = || message.headers().iter().collect();
        let position = message.position();
        let epoch = position.as_ref().map(Position::epoch);
        let kept = message.stream().zip(message.sequence());
        let kept = kept.map(|(stream, sequence)| Kept { stream, sequence, epoch });
        self.parts(message.topic(), message.payload(), message.time_us(), headers, kept, out);
    }

    fn parts<'a>(
        self,
        topic: &str,
        payload: &[u8],
        time_us: u64,
        headers: impl FnOnce() -> BTreeMap<&'a str, &'a str>,
        kept: Option<Kept<'_>>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Raw => out.extend_from_slice(payload),
            Self::Text => {
                out.extend_from_slice(topic.as_bytes());
                out.push(b' ');
                out.extend_from_slice(printable(payload).as_bytes());
            }
            Self::Json => {
                let text = std::str::from_utf8(payload).ok();
                let payload_base64 = text.is_none().then(|| BASE64.encode(payload));
                let time = rfc3339(time_us);
                append_json(&JsonMessage { topic, payload: text, payload_base64, time, headers: headers(), kept }, out);
            }
        }
        out.push(b'\n');
    }

    /// Appends what happened beside the messages, or gives the words for it where they do not belong into the output.
    pub(super) fn happened(self, event: &Event, out: &mut Vec<u8>) -> Option<String> {
        let (json, words) = match event {
            Event::Gap(gap) => gap_words(gap),
            Event::EpochChanged(change) => {
                let EpochChanged { stream, epoch, reason, from, .. } = change;
                let json =
                    json!({ "stream": &**stream, "epoch": &**epoch, "reason": reason.to_string(), "from": from });
                (json!({ "epoch_changed": json }), Some(change.to_string()))
            }
            Event::CaughtUp(live) => {
                let (epoch, sequence) = (live.position.epoch(), live.position.sequence());
                (json!({ "caught_up": { "stream": &*live.stream, "epoch": epoch, "sequence": sequence } }), None)
            }
            Event::Resumed(resumed) => resumed_words(resumed),
            Event::Reconnected(how) => {
                let (cause, downtime) = (how.cause.to_string(), how.downtime);
                let words =
                    format!("messages may be missing here, the connection was away for {downtime:.1?}: {cause}");
                (json!({ "reconnected": { "downtime_ms": downtime.as_millis(), "cause": cause } }), Some(words))
            }
            _ => return None,
        };
        if self == Self::Json {
            append_json(&json, out);
            out.push(b'\n');
            return None;
        }
        words
    }
}

fn gap_words(gap: &Gap) -> (serde_json::Value, Option<String>) {
    let (pattern, reason, count) = (gap.pattern.as_str(), gap.reason.to_string(), gap.count);
    let json = match &gap.range {
        None => json!({ "gap": { "pattern": pattern, "reason": reason, "count": count } }),
        Some(GapRange { stream, first, last, .. }) => {
            let json = json!({
                "pattern": pattern, "reason": reason, "count": count,
                "stream": &**stream, "first": first, "last": last,
            });
            json!({ "gap": json })
        }
    };
    (json, Some(gap.to_string()))
}

fn resumed_words(resumed: &Resumed) -> (serde_json::Value, Option<String>) {
    let (outcome, position) = (resumed.outcome.to_string(), &resumed.position);
    let mut words = format!("resumed behind {position} of the stream {}: {outcome}", resumed.stream);
    let reconnected = resumed.reconnected.as_ref().map(|how| {
        let (cause, downtime) = (how.cause.to_string(), how.downtime);
        let _ = write!(words, "; the connection was away for {downtime:.1?}: {cause}");
        json!({ "downtime_ms": downtime.as_millis(), "cause": cause })
    });
    let json = json!({
        "outcome": outcome, "stream": &*resumed.stream, "epoch": position.epoch(), "sequence": position.sequence(),
        "reconnected": reconnected,
    });
    (json!({ "resumed": json }), Some(words))
}

fn append_json(value: &impl Serialize, out: &mut Vec<u8>) {
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "strings and numbers always have a JSON form");
}

/// The payload on one line that a terminal shows and does not obey: control characters and what is not UTF-8 are escaped.
pub(in crate::commands) fn printable(payload: &[u8]) -> String {
    let mut shown = String::with_capacity(payload.len());
    for chunk in payload.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && character != '\t' {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Microseconds since 1970 began as RFC 3339 writes them, in UTC.
pub(in crate::commands) fn rfc3339(time_us: u64) -> String {
    let (seconds, micros) = (time_us / 1_000_000, time_us % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The Gregorian date so many days after 1970-01-01. Years are counted from March here, so that the leap day comes last.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    /// From 0000-03-01 to 1970-01-01.
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days_since_1970 + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let leap_days = day_of_era / 1460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March, and again from August, have 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format, payload: &[u8]) -> String {
        let mut out = Vec::new();
        format.parts("a.b", payload, 1_700_000_000_123_456, || BTreeMap::from([("k", "v")]), None, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn text_is_one_line_that_a_terminal_does_not_obey() {
        assert_eq!(printed(Format::Text, b"hello"), "a.b hello\n");
        assert_eq!(printed(Format::Text, b""), "a.b \n");
        assert_eq!(printed(Format::Text, b"a\nb\tc"), "a.b a\\nb\tc\n");
        assert_eq!(printed(Format::Text, b"\x1b[2J\x9b"), "a.b \\u{1b}[2J\\x9b\n");
        assert_eq!(printed(Format::Text, "grün".as_bytes()), "a.b grün\n");
    }

    #[test]
    fn raw_is_the_payload_and_a_newline() {
        let mut out = Vec::new();
        Format::Raw.parts("a", b"\xff\n", 0, BTreeMap::new, None, &mut out);
        assert_eq!(out, b"\xff\n\n");
        assert_eq!(printed(Format::Raw, b""), "\n");
    }

    #[test]
    fn json_is_one_object_on_a_line() {
        assert_eq!(
            printed(Format::Json, b"say \"hi\"\n"),
            "{\"topic\":\"a.b\",\"payload\":\"say \\\"hi\\\"\\n\",\"time\":\"2023-11-14T22:13:20.123456Z\",\
             \"headers\":{\"k\":\"v\"}}\n"
        );
        let kept = Some(Kept { stream: "orders", sequence: 7, epoch: None });
        let mut out = Vec::new();
        Format::Json.parts("a", b"", 0, BTreeMap::new, kept, &mut out);
        assert!(out.ends_with(b",\"headers\":{},\"stream\":\"orders\",\"sequence\":7}\n"));
        assert!(printed(Format::Json, b"\xff\x00").contains(r#""payload_base64":"/wA=""#));
    }

    #[test]
    fn times_are_the_right_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000), expected);
        }
        // As large as the protocol allows.
        assert_eq!(rfc3339((1 << 53) - 1), "2255-06-05T23:47:34.740991Z");
    }
}
