//! What a broker reads from outside: any bytes decode to an end, what decodes is encoded to the same meaning, and nothing
//! comes after malformed bytes.
#![no_main]

use carillon_wire::decode::{DecodeError, client_messages};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut encoded = Vec::new();
    let mut is_over = false;
    for found in client_messages(bytes) {
        assert!(!is_over, "something came after malformed bytes");
        match found {
            Ok(message) => {
                encoded.clear();
                message.encode(&mut encoded);
                let again: Vec<_> = client_messages(&encoded).collect();
                assert_eq!(again, [Ok(message)]);
            }
            Err(DecodeError::Refused(refused)) => assert!(!refused.message.is_empty()),
            Err(DecodeError::Malformed(_)) => is_over = true,
        }
    }
});
