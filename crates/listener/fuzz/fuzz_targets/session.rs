//! Sequences of what clients, operator and time do to the sessions of two shards; what must hold is told where they are run,
//! in `session/harness` of the listener.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|operations: &[u8]| carillon_listener::run_sessions(operations));
