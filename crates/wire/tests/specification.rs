//! Holds `proto/PROTOCOL.md` to the codec: its examples to the vectors, its tables to the codes.

#![allow(clippy::indexing_slicing, reason = "a test that indexes beyond the end fails, as it shall")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use carillon_wire::{
    CloseCode, EpochReason, ErrorCode, GapReason, MAX_DEPTH, MAX_EPOCH_BYTES, MAX_MESSAGE_ID_BYTES, MAX_STREAM_BYTES,
    NoticeKind, Overflow, Resumed, SUBPROTOCOL, broker_message as broker, client_message as client,
    code::Return,
    topic::{MAX_BYTES, MAX_TOKENS},
};
use support::{bytes, from_hex, read, text, vectors};

const MASK: u8 = 0x80;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// A block of annotated bytes: the words behind ```` ```hex ````, and the bytes that stand left of each `|`.
struct Example {
    words: Vec<String>,
    bytes: Vec<u8>,
}

fn examples() -> Vec<Example> {
    let specification = read("PROTOCOL.md");
    let blocks = specification.split("```hex ").skip(1).map(|rest| rest.split_once("\n```").expect("a block ends").0);
    blocks
        .map(|block| {
            let (words, lines) = block.split_once('\n').expect("a block has lines");
            let digits = lines.lines().map(|line| line.split('|').next().unwrap_or_default()).collect::<String>();
            Example { words: words.split(' ').map(str::to_owned).collect(), bytes: from_hex(&digits.replace(' ', "")) }
        })
        .collect()
}

/// The canonical vectors of both sides, by side and name.
fn canonical() -> BTreeMap<(&'static str, String), Vec<u8>> {
    [("client", "client_messages.json"), ("broker", "broker_messages.json")]
        .into_iter()
        .flat_map(|(side, file)| {
            vectors(file, "canonical").into_iter().map(move |v| ((side, text(&v, "name").to_owned()), bytes(&v)))
        })
        .collect()
}

/// The cells of each row of the tables between a heading and the next one.
fn rows_under(heading: &str) -> Vec<Vec<String>> {
    let specification = read("PROTOCOL.md");
    let (_, section) = specification.split_once(&format!("\n{heading}\n")).expect("the heading is there");
    let end = section.find("\n#").unwrap_or(section.len());
    let rows = section[..end].lines().filter(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Rows whose first cell is one number.
fn numbered_rows(heading: &str) -> BTreeMap<u16, Vec<String>> {
    rows_under(heading).into_iter().filter_map(|row| Some((row.first()?.parse().ok()?, row))).collect()
}

#[test]
fn message_examples_are_vectors_of_every_op() {
    let canonical = canonical();
    let mut ops = BTreeSet::new();
    for example in examples() {
        let [side, name] = example.words.as_slice() else { continue };
        let vector = canonical.iter().find(|((of, named), _)| of == side && named == name);
        assert_eq!(Some(&example.bytes), vector.map(|(_, bytes)| bytes), "{side} {name}");
        ops.insert(example.bytes[1]);
    }
    let of_clients = client::CONNECT..=client::HISTORY;
    let of_brokers = broker::WELCOME..=broker::PAGE;
    assert_eq!(ops, of_clients.chain(of_brokers).collect());
}

/// The opcode and unmasked payload of one frame; the length must be in its shortest form, and a mask only a client's.
fn frame(side: &str, bytes: &[u8]) -> (u8, Vec<u8>) {
    assert_eq!(bytes[1] & MASK != 0, side == "client", "only clients mask");
    let length = usize::from(bytes[1] & !MASK);
    assert!(length < 126, "the examples are short");
    let (mask, payload) = if side == "client" { bytes[2..].split_at(4) } else { (&[0; 4][..], &bytes[2..]) };
    assert_eq!(payload.len(), length);
    (bytes[0], payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect())
}

#[test]
fn frame_examples_carry_vectors() {
    let canonical = canonical();
    let mut frames = 0;
    for example in examples() {
        let [kind, side, names @ ..] = example.words.as_slice() else { continue };
        if kind != "frame" {
            continue;
        }
        frames += 1;
        let (opcode, payload) = frame(side, &example.bytes);
        if names == ["close"] {
            assert_eq!((opcode, &payload[..2]), (CLOSE, &CloseCode::Draining.number().to_be_bytes()[..]));
            continue;
        }
        let expected: Vec<u8> = names
            .iter()
            .flat_map(|name| {
                let found = canonical.iter().find(|((of, named), _)| of == side && named == name);
                found.unwrap_or_else(|| panic!("there is no vector {name}")).1.clone()
            })
            .collect();
        assert_eq!((opcode, payload), (BINARY, expected), "{names:?}");
    }
    assert!(frames >= 10, "the session has {frames} frames");
}

#[test]
fn every_error_code_stands_in_the_table_with_its_name() {
    let rows = numbered_rows("## 11. Error codes");
    let named: BTreeMap<_, _> = rows.iter().map(|(number, row)| (*number, row[1].as_str())).collect();
    assert_eq!(named, ErrorCode::ALL.iter().map(|code| (code.number(), code.name())).collect());
}

#[test]
fn every_close_code_stands_in_the_table_with_what_a_client_does() {
    let rows = numbered_rows("### Close codes");
    for code in CloseCode::ALL {
        let row = rows.get(&code.number()).unwrap_or_else(|| panic!("{code} is not in the table"));
        assert_eq!(row[1], code.name());
    }
    for (number, row) in rows {
        let code = CloseCode::from_number(number);
        assert_eq!(row[1].is_empty(), matches!(code, CloseCode::Other(_)), "{number}");
        let expected = match code.client_returns() {
            Return::AtOnce => "returns at once",
            Return::AfterDelay => "returns after a delay",
            Return::Never => "does not return",
        };
        assert_eq!(row[3], expected, "{number}");
    }
}

/// Codes as a row of a table lists them.
fn listed<C: Copy>(codes: &[C], number: fn(C) -> u8, name: fn(C) -> &'static str) -> String {
    codes.iter().map(|code| format!("{} `{}`", number(*code), name(*code))).collect::<Vec<_>>().join(", ")
}

#[test]
fn constants_are_those_of_the_specification() {
    let specification = read("PROTOCOL.md");
    let overflow = |policy: Overflow| format!("{} `{}`", policy.number(), policy.name());
    for expected in [
        format!("# The protocol `{SUBPROTOCOL}`"),
        format!("| nesting of a message | {MAX_DEPTH}, always |"),
        format!("| tokens of a topic or pattern | {MAX_TOKENS}, always |"),
        format!("| bytes of a topic or pattern | {MAX_BYTES}, always |"),
        format!("{}, {}", overflow(Overflow::DropOldest), overflow(Overflow::Close)),
        format!(
            "{} `{}`. Another number",
            NoticeKind::CredentialsExpire.number(),
            NoticeKind::CredentialsExpire.name()
        ),
        format!("{} `{}`: this client", GapReason::Overflow.number(), GapReason::Overflow.name()),
        format!("Of a stream: {}. Another", listed(&GapReason::ALL[1..], GapReason::number, GapReason::name)),
        format!("| {}. Another", listed(EpochReason::ALL, EpochReason::number, EpochReason::name)),
        format!("| OK resumed | from {} |", Resumed::ALL.len() + 1),
        format!("| GAP reason | from {} |", GapReason::ALL.len() + 1),
        format!("| EPOCH reason | from {} |", EpochReason::ALL.len() + 1),
        format!("| message id | {MAX_MESSAGE_ID_BYTES} bytes, always |"),
        format!("| name of a stream, epoch | {MAX_STREAM_BYTES} bytes each, always |"),
        format!("1 to {MAX_STREAM_BYTES} ASCII letters, digits, `-` and `_` |"),
        format!("1 to {MAX_EPOCH_BYTES} printable ASCII characters, no space"),
    ] {
        assert!(specification.contains(&expected), "PROTOCOL.md does not say: {expected}");
    }
    for reason in EpochReason::ALL {
        let expected = format!("\n| {} {} | ", reason.number(), reason.name());
        assert!(specification.contains(&expected), "PROTOCOL.md does not say what is so after {reason}");
    }
    for resumed in Resumed::ALL {
        let expected = format!("{} `{}`", resumed.number(), resumed.name());
        assert!(specification.contains(&expected), "PROTOCOL.md does not say: {expected}");
    }
    for (name, op) in [
        ("CONNECT", client::CONNECT),
        ("PING", client::PING),
        ("HISTORY", client::HISTORY),
        ("MARKER", broker::MARKER),
        ("LIVE", broker::LIVE),
        ("POSITION", broker::POSITION),
        ("CLOSING", broker::CLOSING),
        ("EPOCH", broker::EPOCH),
        ("PAGE", broker::PAGE),
    ] {
        assert!(specification.contains(&format!("\n### {name}, op {op}\n")), "{name} {op}");
    }
}
