//! What is said on a Carillon connection: the messages of the WebSocket subprotocol `carillon.v1`, their MessagePack
//! codec, topics and patterns, and the codes of errors and closes. `proto/PROTOCOL.md` is the specification; this
//! crate is its Rust form, and `proto/vectors/` holds both to the same bytes.
//!
//! It does no I/O, keeps no state between messages, and knows nothing of who may say what or who gets it. It never
//! panics on what comes from outside, never allocates by a length that a peer declared, and never copies a payload
//! while decoding.
//!
//! Start with [`ClientMessage`] and [`BrokerMessage`], the two directions; [`decode`] takes them apart. [`Topic`] and
//! [`Pattern`] are the names that everything else is about.

pub mod broker_message;
pub mod client_message;
pub mod code;
pub mod decode;
pub mod delivery;
pub mod encode;
mod fields;
pub mod headers;
pub mod id;
pub mod pattern;
mod scan;
pub mod start;
mod stream_message;
pub mod topic;

pub use broker_message::BrokerMessage;
pub use client_message::ClientMessage;
pub use code::{CloseCode, EpochReason, ErrorCode, GapReason, NoticeKind, Overflow, Resumed};
pub use decode::{DecodeError, Malformed, Refused};
pub use headers::Headers;
pub use id::Id;
pub use pattern::{Pattern, PatternBuf};
pub use start::Start;
pub use topic::{Topic, TopicBuf};

/// The WebSocket subprotocol that both sides name during the upgrade.
pub const SUBPROTOCOL: &str = "carillon.v1";

/// How deep arrays and maps may nest in one message, the message's own array being 1.
pub const MAX_DEPTH: usize = 8;

/// The most bytes of a publication's message id; it has one at least.
pub const MAX_MESSAGE_ID_BYTES: usize = 128;

/// The most bytes of a stream's name: ASCII letters, digits, `-` and `_`, at least one.
pub const MAX_STREAM_BYTES: usize = 64;

/// The most bytes of an epoch: printable ASCII characters without spaces, at least one.
pub const MAX_EPOCH_BYTES: usize = 64;
