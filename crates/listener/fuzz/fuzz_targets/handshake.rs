//! What may come in the place of a client's part of the TLS handshake, in any pieces; what must hold is told in
//! `tls/fuzzed/handshake.rs` of the listener.
#![no_main]

use std::{fs, sync::LazyLock};

use carillon_listener::{FuzzedHandshake, Tls, fuzz_handshake};
use libfuzzer_sys::fuzz_target;

static DOOR: LazyLock<FuzzedHandshake> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate_path, key_path) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    fs::write(&certificate_path, cert.pem()).expect("a file");
    fs::write(&key_path, signing_key.serialize_pem()).expect("a file");
    FuzzedHandshake::new(Tls::from_files(certificate_path, key_path).expect("a door"))
});

fuzz_target!(|input: &[u8]| fuzz_handshake(&DOOR, input));
