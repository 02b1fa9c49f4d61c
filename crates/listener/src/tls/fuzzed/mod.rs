//! What the fuzzer, and tests, do with the parts of TLS that are the listener's own.

mod handshake;
mod records;

pub use handshake::{Fuzzed as FuzzedHandshake, shake_hands};
pub use records::read_records;
