//! Records of TLS as a client may send them after the handshake, well sealed or not, in any pieces; what must hold is told
//! where they are read, in `tls/fuzzed.rs` of the listener.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| carillon_listener::read_records(input));
