//! RFC 6455 as a public server must read it: strict, bounded, and without losing its place when a read is abandoned.

pub mod decoder;
pub mod frame;

pub use decoder::{Decoder, Event, Kind, ProtocolError};
